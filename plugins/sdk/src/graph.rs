//! Writes a graph op by op, so that each method returns what the next one reads.
//!
//! An op can name only outputs that exist already, which is the order the contract asks for.

use crate::wit::diagnostics::Span;
use crate::wit::graph::{
    BindMount, CacheMount, CacheSharing, ClientMount, ContextSource, CopyAction, DeriveOp, DiffOp, ExecOp,
    FileAction, FileOp, GitSource, Graph, Hole, HttpSource, ImageSource, MakeDirAction, MakeFileAction,
    Mount, MountKind, NamedHole, Op, OpKind, Output, Owner,
};
use crate::wit::types::Platform;

/// A graph under construction.
#[derive(Clone, Debug, Default)]
pub struct GraphBuilder {
    ops: Vec<Op>,
    spans: Vec<Span>,
    name: String,
}

impl GraphBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Where in the sources the following ops come from, and what progress output calls them.
    pub fn at(mut self, span: &Span, name: impl Into<String>) -> Self {
        self.spans = vec![span.clone()];
        self.name = name.into();
        self
    }

    /// Appends an op of any kind; returns its first output.
    pub fn push(&mut self, kind: OpKind) -> Output {
        let spans = self.spans.clone();
        self.push_at(kind, spans)
    }

    /// [`push`](Self::push) for an op with a place of its own.
    pub fn push_at(&mut self, kind: OpKind, spans: Vec<Span>) -> Output {
        let op = self.ops.len() as u32;
        let name = self.name.clone();
        self.ops.push(Op { kind, platform: None, name, group: String::new(), no_cache: false, spans });
        Output { op, slot: 0 }
    }

    fn hole(&mut self, hole: Hole, spans: Option<Vec<Span>>) -> Output {
        let found = self.ops.iter().position(|op| matches!(&op.kind, OpKind::Hole(it) if *it == hole));
        match found {
            Some(op) => Output { op: op as u32, slot: 0 },
            None => {
                let spans = spans.unwrap_or_else(|| self.spans.clone());
                self.push_at(OpKind::Hole(hole), spans)
            }
        }
    }

    /// Makes an op run without looking for what it came to last time.
    pub fn no_cache(&mut self, output: Output) {
        if let Some(op) = self.ops.get_mut(output.op as usize) {
            op.no_cache = true;
        }
    }

    /// Gives one op a name of its own for progress output.
    pub fn rename(&mut self, output: Output, name: impl Into<String>) {
        if let Some(op) = self.ops.get_mut(output.op as usize) {
            op.name = name.into();
        }
    }

    /// Says which platform one op is for: what to fetch, or what to run as.
    pub fn set_platform(&mut self, output: Output, platform: &Platform) {
        if let Some(op) = self.ops.get_mut(output.op as usize) {
            op.platform = Some(platform.clone());
        }
    }

    /// Shows one op together with the others of the same group.
    pub fn set_group(&mut self, output: Output, group: &str) {
        if let Some(op) = self.ops.get_mut(output.op as usize) {
            op.group = group.to_owned();
        }
    }

    /// The filesystem of the stage so far, or of the finished image.
    pub fn base(&mut self) -> Output {
        self.hole(Hole::Base, None)
    }

    /// The main build context.
    pub fn context(&mut self) -> Output {
        self.hole(Hole::Context, None)
    }

    /// A stage, named context or image; `at` is where an unknown name is reported.
    pub fn named(&mut self, name: &str, by_number: bool, at: &Span) -> Output {
        self.hole(Hole::Named(NamedHole { name: name.into(), by_number }), Some(vec![at.clone()]))
    }

    pub fn scratch(&mut self) -> Output {
        self.push(OpKind::Scratch)
    }

    /// A build context that the user gave, for frontends; the main one has no name. What the ignore file of a local
    /// directory excludes is as if absent.
    pub fn build_context(&mut self, name: &str) -> Output {
        self.push(OpKind::Context(ContextSource { name: name.into(), ignore: None }))
    }

    /// An image by reference, `name[:tag][@digest]`.
    pub fn image(&mut self, reference: impl Into<String>) -> Output {
        self.push(OpKind::Image(ImageSource { reference: reference.into(), pinned: None }))
    }

    /// One file from an URL, `checksum` as `sha256:<hex>`.
    pub fn http(&mut self, url: impl Into<String>, checksum: Option<String>) -> Output {
        self.push(OpKind::Http(HttpSource { url: url.into(), checksum, filename: String::new() }))
    }

    /// The files of a git repository.
    pub fn git(&mut self, source: GitSource) -> Output {
        self.push(OpKind::Git(source))
    }

    /// What this plugin's own [`derive`](crate::plugin::Derive) makes of `task` once the inputs are there.
    pub fn derive(&mut self, task: impl Into<String>, inputs: Vec<Output>) -> Output {
        self.push(OpKind::Derive(DeriveOp { plugin: String::new(), task: task.into(), inputs }))
    }

    /// Within a derivation: an input of the op, by position.
    pub fn input(&mut self, position: u32) -> Output {
        self.hole(Hole::Input(position), None)
    }

    /// A command that runs on `base` and may change it. Mounts of `exec` come after the one at `/`, so its slot 0 is
    /// the changed filesystem, and slot N the mount N - 1 of `exec.mounts` as given here.
    pub fn exec(&mut self, base: Output, mut exec: ExecOp) -> Output {
        let root = BindMount { input: Some(base), selector: String::new() };
        exec.mounts.insert(0, Mount { target: "/".into(), readonly: false, kind: MountKind::Bind(root) });
        self.push(OpKind::Exec(exec))
    }

    /// `argv` on `base`, with `PATH` and everything else as the host has it by default.
    pub fn run<I: IntoIterator<Item = S>, S: Into<String>>(&mut self, base: Output, argv: I) -> Output {
        let args = argv.into_iter().map(Into::into).collect();
        self.exec(base, ExecOp { args, ..ExecOp::default() })
    }

    /// File actions in order, as one layer; without a base on an empty filesystem.
    pub fn file(&mut self, base: Option<Output>, actions: Vec<FileAction>) -> Output {
        self.push(OpKind::File(FileOp { base, actions }))
    }

    pub fn copy(&mut self, base: Option<Output>, copy: CopyAction) -> Output {
        self.file(base, vec![FileAction::Copy(copy)])
    }

    /// A directory with its parents, mode 0755; left as it is when it exists.
    pub fn make_dir(
        &mut self,
        base: Option<Output>,
        path: impl Into<String>,
        owner: Option<Owner>,
    ) -> Output {
        let action = MakeDirAction { path: path.into(), mode: 0o755, parents: true, owner };
        self.file(base, vec![FileAction::MakeDir(action)])
    }

    /// A file of root's with these bytes.
    pub fn make_file(
        &mut self,
        base: Option<Output>,
        path: impl Into<String>,
        data: Vec<u8>,
        mode: u32,
    ) -> Output {
        let action = MakeFileAction { path: path.into(), data, mode, owner: None };
        self.file(base, vec![FileAction::MakeFile(action)])
    }

    /// The layers of all, in order, each as if made on nothing.
    pub fn merge(&mut self, layers: Vec<Output>) -> Output {
        self.push(OpKind::Merge(layers))
    }

    /// What `upper` has beyond `lower`.
    pub fn diff(&mut self, lower: Option<Output>, upper: Output) -> Output {
        self.push(OpKind::Diff(DiffOp { lower, upper }))
    }

    pub fn finish(self) -> Graph {
        Graph { ops: self.ops }
    }
}

