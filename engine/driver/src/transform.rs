//! Lets plugins change what was solved: configuration, annotations, attestations, layers, and files beside the image.
//!
//! They are asked in the order in which the build has them, each about what the one before left, once for each image;
//! policies and outputs see what the last one left. What they said is no part of any record but that of the image,
//! whose key has their digests, their options and all that they were told.

use std::borrow::Cow;
use std::sync::Arc;

use kiln_core::seams::TreeView;
use kiln_core::{Diagnostic, Event, HistoryEntry, Severity, Stack, Target};
use kiln_plugin::{Asking, Fragment, Point, Squash, Transform, TransformError, Transformation};

use crate::derive::Inputs;
use crate::diff;
use crate::error::BuildError;
use crate::export::{built_from, relink};
use crate::resolve::Pinned;
use crate::session::Session;
use crate::solve::{Scanned, Solved};
use crate::views::View;

/// A file that a plugin wants to stand beside what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtraFile {
    /// Relative, without `.` and `..`; of several images, each has a directory of its own.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    /// Who wants it.
    plugin: String,
}

/// An image under way.
struct Image {
    target: Target,
    stack: Stack,
}

impl Session<'_> {
    /// What stands for the transforms of this build in the key of an image; empty when there are none. They can ask for
    /// nothing, so what they say follows from this and from the image.
    pub(crate) fn transforms_key(&self) -> Result<String, BuildError> {
        let transforms = self.plugins.transforms();
        if transforms.is_empty() {
            return Ok(String::new());
        }
        let facts = self.build_facts()?;
        let line = |transform: &Transform| {
            let id = transform.id();
            format!("{} {} {:?}\n", id.name, id.digest, transform.options())
        };
        Ok(format!("{facts:?}\n{}", transforms.iter().map(line).collect::<String>()))
    }

    /// Policies would have to judge images that are known only by what was written of them.
    pub(crate) fn must_transform_again(&self) -> bool {
        let points = [Point::Layer, Point::Image, Point::Export];
        points.iter().any(|point| self.policies.are_asked_at(*point)) && !self.plugins.transforms().is_empty()
    }

    /// # Errors
    ///
    /// When a transform does not take an image, fails, or says what cannot be done.
    pub(crate) fn transform<'p>(&self, mut solved: Solved<'p>) -> Result<Solved<'p>, BuildError> {
        let transforms = self.plugins.transforms();
        if transforms.is_empty() {
            return Ok(solved);
        }
        let several = solved.targets.len() > 1;
        let (mut targets, mut stacks) = (Vec::new(), Vec::new());
        for ((target, stack), scans) in solved.targets.iter().zip(&solved.stacks).zip(&solved.scans) {
            let mut image = Image { target: target.clone(), stack: stack.clone() };
            let place = several.then(|| target.platform.to_string().replace('/', "_"));
            for transform in &transforms {
                let name = &transform.id().name;
                let what = match &place {
                    None => format!("transforming the image with {name}"),
                    Some(_) => format!("transforming the image for {} with {name}", target.platform),
                };
                let changes = self
                    .forms
                    .task(&what, |_| self.ask_transform(transform, solved.pinned, &image, scans))?;
                self.change(transform, &mut image, changes, place.as_deref(), &mut solved.extra)?;
            }
            targets.push(image.target);
            stacks.push(image.stack);
        }
        solved.targets = Cow::Owned(targets);
        solved.stacks = stacks;
        Ok(solved)
    }

    fn ask_transform(
        &self,
        transform: &Transform,
        pinned: &Pinned,
        image: &Image,
        scans: &[Scanned],
    ) -> Result<Transformation, BuildError> {
        let facts = self.build_facts()?;
        let known = self.image_facts(pinned, &image.target, &image.stack, None)?;
        let services = Inputs::new(self, "a transform");
        let answer = self.with_desk(|desk| {
            let root = desk.open(image.stack.clone());
            let open = |scanned: &Scanned| match scanned {
                Scanned::Stack(stack) => Ok(desk.open(stack.clone())),
                Scanned::Context(source) => {
                    Ok(Arc::new(View::new(self.local_context(source)?.view(), &self.forms))
                        as Arc<dyn TreeView>)
                }
            };
            let names = image.target.scans.iter().map(|scan| scan.name.clone());
            let scans = scans.iter().map(open).collect::<Result<Vec<_>, BuildError>>()?;
            let asking = Asking { facts, services: &services, cancel: self.cancel };
            Ok::<_, BuildError>(transform.ask(asking, &known, root, names.zip(scans).collect()))
        })?;
        answer.map_err(|error| match error {
            TransformError::Wrong(diagnostics) => BuildError::Wrong(diagnostics),
            TransformError::Cancelled => BuildError::Cancelled,
            error => BuildError::world(format!("the transform `{}` failed", transform.id().name), error),
        })
    }

    fn change(
        &self,
        transform: &Transform,
        image: &mut Image,
        changes: Transformation,
        place: Option<&str>,
        extra: &mut Vec<ExtraFile>,
    ) -> Result<(), BuildError> {
        let plugin = &transform.id().name;
        for diagnostic in changes.diagnostics {
            debug_assert!(
                diagnostic.severity != Severity::Error,
                "a transform was let through with an error"
            );
            self.events.emit(Event::Diagnostic(diagnostic));
        }
        if let Some(fragment) = &changes.fragment {
            let stack = self.fragment(fragment, &image.stack)?;
            self.restack(image, stack, plugin);
        }
        if changes.squash != Squash::KeepLayers {
            let kept = match changes.squash {
                Squash::All => 0,
                _ => self.layers_of_base(image),
            };
            let stack = self.squashed(&image.stack, kept)?;
            if changes.squash == Squash::All {
                // Nothing of a base is left that could be replaced by a newer one.
                image.target.base_name.clear();
                image.target.base_digest.clear();
            }
            self.restack(image, stack, plugin);
        }
        let target = &mut image.target;
        if let Some(config) = changes.config {
            target.config = config;
        }
        for (key, value) in changes.annotations {
            target.annotations.retain(|(known, _)| *known != key);
            target.annotations.push((key, value));
        }
        target.attestations.extend(changes.attestations);
        for (path, bytes) in changes.extra_files {
            let path = match place {
                None => path,
                Some(place) => format!("{place}/{path}"),
            };
            if let Some(known) = extra.iter().find(|known| collide(&known.path, &path)) {
                return Err(BuildError::wrong(
                    Diagnostic::error(
                        &format!("{plugin}/extra-file"),
                        format!(
                            "the extra file `{path}` of `{plugin}` is in the way of `{}` of `{}`",
                            known.path, known.plugin
                        ),
                    )
                    .help(
                        "give one of them another name by an option of the plugin, or leave one of them out",
                    ),
                ));
            }
            extra.push(ExtraFile { path, bytes, plugin: plugin.clone() });
        }
        Ok(())
    }

    fn layers_of_base(&self, image: &Image) -> usize {
        built_from(&image.stack, self.base_of(&image.target).map(|base| base.stack()).as_ref())
    }

    fn fragment(&self, fragment: &Fragment, finished: &Stack) -> Result<Stack, BuildError> {
        let mut stacks = vec![finished.clone()];
        self.rearrange(&fragment.graph, &mut stacks)?;
        Ok(stacks[fragment.root.vertex].clone())
    }

    /// The same files in the first `kept` layers and one more.
    fn squashed(&self, stack: &Stack, kept: usize) -> Result<Stack, BuildError> {
        if stack.0.len() - kept <= 1 {
            return Ok(stack.clone());
        }
        let lower = Stack(stack.0[..kept].to_vec());
        let upper = self.merged(stack)?;
        let tree = relink(diff::difference(&self.merged(&lower)?, &upper), &upper);
        Ok(lower.with(&[self.forms.keep(tree)?]))
    }

    /// Gives an image other layers and makes its history tell of them.
    fn restack(&self, image: &mut Image, stack: Stack, plugin: &str) {
        if stack == image.stack {
            return;
        }
        let line = || HistoryEntry {
            created_by: plugin.to_owned(),
            comment: "transform".to_owned(),
            // Of no vertex of the build's graph.
            layer: Some(usize::MAX),
        };
        let built = image.stack.0.len() - self.layers_of_base(image);
        let is_on_top = stack.0.starts_with(&image.stack.0);
        let added = stack.0.len() - if is_on_top { image.stack.0.len() } else { 0 };
        image.stack = stack;
        let history = &mut image.target.history;
        if is_on_top {
            // Lines that made layers are as many as the layers, so that those that follow are about the new ones.
            let mut counted = 0;
            for known in history.iter_mut().filter(|known| known.layer.is_some()) {
                counted += 1;
                if counted > built {
                    known.layer = None;
                }
            }
            history.extend((counted..built).map(|_| HistoryEntry { created_by: String::new(), ..line() }));
            history.extend((0..added).map(|_| line()));
        } else {
            history.iter_mut().for_each(|known| known.layer = None);
            let made = image.stack.0.len() - self.layers_of_base(image);
            image.target.history.extend((0..made).map(|_| line()));
        }
    }
}

/// Whether two files cannot both be there.
fn collide(a: &str, b: &str) -> bool {
    let below =
        |path: &str, directory: &str| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    a == b || below(a, b) || below(b, a)
}
