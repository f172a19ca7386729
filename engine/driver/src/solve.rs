//! Drives core's solver: starts what can start, waits for what runs, records what was made.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::mpsc;
use std::time::Duration;

use kiln_core::event::Ending;
use kiln_core::fileop;
use kiln_core::graph::{ContextSource, Op, SourceOp};
use kiln_core::key::{self, InputKey};
use kiln_core::merged::Merged;
use kiln_core::solve::{Need, Solver};
use kiln_core::{CacheKey, Cancel, Event, Graph, LayerId, Output, Stack, Target, Vertex, VertexId};
use kiln_store::Existing;

use crate::error::BuildError;
use crate::forms::lock;
use crate::outcome::Counts;
use crate::resolve::Pinned;
use crate::session::Session;
use crate::transform::ExtraFile;

/// Steps that run at a time. Generous: the kernel shares processors better than a guess does, and sleeping steps hold
/// none.
const MOST_RUNNING: usize = 16;

/// How often a graph that can be ended alone looks whether the build is to end.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// Every target has its layers.
pub(crate) struct Solved<'p> {
    pub(crate) pinned: &'p Pinned,
    /// Those of the plan, as transforms left them.
    pub(crate) targets: Cow<'p, [Target]>,
    /// One per target.
    pub(crate) stacks: Vec<Stack>,
    /// Of each target, what is to be looked at beside its image.
    pub(crate) scans: Vec<Vec<Scanned>>,
    /// What transforms want to stand beside what is written.
    pub(crate) extra: Vec<ExtraFile>,
    counts: Counts,
}

impl<'p> Solved<'p> {
    /// Of layers that were made otherwise.
    pub(crate) fn of_stacks(pinned: &'p Pinned, stacks: Vec<Stack>) -> Self {
        let scans = vec![Vec::new(); stacks.len()];
        Self {
            pinned,
            targets: Cow::Borrowed(&pinned.targets),
            stacks,
            scans,
            extra: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

/// A filesystem that somebody is to look at.
#[derive(Clone, Debug)]
pub(crate) enum Scanned {
    Stack(Stack),
    /// As it is: nothing is made of it.
    Context(ContextSource),
}

/// Outputs of a vertex by slot; slot 0 first.
type Outputs = Vec<Stack>;

impl Session<'_> {
    /// Gives every target its stack of layers, with their bytes at hand.
    pub(crate) fn solve<'p>(&self, pinned: &'p Pinned, need: Need) -> Result<Solved<'p>, BuildError> {
        self.solve_counted(pinned, need).0
    }

