//! Whole graphs: references between operations, platforms, holes.

use std::collections::HashMap;

use kiln_core::graph::{DeriveOp, MountKind, SourceOp};
use kiln_core::{Digest, Graph, Op, Output, Platform, Vertex};

use super::ops::{self, Inputs};
use super::{Fault, findings, questions, text};
use crate::bindings::wit::graph as wit;
use crate::limits;

/// A graph being read. Operation N of the contract becomes vertex N, save in fragments, where holes stand for what the
/// receiver has.
struct Reader<'a> {
    vertices: Vec<Vertex>,
    /// Whether the operation said so itself.
    has_platform: Vec<bool>,
    /// Where each operation read so far is.
    places: Vec<usize>,
    /// Made it, and is asked again by those of its operations that derive.
    owner: &'a Digest,
}

/// An output that names an operation of the graph being read.
fn resolve(vertices: &[Vertex], places: &[usize], output: wit::Output) -> Result<Output, Fault> {
    let Some(&vertex) = places.get(output.op as usize) else {
        return Err(Fault::new(format!("it reads op {}, which does not come before it", output.op)));
    };
    let slot = output.slot as usize;
    if slot > 0 {
        let writable_bind = match &vertices[vertex].op {
            Op::Exec(exec) => exec
                .mounts
                .get(slot)
                .is_some_and(|mount| !mount.readonly && matches!(mount.kind, MountKind::Bind { .. })),
            _ => false,
        };
        if !writable_bind {
            return Err(Fault::new(format!(
                "it reads slot {slot} of op {}, which has no writable bind there",
                output.op
            )));
        }
    }
    Ok(Output { vertex, slot })
}

impl Reader<'_> {
    fn find(&self, output: wit::Output) -> Result<Output, Fault> {
        resolve(&self.vertices, &self.places, output)
    }

    fn find_all(&self, outputs: &[wit::Output]) -> Result<Vec<Output>, Fault> {
        outputs.iter().map(|output| self.find(*output)).collect()
    }

    fn read(&mut self, op: wit::Op) -> Result<(), Fault> {
        let find = |output| resolve(&self.vertices, &self.places, output);
        let mut inputs = Inputs { list: Vec::new(), find: &find };
        let made = match op.kind {
            wit::OpKind::Hole(hole) => {
                return Err(Fault::new(format!("it is a hole ({})", hole_name(&hole))));
            }
            wit::OpKind::Scratch => Op::Source(SourceOp::Scratch),
            wit::OpKind::Image(source) => Op::Source(SourceOp::Image(questions::image_source(source)?)),
            wit::OpKind::Context(source) => Op::Source(SourceOp::Context(questions::context_source(source))),
            wit::OpKind::Git(source) => Op::Source(SourceOp::Git(questions::git_source(source))),
            wit::OpKind::Http(source) => Op::Source(SourceOp::Http(questions::checked_http_source(source)?)),
            wit::OpKind::Exec(exec) => Op::Exec(ops::exec(exec, &mut inputs)?),
            wit::OpKind::File(file) => Op::File(ops::file(file, &mut inputs)?),
            wit::OpKind::Merge(outputs) => {
                inputs.list = self.find_all(&outputs)?;
                Op::Merge
            }
            wit::OpKind::Diff(diff) => {
                inputs.list =
                    self.find_all(&diff.lower.into_iter().chain([diff.upper]).collect::<Vec<_>>())?;
                Op::Diff
            }
            wit::OpKind::Derive(derive) => {
                inputs.list = self.find_all(&derive.inputs)?;
                Op::Derive(DeriveOp {
                    plugin: if derive.plugin.is_empty() {
                        *self.owner
                    } else {
                        derive.plugin.parse().map_err(|error: kiln_core::digest::ParseDigestError| {
                            Fault::new(error.to_string())
                        })?
                    },
                    task: text("task", derive.task)?,
                })
            }
        };
        let inputs = inputs.list;
        self.has_platform.push(op.platform.is_some());
        self.places.push(self.vertices.len());
        self.vertices.push(Vertex {
            op: made,
            inputs,
            platform: op.platform.map(questions::platform).unwrap_or_default(),
            name: text("name", op.name)?,
            group: text("group", op.group)?,
            no_lookup: op.no_cache,
            origin: findings::spans(op.spans),
        });
        Ok(())
    }
}

