//! Which plugins have to be signed, and by whom.

use std::path::PathBuf;

use kiln_core::{Diagnostic, ImageRef};
use kiln_oci::artifact::{PublicKey, SignedBytes};
use kiln_oci::registry::VerifyError;

use super::Artifact;
use crate::Driver;
use crate::error::BuildError;
use crate::forms::one_line;
use crate::registries::FetchError;

/// The table `[trust]` of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Files with public keys.
    pub keys: Vec<PathBuf>,
    /// Names of repositories, such as `registry.example.com/*`, whose plugins need a signature; `*` is any text, and the
    /// name of a registry alone is everything in it. Where there are keys and no names, all plugins of registries need
    /// one.
    pub require: Vec<String>,
}

impl Trust {
    /// The name by which a plugin needs a signature, if it does.
    fn requires(&self, reference: &ImageRef) -> Option<&str> {
        if self.require.is_empty() && !self.keys.is_empty() {
            return Some("*");
        }
        // Hosts are in lower case, and the same with and without the port that goes without saying.
        let host = reference.domain.strip_suffix(":443").unwrap_or(&reference.domain);
        let repository = format!("{host}/{}", reference.path);
        let asks = |pattern: &str| {
            let pattern = pattern.to_ascii_lowercase().replacen(":443", "", 1);
            fits(&pattern, &repository) || pattern == host
        };
        self.require.iter().map(String::as_str).find(|pattern| asks(pattern))
    }

    fn public_keys(&self) -> Result<Vec<PublicKey>, BuildError> {
        let read = |path: &PathBuf| {
            let what = || format!("the key `{}` of `[trust]` cannot be used", path.display());
            let text = std::fs::read(path).map_err(|error| BuildError::world(what(), error))?;
            PublicKey::parse(&text).map_err(|error| BuildError::world(what(), error))
        };
        self.keys.iter().map(read).collect()
    }

    fn names(&self) -> String {
        self.keys.iter().map(|key| format!("`{}`", key.display())).collect::<Vec<_>>().join(", ")
    }
}

/// Whether `*`s in the pattern can stand for texts so that it is the name.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, rest)) => name.strip_prefix(before).is_some_and(|name| {
            (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| fits(rest, &name[at..]))
        }),
    }
}

impl Driver {
    /// Refuses a plugin that is not signed although it has to be. What was verified once is not asked for again: a
    /// signature stays what it is.
    pub(super) fn check_trust(&self, artifact: &Artifact) -> Result<(), BuildError> {
        let trust = &self.trust;
        let Some(pattern) = trust.requires(&artifact.reference) else { return Ok(()) };
        let refused = |why: String, help: String| {
            let shown = format!("the plugin `{}` ({}) cannot be used", artifact.shown(), artifact.manifest);
            BuildError::wrong(Diagnostic::error("signature", format!("{shown}: {why}")).help(help))
        };
        if trust.keys.is_empty() {
            return Err(refused(
                format!(
                    "`[trust]` of the configuration requires a signature for `{pattern}`, and names no keys"
                ),
                "name the files of public keys with `keys`".to_owned(),
            ));
        }
        let keys = trust.public_keys()?;
        if keys.iter().any(|key| self.was_signed(&key.id().hex(), artifact.manifest)) {
            return Ok(());
        }
        let what = SignedBytes { digest: artifact.manifest, bytes: &artifact.bytes };
        let key = match self.registries.client()?.verify(&artifact.reference, what, &keys) {
            Ok(key) => key,
            Err(VerifyError::Registry(error)) => {
                let error = BuildError::from(FetchError::from(error));
                let BuildError::World { source: Some(source), .. } = error else { return Err(error) };
                return Err(BuildError::World {
                    what: format!("the signatures of the plugin `{}` could not be read", artifact.shown()),
                    source: Some(source),
                    help: String::new(),
                });
            }
            Err(error) => {
                return Err(refused(
                    one_line(&error),
                    format!(
                        "`[trust]` of the configuration requires for `{pattern}` a signature by {}",
                        trust.names()
                    ),
                ));
            }
        };
        self.note_signed(&keys[key].id().hex(), artifact.manifest)
            .map_err(|error| BuildError::world("could not write to the store", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories_are_compared_as_a_whole() {
        for (pattern, name, expected) in [
            ("r.example.com/*", "r.example.com/team/apt", true),
            ("r.example.com/*", "r.example.com.evil.org/apt", false),
            ("r.example.com/team/apt", "r.example.com/team/apt", true),
            ("r.example.com/team/apt", "r.example.com/team/apt2", false),
            ("*/team/*", "r.example.com/team/apt", true),
            ("*", "docker.io/library/x", true),
            ("", "docker.io/library/x", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn keys_without_names_mean_everything() {
        let reference = ImageRef::parse("r.example.com/team/apt:1").unwrap();
        let key = || vec![PathBuf::from("k.pub")];
        let trust = |keys, require: &[&str]| Trust {
            keys,
            require: require.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(trust(key(), &[]).requires(&reference), Some("*"));
        assert_eq!(trust(key(), &["other/*"]).requires(&reference), None);
        assert_eq!(trust(Vec::new(), &["r.*"]).requires(&reference), Some("r.*"));
        assert_eq!(trust(Vec::new(), &["r.example.com"]).requires(&reference), Some("r.example.com"));
        assert_eq!(trust(Vec::new(), &["example.com"]).requires(&reference), None);
        for spelling in ["R.Example.com/team/apt:1", "r.example.com:443/team/apt:1"] {
            let reference = ImageRef::parse(spelling).unwrap();
            for pattern in ["r.example.com/*", "R.example.com", "r.example.com:443/team/*"] {
                assert_eq!(trust(Vec::new(), &[pattern]).requires(&reference), Some(pattern), "{spelling}");
            }
        }
        assert_eq!(trust(Vec::new(), &[]).requires(&reference), None);
    }
}