    /// As [`Self::solve`], with what was counted until then also when it fails.
    pub(crate) fn solve_counted<'p>(
        &self,
        pinned: &'p Pinned,
        need: Need,
    ) -> (Result<Solved<'p>, BuildError>, Counts) {
        let mut endings = Endings::new(self, pinned);
        let solved = self.solve_targets(pinned, need, &mut endings);
        let counts = endings.counts;
        (solved.map(|solved| Solved { counts, ..solved }), counts)
    }

    fn solve_targets<'p>(
        &self,
        pinned: &'p Pinned,
        need: Need,
        endings: &mut Endings<'_>,
    ) -> Result<Solved<'p>, BuildError> {
        let targets = pinned.targets.iter().filter_map(|target| Some((target.root?, need)));
        let scans = pinned.targets.iter().flat_map(|target| &target.scans);
        let roots: Vec<(Output, Need)> =
            targets.chain(scans.map(|scan| (scan.root, Need::Directory))).collect();
        let mut outputs: HashMap<VertexId, Outputs> = HashMap::new();
        let mut solver = Solver::new(&pinned.graph, &roots, |vertex, need| {
            let found = self.recorded(pinned, vertex, need)?;
            let new = match &pinned.graph[vertex].op {
                Op::Source(SourceOp::Image(_)) => found.iter().any(|stack| !self.is_here(stack)),
                Op::Source(_) => true,
                _ => false,
            };
            if new {
                self.events.emit(Event::Started { vertex: pinned.shown(vertex), reason: None });
            }
            endings.end(vertex, if new { Ending::Done } else { Ending::Cached });
            outputs.insert(vertex, found.clone());
            Some(found)
        });
        self.expect_directories(pinned, &outputs);
        let failure = self.work(pinned, &mut solver, endings, &mut outputs);
        drop(solver);
        if let Some(error) = failure {
            endings.rest(Ending::Cancelled);
            return Err(error);
        }
        endings.rest(Ending::Cached);
        let stack = |target: &Target| match target.root {
            Some(root) => self.output_stack(pinned, root, &outputs),
            None => Ok(Stack::default()),
        };
        let stacks = pinned.targets.iter().map(stack).collect::<Result<_, _>>()?;
        let scanned = |target: &Target| {
            let all = target.scans.iter();
            all.map(|scan| match context_at(pinned, scan.root) {
                Some(source) => Scanned::Context(source.clone()),
                None => Scanned::Stack(outputs[&scan.root.vertex][pinned.slot_position(scan.root)].clone()),
            })
            .collect()
        };
        let scans = pinned.targets.iter().map(scanned).collect();
        Ok(Solved { scans, ..Solved::of_stacks(pinned, stacks) })
    }

    /// Layers of images below steps that may run will be laid out: unpacked once, not read first and unpacked later.
    fn expect_directories(&self, pinned: &Pinned, known: &HashMap<VertexId, Outputs>) {
        let mut below_a_step = vec![false; pinned.graph.len()];
        for id in (0..pinned.graph.len()).rev().filter(|id| pinned.reachable[*id] && !known.contains_key(id))
        {
            let vertex = &pinned.graph[id];
            let base = match &vertex.op {
                Op::Exec(_) => Some(0),
                Op::File(op) if below_a_step[id] => op.base,
                _ => None,
            };
            if let Some(base) = base.and_then(|input| vertex.inputs.get(input)) {
                below_a_step[base.vertex] = true;
            }
        }
        for (id, stack) in &pinned.image_stacks {
            if below_a_step[*id] {
                self.forms.expect_directories(stack);
            }
        }
    }

    /// Reports every step of a build whose result is known as a whole.
    pub(crate) fn all_cached(&self, pinned: &Pinned) -> Counts {
        let mut endings = Endings::new(self, pinned);
        endings.rest(Ending::Cached);
        endings.counts
    }

    /// The layers of a target's root; a context that is a target itself becomes a layer.
    fn output_stack(
        &self,
        pinned: &Pinned,
        root: Output,
        outputs: &HashMap<VertexId, Outputs>,
    ) -> Result<Stack, BuildError> {
        if let Some(source) = context_at(pinned, root) {
            return self.whole_context(&*self.local_context(source)?);
        }
        let slot = pinned.slot_position(root);
        Ok(outputs[&root.vertex][slot].clone())
    }

    /// The loop that owns the solver. The first failure, after everything that runs has ended.
    fn work(
        &self,
        pinned: &Pinned,
        solver: &mut Solver<'_>,
        endings: &mut Endings<'_>,
        outputs: &mut HashMap<VertexId, Outputs>,
    ) -> Option<BuildError> {
        let parallel = pinned.is_parallel();
        let cancel = self.cancel_of(pinned);
        std::thread::scope(|scope| {
            let (done, finished) = mpsc::channel::<(VertexId, Result<Worked, BuildError>)>();
            let mut running = 0;
            let mut failure: Option<BuildError> = None;
            loop {
                while running < MOST_RUNNING && failure.is_none() && !cancel.is_cancelled() {
                    let Some((id, inputs)) = solver.next() else { break };
                    running += 1;
                    let done = done.clone();
                    let heavy = !matches!(pinned.graph[id].op, Op::Merge | Op::Diff);
                    let work = move || {
                        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                            self.work_on(pinned, id, &inputs)
                        }));
                        let result = result.unwrap_or_else(|_| {
                            Err(BuildError::plain(
                                format!("kiln itself failed at `{}`", pinned.graph[id].name),
                                "this is a bug in kiln; please report it",
                            ))
                        });
                        // The loop is there until every worker has answered.
                        let _ = done.send((id, result));
                    };
                    if heavy && parallel {
                        scope.spawn(work);
                    } else {
                        work();
                    }
                }
                if running == 0 {
                    break;
                }
                let Some((id, result)) = self.next_finished(pinned, &finished) else { continue };
                running -= 1;
                match result {
                    Ok(worked) => {
                        endings.end(id, if worked.ran { Ending::Done } else { Ending::Cached });
                        outputs.insert(id, worked.outputs.clone());
                        solver.finish(id, Some(worked.outputs));
                    }
                    Err(error) => {
                        let cancelled = matches!(error, BuildError::Cancelled);
                        endings.end(id, if cancelled { Ending::Cancelled } else { Ending::Failed });
                        solver.finish(id, None);
                        if failure.is_none() || matches!(failure, Some(BuildError::Cancelled)) {
                            failure = Some(error);
                        }
                        // One failing step ends the others.
                        crate::stop(cancel);
                    }
                }
            }
            failure.or_else(|| cancel.is_cancelled().then_some(BuildError::Cancelled))
        })
    }

    /// What ends the steps of a graph.
    pub(crate) fn cancel_of<'p>(&'p self, pinned: &'p Pinned) -> &'p Cancel {
        pinned.own_cancel.as_ref().unwrap_or(self.cancel)
    }

    /// Waits for a worker. A graph that can be ended alone ends with the build as well, which is looked after now and
    /// then: `None`.
    fn next_finished<T>(&self, pinned: &Pinned, finished: &mpsc::Receiver<T>) -> Option<T> {
        match &pinned.own_cancel {
            None => Some(finished.recv().unwrap_or_else(|_| unreachable!("the caller holds a sender"))),
            Some(own) => {
                own.raise(self.cancel.level());
                finished.recv_timeout(LOOK_AFTER).ok()
            }
        }
    }

    /// What a record says of a vertex, if what it names can be had as it is needed.
    fn recorded(&self, pinned: &Pinned, id: VertexId, need: Need) -> Option<Outputs> {
        if let Some(stack) = pinned.image_stacks.get(&id) {
            return Some(vec![stack.clone()]);
        }
        if let Op::Source(SourceOp::Scratch | SourceOp::Context(_)) = &pinned.graph[id].op {
            return Some(vec![Stack::default()]);
        }
        let key = pinned.record_key(id)?;
        if pinned.no_lookup[id] {
            return lock(&self.early).ran.get(&key).cloned();
        }
        let record = self.driver.store.record(&key).ok()??;
        let outputs = parse_record(&record)?;
        (outputs.len() == pinned.slots[id].len() && outputs.iter().all(|stack| self.can_be_had(stack, need)))
            .then_some(outputs)
    }

    /// Whether nothing of a stack has to be fetched to be read.
    fn is_here(&self, stack: &Stack) -> bool {
        stack.0.iter().all(|layer| matches!(self.driver.store.tree(layer), Ok(Some(_))))
    }

    fn can_be_had(&self, stack: &Stack, need: Need) -> bool {
        stack.0.iter().all(|layer| match need {
            Need::Names => true,
            Need::Tree => matches!(self.driver.store.tree(layer), Ok(Some(_))) || self.forms.has_bytes(layer),
            Need::Directory | Need::Blob => self.forms.has_bytes(layer),
        })
    }

    fn work_on(&self, pinned: &Pinned, id: VertexId, inputs: &[Stack]) -> Result<Worked, BuildError> {
        let vertex = &pinned.graph[id];
        let existing = if vertex.no_lookup { Existing::Replace } else { Existing::Keep };
        let worked = match &vertex.op {
            Op::Exec(op) => {
                let key = self.content_key(pinned, vertex, inputs)?;
                let content = pinned.recorded_as(id, &key);
                let base = self.mount_stack(pinned, vertex, 0, inputs)?;
                if let Some(outputs) = self.content_hit(pinned, id, vertex, &content, &base, inputs)? {
                    Worked { outputs, ran: false }
                } else {
                    // Somebody else, perhaps in another process, may be running this very step.
                    let _claim = match vertex.no_lookup {
                        true => None,
                        false => Some(self.claim_unless(&content, self.cancel_of(pinned))?),
                    };
                    match self.content_hit(pinned, id, vertex, &content, &base, inputs)? {
                        Some(outputs) => Worked { outputs, ran: false },
                        None => {
                            self.events
                                .emit(Event::Started { vertex: pinned.shown(id), reason: pinned.reason(id) });
                            let outputs = self.execute(pinned, id, op, inputs, &pinned.slots[id])?;
                            let added = added(&outputs);
                            self.put_record(&content, &added, existing)?;
                            self.put_parts(pinned, id, &key, &added)?;
                            Worked { outputs, ran: true }
                        }
                    }
                }
            }
            Op::File(op) => {
                self.events.emit(Event::Started { vertex: pinned.shown(id), reason: pinned.reason(id) });
                Worked { outputs: vec![self.evaluate(&pinned.graph, vertex, op, inputs)?], ran: true }
            }
            Op::Merge => {
                self.events.emit(Event::Started { vertex: pinned.shown(id), reason: None });
                let mut layers = Vec::new();
                for input in 0..inputs.len() {
                    layers.extend(self.stack_of(&pinned.graph, vertex, input, inputs)?.0);
                }
                Worked { outputs: vec![Stack(layers)], ran: true }
            }
            Op::Diff => {
                self.events.emit(Event::Started { vertex: pinned.shown(id), reason: None });
                Worked { outputs: vec![self.difference(&pinned.graph, vertex, inputs)?], ran: true }
            }
            Op::Derive(op) => {
                self.events.emit(Event::Started { vertex: pinned.shown(id), reason: pinned.reason(id) });
                let content = self.content_key(pinned, vertex, inputs)?;
                match self.derived_before(vertex, &content) {
                    Some(outputs) => Worked { outputs, ran: false },
                    None => {
                        let outputs = vec![self.derive(pinned, vertex, op, inputs)?];
                        self.put_record(&content, &outputs, existing)?;
                        Worked { outputs, ran: true }
                    }
                }
            }
            Op::Source(_) => {
                self.events.emit(Event::Started { vertex: pinned.shown(id), reason: None });
                let layer = self.remote_layer(vertex).map_err(|error| placed(error, vertex))?;
                Worked { outputs: vec![Stack(vec![layer])], ran: true }
            }
        };
        if let Some(key) = &pinned.keys[id] {
            let whole = pinned.recorded_as(id, key);
            self.put_record(&whole, &worked.outputs, existing)?;
            if worked.ran {
                self.put_parts(pinned, id, key, &worked.outputs)?;
            }
            if worked.ran && pinned.own_cancel.is_some() {
                let mut early = lock(&self.early);
                let parts = pinned.recorded_in_part(id, key).into_iter();
                early.ran.extend(parts.map(|(key, part)| (key, only(&worked.outputs, &part))));
                early.ran.insert(whole, worked.outputs.clone());
            }
        }
        Ok(worked)
    }

    /// A file op's one layer on its base.
    pub(crate) fn evaluate(
        &self,
        graph: &Graph,
        vertex: &Vertex,
        op: &kiln_core::graph::FileOp,
        inputs: &[Stack],
    ) -> Result<Stack, BuildError> {
        let base_stack = match op.base {
            Some(input) => self.stack_of(graph, vertex, input, inputs)?,
            None => Stack::default(),
        };
        let base = self.merged(&base_stack)?;
        let views: Vec<Merged> = (0..inputs.len())
            .map(|input| self.input_merged(graph, vertex, input, inputs))
            .collect::<Result<_, _>>()?;
        let tree = fileop::apply(op, &base, &views, &mut self.world(graph, vertex), self.now())
            .map_err(|error| self.file_error(vertex, error))?;
        Ok(base_stack.with(&[self.forms.keep(tree)?]))
    }

    /// What the second input has beyond the first.
    pub(crate) fn difference(
        &self,
        graph: &Graph,
        vertex: &Vertex,
        inputs: &[Stack],
    ) -> Result<Stack, BuildError> {
        let (lower, upper) = match inputs.len() {
            1 => (Stack::default(), self.stack_of(graph, vertex, 0, inputs)?),
            _ => (self.stack_of(graph, vertex, 0, inputs)?, self.stack_of(graph, vertex, 1, inputs)?),
        };
        match upper.0.strip_prefix(&lower.0[..]) {
            Some(rest) => Ok(Stack(rest.to_vec())),
            None => {
                let tree = crate::diff::difference(&self.merged(&lower)?, &self.merged(&upper)?);
                Ok(Stack(vec![self.forms.keep(tree)?]))
            }
        }
    }

    /// An input of a vertex as layers; a context becomes one.
    pub(crate) fn stack_of(
        &self,
        graph: &Graph,
        vertex: &Vertex,
        input: usize,
        inputs: &[Stack],
    ) -> Result<Stack, BuildError> {
        match self.context_of(graph, vertex, input) {
            Some(context) => self.whole_context(&context),
            None => Ok(inputs[input].clone()),
        }
    }

    pub(crate) fn input_merged(
        &self,
        graph: &Graph,
        vertex: &Vertex,
        input: usize,
        inputs: &[Stack],
    ) -> Result<Merged, BuildError> {
        match self.context_of(graph, vertex, input) {
            Some(context) => Ok(context.view()),
            None => self.merged(&inputs[input]),
        }
    }

    // ---- records -----------------------------------------------------------------------------------------------------

    /// The key over what the inputs hold.
    fn content_key(
        &self,
        pinned: &Pinned,
        vertex: &Vertex,
        inputs: &[Stack],
    ) -> Result<CacheKey, BuildError> {
        let ids: Vec<_> = inputs.iter().map(Stack::id).collect();
        let mut keys = Vec::with_capacity(inputs.len());
        for (input, id) in ids.iter().enumerate() {
            keys.push(match self.selected(pinned, vertex, input, Some(inputs))? {
                Some(selection) => InputKey::Selected(selection.digest()),
                None => InputKey::Stack(*id),
            });
        }
        let mut hasher = key::Hasher::new("content");
        key::write_key(vertex, &keys, &mut hasher);
        Ok(hasher.finish())
    }

    /// Layers that the step added when it last ran on this content, on this build's inputs.
    fn content_hit(
        &self,
        pinned: &Pinned,
        id: VertexId,
        vertex: &Vertex,
        key: &CacheKey,
        base: &Stack,
        inputs: &[Stack],
    ) -> Result<Option<Outputs>, BuildError> {
        if vertex.no_lookup {
            return Ok(None);
        }
        let Ok(Some(record)) = self.driver.store.record(key) else { return Ok(None) };
        let Some(added) = parse_record(&record) else { return Ok(None) };
        let slots = &pinned.slots[id];
        if added.len() != slots.len() || !added.iter().all(|stack| self.can_be_had(stack, Need::Blob)) {
            return Ok(None);
        }
        let mut outputs = Vec::new();
        for (slot, added) in slots.iter().zip(&added) {
            let below = match slot {
                0 => base.clone(),
                slot => self.mount_stack(pinned, vertex, *slot, inputs)?,
            };
            outputs.push(below.with(&added.0));
        }
        Ok(Some(outputs))
    }

    /// The stack below what a step changes in one of its mounts.
    fn mount_stack(
        &self,
        pinned: &Pinned,
        vertex: &Vertex,
        slot: usize,
        inputs: &[Stack],
    ) -> Result<Stack, BuildError> {
        match &vertex.op {
            Op::Exec(op) => match op.mounts.get(slot).map(|mount| &mount.kind) {
                Some(kiln_core::graph::MountKind::Bind { input: Some(input), .. }) => {
                    self.stack_of(&pinned.graph, vertex, *input, inputs)
                }
                _ => Ok(Stack::default()),
            },
            _ => Ok(Stack::default()),
        }
    }

    /// What a derivation made of inputs that held the same. It is a function of them, so the whole of it is known.
    fn derived_before(&self, vertex: &Vertex, key: &CacheKey) -> Option<Outputs> {
        if vertex.no_lookup {
            return None;
        }
        let outputs = parse_record(&self.driver.store.record(key).ok()??)?;
        (outputs.len() == 1 && outputs.iter().all(|stack| self.can_be_had(stack, Need::Blob)))
            .then_some(outputs)
    }

    pub(crate) fn claim(&self, key: &CacheKey) -> Result<kiln_store::Claim, BuildError> {
        self.claim_unless(key, self.cancel)
    }

    fn claim_unless(&self, key: &CacheKey, cancel: &Cancel) -> Result<kiln_store::Claim, BuildError> {
        self.driver.store.claim(key, cancel).map_err(|error| {
            if cancel.is_cancelled() {
                BuildError::Cancelled
            } else {
                BuildError::world("could not wait for another build of the same step", error)
            }
        })
    }

    /// Records what was made for graphs that read less of it: a plugin that plans may have asked for more of a step than
    /// the image needs. These records go with the run that a build has seen, whatever an earlier one left.
    fn put_parts(
        &self,
        pinned: &Pinned,
        id: VertexId,
        key: &CacheKey,
        outputs: &[Stack],
    ) -> Result<(), BuildError> {
        for (key, part) in pinned.recorded_in_part(id, key) {
            self.put_record(&key, &only(outputs, &part), Existing::Replace)?;
        }
        Ok(())
    }

    fn put_record(&self, key: &CacheKey, outputs: &[Stack], existing: Existing) -> Result<(), BuildError> {
        let existing = if self.leads_nowhere(key) { Existing::Replace } else { existing };
        self.driver
            .store
            .put_record(key, &write_record(outputs), existing)
            .map_err(|error| BuildError::world("could not record the result of a step", error))
    }

    /// There is a record, and a layer that it names is lost. A step need not make the same layer twice, so a record that
    /// stayed would have it run again in every build.
    fn leads_nowhere(&self, key: &CacheKey) -> bool {
        let Ok(Some(record)) = self.driver.store.record(key) else { return false };
        !parse_record(&record)
            .is_some_and(|outputs| outputs.iter().all(|stack| self.can_be_had(stack, Need::Blob)))
    }
}

