//! Reads of `pom.xml` what decides about the image to build in. Everything else is for Maven to read.

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::frontend_types::BuildFailure;
use roxmltree::{Document, Node};

use crate::version::{self, Wanted};

/// The properties that a version of Java may stand in, the one that decides first.
const PROPERTIES: [&str; 5] = [
    "maven.compiler.release",
    "java.version",
    "maven.compiler.target",
    "maven.compiler.source",
    "jdk.version",
];

/// A pom, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pom {
    /// `group:artifact` as far as it is written.
    pub(crate) name: String,
    /// Directories or files of modules, relative to the one of the pom.
    pub(crate) modules: Vec<String>,
    properties: BTreeMap<String, String>,
    /// Of the compiler's configuration: name of the element and its text.
    compiler: Vec<(String, String)>,
    /// Version of Spring Boot's parent, if it is the parent.
    spring_boot: Option<String>,
    /// Something in it is of type `test-jar`.
    pub(crate) shares_tests: bool,
}

/// Elements within each other that are read. The parser calls itself for each.
const MAX_DEPTH: usize = 256;

/// Whether elements lie deeper within each other than those of any pom.
fn is_too_deep(text: &str) -> bool {
    // What begins like an element and is none, and how it ends.
    const OTHERS: [(&str, &str); 3] = [("!--", "-->"), ("![CDATA[", "]]>"), ("?", "?>")];
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(begin) = rest.find('<') {
        rest = &rest[begin + 1..];
        let other = OTHERS.iter().find_map(|(open, close)| Some((rest.strip_prefix(open)?, close)));
        if let Some((inside, close)) = other {
            rest = inside.find(close).map_or("", |end| &inside[end..]);
        } else if rest.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if !rest.starts_with('!') {
            let tag = tag(rest);
            rest = &rest[tag.len()..];
            depth += usize::from(!tag.ends_with('/'));
            if depth > MAX_DEPTH {
                return true;
            }
        }
    }
    false
}

