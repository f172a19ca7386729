//! Plugins that have parts of their graph built before they say what the rest is.

mod as_root {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::Value;

    use crate::plugins::component;
    use crate::privileges::needs_root;
    use crate::process::{eventually, processes_with, signal, wait_for_line};
    use crate::server::Files;
    use crate::space::{Ran, TestSpace, finish};

    /// Options that build with the frontend of `tests/fixtures/planning`, which may do what `grant` says.
    fn options(grant: Option<&str>) -> Vec<String> {
        let plugin = component("tests/fixtures/planning");
        let plugin = plugin.to_str().expect("the path is UTF-8").to_owned();
        let mut options = vec!["--plugin".to_owned(), plugin, "--frontend=planning".to_owned()];
        options.extend(grant.map(|grant| format!("--allow=plugin.{grant}=planning")));
        options
    }

    /// Builds what `tasks` says, a task per line, into `out`.
    fn plan(space: &TestSpace, tasks: &str, grant: Option<&str>, more: &[&str]) -> Ran {
        space.write("tasks", tasks);
        let options = options(grant);
        let mut args: Vec<&str> = options.iter().map(String::as_str).collect();
        args.extend(["-f", "context/tasks", "-o", "out", "--metadata-file", "metadata"]);
        args.extend(more);
        space.build(&args)
    }

    /// How many steps ran, and how many were found.
    fn counts(space: &TestSpace) -> (u64, u64) {
        let metadata: Value = serde_json::from_str(&space.read("metadata")).expect("the metadata is JSON");
        let count = |of: &str| metadata["kiln.steps"][of].as_u64().expect("a number of steps");
        (count("ran"), count("cached"))
    }

    #[test]
    fn a_plan_is_made_of_what_was_fetched_read_and_run_for_it() {
        needs_root!();
        let (space, server) = (TestSpace::with_bases(&["busybox"]), Files::start());
        server.write("index", "from a server\n");
        space.write("notes.txt", "from the context\n");
        let tasks = format!(
            "fetch {}\nread notes.txt\nrun echo a-line; echo from a step > /out\n",
            server.url("index")
        );
        let ran = plan(&space, &tasks, Some("solve"), &[]).ok();
        assert_eq!(space.read("out/found"), "from a server\nfrom the context\nfrom a step\n");
        assert_eq!(space.read("out/1"), "from a step\n");
        assert_eq!(server.answers(), ["200 /index"]);
        ran.steps().ran("early read").ran("early run").cached("later run").ran("the result");
        assert!(ran.steps().log("early run").contains("a-line"), "{ran}");
        // The copy, the command and the result: what ran early is not counted as found later.
        assert_eq!(counts(&space), (3, 0));

        let again = plan(&space, &tasks, Some("solve"), &[]).ok();
        again.steps().cached("early run").cached("the result");
        assert_eq!(counts(&space).0, 1, "the copy of the context is evaluated: {again}");
        assert_eq!(server.answers(), ["304 /index"]);

        space.write("notes.txt", "changed\n");
        plan(&space, &tasks, Some("solve"), &[]).ok().steps().cached("early run").ran("the result");
        assert!(space.read("out/found").contains("changed"));
    }

