//! `[plugins.NAME]` as configuration files write it, in the site's and in the repository's alike.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use kiln_core::Digest;
use kiln_driver::{Grant, Origin, PluginSource, PluginUse, PolicyMode};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// What one file says of a plugin. What it does not say, an earlier file may have said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginTable {
    pub source: Option<Source>,
    pub digest: Option<Pin>,
    pub allow: Option<Vec<Allowed>>,
    #[serde(default)]
    pub options: BTreeMap<String, Values>,
    pub mode: Option<Mode>,
    #[serde(default)]
    pub codes: BTreeMap<String, Mode>,
}

/// A file, `oci://` and a reference, or `builtin:` and a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum Source {
    File(PathBuf),
    Registry(String),
    Builtin(String),
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("builtin:") {
            return Ok(Self::Builtin(name.to_owned()));
        }
        match text.strip_prefix("oci://") {
            Some("") => Err("`oci://` wants a reference after it".to_owned()),
            Some(reference) => Ok(Self::Registry(reference.to_owned())),
            None if text.is_empty() => {
                Err("a source is a file, `oci://` and a reference, or `builtin:` and a name".to_owned())
            }
            None => Ok(Self::File(text.into())),
        }
    }
}

impl Source {
    /// Paths count from the file in which they are written.
    pub fn seen_from(self, file: &Path) -> PluginSource {
        match self {
            Self::Registry(reference) => PluginSource::Registry(reference),
            Self::Builtin(name) => PluginSource::Builtin(name),
            Self::File(path) => PluginSource::File(match file.parent() {
                Some(directory) => directory.join(path),
                None => path,
            }),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pin(pub Digest);

impl TryFrom<String> for Pin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| "a digest is `sha256:` and 64 digits and letters a to f".to_owned())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Allowed(pub Grant);

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: kiln_driver::GrantError| error.to_string())
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Enforce,
    Warn,
    Off,
}

impl From<Mode> for PolicyMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::Warn => Self::Warn,
            Mode::Off => Self::Off,
        }
    }
}

/// What an option is set to: one value, or several of an option that takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(pub Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a whole number, true or false, or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![text.to_owned()]))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Values, E> {
                Ok(Values(vec![number.to_string()]))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Values, E> {
                Ok(Values(vec![truth.to_string()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    values.push(text);
                }
                Ok(Values(values))
            }
        }

        deserializer.deserialize_any(Read)
    }
}

/// Name and value of each.
pub fn options(table: &BTreeMap<String, Values>) -> Vec<(String, String)> {
    table
        .iter()
        .flat_map(|(name, Values(values))| values.iter().map(|value| (name.clone(), value.clone())))
        .collect()
}

/// The plugin that is meant by a table which has a source.
pub fn plugin_use(name: &str, source: PluginSource, table: &PluginTable, origin: Origin) -> PluginUse {
    PluginUse {
        name: Some(name.to_owned()),
        digest: table.digest.map(|Pin(digest)| digest),
        allow: table.allow.iter().flatten().map(|Allowed(grant)| grant.clone()).collect(),
        options: options(&table.options),
        mode: table.mode.map(PolicyMode::from).unwrap_or_default(),
        codes: table.codes.iter().map(|(code, mode)| (code.clone(), (*mode).into())).collect(),
        ..PluginUse::new(source, origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PluginTable, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_plugin_is_read() {
        let table = read(
            "source = \"p.wasm\"\nallow = [\"solve:files\"]\nmode = \"warn\"\ncodes = { a = \"off\" }\n\
             options = { text = \"x\", number = 7, truth = true, list = [\"a\", \"b\"] }\n",
        )
        .unwrap();
        let source = table.source.clone().unwrap().seen_from(Path::new("/etc/kiln/config.toml"));
        assert_eq!(source, PluginSource::File("/etc/kiln/p.wasm".into()));
        let wanted = plugin_use("p", source, &table, Origin::Site);
        let options: Vec<_> = wanted.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(options, ["list=a", "list=b", "number=7", "text=x", "truth=true"]);
        assert_eq!((wanted.mode, wanted.codes["a"]), (PolicyMode::Warn, PolicyMode::Off));
        assert_eq!(wanted.allow[0].to_string(), "solve:files");
        let table = read("source = \"builtin:policy\"\n").unwrap();
        let source = table.source.unwrap().seen_from(Path::new("/etc/kiln/config.toml"));
        assert_eq!(source, PluginSource::Builtin("policy".into()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, says) in [
            ("sauce = \"x\"", "unknown field `sauce`"),
            ("source = \"oci://\"", "wants a reference"),
            ("source = \"\"", "a source is a file"),
            ("digest = \"sha256:12\"", "64 digits"),
            ("allow = [\"network\"]", "`network` cannot be granted"),
            ("mode = \"strict\"", "unknown variant `strict`"),
            ("options = { a = 1.5 }", "a text, a whole number"),
            ("options = { a = [1] }", "expected a string"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says) && error.contains("line 1"), "{error}");
        }
    }
}
