//! `kiln.toml` in the root of a local build context: what a repository says about its own build. It adds; it changes
//! nothing of what the person or the site says, and grants nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use kiln_core::{Diagnostic, Position, Span};
use kiln_driver::{ContextLocation, Origin, PluginSource, PluginUse, PolicyMode};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::config::table::{self, Mode, Pin, Source, Values};

pub const FILE: &str = "kiln.toml";

/// Nobody writes more.
const MAX_BYTES: u64 = 1 << 20;

/// What a repository says.
#[derive(Clone, Debug, Default)]
pub struct Project {
    pub plugins: Vec<PluginUse>,
    /// The frontend to ask, by name.
    pub frontend: Option<String>,
    /// Options of that frontend.
    pub options: Vec<(String, String)>,
    /// Stage or target to build unless another one is asked for.
    pub target: Option<String>,
}

/// The file cannot mean what it says.
#[derive(Debug)]
pub struct ProjectError {
    pub diagnostic: Box<Diagnostic>,
    /// Of the file.
    pub text: String,
}

impl fmt::Display for ProjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for ProjectError {}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    frontend: Option<String>,
    target: Option<String>,
    #[serde(default)]
    options: BTreeMap<String, Values>,
    #[serde(default)]
    plugins: BTreeMap<String, Plugin>,
    #[expect(dead_code, reason = "to read it is to refuse it")]
    instructions: Option<Never<Instructions>>,
    #[expect(dead_code, reason = "to read it is to refuse it")]
    exemptions: Option<Never<Exemptions>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Plugin {
    source: Inside,
    digest: Option<Pin>,
    #[serde(default)]
    options: BTreeMap<String, Values>,
    mode: Option<Mode>,
    #[serde(default)]
    codes: BTreeMap<String, Mode>,
    #[expect(dead_code, reason = "to read it is to refuse it")]
    allow: Option<Never<Allow>>,
}

/// A source that does not lead out of the repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Inside(Source);

impl TryFrom<String> for Inside {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let source = Source::try_from(text)?;
        match &source {
            Source::File(path)
                if path
                    .components()
                    .any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) =>
            {
                Err("a plugin of a repository lies in it: its path is relative and has no `..`".to_owned())
            }
            _ => Ok(Self(source)),
        }
    }
}

/// A key that means something in the site's configuration and nothing here.
#[derive(Debug)]
struct Never<Why>(std::marker::PhantomData<Why>);

trait Reason {
    const WHY: &str;
}

#[derive(Debug)]
struct Instructions;
#[derive(Debug)]
struct Exemptions;
#[derive(Debug)]
struct Allow;

impl Reason for Instructions {
    const WHY: &str = "a repository gives no instruction to another plugin; say `--instruction KEYWORD=NAME`, or write it \
                       into your own configuration";
}

impl Reason for Exemptions {
    const WHY: &str =
        "a repository exempts itself from no rule; exemptions belong into the site's configuration";
}

impl Reason for Allow {
    const WHY: &str = "a repository grants nothing to its plugins; say `--allow plugin.CAPABILITY=NAME`, or name the plugin \
                       in your own configuration";
}

impl<'de, Why: Reason> Deserialize<'de> for Never<Why> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(Why::WHY))
    }
}

/// Reads the file of a local context, if there is one.
///
/// # Errors
///
/// [`ProjectError`].
pub fn read(context: &ContextLocation) -> Result<Project, ProjectError> {
    let ContextLocation::Directory(root) = context else {
        return Ok(Project::default());
    };
    let plain = |message: String| ProjectError {
        diagnostic: Box::new(Diagnostic::error("project", format!("`{FILE}` {message}"))),
        text: String::new(),
    };
    let path = root.join(FILE);
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Project::default()),
        Err(error) => return Err(plain(format!("cannot be read: {error}"))),
        // Lines of it are shown when it is wrong: they must not be those of another file.
        Ok(metadata) if !metadata.is_file() => return Err(plain("is no regular file".to_owned())),
        Ok(metadata) if metadata.len() > MAX_BYTES => return Err(plain("is longer than 1 MiB".to_owned())),
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(&path).map_err(|error| plain(format!("cannot be read: {error}")))?;
    let file: File = toml::from_str(&text).map_err(|error| misplaced(&text, &error))?;
    if file.frontend.is_none() && !file.options.is_empty() {
        return Err(plain("has options, which are those of a `frontend` that it does not name".to_owned()));
    }
    let mut plugins = Vec::new();
    for (name, plugin) in file.plugins {
        let Plugin { source: Inside(source), digest, options, mode, codes, allow: _ } = plugin;
        let source = source.seen_from(&path);
        if let PluginSource::File(file) = &source {
            inside(root, file)
                .map_err(|why| plain(format!("names the plugin `{name}`, whose source {why}")))?;
        }
        plugins.push(PluginUse {
            name: Some(name),
            digest: digest.map(|Pin(digest)| digest),
            options: table::options(&options),
            mode: mode.map(PolicyMode::from).unwrap_or_default(),
            codes: codes.into_iter().map(|(code, mode)| (code, mode.into())).collect(),
            ..PluginUse::new(source, Origin::Project)
        });
    }
    Ok(Project {
        plugins,
        frontend: file.frontend,
        options: table::options(&file.options),
        target: file.target,
    })
}

