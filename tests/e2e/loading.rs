//! Which plugins a build has, what they may do, and how they are asked.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::plugins::component;
use crate::privileges::needs_root;
use crate::publishing::Shop;
use crate::space::{Ran, TestSpace};

fn probe() -> String {
    component("tests/fixtures/probe").to_str().expect("the path is UTF-8").to_owned()
}

/// What the probe put into the image.
#[track_caller]
fn told(space: &TestSpace, args: &[&str]) -> (String, Ran) {
    let out = space.path("out");
    let _ = fs::remove_dir_all(&out);
    let mut all = vec!["-o", "out"];
    all.extend(args);
    let ran = space.build(&all).ok();
    let text = fs::read_to_string(out.join("probe")).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    (text, ran)
}

/// Appends to the site's configuration.
fn configure(space: &TestSpace, text: &str) {
    let mut config = fs::read_to_string(&space.config).expect("a configuration");
    config.push_str(text);
    fs::write(&space.config, config).expect("the configuration is written");
}

fn digest(file: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(fs::read(file).expect("the plugin is there"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn a_frontend_of_anybodys_is_asked_by_name() {
    let space = TestSpace::new();
    let plugin = probe();
    let (text, ran) = told(&space, &["--plugin", &plugin, "--frontend", "probe", "--target", "x"]);
    assert!(text.contains("file=\ntarget=x\ngreeting=hello\n"), "{text}");
    ran.says(&["with plugin probe@0.1.0 (sha256:", "of the command line"]);
    let (text, _) = told(&space, &["--plugin", &format!("mine={plugin}"), "--frontend", "mine"]);
    assert!(text.contains("greeting=hello"), "{text}");
    space.build(&["--frontend", "probe"]).ends(1).says(&["no frontend is called `probe`", "`dockerfile`"]);
    space
        .build(&["--plugin", &plugin, "--frontend", "proeb"])
        .ends(1)
        .says(&["no frontend is called `proeb`", "`dockerfile`, `c`, `go`, `java`, `probe`"]);
    space.build(&["--frontend", "instructions"]).ends(1).says(&["no frontend is called `instructions`"]);
}

#[test]
fn options_are_checked_against_what_the_plugin_says() {
    let space = TestSpace::new();
    let plugin = probe();
    let with = |options: &[&str]| {
        let mut args = vec!["--plugin", plugin.as_str(), "--frontend", "probe"];
        for option in options {
            args.extend(["--opt", option]);
        }
        args.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()
    };
    let build = |options: &[&str]| {
        let args = with(options);
        space.build(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let args = with(&["greeting=a b", "probe.loud=1", "count=007", "size=large", "pin=4711"]);
    let (text, _) = told(&space, &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(text.contains("greeting=a b\nloud=true\ncount=7\nsize=large\npin=4711\n"), "{text}");
    for (option, says) in [
        ("greetign=x", "it has no option `greetign`; did you mean `greeting`?"),
        ("probe.colour=x", "it has no option `colour`; there is `greeting`, `loud`"),
        ("loud=yes", "`loud` is true or false, not `yes`"),
        ("probe.count=many", "`count` is a whole number, not `many`"),
        ("size=medium", "`size` is one of `small`, `large`, not `medium`"),
    ] {
        build(&[option]).ends(1).says(&["probe", says]);
    }
    build(&["pin=hunter2"]).ends(1).says(&["`pin`", "`…`"]).does_not_say("hunter2");
    build(&["count=1", "count=2"]).ends(1).says(&["`count` is given twice"]);
    build(&["nobody.count=1"]).ends(1).says(&["there is no plugin `nobody`", "`count`", "`probe`"]);
    build(&["count"]).ends(2).says(&["--opt count"]);
    space
        .build_text("FROM scratch\nCOPY Dockerfile /\n", &["--opt", "x=1"])
        .ends(1)
        .says(&["dockerfile", "it has no option `x`, nor any other"]);
}

#[test]
fn the_sites_configuration_gives_every_build_its_plugins() {
    let space = TestSpace::new();
    let plugin = probe();
    fs::copy(&plugin, space.path("p.wasm")).expect("a copy");
    // Relative to the file.
    configure(
        &space,
        &format!(
            "[plugins.sites]\nsource = \"p.wasm\"\ndigest = \"{}\"\noptions = {{ greeting = \"site\", count = 3 }}\n",
            digest(&plugin)
        ),
    );
    let (text, ran) = told(&space, &["--frontend", "sites", "--opt", "count=4"]);
    assert!(text.contains("greeting=site\ncount=4\n"), "{text}");
    ran.says(&["with plugin sites@0.1.0", "of the configuration"]);
    let listed = space.kiln(&["plugin", "ls"]).ok();
    assert!(listed.text().contains("sites"), "{listed}");
    let another = TestSpace::new();
    configure(
        &another,
        &format!("[plugins.p]\nsource = \"{plugin}\"\ndigest = \"sha256:{}\"\n", "0".repeat(64)),
    );
    another.build(&[]).ends(1).says(&[
        "plugin `p=",
        "of the configuration",
        "sha256:0000",
        &digest(&plugin)[7..],
    ]);
    for (text, says) in [
        ("[plugins.p]\nsauce = \"x\"\n", "unknown field `sauce`"),
        ("[plugins.p]\nmode = \"warn\"\n", "without a `source`"),
        ("[plugins.p]\nsource = \"none.wasm\"\n", "none.wasm"),
        ("[plugins.p]\nsource = \"x\"\nallow = [\"network\"]\n", "`network` cannot be granted"),
    ] {
        let space = TestSpace::new();
        configure(&space, text);
        let ran = space.build(&[]);
        assert!(matches!(ran.status, 1 | 3), "{ran}");
        ran.says(&[says]);
    }
    let policies = TestSpace::new();
    configure(&policies, &format!("[plugins.p]\nsource = \"{plugin}\"\nmode = \"warn\"\n"));
    policies.build(&[]).ends(1).says(&["`p` of the configuration is no policy"]);
}

#[test]
fn a_repository_adds_plugins_and_takes_nothing_over() {
    let space = TestSpace::new();
    let plugin = probe();
    fs::copy(&plugin, space.context().join("p.wasm")).expect("a copy");
    let project = "frontend = \"own\"\ntarget = \"t\"\n[options]\ngreeting = \"repository\"\n\
                   [plugins.own]\nsource = \"p.wasm\"\n";
    space.write("kiln.toml", project);
    let (text, ran) = told(&space, &[]);
    assert!(text.contains("target=t\ngreeting=repository\n"), "{text}");
    ran.says(&["with plugin own@0.1.0", "of kiln.toml"]);
    let (text, _) = told(&space, &["--target", "mine", "--opt", "greeting=mine"]);
    assert!(text.contains("target=mine\ngreeting=mine\n"), "{text}");
    // What the person says of the plugin by name stays.
    let refused = space.build(&["--opt", "own.greeting=mine"]).ends(1);
    refused.says(&["kiln.toml", "`greeting` is set already"]);
    // Nor can it be what the site means by a name.
    configure(
        &space,
        &format!("[plugins.own]\nsource = \"{plugin}\"\noptions = {{ greeting = \"site\" }}\n"),
    );
    space.build(&[]).ends(1).says(&["kiln.toml", "`greeting` is set already"]);
    let project = "[plugins.own]\nsource = \"p.wasm\"\noptions = { greeting = \"repository\" }\n";
    space
        .write("kiln.toml", project)
        .build(&[])
        .ends(1)
        .says(&["`own` of kiln.toml", "by the configuration"]);
    space.write("kiln.toml", "[plugins.own]\nsource = \"p.wasm\"\n");
    let (text, _) = told(&space, &["--frontend", "own"]);
    assert!(text.contains("greeting=site\n"), "{text}");
    let another = component("examples/plugin-instruction");
    fs::copy(another, space.context().join("p.wasm")).expect("a copy");
    space.build(&[]).ends(1).says(&["plugin `own=", "of kiln.toml", "is called `own` already"]);
}

#[test]
fn what_is_wrong_with_kiln_toml_is_shown_where_it_stands() {
    let space = TestSpace::new();
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    for (text, line, says) in [
        (
            "[plugins.p]\nsource = \"p.wasm\"\nallow = [\"solve\"]\n",
            "kiln.toml:3",
            "a repository grants nothing",
        ),
        ("[instructions]\nRUN = \"p\"\n", "kiln.toml:1", "--instruction KEYWORD=NAME"),
        ("target = \"x\"\nfrontent = \"y\"\n", "kiln.toml:2", "unknown field `frontent`"),
        ("[plugins.p]\nsource = \"../p.wasm\"\n", "kiln.toml:2", "has no `..`"),
        ("target = \n", "kiln.toml:1", ""),
    ] {
        space.write("kiln.toml", text).build(&[]).ends(1).says(&["error[project]", line, says]);
    }
    Command::new("mkfifo").arg(space.context().join("pipe.wasm")).status().expect("mkfifo runs");
    let pipe = "[plugins.p]\nsource = \"pipe.wasm\"\n";
    space.write("kiln.toml", pipe).build(&[]).ends(1).says(&["pipe.wasm` is no regular file"]);
    fs::remove_file(space.context().join("pipe.wasm")).expect("a file");
    // It is a file of the context like any other, and says nothing about what a Dockerfile means.
    space.write("kiln.toml", "target = \"b\"\n");
    let text = "FROM scratch AS b\nCOPY kiln.toml /\nFROM scratch\nCOPY Dockerfile /\n";
    space.build_text(text, &["-o", "out"]).ok();
    assert!(space.path("out/kiln.toml").exists());
    let text = "FROM scratch AS b\nCOPY Dockerfile /\n";
    space.build_text(text, &[]).ok().says(&["1 step ran"]);
    space.write("kiln.toml", "target = \"b\"\n# changed\n");
    space.build_text(text, &[]).ok().says(&["every step was found in the cache"]);
}

#[test]
fn a_grant_of_a_part_is_of_no_more() {
    let space = TestSpace::new();
    let plugin = probe();
    space
        .write("app/a.txt", "within\n")
        .write("secret/b.txt", "outside\n")
        .link("app/link", "../secret/b.txt");
    let common = ["--plugin", &plugin, "--frontend", "probe"];
    let asks = ["--opt", "read=app/a.txt", "--opt", "read=secret/b.txt", "--opt", "read=app/link"];
    let whole: Vec<&str> = common.iter().chain(&asks).copied().collect();
    let (text, ran) = told(&space, &whole);
    assert_eq!(text.matches("-> outside").count(), 2, "{text}");
    ran.does_not_say("denied");
    let narrow: Vec<&str> = whole.iter().copied().chain(["--allow", "plugin.context:app/**=probe"]).collect();
    let (text, ran) = told(&space, &narrow);
    assert!(text.contains("-> within") && !text.contains("outside"), "{text}");
    assert!(text.contains("-> denied: `secret/b.txt` was not granted to `probe`"), "{text}");
    ran.says(&[
        "warning[probe/denied]",
        "`context:secret/b.txt`",
        "--allow plugin.context:secret/b.txt=probe",
    ]);
    let both: Vec<&str> = narrow.iter().copied().chain(["--allow", "plugin.context:secret=probe"]).collect();
    let (text, _) = told(&space, &both);
    assert_eq!(text.matches("-> outside").count(), 2, "{text}");
    let image =
        ["--opt", "image=other.example.com/x:1", "--allow", "plugin.resolve:docker.io/library/*=probe"];
    let resolving: Vec<&str> = common.iter().chain(&image).copied().collect();
    let (text, ran) = told(&space, &resolving);
    assert!(text.contains("-> denied: `other.example.com/x:1`"), "{text}");
    ran.says(&["--allow plugin.resolve:other.example.com/x=probe"]);
    for (right, says) in [
        ("plugin.fly=probe", "`fly` cannot be granted"),
        ("plugin.solve", "it names no plugin"),
        ("plugin.solve:network=probe", "files and exec"),
    ] {
        let args: Vec<&str> = common.iter().copied().chain(["--allow", right]).collect();
        space.build(&args).ends(2).says(&[right, says]);
    }
    let args: Vec<&str> = common.iter().copied().chain(["--allow", "plugin.solve=probes"]).collect();
    space.build(&args).ends(1).says(&["there is no plugin `probes`", "`solve`"]);
}

#[test]
fn the_first_lines_of_a_file_choose_its_frontend() {
    let space = TestSpace::new();
    let plugin = probe();
    let common = ["--plugin", plugin.as_str()];
    for text in [
        "# syntax=probe\nFROM x\n",
        "#!/bin/x\n# syntax=probe x\n",
        "// syntax=probe\n",
        "{\"syntax\": \"probe\"}",
    ] {
        space.dockerfile(text);
        let (told, _) = told(&space, &common);
        assert!(told.contains("file=Dockerfile\n"), "{text}: {told}");
    }
    let other = space.context().join("Other").display().to_string();
    space.write("Other", "# syntax=probe\n");
    let (text, _) = told(&space, &["--plugin", &plugin, "-f", &other]);
    assert!(text.contains(&format!("file={other}\n")), "{text}");
    let good = "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY Dockerfile /\n";
    space.build_text(good, &common).ok();
    // The argument counts instead of the line, and the command line instead of both.
    let (text, _) = told(&space, &["--plugin", &plugin, "--build-arg", "BUILDKIT_SYNTAX=probe"]);
    assert!(text.contains("file=Dockerfile\n"), "{text}");
    space.dockerfile("# syntax=probe\nFROM scratch\nCOPY Dockerfile /\n");
    space.build(&["--plugin", &plugin, "--frontend", "dockerfile"]).ok();
    space.build(&["--frontend", "dockerfile"]).ok();
    space.build(&[]).ends(1).says(&["unknown-syntax", "Dockerfile:1", "`probe`", "remove the line"]);
    let account = component("examples/plugin-instruction");
    space.dockerfile("# syntax=account\nFROM scratch\n");
    let account = account.to_str().expect("the path is UTF-8");
    space.build(&["--plugin", account]).ends(1).says(&[
        "`account`",
        "a plugin of another kind",
        "Dockerfile:1",
    ]);
    space.build_text("# syntax=registry.example.com/a:1 b\nFROM scratch\n", &[]).ends(1).says(&[
        "`registry.example.com/a:1`",
        "nobody but the file vouches for",
        "[syntax] allow",
        "@sha256:",
    ]);
    configure(&space, "[syntax]\nallow = [\"127.0.0.1:1/team/*\"]\n");
    // Allowed, and not there.
    space
        .build_text("# syntax=127.0.0.1:1/team/a\nFROM scratch\n", &[])
        .ends(3)
        .says(&["127.0.0.1:1/team/a"]);
    space
        .build_text("# syntax=127.0.0.1:1/other/a\nFROM scratch\n", &[])
        .ends(1)
        .says(&["nobody but the file"]);
}

#[test]
fn a_directory_without_a_build_file_goes_to_the_frontend_that_knows_it() {
    let space = TestSpace::new();
    let plugin = probe();
    let second = format!("second={plugin}");
    space.build(&[]).ends(1).says(&["no-build-file", "`Dockerfile`"]);
    let common = ["--plugin", plugin.as_str()];
    space.build(&common).ends(1).says(&[
        "no-build-file",
        "no frontend knows this directory",
        "`dockerfile`: looked for `Dockerfile`",
        "`probe`: looked for probe.txt",
        "-f",
    ]);
    space.write("probe.maybe", "");
    space
        .build(&common)
        .ends(1)
        .says(&["`probe`: probe.maybe is there; it would build this if asked, with `--frontend probe`"]);
    space.write("probe.txt", "");
    let (text, _) = told(&space, &common);
    assert!(text.contains("file=\n"), "{text}");
    space.build(&["--plugin", &plugin, "--plugin", &second]).ends(1).says(&[
        "several-frontends",
        "`probe` and `second` are equally sure",
        "--frontend probe",
    ]);
    space.build(&["--plugin", &plugin, "--check"]).ends(1).says(&[]);
    // A file that is named is not looked for, and a Dockerfile is what it is with docker.
    space.build(&["--plugin", &plugin, "-f", "nowhere"]).ends(1).says(&["nowhere"]);
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    space.build(&common).ok().does_not_say("probe@");
}

#[test]
fn questions_go_to_the_same_frontend_as_builds() {
    let space = TestSpace::new();
    let plugin = probe();
    space.write("probe.txt", "");
    let checked = space.build(&["--plugin", &plugin, "--check"]);
    assert_eq!(checked.status, 1, "{checked}");
    assert!(checked.text().contains("asked to check \"\""), "{checked}");
    space.build(&["--plugin", &plugin, "--call", "outline"]).ends(1).says(&["it has no targets"]);
    space.dockerfile("# syntax=probe\n");
    let checked = space.build(&["--plugin", &plugin, "--check"]);
    assert!(checked.text().contains("asked to check \"Dockerfile\""), "{checked}");
}

#[test]
fn another_version_of_a_plugin_makes_another_build() {
    let space = TestSpace::new();
    let file = space.path("p.wasm");
    let wasm = fs::read(probe()).expect("the plugin is there");
    fs::write(&file, &wasm).expect("it is written");
    let args = ["--plugin", "p.wasm", "--frontend", "probe", "--metadata-file", "meta.json"];
    let (text, _) = told(&space, &args);
    assert!(text.contains("edition=this is the first edition"), "{text}");
    let (_, ran) = told(&space, &args);
    ran.says(&["every step was found in the cache"]);
    let plugins = |path: &str| {
        let metadata: serde_json::Value = serde_json::from_str(&space.read(path)).expect("JSON");
        let used = metadata["kiln.plugins"].as_array().cloned().unwrap_or_default();
        used.into_iter().find(|plugin| plugin["name"] == "probe").expect("the probe was used")
    };
    let first = plugins("meta.json");
    assert_eq!((&first["origin"], &first["version"]), (&"command-line".into(), &"0.1.0".into()));
    assert_eq!(first["digest"], digest(file.to_str().expect("UTF-8")).as_str());
    // The same code with another word in it.
    let changed = replaced(&wasm, b"this is the first edition", b"this is the later edition");
    fs::write(&file, changed).expect("it is written");
    let (text, _) = told(&space, &args);
    assert!(text.contains("edition=this is the later edition"), "{text}");
    assert_ne!(plugins("meta.json")["digest"], first["digest"]);
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old).expect("the text is in the component");
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn a_built_in_instruction_is_given_away_only_by_the_person() {
    let space = TestSpace::new();
    let plugin = probe();
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    space.build(&["--instruction", "RUN=nobody"]).ends(1).says(&["there is no plugin `nobody`", "`RUN`"]);
    space
        .build(&["--plugin", &plugin, "--instruction", "RUN=probe"])
        .ends(1)
        .says(&["no plugin called `probe` defines `RUN`"]);
    space.build(&["--instruction", "copy=instructions"]).ok();
    space.build(&["--instruction", "RUN"]).ends(2).says(&["--instruction RUN"]);
}

#[test]
fn several_processes_compile_a_plugin_once() {
    let space = TestSpace::new();
    let plugin = probe();
    space.write("probe.txt", "");
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (space, plugin) = (&space, &plugin);
            scope.spawn(move || {
                let out = format!("out{number}");
                space.build(&["--plugin", plugin, "-o", &out]).ok();
            });
        }
    });
    let shelves: Vec<_> = fs::read_dir(space.store.join("plugins")).expect("the cache").collect();
    assert_eq!(shelves.len(), 1);
    let shelf = shelves[0].as_ref().expect("an entry").path();
    let compiled = fs::read_dir(&shelf).expect("the cache");
    let compiled = compiled.filter(|entry| {
        let path = entry.as_ref().expect("an entry").path();
        Path::new(&path).extension().is_some_and(|extension| extension == "cwasm")
    });
    assert!(compiled.count() >= 1);
    // Damage is repaired.
    for entry in fs::read_dir(&shelf).expect("the cache") {
        fs::write(entry.expect("an entry").path(), "garbage").expect("it is written");
    }
    space.build(&["--plugin", &plugin, "-o", "out"]).ok();
}

mod as_root {
    use super::*;

    #[test]
    fn a_build_file_names_a_frontend_of_a_registry_for_which_somebody_vouches() {
        needs_root!();
        let shop = Shop::with(TestSpace::new(), None);
        let manifest = shop.push(Path::new(&probe()), "team/probe:1");
        let name = shop.name("team/probe:1");
        let asking = |reference: &str| {
            shop.space.dockerfile(&format!("# syntax={reference}\n"));
        };
        asking(&name);
        shop.space.build(&[]).ends(1).says(&["unknown-syntax", "Dockerfile:1", &name, "nobody but the file"]);
        assert!(!shop.space.context().join("kiln.lock").exists(), "nothing is remembered of what may not be");
        // A digest says what it is.
        let pinned = format!("{name}@{manifest}");
        asking(&pinned);
        let (text, ran) = told(&shop.space, &[]);
        assert!(text.contains("file=Dockerfile\n"), "{text}");
        ran.says(&["with plugin probe@0.1.0", "of the build file"]);
        // It is one and the same when the person names it too.
        told(&shop.space, &["--plugin", &format!("oci://{pinned}")]);
        // The site allows it, and the lock file remembers what it was.
        asking(&name);
        let before = fs::read_to_string(&shop.space.config).expect("a configuration");
        shop.configure(&format!("[syntax]\nallow = [\"{}\"]\n", shop.name("team")));
        told(&shop.space, &[]);
        assert!(shop.space.read("context/kiln.lock").contains(&manifest));
        fs::write(&shop.space.config, before).expect("the configuration is written");
        told(&shop.space, &[]);
        shop.space.build(&["--locked", "-o", "out"]).ok();
    }

    #[test]
    fn a_build_file_that_names_a_frontend_of_buildkit_is_told_what_that_is() {
        needs_root!();
        let shop = Shop::with(TestSpace::new(), None);
        let name = shop.name("team/frontend:1");
        // To a registry, BuildKit's frontends are images like any other.
        let image = "FROM scratch\nCOPY Dockerfile /\n";
        shop.space.build_text(image, &["-t", &name, "-o", "type=registry"]).ok();
        shop.configure(&format!("[syntax]\nallow = [\"{}\"]\n", shop.name("team")));
        let ran = shop.space.build_text(&format!("# syntax={name}\n{image}"), &["-o", "out"]).ends(1);
        ran.says(&[
            "error[unknown-syntax]",
            &format!("`oci://{name}` cannot be used as a plugin: it is a container image"),
            "BuildKit's frontends are such images",
            "Dockerfile:1",
            "if it is an ordinary Dockerfile, remove the line",
        ]);
        assert!(!shop.space.path("out").exists() && !shop.space.context().join("kiln.lock").exists());
        let plugin = format!("oci://{name}");
        shop.space.build(&["--plugin", &plugin]).ends(1).says(&[&plugin, "it is a container image"]);
    }

    #[test]
    fn a_frontend_that_only_the_build_file_names_has_no_instructions() {
        needs_root!();
        let shop = Shop::with(TestSpace::new(), None);
        let manifest = shop.push(&component("tests/fixtures/planning"), "team/planning:1");
        shop.space.dockerfile(&format!("# syntax={}@{manifest}\n", shop.name("team/planning:1")));
        shop.space.build(&[]).ends(1).says(&[
            "unknown-syntax",
            "Dockerfile:1",
            "it wants `solve`",
            "--allow plugin.solve=",
        ]);
    }
}
