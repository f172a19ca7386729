//! Variables: those of the file before its first FROM (§8.1, §8.6) and those of a stage (§8.2–§8.5).

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::types::Platform;

use crate::allowance::Allowance;
use crate::arguments::bad_expansion;
use crate::expand::{self, Mode, Variables};
use crate::names::{Environment, Names};
use crate::parse::Line;
use crate::platform;
use crate::words;

/// One `name` or `name=default` of an ARG line.
#[derive(Clone, Debug)]
pub struct Declared {
    pub name: String,
    /// As written, quotes included.
    pub default: Option<String>,
    pub at: Span,
}

/// Reads an ARG line (§5.5). Flags are ignored, as the reference does.
///
/// # Errors
///
/// A name is missing, or everything is.
pub fn declared(line: &Line, escape: char) -> Result<Vec<Declared>, Diagnostic> {
    let text = &line.logical.text;
    let mut found = Vec::new();
    for word in words::quoted(text, line.rest.clone(), escape) {
        let at = line.span(&word);
        let (name, default) = match text[word.clone()].split_once('=') {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (&text[word], None),
        };
        if name.is_empty() {
            return Err(Diagnostic::error("blank-name", "an ARG has no name")
                .at(&at)
                .help("write `ARG name=value`"));
        }
        found.push(Declared { name: name.to_owned(), default, at });
    }
    if found.is_empty() {
        return Err(Diagnostic::error("wrong-argument-count", "ARG needs at least one argument")
            .at(&line.keyword_span())
            .help("write `ARG name` or `ARG name=default`"));
    }
    Ok(found)
}

/// Proxy settings, which commands see without an ARG (§8.7).
pub const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Build arguments that are read by a builder (§8.8).
pub const SPECIAL: [&str; 12] = [
    "SOURCE_DATE_EPOCH",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_SYNTAX",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_HISTORY_PROVENANCE_V1",
];

/// Arguments that commands never see, whoever sets them (§8.8).
pub const SCANS: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// The platform arguments (§8.6), for a build of `stage`.
pub fn predefined(build: &Platform, target: &Platform, stage: &str) -> Vec<(&'static str, String)> {
    vec![
        ("BUILDPLATFORM", platform::format(build)),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", build.os_version.clone()),
        ("BUILDARCH", build.arch.clone()),
        ("BUILDVARIANT", build.variant.clone()),
        ("TARGETPLATFORM", platform::format(target)),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", target.os_version.clone()),
        ("TARGETARCH", target.arch.clone()),
        ("TARGETVARIANT", target.variant.clone()),
        ("TARGETSTAGE", stage.to_owned()),
    ]
}

/// Build arguments by name; of several of one name the last counts.
pub type BuildArgs = BTreeMap<String, String>;

/// An argument that was declared, with its value.
#[derive(Clone, Debug)]
pub struct Argument {
    pub declared: Declared,
    pub value: Option<String>,
    /// What the comment above says of it (§22.4).
    pub description: String,
}

/// The variables that FROM lines see.
#[derive(Clone, Debug, Default)]
pub struct Globals {
    pub environment: Environment,
    names: Names,
    pub arguments: Vec<Argument>,
    /// Used in defaults and nowhere declared.
    pub undefined: Vec<(String, Span)>,
    pub allowance: Allowance,
}

