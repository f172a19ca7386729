//! Steps that get kiln's own descriptors.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};

use kiln_core::Cancel;
use kiln_sandbox::{Exit, Spec};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{getpgrp, ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdin};
use rustix::termios::tcgetpgrp;

use crate::space::Space;

crate::tests![a_step_can_have_kilns_own_descriptors, the_keyboard_reaches_a_step_in_the_foreground,];

/// First argument with which this executable runs steps in the terminal named by the second.
pub(crate) const ROLE: &str = "run-in-a-terminal";
/// First argument with which it runs one with the descriptors it has.
pub(crate) const PIPE_ROLE: &str = "run-with-own-descriptors";

fn inherit(space: &Space, spec: Spec) -> Exit {
    let spec = Spec { stdio: kiln_sandbox::Stdio::Inherit, ..spec };
    space.sandbox.run(&spec, &mut |_, _| panic!("nothing is captured"), &Cancel::new(None)).unwrap()
}

fn a_step_can_have_kilns_own_descriptors() {
    let mut kiln = Command::new(std::env::current_exe().unwrap())
        .arg(PIPE_ROLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    kiln.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = kiln.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "oops\n");
    assert_eq!(output.status.code(), Some(7));
}

pub(crate) fn run_with_own_descriptors() -> ExitCode {
    if kiln_sandbox::enter_user_namespace().is_err() {
        return ExitCode::FAILURE;
    }
    let space = Space::new();
    match inherit(&space, space.sh("cat; echo oops >&2; exit 7")) {
        Exit::Code(code) => ExitCode::from(u8::try_from(code).unwrap()),
        other => panic!("{other:?}"),
    }
}

fn the_keyboard_reaches_a_step_in_the_foreground() {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let mut kiln =
        Command::new(std::env::current_exe().unwrap()).args([ROLE, name.to_str().unwrap()]).spawn().unwrap();
    let mut terminal = File::from(terminal);
    let mut said = String::new();
    let mut wait_for = |terminal: &mut File, word: &str| {
        let mut buffer = [0; 256];
        while !said.contains(word) {
            // The other side hangs up when it is done.
            let length = terminal.read(&mut buffer).unwrap_or(0);
            assert!(length > 0, "{word:?} did not come after {said:?}");
            said += &String::from_utf8_lossy(&buffer[..length]);
        }
    };
    wait_for(&mut terminal, "shell begun");
    terminal.write_all(b"\x03").unwrap();
    wait_for(&mut terminal, "shell ended: Code(5)");
    // A program that has not asked for the signal.
    wait_for(&mut terminal, "sleep begun");
    terminal.write_all(b"\x03").unwrap();
    wait_for(&mut terminal, "sleep ended: Code(130)");
    wait_for(&mut terminal, "terminal returned: true");
    assert!(kiln.wait().unwrap().success());
}

pub(crate) fn run_in_a_terminal(name: &str) -> ExitCode {
    if kiln_sandbox::enter_user_namespace().is_err() {
        return ExitCode::FAILURE;
    }
    setsid().unwrap();
    let terminal = open(name, OFlags::RDWR, Mode::empty()).unwrap();
    ioctl_tiocsctty(&terminal).unwrap();
    dup2_stdin(&terminal).unwrap();
    dup2_stdout(&terminal).unwrap();
    dup2_stderr(&terminal).unwrap();
    drop(terminal);
    let space = Space::new();
    let script = "trap 'exit 5' INT; test -t 0 && echo shell begun; while :; do sleep 0.05; done";
    println!("shell ended: {:?}", inherit(&space, space.sh(script)));
    let script = "echo sleep begun; exec sleep 60";
    println!("sleep ended: {:?}", inherit(&space, space.sh(script)));
    println!("terminal returned: {}", tcgetpgrp(stdin()).unwrap() == getpgrp());
    ExitCode::SUCCESS
}
