//! Points 2 and 3: the whole graph with its sources pinned, and what each command in it may have.

use std::collections::{BTreeMap, HashMap};

use kiln_core::graph::{Network, Op, Security};
use kiln_core::{Diagnostic, Graph, Output, VertexId};
use kiln_plugin::{ExecLimits, Point};

use super::weigh::Weighed;
use super::{PolicyMode, Standing};
use crate::error::BuildError;
use crate::session::Session;

/// What a step may use at most, with the policy that says so. None of it is in a key: it can stop a step and cannot
/// change what one makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepLimits {
    pub(crate) seconds: Option<(u32, String)>,
    pub(crate) memory_mib: Option<(u32, String)>,
}

impl StepLimits {
    fn narrow(&mut self, limits: &ExecLimits, by: &str) {
        let narrow = |known: &mut Option<(u32, String)>, new: Option<u32>| match (new, &known) {
            (Some(new), Some((old, _))) if new >= *old => {}
            (Some(new), _) => *known = Some((new, by.to_owned())),
            (None, _) => {}
        };
        narrow(&mut self.seconds, limits.seconds);
        narrow(&mut self.memory_mib, limits.memory_mib);
    }
}

/// The part of a graph that targets reach, as policies are shown it.
struct Shown {
    graph: Graph,
    roots: Vec<Output>,
    /// Vertex of the whole graph for each shown.
    vertices: Vec<VertexId>,
}

impl Shown {
    fn of(whole: &Graph, reachable: &[bool], roots: &[Output]) -> Self {
        let mut places = vec![0; whole.len()];
        let mut shown = Self { graph: Graph::default(), roots: Vec::new(), vertices: Vec::new() };
        for id in (0..whole.len()).filter(|id| reachable[*id]) {
            let mut vertex = whole[id].clone();
            for input in &mut vertex.inputs {
                input.vertex = places[input.vertex];
            }
            places[id] = shown.graph.push(vertex);
            shown.vertices.push(id);
        }
        shown.roots = roots.iter().map(|root| Output { vertex: places[root.vertex], ..*root }).collect();
        shown
    }

    /// Names by which an exemption may know what is written where a finding points: stages.
    fn stages_at(&self, finding: &Diagnostic) -> Vec<String> {
        let Some(place) = &finding.primary else { return Vec::new() };
        let here = |id: &usize| self.graph[*id].origin.iter().any(|span| span == place);
        let mut stages: Vec<String> =
            (0..self.graph.len()).filter(here).map(|id| self.graph[id].group.clone()).collect();
        stages.retain(|stage| !stage.is_empty());
        stages.dedup();
        stages
    }
}

