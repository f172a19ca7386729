//! Nothing survives: not a cancelled step, not a killed kiln.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use kiln_core::Cancel;
use kiln_sandbox::{Exit, Stream};

use crate::space::Space;

crate::tests![
    a_cancelled_step_is_asked_to_end,
    a_step_that_does_not_listen_is_killed,
    a_second_cancellation_kills_at_once,
    a_step_cancelled_before_it_starts_does_not,
    background_processes_end_with_the_step,
    killing_kiln_leaves_no_process_and_no_mount,
    killing_the_helper_leaves_no_process,
    dropping_the_sandbox_ends_the_helper,
];

/// First argument with which this executable runs one step until it is killed.
pub(crate) const ROLE: &str = "run-a-long-step";

/// A step that says when it has begun, so that it can be cancelled then.
fn cancel_when_begun(script: &str, levels: &[u8]) -> (Exit, Duration, String) {
    let space = Space::new();
    let (wake, waker) = std::io::pipe().unwrap();
    let cancel = Cancel::new(Some(OwnedFd::from(wake)));
    let spec = space.sh(script);
    let mut begun = None;
    let mut said = String::new();
    let exit = std::thread::scope(|scope| {
        let mut waker = Some(waker);
        let mut output = |_: Stream, bytes: &[u8]| {
            said += &String::from_utf8_lossy(bytes);
            if let Some(waker) = waker.take() {
                begun = Some(Instant::now());
                let cancel = &cancel;
                scope.spawn(move || {
                    for level in levels {
                        std::thread::sleep(Duration::from_millis(50));
                        cancel.raise(*level);
                        let _ = std::io::Write::write(&mut &waker, b"!");
                    }
                });
            }
        };
        space.sandbox.run(&spec, &mut output, &cancel).unwrap()
    });
    (exit, begun.unwrap().elapsed(), said)
}

fn a_cancelled_step_is_asked_to_end() {
    let (exit, took, said) =
        cancel_when_begun("trap 'echo bye; exit 3' TERM; echo begun; while :; do sleep 0.05; done", &[1]);
    assert_eq!(exit, Exit::Cancelled);
    // Not only the shell was asked, but also what it was waiting for, if it was just then: that the shell tells too.
    let said: Vec<&str> = said.lines().filter(|line| *line != "Terminated").collect();
    assert_eq!(said, ["begun", "bye"]);
    assert!(took < Duration::from_millis(450), "{took:?}");
}

fn a_step_that_does_not_listen_is_killed() {
    let (exit, took, _) = cancel_when_begun("trap '' TERM; echo begun; sleep 60", &[1]);
    assert_eq!(exit, Exit::Cancelled);
    assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

fn a_second_cancellation_kills_at_once() {
    let (exit, took, _) = cancel_when_begun("trap '' TERM; echo begun; sleep 60", &[1, 2]);
    assert_eq!(exit, Exit::Cancelled);
    assert!(took < Duration::from_millis(450), "{took:?}");
}

fn a_step_cancelled_before_it_starts_does_not() {
    let space = Space::new();
    let cancel = Cancel::new(None);
    cancel.raise(1);
    let ran = space.run_until(&space.sh("echo begun"), &cancel).unwrap();
    assert_eq!((ran.exit, &*ran.stdout), (Exit::Cancelled, ""));
}

fn background_processes_end_with_the_step() {
    let space = Space::new();
    let start = Instant::now();
    let ran = space.run(&space.sh("sleep 7654 & echo begun")).unwrap();
    assert_eq!((ran.exit, &*ran.stdout), (Exit::Code(0), "begun\n"));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(processes_with("sleep\x007654"), 0);
}

/// In the role: the step prints, then sleeps; this process is killed meanwhile.
pub(crate) fn run_a_long_step(mark: &str) -> ExitCode {
    if kiln_sandbox::enter_user_namespace().is_err() {
        return ExitCode::FAILURE;
    }
    let space = Space::new();
    println!("{}", space.directory.path().display());
    // As another user where there is one, so that what depends on a process' owner is seen to fail.
    let spec = space.sh(&format!("echo begun; su user -c 'sleep {mark}; true' || sleep {mark}"));
    let mut output = |_: Stream, bytes: &[u8]| print!("{}", String::from_utf8_lossy(bytes));
    let _ = space.sandbox.run(&spec, &mut output, &Cancel::new(None));
    ExitCode::SUCCESS
}

/// Starts this executable in its role, hands over its id once the step sleeps, and cleans up.
fn with_a_long_step(mark: &str, kill: impl FnOnce(u32)) {
    let mut kiln = Command::new(std::env::current_exe().unwrap())
        .args([ROLE, mark])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(kiln.stdout.take().unwrap()).lines();
    let directory = lines.next().unwrap().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    let sleeping = format!("sleep\0{mark}");
    eventually(|| processes_with(&sleeping) > 0);
    kill(kiln.id());
    eventually(|| processes_with(&sleeping) == 0);
    let _ = kiln.wait();
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&directory));
    // If only its helper was killed, it removed this itself.
    let _ = fs::remove_dir_all(directory);
}

fn killing_kiln_leaves_no_process_and_no_mount() {
    with_a_long_step("7655", |kiln| {
        send_kill(kiln);
    });
    eventually(|| helpers().is_empty());
}

fn killing_the_helper_leaves_no_process() {
    with_a_long_step("7656", |_| {
        for helper in helpers() {
            send_kill(helper);
        }
    });
}

fn dropping_the_sandbox_ends_the_helper() {
    eventually(|| helpers().is_empty());
    let space = Space::new();
    space.output(&space.spec(&["true"]));
    assert_eq!(helpers().len(), 1);
    drop(space);
    eventually(|| helpers().is_empty());
}

fn send_kill(process: u32) {
    let pid = i32::try_from(process).unwrap();
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

fn eventually(condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < until, "waited for five seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn command_lines() -> Vec<(u32, String)> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let id = path.file_name()?.to_str()?.parse().ok()?;
            Some((id, fs::read_to_string(Path::new(&path).join("cmdline")).ok()?))
        })
        .collect()
}

fn processes_with(part: &str) -> usize {
    let lines = command_lines();
    // The test itself and its child have the mark among their arguments, but not after `sleep`.
    lines.iter().filter(|(_, line)| line.contains(part)).count()
}

/// The running helpers whose executable is this one, of whatever process they are.
fn helpers() -> Vec<u32> {
    let file = |id: &str| {
        let metadata = fs::metadata(format!("/proc/{id}/exe")).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let own = file("self");
    command_lines()
        .into_iter()
        .filter(|(id, line)| line.starts_with("kiln-sandbox\0") && file(&id.to_string()) == own)
        .map(|(id, _)| id)
        .collect()
}
