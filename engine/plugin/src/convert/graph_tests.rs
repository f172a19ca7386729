use kiln_core::graph::{FileAction, FileOp, Network};

use super::*;
use crate::bindings::wit::types;

fn op(kind: wit::OpKind) -> wit::Op {
    wit::Op {
        kind,
        platform: None,
        name: String::new(),
        group: String::new(),
        no_cache: false,
        spans: Vec::new(),
    }
}

fn output(op: u32) -> wit::Output {
    wit::Output { op, slot: 0 }
}

fn scratch() -> wit::Op {
    op(wit::OpKind::Scratch)
}

fn merge(ops: &[u32]) -> wit::Op {
    op(wit::OpKind::Merge(ops.iter().copied().map(output).collect()))
}

fn bind(target: &str, input: Option<u32>, readonly: bool) -> wit::Mount {
    let bind = wit::BindMount { input: input.map(output), selector: String::new() };
    wit::Mount { target: target.to_owned(), readonly, kind: wit::MountKind::Bind(bind) }
}

fn exec_op(mounts: Vec<wit::Mount>) -> wit::ExecOp {
    wit::ExecOp {
        args: vec!["true".to_owned()],
        env: Vec::new(),
        secret_env: Vec::new(),
        cwd: String::new(),
        user: String::new(),
        mounts,
        network: String::new(),
        security: String::new(),
        hostname: String::new(),
        host_aliases: Vec::new(),
        ulimits: Vec::new(),
        shm_size: 0,
        devices: Vec::new(),
        ok_exit_codes: Vec::new(),
    }
}

fn exec(mounts: Vec<wit::Mount>) -> wit::Op {
    op(wit::OpKind::Exec(exec_op(mounts)))
}

fn copy_action(input: u32, dest: &str) -> wit::CopyAction {
    wit::CopyAction {
        input: output(input),
        paths: vec!["a".to_owned()],
        dest: dest.to_owned(),
        owner: None,
        mode: String::new(),
        include_patterns: Vec::new(),
        exclude_patterns: Vec::new(),
        follow_symlinks: false,
        contents_only: false,
        create_dest: true,
        allow_wildcard: false,
        allow_empty_wildcard: false,
        unpack: String::new(),
        keep_parents: false,
    }
}

fn file(base: Option<u32>, actions: Vec<wit::FileAction>) -> wit::Op {
    op(wit::OpKind::File(wit::FileOp { base: base.map(output), actions }))
}

fn copy(base: Option<u32>, input: u32) -> wit::Op {
    file(base, vec![wit::FileAction::Copy(copy_action(input, "/x/"))])
}

fn amd64() -> Platform {
    Platform::new("linux", "amd64", "")
}

fn arm64() -> Platform {
    Platform::new("linux", "arm64", "")
}

fn owner() -> Digest {
    Digest::of(b"component")
}

fn read(ops: Vec<wit::Op>) -> Result<Graph, Fault> {
    let last = output(ops.len() as u32 - 1);
    finished(wit::Graph { ops }, &owner(), &[(last, amd64())], &arm64()).map(|(graph, _)| graph)
}

#[track_caller]
fn refused(ops: Vec<wit::Op>, why: &str) {
    match read(ops) {
        Err(fault) => assert_eq!(fault.to_string(), why),
        Ok(graph) => panic!("{graph:?}"),
    }
}