/// What comes before the `>` that ends a tag; one within quotes does not.
fn tag(rest: &str) -> &str {
    let mut quote = None;
    let end = rest.find(|c: char| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (None, '>') => return true,
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        false
    });
    &rest[..end.unwrap_or(rest.len())]
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text = child(node, name)?.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl Pom {
    /// # Errors
    ///
    /// The file is no XML, or none of this kind; told with its line.
    pub(crate) fn parse(path: &str, content: &str) -> Result<Self, BuildFailure> {
        if is_too_deep(content) {
            let message = format!("`{path}` has more than {MAX_DEPTH} elements within each other");
            return Err(Diagnostic::error("java-pom", message)
                .help("no pom of a project is like that")
                .into());
        }
        let document = Document::parse(content).map_err(|error| {
            let help = match error {
                roxmltree::Error::DtdDetected => "take the document type out: a pom needs none",
                _ => "Maven cannot read it either",
            };
            let place = error.pos();
            // The text of the error ends with the place, which is shown anyway.
            let message = error.to_string();
            let message = message.rsplit_once(" at ").map_or(message.as_str(), |(message, _)| message);
            Diagnostic::error("java-pom", format!("`{path}` is no well-formed XML: {message}"))
                .at(&Span::on_line(path, place.row, place.col, place.col + 1))
                .help(help)
        })?;
        let project = document.root_element();
        if project.tag_name().name() != "project" {
            let place = document.text_pos_at(project.range().start);
            let message =
                format!("`{path}` is no project of Maven: it begins with `{}`", project.tag_name().name());
            return Err(Diagnostic::error("java-pom", message)
                .at(&Span::on_line(path, place.row, place.col, place.col + 1))
                .help("the outermost element of a pom is `project`")
                .into());
        }
        let parent = child(project, "parent");
        let group = text(project, "groupId").or_else(|| text(parent?, "groupId")).unwrap_or_default();
        let artifact = text(project, "artifactId").unwrap_or_default();
        let mut pom = Self { name: format!("{group}:{artifact}"), ..Self::default() };
        if let Some(modules) = child(project, "modules") {
            pom.modules = modules.children().filter_map(|it| Some(it.text()?.trim().to_owned())).collect();
            pom.modules.retain(|module| !module.is_empty());
        }
        if let Some(properties) = child(project, "properties") {
            for property in properties.children().filter(Node::is_element) {
                let value = property.text().unwrap_or_default().trim().to_owned();
                pom.properties.insert(property.tag_name().name().to_owned(), value);
            }
        }
        let artifact_of = |node: Node<'_, '_>| text(node, "artifactId");
        if let Some(parent) =
            parent.filter(|it| artifact_of(*it).as_deref() == Some("spring-boot-starter-parent"))
        {
            pom.spring_boot = text(parent, "version");
        }
        for plugin in document.descendants().filter(|node| node.tag_name().name() == "plugin") {
            if artifact_of(plugin).as_deref() != Some("maven-compiler-plugin") {
                continue;
            }
            let Some(configuration) = child(plugin, "configuration") else { continue };
            for name in ["release", "target", "source"] {
                pom.compiler.extend(text(configuration, name).map(|value| (name.to_owned(), value)));
            }
        }
        let is_shared = |node: Node<'_, '_>| {
            matches!(node.tag_name().name(), "type" | "goal")
                && node.text().is_some_and(|text| text.trim() == "test-jar")
        };
        pom.shares_tests = document.descendants().any(is_shared);
        Ok(pom)
    }

    /// The version of Java that this pom asks for. `above` are the poms it inherits from, as far as they are known.
    pub(crate) fn java(&self, path: &str, above: &[&Pom]) -> Option<Wanted> {
        let expand = |value: &str| -> Option<u32> {
            let mut value = value.to_owned();
            // A property that is another one that is another one: more than that nobody writes.
            for _ in 0..4 {
                let Some(name) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
                    break;
                };
                let poms = std::iter::once(self).chain(above.iter().copied());
                value = poms.into_iter().find_map(|pom| pom.properties.get(name))?.clone();
            }
            version::parse(&value)
        };
        for (name, value) in &self.compiler {
            if let Some(version) = expand(value) {
                return Some(Wanted {
                    version,
                    from: format!("`{name}` of the compiler plugin in `{path}`"),
                });
            }
        }
        for name in PROPERTIES {
            if let Some(version) = self.properties.get(name).and_then(|value| expand(value)) {
                return Some(Wanted { version, from: format!("`{name}` in `{path}`") });
            }
        }
        let boot = self.spring_boot.as_deref()?;
        let version = if boot.starts_with("1.") || boot.starts_with("2.") { 8 } else { 17 };
        Some(Wanted { version, from: format!("Spring Boot {boot}, the parent in `{path}`") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn java(text: &str) -> Option<(u32, String)> {
        let pom = Pom::parse(
            "pom.xml",
            &format!("<project xmlns='http://maven.apache.org/POM/4.0.0'>{text}</project>"),
        );
        pom.unwrap().java("pom.xml", &[]).map(|wanted| (wanted.version, wanted.from))
    }

    #[test]
    fn the_version_stands_in_one_of_many_places() {
        for (text, version, from) in [
            (
                "<properties><maven.compiler.release>17</maven.compiler.release></properties>",
                17,
                "maven.compiler.release",
            ),
            (
                "<properties><java.version>1.8</java.version><maven.compiler.source>${java.version}</maven.compiler.source></properties>",
                8,
                "java.version",
            ),
            (
                "<properties><v>11</v><maven.compiler.target>${v}</maven.compiler.target></properties>",
                11,
                "maven.compiler.target",
            ),
            (
                "<build><plugins><plugin><artifactId>maven-compiler-plugin</artifactId><configuration><release>21</release></configuration></plugin></plugins></build>",
                21,
                "compiler plugin",
            ),
            (
                "<parent><artifactId>spring-boot-starter-parent</artifactId><version>3.3.0</version></parent>",
                17,
                "Spring Boot 3.3.0",
            ),
        ] {
            let (found, why) = java(text).expect(text);
            assert!(found == version && why.contains(from), "{text}: {found} {why}");
        }
        assert_eq!(java("<properties><java.version>${a}</java.version><a>${a}</a></properties>"), None);
        assert_eq!(java(""), None);
    }

    #[test]
    fn a_property_may_be_one_of_the_parent() {
        let parse = |text| Pom::parse("pom.xml", text).unwrap();
        let root = parse(
            "<project><properties><v>11</v></properties><modules><module>a</module>\n<module/></modules></project>",
        );
        let module = parse("<project><properties><java.version>${v}</java.version></properties></project>");
        assert_eq!(module.java("a/pom.xml", &[&root]).unwrap().version, 11);
        assert_eq!(module.java("a/pom.xml", &[]), None);
        assert_eq!(root.modules, ["a"]);
    }

    #[test]
    fn elements_within_each_other_have_an_end() {
        let nested =
            |levels: usize| format!("<project>{}{}</project>", "<a>".repeat(levels), "</a>".repeat(levels));
        assert!(Pom::parse("pom.xml", &nested(MAX_DEPTH - 1)).is_ok());
        for levels in [MAX_DEPTH, 100_000] {
            let found = Pom::parse("pom.xml", &nested(levels)).unwrap_err().diagnostics.remove(0);
            assert_eq!(found.message, "`pom.xml` has more than 256 elements within each other");
        }
        let unclosed = "<a x='>' y=\"</\">".repeat(100_000);
        assert!(is_too_deep(&unclosed));
        let flat = "<a/><b x='/>'></b><!-- <c> --><![CDATA[<d>]]><?e <f>?>".repeat(1_000);
        assert!(!is_too_deep(&format!("<project>{flat}</project>")));
    }

    #[test]
    fn entities_are_not_expanded() {
        let bomb = "<!DOCTYPE project [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>\n<project>&b;</project>";
        let found = Pom::parse("pom.xml", bomb).unwrap_err().diagnostics.remove(0);
        assert!(found.message.contains("DTD") && found.help.contains("document type"), "{found:?}");
    }

    #[test]
    fn a_broken_file_is_told_with_its_line() {
        for (text, line, says) in [
            ("<project>\n  <a>\n  </b>\n</project>", 3, "no well-formed XML"),
            ("", 1, "no well-formed XML"),
            ("\n<settings/>", 2, "begins with `settings`"),
        ] {
            let found = Pom::parse("a/pom.xml", text).unwrap_err().diagnostics.remove(0);
            let at = found.primary.clone().unwrap();
            assert_eq!((at.file.as_str(), at.start.line), ("a/pom.xml", line), "{found:?}");
            assert!(found.message.contains(says), "{found:?}");
        }
    }
}
