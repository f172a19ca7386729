//! Configuration files: /etc/kiln/config.toml, then the user's; or only the one that KILN_CONFIG names.

pub mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use kiln_driver::{Date, Exemption, Origin, Pattern, PluginSource, PluginUse, RegistryHost, Trust};
use serde::Deserialize;

use table::{PluginTable, plugin_use};

/// What is configured, of all files that apply.
#[derive(Debug, Default)]
pub struct Config {
    /// By name.
    pub registries: BTreeMap<String, RegistryHost>,
    pub plugins: Vec<PluginUse>,
    /// Keyword, and the plugin that is to have it.
    pub instructions: BTreeMap<String, String>,
    pub exemptions: Vec<Exemption>,
    pub trust: Trust,
    /// Names of frontends that build files may ask for.
    pub syntax_allow: Vec<Pattern>,
}

/// What can be configured. A key that kiln does not know is an error: it would be believed to do something.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    registry: BTreeMap<String, Host>,
    #[serde(default)]
    plugins: BTreeMap<String, PluginTable>,
    #[serde(default)]
    instructions: BTreeMap<String, String>,
    #[serde(default)]
    exemptions: Vec<ExemptionTable>,
    #[serde(default)]
    trust: TrustTable,
    #[serde(default)]
    syntax: Syntax,
}

/// About the lines of build files that name a frontend.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Syntax {
    #[serde(default)]
    allow: Vec<NamePattern>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct NamePattern(Pattern);

impl TryFrom<String> for NamePattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Pattern::parse(&text).map(Self)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Host {
    mirrors: Option<Vec<String>>,
    plain_http: Option<bool>,
    /// A file of PEM certificates to trust besides the usual ones.
    ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TrustTable {
    #[serde(default)]
    keys: Vec<PathBuf>,
    #[serde(default)]
    require: Vec<String>,
}

impl TrustTable {
    /// Adds what the file says to what others said: none takes away from another. Paths are beside the file.
    fn add_to(self, trust: &mut Trust, file: &Path) {
        if self.require.is_empty() && !self.keys.is_empty() {
            // Said of everything here, it holds although another file names repositories.
            trust.require.push("*".to_owned());
        }
        let beside = file.parent().unwrap_or(Path::new(""));
        trust.keys.extend(self.keys.into_iter().map(|key| beside.join(key)));
        trust.require.extend(self.require);
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ExemptionTable {
    rule: String,
    #[serde(default)]
    scope: String,
    owner: String,
    reason: String,
    expires: Day,
}

/// `2027-01-31`, as a date of TOML or as text.
#[derive(Debug, Deserialize)]
#[serde(try_from = "toml::Value")]
struct Day(Date);

impl TryFrom<toml::Value> for Day {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        let wrong = || "a date is a day, such as 2027-01-31".to_owned();
        let written = match value {
            toml::Value::Datetime(written) => written,
            toml::Value::String(text) => text.parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        match (written.date, written.time) {
            (Some(date), None) => Ok(Self(Date { year: date.year, month: date.month, day: date.day })),
            _ => Err(wrong()),
        }
    }
}

/// What the files say of one plugin so far.
#[derive(Default)]
struct Merged {
    table: PluginTable,
    /// Paths made absolute.
    source: Option<PluginSource>,
    /// The last file that said something.
    file: PathBuf,
}

/// Reads all files that apply; what a later file says replaces the same key of the same thing.
///
/// # Errors
///
/// A file that cannot be read or says what it cannot mean.
pub fn read() -> Result<Config> {
    let (files, required) = match std::env::var_os("KILN_CONFIG") {
        Some(file) if !file.is_empty() => (vec![PathBuf::from(file)], true),
        _ => {
            let user = user_directory("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("kiln/config.toml"));
            ([PathBuf::from("/etc/kiln/config.toml")].into_iter().chain(user).collect(), false)
        }
    };
    let mut config = Config::default();
    let mut plugins = BTreeMap::<String, Merged>::new();
    for path in files {
        let file = read_file(&path, required)?;
        for (name, host) in file.registry {
            let known = config.registries.entry(name).or_default();
            if let Some(mirrors) = host.mirrors {
                known.mirrors = mirrors;
            }
            if let Some(plain_http) = host.plain_http {
                known.plain_http = plain_http;
            }
            if host.ca.is_some() {
                known.ca = host.ca;
            }
        }
        for (name, table) in file.plugins {
            plugins.entry(name).or_default().say(table, &path);
        }
        config.instructions.extend(file.instructions);
        file.trust.add_to(&mut config.trust, &path);
        config.syntax_allow.extend(file.syntax.allow.into_iter().map(|NamePattern(pattern)| pattern));
        config.exemptions.extend(file.exemptions.into_iter().map(|table| Exemption {
            rule: table.rule,
            scope: table.scope,
            owner: table.owner,
            reason: table.reason,
            expires: table.expires.0,
        }));
    }
    for (name, Merged { table, source, file }) in plugins {
        let source = source.ok_or_else(|| {
            anyhow!("the configuration `{}` names the plugin `{name}` without a `source`", file.display())
        })?;
        config.plugins.push(plugin_use(&name, source, &table, Origin::Site));
    }
    Ok(config)
}

impl Merged {
    fn say(&mut self, table: PluginTable, file: &Path) {
        let known = &mut self.table;
        if let Some(source) = table.source {
            self.source = Some(source.seen_from(file));
            // A digest is one of a source.
            known.digest = None;
        }
        known.digest = table.digest.or(known.digest);
        known.allow = table.allow.or(known.allow.take());
        known.options.extend(table.options);
        known.mode = table.mode.or(known.mode);
        known.codes.extend(table.codes);
        file.clone_into(&mut self.file);
    }
}

fn read_file(path: &Path, required: bool) -> Result<File> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(File::default()),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("could not read the configuration `{}`", path.display()));
        }
    };
    toml::from_str(&text).with_context(|| format!("the configuration `{}` is wrong", path.display()))
}

