//! The file: which packages from where, and what else is in the image.

use std::ops::Range;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::types::{ImageConfig, Pair};

use crate::index::is_name;
use crate::place::Text;
use crate::read::{Reader, Table};
use crate::resolve::{Base, Wanted};
use crate::version::is_version;

/// A place in the file, in bytes.
pub type Place = Range<usize>;

/// A whole file that makes sense.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    pub sources: Vec<Source>,
    pub packages: Vec<(Wanted, Place)>,
    pub base: Base,
    pub recommends: bool,
    pub merged_usr: bool,
    pub scripts_later: bool,
    /// Patterns of files that are left out, in the language of `.dockerignore`.
    pub exclude: Vec<String>,
    pub users: Vec<User>,
    pub entries: Vec<Extra>,
    pub config: ImageConfig,
}

/// A suite of a mirror.
#[derive(Clone, Debug)]
pub struct Source {
    /// Absent: that of the option `mirror`.
    pub mirror: Option<String>,
    pub suite: String,
    pub components: Vec<String>,
    pub pin: Pin,
    pub place: Place,
}

/// What says that a `Release` is the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Its digest, `sha256:…`.
    Digest(String),
    /// Nothing: whatever the mirror says is believed.
    Any,
    Missing,
}

/// A user of the image, with a group of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

/// Something in the image that is of no package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    pub path: String,
    pub owner: String,
    pub mode: Option<u32>,
    pub kind: ExtraKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtraKind {
    Directory,
    Text(String),
    /// A path of the build context.
    Copy(String),
    Link(String),
}

impl Recipe {
    /// # Errors
    ///
    /// Everything that is wrong with the file.
    pub fn parse(file: Text<'_>) -> Result<Self, Vec<Diagnostic>> {
        let (mut reader, top) = Reader::open(file)?;
        let recipe = Self::read(&mut reader, &top);
        match reader.problems.is_empty() {
            true => Ok(recipe),
            false => Err(reader.problems),
        }
    }

    fn read(reader: &mut Reader<'_>, top: &Table<'_>) -> Self {
        const KNOWN: [&str; 12] = [
            "source",
            "packages",
            "base",
            "recommends",
            "merged-usr",
            "scripts",
            "exclude",
            "user",
            "directory",
            "file",
            "link",
            "image",
        ];
        reader.known(top, &KNOWN);
        let mut recipe = Self {
            recommends: reader.flag(top, "recommends", false),
            merged_usr: reader.flag(top, "merged-usr", true),
            exclude: reader.strings(top, "exclude").into_iter().map(|(pattern, _)| pattern).collect(),
            ..Self::default()
        };
        recipe.base = reader.word(
            top,
            "base",
            &[("nothing", Base::Nothing), ("essential", Base::Essential), ("required", Base::Required)],
        );
        recipe.scripts_later = reader.word(top, "scripts", &[("never", false), ("later", true)]);
        for (text, place) in reader.strings(top, "packages") {
            let (name, version) = match text.split_once('=') {
                Some((name, version)) => (name, Some(version)),
                None => (text.as_str(), None),
            };
            if !is_name(name) || version.is_some_and(|version| !is_version(version)) {
                let found = reader.file.error("debian-package", format!("`{text}` is no package"), &place);
                reader.problems.push(found.help("write NAME or NAME=VERSION"));
                continue;
            }
            recipe.packages.push((Wanted { name: name.into(), version: version.map(str::to_owned) }, place));
        }
        for table in reader.tables(top, "source") {
            recipe.sources.extend(source(reader, &table));
        }
        if recipe.sources.is_empty() && reader.problems.is_empty() {
            let found = Diagnostic::error("debian-source", "the file names no suite to take packages from");
            reader.problems.push(found.help("begin with `[[source]]` and `suite = \"bookworm\"`"));
        }
        for table in reader.tables(top, "user") {
            recipe.users.extend(user(reader, &table));
        }
        for (key, kind) in [("directory", 0), ("file", 1), ("link", 2)] {
            for table in reader.tables(top, key) {
                recipe.entries.extend(extra(reader, &table, kind));
            }
        }
        if let Some(table) = reader.table(top, "image") {
            recipe.config = config(reader, &table);
        }
        recipe
    }
}