/// Links lead nowhere else either.
fn inside(root: &Path, file: &Path) -> Result<(), String> {
    let real = |path: &Path| -> Result<PathBuf, String> {
        std::fs::canonicalize(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
    };
    let place = real(file)?;
    match (place.starts_with(real(root)?), place.is_file()) {
        (false, _) => Err(format!("`{}` leads out of the repository", file.display())),
        // A pipe of a repository has nobody at its other end.
        (true, false) => Err(format!("`{}` is no regular file", file.display())),
        (true, true) => Ok(()),
    }
}

fn misplaced(text: &str, error: &toml::de::Error) -> ProjectError {
    let position = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.rfind('\n').map_or(before, |end| &before[end + 1..]);
        Position {
            line: u32::try_from(1 + before.matches('\n').count()).unwrap_or(u32::MAX),
            column: u32::try_from(1 + line.chars().count()).unwrap_or(u32::MAX),
        }
    };
    let span = error.span().map(|range| Span {
        file: FILE.to_owned(),
        start: position(range.start),
        end: position(range.end),
    });
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    ProjectError {
        diagnostic: Box::new(Diagnostic::error("project", message).at(span)),
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn project(text: &str) -> Result<Project, ProjectError> {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("p.wasm"), "").expect("a file");
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("out.wasm")).expect("a link");
        fs::write(dir.path().join(FILE), text).expect("a file");
        read(&ContextLocation::Directory(dir.path().to_owned()))
    }

    #[test]
    fn a_repository_names_plugins_a_frontend_and_a_target() {
        let project = project(
            "frontend = \"debian\"\ntarget = \"base\"\n[options]\nsuite = \"bookworm\"\n[plugins.debian]\n\
             source = \"p.wasm\"\nmode = \"warn\"\n",
        )
        .unwrap();
        assert_eq!(project.frontend.as_deref(), Some("debian"));
        assert_eq!(project.target.as_deref(), Some("base"));
        assert_eq!(project.options, [("suite".to_owned(), "bookworm".to_owned())]);
        assert_eq!(project.plugins[0].origin, Origin::Project);
        assert!(read(&ContextLocation::Empty).unwrap().plugins.is_empty());
    }

    #[test]
    fn a_repository_grants_nothing_and_stays_inside() {
        for (text, says, line) in [
            ("[plugins.p]\nsource = \"p.wasm\"\nallow = [\"solve\"]\n", "grants nothing", 3),
            ("instructions = { RUN = \"p\" }\n", "--instruction", 1),
            ("[[exemptions]]\nrule = \"x\"\n", "exempts itself", 1),
            ("[plugins.p]\nsource = \"/p.wasm\"\n", "lies in it", 2),
            ("[plugins.p]\nsource = \"../p.wasm\"\n", "lies in it", 2),
            ("[plugins.p]\nsource = \"out.wasm\"\n", "leads out of the repository", 0),
            ("[plugins.p]\nsource = \"none.wasm\"\n", "cannot be read", 0),
            ("[plugins.p]\n", "missing field `source`", 1),
            ("[registry.x]\n", "unknown field `registry`", 1),
            ("[options]\na = 1\n", "`frontend` that it does not name", 0),
        ] {
            let error = project(text).unwrap_err();
            assert!(error.diagnostic.message.contains(says), "{text}: {error}");
            let at = error.diagnostic.primary.map_or(0, |span| span.start.line);
            assert_eq!(at, line, "{text}: {says}");
        }
    }

    #[test]
    fn the_file_is_not_another_one() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join(FILE)).expect("a link");
        let error = read(&ContextLocation::Directory(dir.path().to_owned())).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error}");
    }
}
