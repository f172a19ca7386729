//! Graphs as components are shown them: what reading one does, the other way round.

use kiln_core::diagnostic::Position;
use kiln_core::graph::{
    ClientMount, ContextSource, CopyAction, ExecOp, FileAction, FileOp, GitSource, HttpSource, ImageSource,
    InputId, Mount, MountKind, Network, Output, Owner, Security, Sharing, SourceOp, Unpack,
};
use kiln_core::{Graph, Op, Span, Vertex, VertexId};

use super::{answers, told_pairs};
use crate::bindings::wit::{diagnostics, graph as wit};

/// Vertex N becomes operation N; there are fewer than 2³² of them.
pub(crate) fn graph(graph: &Graph) -> wit::Graph {
    wit::Graph { ops: graph.vertices().iter().map(op).collect() }
}

pub(crate) fn outputs(list: &[Output]) -> Vec<wit::Output> {
    list.iter().copied().map(output).collect()
}

pub(crate) fn indexes(list: &[VertexId]) -> Vec<u32> {
    list.iter().copied().map(index).collect()
}

fn index(id: usize) -> u32 {
    u32::try_from(id).unwrap_or(u32::MAX)
}

fn output(output: Output) -> wit::Output {
    wit::Output { op: index(output.vertex), slot: index(output.slot) }
}

pub(crate) fn spans(list: &[Span]) -> Vec<diagnostics::Span> {
    let position = |at: Position| diagnostics::Position { line: at.line, column: at.column };
    list.iter()
        .map(|span| diagnostics::Span {
            file: span.file.clone(),
            start: position(span.start),
            end: position(span.end),
        })
        .collect()
}

fn op(vertex: &Vertex) -> wit::Op {
    let input = |id: InputId| output(vertex.inputs[id]);
    wit::Op {
        kind: match &vertex.op {
            Op::Source(SourceOp::Scratch) => wit::OpKind::Scratch,
            Op::Source(SourceOp::Image(source)) => wit::OpKind::Image(image_source(source)),
            Op::Source(SourceOp::Context(source)) => wit::OpKind::Context(context_source(source)),
            Op::Source(SourceOp::Git(source)) => wit::OpKind::Git(git_source(source)),
            Op::Source(SourceOp::Http(source)) => wit::OpKind::Http(http_source(source)),
            Op::Exec(op) => wit::OpKind::Exec(exec(op, &input)),
            Op::File(op) => wit::OpKind::File(file(op, &input)),
            Op::Merge => wit::OpKind::Merge(outputs(&vertex.inputs)),
            Op::Diff => {
                let (upper, lower) = match &vertex.inputs[..] {
                    [lower, upper] => (*upper, Some(*lower)),
                    inputs => (inputs[0], None),
                };
                wit::OpKind::Diff(wit::DiffOp { lower: lower.map(output), upper: output(upper) })
            }
            Op::Derive(derive) => wit::OpKind::Derive(wit::DeriveOp {
                plugin: derive.plugin.to_string(),
                task: derive.task.clone(),
                inputs: outputs(&vertex.inputs),
            }),
        },
        platform: Some(answers::platform(&vertex.platform)),
        name: vertex.name.clone(),
        group: vertex.group.clone(),
        no_cache: vertex.no_lookup,
        spans: spans(&vertex.origin),
    }
}

pub(crate) fn image_source(source: &ImageSource) -> wit::ImageSource {
    wit::ImageSource {
        reference: source.reference.clone(),
        pinned: source.pinned.map(|digest| digest.to_string()),
    }
}

pub(crate) fn context_source(source: &ContextSource) -> wit::ContextSource {
    wit::ContextSource { name: source.name.clone(), ignore: source.ignore.clone() }
}

pub(crate) fn git_source(source: &GitSource) -> wit::GitSource {
    wit::GitSource {
        url: source.url.clone(),
        reference: source.reference.clone(),
        commit: source.commit.clone(),
        fetch_by_commit: source.fetch_by_commit,
        subdir: source.subdir.clone(),
        submodules: source.submodules,
        keep_git_dir: source.keep_git_dir,
        commit_times: source.commit_times,
    }
}

pub(crate) fn http_source(source: &HttpSource) -> wit::HttpSource {
    wit::HttpSource {
        url: source.url.clone(),
        checksum: source.checksum.clone(),
        filename: source.filename.clone(),
    }
}

