//! What comes of asking a policy: limits that it runs into, calls that are taken down and asked again, and questions about
//! graphs that other plugins solve.

mod as_root {
    use std::fs;

    use crate::plugins::component;
    use crate::policies::{with_policy, without_policy};
    use crate::privileges::needs_root;
    use crate::space::TestSpace;

    #[test]
    fn a_policy_that_runs_into_a_limit_denies() {
        needs_root!();
        for (point, how, why) in [
            ("graph", "loop", "units of work"),
            ("source", "memory", "out of memory (limit 64 MiB)"),
            ("exec", "memory", "out of memory (limit 64 MiB)"),
            ("layer", "stack", "stack"),
            ("export", "stack", "stack"),
        ] {
            let mut space = TestSpace::with_bases(&["busybox"]);
            space.dockerfile("FROM busybox\nRUN touch /x\n");
            let options = format!("options = {{ trap = \"{point}\", how = \"{how}\" }}");
            with_policy(&mut space, &options);
            let ran = space.build(&["-t", "it:1"]).ends(1);
            ran.says(&[
                "error[rules/undecided]: the policy `rules` could not decide",
                "failed in check-",
                why,
            ])
            .does_not_say("bug in kiln");
            space.kiln(&["image", "inspect", "it:1"]).ends(1);
            // The store is as good as before, and nothing of the verdict stays.
            without_policy(&mut space);
            space.build(&["-t", "it:1"]).ok();
            assert_eq!(space.kiln(&["run", "it:1", "ls", "/x"]).ok().text(), "/x\n");
            if how != "loop" {
                with_policy(&mut space, &format!("mode = \"warn\"\n{options}"));
                space.build(&["-t", "it:2"]).ok().says(&["warning[rules/undecided]"]);
            }
        }
    }

    #[test]
    fn calls_of_policies_are_recorded_and_asked_again() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN touch /x\n");
        with_policy(&mut space, "options = { deny-content = \"nowhere\", deny-arg = \"wget\" }");
        let names = |space: &TestSpace, directory: &str| {
            let entries = fs::read_dir(space.path(directory)).expect("the calls are there").flatten();
            let mut names: Vec<_> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        space.build(&["-t", "it:1", "--record", "calls"]).ok();
        // Verdicts that are remembered are no reason not to record them.
        space.build(&["-t", "it:1", "--record", "again"]).ok();
        assert_eq!(names(&space, "calls"), names(&space, "again"), "the same build writes the same names");
        for point in ["source", "graph", "exec", "layer", "image", "export"] {
            let hook = format!("rules-policy-{point}.check-{point}-");
            let known = names(&space, "calls");
            assert!(known.iter().any(|name| name.starts_with(&hook)), "no {hook} in {known:?}");
        }
        let plugin = component("tests/fixtures/scripted-policy");
        let plugin = plugin.to_str().expect("the path is UTF-8");
        // Asked under the name that it has itself: the records are of one that was called `rules`.
        space.kiln(&["policy", "test", plugin, "calls"]).ends(2).says(&["no record of a call of `scripted`"]);
        let renamed = |directory: &str, from: &str, to: &str| {
            for name in names(&space, directory) {
                let file = space.path(directory).join(name);
                let text = fs::read_to_string(&file).expect("it is text");
                fs::write(file, text.replace(from, to)).expect("it is written");
            }
        };
        renamed("calls", "\"name\": \"rules\"", "\"name\": \"scripted\"");
        let tested = space.kiln(&["policy", "test", plugin, "calls"]).ok();
        let count = names(&space, "calls").len();
        assert!(tested.text().contains(&format!("{count} as recorded, 0 changed")), "{tested}");
        // Under another option the answer to one of them is another one.
        renamed("calls", "\"value\": \"wget\"", "\"value\": \"touch\"");
        let tested = space.kiln(&["policy", "test", plugin, "calls"]).ends(1);
        for line in ["CHANGED", "check-exec", "is not to be run", "1 changed"] {
            assert!(tested.text().contains(line), "no {line} in {tested}");
        }
    }

