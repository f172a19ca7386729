//! Writes what was solved: layers become blobs, images become documents, and those go where they were asked to go.

mod archive;
mod attestation;
mod extra;
mod files;
mod image;
mod registry;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::Read;

use kiln_core::merged::Merged;
use kiln_core::tree::{Entry, Tree, TreePath};
use kiln_core::{Kind, Stack};

pub(crate) use archive::{Named, write_archive};
pub(crate) use files::write_whole;
pub(crate) use image::{ImageSet, ImageSettings, PLAIN_BLOB, WrittenImage, annotations_of, history_of};

use crate::error::BuildError;
use crate::outcome::{BuiltImage, Outcome, Top, Written};
use crate::policy::Product;
use crate::request::{Compression, Destination, OutputKind, OutputSpec};
use crate::resolve::Pinned;
use crate::session::Session;
use crate::solve::Solved;

impl Session<'_> {
    /// Writes every output that was asked for. Nothing stands under its final name before it is complete.
    pub(crate) fn export(&self, solved: &Solved<'_>) -> Result<Outcome, BuildError> {
        let mut outcome = Outcome { counts: solved.counts(), ..Outcome::default() };
        let mut made = Vec::new();
        for output in &self.request.outputs {
            made.push(match output.kind {
                OutputKind::Local | OutputKind::Tar => None,
                _ => Some(image::make(self, solved, &settings(solved.pinned, output))?),
            });
        }
        let products = made.iter().map(|set| match set {
            Some(set) => Product::Images(set),
            None => Product::Files(&solved.stacks),
        });
        let products: Vec<_> = self.request.outputs.iter().zip(products).collect();
        self.judge_outputs(solved.pinned, &solved.targets, &products)?;
        for (output, set) in self.request.outputs.iter().zip(&made) {
            if !carries_attestations(output.kind) {
                extra::tell_of_attestations(self, solved, output);
            }
            match set {
                Some(set) => self.deliver(set, output, &mut outcome)?,
                None => {
                    if output.kind == OutputKind::Local {
                        files::local(self, solved, output, &mut outcome)?;
                    } else {
                        files::tar(self, solved, output, &mut outcome)?;
                    }
                    let files = solved.extra.iter().map(|file| (&*file.path, Cow::Borrowed(&*file.bytes)));
                    extra::write(self, output, files.map(Ok), &mut outcome)?;
                }
            }
        }
        Ok(outcome)
    }

    /// The outcome of a request whose images are all known: nothing is solved, nothing new is written but outputs.
    pub(crate) fn known_outcome(&self, pinned: &Pinned) -> Result<Option<Outcome>, BuildError> {
        if self.must_transform_again() {
            return Ok(None);
        }
        let mut sets = Vec::new();
        for output in &self.request.outputs {
            if matches!(output.kind, OutputKind::Local | OutputKind::Tar) {
                return Ok(None);
            }
            match image::recall(self, pinned, &settings(pinned, output))? {
                Some(set) => sets.push((output, set)),
                None => return Ok(None),
            }
        }
        let products: Vec<_> = sets.iter().map(|(output, set)| (*output, Product::Images(set))).collect();
        self.judge_outputs(pinned, &pinned.targets, &products)?;
        let mut outcome = Outcome { counts: self.all_cached(pinned), ..Outcome::default() };
        for (output, set) in sets {
            self.deliver(&set, output, &mut outcome)?;
        }
        Ok(Some(outcome))
    }

    /// Puts images where an output wants them.
    fn deliver(
        &self,
        set: &image::ImageSet,
        output: &OutputSpec,
        outcome: &mut Outcome,
    ) -> Result<(), BuildError> {
        match output.kind {
            OutputKind::Store => self.put_in_store(set)?,
            OutputKind::Registry => registry::push(self, set, output, outcome)?,
            _ => {
                archive::write(self, set, output)?;
                outcome.written.push(Written(format!("written to {}", place(output))));
            }
        }
        let files = set.extra.iter().map(|(path, blob)| {
            let mut bytes = Vec::new();
            self.forms.open_blob(&blob.digest)?.read_to_end(&mut bytes).map_err(|error| {
                BuildError::world(format!("could not read `{path}` from the store"), error)
            })?;
            Ok((&**path, Cow::Owned(bytes)))
        });
        extra::write(self, output, files, outcome)?;
        self.describe(set, outcome);
        Ok(())
    }

    fn put_in_store(&self, set: &image::ImageSet) -> Result<(), BuildError> {
        let store = &self.driver.store;
        let failed = |error| BuildError::world("could not name the image in the store", error);
        for name in &self.request.tags {
            store.set_image(&name.to_string(), &set.top.digest).map_err(failed)?;
        }
        if self.request.tags.is_empty() {
            store.set_image(&crate::images::unnamed(&set.top.digest), &set.top.digest).map_err(failed)?;
        }
        Ok(())
    }

    fn describe(&self, set: &image::ImageSet, outcome: &mut Outcome) {
        if outcome.top.is_some() {
            return;
        }
        outcome.top = Some(Top {
            digest: set.top.digest.0,
            media_type: set.top.media_type.clone(),
            size_bytes: set.top.size,
        });
        outcome.images = set
            .images
            .iter()
            .map(|image| BuiltImage {
                platform: image.platform.clone(),
                manifest: image.manifest.digest,
                config: image.config.digest,
                layers: image.layers.len(),
                size_bytes: image.config.size + image.layers.iter().map(|layer| layer.size).sum::<u64>(),
            })
            .collect();
        for name in &self.request.tags {
            outcome.written.push(Written(format!("named {}", name.familiar())));
        }
    }
}

