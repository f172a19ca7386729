//! Policies: what they are asked, what their answers lead to, and that there is no way around them.

use std::fs;

use serde_json::Value;

use crate::plugins::component;
use crate::space::TestSpace;

/// Adds to the configuration of the space, which is its own from here on.
pub(crate) fn configure(space: &mut TestSpace, text: &str) {
    let known = fs::read_to_string(&space.config).expect("there is a configuration");
    space.config = space.path("site.toml");
    fs::write(&space.config, format!("{known}\n{text}\n")).expect("the configuration is written");
}

/// `tests/fixtures/scripted-policy` under the name `rules`, set up by the site.
pub(crate) fn with_policy(space: &mut TestSpace, settings: &str) {
    let plugin = component("tests/fixtures/scripted-policy");
    configure(space, &format!("[plugins.rules]\nsource = \"{}\"\n{settings}", plugin.display()));
}

/// The space without what [`with_policy`] added.
pub(crate) fn without_policy(space: &mut TestSpace) {
    let text = fs::read_to_string(&space.config).expect("there is a configuration");
    let text = text.split("[plugins.rules]").next().unwrap_or_default();
    fs::write(&space.config, text).expect("the configuration is written");
}

fn names(space: &TestSpace) -> Vec<String> {
    let images = space.kiln(&["image", "ls", "--format", "json"]).ok().json();
    let name = |image: &Value| image["name"].as_str().unwrap_or_default().to_owned();
    images.as_array().expect("a list").iter().map(name).collect()
}

mod as_root {
    use super::*;
    use crate::privileges::needs_root;

    const COPY: &str = "FROM scratch\nCOPY file /file\n";

    fn copying() -> TestSpace {
        let space = TestSpace::new();
        space.dockerfile(COPY).write("file", "one\n");
        space
    }

    /// Builds under a policy with these options: denied with these words, and nothing has a name or is written.
    #[track_caller]
    fn denies(space: &mut TestSpace, options: &str, texts: &[&str]) {
        with_policy(space, &format!("options = {{ {options} }}"));
        let ran = space.build(&["-t", "it:1", "-o", "type=tar,dest=out.tar", "--metadata-file", "meta"]);
        ran.ends(1).says(texts);
        assert!(!names(space).contains(&"it:1".to_owned()));
        assert!(!space.path("out.tar").exists() && !space.path("meta").exists());
        without_policy(space);
        space.build(&["-t", "it:1", "-o", "type=tar,dest=out.tar"]).ok();
        assert!(space.path("out.tar").exists());
    }

    #[test]
    fn each_point_denies_what_it_is_told_to_and_nothing_else() {
        needs_root!();
        let base = || {
            let mut space = copying();
            space.build(&["-t", "base:1"]).ok();
            space.build_text("FROM base:1\nCOPY file /other\nUSER 5\n", &["-t", "it:2"]).ok();
            with_policy(&mut space, "options = { deny-source = \"nothing\", deny-path = \"nothing\" }");
            space.build(&["-t", "it:3"]).ok().says(&["passed policy rules"]);
            without_policy(&mut space);
            space
        };
        for (options, texts) in [
            ("deny-source = \"base\"", &["error[rules/source]: `base:1`", "--> Dockerfile:1", "^^^^"][..]),
            ("deny-found = \"base\"", &["error[rules/source]: `base:1` turned out", "--> Dockerfile:1"]),
            ("deny-name = \"COPY\"", &["error[rules/graph]", "is not to be done", "--> Dockerfile:2"]),
            ("deny-path = \"other\"", &["error[rules/layer]: `/other`", "--> Dockerfile:2", "COPY file"]),
            // Of the base, which this build does not make.
            ("deny-path = \"file\"", &["error[rules/layer]: `/file`"]),
            ("deny-content = \"one\"", &["error[rules/layer]: `/other` holds", "`/file` holds"]),
            ("deny-user = \"5\"", &["error[rules/image]: `5`"]),
            ("deny-file = \"file\"", &["error[rules/image]: `/file`"]),
            ("deny-kind = \"store\"", &["error[rules/export]: `store`"]),
            ("deny-kind = \"tar\"", &["error[rules/export]: `tar`"]),
        ] {
            denies(&mut base(), options, texts);
        }
    }

