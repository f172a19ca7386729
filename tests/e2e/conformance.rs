//! Small build files and what they must come to, along the checklist at the end of the Dockerfile specification.

mod as_root {
    use std::fs;

    use serde_json::Value;

    use crate::privileges::needs_root;
    use crate::readback::tree_of;
    use crate::space::{Ran, TestSpace, shell};

    /// What a RUN step prints that is given to busybox after the lines `before`.
    #[track_caller]
    fn prints(space: &TestSpace, before: &str, command: &str, expected: &str) {
        let ran = space.build_text(&format!("FROM busybox\n{before}\nRUN {command}\n"), &["--no-cache"]).ok();
        let steps = ran.steps();
        let last = command.lines().next().unwrap_or_default();
        assert_eq!(steps.log(last), expected, "{ran}");
    }

    /// The environment of the image that `lines` make, without PATH.
    #[track_caller]
    fn environment(space: &TestSpace, lines: &str, args: &[&str]) -> Vec<String> {
        config(space, lines, args)["Env"]
            .as_array()
            .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
            .unwrap_or_default()
            .into_iter()
            .filter(|pair| !pair.starts_with("PATH="))
            .collect()
    }

    /// The `config` object of the image that `FROM scratch` and `lines` make.
    #[track_caller]
    fn config(space: &TestSpace, lines: &str, args: &[&str]) -> Value {
        whole_config(space, &format!("FROM scratch\n{lines}\n"), args)["config"].clone()
    }

    #[track_caller]
    fn whole_config(space: &TestSpace, text: &str, args: &[&str]) -> Value {
        let layout = space.path("conformance");
        let _ = fs::remove_dir_all(&layout);
        space.build_text(text, &[args, &["-o", "type=oci,tar=false,dest=conformance"]].concat()).ok();
        let read = |digest: &Value| -> Value {
            let name = digest.as_str().unwrap_or_default().trim_start_matches("sha256:").to_owned();
            serde_json::from_slice(&fs::read(layout.join("blobs/sha256").join(name)).expect("a blob"))
                .expect("JSON")
        };
        let index: Value =
            serde_json::from_slice(&fs::read(layout.join("index.json")).expect("an index")).expect("JSON");
        read(&read(&index["manifests"][0]["digest"])["config"]["digest"])
    }

    /// Builds `lines` on scratch and returns the paths, directories with a slash at the end.
    #[track_caller]
    fn paths(space: &TestSpace, lines: &str) -> Vec<String> {
        let _ = fs::remove_dir_all(space.path("out"));
        space.build_text(&format!("FROM scratch\n{lines}\n"), &["-o", "out"]).ok();
        tree_of(&space.path("out"))
            .into_iter()
            .map(|(path, entry)| if entry.kind == "directory" { path + "/" } else { path })
            .collect()
    }

    #[track_caller]
    fn fails(space: &TestSpace, lines: &str, texts: &[&str]) -> Ran {
        space.build_text(&format!("FROM scratch\n{lines}\n"), &["-o", "failed"]).ends(1).says(texts)
    }

