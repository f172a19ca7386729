use kiln_sdk::wit::graph::{FileAction, FileOp, OpKind};

use super::*;
use crate::testing::{Applied, Line, pair};

fn exec(applied: &Applied) -> &ExecOp {
    match applied.root() {
        OpKind::Exec(exec) => exec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_is_run_by_the_shell_on_the_stage() {
    let mut line = Line::new("RUN make && make install").env(&[("PATH", "/bin"), ("A", "1")]).in_dir("/src");
    line.stage.user = "app".into();
    let applied = line.apply();
    let exec = exec(&applied);
    assert_eq!(exec.args, ["/bin/sh", "-c", "make && make install"]);
    assert_eq!(exec.env, [pair("PATH", "/bin"), pair("A", "1")]);
    assert_eq!((exec.cwd.as_str(), exec.user.as_str()), ("/src", "app"));
    assert_eq!((exec.network.as_str(), exec.security.as_str()), ("", ""));
    let [Mount { target, readonly: false, kind: MountKind::Bind(bind) }] = exec.mounts.as_slice() else {
        panic!()
    };
    assert_eq!(target, "/");
    assert!(applied.is_base(bind.input.unwrap()));
    assert_eq!(applied.history(), ["RUN /bin/sh -c make && make install # buildkit"]);
    assert_eq!(applied.outcome.history[0].layer, applied.outcome.root.map(|root| root.op));
    assert_eq!(applied.outcome.changes, []);
    applied.finds_nothing();
}

#[test]
fn a_list_is_run_as_it_is_and_an_empty_one_is_an_error() {
    let applied = Line::new(r#"RUN ["a", "$B c"]"#).apply();
    assert_eq!(exec(&applied).args, ["a", "$B c"]);
    assert_eq!(applied.history(), ["RUN a $B c # buildkit"]);
    Line::new("RUN []").is_wrong_when_applied("empty-command");
    assert_eq!(exec(&Line::new("RUN").apply()).args, ["/bin/sh", "-c", ""]);
}

#[test]
fn the_shell_is_that_of_the_stage_or_platform() {
    let mut line = Line::new("RUN x");
    line.stage.platform.os = "windows".into();
    assert_eq!(exec(&line.apply()).args, ["cmd", "/S", "/C", "x"]);
    line.stage.shell = vec!["powershell".into(), "-c".into()];
    assert_eq!(line.apply().history(), ["RUN powershell -c x # buildkit"]);
}

#[test]
fn declared_arguments_are_shown_with_their_values() {
    let line = Line::new("RUN x").args(&[("A", Some("1")), ("B", None), ("C", Some("2 3"))]);
    assert_eq!(line.apply().history(), ["RUN |3 A=1 B= C=2 3 /bin/sh -c x # buildkit"]);
}

#[test]
fn a_here_document_alone_is_the_script() {
    let applied = Line::new("RUN <<EOF").heredoc("<<EOF", "a\n\tb\n").apply();
    assert_eq!(exec(&applied).args, ["/bin/sh", "-c", "a\n\tb\n"]);
    assert_eq!(applied.history(), ["RUN /bin/sh -c a\n\tb\n # buildkit"]);
    let applied = Line::new("RUN <<-EOF").heredoc("<<-EOF", "\t\ta\n\tb\tc\n").apply();
    assert_eq!(exec(&applied).args[2], "a\nb\tc\n");
    assert_eq!(exec(&Line::new("RUN <<EOF").heredoc("<<EOF", "").apply()).args[2], "");
}

#[test]
fn a_script_with_an_interpreter_is_a_file() {
    let applied = Line::new("RUN <<-PY").heredoc("<<-PY", "#!/usr/bin/env python3\n\tprint()\n").apply();
    let exec = exec(&applied);
    assert_eq!(exec.args, ["/bin/sh", "-c", "/dev/pipes/PY"]);
    let Mount { target, readonly: true, kind: MountKind::Bind(bind) } = &exec.mounts[1] else { panic!() };
    assert_eq!(target, "/dev/pipes");
    let OpKind::File(FileOp { base: None, actions }) = &applied.op(bind.input.unwrap()).kind else {
        panic!()
    };
    let [FileAction::MakeFile(file)] = actions.as_slice() else { panic!() };
    assert_eq!((file.path.as_str(), file.mode), ("/PY", 0o755));
    assert_eq!(file.data, b"#!/usr/bin/env python3\nprint()\n");
    assert_eq!(applied.history(), ["RUN /bin/sh -c /dev/pipes/PY # buildkit"]);

    let indented = Line::new("RUN <<-SH").heredoc("<<-SH", "\t#!/bin/sh\n\ttrue\n").apply();
    assert_eq!(indented.history(), ["RUN /bin/sh -c #!/bin/sh\ntrue\n # buildkit"]);

    let mut line = Line::new("RUN <<a/b").heredoc("<<a/b", "#!/bin/sh\n");
    line.is_wrong_when_applied("heredoc-name");
    line.stage.platform.os = "windows".into();
    assert_eq!(line.apply().history(), ["RUN cmd /S /C #!/bin/sh\n # buildkit"]);
}

#[test]
fn here_documents_within_a_command_are_left_to_the_shell() {
    let line = Line::new("RUN <<A cat > x && <<-B cat").heredoc("<<A", "1\n").heredoc("<<-B", "\t2\n");
    assert_eq!(exec(&line.apply()).args[2], "<<A cat > x && <<-B cat\n1\nA\n\t2\nB");
    let line = Line::new("RUN python3 <<EOF").heredoc("<<EOF", "#!x\n");
    assert_eq!(exec(&line.apply()).args[2], "python3 <<EOF\n#!x\nEOF");
}

#[test]
fn network_and_security_are_words() {
    for (flag, network, security) in [
        ("network=default", "", ""),
        ("network=none", "none", ""),
        ("network=host", "host", ""),
        ("security=sandbox", "", ""),
        ("security=insecure", "", "insecure"),
    ] {
        let applied = Line::new(&format!("RUN --{flag} x")).apply();
        let exec = exec(&applied);
        assert_eq!((exec.network.as_str(), exec.security.as_str()), (network, security), "{flag}");
    }
    Line::new("RUN --network=hots x")
        .is_wrong("invalid-network", "no `--network=hots`; there are default, none, host");
    assert_eq!(Line::new("RUN --network=hots x").validated("invalid-network").help, "write `--network=host`");
    Line::new("RUN --security= x")
        .is_wrong("invalid-security", "no `--security=`; there are sandbox, insecure");
}

#[test]
fn devices_have_names_with_an_equals_sign_or_without() {
    for (value, name, required) in [
        ("vendor.com/gpu=0", "vendor.com/gpu=0", false),
        ("gpu,required", "gpu", true),
        ("required=true,name=vendor.com/gpu=0", "vendor.com/gpu=0", true),
        ("name=gpu,required=0", "gpu", false),
    ] {
        let applied = Line::new(&format!("RUN --device={value} x")).apply();
        assert_eq!(exec(&applied).devices, [Device { name: name.into(), required }], "{value}");
    }
    Line::new("RUN --device=required x").is_wrong("invalid-device", "`--device` names no device");
    Line::new("RUN --device=gpu,other x").is_wrong("invalid-device", "`other` is no option of a device");
    Line::new("RUN --device=gpu,required=x x")
        .is_wrong("invalid-device", "`required=x` is no option of a device");
}

#[test]
fn a_command_that_can_hardly_run_is_warned_of() {
    Line::new("RUN x").on_nothing().apply().finds("no-shell");
    let applied = Line::new("RUN --mount=from=busybox,target=/bin x").on_nothing().apply();
    applied.finds_nothing();
    let MountKind::Bind(bind) = &exec(&applied).mounts[0].kind else { panic!() };
    assert_eq!(applied.op(bind.input.unwrap()).kind, OpKind::Scratch);
    Line::new("RUN ['x']").apply().finds("looks-like-json");
    Line::new("RUN [ -f x ] && y").apply().finds_nothing();
}