/// Says of findings without a place where the vertex was written: a submodule that is denied has none of its own.
fn placed(error: BuildError, vertex: &Vertex) -> BuildError {
    let BuildError::Wrong(mut found) = error else { return error };
    for finding in &mut found {
        finding.primary = finding.primary.take().or_else(|| vertex.origin.first().cloned());
    }
    BuildError::Wrong(found)
}

/// The context that an output is, if it is one and no image was given as it.
fn context_at(pinned: &Pinned, output: Output) -> Option<&ContextSource> {
    match &pinned.graph[output.vertex].op {
        Op::Source(SourceOp::Context(source)) if !pinned.image_stacks.contains_key(&output.vertex) => {
            Some(source)
        }
        _ => None,
    }
}

struct Worked {
    outputs: Outputs,
    /// It ran or was evaluated, and was not found.
    ran: bool,
}

/// Which vertices have been reported. Each is, exactly once.
struct Endings<'s> {
    session: &'s Session<'s>,
    pinned: &'s Pinned,
    open: Vec<bool>,
    /// Steps, as people count them: what runs or copies, not where things come from.
    steps: Vec<bool>,
    counts: Counts,
}

impl<'s> Endings<'s> {
    fn new(session: &'s Session<'_>, pinned: &'s Pinned) -> Self {
        let steps = pinned.graph.vertices().iter().map(|vertex| crate::plan::is_step(&vertex.op)).collect();
        Self { session, pinned, open: pinned.reachable.clone(), steps, counts: Counts::default() }
    }

