//! From a plan to fixed bytes: every mutable name becomes a digest, every vertex gets its definition key.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln_core::fileop::FileOpError;
use kiln_core::graph::{FileAction, ImageSource, MountKind, Network, Op, SourceOp};
use kiln_core::key::{self, InputKey};
use kiln_core::seams::ImageRequest;
use kiln_core::select::{self, Selection};
use kiln_core::{CacheKey, Cancel, Diagnostic, Graph, Output, Plan, Stack, Target, Vertex, VertexId};

use crate::error::BuildError;
use crate::explain::{Notes, StepNote};
use crate::policy::{NotUsed, StepLimits, first_message};
use crate::request::NetworkMode;
use crate::session::Session;
use crate::source::image::PinnedImage;

/// Outputs beside the root directory up to which every choice of them is recorded: the number of choices doubles with each.
const MOST_IN_PARTS: usize = 4;

/// A plan in which only digests are left.
pub(crate) struct Pinned {
    pub(crate) graph: Graph,
    pub(crate) targets: Vec<Target>,
    pub(crate) epoch: Option<i64>,
    pub(crate) export_options: Vec<(String, String)>,
    /// What a target needs; the rest is as if it were not there.
    pub(crate) reachable: Vec<bool>,
    /// Definition keys; none for contexts, which have no digest of their own.
    pub(crate) keys: Vec<Option<CacheKey>>,
    /// It, or something it reads, is not to be looked up.
    pub(crate) no_lookup: Vec<bool>,
    /// Which outputs of each vertex are read, in order; lists of outputs have this order.
    pub(crate) slots: Vec<Vec<usize>>,
    pub(crate) image_stacks: HashMap<VertexId, Stack>,
    /// What policies let steps use, where that is less than everything.
    pub(crate) limits: HashMap<VertexId, StepLimits>,
    /// What each key was made of, to say later why it differs.
    pub(crate) notes: Vec<Option<StepNote>>,
    pub(crate) before: Notes,
    /// What the first vertex is called in events.
    first_vertex: VertexId,
    /// Ends what runs of this graph alone; absent: nothing but the build as a whole can be ended.
    pub(crate) own_cancel: Option<Cancel>,
}

impl Pinned {
    /// Position of an output among those that an executor returns.
    pub(crate) fn slot_position(&self, output: Output) -> usize {
        self.slots[output.vertex].iter().position(|slot| *slot == output.slot).unwrap_or(0)
    }

    /// What a vertex is called in events: no two of a build have one number.
    pub(crate) fn shown(&self, id: VertexId) -> VertexId {
        self.first_vertex + id
    }

    /// The key of one output. Slot 0 has that of its vertex.
    fn output_key(&self, output: Output) -> Option<CacheKey> {
        let key = self.keys[output.vertex]?;
        Some(if output.slot == 0 { key } else { with_slots(&key, &[output.slot]) })
    }

    /// Under which key the outputs of a vertex are recorded: which of them there are belongs to it.
    pub(crate) fn record_key(&self, id: VertexId) -> Option<CacheKey> {
        Some(self.recorded_as(id, &self.keys[id]?))
    }

    /// As [`Self::record_key`], for another key of the same vertex.
    pub(crate) fn recorded_as(&self, id: VertexId, key: &CacheKey) -> CacheKey {
        recorded_as(key, &self.slots[id])
    }

    /// Under which keys fewer outputs of a vertex are recorded, for graphs that read no more, with the positions of the
    /// outputs that each has. Slot 0 is in all of them, as in every list of outputs.
    pub(crate) fn recorded_in_part(&self, id: VertexId, key: &CacheKey) -> Vec<(CacheKey, Vec<usize>)> {
        let slots = &self.slots[id];
        let others = slots.len().saturating_sub(1);
        if others > MOST_IN_PARTS {
            return Vec::new();
        }
        let parts = (0..(1_usize << others) - 1).map(|chosen| {
            let is_in = |position: &usize| *position == 0 || chosen & (1 << (position - 1)) != 0;
            let positions: Vec<usize> = (0..slots.len()).filter(is_in).collect();
            let part: Vec<usize> = positions.iter().map(|position| slots[*position]).collect();
            (recorded_as(key, &part), positions)
        });
        parts.collect()
    }

    /// A vertex is an image: its layers and its key are known.
    fn pin(&mut self, id: VertexId, image: &PinnedImage) {
        let stack = image.stack();
        let mut hasher = key::Hasher::new("image");
        for layer in &stack.0 {
            key::KeyWriter::field(&mut hasher, "layer", layer.0.as_bytes());
        }
        self.keys[id] = Some(hasher.finish());
        self.image_stacks.insert(id, stack);
    }