fn settings(pinned: &Pinned, output: &OutputSpec) -> ImageSettings {
    ImageSettings {
        compression: compression(output),
        epoch: pinned.epoch.filter(|_| output.rewrite_timestamp),
        attested: carries_attestations(output.kind),
    }
}

/// An attestation is a manifest beside that of the image in an index, which has no place elsewhere.
fn carries_attestations(kind: OutputKind) -> bool {
    match kind {
        OutputKind::Store | OutputKind::Registry | OutputKind::OciArchive | OutputKind::OciLayout => true,
        OutputKind::DockerArchive | OutputKind::Tar | OutputKind::Local => false,
    }
}

/// What is usual for a kind, unless something else was asked for: layers in kiln's own store and for `docker load` as
/// they are, since nobody pays for their transport; compressed for everybody else.
fn compression(output: &OutputSpec) -> Compression {
    output.compression.unwrap_or(match output.kind {
        OutputKind::OciArchive | OutputKind::OciLayout | OutputKind::Registry => Compression::Gzip(6),
        OutputKind::Store | OutputKind::DockerArchive | OutputKind::Tar | OutputKind::Local => {
            Compression::None
        }
    })
}

fn place(output: &OutputSpec) -> Cow<'_, str> {
    match &output.destination {
        Some(Destination::Path(path)) => path.to_string_lossy(),
        Some(Destination::Stdout) | None => "standard output".into(),
    }
}

/// A stack as one tree in which every file says where its bytes lie, and hard links within one layer are links.
pub(crate) fn whole_tree(merged: &Merged) -> Tree {
    let linked: HashSet<(usize, TreePath)> = merged
        .walk(&TreePath::root())
        .filter_map(|(_, found)| {
            found.home.filter(|home| home.linked).map(|home| (home.layer, home.path.clone()))
        })
        .collect();
    let mut first_names: HashMap<(usize, TreePath), TreePath> = HashMap::new();
    let mut entries: Vec<(TreePath, Entry)> = Vec::new();
    if let Some(root) = merged.get(&TreePath::root())
        && root.home.is_some()
    {
        entries.push((TreePath::root(), merged.entry(&root)));
    }
    for (path, found) in merged.walk(&TreePath::root()) {
        let mut entry = merged.entry(&found);
        if let Some(home) = found.home.map(|home| (home.layer, home.path.clone()))
            && linked.contains(&home)
        {
            let first = first_names.entry(home).or_insert_with(|| path.clone().into_owned());
            if *first != *path {
                entry.kind = Kind::Link(first.clone());
            }
        }
        entries.push((path.into_owned(), entry));
    }
    Tree::new(entries)
}

/// Makes files of one layer that are names of one file links again, in a tree made of parts of `merged`.
pub(crate) fn relink(mut tree: Tree, merged: &Merged) -> Tree {
    let home = |path: &TreePath| {
        let found = merged.get(path)?;
        found.home.map(|home| (home.layer, home.path.clone(), home.linked))
    };
    let linked: HashSet<(usize, TreePath)> = tree
        .entries()
        .iter()
        .filter_map(|(path, _)| home(path).filter(|(.., linked)| *linked))
        .map(|(layer, path, _)| (layer, path))
        .collect();
    let mut first_names: HashMap<(usize, TreePath), TreePath> = HashMap::new();
    for (path, entry) in tree.entries_mut() {
        if let (Kind::File(_), Some((layer, place, _))) = (&entry.kind, home(path))
            && linked.contains(&(layer, place.clone()))
        {
            let first = first_names.entry((layer, place)).or_insert_with(|| path.clone());
            if *first != *path {
                entry.kind = Kind::Link(first.clone());
            }
        }
    }
    tree
}

/// From which place in a stack on its layers were built here.
pub(crate) fn built_from(stack: &Stack, base: Option<&Stack>) -> usize {
    match base {
        Some(base) if stack.0.starts_with(&base.0) => base.0.len(),
        _ => 0,
    }
}
