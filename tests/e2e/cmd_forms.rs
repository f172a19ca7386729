//! Shell form, exec form, and what looks like one and is the other.

mod as_root {
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::TestSpace;

    fn command_of(space: &TestSpace, target: &str) -> String {
        readback::image(space, target).config["config"]["Cmd"].to_string()
    }

    #[test]
    fn shell_and_exec_form_are_stored_as_written() {
        needs_root!();
        let space = TestSpace::with_example("cmd-forms", &["busybox"]);
        space.build(&["--target", "shell-form", "-t", "shell-form"]).ok();
        space.build(&["--target", "exec-form", "-t", "exec-form"]).ok();
        assert_eq!(command_of(&space, "shell-form"), r#"["/bin/sh","-c","./hello"]"#);
        assert_eq!(command_of(&space, "exec-form"), r#"["./hello"]"#);
        for image in ["shell-form", "exec-form"] {
            let ran = space.kiln(&["run", image]).ok();
            assert!(ran.text().starts_with("Hello, 0 arguments"), "{ran}");
        }
    }

    #[test]
    fn single_quotes_make_the_shell_form_and_a_warning_that_says_why() {
        needs_root!();
        let space = TestSpace::with_example("cmd-forms", &["busybox"]);
        let ran = space.build(&["--target", "single-quotes", "-t", "quotes"]).ok();
        ran.says(&["warning", "Dockerfile:12", "CMD ['./hello']", "double quotes", "shell form"]);
        assert_eq!(command_of(&space, "quotes"), r#"["/bin/sh","-c","['./hello']"]"#);
        assert_eq!(space.kiln(&["run", "quotes"]).status, 127);
    }

    #[test]
    fn a_shell_form_on_scratch_warns_that_there_is_no_shell() {
        needs_root!();
        let space = TestSpace::with_example("cmd-forms", &["busybox"]);
        let ran = space.build(&["--target", "no-shell", "-t", "no-shell"]).ok();
        ran.says(&["warning", "Dockerfile:16", "/bin/sh"]);
        space.kiln(&["run", "no-shell"]).ends(1).says(&["/bin/sh", "JSON array"]);
    }
}
