//! Points 4 to 6: layers, images and where they go, judged before anything is written or named.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::Arc;

use kiln_core::{Diagnostic, Kind, Span, Stack, Target};
use kiln_plugin::{Change, ExportFacts, HistoryLine, ImageFacts, LayerInfo, Point};

use super::weigh::Weighed;
use super::{Standing, layer, memory};
use crate::error::BuildError;
use crate::export::{ImageSet, WrittenImage, annotations_of, built_from, history_of};
use crate::request::{Compression, Destination, OutputKind, OutputSpec};
use crate::resolve::Pinned;
use crate::session::Session;
use crate::views::View;

/// What an output is about to write.
pub(crate) enum Product<'a> {
    Images(&'a ImageSet),
    /// Plain files: the layers of each target.
    Files(&'a [Stack]),
}

impl Product<'_> {
    fn stack(&self, target: usize) -> &Stack {
        match self {
            Self::Images(set) => &set.images[target].stack,
            Self::Files(stacks) => &stacks[target],
        }
    }

    fn image(&self, target: usize) -> Option<&WrittenImage> {
        match self {
            Self::Images(set) => Some(&set.images[target]),
            Self::Files(_) => None,
        }
    }
}

/// One layer of an image with what lies below it.
struct Judged<'a> {
    info: &'a LayerInfo,
    /// The layer on top.
    stack: Stack,
    /// Known when somebody asks for it.
    changes: OnceCell<Arc<[Change]>>,
}