    fn end(&mut self, vertex: VertexId, ending: Ending) {
        if !std::mem::replace(&mut self.open[vertex], false) {
            return;
        }
        if self.steps[vertex] && !(ending == Ending::Cached && self.ran_early(vertex)) {
            match ending {
                Ending::Done => self.counts.ran += 1,
                Ending::Cached => self.counts.cached += 1,
                Ending::Failed | Ending::Cancelled => {}
            }
        }
        self.session.events.emit(Event::Finished { vertex: self.pinned.shown(vertex), ending });
    }

    /// It ran in this build already, for a plugin that was planning, and was counted.
    fn ran_early(&self, vertex: VertexId) -> bool {
        self.pinned.record_key(vertex).is_some_and(|key| lock(&self.session.early).ran.contains_key(&key))
    }

    /// What was not needed any more: for want of a change, or because something else failed.
    fn rest(&mut self, ending: Ending) {
        for vertex in 0..self.open.len() {
            self.end(vertex, ending.clone());
        }
    }
}

/// What each output has on top of its input: one layer.
fn added(outputs: &[Stack]) -> Outputs {
    outputs.iter().map(|stack| Stack(stack.0.last().copied().into_iter().collect())).collect()
}

/// Some of a step's outputs, by position.
fn only(outputs: &[Stack], positions: &[usize]) -> Outputs {
    positions.iter().map(|position| outputs[*position].clone()).collect()
}