#[test]
fn inputs_are_listed_once_and_named_by_position() {
    let graph = read(vec![scratch(), scratch(), copy(Some(1), 1), copy(Some(2), 0)]).expect("a graph");
    assert_eq!(graph[2].inputs, [Output { vertex: 1, slot: 0 }]);
    assert_eq!(graph[3].inputs, [Output { vertex: 2, slot: 0 }, Output { vertex: 0, slot: 0 }]);
    let Op::File(FileOp { base, actions }) = &graph[3].op else { panic!("{:?}", graph[3]) };
    let [FileAction::Copy(copy)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((*base, copy.input), (Some(0), 1));
}

#[test]
fn a_merge_keeps_what_it_is_given_twice() {
    let graph = read(vec![scratch(), merge(&[0, 0])]).expect("a graph");
    assert_eq!(graph[1].inputs.len(), 2);
}

#[test]
fn an_operation_reads_only_what_comes_before_it() {
    refused(vec![merge(&[0])], "op 0: it reads op 0, which does not come before it");
    refused(vec![scratch(), merge(&[7])], "op 1: it reads op 7, which does not come before it");
    let empty = finished(wit::Graph { ops: Vec::new() }, &owner(), &[(output(0), amd64())], &amd64());
    assert_eq!(
        empty.expect_err("a target of nothing").to_string(),
        "a target or a scan: it reads op 0, which does not come before it"
    );
}

#[test]
fn slots_are_those_of_writable_binds() {
    let reads = |slot| {
        let mounts = vec![bind("/", None, false), bind("/a", None, false), bind("/b", None, true)];
        let output = wit::Output { op: 0, slot };
        read(vec![exec(mounts), op(wit::OpKind::Merge(vec![output]))])
    };
    assert_eq!(reads(1).expect("a graph")[1].inputs, [Output { vertex: 0, slot: 1 }]);
    for slot in [2, 3, u32::MAX] {
        let fault = reads(slot).expect_err("no such slot").to_string();
        assert_eq!(fault, format!("op 1: it reads slot {slot} of op 0, which has no writable bind there"));
    }
    refused(
        vec![scratch(), op(wit::OpKind::Merge(vec![wit::Output { op: 0, slot: 1 }]))],
        "op 1: it reads slot 1 of op 0, which has no writable bind there",
    );
}

#[test]
fn a_finished_graph_has_no_holes() {
    let named = wit::NamedHole { name: "build".to_owned(), by_number: false };
    refused(vec![op(wit::OpKind::Hole(wit::Hole::Named(named)))], "op 0: it is a hole (`build`)");
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    refused(vec![exec(Vec::new())], "op 0: mount 0 is not a bind at `/`");
    refused(vec![exec(vec![bind("/mnt", None, false)])], "op 0: mount 0 is not a bind at `/`");
    let root = || bind("/", None, false);
    refused(vec![exec(vec![root(), bind("mnt", None, false)])], "op 0: mount target `mnt` is not absolute");
    refused(vec![exec(vec![root(), bind("//", None, false)])], "op 0: mount 1 hides the root");
    let changed = |change: fn(&mut wit::ExecOp)| {
        let mut exec = exec_op(vec![root()]);
        change(&mut exec);
        vec![op(wit::OpKind::Exec(exec))]
    };
    refused(changed(|exec| exec.args.clear()), "op 0: a command without a program");
    refused(
        changed(|exec| exec.network = "bridge".to_owned()),
        "op 0: network `bridge` is not known (known: `default`, `none`, `host`)",
    );
    refused(
        changed(|exec| exec.security = "none".to_owned()),
        "op 0: security `none` is not known (known: `sandbox`, `insecure`)",
    );
    refused(changed(|exec| exec.cwd = "src".to_owned()), "op 0: working directory `src` is not absolute");
    refused(changed(|exec| exec.args = vec!["a\0b".to_owned()]), r#"op 0: argument "a\0b" holds a NUL"#);
    refused(
        changed(|exec| exec.env = vec![types::Pair { key: "A=B".to_owned(), value: String::new() }]),
        "op 0: `A=B` is not the name of a variable",
    );
    refused(changed(|exec| exec.ok_exit_codes = vec![256]), "op 0: 256 is not an exit code");
    let graph = read(changed(|exec| {
        exec.network = "none".to_owned();
        exec.ulimits = vec![wit::Ulimit { name: "nofile".to_owned(), soft: 1, hard: u32::MAX }];
    }));
    let graph = graph.expect("a graph");
    let Op::Exec(exec) = &graph[0].op else { panic!("{:?}", graph[0]) };
    assert_eq!(exec.network, Network::None);
    assert_eq!((exec.ulimits[0].soft, exec.ulimits[0].hard), (1, u64::MAX));
}

#[test]
fn file_operations_that_make_no_sense_are_refused() {
    let with = |action| vec![scratch(), file(None, vec![action])];
    refused(with(wit::FileAction::Copy(copy_action(0, "x"))), "op 1: destination `x` is not absolute");
    let unpack = wit::CopyAction { unpack: "rar".to_owned(), ..copy_action(0, "/x") };
    refused(
        with(wit::FileAction::Copy(unpack)),
        "op 1: unpack `rar` is not known (known: `tar`, `ar`, `zip`, `compressed`)",
    );
    let dir = wit::MakeDirAction { path: "/d".to_owned(), mode: 0o10_000, parents: false, owner: None };
    refused(with(wit::FileAction::MakeDir(dir)), "op 1: 0o10000 is not a file mode");
    let make = wit::MakeFileAction {
        path: "/f".to_owned(),
        data: vec![0; limits::FILE_BYTES + 1],
        mode: 0o644,
        owner: None,
    };
    refused(with(wit::FileAction::MakeFile(make)), "op 1: file `/f` is longer than 16 MiB");
}

#[test]
fn digests_are_spelled_in_one_way() {
    let image = |pinned: &str| {
        let source = wit::ImageSource { reference: "a".to_owned(), pinned: Some(pinned.to_owned()) };
        vec![op(wit::OpKind::Image(source))]
    };
    assert!(read(image(&owner().to_string())).is_ok());
    assert!(read(image("sha256:ABC")).is_err());
    let http = |checksum: String| {
        let source = wit::HttpSource {
            url: "http://a/b".to_owned(),
            checksum: Some(checksum),
            filename: String::new(),
        };
        vec![op(wit::OpKind::Http(source))]
    };
    assert!(read(http(format!("sha512:{}", "0a".repeat(64)))).is_ok());
    assert!(read(http(format!("sha256:{}", "0A".repeat(32)))).is_err());
    assert!(read(http(format!("md5:{}", "0a".repeat(16)))).is_err());
}

#[test]
fn a_platform_comes_from_the_target_that_reaches() {
    let mut own = scratch();
    own.platform = Some(types::Platform {
        os: "linux".to_owned(),
        arch: "aarch64".to_owned(),
        variant: String::new(),
        os_version: String::new(),
    });
    // 2 is reached by nobody.
    let graph = read(vec![own, scratch(), scratch(), merge(&[0, 1])]).expect("a graph");
    let platforms: Vec<_> = graph.vertices().iter().map(|vertex| vertex.platform.clone()).collect();
    assert_eq!(platforms, [arm64(), amd64(), arm64(), amd64()]);
}

#[test]
fn targets_that_disagree_need_a_platform_in_the_operation() {
    let graph = wit::Graph { ops: vec![scratch(), merge(&[0]), merge(&[0])] };
    let roots = [(output(1), amd64()), (output(2), arm64())];
    let fault = finished(graph, &owner(), &roots, &amd64()).expect_err("two platforms");
    assert_eq!(fault.to_string(), "op 0: it names no platform, and targets of several platforms reach it");
}

#[test]
fn a_derivation_is_asked_of_its_maker_unless_it_says_otherwise() {
    let derive = |plugin: String| {
        let derive = wit::DeriveOp { plugin, task: "t".to_owned(), inputs: vec![output(0)] };
        read(vec![scratch(), op(wit::OpKind::Derive(derive))])
    };
    let asked = |graph: Graph| match &graph[1].op {
        Op::Derive(derive) => derive.plugin,
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(derive(String::new()).expect("a graph")), owner());
    let other = Digest::of(b"another");
    assert_eq!(asked(derive(other.to_string()).expect("a graph")), other);
    assert!(derive("other".to_owned()).is_err());
}

#[test]
fn a_derived_fragment_stands_on_its_inputs() {
    let hole = |input| op(wit::OpKind::Hole(wit::Hole::Input(input)));
    let ops = vec![hole(1), hole(0), copy(Some(0), 1)];
    let (graph, root) = derived(wit::Graph { ops }, output(2), 2, &owner(), &amd64()).expect("a fragment");
    assert_eq!(graph.len(), 3);
    assert_eq!(root, Output { vertex: 2, slot: 0 });
    assert_eq!(graph[2].inputs, [Output { vertex: 1, slot: 0 }, Output { vertex: 0, slot: 0 }]);
    let (_, root) =
        derived(wit::Graph { ops: vec![hole(0)] }, output(0), 1, &owner(), &amd64()).expect("a fragment");
    assert_eq!(root, Output { vertex: 0, slot: 0 });
}

#[test]
fn a_derived_fragment_brings_in_nothing_new() {
    let derive = |kind| derived(wit::Graph { ops: vec![op(kind)] }, output(0), 1, &owner(), &amd64());
    let fault = |kind| derive(kind).expect_err("something new").to_string();
    let image = wit::ImageSource { reference: "a".to_owned(), pinned: None };
    assert_eq!(
        fault(wit::OpKind::Image(image)),
        "op 0: a derivation may rearrange files and bring in nothing new"
    );
    assert_eq!(
        fault(wit::OpKind::Hole(wit::Hole::Input(1))),
        "op 0: it is a hole (input 1) that is no input of the derivation"
    );
    assert_eq!(
        fault(wit::OpKind::Hole(wit::Hole::Context)),
        "op 0: it is a hole (context) that is no input of the derivation"
    );
}

#[test]
fn a_graph_has_an_end() {
    let ops = (0..=limits::OPS).map(|_| scratch()).collect();
    refused(ops, "a graph of 100001 operations (limit 100000)");
}

#[test]
fn messages_name_the_operation() {
    let mut bad = merge(&[4]);
    bad.name = "[2/2] MERGE".to_owned();
    refused(vec![bad], "op 0 ([2/2] MERGE): it reads op 4, which does not come before it");
}