fn hole_name(hole: &wit::Hole) -> String {
    match hole {
        wit::Hole::Base => "base".to_owned(),
        wit::Hole::Context => "context".to_owned(),
        wit::Hole::Named(named) => format!("`{}`", named.name),
        wit::Hole::Input(input) => format!("input {input}"),
    }
}

fn check_size(graph: &wit::Graph) -> Result<(), Fault> {
    if graph.ops.len() > limits::OPS {
        return Err(Fault::new(format!("a graph of {} operations (limit {})", graph.ops.len(), limits::OPS)));
    }
    Ok(())
}

/// Names an operation in a message.
fn place(index: usize, name: &str) -> String {
    if name.is_empty() { format!("op {index}") } else { format!("op {index} ({name})") }
}

fn read_all(reader: &mut Reader<'_>, graph: wit::Graph) -> Result<(), Fault> {
    check_size(&graph)?;
    reader.vertices.reserve(graph.ops.len());
    reader.places.reserve(graph.ops.len());
    for (index, op) in graph.ops.into_iter().enumerate() {
        // Names can be long and are wanted only when something is wrong.
        let name: String = op.name.chars().take(80).collect();
        reader.read(op).map_err(|fault| fault.at(place(index, &name)))?;
    }
    Ok(())
}

/// A graph without holes. Operations that name no platform get that of the targets that reach them.
///
/// `roots` are what the targets are made of, each with its platform; `otherwise` is for what no target reaches.
/// Returns the graph and the outputs that `roots` are in it.
///
/// # Errors
///
/// When an operation reads one that does not come before it or a slot that is not there, is a hole, says what makes no
/// sense, or names no platform while targets of several platforms reach it.
pub(crate) fn finished(
    graph: wit::Graph,
    owner: &Digest,
    roots: &[(wit::Output, Platform)],
    otherwise: &Platform,
) -> Result<(Graph, Vec<Output>), Fault> {
    let mut reader = Reader { vertices: Vec::new(), has_platform: Vec::new(), places: Vec::new(), owner };
    read_all(&mut reader, graph)?;
    let outputs: Vec<Output> = roots
        .iter()
        .map(|(root, _)| reader.find(*root).map_err(|fault| fault.at("a target or a scan")))
        .collect::<Result<_, _>>()?;
    let targets: Vec<(usize, &Platform)> =
        outputs.iter().zip(roots).map(|(output, (_, platform))| (output.vertex, platform)).collect();
    let Reader { mut vertices, has_platform, .. } = reader;
    assign_platforms(&mut vertices, &has_platform, &targets, otherwise)?;
    let mut graph = Graph::default();
    for vertex in vertices {
        graph.push(vertex);
    }
    Ok((graph, outputs))
}

/// A graph to be solved while a build is planned, and the outputs that are wanted of it.
///
/// # Errors
///
/// As [`finished`].
pub(crate) fn to_solve(
    graph: wit::Graph,
    outputs: &[wit::Output],
    owner: &Digest,
    platform: &Platform,
) -> Result<(Graph, Vec<Output>), Fault> {
    let roots: Vec<_> = outputs.iter().map(|output| (*output, platform.clone())).collect();
    finished(graph, owner, &roots, platform)
}

/// From the targets down: who reaches what. One pass, since inputs come first.
fn assign_platforms(
    vertices: &mut [Vertex],
    has_platform: &[bool],
    targets: &[(usize, &Platform)],
    otherwise: &Platform,
) -> Result<(), Fault> {
    #[derive(Clone, Copy, PartialEq)]
    enum Reach {
        None,
        One(usize),
        Several,
    }
    let meet = |a: Reach, b: Reach| match (a, b) {
        (Reach::None, other) | (other, Reach::None) => other,
        (a, b) if a == b => a,
        _ => Reach::Several,
    };
    let mut platforms: Vec<&Platform> = Vec::new();
    let mut numbers: HashMap<&Platform, usize> = HashMap::new();
    let mut reach = vec![Reach::None; vertices.len()];
    for (vertex, platform) in targets {
        let number = *numbers.entry(platform).or_insert_with(|| {
            platforms.push(platform);
            platforms.len() - 1
        });
        reach[*vertex] = meet(reach[*vertex], Reach::One(number));
    }
    for id in (0..vertices.len()).rev() {
        for input in &vertices[id].inputs {
            reach[input.vertex] = meet(reach[input.vertex], reach[id]);
        }
        if has_platform[id] {
            continue;
        }
        vertices[id].platform = match reach[id] {
            Reach::None => otherwise.clone(),
            Reach::One(number) => platforms[number].clone(),
            Reach::Several => {
                return Err(Fault::new("it names no platform, and targets of several platforms reach it")
                    .at(place(id, &vertices[id].name)));
            }
        };
    }
    Ok(())
}

