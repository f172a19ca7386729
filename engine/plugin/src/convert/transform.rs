//! What a transform answers, checked.

use std::collections::BTreeSet;

use kiln_core::Platform;
use kiln_core::plan::Attestation;
use serde_json::value::RawValue;

use super::{Fault, config, findings, graph, pairs, text};
use crate::bindings::hooks::image_transform as wit;
use crate::bindings::wit::frontend_types;
use crate::error::PluginId;
use crate::limits;
use crate::transform::{Fragment, Squash, Transformation};

/// Files that one transform may write beside an image, and how long the path of one may be.
const EXTRA_FILES: usize = 1_000;
const PATH_BYTES: usize = 4_096;
/// Attestations that one transform may add.
const ATTESTATIONS: usize = 100;

/// # Errors
///
/// For anything that cannot be done.
pub(crate) fn read(
    answer: wit::Changes,
    plugin: &PluginId,
    platform: &Platform,
) -> Result<Transformation, Fault> {
    let fragment = match (answer.fragment, answer.root) {
        (None, None) => None,
        (Some(ops), Some(root)) => {
            let (graph, root) = graph::transformed(ops, root, &plugin.digest, platform)
                .map_err(|fault| Fault::new(fault.to_string()).at("fragment"))?;
            Some(Fragment { graph, root })
        }
        (Some(_), None) => {
            return Err(Fault::new("it has a fragment and does not say what of it is the root"));
        }
        (None, Some(_)) => return Err(Fault::new("it names a root and has no fragment")),
    };
    let annotations = pairs("annotations", answer.set_annotations)?;
    if annotations.iter().any(|(key, _)| key.is_empty()) {
        return Err(Fault::new("an annotation has no key"));
    }
    let mut keys = BTreeSet::new();
    if let Some((key, _)) = annotations.iter().find(|(key, _)| !keys.insert(key.as_str())) {
        return Err(Fault::new(format!("the annotation `{key}` is set twice")));
    }
    if answer.add_attestations.len() > ATTESTATIONS {
        let count = answer.add_attestations.len();
        return Err(Fault::new(format!("{count} attestations (limit {ATTESTATIONS})")));
    }
    Ok(Transformation {
        config: answer.config.map(config::read).transpose()?,
        attestations: answer.add_attestations.into_iter().map(attestation).collect::<Result<_, _>>()?,
        annotations,
        squash: match answer.squash {
            wit::Squash::KeepLayers => Squash::KeepLayers,
            wit::Squash::AboveBase => Squash::AboveBase,
            wit::Squash::All => Squash::All,
        },
        fragment,
        extra_files: extra_files(answer.extra_files)?,
        diagnostics: findings::diagnostics(answer.diagnostics, &plugin.name)?,
    })
}

fn attestation(attestation: frontend_types::Attestation) -> Result<Attestation, Fault> {
    let predicate_type = text("predicate type", attestation.predicate_type)?;
    let is_uri =
        predicate_type.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
            && !predicate_type.contains(char::is_whitespace);
    if !is_uri {
        return Err(Fault::new(format!("the predicate type `{predicate_type}` is no URI")));
    }
    let predicate = text("predicate", attestation.predicate)?;
    let at = || format!("the attestation `{predicate_type}`");
    let raw: &RawValue = serde_json::from_str(&predicate)
        .map_err(|error| Fault::new(format!("its predicate is not JSON: {error}")).at(at()))?;
    if !raw.get().starts_with('{') {
        return Err(Fault::new("its predicate is no JSON object").at(at()));
    }
    Ok(Attestation { predicate_type, predicate })
}

/// Paths are relative, in their one spelling, and none is a directory of another.
fn extra_files(files: Vec<(String, Vec<u8>)>) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    if files.len() > EXTRA_FILES {
        return Err(Fault::new(format!("{} extra files (limit {EXTRA_FILES})", files.len())));
    }
    let mut paths: BTreeSet<&str> = BTreeSet::new();
    for (path, bytes) in &files {
        let wrong = |why: &str| Fault::new(format!("the extra file `{}` {why}", printable(path)));
        if path.is_empty() || path.len() > PATH_BYTES {
            return Err(wrong("has no path, or none that is short enough"));
        }
        if path.contains('\0') {
            return Err(wrong("has a NUL in its path"));
        }
        if path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(wrong("has a path that is absolute, leads upwards, or has an empty part"));
        }
        if bytes.len() > limits::FILE_BYTES {
            return Err(wrong(&format!("is longer than {} MiB", limits::FILE_BYTES >> 20)));
        }
        if !paths.insert(path) {
            return Err(wrong("is there twice"));
        }
    }
    for path in &paths {
        let mut parents = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        if let Some(parent) = parents.find(|parent| paths.contains(parent)) {
            return Err(Fault::new(format!("the extra file `{parent}` is also the directory of `{path}`")));
        }
    }
    Ok(files)
}

fn printable(path: &str) -> String {
    crate::state::printable(path, 80)
}