impl Globals {
    /// Evaluates the ARG lines before the first FROM, in order. Adds to `problems` defaults that cannot be expanded.
    pub fn read(
        lines: &[Line],
        escape: char,
        predefined: &[(&'static str, String)],
        build_args: &BuildArgs,
        allowance: &Allowance,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut globals = Globals { allowance: allowance.clone(), ..Globals::default() };
        for (name, value) in predefined {
            globals.environment.set_to(name, build_args.get(*name).unwrap_or(value));
            globals.names.add(name);
        }
        for line in lines {
            if allowance.is_spent() {
                break;
            }
            // Lines that cannot be read have been reported with the grammar of the file.
            for declared in declared(line, escape).unwrap_or_default() {
                let value = match (build_args.get(&declared.name), &declared.default) {
                    (Some(value), _) => Some(value.clone()),
                    (None, Some(default)) => globals.expand_default(default, &declared, escape, problems),
                    (None, None) => None,
                };
                if let Some(value) = &value {
                    globals.environment.set_to(&declared.name, value);
                }
                globals.names.add(&declared.name);
                let description = description(&line.comments, &declared.name);
                globals.arguments.push(Argument { declared, value, description });
            }
        }
        globals
    }

    fn expand_default(
        &mut self,
        default: &str,
        declared: &Declared,
        escape: char,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<String> {
        match expand::word(default, Mode::arguments(escape), self) {
            Ok(expanded) => {
                self.undefined.extend(expanded.undefined.into_iter().map(|name| (name, declared.at.clone())));
                Some(expanded.text)
            }
            Err(error) => {
                problems.push(bad_expansion(&error, default, &declared.at));
                None
            }
        }
    }

    /// All names that may stand in a FROM line.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter()
    }
}

impl Variables for Globals {
    fn value(&self, name: &str) -> Option<&str> {
        self.environment.value(name)
    }

    fn is_declared(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn spend(&self, bytes: usize) -> bool {
        self.allowance.spend(bytes)
    }
}

/// The variables that the instructions of a stage see.
#[derive(Clone, Debug, Default)]
pub struct StageScope {
    pub environment: Environment,
    /// Names of ARG lines so far, base stages included, in order, each once.
    pub args: Names,
    /// That of the whole plan.
    pub allowance: Allowance,
}

impl StageScope {
    pub fn within(allowance: &Allowance) -> Self {
        StageScope { allowance: allowance.clone(), ..StageScope::default() }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.environment.names().chain(self.args.iter())
    }
}

impl Variables for StageScope {
    fn value(&self, name: &str) -> Option<&str> {
        self.environment.value(name)
    }

    fn is_declared(&self, name: &str) -> bool {
        self.args.contains(name)
    }

    fn spend(&self, bytes: usize) -> bool {
        self.allowance.spend(bytes)
    }
}

/// What the last comment above a definition says of `name` (§22.4): it has to begin with the name.
pub fn description(comments: &[String], name: &str) -> String {
    let Some(comment) = comments.last() else { return String::new() };
    match comment.get(..name.len()) {
        Some(begin) if begin.eq_ignore_ascii_case(name) => match comment[name.len()..].strip_prefix(' ') {
            Some(text) => text.trim().to_owned(),
            None => String::new(),
        },
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Place, parse, tests::keywords};

    fn lines(text: &str) -> Vec<Line> {
        parse(text, &Place { file: "Dockerfile".into(), fixed: None }, 1, None, &keywords()).lines
    }

    fn globals(text: &str, build_args: &[(&str, &str)]) -> (Globals, Vec<String>) {
        let build_args =
            build_args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut problems = Vec::new();
        let target = Platform { arch: "arm".to_owned(), variant: "v7".to_owned(), ..Platform::default() };
        let predefined = predefined(&Platform::default(), &target, "default");
        let allowance = Allowance::default();
        let globals = Globals::read(&lines(text), '\\', &predefined, &build_args, &allowance, &mut problems);
        (globals, problems.into_iter().map(|problem| problem.code).collect())
    }

    #[test]
    fn section_8_1_defaults_see_what_came_before() {
        let text = "ARG a=1 b=$a-$TARGETARCH\nARG c=\"x $b\" d\nARG e=$nope";
        let (found, problems) = globals(text, &[("a", "2")]);
        let value = |name| found.value(name);
        assert_eq!(
            (value("a"), value("b"), value("c"), value("d"), value("e")),
            (Some("2"), Some("2-arm"), Some("x 2-arm"), None, Some(""))
        );
        assert!(found.is_declared("d") && !found.is_declared("nope") && problems.is_empty());
        assert_eq!(found.undefined[0].0, "nope");
    }

    #[test]
    fn section_8_6_build_arguments_override_predefined_ones() {
        let (found, _) = globals("ARG TARGETARCH", &[("TARGETARCH", "mine")]);
        assert_eq!(found.value("TARGETARCH"), Some("mine"));
        assert_eq!(found.value("TARGETPLATFORM"), Some("linux/arm/v7"));
    }

    #[test]
    fn section_5_5_names_are_needed() {
        assert!(declared(&lines("ARG")[0], '\\').is_err());
        assert!(declared(&lines("ARG =x")[0], '\\').is_err());
        let found = declared(&lines("ARG --flag a b='c d'")[0], '\\').unwrap();
        assert_eq!(found[1].default.as_deref(), Some("'c d'"));
        assert_eq!(globals("ARG a=${", &[]).1, ["bad-substitution"]);
    }

    #[test]
    fn section_22_4_descriptions_begin_with_the_name() {
        let comments = ["other".to_owned(), "Base is the runtime".to_owned()];
        assert_eq!(description(&comments, "base"), "is the runtime");
        assert_eq!(description(&comments, "bas"), "");
        assert_eq!(description(&[], "x"), "");
    }
}
