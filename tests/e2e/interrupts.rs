//! A build that is stopped leaves no process, no mount and a store that works.

mod as_root {
    use std::time::Duration;

    use crate::privileges::needs_root;
    use crate::process::{eventually, mounts_with, processes_with, signal, wait_for_line};
    use crate::space::{TestSpace, finish};

    /// A step that is in the middle of something, with a child of its own. The number makes it recognisable.
    fn sleeper(number: &str) -> String {
        format!("FROM busybox\nRUN sleep {number} & echo at-work; sleep {number}\n")
    }

    fn store_still_works(space: &TestSpace) {
        space.build_text("FROM busybox\nRUN echo after > /after\n", &["-t", "after"]).ok();
        assert_eq!(space.kiln(&["run", "after", "cat", "/after"]).ok().text(), "after\n");
    }

    #[test]
    fn ctrl_c_ends_a_build_with_130_and_leaves_nothing() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile(&sleeper("86101"));
        let mut child = space.command(&["build", "--progress", "plain", "context"]).spawn().unwrap();
        let stderr = wait_for_line(&mut child, "at-work");
        signal(&child, "INT");
        child.stderr = Some(stderr.into_inner());
        let ran = finish(child, "kiln build, interrupted".into()).ends(130);
        assert!(ran.took < Duration::from_secs(5), "{ran}");
        eventually("no process of the step", || processes_with("86101").is_empty());
        assert_eq!(mounts_with(space.store.to_str().unwrap()), Vec::<String>::new());
        store_still_works(&space);
    }

    #[test]
    fn a_killed_kiln_leaves_no_process_and_no_mount() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile(&sleeper("86102"));
        let mut child = space.command(&["build", "--progress", "plain", "context"]).spawn().unwrap();
        let _stderr = wait_for_line(&mut child, "at-work");
        signal(&child, "KILL");
        child.wait().unwrap();
        eventually("no process of the step", || processes_with("86102").is_empty());
        eventually("no mount", || mounts_with(space.store.to_str().unwrap()).is_empty());
        store_still_works(&space);
    }

    #[test]
    fn a_step_that_ignores_being_asked_is_killed() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile(
            "FROM busybox\nRUN trap '' TERM INT HUP; echo at-work; while :; do sleep 86103; done\n",
        );
        let mut child = space.command(&["build", "--progress", "plain", "context"]).spawn().unwrap();
        let stderr = wait_for_line(&mut child, "at-work");
        signal(&child, "INT");
        child.stderr = Some(stderr.into_inner());
        finish(child, "kiln build, interrupted".into()).ends(130);
        eventually("no process of the step", || processes_with("86103").is_empty());
    }

    #[test]
    fn kiln_run_passes_an_interrupt_on_and_leaves_nothing() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.build_text("FROM busybox\n", &["-t", "box"]).ok();
        let mut child =
            space.command(&["run", "box", "sh", "-c", "echo at-work >&2; sleep 86104"]).spawn().unwrap();
        let stderr = wait_for_line(&mut child, "at-work");
        signal(&child, "INT");
        child.stderr = Some(stderr.into_inner());
        let ran = finish(child, "kiln run, interrupted".into());
        assert_eq!(ran.status, 130, "{ran}");
        eventually("no process of the image", || processes_with("86104").is_empty());
        eventually("no mount", || mounts_with(space.store.to_str().unwrap()).is_empty());
    }
}
