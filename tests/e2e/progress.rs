//! The four ways in which a build is shown.

mod as_root {
    use serde_json::Value;

    use crate::privileges::needs_root;
    use crate::space::{Ran, TestSpace};

    fn shown(mode: &str) -> Ran {
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN echo spoken; echo shouted >&2\n");
        space.kiln(&["build", "--progress", mode, "-t", "it", "context"]).ok()
    }

    #[test]
    fn plain_is_lines_of_text() {
        needs_root!();
        let ran = shown("plain").says(&["RUN echo spoken", "spoken", "shouted", "DONE"]);
        assert!(!ran.stderr.contains('\x1b'), "{ran}");
    }

    #[test]
    fn what_was_fetched_now_did_not_come_from_the_cache() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nCOPY file /\nRUN echo 1\n";
        space.write("file", "x");
        space.build_text(text, &[]).ok().steps().ran("FROM busybox").ran("RUN echo 1");
        let again = space.build_text(&text.replace('1', "2"), &[]).ok().steps();
        again.cached("FROM busybox").ran("RUN echo 2");
        let all = space.build_text(&text.replace('1', "2"), &[]).ok().steps();
        all.cached("FROM busybox").cached("COPY file").cached("RUN echo 2");
    }

    #[test]
    fn without_a_program_for_networks_the_sharing_is_said_once() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.environment.push(("PATH".into(), "/nowhere".into()));
        let ran = space.build_text("FROM busybox\nRUN true\nRUN echo\n", &[]).ok();
        assert_eq!(ran.stderr.matches("shared-network").count(), 1, "{ran}");
        ran.says(&["pasta"]);
        let ran = space.build_text("FROM busybox\nRUN --network=none true\n", &[]).ok();
        ran.does_not_say("shared-network");
    }

    #[test]
    fn rawjson_is_an_object_on_each_line() {
        needs_root!();
        let ran = shown("rawjson");
        let lines: Vec<Value> = ran
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        assert!(lines.iter().all(Value::is_object));
        assert!(lines.iter().any(|line| line["event"] == "log"
            && line["data"].as_str().is_some_and(|data| data.contains("spoken"))));
        assert!(lines.iter().any(|line| line["event"] == "finished" && line["ending"] == "done"));
    }

    #[test]
    fn tty_draws_and_quiet_is_silent() {
        needs_root!();
        let ran = shown("tty");
        assert!(ran.stderr.contains('\x1b'), "{ran}");
        assert_eq!(shown("quiet").stderr, "");
    }

    #[test]
    fn results_go_to_standard_output_and_talk_to_standard_error() {
        needs_root!();
        let ran = shown("plain");
        assert!(ran.text().lines().count() <= 1, "{ran}");
        let space = TestSpace::new();
        let ran = space.kiln(&["--help"]).ok();
        assert!(ran.text().contains("build") && ran.stderr.is_empty(), "{ran}");
        let ran = space.kiln(&["--version"]).ok();
        assert!(ran.text().starts_with("kiln "), "{ran}");
    }

    #[test]
    fn an_error_in_quiet_mode_is_still_told() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN echo the-reason; false\n");
        space.kiln(&["build", "-q", "context"]).ends(1).says(&["the-reason", "Dockerfile:2"]);
    }
}
