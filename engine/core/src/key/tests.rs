use super::*;
use crate::digest::BlobDigest;
use crate::fileop::tests::copy;
use crate::graph::{
    ContextSource, DeriveOp, Device, GitSource, HttpSource, ImageSource, SecretEnv, Sharing, Ulimit,
};
use crate::platform::Platform;

fn vertex(op: Op) -> Vertex {
    Vertex {
        op,
        inputs: Vec::new(),
        platform: Platform::new("linux", "amd64", ""),
        name: "name".into(),
        group: "group".into(),
        no_lookup: false,
        origin: Vec::new(),
    }
}

fn key(op: &Op, inputs: &[InputKey]) -> CacheKey {
    let mut hasher = Hasher::new("definition");
    write_key(&vertex(op.clone()), inputs, &mut hasher);
    hasher.finish()
}

fn fields(op: &Op, inputs: &[InputKey]) -> String {
    let mut explainer = Explainer::default();
    write_key(&vertex(op.clone()), inputs, &mut explainer);
    let lines = explainer.fields.iter().map(|(name, value)| format!("{name}: {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn definition(n: u8) -> InputKey {
    InputKey::Definition(CacheKey(Digest::from_bytes([n; 32])))
}

fn selected(n: u8) -> InputKey {
    InputKey::Selected(Digest::from_bytes([n; 32]))
}

fn exec() -> ExecOp {
    let mount = |target: &str, readonly, kind| Mount { target: target.into(), readonly, kind };
    let secret = ClientMount { id: "key".into(), required: true, mode: 0o400, uid: 1, gid: 2 };
    ExecOp {
        args: vec!["sh".into(), "".into()],
        env: vec![("A".into(), "1".into())],
        secret_env: vec![SecretEnv { name: "TOKEN".into(), id: "token".into(), required: false }],
        cwd: "/src".into(),
        user: "app".into(),
        mounts: vec![
            mount("/", false, MountKind::Bind { input: Some(0), selector: String::new() }),
            mount("/in", true, MountKind::Bind { input: Some(1), selector: "sub".into() }),
            mount("/tmp", false, MountKind::Tmpfs { size_kib: 7 }),
            mount("/cache", false, MountKind::Cache(cache("c", None))),
            mount("/key", true, MountKind::Secret(secret.clone())),
            mount("/ssh", true, MountKind::Ssh(secret)),
            mount("/empty", false, MountKind::Bind { input: None, selector: String::new() }),
        ],
        network: Network::None,
        security: Security::Insecure,
        hostname: "box".into(),
        host_aliases: vec![("db".into(), "10.0.0.1".into())],
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 1, hard: 2 }],
        shm_size_kib: 64,
        devices: vec![Device { name: "gpu".into(), required: true }],
        ok_exit_codes: vec![0, 2],
    }
}