fn exec(op: &ExecOp, input: &dyn Fn(InputId) -> wit::Output) -> wit::ExecOp {
    // The contract has 32 bits for a limit, the last number of which is none.
    let limit = |value: u64| match value {
        u64::MAX => u32::MAX,
        value => u32::try_from(value).unwrap_or(u32::MAX).min(u32::MAX - 1),
    };
    wit::ExecOp {
        args: op.args.clone(),
        env: told_pairs(&op.env),
        secret_env: op
            .secret_env
            .iter()
            .map(|secret| wit::SecretEnv {
                name: secret.name.clone(),
                id: secret.id.clone(),
                required: secret.required,
            })
            .collect(),
        cwd: op.cwd.clone(),
        user: op.user.clone(),
        mounts: op.mounts.iter().map(|one| mount(one, input)).collect(),
        network: match op.network {
            Network::Unset | Network::Default => "default",
            Network::None => "none",
            Network::Host => "host",
        }
        .to_owned(),
        security: match op.security {
            Security::Sandbox => "sandbox",
            Security::Insecure => "insecure",
        }
        .to_owned(),
        hostname: op.hostname.clone(),
        host_aliases: op
            .host_aliases
            .iter()
            .map(|(name, address)| wit::HostAlias { name: name.clone(), address: address.clone() })
            .collect(),
        ulimits: op
            .ulimits
            .iter()
            .map(|one| wit::Ulimit { name: one.name.clone(), soft: limit(one.soft), hard: limit(one.hard) })
            .collect(),
        shm_size: op.shm_size_kib,
        devices: op
            .devices
            .iter()
            .map(|device| wit::Device { name: device.name.clone(), required: device.required })
            .collect(),
        ok_exit_codes: op.ok_exit_codes.clone(),
    }
}

fn mount(mount: &Mount, input: &dyn Fn(InputId) -> wit::Output) -> wit::Mount {
    let client = |client: &ClientMount| wit::ClientMount {
        id: client.id.clone(),
        required: client.required,
        mode: client.mode,
        uid: client.uid,
        gid: client.gid,
    };
    wit::Mount {
        target: mount.target.clone(),
        readonly: mount.readonly,
        kind: match &mount.kind {
            MountKind::Bind { input: id, selector } => {
                wit::MountKind::Bind(wit::BindMount { input: id.map(input), selector: selector.clone() })
            }
            MountKind::Cache(cache) => wit::MountKind::Cache(wit::CacheMount {
                id: cache.id.clone(),
                sharing: match cache.sharing {
                    Sharing::Shared => wit::CacheSharing::Shared,
                    Sharing::Private => wit::CacheSharing::Private,
                    Sharing::Locked => wit::CacheSharing::Locked,
                },
                seed: cache.seed.map(input),
                selector: cache.selector.clone(),
                mode: cache.mode,
                uid: cache.uid,
                gid: cache.gid,
            }),
            MountKind::Tmpfs { size_kib } => wit::MountKind::Tmpfs(*size_kib),
            MountKind::Secret(secret) => wit::MountKind::Secret(client(secret)),
            MountKind::Ssh(ssh) => wit::MountKind::Ssh(client(ssh)),
        },
    }
}

fn file(op: &FileOp, input: &dyn Fn(InputId) -> wit::Output) -> wit::FileOp {
    wit::FileOp {
        base: op.base.map(input),
        actions: op.actions.iter().map(|action| file_action(action, input)).collect(),
    }
}

fn owner(owner: &Option<Owner>) -> Option<wit::Owner> {
    owner.as_ref().map(|owner| wit::Owner { user: owner.user.clone(), group: owner.group.clone() })
}

fn file_action(action: &FileAction, input: &dyn Fn(InputId) -> wit::Output) -> wit::FileAction {
    match action {
        FileAction::Copy(action) => wit::FileAction::Copy(copy(action, input)),
        FileAction::MakeDir { path, mode, parents, owner: of } => {
            wit::FileAction::MakeDir(wit::MakeDirAction {
                path: path.clone(),
                mode: *mode,
                parents: *parents,
                owner: owner(of),
            })
        }
        FileAction::MakeFile { path, data, mode, owner: of } => {
            wit::FileAction::MakeFile(wit::MakeFileAction {
                path: path.clone(),
                data: data.clone(),
                mode: *mode,
                owner: owner(of),
            })
        }
        FileAction::MakeSymlink { path, target, owner: of } => {
            wit::FileAction::MakeSymlink(wit::MakeSymlinkAction {
                path: path.clone(),
                target: target.clone(),
                owner: owner(of),
            })
        }
        FileAction::Remove { path, allow_missing, allow_wildcard } => {
            wit::FileAction::Remove(wit::RemoveAction {
                path: path.clone(),
                allow_missing: *allow_missing,
                allow_wildcard: *allow_wildcard,
            })
        }
        FileAction::Change { path, owner: of, mode, recursive, allow_wildcard } => {
            wit::FileAction::Change(wit::ChangeAction {
                path: path.clone(),
                owner: owner(of),
                mode: mode.clone(),
                recursive: *recursive,
                allow_wildcard: *allow_wildcard,
            })
        }
    }
}