    #[test]
    fn a_command_is_denied_where_it_is_written() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN touch /a\nRUN wget -h || touch /b\n");
        denies(&mut space, "deny-arg = \"wget\"", &["error[rules/command]", "--> Dockerfile:3", "RUN wget"]);
    }

    #[test]
    fn an_image_is_used_as_a_policy_rewrites_it() {
        needs_root!();
        let mut space = copying();
        space.build(&["-t", "approved:1"]).ok();
        space.write("file", "two\n").build(&["-t", "other:1"]).ok();
        with_policy(&mut space, "options = { rewrite = \"other:1=approved:1\", unpinned = \"true\" }");
        let text = "FROM other:1\nCOPY Dockerfile /\nCOPY --from=other:1 file /copy\n";
        space.build_text(text, &["-t", "it:1", "-o", "out", "--metadata-file", "meta"]).ok();
        assert_eq!(space.read("out/file"), "one\n");
        assert_eq!(space.read("out/copy"), "one\n");
        // With another base, it is another build.
        without_policy(&mut space);
        space.build(&["-o", "out2"]).ok();
        assert_eq!(space.read("out2/file"), "two\n");
        let inspected = space.kiln(&["image", "inspect", "it:1"]).ok();
        assert!(inspected.text().contains("approved"), "{inspected}");
    }

    #[test]
    fn an_image_is_pinned_to_what_it_is() {
        needs_root!();
        let mut space = copying();
        space.build(&["-t", "base:1"]).ok();
        with_policy(&mut space, "options = { pin = \"true\", unpinned = \"true\" }");
        space.build_text("FROM base:1\nCOPY file /b\n", &["-o", "out"]).ok();
        assert_eq!(space.read("out/file"), "one\n");
    }

    #[test]
    fn rewriting_without_an_end_and_two_ways_at_once_are_errors() {
        needs_root!();
        let mut space = copying();
        space.build(&["-t", "base:1"]).ok();
        space.dockerfile("FROM base:1\n");
        with_policy(&mut space, "options = { restless = \"true\" }");
        space.build(&[]).ends(1).says(&["error[policy-rewrite]", "`base:1` 8 times", "--> Dockerfile:1"]);
        without_policy(&mut space);
        with_policy(&mut space, "options = { rewrite = \"base:1=a:1\" }");
        let other = component("tests/fixtures/scripted-policy");
        let other = format!("other={}", other.display());
        let ran = space.build(&["--policy", &other, "--opt", "other.rewrite=base:1=b:1"]);
        ran.ends(1).says(&["error[policy-conflict]", "`rules` and `other`", "`a:1`", "`b:1`"]);
    }

    #[test]
    fn a_step_whose_network_is_taken_sees_none() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nRUN ls /sys/class/net > /interfaces; cat /proc/net/route > /routes\n";
        with_policy(&mut space, "options = { network = \"none\" }");
        space.build_text(text, &["-o", "out"]).ok();
        assert_eq!(space.read("out/interfaces").split_whitespace().collect::<Vec<_>>(), ["lo"]);
        assert_eq!(space.read("out/routes").lines().count().min(1), space.read("out/routes").lines().count());
        // It is another step than the one with the usual network.
        without_policy(&mut space);
        let ran = space.build(&["-o", "out2"]).ok();
        assert!(!ran.stderr.contains("CACHED [2/2]"), "{ran}");
    }

    #[test]
    fn a_step_that_takes_too_long_is_stopped_with_the_name_of_the_policy() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        with_policy(&mut space, "options = { seconds = \"1\" }");
        let ran = space.build_text("FROM busybox\nRUN echo begun; sleep 300\n", &["-t", "it:1"]);
        ran.ends(1).says(&["was stopped after 1 s", "policy `rules`", "--> Dockerfile:2", "begun"]);
    }

    #[test]
    fn a_step_that_wants_more_memory_than_it_may_have_does_not_get_it() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=100M count=1\n";
        space.build_text(text, &["-o", "out"]).ok();
        with_policy(&mut space, "options = { memory = \"32\" }");
        space.build_text(text, &["--no-cache", "-o", "out"]).ends(1).says(&["out of memory"]);
        let text = "FROM busybox\nRUN --security=insecure touch /x\n";
        let ran = space.build_text(text, &["--allow", "security.insecure"]);
        ran.ends(1).says(&["error[memory-limit]", "policy `rules`", "--> Dockerfile:2"]);
    }

    #[test]
    fn what_was_built_before_a_rule_came_is_judged_by_it() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN touch /tmp/x\nUSER 7\n");
        space.build(&["-t", "it:1"]).ok();
        space.build(&["-t", "it:1"]).ok().says(&["nothing to do"]);
        for (options, text) in [
            ("deny-source = \"busybox\"", "rules/source"),
            ("deny-name = \"RUN\"", "rules/graph"),
            ("deny-arg = \"touch\"", "rules/command"),
            ("deny-path = \"tmp/x\"", "rules/layer"),
            ("deny-path = \"bin/busybox\"", "rules/layer"),
            ("deny-user = \"7\"", "rules/image"),
            ("deny-kind = \"store\"", "rules/export"),
        ] {
            with_policy(&mut space, &format!("options = {{ {options} }}"));
            space.build(&["-t", "it:2"]).ends(1).says(&[text]);
            // What was remembered of the first time denies the second.
            space.build(&["-t", "it:2"]).ends(1).says(&[text]);
            without_policy(&mut space);
        }
        assert!(!names(&space).contains(&"it:2".to_owned()));
        // And a build that was let pass is not let pass by other rules.
        with_policy(&mut space, "options = { deny-path = \"nothing\" }");
        space.build(&["-t", "it:2"]).ok().says(&["nothing to do"]);
    }

    #[test]
    fn modes_decide_what_findings_lead_to() {
        needs_root!();
        let mut space = copying();
        let options = "options = { deny-path = \"file\", deny-kind = \"store\", warn = \"look\" }";
        let build = |space: &mut TestSpace, settings: &str| {
            with_policy(space, &format!("{options}\n{settings}"));
            let ran = space.build(&["-t", "it:1"]);
            without_policy(space);
            ran
        };
        build(&mut space, "mode = \"enforce\"").ends(1).says(&["error[rules/layer]", "error[rules/export]"]);
        build(&mut space, "mode = \"warn\"").ok().says(&["warning[rules/layer]", "warning[rules/export]"]);
        build(&mut space, "mode = \"off\"").ok().does_not_say("rules/");
        let ran = build(&mut space, "codes = { layer = \"off\", export = \"warn\" }").ok();
        ran.says(&["warning[rules/export]", "warning[rules/note]: look"]).does_not_say("rules/layer");
        let ran = build(&mut space, "mode = \"off\"\ncodes = { export = \"enforce\" }").ends(1);
        ran.says(&["error[rules/export]"]).does_not_say("rules/layer");
    }

    #[test]
    fn a_policy_on_trial_changes_nothing() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        with_policy(
            &mut space,
            "mode = \"warn\"\noptions = { rewrite = \"busybox=nothing:1\", seconds = \"1\", network = \"none\" }",
        );
        let ran = space.build_text("FROM busybox\nRUN sleep 2\n", &["-t", "it:1"]).ok();
        ran.says(&[
            "warning[rules/would-rewrite]: the policy `rules` would use `nothing:1` in place of `busybox`",
            "warning[rules/would-limit]: the policy `rules` would let this step have no network, 1 s only",
            "--> Dockerfile:1",
            "--> Dockerfile:2",
        ]);
    }

    #[test]
    fn an_exemption_lets_pass_what_it_names_until_it_is_over() {
        needs_root!();
        let mut space = copying();
        let exemption = |scope: &str, expires: &str| {
            format!(
                "options = {{ deny-path = \"file\" }}\n[[exemptions]]\nrule = \"rules/layer\"\nscope = \"{scope}\"\n\
                 owner = \"ops@example.com\"\nreason = \"until the move\"\nexpires = {expires}\n"
            )
        };
        with_policy(&mut space, &exemption("/f*", "2999-12-31"));
        for _ in 0..2 {
            let ran = space.build(&["-t", "it:1", "--metadata-file", "meta"]).ok();
            ran.says(&[
                "`rules/layer` is let pass for `/f*` until 2999-12-31: until the move (ops@example.com)",
                "1 finding exempted",
            ]);
        }
        let metadata: Value = serde_json::from_str(&space.read("meta")).unwrap();
        assert_eq!(metadata["kiln.policy"]["exemptions"][0]["findings"], 1);
        assert_eq!(metadata["kiln.policy"]["exemptions"][0]["owner"], "ops@example.com");
        assert_eq!(metadata["kiln.policy"]["findings"][0]["outcome"], "exempted");
        without_policy(&mut space);
        with_policy(&mut space, &exemption("/f*", "2020-12-31"));
        space.build(&["-t", "it:2"]).ends(1).says(&["rules/layer", "ended on 2020-12-31", "ops@example.com"]);
        without_policy(&mut space);
        with_policy(&mut space, &exemption("/g*", "2999-12-31"));
        space.build(&["-t", "it:2"]).ends(1).says(&["error[rules/layer]"]);
    }

    #[test]
    fn a_policy_that_fails_at_any_point_denies() {
        needs_root!();
        for point in ["source", "graph", "exec", "layer", "image", "export"] {
            let mut space = TestSpace::with_bases(&["busybox"]);
            space.dockerfile("FROM busybox\nRUN touch /x\n");
            with_policy(&mut space, &format!("options = {{ trap = \"{point}\" }}"));
            let ran = space.build(&["-t", "it:1"]).ends(1);
            ran.says(&["error[rules/undecided]", "the policy `rules` could not decide", "failed in check-"]);
            assert_eq!(names(&space).iter().filter(|name| **name == "it:1").count(), 0);
            without_policy(&mut space);
            with_policy(&mut space, &format!("mode = \"warn\"\noptions = {{ trap = \"{point}\" }}"));
            space.build(&["-t", "it:1"]).ok().says(&["warning[rules/undecided]"]);
        }
    }

    #[test]
    fn a_repository_adds_rules_and_takes_none_away() {
        needs_root!();
        let mut space = copying();
        let plugin = component("tests/fixtures/scripted-policy");
        fs::copy(&plugin, space.context().join("rules.wasm")).unwrap();
        let project = |settings: &str| format!("[plugins.rules]\nsource = \"rules.wasm\"\n{settings}");
        space.write("kiln.toml", project("options = { deny-path = \"file\" }"));
        space.build(&["-t", "it:1"]).ends(1).says(&["error[rules/layer]"]);
        with_policy(&mut space, "options = { deny-path = \"file\" }");
        for settings in
            ["mode = \"off\"", "mode = \"warn\"", "codes = { layer = \"off\" }", "options = { warn = \"x\" }"]
        {
            space.write("kiln.toml", project(settings));
            space.build(&["-t", "it:1"]).ends(1).says(&["kiln.toml", "rules"]);
        }
        space.write("kiln.toml", "[[exemptions]]\nrule = \"rules/layer\"\n");
        space.build(&["-t", "it:1"]).ends(1).says(&["a repository exempts itself from no rule"]);
        space.write("kiln.toml", project(""));
        space.build(&["-t", "it:1"]).ends(1).says(&["error[rules/layer]"]);
    }

    #[test]
    fn verdicts_are_written_down() {
        needs_root!();
        let mut space = copying();
        with_policy(&mut space, "codes = { layer = \"warn\" }\noptions = { deny-path = \"file\" }");
        space
            .build(&["-t", "it:1", "--metadata-file", "meta"])
            .ok()
            .says(&["passed policy rules, 1 warning"]);
        let metadata: Value = serde_json::from_str(&space.read("meta")).unwrap();
        let policy = &metadata["kiln.policy"];
        assert_eq!(policy["policies"][0]["name"], "rules");
        assert!(policy["policies"][0]["digest"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(policy["policies"][0]["mode"], "enforce");
        assert_eq!(policy["policies"][0]["codes"]["layer"], "warn");
        assert_eq!(policy["policies"][0]["origin"], "site");
        let finding = &policy["findings"][0];
        assert_eq!(finding["code"], "rules/layer");
        assert_eq!(finding["severity"], "warning");
        assert_eq!(finding["point"], "layer");
        assert_eq!(finding["place"], "Dockerfile:2:1");
    }

    #[test]
    fn a_build_is_judged_without_being_made() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN touch /x\n");
        let context = space.context().display().to_string();
        let check = |space: &TestSpace| space.kiln(&["policy", "check", "--progress", "plain", &context]);
        check(&space).ok().says(&["there is no policy"]);
        with_policy(&mut space, "options = { deny-arg = \"nothing\" }");
        check(&space).ok().says(&["passed policy rules"]);
        without_policy(&mut space);
        with_policy(&mut space, "options = { deny-arg = \"touch\" }");
        check(&space).ends(1).says(&["error[rules/command]", "--> Dockerfile:2"]);
        assert!(names(&space).is_empty());
    }

    #[test]
    fn an_imported_image_is_judged() {
        needs_root!();
        let mut space = copying();
        with_policy(&mut space, "options = { deny-path = \"file\" }");
        let context = space.context().display().to_string();
        space.kiln(&["image", "import", &context, "it:1"]).ends(1).says(&["error[rules/layer]: `/file`"]);
        assert!(names(&space).is_empty());
    }

    #[test]
    fn what_is_saved_or_named_is_judged_where_it_goes() {
        needs_root!();
        let mut space = copying();
        space.build(&["-t", "it:1"]).ok();
        let digest = space.kiln(&["image", "ls", "--format", "json"]).ok().json()[0]["digest"].clone();
        let digest = digest.as_str().expect("a digest").to_owned();
        let save = |space: &TestSpace, format: &str| {
            space.kiln(&["image", "save", "it:1", "--format", format, "-o", "saved.tar"])
        };
        for (format, kind) in [("oci", "oci"), ("docker", "docker")] {
            with_policy(&mut space, &format!("options = {{ deny-kind = \"{kind}\" }}"));
            save(&space, format).ends(1).says(&[&format!("error[rules/export]: `{kind}`")]);
            assert!(!space.path("saved.tar").exists());
            without_policy(&mut space);
        }
        with_policy(&mut space, "options = { deny-kind = \"store\", deny-user = \"nobody\" }");
        space.kiln(&["image", "tag", "it:1", "other:1"]).ends(1).says(&["error[rules/export]: `store`"]);
        assert!(!names(&space).contains(&"other:1".to_owned()));
        save(&space, "oci").ok();
        without_policy(&mut space);
        // What it is told is the image as it was written.
        let told = format!(
            "options = {{ deny-exported = \"docker.io/library/other:1 {digest} 1 COPY file /file\" }}"
        );
        with_policy(&mut space, &told);
        space.kiln(&["image", "tag", "it:1", "other:1"]).ends(1).says(&["error[rules/export]", &digest]);
        space.kiln(&["image", "tag", "it:1", "another:1"]).ok();
        without_policy(&mut space);
        // Warnings are shown, exemptions hold, and a policy that gives no verdict denies.
        with_policy(&mut space, "mode = \"warn\"\noptions = { deny-kind = \"store\" }");
        space.kiln(&["image", "tag", "it:1", "warned:1"]).ok().says(&["warning[rules/export]"]);
        without_policy(&mut space);
        with_policy(
            &mut space,
            "options = { deny-kind = \"store\" }\n[[exemptions]]\nrule = \"rules/export\"\nscope = \"exempt:*\"\n\
             owner = \"o\"\nreason = \"r\"\nexpires = 2999-01-01\n",
        );
        space.kiln(&["image", "tag", "it:1", "exempt:1"]).ok().says(&["is let pass for `exempt:*`"]);
        space.kiln(&["image", "tag", "it:1", "other:1"]).ends(1);
        without_policy(&mut space);
        with_policy(&mut space, "options = { trap = \"export\" }");
        space.kiln(&["image", "tag", "it:1", "other:1"]).ends(1).says(&["error[rules/undecided]"]);
        save(&space, "oci").ends(1).says(&["error[rules/undecided]"]);
    }
}

