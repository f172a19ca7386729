//! Several kiln processes on one store do each piece of work once.

mod as_root {
    use std::fs;

    use crate::privileges::needs_root;
    use crate::space::{Ran, TestSpace, finish};
    use crate::steps::Ending;

    /// The step writes what no second run of it would write.
    const UNIQUE: &str = "FROM busybox AS made\nRUN sleep 1; cat /proc/sys/kernel/random/uuid > /id\n\
                          FROM scratch\nCOPY --from=made /id /\n";

    fn side_by_side(space: &TestSpace, commands: &[&[&str]]) -> Vec<Ran> {
        let children: Vec<_> =
            commands.iter().map(|args| (space.command(args).spawn().unwrap(), args)).collect();
        children.into_iter().map(|(child, args)| finish(child, args.join(" ")).ok()).collect()
    }

    #[test]
    fn two_builds_at_once_run_a_step_once() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile(UNIQUE);
        let ran = side_by_side(
            &space,
            &[
                &["build", "--progress", "plain", "-o", "one", "context"],
                &["build", "--progress", "plain", "-o", "two", "context"],
            ],
        );
        assert_eq!(space.read("one/id"), space.read("two/id"));
        let done = ran.iter().filter(|ran| ran.steps().step("RUN").ending == Some(Ending::Done)).count();
        assert_eq!(done, 1, "{}\n{}", ran[0], ran[1]);
    }

    #[test]
    fn different_contexts_share_equal_steps() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        for name in ["left", "right"] {
            fs::create_dir(space.path(name)).unwrap();
            fs::write(space.path(name).join("Dockerfile"), UNIQUE).unwrap();
        }
        side_by_side(&space, &[&["build", "-o", "one", "left"], &["build", "-o", "two", "right"]]);
        assert_eq!(space.read("one/id"), space.read("two/id"));
    }

    #[test]
    fn equal_steps_of_one_build_run_once() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox AS a\nRUN cat /proc/sys/kernel/random/uuid > /id\n\
                    FROM busybox AS b\nRUN cat /proc/sys/kernel/random/uuid > /id\n\
                    FROM scratch\nCOPY --from=a /id /a\nCOPY --from=b /id /b\n";
        space.build_text(text, &["-o", "out"]).ok();
        assert_eq!(space.read("out/a"), space.read("out/b"));
    }

    #[test]
    fn eight_builds_pull_and_build_side_by_side() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nARG N\nRUN echo $N > /n\n");
        let arguments: Vec<String> = (0..8).map(|n| format!("N={n}")).collect();
        let tags: Vec<String> = (0..8).map(|n| format!("image{n}")).collect();
        let commands: Vec<Vec<&str>> =
            (0..8).map(|n| vec!["build", "--build-arg", &arguments[n], "-t", &tags[n], "context"]).collect();
        let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
        side_by_side(&space, &commands);
        for (n, tag) in tags.iter().enumerate() {
            assert_eq!(space.kiln(&["run", tag, "cat", "/n"]).ok().text(), format!("{n}\n"));
        }
    }
}