impl Session<'_> {
    /// Judges all that a build came to; `targets` are those of the plan, as transforms left them.
    ///
    /// # Errors
    ///
    /// [`BuildError::Wrong`] with every finding that denies it.
    pub(crate) fn judge_outputs(
        &self,
        pinned: &Pinned,
        targets: &[Target],
        outputs: &[(&OutputSpec, Product<'_>)],
    ) -> Result<(), BuildError> {
        if ![Point::Layer, Point::Image, Point::Export].iter().any(|point| self.policies.are_asked_at(*point))
        {
            return Ok(());
        }
        let things = self.names_of_build();
        let mut weighed = Weighed::default();
        // The same layer on the same layers, and the same image, for several outputs.
        let (mut layers, mut images) = (HashSet::new(), Vec::new());
        for (output, product) in outputs {
            let mut facts = Vec::new();
            for (index, target) in targets.iter().enumerate() {
                let (stack, image) = (product.stack(index), product.image(index));
                let known = self.image_facts(pinned, target, stack, image)?;
                for (place, info) in known.layers.iter().enumerate() {
                    let stack = Stack(stack.0[..=place].to_vec());
                    if layers.insert(stack.id()) {
                        let judged = Judged { info, stack, changes: OnceCell::new() };
                        self.judge_layer(&judged, &things, &mut weighed)?;
                    }
                }
                if !images.contains(&known) {
                    self.judge_image(&known, stack, &things, &mut weighed)?;
                    images.push(known.clone());
                }
                facts.push(known);
            }
            self.judge_export(output, product, facts, &things, &mut weighed)?;
        }
        self.settle(weighed)
    }

    /// Names by which an exemption may know the build as a whole.
    pub(super) fn names_of_build(&self) -> Vec<String> {
        let names = self.request.outputs.iter().flat_map(|output| &output.names).chain(&self.request.tags);
        let mut things: Vec<String> = names.flat_map(|name| [name.familiar(), name.to_string()]).collect();
        things.push(self.request.frontend.target.clone());
        things.retain(|thing| !thing.is_empty());
        things
    }

    fn judge_layer(
        &self,
        judged: &Judged<'_>,
        things: &[String],
        weighed: &mut Weighed,
    ) -> Result<(), BuildError> {
        for standing in self.policies.at(Point::Layer) {
            let about = format!("{:?}", judged.info);
            let findings = self.remembered(standing, Point::Layer, &about, &judged.stack, || {
                let changes = match judged.changes.get() {
                    Some(changes) => changes,
                    None => {
                        let changes = self.changes_of(&judged.stack)?;
                        judged.changes.get_or_init(|| changes)
                    }
                };
                let (changes, merged) = (changes.clone(), self.merged(&judged.stack)?);
                self.with_desk(|desk| {
                    let root = Arc::new(View::new(merged, &self.forms).fetching(desk.clone()));
                    self.ask(standing, |policy, asking| {
                        policy.check_layer(asking, judged.info, changes, root)
                    })
                })
            })?;
            weighed.join(self.weigh(standing, Point::Layer, findings, things));
        }
        Ok(())
    }

    fn changes_of(&self, stack: &Stack) -> Result<Arc<[Change]>, BuildError> {
        let Some((top, below)) = stack.0.split_last() else { return Ok(Arc::default()) };
        let below = self.merged(&Stack(below.to_vec()))?;
        Ok(layer::changes(&*self.forms.tree(top)?, &below).into())
    }

    fn judge_image(
        &self,
        facts: &ImageFacts,
        stack: &Stack,
        things: &[String],
        weighed: &mut Weighed,
    ) -> Result<(), BuildError> {
        for standing in self.policies.at(Point::Image) {
            let about = format!("{facts:?}");
            let findings = self.remembered(standing, Point::Image, &about, stack, || {
                let merged = self.merged(stack)?;
                self.with_desk(|desk| {
                    let root = Arc::new(View::new(merged, &self.forms).fetching(desk.clone()));
                    self.ask(standing, |policy, asking| policy.check_image(asking, facts, root))
                })
            })?;
            weighed.join(self.weigh(standing, Point::Image, findings, things));
        }
        Ok(())
    }

    /// The findings of an earlier build, or those of `ask`, which are remembered.
    fn remembered(
        &self,
        standing: &Standing,
        point: Point,
        about: &str,
        stack: &Stack,
        ask: impl FnOnce() -> Result<Result<(Vec<Diagnostic>, Vec<Diagnostic>), Vec<Diagnostic>>, BuildError>,
    ) -> Result<Vec<Diagnostic>, BuildError> {
        let key = memory::key(standing, point, self.build_facts()?, about, stack);
        let store = &self.driver.store;
        if let Some(findings) = key.as_ref().and_then(|key| memory::recall(store, key)) {
            return Ok(findings);
        }
        Ok(match ask()? {
            Ok((found, mut reported)) => {
                reported.extend(found);
                if let Some(key) = &key {
                    memory::keep(store, key, &reported);
                }
                reported
            }
            Err(undecided) => undecided,
        })
    }

    fn judge_export(
        &self,
        output: &OutputSpec,
        product: &Product<'_>,
        images: Vec<ImageFacts>,
        things: &[String],
        weighed: &mut Weighed,
    ) -> Result<(), BuildError> {
        let digests = match product {
            Product::Files(_) => Vec::new(),
            Product::Images(set) => {
                let manifests = set.images.iter().map(|image| image.manifest.digest.0);
                let index = Some(set.top.digest.0).filter(|top| manifests.clone().all(|one| one != *top));
                index.into_iter().chain(manifests).collect()
            }
        };
        let names: Vec<String> = match output.kind {
            OutputKind::Local | OutputKind::Tar => Vec::new(),
            OutputKind::Store => self.request.tags.iter().map(ToString::to_string).collect(),
            _ => output.names.iter().chain(&self.request.tags).map(ToString::to_string).collect(),
        };
        let facts = ExportFacts {
            kind: kind(output.kind).to_owned(),
            destination: destination(output, &names),
            names,
            digests,
            images,
            options: options(output),
        };
        self.judge_facts(&facts, things, weighed)
    }

    pub(super) fn judge_facts(
        &self,
        facts: &ExportFacts,
        things: &[String],
        weighed: &mut Weighed,
    ) -> Result<(), BuildError> {
        for standing in self.policies.at(Point::Export) {
            let findings = match self.ask(standing, |policy, asking| policy.check_export(asking, facts))? {
                Ok((found, mut reported)) => {
                    reported.extend(found);
                    reported
                }
                Err(undecided) => undecided,
            };
            weighed.join(self.weigh(standing, Point::Export, findings, things));
        }
        Ok(())
    }

    /// `image` is absent where only files are written.
    pub(crate) fn image_facts(
        &self,
        pinned: &Pinned,
        target: &Target,
        stack: &Stack,
        image: Option<&WrittenImage>,
    ) -> Result<ImageFacts, BuildError> {
        let base = self.base_of(target);
        let from = built_from(stack, base.as_ref().map(|base| base.stack()).as_ref());
        let lines = history_of(target, base.as_deref(), from, stack.0.len(), None);
        // Where what made a layer was written: those of the base were written elsewhere.
        let mut places = target.history.iter().filter_map(|line| line.layer);
        let mut texts = lines.iter().filter(|line| !line.empty_layer).map(|line| line.created_by.clone());
        let mut layers = Vec::with_capacity(stack.0.len());
        for (place, layer) in stack.0.iter().enumerate() {
            let from_base = place < from;
            let spans: Vec<Span> = match from_base {
                true => Vec::new(),
                false => {
                    // An imported image has layers and no graph, and what a transform made comes from no vertex.
                    let vertex = places.next().and_then(|id| pinned.graph.vertices().get(id));
                    vertex.map(|vertex| vertex.origin.clone()).unwrap_or_default()
                }
            };
            let created_by = texts.next().unwrap_or_default();
            layers.push(match image.map(|image| &image.layers[place]) {
                Some(blob) => LayerInfo {
                    digest: blob.digest.0,
                    media_type: blob.media_type.clone(),
                    size: blob.size,
                    created_by,
                    from_base,
                    spans,
                },
                None => LayerInfo {
                    digest: layer.0,
                    media_type: String::new(),
                    size: self.file_bytes(layer)?,
                    created_by,
                    from_base,
                    spans,
                },
            });
        }
        let mut counted = 0;
        let history = lines.iter().map(|line| {
            let layer = (!line.empty_layer).then_some(counted);
            counted += u32::from(!line.empty_layer);
            HistoryLine { created_by: line.created_by.clone(), comment: line.comment.clone(), layer }
        });
        Ok(ImageFacts {
            platform: target.platform.clone(),
            config: target.config.clone(),
            annotations: annotations_of(self, target).into_iter().collect(),
            history: history.collect(),
            base: base.map(|base| base.info()),
            total_size: layers.iter().map(|layer| layer.size).sum(),
            attestation_types: target.attestations.iter().map(|one| one.predicate_type.clone()).collect(),
            layers,
        })
    }

    fn file_bytes(&self, layer: &kiln_core::LayerId) -> Result<u64, BuildError> {
        let tree = self.forms.tree(layer)?;
        let size = |entry: &kiln_core::Entry| match &entry.kind {
            Kind::File(file) => file.size,
            _ => 0,
        };
        Ok(tree.entries().iter().map(|(_, entry)| size(entry)).sum())
    }
}

fn kind(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Store => "store",
        OutputKind::Registry => "registry",
        OutputKind::OciArchive | OutputKind::OciLayout => "oci",
        OutputKind::DockerArchive => "docker",
        OutputKind::Tar => "tar",
        OutputKind::Local => "local",
    }
}

/// Of several registries the first; the names say all.
fn destination(output: &OutputSpec, names: &[String]) -> String {
    match (&output.destination, output.kind) {
        (Some(Destination::Path(path)), _) => path.to_string_lossy().into_owned(),
        (Some(Destination::Stdout), _) => "-".to_owned(),
        (None, OutputKind::Registry) => {
            names.first().and_then(|name| name.split('/').next()).unwrap_or_default().to_owned()
        }
        (None, _) => String::new(),
    }
}

/// As `--output` would have them.
fn options(output: &OutputSpec) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let mut say = |name: &str, value: &str| options.push((name.to_owned(), value.to_owned()));
    match output.compression {
        None => {}
        Some(Compression::None) => say("compression", "uncompressed"),
        Some(Compression::Gzip(level)) => {
            say("compression", "gzip");
            say("compression-level", &level.to_string());
        }
        Some(Compression::Zstd(level)) => {
            say("compression", "zstd");
            say("compression-level", &level.to_string());
        }
    }
    if output.kind == OutputKind::OciLayout {
        say("tar", "false");
    }
    if !output.rewrite_timestamp {
        say("rewrite-timestamp", "false");
    }
    options
}
