//! Puts fragments of instructions into the graph of the build: fills their holes and shifts their indexes.

use kiln_sdk::wit::diagnostics::Span;
use kiln_sdk::wit::graph::{
    ContextSource, ExecOp, FileAction, Graph, Hole, ImageSource, MountKind, NamedHole, Op, OpKind, Output,
};
use kiln_sdk::wit::types::Platform;

/// A filesystem of the graph, or the empty one, which needs no op in most places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Root {
    Empty,
    At(Output),
}

impl Root {
    pub fn output(self) -> Option<Output> {
        match self {
            Root::Empty => None,
            Root::At(output) => Some(output),
        }
    }
}

impl std::convert::From<Option<Output>> for Root {
    fn from(output: Option<Output>) -> Self {
        output.map_or(Root::Empty, Root::At)
    }
}

/// What the frontend sets on every op of an instruction.
#[derive(Clone, Debug)]
pub struct Stamp<'s> {
    pub platform: &'s Platform,
    pub group: &'s str,
    pub no_cache: bool,
    /// For ops that say nothing of where they come from.
    pub at: &'s Span,
    /// The lines through which `at` came to be read, if it stands in text that was brought in.
    pub ways: &'s [Span],
    /// Host name of commands; empty for the engine's.
    pub hostname: &'s str,
    /// Put before ids of cache mounts, if not empty.
    pub cache_namespace: &'s str,
}

/// The ops of the build so far.
#[derive(Debug, Default)]
pub struct Assembly {
    pub ops: Vec<Op>,
}

/// Where the ops of a fragment went.
#[derive(Debug)]
pub struct Placed {
    roots: Vec<Root>,
    /// The ops of the fragment itself, without what its holes were filled with, in order.
    pub made: Vec<usize>,
}

impl Placed {
    /// An op of the fragment as one of the build. `None` for what became nothing.
    pub fn op(&self, op: u32) -> Option<u32> {
        self.root(Output { op, slot: 0 })?.output().map(|output| output.op)
    }

    /// An output of the fragment as one of the build. `None` if the fragment has no such op.
    pub fn root(&self, output: Output) -> Option<Root> {
        Some(match *self.roots.get(output.op as usize)? {
            Root::At(op) => Root::At(Output { op: op.op, slot: op.slot.max(output.slot) }),
            Root::Empty => Root::Empty,
        })
    }
}

impl Assembly {
    pub fn push(&mut self, kind: OpKind, platform: &Platform, name: String, spans: Vec<Span>) -> Output {
        let op = self.ops.len() as u32;
        self.ops.push(Op {
            kind,
            platform: Some(platform.clone()),
            name,
            group: String::new(),
            no_cache: false,
            spans,
        });
        Output { op, slot: 0 }
    }

    pub fn image(
        &mut self,
        reference: &str,
        manifest: &str,
        platform: &Platform,
        spans: Vec<Span>,
    ) -> Output {
        let source = ImageSource { reference: reference.to_owned(), pinned: Some(manifest.to_owned()) };
        self.push(OpKind::Image(source), platform, format!("FROM {reference}"), spans)
    }

    /// A build context; empty `name` for the main one.
    pub fn context(
        &mut self,
        name: &str,
        ignore: Option<Vec<String>>,
        platform: &Platform,
        spans: Vec<Span>,
    ) -> Output {
        let title = match name {
            "" => "load the build context".to_owned(),
            name => format!("load the build context {name}"),
        };
        self.push(OpKind::Context(ContextSource { name: name.to_owned(), ignore }), platform, title, spans)
    }

    /// Appends `fragment`. `fill` says what is at a hole, given where the op with the hole comes from; `None` leaves
    /// the hole empty and has been reported.
    ///
    /// # Errors
    ///
    /// An op that refers to itself or a later one: the position of it.
    pub fn append(
        &mut self,
        fragment: Graph,
        stamp: &Stamp<'_>,
        mut fill: impl FnMut(&mut Self, &Filling, &[Span]) -> Option<Root>,
    ) -> Result<Placed, usize> {
        let mut placed = Placed { roots: Vec::with_capacity(fragment.ops.len()), made: Vec::new() };
        for (index, mut op) in fragment.ops.into_iter().enumerate() {
            if op.spans.is_empty() {
                op.spans.push(stamp.at.clone());
            }
            op.spans.extend_from_slice(stamp.ways);
            if let OpKind::Hole(hole) = op.kind {
                let filling = match hole {
                    Hole::Base => Filling::Base,
                    Hole::Context => Filling::Context,
                    Hole::Named(name) => Filling::Named(name),
                    // Only a `derive` may hold one.
                    Hole::Input(_) => return Err(index),
                };
                let root = fill(self, &filling, &op.spans).unwrap_or(Root::Empty);
                placed.roots.push(root);
                continue;
            }
            self.connect(&mut op.kind, &placed, stamp).ok_or(index)?;
            op.platform = Some(stamp.platform.clone());
            stamp.group.clone_into(&mut op.group);
            op.no_cache = stamp.no_cache;
            placed.made.push(self.ops.len());
            placed.roots.push(Root::At(Output { op: self.ops.len() as u32, slot: 0 }));
            self.ops.push(op);
        }
        Ok(placed)
    }