    #[test]
    fn a_live_build_is_recorded_without_being_made() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN touch /x\n").write("probe.txt", "");
        let context = space.context().display().to_string();
        let fixture = |name: &str| component(name).to_str().expect("the path is UTF-8").to_owned();
        let (probe, policy) = (fixture("tests/fixtures/probe"), fixture("tests/fixtures/scripted-policy"));
        let live = |plugin: &str, more: &[&str]| {
            let args = ["plugin", "run", plugin, "--record", "calls", "--"];
            space.kiln(&[&args[..], more, &[context.as_str()]].concat())
        };
        // A frontend is asked for its plan, without being named.
        let ran = live(&probe, &["--opt", "probe.read=Dockerfile"]).ok();
        let [call] = &ran.text().lines().collect::<Vec<_>>()[..] else { panic!("{ran}") };
        let file = call.strip_prefix("probe frontend.build ").unwrap_or_else(|| panic!("{ran}"));
        assert!(space.read(file).contains("RUN touch /x"), "what the host answered is on record");
        space.kiln(&["plugin", "test", &probe, file]).ok();
        let answer = space.kiln(&["plugin", "run", &probe, file]).ok().json();
        assert!(answer.pointer("/ok/targets/0").is_some(), "{answer}");
        // A policy is asked of what can be known before anything runs.
        let ran = live(&policy, &[]).ok();
        for hook in ["policy-source.check-source", "policy-graph.check-graph", "policy-exec.check-exec"] {
            assert!(ran.text().contains(hook), "{ran}");
        }
        assert!(!ran.text().contains("policy-layer") && !ran.stderr.contains("RUN touch"), "{ran}");
        let images = space.kiln(&["image", "ls", "--format", "json"]).ok().json();
        assert_eq!(images.as_array().map(Vec::len), Some(0), "nothing was built");
        // What is asked only of something built says so; what is wrong with the options is told.
        let transform = fixture("tests/fixtures/scripted-transform");
        live(&transform, &[]).ends(2).says(&["`scripted` was not asked anything", "kiln build --record DIR"]);
        live(&probe, &["--no-such-option"]).ends(2).says(&["after `--`", "--no-such-option"]);
        space.kiln(&["plugin", "run", &probe]).ends(2);
        space.kiln(&["plugin", "run", &probe, file, "--record", "calls"]).ends(2);
        // A transform is on record where there is an image.
        space.build(&["--plugin", &transform, "--record", "made", "-o", "out"]).ok();
        let tested = space.kiln(&["plugin", "test", &transform, "made"]).ok();
        assert!(tested.text().contains("1 as recorded, 0 changed"), "{tested}");
    }

    #[test]
    fn a_graph_that_a_plugin_has_solved_is_judged() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        let plugin = component("tests/fixtures/planning");
        let plugin = plugin.to_str().expect("the path is UTF-8").to_owned();
        let build = |space: &TestSpace, tasks: &str| {
            space.write("tasks", tasks);
            space.build(&[
                "--plugin",
                &plugin,
                "--frontend=planning",
                "--allow=plugin.solve=planning",
                "-f",
                "context/tasks",
                "-o",
                "out",
            ])
        };
        with_policy(&mut space, "options = { deny-arg = \"wget\" }");
        let ran = build(&space, "run echo begun > /out\nrun wget -h; echo on > /out\n").ends(1);
        ran.says(&["error[rules/command]", "wget", "is not to be run"])
            .does_not_say("early run wget -h; echo on > /out\n#");
        assert!(!space.path("out").exists());
        // A plugin that could do without it does: the image has no such step.
        build(&space, "run echo fine > /out\n").ok();
        without_policy(&mut space);
        with_policy(&mut space, "options = { deny-source = \"busybox\" }");
        build(&space, "run echo fine > /out\n").ends(1).says(&["error[rules/source]: `busybox`"]);
        without_policy(&mut space);
        with_policy(&mut space, "options = { network = \"none\" }");
        build(&space, "run ls /sys/class/net > /out\n").ok();
        assert_eq!(space.read("out/found").split_whitespace().collect::<Vec<_>>(), ["lo"]);
    }
}