fn cache(id: &str, seed: Option<InputId>) -> CacheMount {
    CacheMount {
        id: id.into(),
        sharing: Sharing::Shared,
        seed,
        selector: String::new(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    }
}

fn all_actions() -> FileOp {
    let owner = Some(Owner { user: "app".into(), group: String::new() });
    FileOp {
        base: Some(0),
        actions: vec![
            FileAction::Copy(copy("--chown=app --chmod=644 --exclude=*.md a b /x/")),
            FileAction::MakeDir { path: "/d".into(), mode: 0o755, parents: true, owner: owner.clone() },
            FileAction::MakeFile { path: "/f".into(), data: b"\x00x".to_vec(), mode: 0o600, owner: None },
            FileAction::MakeSymlink { path: "/l".into(), target: "f".into(), owner: None },
            FileAction::Remove { path: "/r*".into(), allow_missing: true, allow_wildcard: true },
            FileAction::Change {
                path: "/c".into(),
                owner,
                mode: "go=".into(),
                recursive: true,
                allow_wildcard: false,
            },
        ],
    }
}

fn one_of_each() -> Vec<(&'static str, Op, Vec<InputKey>)> {
    let image =
        ImageSource { reference: "alpine:3".into(), pinned: Some(BlobDigest(Digest::from_bytes([7; 32]))) };
    let git = GitSource { url: "https://x/y.git".into(), commit: "abc".into(), ..GitSource::default() };
    let http = HttpSource { url: "https://x/y.tgz?q".into(), checksum: None, filename: String::new() };
    let context = ContextSource { name: String::new(), ignore: Some(vec!["*.md".into()]) };
    let derive = DeriveOp { plugin: Digest::from_bytes([9; 32]), task: "{}".into() };
    vec![
        ("scratch", Op::Source(SourceOp::Scratch), vec![]),
        ("image", Op::Source(SourceOp::Image(image)), vec![]),
        ("context", Op::Source(SourceOp::Context(context)), vec![]),
        ("git", Op::Source(SourceOp::Git(git)), vec![]),
        ("http", Op::Source(SourceOp::Http(http)), vec![]),
        ("exec", Op::Exec(exec()), vec![definition(1), selected(2)]),
        ("file", Op::File(all_actions()), vec![definition(1), selected(2)]),
        ("merge", Op::Merge, vec![definition(1), definition(2)]),
        ("diff", Op::Diff, vec![definition(1), definition(2)]),
        ("derive", Op::Derive(derive), vec![InputKey::Stack(StackId(Digest::from_bytes([3; 32])))]),
    ]
}

/// Who changes a line here changes what every store holds: raise [`VERSION`] with it.
#[test]
fn keys_are_frozen() {
    let keys: Vec<_> = one_of_each()
        .iter()
        .map(|(name, op, inputs)| format!("{name} {}", key(op, inputs).0.short()))
        .collect();
    assert_eq!(keys.join("\n"), FROZEN);
}

const FROZEN: &str = "\
scratch 5832ff6414c1
image 903901193714
context 0b7d0a0a7780
git c89fae9c34f9
http e042bfb655c9
exec f3c49b830a21
file 9f495c035254
merge 20757bba2294
diff 35177333b432
derive 9cb17fe7608c";

#[test]
fn the_fields_of_a_copy_from_a_selection_do_not_name_its_sources() {
    let op = Op::File(FileOp {
        base: Some(0),
        actions: vec![FileAction::Copy(copy("--exclude=*.md some/dir/a /x/"))],
    });
    let text = fields(&op, &[definition(1), selected(2)]);
    assert!(!text.contains("some") && !text.contains(".md"), "{text}");
    let text = fields(&op, &[definition(1), definition(2)]);
    assert!(text.contains("source: some/dir/a\nexclude: *.md"), "{text}");
}

#[test]
fn what_is_outside_keys_changes_none() {
    let inputs = [definition(1), selected(2), definition(3)];
    let before = key(&Op::Exec(exec()), &inputs);
    let unchanged = |change: &dyn Fn(&mut ExecOp)| {
        let mut op = exec();
        change(&mut op);
        assert_eq!(key(&Op::Exec(op), &inputs), before);
    };
    unchanged(&|op| op.host_aliases[0].1 = "10.0.0.2".into());
    unchanged(&|op| op.mounts[3].kind = MountKind::Cache(cache("other", Some(2))));
    unchanged(&|op| op.mounts[1].kind = MountKind::Bind { input: Some(1), selector: "moved".into() });
    let mut renamed = vertex(Op::Exec(exec()));
    renamed.name = "other".into();
    renamed.group = "other".into();
    renamed.no_lookup = true;
    let mut hasher = Hasher::new("definition");
    write_key(&renamed, &inputs, &mut hasher);
    assert_eq!(hasher.finish(), before);
}

#[test]
fn everything_else_of_a_command_is_in_its_key() {
    let inputs = [definition(1), selected(2), definition(3)];
    let before = key(&Op::Exec(exec()), &inputs);
    let changed = |change: &dyn Fn(&mut ExecOp)| {
        let mut op = exec();
        change(&mut op);
        assert_ne!(key(&Op::Exec(op), &inputs), before);
    };
    changed(&|op| op.args.push(String::new()));
    changed(&|op| op.env[0].1 = "2".into());
    changed(&|op| op.secret_env[0].id = "x".into());
    changed(&|op| op.secret_env[0].required = true);
    changed(&|op| op.cwd = "/".into());
    changed(&|op| op.user.clear());
    changed(&|op| op.mounts[0].readonly = true);
    changed(&|op| op.mounts[1].target = "/other".into());
    changed(&|op| op.mounts[1].kind = MountKind::Bind { input: Some(2), selector: "sub".into() });
    changed(&|op| op.mounts[2].kind = MountKind::Tmpfs { size_kib: 0 });
    changed(&|op| drop(op.mounts.remove(3)));
    changed(&|op| op.mounts.swap(4, 5));
    changed(&|op| op.network = Network::Unset);
    changed(&|op| op.security = Security::Sandbox);
    changed(&|op| op.hostname.clear());
    changed(&|op| op.host_aliases[0].0 = "x".into());
    changed(&|op| op.ulimits[0].hard = 3);
    changed(&|op| op.shm_size_kib = 0);
    changed(&|op| op.devices[0].required = false);
    changed(&|op| op.ok_exit_codes.clear());
    assert_ne!(key(&Op::Exec(exec()), &[definition(1), selected(9)]), before);
    assert_ne!(key(&Op::Exec(exec()), &[definition(9), selected(2)]), before);
}

#[test]
fn a_selector_counts_where_the_whole_input_stands_for_it() {
    let with = |selector: &str| {
        let mut op = exec();
        op.mounts[1].kind = MountKind::Bind { input: Some(1), selector: selector.into() };
        key(&Op::Exec(op), &[definition(1), definition(2)])
    };
    assert_ne!(with("a"), with("b"));
}

#[test]
fn purposes_keep_keys_apart() {
    let write = |purpose| {
        let mut hasher = Hasher::new(purpose);
        write_key(&vertex(Op::Merge), &[], &mut hasher);
        hasher.finish()
    };
    assert_ne!(write("definition"), write("content"));
}

#[test]
fn downloads_are_named_by_their_address() {
    for (url, name) in [
        ("https://x/a/b.tgz?x=1/2", "b.tgz"),
        ("https://x/", "__unnamed__"),
        ("https://x", "__unnamed__"),
        ("https://x/a/", "__unnamed__"),
    ] {
        assert_eq!(http_filename("", url), name, "{url}");
    }
    assert_eq!(http_filename("given", "https://x/y"), "given");
}