impl Mount {
    /// A tree to be read at `target`.
    pub fn bind(target: impl Into<String>, input: Output) -> Self {
        let bind = BindMount { input: Some(input), selector: String::new() };
        Self { target: target.into(), readonly: true, kind: MountKind::Bind(bind) }
    }

    /// A directory of root's that outlives builds, shared by all steps that name the same `id`.
    pub fn cache(target: impl Into<String>, id: impl Into<String>, sharing: CacheSharing) -> Self {
        let (id, selector) = (id.into(), String::new());
        let cache = CacheMount { id, sharing, seed: None, selector, mode: 0o755, uid: 0, gid: 0 };
        Self { target: target.into(), readonly: false, kind: MountKind::Cache(cache) }
    }

    /// A directory in memory, for what shall be gone after the command.
    pub fn tmpfs(target: impl Into<String>) -> Self {
        Self { target: target.into(), readonly: false, kind: MountKind::Tmpfs(0) }
    }

    /// A secret that root may read. Without it the command does not run.
    pub fn secret(target: impl Into<String>, id: impl Into<String>) -> Self {
        let secret = ClientMount { id: id.into(), required: true, mode: 0o400, uid: 0, gid: 0 };
        Self { target: target.into(), readonly: true, kind: MountKind::Secret(secret) }
    }
}

impl GitSource {
    /// The default branch, without submodules and `.git`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            reference: String::new(),
            commit: String::new(),
            fetch_by_commit: false,
            subdir: String::new(),
            submodules: false,
            keep_git_dir: false,
            commit_times: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_reads_only_what_was_made_before_it() {
        let mut graph = GraphBuilder::new();
        let base = graph.base();
        let tools = graph.image("busybox:1.36");
        let mount = Mount::bind("/tools", tools);
        let built = graph.exec(
            base,
            ExecOp { args: vec!["/tools/true".into()], mounts: vec![mount], ..ExecOp::default() },
        );
        let copied = graph.copy(None, CopyAction::new(built, vec!["/out".into()], "/"));
        let root = graph.merge(vec![base, copied]);
        assert_eq!((root.op, root.slot), (4, 0));
        let ops = graph.finish().ops;
        let OpKind::Exec(exec) = &ops[2].kind else { panic!("{:?}", ops[2]) };
        let targets: Vec<&str> = exec.mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/", "/tools"], "the filesystem comes first");
    }

    #[test]
    fn a_hole_is_made_once() {
        let place = Span::on_line("Dockerfile", 3, 8, 15);
        let mut graph = GraphBuilder::new().at(&Span::on_line("Dockerfile", 3, 1, 20), "RUN make");
        assert_eq!(graph.context(), graph.context());
        assert_eq!(graph.named("a", false, &place), graph.named("a", false, &place));
        assert_ne!(graph.named("0", false, &place), graph.named("0", true, &place));
        let ops = graph.finish().ops;
        assert_eq!(ops.len(), 4);
        assert_eq!((ops[1].spans.as_slice(), ops[1].name.as_str()), ([place].as_slice(), "RUN make"));
    }
}