fn source(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Source> {
    reader.known(table, &["mirror", "suite", "components", "release"]);
    let place = table.place.clone();
    let suite = reader.required(table, "suite")?;
    let mirror = reader.string(table, "mirror");
    let mut components: Vec<String> =
        reader.strings(table, "components").into_iter().map(|(component, _)| component).collect();
    if components.is_empty() {
        components.push("main".to_owned());
    }
    for word in components.iter().chain([&suite]) {
        if word.is_empty()
            || word.contains(['?', '#', '%', ' '])
            || word.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            let found =
                reader.file.error("debian-source", format!("`{word}` is no suite or component"), &place);
            reader.problems.push(found);
        }
    }
    let pin = match reader.string_at(table, "release") {
        None => Pin::Missing,
        Some((text, _)) if text == "any" => Pin::Any,
        Some((text, place)) => {
            let hex = text.strip_prefix("sha256:").unwrap_or("");
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                let found =
                    reader.file.error("debian-pin", format!("`{text}` is no digest of a `Release`"), &place);
                reader
                    .problems
                    .push(found.help("write `sha256:` and 64 digits, or `any` to believe the mirror"));
            }
            Pin::Digest(text)
        }
    };
    Some(Source { mirror, suite, components, pin, place })
}

fn user(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<User> {
    reader.known(table, &["name", "uid", "gid", "home", "shell"]);
    let name = reader.required(table, "name")?;
    let uid = reader.number(table, "uid");
    let gid = reader.number(table, "gid");
    let (home, shell) = (reader.string(table, "home"), reader.string(table, "shell"));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') || !name.chars().all(plain) {
        let found = reader.file.error("debian-user", format!("`{name}` is no name of a user"), &table.place);
        reader.problems.push(found.help("small letters, digits, `-` and `_`"));
    }
    for text in home.iter().chain(&shell).filter(|text| !text.starts_with('/') || text.contains([':', '\n']))
    {
        reader.problems.push(reader.file.error(
            "debian-user",
            format!("`{text}` is no absolute path"),
            &table.place,
        ));
    }
    let Some(uid) = uid else {
        reader.problems.push(reader.file.error(
            "debian-user",
            format!("the user `{name}` has no `uid`"),
            &table.place,
        ));
        return None;
    };
    Some(User {
        home: home.unwrap_or_else(|| format!("/home/{name}")),
        shell: shell.unwrap_or_else(|| "/bin/sh".to_owned()),
        gid: gid.unwrap_or(uid),
        name,
        uid,
    })
}

fn extra(reader: &mut Reader<'_>, table: &Table<'_>, kind: usize) -> Option<Extra> {
    let keys: &[&str] = match kind {
        0 => &["path", "mode", "owner"],
        1 => &["path", "mode", "owner", "text", "from"],
        _ => &["path", "owner", "target"],
    };
    reader.known(table, keys);
    let path = reader.required(table, "path")?;
    if !path.starts_with('/') {
        let found = reader.file.error("debian-path", format!("`{path}` is no absolute path"), &table.place);
        reader.problems.push(found);
    }
    let mode = reader.string_at(table, "mode").and_then(|(text, place)| {
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
        if mode.is_none() {
            let found = reader.file.error("debian-mode", format!("`{text}` is no mode"), &place);
            reader.problems.push(found.help("write it in octal, as in `mode = \"0644\"`"));
        }
        mode
    });
    let kind = match kind {
        0 => ExtraKind::Directory,
        1 => match (reader.string(table, "text"), reader.string(table, "from")) {
            (Some(text), None) => ExtraKind::Text(text),
            (None, Some(from)) => ExtraKind::Copy(from),
            _ => {
                let found = reader.file.error(
                    "debian-file",
                    format!("`{path}` needs `text` or `from`, and not both"),
                    &table.place,
                );
                reader.problems.push(found);
                return None;
            }
        },
        _ => ExtraKind::Link(reader.required(table, "target")?),
    };
    let owner = reader.string(table, "owner").unwrap_or_default();
    Some(Extra { path, owner, mode, kind })
}

