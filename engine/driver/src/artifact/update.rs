//! `kiln plugin update`: lets the names in a lock file mean what they mean now.

use std::path::Path;

use kiln_core::{BlobDigest, Diagnostic, ImageRef};

use super::lockfile::{LockEntry, LockFile};
use super::{SCHEME, plugin_reference, shown, wrong};
use crate::Driver;
use crate::error::BuildError;

/// What became of one entry.
#[derive(Clone, Debug)]
pub struct UpdatedPlugin {
    /// `oci://…`
    pub source: String,
    pub name: String,
    /// The manifest before; absent for a new entry.
    pub from: Option<BlobDigest>,
    pub to: BlobDigest,
    /// Capabilities that it did not ask for before.
    pub accepted: Vec<String>,
}

impl Driver {
    /// Asks the registries what the names in the lock file mean now, of those that are `wanted` by name or by source, or
    /// of all; a source that the file does not have is added. All is changed or nothing.
    ///
    /// A plugin that asks for more than it did before is taken only if each capability that is new is in `accept`.
    ///
    /// # Errors
    ///
    /// When a name is unknown, a plugin cannot be had or is not signed as it has to be, or wants more than before.
    pub fn update_plugins(
        &self,
        path: &Path,
        wanted: &[String],
        accept: &[String],
    ) -> Result<Vec<UpdatedPlugin>, BuildError> {
        let file = LockFile::read(path)?;
        let chosen = chosen(&file, path, wanted)?;
        let mut updated = Vec::new();
        let mut entries = Vec::new();
        for reference in chosen {
            let artifact = self.asked_plugin(&reference)?;
            self.check_trust(&artifact)?;
            let entry = LockEntry::of(&artifact, &self.summary_of(&artifact)?);
            self.admit(&artifact)?;
            let before = file.get(&reference);
            let accepted = new_capabilities(before, &entry);
            if let Some(refused) = accepted.iter().find(|capability| !accept.contains(capability)) {
                return Err(grown(&reference, &entry, refused, &accepted));
            }
            updated.push(UpdatedPlugin {
                source: shown(&reference),
                name: entry.name.clone(),
                from: before.map(|before| before.manifest),
                to: entry.manifest,
                accepted,
            });
            entries.push((reference, entry));
        }
        LockFile::change(path, |file| {
            for (reference, entry) in entries {
                file.put(&reference, entry);
            }
        })?;
        Ok(updated)
    }
}

/// Which names are meant, each once.
fn chosen(file: &LockFile, path: &Path, wanted: &[String]) -> Result<Vec<ImageRef>, BuildError> {
    let known = |name: &str| plugin_reference(name);
    if wanted.is_empty() {
        return file.entries().map(|(name, _)| known(name)).collect();
    }
    let mut chosen = Vec::new();
    for text in wanted {
        let by_name: Vec<&str> =
            file.entries().filter(|(_, entry)| entry.name == *text).map(|(name, _)| name).collect();
        if !by_name.is_empty() {
            for name in by_name {
                chosen.push(known(name)?);
            }
            continue;
        }
        let is_source = text.starts_with(SCHEME);
        match plugin_reference(text) {
            Ok(reference) if reference.digest.is_some() => {
                return Err(wrong(
                    "lock",
                    format!("`{text}` is fixed by its digest, so a lock file has nothing to say of it"),
                ));
            }
            Ok(reference) if is_source || file.get(&reference).is_some() => chosen.push(reference),
            Err(error) if is_source => return Err(error),
            _ => {
                let there: Vec<String> =
                    file.entries().map(|(_, entry)| format!("`{}`", entry.name)).collect();
                let help = match there.is_empty() {
                    true => format!("it has none; `{SCHEME}REGISTRY/REPOSITORY:TAG` adds one"),
                    false => {
                        format!("there is {}; `{SCHEME}REGISTRY/REPOSITORY:TAG` adds one", there.join(", "))
                    }
                };
                let message = format!("the lock file `{}` has no plugin `{text}`", path.display());
                return Err(BuildError::wrong(Diagnostic::error("lock", message).help(help)));
            }
        }
    }
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

/// What a plugin asks for and did not when the name was last looked up; of a new one nothing, for it is chosen as it is.
fn new_capabilities(before: Option<&LockEntry>, now: &LockEntry) -> Vec<String> {
    let Some(before) = before else { return Vec::new() };
    now.capabilities.iter().filter(|one| !before.capabilities.contains(one)).cloned().collect()
}

fn grown(reference: &ImageRef, entry: &LockEntry, refused: &str, all: &[String]) -> BuildError {
    let accept: Vec<String> = all.iter().map(|capability| format!("--accept {capability}")).collect();
    BuildError::wrong(
        Diagnostic::error(
            "lock",
            format!(
                "the plugin `{}` ({}) wants `{refused}` now, which it did not when it was locked; nothing is changed",
                shown(reference),
                entry.manifest
            ),
        )
        .help(format!(
            "if it may: `kiln plugin update {} {}`",
            accept.join(" "),
            shown(reference)
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(capabilities: &[&str]) -> LockEntry {
        let digest = BlobDigest(kiln_core::Digest::of(b""));
        LockEntry {
            name: "apt".into(),
            manifest: digest,
            wasm: digest,
            contract: "0.1.0".into(),
            capabilities: capabilities.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    fn said(error: BuildError) -> String {
        let BuildError::Wrong(found) = error else { panic!("{error}") };
        format!("{} {}", found[0].message, found[0].help)
    }

    #[test]
    fn names_and_sources_are_found_and_others_are_refused() {
        let mut file = LockFile::default();
        file.put(&ImageRef::parse("r.example.com/apt:1").unwrap(), entry(&[]));
        let choose = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
            chosen(&file, Path::new("kiln.lock"), &wanted)
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
                .map_err(said)
        };
        let apt = Ok(vec!["r.example.com/apt:1".to_owned()]);
        assert_eq!(choose(&[]), apt);
        assert_eq!(choose(&["apt", "oci://r.example.com/apt:1", "r.example.com/apt:1"]), apt);
        assert_eq!(choose(&["oci://r.example.com/git"]), Ok(vec!["r.example.com/git:latest".to_owned()]));
        assert!(choose(&["git"]).unwrap_err().contains("there is `apt`"));
        let pinned = format!("oci://r.example.com/apt@{}", kiln_core::Digest::of(b""));
        assert!(choose(&[&pinned]).unwrap_err().contains("fixed by its digest"));
    }

    #[test]
    fn only_what_is_new_needs_a_word() {
        assert!(new_capabilities(None, &entry(&["solve"])).is_empty());
        assert!(new_capabilities(Some(&entry(&["context", "solve"])), &entry(&["context"])).is_empty());
        let new = new_capabilities(Some(&entry(&["context"])), &entry(&["context", "solve"]));
        assert_eq!(new, ["solve"]);
        let told = said(grown(&ImageRef::parse("r.example.com/a:1").unwrap(), &entry(&[]), "solve", &new));
        assert!(told.contains("wants `solve` now"), "{told}");
        assert!(told.contains("kiln plugin update --accept solve oci://r.example.com/a:1"), "{told}");
    }
}