    #[test]
    fn lines_continue_as_written() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write(
            "Dockerfile",
            "\u{feff}FROM busybox\r\nRUN echo a\\\r\nb \\  \r\n# gone\r\n\r\n  c\r\nRUN echo end \\",
        );
        let ran = space.build(&[]).ok();
        assert!(ran.stderr.contains(" ab c\n") || ran.stderr.contains(" ab   c\n"), "{ran}");
        ran.says(&["NoEmptyContinuation"]);
        prints(&space, "", "echo 'x#y' # z", "x#y");
        assert_eq!(environment(&space, "ENV a=1 \\\n# comment\n  b=2", &[]), ["a=1", "b=2"]);
    }

    #[test]
    fn directives_are_read_at_the_top_only() {
        needs_root!();
        let space = TestSpace::new();
        let env = |text: &str| {
            whole_config(&space, text, &[])["config"]["Env"]
                .as_array()
                .unwrap()
                .last()
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(env("# escape=`\nFROM scratch\nENV p=C:\\dir\n"), "p=C:\\dir");
        assert_eq!(env("# comment\n# escape=`\nFROM scratch\nENV p=C:\\dir\n"), "p=C:dir");
        space
            .build_text("# escape=`\n# escape=`\nFROM scratch\n", &[])
            .ends(1)
            .says(&["escape", "Dockerfile:2"]);
        space.build_text("# escape=x\nFROM scratch\n", &[]).ends(1).says(&["escape", "Dockerfile:1"]);
    }

    #[test]
    fn json_is_json_or_else_shell_form() {
        needs_root!();
        let space = TestSpace::new();
        let cmd = |line: &str| config(&space, line, &[])["Cmd"].clone();
        assert_eq!(cmd("CMD [ \"a\" , \"b\\tc\" ]"), serde_json::json!(["a", "b\tc"]));
        for text in ["['./hello']", "[\"a\" \"b\"]", "[\"a\",]", "[ \"a\"", "[\"a\"] && b"] {
            assert_eq!(cmd(&format!("CMD {text}")), serde_json::json!(["/bin/sh", "-c", text]), "{text}");
        }
        fails(&space, "CMD [\"a\", 1]", &["Dockerfile:2"]);
        assert_eq!(cmd("SHELL [\"/x\", \"-y\"]\nCMD z"), serde_json::json!(["/x", "-y", "z"]));
        assert!(config(&space, "ENTRYPOINT [\"a\"]\nENTRYPOINT []", &[])["Entrypoint"].is_null());
    }

    #[test]
    fn flags_take_the_values_they_are_made_for() {
        needs_root!();
        let space = TestSpace::new();
        space.write("a", "a");
        assert_eq!(paths(&space, "COPY --link=TRUE a /b"), ["/b"]);
        fails(&space, "COPY --link= a /b", &["--link", "Dockerfile:2"]);
        fails(&space, "COPY --chown=1 --chown=2 a /b", &["--chown"]);
        fails(&space, "COPY --chown a /b", &["--chown"]);
        assert_eq!(paths(&space, "COPY -- a /b"), ["/b"]);
        fails(&space, "CMD --help", &["--help"]);
    }

    #[test]
    fn environment_and_labels_have_quotes_and_a_legacy_form() {
        needs_root!();
        let space = TestSpace::new();
        let env = |lines: &str| environment(&space, lines, &[]);
        assert_eq!(
            env("ENV a=1 b=\"two words\" c=three\\ words d='$a'"),
            ["a=1", "b=two words", "c=three words", "d=$a"]
        );
        assert_eq!(env("ENV a all of this"), ["a=all of this"]);
        assert_eq!(env("ENV a=1\nENV a=2 b=$a"), ["a=2", "b=1"]);
        let labels = config(&space, "LABEL \"a b\"=\"c d\" e=f\\\n  g=\"h\\\"i\"", &[])["Labels"].clone();
        assert_eq!(labels, serde_json::json!({ "a b": "c d", "e": "f", "g": "h\"i" }));
        fails(&space, "ENV a=1 b", &["b", "Dockerfile:2"]);
        fails(&space, "ENV =1", &["Dockerfile:2"]);
    }

    #[test]
    fn every_modifier_of_an_expansion() {
        needs_root!();
        let space = TestSpace::new();
        let value = |expression: &str| {
            let lines = format!("ENV v=foo.tar.gz e=\nENV r=\"{expression}\"");
            environment(&space, &lines, &[]).pop().unwrap().split_once('=').unwrap().1.to_owned()
        };
        for (expression, expected) in [
            ("$v", "foo.tar.gz"),
            ("${v}x", "foo.tar.gzx"),
            ("${u:-w}", "w"),
            ("${e:-w}", "w"),
            ("${e-w}", ""),
            ("${u-$v}", "foo.tar.gz"),
            ("${u:-${e:-deep}}", "deep"),
            ("${v:+w}", "w"),
            ("${e:+w}", ""),
            ("${e+w}", "w"),
            ("${v#*.}", "tar.gz"),
            ("${v##*.}", "gz"),
            ("${v%.*}", "foo.tar"),
            ("${v%%.*}", "foo"),
            ("${v/o/0}", "f0o.tar.gz"),
            ("${v//o/0}", "f00.tar.gz"),
            ("\\$v", "$v"),
            ("$u.", "."),
        ] {
            assert_eq!(value(expression), expected, "{expression}");
        }
        fails(&space, "ENV a=${u:?say this}", &["say this", "Dockerfile:2"]);
        fails(&space, "ENV a=${v:=x}", &["Dockerfile:2"]);
        fails(&space, "ENV a=\"open", &["Dockerfile:2"]);
    }

    #[test]
    fn arguments_win_or_lose_as_specified() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        prints(&space, "ARG V=arg\nENV V=env", "echo $V", "env");
        prints(&space, "ENV V=env\nARG V=arg", "echo $V", "arg");
        prints(&space, "ENV V=env\nARG V", "echo $V", "env");
        assert_eq!(environment(&space, "ARG V\nENV V=${V:-v1}", &[]), ["V=v1"]);
        assert_eq!(environment(&space, "ARG V\nENV V=${V:-v1}", &["--build-arg", "V=v2"]), ["V=v2"]);
        assert_eq!(environment(&space, "ARG a=1 b=$a\nENV c=$b", &[]), ["c=1"]);
        let text = "ARG TARGETARCH=mine\nFROM scratch\nARG TARGETARCH\nENV a=$TARGETARCH\n";
        let env =
            whole_config(&space, text, &["--build-arg", "TARGETARCH=given"])["config"]["Env"].to_string();
        assert!(env.contains("a=given"), "{env}");
        // A proxy is given to steps, and is no part of history or key.
        let text = "FROM busybox\nRUN echo \"<$http_proxy>\"\n";
        let proxy = ["--build-arg", "http_proxy=http://proxy.example"];
        let ran = space.build_text(text, &proxy).ok();
        assert_eq!(ran.steps().log("http_proxy"), "<http://proxy.example>");
        space.build(&["--build-arg", "http_proxy=http://other.example"]).ok().steps().cached("http_proxy");
        assert!(!whole_config(&space, text, &proxy).to_string().contains("proxy.example"));
    }

    #[test]
    fn the_copy_table() {
        needs_root!();
        let space = TestSpace::new();
        space
            .write("f", "f")
            .write("g", "g")
            .write("d/x", "x")
            .write("d/s/y", "y")
            .write("e/x", "other")
            .directory("d/empty");
        assert_eq!(paths(&space, "COPY f /a"), ["/a"]);
        assert_eq!(paths(&space, "COPY f /a/"), ["/a/", "/a/f"]);
        assert_eq!(paths(&space, "COPY f /a/b/c"), ["/a/", "/a/b/", "/a/b/c"]);
        assert_eq!(paths(&space, "WORKDIR /w\nCOPY f ."), ["/w/", "/w/f"]);
        assert_eq!(paths(&space, "WORKDIR /w\nCOPY f sub/name"), ["/w/", "/w/sub/", "/w/sub/name"]);
        assert_eq!(paths(&space, "COPY f /a/\nCOPY g /a"), ["/a/", "/a/f", "/a/g"]);
        assert_eq!(paths(&space, "COPY d /a"), ["/a/", "/a/empty/", "/a/s/", "/a/s/y", "/a/x"]);
        assert_eq!(paths(&space, "COPY d e /a/"), ["/a/", "/a/empty/", "/a/s/", "/a/s/y", "/a/x"]);
        assert_eq!(fs::read_to_string(space.path("out/a/x")).unwrap(), "other");
        assert_eq!(paths(&space, "COPY d/ ./d/../e /a/"), ["/a/", "/a/empty/", "/a/s/", "/a/s/y", "/a/x"]);
        assert_eq!(paths(&space, "COPY ../../f /a"), ["/a"]);
        assert_eq!(paths(&space, "COPY [\"f\", \"/with space\"]"), ["/with space"]);
        assert_eq!(paths(&space, "COPY --exclude=s --exclude=**/x d /a"), ["/a/", "/a/empty/"]);
        assert_eq!(
            paths(&space, "COPY --parents d/s/y d/./x /a/"),
            ["/a/", "/a/d/", "/a/d/s/", "/a/d/s/y", "/a/x"]
        );
        assert_eq!(paths(&space, "COPY --parents **/x /a/"), ["/a/", "/a/d/", "/a/d/x", "/a/e/", "/a/e/x"]);
        assert_eq!(
            paths(&space, "COPY ? /a/"),
            ["/a/", "/a/empty/", "/a/f", "/a/g", "/a/s/", "/a/s/y", "/a/x"]
        );
        assert_eq!(paths(&space, "COPY [fg] /a/"), ["/a/", "/a/f", "/a/g"]);
        assert_eq!(paths(&space, "COPY d/*/y /a/"), ["/a/", "/a/y"]);
        fails(&space, "COPY f /a\nCOPY d /a", &["/a", "Dockerfile:3"]);
        fails(&space, "COPY f /a\nCOPY g /a/b", &["/a", "Dockerfile:3"]);
        fails(&space, "COPY http://example.org/x /a", &["ADD", "Dockerfile:2"]);
    }

    #[test]
    fn modes_links_and_times_of_what_is_copied() {
        needs_root!();
        let space = TestSpace::new();
        space
            .write("d/suid", "x")
            .write("d/one", "linked")
            .link("d/dangling", "/nowhere")
            .link("dirlink", "d");
        shell(&format!(
            "cd '{}' && chmod 4711 d/suid && ln d/one d/two && touch -d @1234567890 d/one && chmod 700 d",
            space.context().display()
        ));
        space.build_text("FROM scratch\nCOPY d /a/b\n", &["-t", "it", "-o", "type=tar,dest=it.tar"]).ok();
        let image = crate::readback::image(&space, "it");
        assert_eq!(image.entry("/a/b/suid").mode, 0o4711);
        assert_eq!(image.entry("/a/b").mode, 0o755, "the source's own mode is not taken");
        assert_eq!(image.entry("/a/b/dangling").target, "/nowhere");
        let listed = shell(&format!("TZ=UTC tar --full-time -tvf '{}'", space.path("it.tar").display()));
        let one = listed.lines().find(|line| line.ends_with(" a/b/one")).expect("the file is listed");
        assert!(one.contains("2009-02-13 23:31:30"), "the time is kept\n{listed}");
        assert!(listed.contains("a/b/two link to a/b/one"), "hard links are kept\n{listed}");
        assert_eq!(paths(&space, "COPY dirlink /l"), ["/l/", "/l/dangling", "/l/one", "/l/suid", "/l/two"]);
    }

    #[test]
    fn link_does_not_look_below() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("f", "f");
        let text =
            "FROM busybox AS below\nRUN mkdir /real && ln -s /real /l\nFROM below\nCOPY --link f /l/f\n";
        space.build_text(text, &["-t", "it"]).ok();
        let image = crate::readback::image(&space, "it");
        assert_eq!((image.entry("/l").kind, image.entry("/l/f").kind), ("directory", "file"));
        assert!(!image.tree.contains_key("/real/f"));
    }

    #[test]
    fn workdir_makes_directories_for_the_user() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nENV D=deep\nUSER www-data\nWORKDIR /srv/own\nWORKDIR $D\nRUN pwd && touch file\nWORKDIR /tmp\n";
        space.build_text(text, &["-t", "it"]).ok();
        let image = crate::readback::image(&space, "it");
        assert_eq!((image.entry("/srv/own/deep").uid, image.entry("/srv/own/deep/file").uid), (33, 33));
        assert_eq!(image.entry("/tmp").mode, 0o1777, "an existing directory is left as it is");
        let count = |lines: &str| {
            whole_config(&space, &format!("FROM scratch\n{lines}\n"), &[])["rootfs"]["diff_ids"]
                .as_array()
                .map_or(0, Vec::len)
        };
        assert_eq!((count("WORKDIR /"), count("WORKDIR /x")), (0, 1));
    }

    #[test]
    fn commands_and_entrypoints_reset_each_other() {
        needs_root!();
        let space = TestSpace::new();
        let both = |text: &str| {
            let config = whole_config(&space, text, &[])["config"].clone();
            (config["Entrypoint"].to_string(), config["Cmd"].to_string())
        };
        let yes = |text: &str| format!("[\"{text}\"]");
        let no = || "null".to_owned();
        assert_eq!(both("FROM scratch\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n"), (yes("e"), yes("c")));
        assert_eq!(both("FROM scratch AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]\n"), (yes("e"), no()));
        assert_eq!(
            both("FROM scratch AS a\nENTRYPOINT [\"e\"]\nFROM a\nCMD [\"c\"]\n"),
            (yes("e"), yes("c"))
        );
        assert_eq!(both("FROM scratch\nCMD [\"c\"]\nCMD [\"d\"]\n").1, yes("d"));
    }

    #[test]
    fn healthchecks_ports_and_signals() {
        needs_root!();
        let space = TestSpace::new();
        let health = |line: &str| config(&space, line, &[])["Healthcheck"].clone();
        assert_eq!(health("HEALTHCHECK NONE")["Test"], serde_json::json!(["NONE"]));
        let check = health(
            "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=1s --retries=4 CMD [\"a\", \"b\"]",
        );
        assert_eq!(check["Test"], serde_json::json!(["CMD", "a", "b"]));
        assert_eq!(
            (&check["Interval"], &check["Timeout"]),
            (&Value::from(90_000_000_000u64), &Value::from(500_000_000u64))
        );
        assert_eq!(
            (&check["StartPeriod"], &check["Retries"]),
            (&Value::from(1_000_000_000u64), &Value::from(4))
        );
        assert_eq!(health("HEALTHCHECK CMD a b")["Test"], serde_json::json!(["CMD-SHELL", "a b"]));
        let ports = config(&space, "ENV P=\"80 81-82/udp\"\nEXPOSE $P 9/TCP", &[])["ExposedPorts"].clone();
        assert_eq!(ports, serde_json::json!({ "80/tcp": {}, "81/udp": {}, "82/udp": {}, "9/tcp": {} }));
        for (signal, stored) in [("SIGTERM", "SIGTERM"), ("9", "9"), ("RTMIN+3", "RTMIN+3")] {
            assert_eq!(config(&space, &format!("STOPSIGNAL {signal}"), &[])["StopSignal"], stored);
        }
        fails(&space, "STOPSIGNAL SIGNONSENSE", &["SIGNONSENSE", "Dockerfile:2"]);
        fails(&space, "EXPOSE 90-80", &["90-80", "Dockerfile:2"]);
        fails(&space, "HEALTHCHECK --interval=soon CMD x", &["soon", "Dockerfile:2"]);
        fails(&space, "HEALTHCHECK NONE x", &["NONE", "Dockerfile:2"]);
    }

    #[test]
    fn labels_of_the_command_line_are_last_and_leave_no_history() {
        needs_root!();
        let space = TestSpace::new();
        let config = whole_config(&space, "FROM scratch\nLABEL a=1 b=1\n", &["--label", "a=2"]);
        assert_eq!(config["config"]["Labels"], serde_json::json!({ "a": "2", "b": "1" }));
        assert_eq!(config["history"].as_array().map(Vec::len), Some(1));
        assert_eq!(config["config"]["WorkingDir"], "/");
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(config["config"]["Env"], serde_json::json!([path]));
    }

    #[test]
    fn history_is_written_as_by_the_reference() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("f", "f");
        let text = "FROM busybox\nARG A=1\nARG B\nENV E=\"a b\" F=2\nLABEL l=\"x y\"\nWORKDIR /w\nEXPOSE 443 80\nVOLUME /v /x\n\
                    USER 1\nUSER 0\nRUN echo hi\nCOPY --chown=1:1 f /f\nENTRYPOINT [\"a\", \"b\"]\nCMD echo hi\n";
        let config = whole_config(&space, text, &[]);
        let lines: Vec<&str> = config["history"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|line| line["created_by"].as_str())
            .collect();
        let expected = [
            "ARG A=1",
            "ARG B",
            "ENV E=a b F=2",
            "LABEL l=x y",
            "WORKDIR /w",
            "EXPOSE [443/tcp 80/tcp]",
            "VOLUME [/v /x]",
            "USER 1",
            "USER 0",
            "RUN |2 A=1 B= /bin/sh -c echo hi",
            "COPY --chown=1:1 f /f",
            "ENTRYPOINT [\"a\" \"b\"]",
            "CMD [\"/bin/sh\" \"-c\" \"echo hi\"]",
        ];
        let own = &lines[lines.len() - expected.len()..];
        for (line, expected) in own.iter().zip(expected) {
            // The reference puts its own name behind what made a layer.
            assert_eq!(line.split(" # ").next(), Some(expected));
        }
    }

    #[test]
    fn lint_rules_warn_and_can_be_silenced() {
        needs_root!();
        let space = TestSpace::new();
        space.write("f", "f");
        for (lines, rule) in [
            ("FROM scratch AS Upper\n", "StageNameCasing"),
            ("FROM scratch as lower\n", "FromAsCasing"),
            ("FROM scratch\nMAINTAINER me\n", "MaintainerDeprecated"),
            ("FROM scratch\nENV a b\n", "LegacyKeyValueFormat"),
            ("FROM scratch\nCMD echo\n", "JSONArgsRecommended"),
            ("FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\n", "MultipleInstructionsDisallowed"),
            ("FROM scratch\nENV a=$nowhere\n", "UndefinedVar"),
            ("FROM scratch\nARG MY_TOKEN\n", "SecretsUsedInArgOrEnv"),
            ("FROM scratch AS a\nFROM scratch AS a\n", "DuplicateStageName"),
            ("FROM scratch\ncopy f /\nCOPY f /g\nCOPY f /h\n", "ConsistentInstructionCasing"),
            ("FROM scratch\nWORKDIR relative\n", "WorkdirRelativePath"),
        ] {
            let ran = space.build_text(lines, &["-o", "out"]).ok();
            assert!(ran.stderr.contains(rule), "{lines} gives no {rule}\n{ran}");
            let ran = space.build_text(&format!("# check=skip={rule}\n{lines}"), &["-o", "out"]).ok();
            assert!(!ran.stderr.contains(rule), "{ran}");
        }
        let text = "# check=error=true\nFROM scratch\nENV a b\n";
        space.build_text(text, &["-o", "out"]).ends(1).says(&["LegacyKeyValueFormat"]);
    }
}
