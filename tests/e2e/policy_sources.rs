//! Policies on what comes from elsewhere and is no image: downloads, repositories, plugins. Each is asked about before it
//! is contacted, and again when it is known what it is.

mod as_root {
    use std::fs;

    use crate::plugins::component;
    use crate::policies::{with_policy, without_policy};
    use crate::privileges::needs_root;
    use crate::publishing::Shop;
    use crate::server::{Daemon, Files};
    use crate::space::{TestSpace, shell};

    #[test]
    fn a_download_is_judged_before_it_is_contacted_and_when_it_is_there() {
        needs_root!();
        let (mut space, server) = (TestSpace::new(), Files::start());
        server.write("file", "content");
        server.write("other", "from elsewhere");
        let url = server.url("file");
        space.dockerfile(&format!("FROM scratch\nADD {url} /got\n"));
        with_policy(&mut space, &format!("options = {{ deny-source = \"{url}\" }}"));
        let ran = space.build(&["-o", "out"]).ends(1);
        ran.says(&[&format!("error[rules/source]: `{url}` is not to be used"), "Dockerfile:2:5"]);
        assert_eq!(server.answers(), Vec::<String>::new(), "nobody was asked");
        without_policy(&mut space);

        let digest = format!("sha256:{}", &shell("printf content | sha256sum")[..64]);
        with_policy(&mut space, &format!("options = {{ deny-pin = \"{digest}\" }}"));
        space.build(&["-o", "out"]).ends(1).says(&["error[rules/source]", "turned out", "Dockerfile:2:5"]);
        assert_eq!(server.answers(), ["200 /file"]);
        assert!(!space.path("out").exists());
        without_policy(&mut space);

        with_policy(&mut space, &format!("options = {{ rewrite = \"{url}={}\" }}", server.url("other")));
        space.build(&["-o", "out"]).ok();
        assert_eq!(space.read("out/got"), "from elsewhere");
        assert_eq!(server.answers(), ["200 /other"]);
    }

    #[test]
    fn a_repository_is_judged_before_it_is_contacted_and_when_its_commit_is_known() {
        needs_root!();
        let (mut space, daemon) = (TestSpace::new(), Daemon::start());
        let history = "echo NAME > file && git add . && git commit -qm one && git rev-parse HEAD";
        let commit = daemon.repository("theirs", &history.replace("NAME", "theirs"));
        daemon.repository("mirror", &history.replace("NAME", "mirror"));
        let url = daemon.url("theirs");
        space.dockerfile(&format!("FROM scratch\nADD {url} /\n"));
        for (options, says) in [
            (format!("deny-source = \"{url}\""), "is not to be used"),
            (format!("deny-pin = \"{}\"", commit.trim()), "turned out to be what it may not be"),
        ] {
            with_policy(&mut space, &format!("options = {{ {options} }}"));
            space.build(&["-o", "out"]).ends(1).says(&["error[rules/source]", &url, says, "Dockerfile:2:5"]);
            assert!(!space.path("out").exists());
            without_policy(&mut space);
        }
        with_policy(&mut space, &format!("options = {{ rewrite = \"{url}={}\" }}", daemon.url("mirror")));
        space.build(&["-o", "out"]).ok();
        assert_eq!(space.read("out/file"), "mirror\n");
    }

    #[test]
    fn a_submodule_is_a_source_of_its_own() {
        needs_root!();
        let (mut space, daemon) = (TestSpace::new(), Daemon::start());
        let sub = daemon.root.path().join("sub").display().to_string();
        daemon.repository("sub", "echo inner > inner && git add . && git commit -qm sub");
        daemon.repository(
            "whole",
            &format!(
                "git submodule --quiet add --name s '{sub}' sub
                 git config -f .gitmodules submodule.s.url ../sub && git add . && git commit -qm x"
            ),
        );
        space.dockerfile(&format!("FROM scratch\nADD {} /\n", daemon.url("whole")));
        // What was fetched before there was a rule is no way around it.
        space.build(&["-o", "before"]).ok();
        assert_eq!(space.read("before/sub/inner"), "inner\n");
        let url = daemon.url("sub");
        with_policy(&mut space, &format!("options = {{ deny-source = \"{url}\" }}"));
        space.build(&["-o", "out"]).ends(1).says(&["error[rules/source]", &url, "Dockerfile:2:5"]);
        without_policy(&mut space);
        with_policy(&mut space, &format!("options = {{ rewrite = \"{url}={}\" }}", daemon.url("whole")));
        space.build(&["-o", "out"]).ends(1).says(&["submodule", &url]);
        assert!(!space.path("out").exists());
    }

