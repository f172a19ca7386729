//! Configuration files: /etc/kiln/config.toml, then the user's; or only the one that KILN_CONFIG names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kiln_driver::RegistryHost;
use serde::Deserialize;

/// What can be configured. A key that kiln does not know is an error: it would be believed to do something.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    registry: BTreeMap<String, Host>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Host {
    mirrors: Option<Vec<String>>,
    plain_http: Option<bool>,
    /// A file of PEM certificates to trust besides the usual ones.
    ca: Option<PathBuf>,
}

/// Registry hosts by name, of all files that apply; what a later file says of a host replaces the same key.
pub fn registries() -> Result<BTreeMap<String, RegistryHost>> {
    let mut hosts = BTreeMap::<String, RegistryHost>::new();
    let (files, required) = match std::env::var_os("KILN_CONFIG") {
        Some(file) if !file.is_empty() => (vec![PathBuf::from(file)], true),
        _ => {
            let user = user_directory("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("kiln/config.toml"));
            ([PathBuf::from("/etc/kiln/config.toml")].into_iter().chain(user).collect(), false)
        }
    };
    for path in files {
        for (name, host) in read(&path, required)?.registry {
            let known = hosts.entry(name).or_default();
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
    }
    Ok(hosts)
}

fn read(path: &Path, required: bool) -> Result<File> {
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
