use kiln_sdk::wit::diagnostics::Severity;
use kiln_sdk::wit::graph::{FileOp, Hole, NamedHole, OpKind};

use super::*;
use crate::mount_fields::size_kib;
use crate::testing::{Applied, Line};

fn run(mount: &str) -> Line {
    Line::new(&format!("RUN --mount={mount} true"))
}

/// The only mount beside the one at `/`.
#[track_caller]
fn mount(applied: &Applied) -> &Mount {
    let OpKind::Exec(exec) = applied.root() else { panic!() };
    assert_eq!(exec.mounts.len(), 2, "{:?}", exec.mounts);
    &exec.mounts[1]
}

fn client(id: &str, required: bool, mode: u32, uid: u32, gid: u32) -> ClientMount {
    ClientMount { id: id.into(), required, mode, uid, gid }
}

#[test]
fn a_bind_is_read_only_and_from_the_context_unless_said() {
    let applied = run("target=/src").apply();
    let Mount { target, readonly: true, kind: MountKind::Bind(bind) } = mount(&applied) else { panic!() };
    assert_eq!((target.as_str(), bind.selector.as_str()), ("/src", ""));
    assert_eq!(applied.op(bind.input.unwrap()).kind, OpKind::Hole(Hole::Context));

    let applied = run("type=bind,from=0,source=/a/../b,dst=x,rw").in_dir("/app").apply();
    let Mount { target, readonly: false, kind: MountKind::Bind(bind) } = mount(&applied) else { panic!() };
    assert_eq!((target.as_str(), bind.selector.as_str()), ("/app/x", "/b"));
    let hole = Hole::Named(NamedHole { name: "0".into(), by_number: false });
    assert_eq!(applied.op(bind.input.unwrap()).kind, OpKind::Hole(hole));
}

#[test]
fn switches_are_bare_or_have_a_value_and_keys_have_any_case() {
    for (fields, readonly) in [
        ("RO", true),
        ("readonly=1", true),
        ("rw=false", true),
        ("ReadWrite=TRUE", false),
        ("ro=f", false),
        ("ro,rw", false),
    ] {
        assert_eq!(mount(&run(&format!("Target=/x,{fields}")).apply()).readonly, readonly, "{fields}");
    }
}

