//! The same as an unprivileged user, in a user namespace.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use kiln_sandbox::Identity;

use crate::Test;

crate::tests![everything_works_for_an_unprivileged_user];

/// First argument with which this executable runs steps in a user namespace.
pub(crate) const ROLE: &str = "run-unprivileged";

const NOBODY: u32 = 65534;

/// What cannot be seen in a user namespace with a single user.
const NEED_OTHER_USERS: [&str; 4] = [
    "a_missing_working_directory_is_made_and_owned_by_the_user",
    "user_and_groups_are_taken_on",
    "another_user_has_none_but_setuid_programs_work",
    "a_secret_is_in_memory_and_has_its_owner",
];

fn everything_works_for_an_unprivileged_user() {
    if !rustix::process::geteuid().is_root() {
        println!("    this whole run is unprivileged");
        return;
    }
    // Where it was built may be closed to others.
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new(program).arg(ROLE).uid(NOBODY).gid(NOBODY).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines().filter(|line| !line.starts_with("test ")) {
        println!("    {line}");
    }
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn run_everything_inside(tests: &[Test], filters: &[String]) -> ExitCode {
    match kiln_sandbox::enter_user_namespace() {
        Ok(Identity::Mapped { uids, gids }) => {
            println!("in a user namespace with {uids} user and {gids} group ids");
            crate::run(tests, filters)
        }
        Ok(Identity::Single { reason }) => {
            println!("{} tests cannot run with a single user: {reason}", NEED_OTHER_USERS.len());
            let tests: Vec<Test> =
                tests.iter().filter(|(name, _)| !NEED_OTHER_USERS.contains(name)).copied().collect();
            crate::run(&tests, filters)
        }
        Ok(Identity::Privileged) => {
            println!("still privileged");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("no test can run unprivileged here: {}", crate::space::chain(&error));
            ExitCode::SUCCESS
        }
    }
}
