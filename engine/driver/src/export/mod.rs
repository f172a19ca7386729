//! Writes what was solved: layers become blobs, images become documents, and those go where they were asked to go.

mod archive;
mod files;
mod image;
mod registry;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

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
        self.judge_outputs(solved.pinned, &products)?;
        for (output, set) in self.request.outputs.iter().zip(&made) {
            match set {
                Some(set) => self.deliver(set, output, &mut outcome)?,
                None if output.kind == OutputKind::Local => files::local(self, solved, output, &mut outcome)?,
                None => files::tar(self, solved, output, &mut outcome)?,
            }
        }
        Ok(outcome)
    }

    /// The outcome of a request whose images are all known: nothing is solved, nothing new is written but outputs.
    pub(crate) fn known_outcome(&self, pinned: &Pinned) -> Result<Option<Outcome>, BuildError> {
        let mut sets = Vec::new();
        for output in &self.request.outputs {
            if matches!(output.kind, OutputKind::Local | OutputKind::Tar) {
                return Ok(None);
            }
            match image::recall(self, pinned, &settings(pinned, output)) {
                Some(set) => sets.push((output, set)),
                None => return Ok(None),
            }
        }
        let products: Vec<_> = sets.iter().map(|(output, set)| (*output, Product::Images(set))).collect();
        self.judge_outputs(pinned, &products)?;
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

/// From which place in a stack on its layers were built here.
pub(crate) fn built_from(stack: &Stack, base: Option<&Stack>) -> usize {
    match base {
        Some(base) if stack.0.starts_with(&base.0) => base.0.len(),
        _ => 0,
    }
}