#[test]
fn a_cache_is_named_after_its_target_unless_said() {
    let applied = run("type=cache,target=/root/.cache/").apply();
    let Mount { target, readonly: false, kind: MountKind::Cache(cache) } = mount(&applied) else { panic!() };
    let expected = CacheMount {
        id: "/root/.cache".into(),
        sharing: CacheSharing::Shared,
        seed: None,
        selector: String::new(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    assert_eq!((target.as_str(), cache), ("/root/.cache", &expected));

    let applied =
        run("type=cache,target=x,id=pip,sharing=locked,mode=0700,uid=1,gid=2,ro").in_dir("/app").apply();
    let Mount { target, readonly: true, kind: MountKind::Cache(cache) } = mount(&applied) else { panic!() };
    let expected = CacheMount {
        id: "pip".into(),
        sharing: CacheSharing::Locked,
        mode: 0o700,
        uid: 1,
        gid: 2,
        ..expected
    };
    assert_eq!((target.as_str(), cache), ("/app/x", &expected));
}

#[test]
fn a_cache_begins_as_what_from_names() {
    let applied = run("type=cache,target=/c,from=seed,source=sub").apply();
    let MountKind::Cache(cache) = &mount(&applied).kind else { panic!() };
    let hole = Hole::Named(NamedHole { name: "seed".into(), by_number: false });
    assert_eq!(applied.op(cache.seed.unwrap()).kind, OpKind::Hole(hole.clone()));
    assert_eq!(cache.selector, "/sub");

    let applied = run("type=cache,target=/c,from=seed,uid=5").apply();
    let MountKind::Cache(cache) = &mount(&applied).kind else { panic!() };
    let OpKind::File(FileOp { base: Some(base), actions }) = &applied.op(cache.seed.unwrap()).kind else {
        panic!()
    };
    assert_eq!(applied.op(*base).kind, OpKind::Hole(hole));
    let owner = Some(Owner { user: "5".into(), group: "0".into() });
    let dir = MakeDirAction { path: "/cache".into(), mode: 0o755, parents: false, owner };
    assert_eq!(
        (actions.as_slice(), cache.selector.as_str()),
        ([FileAction::MakeDir(dir)].as_slice(), "/cache")
    );

    run("type=cache,target=/c,source=sub,uid=5").apply().finds("no-effect");
}

#[test]
fn a_tmpfs_may_have_a_size() {
    for (size, kib) in [
        ("", 0),
        (",size=64m", 65536),
        (",size=1.5g", 1572864),
        (",size=100kb", 100),
        (",size=10KiB", 10),
        (",size=1", 1),
    ] {
        let applied = run(&format!("type=tmpfs,target=/t{size}")).apply();
        let Mount { readonly: false, kind: MountKind::Tmpfs(size), .. } = mount(&applied) else { panic!() };
        assert_eq!(*size, kib);
    }
    for size in
        ["", "m", "-1", "1x", "1.", "1..2g", "9999999p", "1e3", "999999999999999999.999999999999999999p"]
    {
        assert_eq!(size_kib(size), None, "{size}");
    }
}

#[test]
fn a_secret_is_a_file_by_id_source_or_target() {
    for (fields, id, target) in [
        ("id=a/token", "a/token", "/run/secrets/token"),
        ("source=token", "token", "/run/secrets/token"),
        ("target=/etc/netrc", "netrc", "/etc/netrc"),
        ("id=x,target=y", "x", "/app/y"),
    ] {
        let applied = run(&format!("type=secret,{fields}")).in_dir("/app").apply();
        let mount = mount(&applied);
        assert_eq!((mount.target.as_str(), mount.readonly), (target, true), "{fields}");
        assert_eq!(mount.kind, MountKind::Secret(client(id, false, 0o400, 0, 0)), "{fields}");
    }
    let applied = run("type=secret,id=x,required,mode=0444,uid=1,gid=2").apply();
    assert_eq!(mount(&applied).kind, MountKind::Secret(client("x", true, 0o444, 1, 2)));
}

#[test]
fn a_secret_may_be_a_variable_and_then_is_a_file_only_with_a_target() {
    let applied = run("type=secret,id=x,env=TOKEN,required=true").apply();
    let OpKind::Exec(exec) = applied.root() else { panic!() };
    let secret = SecretEnv { name: "TOKEN".into(), id: "x".into(), required: true };
    assert_eq!((exec.secret_env.as_slice(), exec.mounts.len()), ([secret].as_slice(), 1));

    let applied = run("type=secret,id=x,env=TOKEN,target=/t").apply();
    let OpKind::Exec(exec) = applied.root() else { panic!() };
    assert_eq!((exec.secret_env.len(), exec.mounts.len()), (1, 2));
}

#[test]
fn key_holders_are_numbered_and_the_first_is_announced() {
    let line = Line::new("RUN --mount=type=ssh --mount=type=ssh,id=b,required,mode=0666 true");
    let applied = line.apply();
    let OpKind::Exec(exec) = applied.root() else { panic!() };
    assert_eq!(exec.mounts[1].target, "/run/buildkit/ssh_agent.0");
    assert_eq!(exec.mounts[1].kind, MountKind::Ssh(client("default", false, 0o600, 0, 0)));
    assert_eq!(exec.mounts[2].target, "/run/buildkit/ssh_agent.1");
    assert_eq!(exec.mounts[2].kind, MountKind::Ssh(client("b", true, 0o666, 0, 0)));
    assert_eq!(exec.env.last(), Some(&crate::testing::pair("SSH_AUTH_SOCK", "/run/buildkit/ssh_agent.0")));

    let applied = run("type=ssh,target=/s").env(&[("SSH_AUTH_SOCK", "/mine")]).apply();
    let OpKind::Exec(exec) = applied.root() else { panic!() };
    assert_eq!(exec.env, [crate::testing::pair("SSH_AUTH_SOCK", "/mine")]);
}

#[test]
fn wrong_values_and_options_of_other_types_are_errors_where_they_are_evaluated() {
    for (fields, message) in [
        ("type=bnid,target=/x", "no type of mount `bnid`; there are bind, cache, secret, ssh and tmpfs"),
        ("target=/x,ro=maybe", "`ro=maybe` is neither true nor false"),
        ("target", "`target` needs a value: `target=…`"),
        ("target=/", "nothing can be mounted at `/`"),
        ("target=/a/..", "nothing can be mounted at `/`"),
        ("type=bind", "a bind mount needs a `target`"),
        ("type=tmpfs", "a tmpfs mount needs a `target`"),
        ("target=/x,required", "`required` is for secret and ssh mounts, and this is a bind mount"),
        ("target=/x,size=1m", "`size` is for tmpfs mounts, and this is a bind mount"),
        ("type=tmpfs,target=/x,size=big", "`size=big` is not a size"),
        ("target=/x,sharing=shared", "`sharing` is for cache mounts, and this is a bind mount"),
        (
            "type=cache,target=/x,sharing=lokced",
            "no way of sharing `lokced`; there are shared, private, locked",
        ),
        ("target=/x,mode=0755", "`mode` is for cache, secret and ssh mounts, and this is a bind mount"),
        (
            "type=tmpfs,target=/x,uid=1",
            "`uid` is for cache, secret and ssh mounts, and this is a tmpfs mount",
        ),
        ("type=cache,target=/x,mode=9", "`mode=9` is not an octal mode from 0 to 7777"),
        ("type=cache,target=/x,uid=-1", "`uid=-1` is not a number"),
        ("type=secret", "a secret mount needs an `id` or a `target`"),
        (
            "type=secret,id=a,source=b",
            "`source` and `id` of a secret mount are the same thing: give one of them",
        ),
        ("type=secret,id=a,from=b", "a secret mount has no `from`"),
        ("type=secret,id=a,env=", "`env` needs the name of a variable"),
        ("type=ssh,source=a", "an ssh mount has no `source`"),
    ] {
        assert_eq!(run(fields).is_wrong_when_applied("invalid-mount").message, message, "{fields}");
    }
    run("sharing=locked,type=cache,target=/x").apply().finds_nothing();
    let found = run("required,type=secret,id=x").is_wrong_when_applied("invalid-mount");
    assert_eq!(found.help, "put `type=` first");
    let found = run("type=cache,taget=/x").is_wrong_when_applied("unknown-mount-option");
    assert_eq!(
        (found.message.as_str(), found.help.as_str()),
        ("`--mount` has no option `taget`", "write `target`")
    );
}

#[test]
fn options_without_effect_are_warned_of() {
    for fields in [
        "target=/x,id=a",
        "type=cache,target=/x,env=A",
        "type=tmpfs,target=/x,source=a",
        "type=tmpfs,target=/x,from=a",
        "type=ssh,from=a",
        "type=secret,id=a,rw",
    ] {
        assert_eq!(run(fields).apply().finds("no-effect").severity, Severity::Warning, "{fields}");
    }
}

#[test]
fn a_variable_in_from_is_an_error_before_anything_is_built() {
    run("type=bind,from=$IMAGE,target=/x").is_wrong("variable-in-from", "`from` takes no variables");
}