fn copy(action: &CopyAction, input: &dyn Fn(InputId) -> wit::Output) -> wit::CopyAction {
    wit::CopyAction {
        input: input(action.input),
        paths: action.paths.clone(),
        dest: action.dest.clone(),
        owner: owner(&action.owner),
        mode: action.mode.clone(),
        include_patterns: action.include_patterns.clone(),
        exclude_patterns: action.exclude_patterns.clone(),
        follow_symlinks: action.follow_symlinks,
        contents_only: action.contents_only,
        create_dest: action.create_dest,
        allow_wildcard: action.allow_wildcard,
        allow_empty_wildcard: action.allow_empty_wildcard,
        unpack: match action.unpack {
            Unpack::Nothing => "",
            Unpack::Tar => "tar",
            Unpack::Ar => "ar",
            Unpack::Zip => "zip",
            Unpack::Compressed => "compressed",
        }
        .to_owned(),
        keep_parents: action.keep_parents,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::graph::finished;
    use kiln_core::graph::{CacheMount, DeriveOp, Ulimit};
    use kiln_core::{Digest, Platform};

    fn vertex(op: Op, inputs: &[usize]) -> Vertex {
        let at = Position { line: 3, column: 1 };
        Vertex {
            op,
            inputs: inputs.iter().map(|vertex| Output { vertex: *vertex, slot: 0 }).collect(),
            platform: Platform::default(),
            name: "RUN x".to_owned(),
            group: "build".to_owned(),
            no_lookup: true,
            origin: vec![Span { file: "Dockerfile".to_owned(), start: at, end: at }],
        }
    }

    fn bound(target: &str, input: InputId) -> Mount {
        let kind = MountKind::Bind { input: Some(input), selector: String::new() };
        Mount { target: target.to_owned(), readonly: false, kind }
    }

    #[test]
    fn a_graph_that_is_told_is_read_as_it_was() {
        let mut graph = Graph::default();
        let image = ImageSource { reference: "alpine:3".to_owned(), pinned: None };
        graph.push(vertex(Op::Source(SourceOp::Image(image)), &[]));
        let http = HttpSource { url: "https://x/y".to_owned(), checksum: None, filename: "y".to_owned() };
        graph.push(vertex(Op::Source(SourceOp::Http(http)), &[]));
        let cache = CacheMount {
            id: "c".to_owned(),
            sharing: Sharing::Locked,
            seed: Some(1),
            selector: String::new(),
            mode: 0o755,
            uid: 1,
            gid: 2,
        };
        let cache = Mount { target: "/c".to_owned(), readonly: false, kind: MountKind::Cache(cache) };
        let exec = ExecOp {
            args: vec!["true".to_owned()],
            env: vec![("A".to_owned(), "b".to_owned())],
            mounts: vec![bound("/", 0), cache],
            network: Network::None,
            security: Security::Insecure,
            ulimits: vec![Ulimit { name: "nofile".to_owned(), soft: 5, hard: u64::MAX }],
            ..ExecOp::default()
        };
        graph.push(vertex(Op::Exec(exec), &[0, 1]));
        let copy = CopyAction {
            input: 1,
            paths: vec!["a".to_owned()],
            dest: "/b/".to_owned(),
            owner: Some(Owner { user: "u".to_owned(), group: String::new() }),
            mode: "u+x".to_owned(),
            include_patterns: Vec::new(),
            exclude_patterns: vec!["c".to_owned()],
            follow_symlinks: true,
            contents_only: false,
            create_dest: true,
            allow_wildcard: false,
            allow_empty_wildcard: false,
            unpack: Unpack::Tar,
            keep_parents: false,
        };
        let remove = FileAction::Remove { path: "/d".to_owned(), allow_missing: true, allow_wildcard: false };
        let file = FileOp { base: Some(0), actions: vec![FileAction::Copy(copy), remove] };
        graph.push(vertex(Op::File(file), &[2, 1]));
        graph.push(vertex(Op::Merge, &[3, 1]));
        graph.push(vertex(Op::Diff, &[0, 3]));
        graph.push(vertex(Op::Diff, &[3]));
        let derive = DeriveOp { plugin: Digest::of(b"plugin"), task: "t".to_owned() };
        graph.push(vertex(Op::Derive(derive), &[4, 5]));

        let roots = [(output(Output { vertex: 7, slot: 0 }), Platform::default())];
        let told = super::graph(&graph);
        let (read, outputs) = finished(told, &Digest::of(b""), &roots, &Platform::default()).unwrap();
        assert_eq!(read, graph);
        assert_eq!(outputs, [Output { vertex: 7, slot: 0 }]);
    }
}