/// A fragment that `derive` answered, in which the first `inputs` vertices stand for its inputs.
///
/// # Errors
///
/// As [`finished`], and for any operation that could bring in something new: sources, commands, further derivations.
pub(crate) fn derived(
    graph: wit::Graph,
    root: wit::Output,
    inputs: usize,
    owner: &Digest,
    platform: &Platform,
) -> Result<(Graph, Output), Fault> {
    let input = |hole: &wit::Hole| match hole {
        wit::Hole::Input(input) => Some(*input as usize).filter(|input| *input < inputs),
        _ => None,
    };
    let words = Rearranging { receiver: "a derivation", hole: "no input of the derivation" };
    rearranged(graph, root, inputs, &input, &words, owner, platform)
}

/// A fragment that a transform answered, in which the first vertex stands for the finished filesystem.
///
/// # Errors
///
/// As [`derived`].
pub(crate) fn transformed(
    graph: wit::Graph,
    root: wit::Output,
    owner: &Digest,
    platform: &Platform,
) -> Result<(Graph, Output), Fault> {
    let base = |hole: &wit::Hole| matches!(hole, wit::Hole::Base).then_some(0);
    let words =
        Rearranging { receiver: "a transform", hole: "not the base, which is all that a transform has" };
    rearranged(graph, root, 1, &base, &words, owner, platform)
}

/// How messages speak of who gets a fragment that only moves files.
struct Rearranging {
    receiver: &'static str,
    /// What a hole is that does not belong there.
    hole: &'static str,
}

/// A fragment without anything new. `fill` says which of the first vertices a hole stands for.
fn rearranged(
    graph: wit::Graph,
    root: wit::Output,
    inputs: usize,
    fill: &dyn Fn(&wit::Hole) -> Option<usize>,
    words: &Rearranging,
    owner: &Digest,
    platform: &Platform,
) -> Result<(Graph, Output), Fault> {
    check_size(&graph)?;
    let stand_in = Vertex {
        op: Op::Source(SourceOp::Scratch),
        inputs: Vec::new(),
        platform: platform.clone(),
        name: String::new(),
        group: String::new(),
        no_lookup: false,
        origin: Vec::new(),
    };
    let mut reader = Reader {
        vertices: vec![stand_in; inputs],
        has_platform: vec![true; inputs],
        places: Vec::new(),
        owner,
    };
    for (index, op) in graph.ops.into_iter().enumerate() {
        let name: String = op.name.chars().take(80).collect();
        let read = match &op.kind {
            wit::OpKind::Hole(hole) => match fill(hole) {
                Some(input) => {
                    reader.places.push(input);
                    Ok(())
                }
                None => Err(Fault::new(format!("it is a hole ({}) that is {}", hole_name(hole), words.hole))),
            },
            wit::OpKind::Scratch | wit::OpKind::File(_) | wit::OpKind::Merge(_) | wit::OpKind::Diff(_) => {
                reader.read(op)
            }
            _ => Err(Fault::new(format!("{} may rearrange files and bring in nothing new", words.receiver))),
        };
        read.map_err(|fault| fault.at(place(index, &name)))?;
    }
    let root = reader.find(root).map_err(|fault| fault.at("the root"))?;
    let mut graph = Graph::default();
    for (mut vertex, has_platform) in reader.vertices.into_iter().zip(reader.has_platform) {
        if !has_platform {
            vertex.platform = platform.clone();
        }
        graph.push(vertex);
    }
    Ok((graph, root))
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
