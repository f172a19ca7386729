//! `kiln run`: an image as a program.

mod as_root {
    use crate::privileges::needs_root;
    use crate::space::TestSpace;

    fn example() -> TestSpace {
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nENV A=image\nWORKDIR /srv\nRUN echo content > file\nENTRYPOINT [\"/bin/echo\", \"ran\"]\nCMD [\"by\", \"default\"]\n";
        space.build_text(text, &["-t", "it"]).ok();
        space
    }

    #[test]
    fn entrypoint_and_command_make_the_program() {
        needs_root!();
        let space = example();
        assert_eq!(space.kiln(&["run", "it"]).ok().text(), "ran by default\n");
        assert_eq!(space.kiln(&["run", "-i", "--rm", "it"]).ok().text(), "ran by default\n");
        space.kiln(&["run", "-it", "--rm", "it"]).ends(2).says(&["--tty", "no terminal"]);
        assert_eq!(space.kiln(&["run", "it", "with", "--flags"]).ok().text(), "ran with --flags\n");
        let ran = space.kiln(&["run", "--entrypoint", "/bin/cat", "it", "file"]).ok();
        assert_eq!(ran.text(), "content\n");
    }

    #[test]
    fn status_input_and_environment_pass_through() {
        needs_root!();
        let space = example();
        fn sh<'a>(args: &[&'a str]) -> Vec<&'a str> {
            [&["run", "--entrypoint", "/bin/sh"], args].concat()
        }
        space.kiln(&sh(&["it", "-c", "exit 42"])).ends(42);
        space.kiln(&sh(&["it", "-c", "sh -c 'kill -TERM $$'; exit $?"])).ends(143);
        let ran = space.kiln_with_input(&["run", "--entrypoint", "/bin/cat", "it"], b"through the pipe");
        assert_eq!(ran.ok().text(), "through the pipe");
        let ran = space.kiln(&sh(&[
            "-e",
            "A=given",
            "-e",
            "B=b",
            "-w",
            "/tmp",
            "-u",
            "33",
            "it",
            "-c",
            "echo $A $B $PWD $(id -u)",
        ]));
        assert_eq!(ran.ok().text(), "given b /tmp 33\n");
        let ran = space.kiln(&sh(&["it", "-c", "echo $A $PWD; echo err >&2"])).ok();
        assert_eq!(ran.text(), "image /srv\n");
        assert_eq!(ran.stderr, "err\n");
    }

    #[test]
    fn what_a_run_writes_is_gone_afterwards() {
        needs_root!();
        let space = example();
        let sh = ["run", "--entrypoint", "/bin/sh", "it", "-c"];
        space.kiln(&[&sh[..], &["echo x > /written"]].concat()).ok();
        space.kiln(&[&sh[..], &["test ! -e /written"]].concat()).ok();
    }

    #[test]
    fn directories_of_the_host_can_be_shown() {
        needs_root!();
        let space = example();
        space.write("shown", "from the host\n");
        let volume = format!("{}:/host:ro", space.context().display());
        let ran = space.kiln(&["run", "-v", &volume, "--entrypoint", "/bin/cat", "it", "/host/shown"]).ok();
        assert_eq!(ran.text(), "from the host\n");
        space.kiln(&["run", "-v", &volume, "--entrypoint", "/bin/touch", "it", "/host/new"]).ends(1);
        assert!(!space.context().join("new").exists());
    }

    #[test]
    fn what_cannot_run_says_why() {
        needs_root!();
        let space = example();
        space.kiln(&["run", "no-such-image"]).ends(1).says(&["no-such-image"]);
        space.kiln(&["run", "--entrypoint", "/no/such", "it"]).ends(1).says(&["/no/such"]);
        space.build_text("FROM scratch\nCOPY Dockerfile /\n", &["-t", "empty"]).ok();
        let ran = space.kiln(&["run", "empty"]);
        assert_ne!(ran.status, 0, "{ran}");
        ran.says(&["empty", "command"]);
    }
}