#[test]
fn the_rules_of_a_policy_are_explained() {
    let mut space = TestSpace::new();
    space.kiln(&["policy", "explain"]).ends(2).says(&["no policy is there"]);
    with_policy(
        &mut space,
        "codes = { layer = \"warn\" }\n[[exemptions]]\nrule = \"rules/layer\"\nscope = \"/x\"\nowner = \"o\"\n\
         reason = \"r\"\nexpires = 2020-01-01\n",
    );
    let explained = space.kiln(&["policy", "explain", "rules"]).ok();
    for text in [
        "enforce, by the configuration",
        "source, graph, exec, layer, image, export",
        "warn (for this rule)",
        "https://example.com/rules",
        "2020-01-01 (over)",
    ] {
        assert!(explained.text().contains(text), "no `{text}` in {explained}");
    }
    let one = space.kiln(&["policy", "explain", "rules/graph"]).ok();
    assert!(one.text().contains("graph") && !one.text().contains("2020-01-01"), "{one}");
    without_policy(&mut space);
    with_policy(&mut space, "codes = { layr = \"off\" }");
    space
        .kiln(&["policy", "explain"])
        .ends(1)
        .says(&["`rules` of the configuration has no rule `layr`", "layer"]);
    without_policy(&mut space);
    with_policy(&mut space, "codes = { undecided = \"warn\" }");
    space.kiln(&["policy", "explain", "none"]).ends(1).says(&["there is no policy `none`", "rules"]);
    space.kiln(&["policy", "explain", "rules/none"]).ends(1).says(&["there is no rule `none`", "command"]);
}

#[test]
fn what_is_no_policy_is_none() {
    let space = TestSpace::new();
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    let plugin = component("tests/fixtures/misbehaving");
    let plugin = plugin.to_str().expect("the path is UTF-8");
    space.build(&["--policy", plugin]).ends(1).says(&["`misbehaving` is no policy"]);
}
