//! The same as an unprivileged user, in a user namespace.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::space::Space;

crate::tests![steps_run_for_an_unprivileged_user];

/// First argument with which this executable runs steps in a user namespace.
pub(crate) const ROLE: &str = "run-unprivileged";

const NOBODY: u32 = 65534;

fn steps_run_for_an_unprivileged_user() {
    if std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.contains("4294967295")) {
        println!("    already in a user namespace");
        return;
    }
    // Readable for everybody, unlike where it was built perhaps.
    let copy = tempfile::tempdir_in("/dev/shm").unwrap();
    let program = copy.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(copy.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(program)
        .arg(ROLE)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn run_everything_inside() -> ExitCode {
    let identity = kiln_sandbox::enter_user_namespace();
    println!("{identity:?}");
    if identity.is_err() {
        return ExitCode::FAILURE;
    }
    let space = Space::new();
    println!("{}", space.output(&space.sh("id -u; cat /etc/hosts; echo x >/new; ls -l /dev; cat /proc/self/mountinfo")));
    ExitCode::SUCCESS
}