    /// Replaces references into the fragment by references into the build.
    fn connect(&mut self, kind: &mut OpKind, placed: &Placed, stamp: &Stamp<'_>) -> Option<()> {
        match kind {
            OpKind::Hole(_)
            | OpKind::Scratch
            | OpKind::Image(_)
            | OpKind::Context(_)
            | OpKind::Git(_)
            | OpKind::Http(_) => {}
            OpKind::Exec(exec) => connect_exec(exec, placed, stamp)?,
            OpKind::File(file) => {
                connect_optional(&mut file.base, placed)?;
                for action in &mut file.actions {
                    if let FileAction::Copy(copy) = action {
                        copy.input = self.needed(placed.root(copy.input)?, stamp);
                    }
                }
            }
            OpKind::Merge(layers) => {
                let mut connected = Vec::with_capacity(layers.len());
                for layer in layers.iter() {
                    connected.extend(placed.root(*layer)?.output());
                }
                *layers = connected;
            }
            OpKind::Diff(diff) => {
                connect_optional(&mut diff.lower, placed)?;
                diff.upper = self.needed(placed.root(diff.upper)?, stamp);
            }
            OpKind::Derive(derive) => {
                for input in &mut derive.inputs {
                    *input = self.needed(placed.root(*input)?, stamp);
                }
            }
        }
        Some(())
    }

    /// An output where the contract asks for one.
    fn needed(&mut self, root: Root, stamp: &Stamp<'_>) -> Output {
        match root {
            Root::At(output) => output,
            Root::Empty => {
                self.push(OpKind::Scratch, stamp.platform, "scratch".to_owned(), vec![stamp.at.clone()])
            }
        }
    }
}

/// A hole in the fragment of an instruction.
#[derive(Clone, Debug)]
pub enum Filling {
    Base,
    Context,
    Named(NamedHole),
}

fn connect_optional(output: &mut Option<Output>, placed: &Placed) -> Option<()> {
    if let Some(inner) = output {
        *output = placed.root(*inner)?.output();
    }
    Some(())
}

fn connect_exec(exec: &mut ExecOp, placed: &Placed, stamp: &Stamp<'_>) -> Option<()> {
    if exec.hostname.is_empty() {
        stamp.hostname.clone_into(&mut exec.hostname);
    }
    for mount in &mut exec.mounts {
        match &mut mount.kind {
            MountKind::Bind(bind) => connect_optional(&mut bind.input, placed)?,
            MountKind::Cache(cache) => {
                connect_optional(&mut cache.seed, placed)?;
                if !stamp.cache_namespace.is_empty() {
                    cache.id = format!("{}/{}", stamp.cache_namespace, cache.id);
                }
            }
            MountKind::Tmpfs(_) | MountKind::Secret(_) | MountKind::Ssh(_) => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_sdk::GraphBuilder;
    use kiln_sdk::wit::graph::CopyAction;

    fn append(fragment: Graph, base: Root) -> (Assembly, Result<Placed, usize>) {
        let platform = Platform::default();
        let at = Span::on_line("Dockerfile", 1, 1, 2);
        let stamp = Stamp {
            platform: &platform,
            group: "g",
            no_cache: true,
            at: &at,
            ways: &[],
            hostname: "h",
            cache_namespace: "",
        };
        let mut assembly = Assembly::default();
        assembly.push(OpKind::Scratch, &platform, String::new(), Vec::new());
        let placed = assembly.append(fragment, &stamp, |assembly, filling, _| match filling {
            Filling::Base => Some(base),
            Filling::Context => Some(Root::At(assembly.context("", None, &Platform::default(), Vec::new()))),
            Filling::Named(_) => None,
        });
        (assembly, placed)
    }

    #[test]
    fn holes_are_filled_and_indexes_shifted() {
        let mut builder = GraphBuilder::new();
        let base = builder.base();
        let context = builder.context();
        let copied = builder.copy(Some(base), CopyAction::new(context, vec!["a".into()], "/"));
        let root = builder.run(copied, ["make"]);
        let (assembly, placed) = append(builder.finish(), Root::At(Output { op: 0, slot: 0 }));
        assert_eq!(placed.unwrap().root(root), Some(Root::At(Output { op: 3, slot: 0 })));
        let OpKind::File(file) = &assembly.ops[2].kind else { panic!() };
        assert_eq!(file.base, Some(Output { op: 0, slot: 0 }));
        let FileAction::Copy(copy) = &file.actions[0] else { panic!() };
        assert_eq!(copy.input, Output { op: 1, slot: 0 });
        let OpKind::Exec(exec) = &assembly.ops[3].kind else { panic!() };
        assert_eq!(exec.hostname, "h");
        assert!(assembly.ops[3].no_cache && assembly.ops[3].spans.len() == 1 && assembly.ops[3].group == "g");
    }

    #[test]
    fn an_empty_base_is_left_out_where_it_may_be() {
        let mut builder = GraphBuilder::new();
        let base = builder.base();
        let file = builder.file(Some(base), Vec::new());
        let merged = builder.merge(vec![base, file]);
        builder.diff(Some(base), base);
        let (assembly, placed) = append(builder.finish(), Root::Empty);
        assert!(matches!(&assembly.ops[1].kind, OpKind::File(file) if file.base.is_none()));
        assert!(matches!(&assembly.ops[2].kind, OpKind::Merge(layers) if layers.len() == 1));
        assert!(matches!(assembly.ops[3].kind, OpKind::Scratch));
        assert!(placed.unwrap().root(merged).is_some());
    }

    #[test]
    fn references_forward_are_refused() {
        let mut builder = GraphBuilder::new();
        builder.merge(vec![Output { op: 7, slot: 0 }]);
        assert_eq!(append(builder.finish(), Root::Empty).1.unwrap_err(), 0);
    }
}