/// One line per output, of layer names, base first.
fn write_record(outputs: &[Stack]) -> Vec<u8> {
    let mut text = String::from("kiln record 1\n");
    for stack in outputs {
        let layers: Vec<String> = stack.0.iter().map(LayerId::hex).collect();
        text.push_str(&layers.join(" "));
        text.push('\n');
    }
    text.into_bytes()
}

/// `None` for what this version does not understand: a miss.
fn parse_record(record: &[u8]) -> Option<Outputs> {
    let text = std::str::from_utf8(record).ok()?.strip_prefix("kiln record 1\n")?;
    text.lines()
        .map(|line| {
            let layers = line.split_whitespace().map(|hex| kiln_core::Digest::from_hex(hex).map(LayerId));
            layers.collect::<Option<Vec<_>>>().map(Stack)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::Digest;

    #[test]
    fn records_say_what_they_were_told() {
        let layer = |n: u8| LayerId(Digest::of(&[n]));
        let outputs = vec![Stack(vec![layer(1), layer(2)]), Stack::default()];
        assert_eq!(parse_record(&write_record(&outputs)), Some(outputs));
        assert_eq!(parse_record(b"kiln record 2\n"), None);
        assert_eq!(parse_record(b"kiln record 1\nxyz\n"), None);
    }
}