impl Session<'_> {
    /// Judges what is about to be solved, and takes from its commands what they may not have. Graphs that a plugin has
    /// solved while it plans are judged like the one that it plans.
    ///
    /// # Errors
    ///
    /// [`BuildError::Wrong`] with every finding that denies it.
    pub(crate) fn judge_graph(
        &self,
        graph: &mut Graph,
        reachable: &[bool],
        roots: &[Output],
    ) -> Result<HashMap<VertexId, StepLimits>, BuildError> {
        let mut limits = HashMap::new();
        if !self.policies.are_asked_at(Point::Graph) && !self.policies.are_asked_at(Point::Exec) {
            return Ok(limits);
        }
        let shown = Shown::of(graph, reachable, roots);
        let mut weighed = Weighed::default();
        for standing in self.policies.at(Point::Graph) {
            let asked =
                self.ask(standing, |policy, asking| policy.check_graph(asking, &shown.graph, &shown.roots))?;
            let findings = match asked {
                Ok((found, mut reported)) => {
                    reported.extend(found);
                    reported
                }
                Err(undecided) => undecided,
            };
            for finding in findings {
                let stages = shown.stages_at(&finding);
                weighed.join(self.weigh(standing, Point::Graph, vec![finding], &stages));
            }
        }
        let execs: Vec<VertexId> =
            (0..shown.graph.len()).filter(|id| matches!(shown.graph[*id].op, Op::Exec(_))).collect();
        if !execs.is_empty() {
            let narrowed = self.judge_commands(&shown, &execs, &mut weighed)?;
            for (exec, (least, narrowest)) in narrowed {
                let vertex = shown.vertices[exec];
                narrow(graph, vertex, &least);
                if narrowest != StepLimits::default() {
                    limits.insert(vertex, narrowest);
                }
            }
        }
        self.settle(weighed)?;
        Ok(limits)
    }

    /// The narrowest limits of all policies, by the command's place in what is shown.
    fn judge_commands(
        &self,
        shown: &Shown,
        execs: &[VertexId],
        weighed: &mut Weighed,
    ) -> Result<BTreeMap<VertexId, (ExecLimits, StepLimits)>, BuildError> {
        let mut narrowed = BTreeMap::<VertexId, (ExecLimits, StepLimits)>::new();
        for standing in self.policies.at(Point::Exec) {
            let asked =
                self.ask(standing, |policy, asking| policy.check_exec(asking, &shown.graph, execs))?;
            let (verdicts, findings) = match asked {
                Ok((verdicts, reported)) => (verdicts, reported),
                Err(undecided) => (Vec::new(), undecided),
            };
            weighed.join(self.weigh(standing, Point::Exec, findings, &[]));
            for (verdict, exec) in verdicts.into_iter().zip(execs) {
                let vertex = &shown.graph[*exec];
                let stage = [vertex.group.clone()];
                let stage = if stage[0].is_empty() { &[][..] } else { &stage };
                weighed.join(self.weigh(standing, Point::Exec, verdict.diagnostics, stage));
                if verdict.limits == ExecLimits::default() {
                    continue;
                }
                if standing.mode != PolicyMode::Enforce {
                    let note = would_limit(standing, &verdict.limits).at(vertex.origin.first().cloned());
                    weighed.join(self.weigh(standing, Point::Exec, vec![note], stage));
                    continue;
                }
                let (least, narrowest) = narrowed.entry(*exec).or_default();
                least.network = match (least.network, verdict.limits.network) {
                    (Some(Network::None), _) | (_, Some(Network::None)) => Some(Network::None),
                    (one, other) => one.or(other),
                };
                least.security = least.security.or(verdict.limits.security);
                narrowest.narrow(&verdict.limits, standing.name());
            }
        }
        Ok(narrowed)
    }
}

/// Takes from a command what changes its result: from here on that is part of its keys.
fn narrow(graph: &mut Graph, id: VertexId, limits: &ExecLimits) {
    let Op::Exec(op) = graph.op_mut(id) else { return };
    match limits.network {
        Some(Network::None) => op.network = Network::None,
        Some(Network::Default) if op.network == Network::Host => op.network = Network::Default,
        _ => {}
    }
    if limits.security == Some(Security::Sandbox) {
        op.security = Security::Sandbox;
    }
}

fn would_limit(standing: &Standing, limits: &ExecLimits) -> Diagnostic {
    let mut what = Vec::new();
    match limits.network {
        Some(Network::None) => what.push("no network".to_owned()),
        Some(_) => what.push("a network of its own".to_owned()),
        None => {}
    }
    if limits.security.is_some() {
        what.push("the usual protections".to_owned());
    }
    what.extend(limits.seconds.map(|seconds| format!("{seconds} s")));
    what.extend(limits.memory_mib.map(|memory| format!("{memory} MiB of memory")));
    let message =
        format!("the policy `{}` would let this step have {} only", standing.name(), what.join(", "));
    Diagnostic::warning(&format!("{}/would-limit", standing.name()), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_limit_of_all_policies_holds() {
        let mut limits = StepLimits::default();
        let seconds = |seconds| ExecLimits { seconds: Some(seconds), ..ExecLimits::default() };
        limits.narrow(&seconds(20), "a");
        limits.narrow(&seconds(10), "b");
        limits.narrow(&seconds(15), "c");
        limits.narrow(&ExecLimits::default(), "d");
        assert_eq!(limits.seconds, Some((10, "b".to_owned())));
        assert_eq!(limits.memory_mib, None);
    }
}
