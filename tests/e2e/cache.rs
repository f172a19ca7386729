//! What runs again, what does not, and what kiln says about it.

mod as_root {
    use std::fs;

    use crate::privileges::needs_root;
    use crate::space::{TestSpace, shell};

    fn example() -> TestSpace {
        let space = TestSpace::with_example("cache-order", &["busybox"]);
        space.build(&[]).ok().steps().ran("COPY src/").ran("RUN cat").ran("RUN wc");
        space
    }

    fn all_cached(space: &TestSpace, args: &[&str]) {
        let ran = space.build(args).ok();
        ran.steps().cached("WORKDIR").cached("COPY src/").cached("RUN cat").cached("RUN wc");
    }

    #[test]
    fn an_unchanged_build_runs_nothing() {
        needs_root!();
        let space = example();
        all_cached(&space, &[]);
    }

    #[test]
    fn touching_a_file_changes_nothing() {
        needs_root!();
        let space = example();
        shell(&format!("touch -d '2001-02-03' '{0}/src/one.txt' '{0}/src'", space.context().display()));
        all_cached(&space, &[]);
    }

    #[test]
    fn a_file_that_no_copy_selects_changes_nothing() {
        needs_root!();
        let space = example();
        space.write("notes.txt", "changed").write("another.txt", "new");
        all_cached(&space, &[]);
    }

    #[test]
    fn another_place_for_the_context_changes_nothing() {
        needs_root!();
        let space = example();
        fs::rename(space.context(), space.path("moved")).unwrap();
        let steps = space.kiln(&["build", "--progress", "plain", "moved"]).ok().steps();
        steps.cached("COPY src/").cached("RUN cat").cached("RUN wc");
    }

    #[test]
    fn changed_content_runs_what_reads_it_and_says_which_file() {
        needs_root!();
        let space = example();
        space.write("src/one.txt", "1\n");
        let ran = space.build(&[]).ok();
        ran.steps().ran_because("COPY src/", "one.txt differs").ran("RUN cat").ran("RUN wc");
        // The old content is back: what was made of it is still known.
        space.write("src/one.txt", "one\n");
        all_cached(&space, &[]);
    }

    #[test]
    fn added_and_removed_files_are_named_too() {
        needs_root!();
        let space = example();
        space.write("src/three.txt", "three\n");
        space.build(&[]).ok().steps().ran_because("COPY src/", "three.txt");
        fs::remove_file(space.context().join("src/one.txt")).unwrap();
        space.build(&[]).ok().steps().ran_because("COPY src/", "one.txt");
    }

    #[test]
    fn a_mode_is_content() {
        needs_root!();
        let space = example();
        shell(&format!("chmod 600 '{}/src/one.txt'", space.context().display()));
        space.build(&[]).ok().steps().ran_because("COPY src/", "one.txt");
    }

    #[test]
    fn what_the_request_says_of_all_steps_is_in_their_keys() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN cat /etc/hosts\n");
        space.build(&[]).ok().steps().ran("RUN cat");
        for option in [
            &["--network", "none"][..],
            &["--add-host", "db:10.0.0.1"],
            &["--shm-size", "32m"],
            &["--ulimit", "nofile=64:64"],
        ] {
            space.build(option).ok().steps().ran("RUN cat");
            space.build(option).ok().steps().cached("RUN cat");
        }
        // Of a host only the name counts (Dockerfile specification, section 18.3).
        space.build(&["--add-host", "db:10.0.0.2"]).ok().steps().cached("RUN cat");
    }

    #[test]
    fn a_step_inserted_early_runs_what_follows_and_removing_it_hits_again() {
        needs_root!();
        let space = example();
        let early = space.context().join("Dockerfile.early");
        let early = ["-f", early.to_str().unwrap()];
        space.build(&early).ok().steps().ran("RUN echo inserted").ran("RUN cat").ran("RUN wc");
        all_cached(&space, &[]);
        let steps = space.build(&early).ok().steps();
        steps.cached("RUN echo inserted").cached("RUN cat").cached("RUN wc");
    }

    #[test]
    fn a_changed_command_misses_and_says_so() {
        needs_root!();
        let space = example();
        let text = space.read("context/Dockerfile");
        space.dockerfile(&text.replace("cat src/*.txt", "sort -r src/*.txt"));
        space
            .build(&[])
            .ok()
            .steps()
            .cached("COPY src/")
            .ran_because("RUN sort", "RUN changed")
            .ran("RUN wc");
    }

    #[test]
    fn a_step_that_makes_the_same_files_again_runs_nothing_after_it() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nRUN echo same > /f # 1\nRUN cat /f > /g\n";
        space.build_text(text, &[]).ok();
        let steps = space.build_text(&text.replace("# 1", "# 2"), &[]).ok().steps();
        steps.ran("RUN echo same").cached("RUN cat");
    }

    #[test]
    fn no_cache_runs_everything_and_no_cache_filter_one_stage() {
        needs_root!();
        let space = example();
        space.build(&["--no-cache"]).ok().steps().ran("RUN cat").ran("RUN wc");
        let text =
            "FROM busybox AS a\nRUN echo a > /a\nFROM busybox AS b\nRUN echo b > /b\nCOPY --from=a /a /\n";
        space.build_text(text, &[]).ok();
        space.build(&["--no-cache-filter", "b"]).ok().steps().cached("RUN echo a").ran("RUN echo b");
    }

    #[test]
    fn a_build_argument_matters_where_it_is_declared() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nRUN echo before > /before\nARG V=1\nRUN echo $V > /v\n";
        space.build_text(text, &[]).ok();
        let steps = space.build(&["--build-arg", "V=2"]).ok().steps();
        steps.cached("RUN echo before").ran("RUN echo $V");
        space.build(&["--build-arg", "V=1"]).ok().steps().cached("RUN echo $V");
    }

    #[test]
    fn a_step_whose_layer_was_lost_is_remembered_again() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        // What it makes is something else each time, so that what is on record is not there again by itself.
        space.dockerfile("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /made\nRUN wc -c /made\n");
        let build = |out: &str| space.build(&["-o", out]).ok().steps();
        build("1").ran("RUN cat").ran("RUN wc");
        build("2").cached("RUN cat").cached("RUN wc");
        for lost in ["layers", "flat"] {
            shell(&format!("rm -rf '{}'/{lost}/*", space.store.display()));
        }
        build("3").ran("RUN cat").ran("RUN wc");
        build("4").cached("RUN cat").cached("RUN wc");
        assert_eq!(space.read("3/made"), space.read("4/made"));
        assert_ne!(space.read("1/made"), space.read("3/made"));
    }

    #[test]
    fn a_failed_step_is_not_remembered() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space
            .write("ok", "no")
            .dockerfile("FROM busybox\nRUN echo before > /b\nRUN --mount=target=/c grep yes /c/ok\n");
        space.build(&[]).ends(1);
        space.write("ok", "yes");
        space.build(&[]).ok().steps().cached("RUN echo before").ran("grep yes");
    }
}