fn config(reader: &mut Reader<'_>, table: &Table<'_>) -> ImageConfig {
    reader.known(
        table,
        &["env", "entrypoint", "cmd", "user", "workdir", "labels", "ports", "volumes", "stop-signal"],
    );
    let words = |reader: &mut Reader<'_>, key: &str| -> Vec<String> {
        reader.strings(table, key).into_iter().map(|(word, _)| word).collect()
    };
    let some = |words: Vec<String>| (!words.is_empty()).then_some(words);
    let pairs = |reader: &mut Reader<'_>, key: &str| -> Vec<Pair> {
        let pairs = reader.pairs(table, key).into_iter();
        pairs.map(|(key, value)| Pair { key, value }).collect()
    };
    ImageConfig {
        env: pairs(reader, "env"),
        labels: pairs(reader, "labels"),
        entrypoint: some(words(reader, "entrypoint")),
        cmd: some(words(reader, "cmd")),
        exposed_ports: words(reader, "ports")
            .into_iter()
            .map(|port| if port.contains('/') { port } else { port + "/tcp" })
            .collect(),
        volumes: words(reader, "volumes"),
        user: reader.string(table, "user").unwrap_or_default(),
        working_dir: reader.string(table, "workdir").unwrap_or_default(),
        stop_signal: reader.string(table, "stop-signal").unwrap_or_default(),
        ..ImageConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Recipe, Vec<String>> {
        Recipe::parse(Text { name: "debian.toml", text }).map_err(|found| {
            let place =
                |one: &Diagnostic| one.primary.as_ref().map_or((0, 0), |at| (at.start.line, at.start.column));
            found
                .iter()
                .map(|one| format!("{:?} {}: {} {}", place(one), one.code, one.message, one.help))
                .collect()
        })
    }

    #[test]
    fn a_whole_file_is_read() {
        let recipe = parse(
            "packages = ['bash', 'curl=7.88.1-10+deb12u5']\nbase = 'essential'\nexclude = ['usr/share/doc']\n[[source]]\nsuite = 'bookworm'\nrelease = 'any'\n[[user]]\nname = 'app'\nuid = 1000\n[[file]]\npath = '/etc/motd'\ntext = 'hi'\nmode = '0600'\n[[link]]\npath = '/x'\ntarget = 'y'\n[image]\nenv = { A = '1' }\ncmd = ['bash']\nports = ['80', '53/udp']\n",
        )
        .unwrap();
        assert_eq!(
            recipe.packages[1].0,
            Wanted { name: "curl".into(), version: Some("7.88.1-10+deb12u5".into()) }
        );
        assert_eq!((recipe.base, recipe.merged_usr, recipe.recommends), (Base::Essential, true, false));
        assert_eq!(
            (recipe.sources[0].pin.clone(), recipe.sources[0].components.join(" ")),
            (Pin::Any, "main".into())
        );
        assert_eq!((recipe.users[0].gid, recipe.users[0].home.as_str()), (1000, "/home/app"));
        assert_eq!(recipe.entries[0].mode, Some(0o600));
        assert_eq!(recipe.config.exposed_ports, ["80/tcp", "53/udp"]);
    }

    #[test]
    fn every_mistake_is_told_at_its_place() {
        let told = parse(
            "packges = []\npackages = ['a b', 3]\nbase = 'all'\n[[source]]\nsuite = '../x'\nrelease = 'sha256:12'\n[[file]]\npath = 'etc'\nmode = '9'\n[[user]]\nname = 'A'\n[image]\nenv = 'A=1'\n",
        )
        .unwrap_err()
        .join("\n");
        for expected in [
            "(1, 1) debian-key: there is no `packges` did you mean `packages`?",
            "(2, 13) debian-package: `a b` is no package",
            "(2, 20) debian-type: a string is wanted here, not a integer",
            "(3, 8) debian-word: `all` is not known here nothing, essential or required",
            "(4, 1) debian-source: `../x` is no suite or component",
            "(6, 11) debian-pin",
            "(7, 1) debian-path: `etc` is no absolute path",
            "(7, 1) debian-file: `etc` needs `text` or `from`",
            "(9, 8) debian-mode: `9` is no mode",
            "(10, 1) debian-user: `A` is no name of a user",
            "(13, 7) debian-type",
        ] {
            assert!(told.contains(expected), "{expected}\n---\n{told}");
        }
        assert!(parse("packages = [\n").unwrap_err()[0].contains("debian-syntax"));
        assert!(parse("packages = ['aa']\n").unwrap_err()[0].contains("names no suite"));
    }
}