/// A base directory of the XDG specification: the variable if it holds an absolute path, else below the home directory.
pub fn user_directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

/// The store's directory when neither `--root` nor KILN_ROOT says: /var/lib/kiln for root, else the user's data.
pub fn default_root() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/kiln".into());
    }
    user_directory("XDG_DATA_HOME", ".local/share")
        .map(|dir| dir.join("kiln"))
        .context("there is no HOME to keep the store in; give a directory with --root or KILN_ROOT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_file_wants_signed_no_other_takes_back() {
        let table = |text: &str| toml::from_str::<File>(text).unwrap().trust;
        let mut trust = Trust::default();
        table("trust = { keys = [\"a.pub\"] }").add_to(&mut trust, Path::new("/etc/kiln/config.toml"));
        table("trust = { require = [\"r.example.com/*\"] }")
            .add_to(&mut trust, Path::new("/home/config.toml"));
        assert_eq!(trust.keys, [Path::new("/etc/kiln/a.pub")]);
        assert_eq!(trust.require, ["*", "r.example.com/*"]);
    }

    #[test]
    fn an_exemption_has_an_owner_a_reason_and_a_last_day() {
        let read = |text: &str| toml::from_str::<File>(text).map_err(|error| error.to_string());
        let whole = "[[exemptions]]\nrule = \"stock/setuid\"\nowner = \"ops\"\nreason = \"ping\"\n";
        for date in ["2027-01-31", "\"2027-01-31\""] {
            let file = read(&format!("{whole}expires = {date}\n")).unwrap();
            assert_eq!(file.exemptions[0].expires.0.to_string(), "2027-01-31");
        }
        for (expires, says) in [
            ("", "missing field `expires`"),
            ("expires = \"soon\"", "2027-01-31"),
            ("expires = 2027-13-31", "line 5"),
            ("expires = 2027-01-31T00:00:00Z", "a date is a day"),
        ] {
            let error = read(&format!("{whole}{expires}\n")).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_later_file_replaces_what_it_names() {
        let table = |text: &str| toml::from_str::<PluginTable>(text).unwrap();
        let mut merged = Merged::default();
        merged.say(
            table("source = \"a.wasm\"\nmode = \"warn\"\noptions = { a = 1, b = 2 }"),
            Path::new("/etc/kiln/config.toml"),
        );
        merged.say(table("options = { b = 3 }"), Path::new("/home/me/config.toml"));
        let source = merged.source.clone().unwrap();
        assert_eq!(source, PluginSource::File("/etc/kiln/a.wasm".into()));
        let wanted = plugin_use("a", source, &merged.table, Origin::Site);
        assert_eq!(wanted.options, [("a".into(), "1".into()), ("b".into(), "3".into())]);
        assert_eq!(wanted.mode, kiln_driver::PolicyMode::Warn);
    }
}
