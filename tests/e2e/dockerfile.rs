//! What instructions leave in the configuration of the image.

mod as_root {
    use serde_json::json;

    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::TestSpace;

    #[test]
    fn every_metadata_instruction_reaches_the_configuration() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = r#"# a comment
FROM busybox
ARG VERSION=1.2
ENV VERSION=$VERSION GREETING="hello world" P=a\ b
LABEL one="1" two=2
EXPOSE 80 53/UDP 7000-7001
VOLUME ["/data", "/more"]
WORKDIR /srv
WORKDIR app
USER www-data:www-data
STOPSIGNAL SIGQUIT
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=5s --retries=2 CMD true
MAINTAINER someone
ENTRYPOINT ["/bin/echo", "-n"]
CMD ["hello"]
"#;
        space.build_text(text, &["-t", "it", "--label", "two=two", "--label", "three=3"]).ok();
        let image = readback::image(&space, "it");
        let config = &image.config["config"];
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(config["Env"], json!([path, "VERSION=1.2", "GREETING=hello world", "P=a b"]));
        assert_eq!(config["Labels"], json!({ "one": "1", "two": "two", "three": "3" }));
        assert_eq!(
            config["ExposedPorts"],
            json!({ "80/tcp": {}, "53/udp": {}, "7000/tcp": {}, "7001/tcp": {} })
        );
        assert_eq!(config["Volumes"], json!({ "/data": {}, "/more": {} }));
        assert_eq!(config["WorkingDir"], "/srv/app");
        assert_eq!(config["User"], "www-data:www-data");
        assert_eq!(config["StopSignal"], "SIGQUIT");
        assert_eq!(config["Entrypoint"], json!(["/bin/echo", "-n"]));
        assert_eq!(config["Cmd"], json!(["hello"]));
        assert_eq!(image.config["author"], "someone");
        assert_eq!(image.config["os"], "linux");
        assert_eq!(image.entry("/srv/app").kind, "directory");
        // skopeo drops what only Docker knows; kiln's own view has the configuration as it is stored.
        let stored = space.kiln(&["image", "inspect", "it"]).ok();
        for text in ["\"Healthcheck\"", "5000000000", "\"Shell\"", "\"-ec\""] {
            assert!(stored.text().contains(text), "no {text} in\n{stored}");
        }
        assert_eq!(space.kiln(&["run", "it"]).ok().text(), "hello");
    }

    #[test]
    fn history_has_a_line_for_every_instruction_and_marks_those_without_a_layer() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("file", "x");
        space
            .build_text("FROM busybox\nENV A=1\nCOPY file /\nRUN echo x > /x\nCMD [\"x\"]\n", &["-t", "it"])
            .ok();
        let config = readback::image(&space, "it").config;
        let history = config["history"].as_array().unwrap();
        let own = &history[history.len() - 4..];
        let empty: Vec<bool> = own.iter().map(|line| line["empty_layer"] == true).collect();
        assert_eq!(empty, [true, false, false, true], "{own:#?}");
        let layers = history.iter().filter(|line| line["empty_layer"] != true).count();
        assert_eq!(layers, config["rootfs"]["diff_ids"].as_array().unwrap().len());
        for (line, text) in
            own.iter().zip(["ENV A=1", "COPY file /", "RUN /bin/sh -c echo x > /x", "CMD [\"x\"]"])
        {
            assert!(line["created_by"].as_str().unwrap().starts_with(text), "{line}");
        }
    }

    #[test]
    fn arguments_have_scopes() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "ARG BASE=busybox\nARG GLOBAL=g\nFROM $BASE AS one\nRUN echo \"1:${GLOBAL:-unset}\" > /f\n\
                    ARG GLOBAL\nARG LOCAL=l$GLOBAL\nRUN echo \"2:$GLOBAL:$LOCAL:$OTHER\" >> /f\n\
                    ARG OTHER\nRUN echo \"3:$OTHER\" >> /f\nARG TARGETARCH\nARG TARGETPLATFORM\n\
                    RUN echo \"4:$TARGETPLATFORM\" | grep -q \"linux/$TARGETARCH\"\n\
                    FROM scratch\nCOPY --from=one /f /\n";
        space.build_text(text, &["-o", "out", "--build-arg", "OTHER=o", "--build-arg", "LOCAL=given"]).ok();
        assert_eq!(space.read("out/f"), "1:unset\n2:g:given:\n3:o\n");
    }

    #[test]
    fn an_argument_without_a_value_comes_from_the_environment() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.environment.push(("FROM_HERE".into(), "yes".into()));
        let text =
            "FROM busybox\nARG FROM_HERE=no\nARG NOT_HERE=default\nRUN echo \"$FROM_HERE $NOT_HERE\"\n";
        let ran = space.build_text(text, &["--build-arg", "FROM_HERE", "--build-arg", "NOT_HERE"]).ok();
        assert_eq!(ran.steps().log("RUN echo"), "yes default");
    }

    #[test]
    fn heredocs_are_scripts_and_files() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox AS one\nENV NAME=world\nRUN <<EOF\nset -e\necho first > /f\necho \"second $NAME\" >> /f\nEOF\n\
                    RUN <<EOF cat >> /f\nthird\nEOF\nRUN <<X\n#!/bin/cat\nfourth\nX\n\
                    COPY <<EOF <<\"RAW\" /d/\nhello $NAME\nEOF\nraw $NAME\nRAW\n\
                    FROM scratch\nCOPY --from=one /f /d/ /\n";
        let ran = space.build_text(text, &["-o", "out"]).ok();
        assert_eq!(space.read("out/f"), "first\nsecond world\nthird\n", "{ran}");
        assert_eq!(space.read("out/EOF"), "hello world\n");
        assert_eq!(space.read("out/RAW"), "raw $NAME\n");
    }

    #[test]
    fn continuations_directives_and_crlf_are_read_as_written() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "# escape=`\r\nFROM busybox\r\nRUN echo one `\r\n  # dropped\r\n  two\\three\r\n";
        let ran = space.build_text(text, &[]).ok();
        assert!(ran.stderr.contains("one two"), "{ran}");
    }

    #[test]
    fn triggers_of_a_base_run_in_the_stage_built_on_it() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("file", "mine");
        space
            .build_text(
                "FROM busybox\nONBUILD COPY file /taken\nONBUILD RUN cat /taken > /ran\n",
                &["-t", "trigger"],
            )
            .ok();
        space.build_text("FROM trigger\n", &["-t", "fired"]).ok();
        let image = readback::image(&space, "fired");
        assert_eq!((image.read("/taken"), image.read("/ran")), ("mine".into(), "mine".into()));
        space.build_text("FROM fired\n", &["-t", "once"]).ok();
        let stored = space.kiln(&["image", "inspect", "fired"]).ok();
        assert!(
            !stored.text().contains("ONBUILD") && !stored.text().contains("/taken > /run\"]"),
            "{stored}"
        );
    }

    #[test]
    fn setting_an_entrypoint_drops_an_inherited_command() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space
            .build_text(
                "FROM busybox AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"/bin/echo\"]\n",
                &["-t", "dropped"],
            )
            .ok();
        space.build_text("FROM busybox\nCMD [\"x\"]\nENTRYPOINT [\"/bin/echo\"]\n", &["-t", "kept"]).ok();
        assert!(readback::image(&space, "dropped").config["config"]["Cmd"].is_null());
        assert_eq!(readback::image(&space, "kept").config["config"]["Cmd"], json!(["x"]));
    }

    #[test]
    fn a_built_image_is_a_base_for_the_next_build() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.build_text("FROM busybox\nENV A=1\nRUN echo base > /base\n", &["-t", "mine:1"]).ok();
        space.build_text("FROM mine:1\nRUN test \"$A\" = 1 && cp /base /copy\n", &["-t", "mine:2"]).ok();
        assert_eq!(space.kiln(&["run", "mine:2", "cat", "/copy"]).ok().text(), "base\n");
    }
}