    #[test]
    fn a_step_of_which_the_image_takes_less_than_the_plan_looked_at_runs_once() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        for word in ["both", "both-afresh"] {
            let tasks = format!("{word} cat /proc/sys/kernel/random/uuid > /out; cp /out /extra/out\n");
            let ran = plan(&space, &tasks, Some("solve"), &[]).ok();
            ran.steps().ran("early both").cached("later both");
            assert_eq!(space.read("out/found"), space.read("out/1"));
            assert_eq!(counts(&space).0, 2);
        }
    }

    #[test]
    fn a_step_that_is_not_to_be_looked_up_runs_once_in_a_build() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let tasks = "afresh cat /proc/sys/kernel/random/uuid > /out\n";
        let mut seen = BTreeSet::new();
        for _ in 0..2 {
            plan(&space, tasks, Some("solve"), &[]).ok().steps().ran("early afresh").cached("later afresh");
            assert_eq!(space.read("out/found"), space.read("out/1"));
            assert_eq!(counts(&space).0, 2);
            seen.insert(space.read("out/found"));
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_step_that_fails_ends_the_build_only_if_the_plugin_says_so() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let ran = plan(&space, "try echo first; exit 3\nrun echo on > /out\n", Some("solve"), &[]).ok();
        assert_eq!(space.read("out/found"), "failed\non\n");
        assert!(ran.steps().log("early try").contains("first"), "{ran}");

        let ran = plan(&space, "run echo what went wrong; exit 3\n", Some("solve"), &[]);
        ran.ends(1).says(&[
            "------ early run echo",
            "what went wrong\n------",
            "error[step-failed]: `echo what went wrong; exit 3` ended with exit code 3",
            "error[planning/build-failed]: run: `echo what went wrong; exit 3` ended with exit code 3",
            "tasks:1:1",
        ]);
        let ran = plan(&space, "fetch http://127.0.0.1:1/nobody\n", Some("solve"), &[]);
        ran.ends(3).says(&["planning/unavailable", "127.0.0.1"]);
    }

    #[test]
    fn what_is_not_granted_is_denied_by_name() {
        needs_root!();
        let (space, server) = (TestSpace::with_bases(&["busybox"]), Files::start());
        server.write("index", "fetched\n");
        let tasks = format!("fetch {}\n", server.url("index"));
        let ran = plan(&space, &tasks, None, &[]);
        assert_ne!(ran.status, 0, "{ran}");
        ran.says(&["--allow plugin.solve=planning"]);
        plan(&space, &tasks, Some("solve:files"), &[]).ok();
        let ran = plan(&space, "run true\n", Some("solve:files"), &[]);
        ran.ends(1).says(&["planning/denied", "`solve:exec`", "tasks:1:1"]);
    }

    #[test]
    fn ctrl_c_ends_what_runs_for_a_plan() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("tasks", "run sleep 86211 & echo at-work; sleep 86211\n");
        let options = options(Some("solve"));
        let mut args = vec!["build", "--progress", "plain", "-f", "context/tasks", "context"];
        args.extend(options.iter().map(String::as_str));
        let mut child = space.command(&args).spawn().unwrap();
        let stderr = wait_for_line(&mut child, "at-work");
        signal(&child, "INT");
        child.stderr = Some(stderr.into_inner());
        let ran = finish(child, "kiln build, interrupted".into()).ends(130);
        assert!(ran.took < Duration::from_secs(10), "{ran}");
        eventually("no process of the step", || processes_with("86211").is_empty());
    }

    #[test]
    fn derivations_and_further_outputs_are_found_again() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let tasks = "upper quiet\nsecond echo beside > /extra/out\nrun echo root > /out\n";
        plan(&space, tasks, Some("solve"), &[]).ok().steps().ran("early upper").cached("later second");
        assert_eq!(space.read("out/found"), "QUIET\nbeside\nroot\n");
        assert_eq!((space.read("out/1"), space.read("out/2")), ("beside\n".to_owned(), "root\n".to_owned()));
        plan(&space, tasks, Some("solve"), &[]).ok().steps().cached("early upper").cached("early second");
        assert_eq!(counts(&space).0, 0);
    }

    #[test]
    fn more_is_built_for_a_plan_than_is_allowed_at_no_time() {
        needs_root!();
        let space = TestSpace::new();
        plan(&space, "many 100\n", Some("solve"), &[]).ok();
        assert_eq!(space.read("out/found"), "64\n");
    }

    #[test]
    fn no_two_steps_of_a_build_have_one_number() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let tasks = "run echo 1 > /out\nrun echo 2 > /out\n";
        let ran = plan(&space, tasks, Some("solve"), &["--progress", "rawjson"]).ok();
        let events: Vec<Value> =
            ran.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let planned = events.iter().filter(|event| event["event"] == "planned");
        let numbers: Vec<u64> = planned
            .flat_map(|event| event["vertices"].as_array().expect("a list of steps"))
            .map(|vertex| vertex["vertex"].as_u64().expect("a number"))
            .collect();
        let finished: Vec<u64> = events
            .iter()
            .filter(|event| event["event"] == "finished")
            .map(|event| event["vertex"].as_u64().expect("a number"))
            .collect();
        let distinct = |numbers: &[u64]| numbers.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(numbers.len(), distinct(&numbers).len(), "{ran}");
        assert_eq!(distinct(&numbers), distinct(&finished), "each is planned and ends: {ran}");
        assert_eq!(finished.len(), distinct(&finished).len(), "{ran}");
    }
}
