//! Decides which vertices have to be worked on, and when each can be. Waits for nothing and knows no thread.

use std::collections::VecDeque;

use crate::digest::Stack;
use crate::graph::{Graph, Output, VertexId};

mod need;

pub use need::Need;

#[derive(Debug)]
enum State {
    Unwanted,
    /// For so many of its inputs.
    Waiting(usize),
    Ready,
    Running,
    Done {
        outputs: Vec<Stack>,
        /// Found, not made.
        hit: bool,
    },
    Failed,
}

/// The state of a build: the driver asks it what to do next and tells it what came of it.
#[derive(Debug)]
pub struct Solver<'g> {
    graph: &'g Graph,
    states: Vec<State>,
    /// For each vertex those that wait or have waited for it, once per input.
    readers: Vec<Vec<VertexId>>,
    slots: Vec<Vec<usize>>,
    queue: VecDeque<VertexId>,
}

/// For each vertex its outputs that a target or a reader of a target's inputs reads: 0, then the others in order.
/// Lists of outputs have this order.
pub fn slots(graph: &Graph, targets: impl IntoIterator<Item = Output>) -> Vec<Vec<usize>> {
    let mut slots: Vec<Vec<usize>> = vec![Vec::new(); graph.len()];
    for target in targets {
        slots[target.vertex].extend([0, target.slot]);
    }
    for id in (0..graph.len()).rev() {
        if !slots[id].is_empty() {
            for input in &graph[id].inputs {
                slots[input.vertex].extend([0, input.slot]);
            }
        }
    }
    for list in &mut slots {
        list.sort_unstable();
        list.dedup();
    }
    slots
}

impl<'g> Solver<'g> {
    /// Wants `targets` and what they need. `recorded` answers with a vertex's outputs, in the order of [`slots`], if
    /// they are at hand in the form needed; it is asked once per vertex. Below a hit nothing is wanted.
    pub fn new(
        graph: &'g Graph,
        targets: &[(Output, Need)],
        mut recorded: impl FnMut(VertexId, Need) -> Option<Vec<Stack>>,
    ) -> Self {
        let mut solver = Self {
            graph,
            states: graph.vertices().iter().map(|_| State::Unwanted).collect(),
            readers: vec![Vec::new(); graph.len()],
            slots: slots(graph, targets.iter().map(|(output, _)| *output)),
            queue: VecDeque::new(),
        };
        let mut needs: Vec<Option<Need>> = vec![None; graph.len()];
        for (output, need) in targets {
            needs[output.vertex] = needs[output.vertex].max(Some(*need));
        }
        // Readers come after what they read, so each vertex has heard of all of them when its turn comes.
        for id in (0..graph.len()).rev() {
            let Some(need) = needs[id] else { continue };
            if let Some(outputs) = recorded(id, need) {
                solver.states[id] = State::Done { outputs, hit: true };
                continue;
            }
            solver.states[id] = State::Waiting(0);
            for input in &graph[id].inputs {
                needs[input.vertex] = needs[input.vertex].max(Some(need.of_inputs(&graph[id].op)));
            }
        }
        for id in 0..graph.len() {
            if matches!(solver.states[id], State::Waiting(_)) {
                solver.wait(id);
            }
        }
        solver
    }

    /// A vertex to work on now, with the stacks of its inputs.
    #[allow(clippy::should_implement_trait)] // Not the end of anything: `None` means "not now".
    pub fn next(&mut self) -> Option<(VertexId, Vec<Stack>)> {
        let id = self.queue.pop_front()?;
        self.states[id] = State::Running;
        let stacks = self.graph[id].inputs.iter().map(|input| match &self.states[input.vertex] {
            State::Done { outputs, .. } => {
                let position = self.slots[input.vertex].binary_search(&input.slot).unwrap_or(0);
                outputs[position].clone()
            }
            state => panic!("vertex {id} is ready while its input {} is {state:?}", input.vertex),
        });
        Some((id, stacks.collect()))
    }

    /// Takes back a vertex handed out by [`Solver::next`]: with its outputs in the order of [`slots`], or failed.
    pub fn finish(&mut self, id: VertexId, outputs: Option<Vec<Stack>>) {
        self.queue.retain(|ready| *ready != id);
        let Some(outputs) = outputs else {
            self.states[id] = State::Failed;
            return;
        };
        self.states[id] = State::Done { outputs, hit: false };
        for reader in self.readers[id].clone() {
            if let State::Waiting(inputs) = &mut self.states[reader] {
                *inputs -= 1;
                if *inputs == 0 {
                    self.states[reader] = State::Ready;
                    self.queue.push_back(reader);
                }
            }
        }
    }

    /// A hit turned out to be unusable: it is wanted again, and so is what it needs. A reader that has been handed out
    /// and not taken back waits again, to be handed out once more. Of anything but a hit this says nothing new.
    pub fn lost(&mut self, id: VertexId) {
        if !matches!(self.states[id], State::Done { hit: true, .. }) {
            return;
        }
        for reader in self.readers[id].clone() {
            match &mut self.states[reader] {
                State::Waiting(inputs) => *inputs += 1,
                state @ (State::Ready | State::Running) => {
                    *state = State::Waiting(1);
                    self.queue.retain(|ready| *ready != reader);
                }
                _ => {}
            }
        }
        let mut wanted = vec![id];
        while let Some(id) = wanted.pop() {
            let unwanted = |input: &&Output| matches!(self.states[input.vertex], State::Unwanted);
            let below: Vec<VertexId> =
                self.graph[id].inputs.iter().filter(unwanted).map(|input| input.vertex).collect();
            for below in below {
                if matches!(self.states[below], State::Unwanted) {
                    self.states[below] = State::Waiting(0);
                    wanted.push(below);
                }
            }
            self.wait(id);
        }
    }

    /// Makes a vertex wait for its inputs, or ready.
    fn wait(&mut self, id: VertexId) {
        let graph = self.graph;
        let mut missing = 0;
        for input in &graph[id].inputs {
            self.readers[input.vertex].push(id);
            missing += usize::from(!matches!(self.states[input.vertex], State::Done { .. }));
        }
        self.states[id] = State::Waiting(missing);
        if missing == 0 {
            self.states[id] = State::Ready;
            self.queue.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests;