    #[test]
    fn a_plugin_is_judged_by_name_and_by_what_it_turns_out_to_be() {
        needs_root!();
        let mut shop = Shop::open(None);
        let probe = component("tests/fixtures/probe");
        let first = shop.push(&probe, "team/probe:1");
        let bytes = fs::read(&probe).expect("the plugin is there");
        let at = bytes.windows(13).position(|window| window == b"first edition").expect("it says so");
        let mut other = bytes.clone();
        other[at..at + 13].copy_from_slice(b"other edition");
        fs::write(shop.space.path("other.wasm"), other).expect("it is written");
        let second = shop.push(&shop.space.path("other.wasm"), "team/probe:2");
        shop.space.dockerfile("# syntax=probe\n");
        let source = format!("oci://{}", shop.name("team/probe:1"));
        let build = |space: &TestSpace| space.build(&["--plugin", &source, "-o", "out"]);

        with_policy(&mut shop.space, "options = { deny-source = \"team/probe\" }");
        build(&shop.space).ends(1).says(&["error[rules/source]", "team/probe:1` is not to be used"]);
        without_policy(&mut shop.space);
        // The person gave a tag, and the policy is told what it stands for.
        with_policy(&mut shop.space, &format!("options = {{ deny-pin = \"{first}\" }}"));
        build(&shop.space).ends(1).says(&["error[rules/source]", "team/probe:1` turned out"]);
        assert!(!shop.space.path("context/kiln.lock").exists(), "a name means nothing that is denied");
        let listed = shop.space.kiln(&["plugin", "ls"]).ok();
        assert!(!listed.text().contains(&source), "{listed}");
        without_policy(&mut shop.space);
        let rewrite = format!("options = {{ rewrite = \"{0}:1={0}:2\" }}", shop.name("team/probe"));
        with_policy(&mut shop.space, &rewrite);
        build(&shop.space).ok();
        assert!(shop.space.read("out/probe").contains("other edition"));
        assert!(shop.space.read("context/kiln.lock").contains(&second));
        without_policy(&mut shop.space);
        with_policy(&mut shop.space, &format!("options = {{ deny-pin = \"{second}\" }}"));
        // What the lock file says is what it turns out to be.
        build(&shop.space).ok();
        assert!(shop.space.read("context/kiln.lock").contains(&first));
    }

    #[test]
    fn a_frontend_that_only_the_build_file_names_brings_its_own_rules() {
        needs_root!();
        let mut shop = Shop::open(None);
        let manifest = shop.push(&component("tests/fixtures/strict-frontend"), "team/strict:1");
        let name = format!("{}@{manifest}", shop.name("team/strict"));
        shop.space.dockerfile(&format!("# syntax={name}\n"));
        let ran = shop.space.build(&["-o", "out", "--metadata-file", "meta"]).ok();
        ran.says(&["fetching plugin oci://", "passed policy strict", "of the build file"]);
        assert_eq!(shop.space.read("out/strict"), "as it should be\n");
        let meta: serde_json::Value = serde_json::from_str(&shop.space.read("meta")).unwrap();
        assert_eq!(meta["kiln.policy"]["policies"][0]["origin"], "build-file");
        let forbidden = ["--build-arg", "FORBIDDEN=1", "-o", "out2"];
        shop.space.build(&forbidden).ends(1).says(&["error[strict/forbidden]: `strict` builds nothing"]);
        let context = shop.space.context().display().to_string();
        shop.space
            .kiln(&["policy", "check", "--build-arg", "FORBIDDEN=1", &context])
            .ends(1)
            .says(&["error[strict/forbidden]"]);
        assert!(!shop.space.path("out2").exists());
        // Those of the site stay, and are told who the frontend is.
        with_policy(&mut shop.space, "options = { deny-kind = \"local\" }");
        shop.space.build(&["-o", "out3"]).ends(1).says(&["error[rules/export]"]);
        let ran = shop.space.build(&["-o", "type=tar,dest=out.tar"]).ok();
        ran.says(&["passed policies rules, strict"]);
    }
}