#[cfg(test)]
mod tests {
    use kiln_core::Digest;

    use super::*;
    use crate::bindings::wit::graph::{Graph, Hole, Op, OpKind, Output};
    use crate::bindings::wit::types::Pair;

    fn changes() -> wit::Changes {
        wit::Changes {
            config: None,
            set_annotations: Vec::new(),
            add_attestations: Vec::new(),
            squash: wit::Squash::KeepLayers,
            fragment: None,
            root: None,
            extra_files: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    fn fault(change: impl FnOnce(&mut wit::Changes)) -> String {
        let mut answer = changes();
        change(&mut answer);
        let id = PluginId { name: "t".to_owned(), version: String::new(), digest: Digest::of(b"t") };
        match read(answer, &id, &Platform::default()) {
            Ok(_) => "fine".to_owned(),
            Err(fault) => fault.to_string(),
        }
    }

    fn graph_of(kinds: Vec<OpKind>) -> Graph {
        let op = |kind| Op {
            kind,
            platform: None,
            name: String::new(),
            group: String::new(),
            no_cache: false,
            spans: Vec::new(),
        };
        Graph { ops: kinds.into_iter().map(op).collect() }
    }

    #[test]
    fn every_answer_that_cannot_be_done_has_its_words() {
        let root = Some(Output { op: 0, slot: 0 });
        assert_eq!(fault(|_| ()), "fine");
        assert_eq!(
            fault(|it| (it.fragment, it.root) = (Some(graph_of(vec![OpKind::Hole(Hole::Base)])), root)),
            "fine"
        );
        assert_eq!(fault(|it| it.root = root), "it names a root and has no fragment");
        assert_eq!(
            fault(|it| it.fragment = Some(graph_of(Vec::new()))),
            "it has a fragment and does not say what of it is the root"
        );
        assert_eq!(
            fault(|it| (it.fragment, it.root) = (Some(graph_of(Vec::new())), root)),
            "fragment: the root: it reads op 0, which does not come before it"
        );
        assert_eq!(
            fault(|it| (it.fragment, it.root) = (Some(graph_of(vec![OpKind::Hole(Hole::Context)])), root)),
            "fragment: op 0: it is a hole (context) that is not the base, which is all that a transform has"
        );
        let image = crate::bindings::wit::graph::ImageSource { reference: "alpine".to_owned(), pinned: None };
        assert_eq!(
            fault(|it| (it.fragment, it.root) = (Some(graph_of(vec![OpKind::Image(image)])), root)),
            "fragment: op 0: a transform may rearrange files and bring in nothing new"
        );
        let pair = |key: &str| Pair { key: key.to_owned(), value: "v".to_owned() };
        assert_eq!(fault(|it| it.set_annotations = vec![pair("")]), "an annotation has no key");
        assert_eq!(
            fault(|it| it.set_annotations = vec![pair("a"), pair("b"), pair("a")]),
            "the annotation `a` is set twice"
        );
    }

    #[test]
    fn an_attestation_is_a_json_object_under_a_uri() {
        let check = |predicate_type: &str, predicate: &str, expected: &str| {
            let one = frontend_types::Attestation {
                predicate_type: predicate_type.to_owned(),
                predicate: predicate.to_owned(),
            };
            let found = fault(|it| it.add_attestations = vec![one]);
            assert!(found.starts_with(expected), "{predicate_type} {predicate}: {found}");
        };
        check("https://spdx.dev/Document", " {\"a\": 1.50} ", "fine");
        check("sbom", "{}", "the predicate type `sbom` is no URI");
        check("https://x y", "{}", "the predicate type");
        check("https://x/y", "{", "the attestation `https://x/y`: its predicate is not JSON");
        check("https://x/y", "[]", "the attestation `https://x/y`: its predicate is no JSON object");
    }

    #[test]
    fn extra_files_stay_where_they_are_put() {
        let check = |paths: &[&str], expected: &str| {
            let files = paths.iter().map(|path| ((*path).to_owned(), Vec::new())).collect();
            let found = fault(|it| it.extra_files = files);
            assert!(found.contains(expected), "{paths:?}: {found}");
        };
        check(&["a", "b/c", "b/d"], "fine");
        for bad in ["/a", "../a", "a/../b", "a//b", "a/", "./a"] {
            check(&[bad], "leads upwards, or has an empty part");
        }
        check(&[""], "has no path");
        check(&["a\0b"], "has a NUL");
        check(&["a", "a"], "is there twice");
        check(&["a/b/c", "a"], "the extra file `a` is also the directory of `a/b/c`");
        let large = vec![("a".to_owned(), vec![0; limits::FILE_BYTES + 1])];
        assert!(fault(|it| it.extra_files = large).contains("is longer than 16 MiB"));
        let many = (0..=EXTRA_FILES).map(|number| (number.to_string(), Vec::new())).collect();
        assert_eq!(fault(|it| it.extra_files = many), "1001 extra files (limit 1000)");
    }
}