    /// More than one step can be under way: worth a thread each.
    pub(crate) fn is_parallel(&self) -> bool {
        let work = |vertex: &Vertex| crate::plan::is_step(&vertex.op);
        let mut readers = HashMap::<VertexId, usize>::new();
        let mut several_inputs = false;
        for (_, vertex) in self.graph.vertices().iter().enumerate().filter(|(id, _)| self.reachable[*id]) {
            let mut inputs: Vec<VertexId> =
                vertex.inputs.iter().map(|input| input.vertex).filter(|id| work(&self.graph[*id])).collect();
            inputs.dedup();
            several_inputs |= inputs.len() > 1;
            for input in inputs {
                *readers.entry(input).or_default() += 1;
            }
        }
        let fetched = |vertex: &Vertex| matches!(vertex.op, Op::Source(SourceOp::Git(_) | SourceOp::Http(_)));
        let downloads = self.graph.vertices().iter().zip(&self.reachable);
        let downloads = downloads.filter(|(vertex, reachable)| **reachable && fetched(vertex)).count();
        downloads > 1 || several_inputs || self.targets.len() > 1 || readers.values().any(|count| *count > 1)
    }
}

impl Session<'_> {
    /// Pins sources and computes keys, walking the graph once from inputs to readers.
    pub(crate) fn resolve(&self, plan: Plan) -> Result<Pinned, BuildError> {
        let Plan { mut graph, mut targets, epoch, export_options, .. } = plan;
        if self.plugins.transforms().is_empty() {
            // Nobody would look at them: they need not be made.
            targets.iter_mut().for_each(|target| target.scans.clear());
        }
        let roots: Vec<Output> = targets.iter().flat_map(Target::roots).collect();
        let reachable = reachable(&graph, &roots);
        self.fill_in_request(&mut graph, &reachable)?;
        self.pin_remotes(&mut graph, &reachable)?;
        let images = self.pin_images(&mut graph, &reachable)?;
        self.name_bases(&mut targets);
        self.show_waiting();
        // From here on the graph is what will be solved: what policies take from a step is in its key.
        let limits = self.judge_graph(&mut graph, &reachable, &roots)?;
        let mut pinned = Pinned {
            slots: kiln_core::solve::slots(&graph, roots.iter().copied()),
            keys: vec![None; graph.len()],
            no_lookup: vec![false; graph.len()],
            notes: (0..graph.len()).map(|_| None).collect(),
            image_stacks: HashMap::new(),
            limits,
            before: Notes::default(),
            first_vertex: self.vertices.fetch_add(graph.len(), Ordering::Relaxed),
            own_cancel: None,
            graph,
            targets,
            epoch,
            export_options,
            reachable,
        };
        for (id, image) in images {
            pinned.pin(id, &image);
        }
        let mut wrong = Vec::new();
        let mut failed = vec![false; pinned.graph.len()];
        for id in 0..pinned.graph.len() {
            if !pinned.reachable[id] {
                continue;
            }
            // What reads something wrong has nothing to add.
            if pinned.graph[id].inputs.iter().any(|input| failed[input.vertex]) {
                failed[id] = true;
                continue;
            }
            match self.resolve_vertex(&mut pinned, id) {
                Ok(()) => {}
                Err(BuildError::Wrong(diagnostics)) => {
                    failed[id] = true;
                    wrong.extend(diagnostics);
                }
                Err(error) => return Err(error),
            }
        }
        if !wrong.is_empty() {
            return Err(BuildError::Wrong(wrong));
        }
        Ok(pinned)
    }

    /// Writes what the request says of all steps into those that do not say it themselves: from here on it is in their
    /// keys like everything else that a step sees.
    fn fill_in_request(&self, graph: &mut Graph, reachable: &[bool]) -> Result<(), BuildError> {
        for id in (0..graph.len()).filter(|id| reachable[*id]) {
            // Who gives the network to all steps gives it to each.
            if self.request.network != NetworkMode::Host
                && matches!(&graph[id].op, Op::Exec(op) if op.network == Network::Host)
            {
                self.demand(&graph[id], "network.host", "the network of the host")?;
            }
            let Op::Exec(op) = graph.op_mut(id) else { continue };
            if op.network == Network::Unset {
                op.network = match self.request.network {
                    NetworkMode::Default => Network::Unset,
                    NetworkMode::None => Network::None,
                    NetworkMode::Host => Network::Host,
                };
            }
            if let (0, Some(bytes)) = (op.shm_size_kib, self.request.shm_size) {
                op.shm_size_kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
            }
            for limit in &self.request.ulimits {
                if op.ulimits.iter().all(|own| own.name != limit.name) {
                    op.ulimits.push(limit.clone());
                }
            }
            op.host_aliases.extend(self.request.add_hosts.iter().cloned());
        }
        Ok(())
    }

    /// Makes of every image that a target needs, also of one that was given as a context, the bytes that it is now.
    fn pin_images(
        &self,
        graph: &mut Graph,
        reachable: &[bool],
    ) -> Result<Vec<(VertexId, Arc<PinnedImage>)>, BuildError> {
        let (mut images, mut wrong) = (Vec::new(), Vec::new());
        for id in (0..graph.len()).filter(|id| reachable[*id]) {
            let image = match self.image_at(&graph[id]) {
                Ok(image) => image,
                Err(BuildError::Wrong(diagnostics)) => {
                    wrong.extend(diagnostics);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some((image, reference)) = image else { continue };
            let source = ImageSource { reference, pinned: Some(image.digest) };
            *graph.op_mut(id) = Op::Source(SourceOp::Image(source));
            images.push((id, image));
        }
        if wrong.is_empty() { Ok(images) } else { Err(BuildError::Wrong(wrong)) }
    }

    /// The image that a vertex is, if it is one, and what it is called: as it was written, unless a policy has another one
    /// used.
    fn image_at(&self, vertex: &Vertex) -> Result<Option<(Arc<PinnedImage>, String)>, BuildError> {
        match &vertex.op {
            Op::Source(SourceOp::Context(source)) => {
                self.judge_context(source, &vertex.origin)?;
                let image = self.context_as_image(&source.name, &vertex.platform)?;
                Ok(image.map(|image| {
                    let name = image.reference.to_string();
                    (image, name)
                }))
            }
            Op::Source(SourceOp::Image(source)) => {
                let request =
                    ImageRequest { source: source.clone(), platform: Some(vertex.platform.clone()) };
                match self.judged_image(&request, &vertex.origin) {
                    Ok(judged) => {
                        let name = match judged.is_rewritten {
                            true => judged.image.reference.to_string(),
                            false => source.reference.clone(),
                        };
                        Ok(Some((judged.image.clone(), name)))
                    }
                    Err(NotUsed::Denied(denied)) => {
                        // A plugin that has this graph solved is told of it in other words.
                        self.keep_denied(&first_message(&denied), &denied);
                        Err(BuildError::Wrong(denied))
                    }
                    Err(NotUsed::Failed(error)) => Err(error),
                    Err(NotUsed::NotFound(error)) => {
                        let diagnostic =
                            Diagnostic::error("image-unavailable", error.message).at_origin(&vertex.origin);
                        Err(match error.code {
                            "unavailable" | "unauthorized" => BuildError::Refused(vec![diagnostic]),
                            _ => BuildError::wrong(diagnostic),
                        })
                    }
                }
            }
            _ => Ok(None),
        }
    }

    fn resolve_vertex(&self, pinned: &mut Pinned, id: VertexId) -> Result<(), BuildError> {
        let vertex = &pinned.graph[id];
        pinned.no_lookup[id] =
            vertex.no_lookup || vertex.inputs.iter().any(|input| pinned.no_lookup[input.vertex]);
        match &vertex.op {
            Op::Source(SourceOp::Context(source)) => {
                self.local_context(source)?;
                return Ok(());
            }
            Op::Source(SourceOp::Image(_)) => return Ok(()),
            _ => {}
        }
        let mut selections = Vec::new();
        for input in 0..vertex.inputs.len() {
            selections.push(self.selected(pinned, vertex, input, None)?);
        }
        let digests: Vec<_> =
            selections.iter().map(|selection| selection.as_ref().map(Selection::digest)).collect();
        let inputs: Vec<InputKey> = vertex
            .inputs
            .iter()
            .zip(&digests)
            .map(|(input, selected)| match (selected, pinned.output_key(*input)) {
                (Some(digest), _) => InputKey::Selected(*digest),
                (None, Some(key)) => InputKey::Definition(key),
                (None, None) => unreachable!("an input that is no context has a key"),
            })
            .collect();
        let mut hasher = key::Hasher::new("definition");
        key::write_key(vertex, &inputs, &mut hasher);
        if let Op::Source(SourceOp::Git(source)) = &vertex.op {
            // What was fetched under other rules may hold submodules that nobody was asked about.
            let rules = self.submodule_rules(source);
            if !rules.is_empty() {
                key::KeyWriter::field(&mut hasher, "rules", rules.as_bytes());
            }
        }
        let note = StepNote::new(&pinned.graph, vertex, &inputs, selections.into_iter().flatten().collect());
        pinned.keys[id] = Some(hasher.finish());
        pinned.notes[id] = Some(note);
        Ok(())
    }

    /// What a vertex takes out of an input, if it is keyed by that: always for a context; for a read-only bind mount
    /// once the input is solved (`inputs` given).
    pub(crate) fn selected(
        &self,
        pinned: &Pinned,
        vertex: &Vertex,
        input: usize,
        inputs: Option<&[Stack]>,
    ) -> Result<Option<Selection>, BuildError> {
        let context = self.context_of(&pinned.graph, vertex, input);
        let view = match (&context, inputs) {
            (Some(context), _) => {
                context.read_below(&sources(vertex, input))?;
                context.view()
            }
            (None, Some(inputs)) if bound_read_only(vertex, input) => self.merged(&inputs[input])?,
            _ => return Ok(None),
        };
        let mut world = self.world(&pinned.graph, vertex);
        let failed = |error| self.file_error(vertex, error);
        let mut selection = Selection::default();
        match &vertex.op {
            Op::File(op) => {
                if op.base == Some(input) {
                    selection.extend(select::select_path(&view, "/", &mut world).map_err(failed)?);
                }
                for action in &op.actions {
                    if let FileAction::Copy(copy) = action
                        && copy.input == input
                    {
                        selection.extend(select::select(copy, &view, &mut world).map_err(failed)?);
                    }
                }
            }
            Op::Exec(op) => {
                for mount in &op.mounts {
                    match &mount.kind {
                        MountKind::Bind { input: Some(bound), selector } if *bound == input => {
                            selection
                                .extend(select::select_path(&view, selector, &mut world).map_err(failed)?);
                        }
                        MountKind::Cache(cache) if cache.seed == Some(input) => {
                            selection.extend(select::select_path(&view, "/", &mut world).map_err(failed)?);
                        }
                        _ => {}
                    }
                }
            }
            Op::Merge | Op::Diff | Op::Derive(_) => {
                selection.extend(select::select_path(&view, "/", &mut world).map_err(failed)?);
            }
            Op::Source(_) => {}
        }
        Ok(Some(selection))
    }

    /// A file op's error at the place in the build file where it was asked for.
    pub(crate) fn file_error(&self, vertex: &Vertex, error: FileOpError) -> BuildError {
        crate::explain::file_error(self, vertex, &error)
    }
}

/// What a vertex reads of an input, as it names it.
fn sources(vertex: &Vertex, input: usize) -> Vec<&str> {
    match &vertex.op {
        Op::File(op) if op.base != Some(input) => op
            .actions
            .iter()
            .filter_map(|action| match action {
                FileAction::Copy(copy) if copy.input == input => Some(copy.paths.iter().map(String::as_str)),
                _ => None,
            })
            .flatten()
            .collect(),
        Op::Exec(op) => op
            .mounts
            .iter()
            .filter_map(|mount| match &mount.kind {
                MountKind::Bind { input: Some(bound), selector } if *bound == input => {
                    Some(selector.as_str())
                }
                MountKind::Cache(cache) if cache.seed == Some(input) => Some("/"),
                _ => None,
            })
            .collect(),
        _ => vec!["/"],
    }
}

/// The input is read through bind mounts alone, none of which can write.
fn bound_read_only(vertex: &Vertex, input: usize) -> bool {
    let Op::Exec(op) = &vertex.op else { return false };
    op.mounts.iter().enumerate().all(|(index, mount)| match &mount.kind {
        MountKind::Bind { input: Some(bound), .. } if *bound == input => index > 0 && mount.readonly,
        MountKind::Cache(cache) => cache.seed != Some(input),
        _ => true,
    })
}

fn recorded_as(key: &CacheKey, slots: &[usize]) -> CacheKey {
    if slots == [0] { *key } else { with_slots(key, slots) }
}

fn with_slots(key: &CacheKey, slots: &[usize]) -> CacheKey {
    let mut hasher = key::Hasher::new("outputs");
    key::KeyWriter::field(&mut hasher, "key", key.0.as_bytes());
    for slot in slots {
        key::KeyWriter::field(&mut hasher, "slot", slot.to_string().as_bytes());
    }
    hasher.finish()
}

fn reachable(graph: &Graph, roots: &[Output]) -> Vec<bool> {
    let mut reachable = vec![false; graph.len()];
    for root in roots {
        reachable[root.vertex] = true;
    }
    for id in (0..graph.len()).rev() {
        if reachable[id] {
            for input in &graph[id].inputs {
                reachable[input.vertex] = true;
            }
        }
    }
    reachable
}
