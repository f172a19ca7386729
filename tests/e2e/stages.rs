//! Independent stages run side by side, and stages that nothing needs are not built.

mod as_root {
    use std::time::Duration;

    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::TestSpace;

    #[test]
    fn a_stage_that_the_target_does_not_need_is_not_built() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox AS wanted\nRUN echo wanted\n\
                    FROM no-such-image-anywhere AS other\nRUN echo other\n\
                    FROM wanted AS last\nRUN echo last\n";
        let ran = space.build_text(text, &["-t", "it"]).ok();
        assert!(!ran.steps().has("echo other"), "{ran}");
        let ran = space.build(&["--target", "WANTED"]).ok();
        assert!(!ran.steps().has("echo last"), "{ran}");
    }

    #[test]
    fn independent_stages_run_side_by_side() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let mut text = String::new();
        let mut last = "FROM scratch\n".to_owned();
        for n in 0..6 {
            text.push_str(&format!("FROM busybox AS s{n}\nRUN sleep 1; echo {n} > /{n}\n"));
            last.push_str(&format!("COPY --from=s{n} /{n} /\n"));
        }
        space.build_text("FROM busybox\nRUN true\n", &[]).ok();
        let ran = space.build_text(&(text + &last), &["-t", "all"]).ok();
        assert!(ran.took < Duration::from_secs(4), "six sleeps of one second took {:?}", ran.took);
        assert_eq!(readback::image(&space, "all").files(), ["/0", "/1", "/2", "/3", "/4", "/5"]);
    }

    #[test]
    fn stages_have_numbers_and_names_of_any_case() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox AS First\nRUN echo a > /a\nFROM busybox\nRUN echo b > /b\n\
                    FROM first AS third\nCOPY --from=1 /b /b\nCOPY --from=FIRST /a /again\n";
        space.build_text(text, &["-t", "it"]).ok();
        let image = readback::image(&space, "it");
        assert_eq!(
            (image.read("/a"), image.read("/b"), image.read("/again")),
            ("a\n".into(), "b\n".into(), "a\n".into())
        );
    }
}
