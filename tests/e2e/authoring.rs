//! Plugins as their authors make them: from the templates, in four languages, with each language's own tools.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::bases::repository;
use crate::space::{Ran, TestSpace};

const KINDS: [&str; 4] = ["frontend", "instruction", "policy", "transform"];

/// The directory with `venv` and `node_modules`, which the projects would get from PyPI and npm each for itself.
fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let output =
            Command::new(repository().join("tests/tools/authoring")).output().expect("the script runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}

/// The command below `## Build` in a project's README.
fn build_command(project: &Path) -> String {
    let readme = fs::read_to_string(project.join("README.md")).expect("a project has a README");
    let (_, build) = readme.split_once("## Build\n\n    ").expect("the README tells how to build");
    build.lines().next().expect("a command").to_owned()
}

/// A component in `NAME/` of the space, built with the command of its README.
#[track_caller]
fn plugin(space: &TestSpace, language: &str, kind: &str, name: &str) -> String {
    let project = space.path(name);
    space.kiln(&["plugin", "new", "--kind", kind, "--lang", language, name]).ok().says(&[]);
    build(&project, language);
    let component = match language {
        "rust" => format!("target/wasm32-unknown-unknown/release/{}.wasm", name.replace('-', "_")),
        _ => format!("{name}.wasm"),
    };
    let component = project.join(component);
    assert!(component.is_file(), "{} was not built", component.display());
    component.to_str().expect("the path is UTF-8").to_owned()
}

#[track_caller]
fn build(project: &Path, language: &str) {
    // Shared between projects: what each would make for itself takes minutes.
    let shared = |from: PathBuf, to: &str| {
        let to = project.join(to);
        if fs::symlink_metadata(&to).is_err() {
            symlink(from, to).expect("a link");
        }
    };
    match language {
        "rust" => {
            let target = repository().join("target/authoring/rust");
            fs::create_dir_all(&target).expect("a directory");
            shared(target, "target");
        }
        "js" => shared(tools().join("node_modules"), "node_modules"),
        _ => shared(tools().join("venv"), ".venv"),
    }
    let kiln = Path::new(env!("CARGO_BIN_EXE_kiln")).parent().expect("a directory").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &build_command(project)])
        .current_dir(project)
        .env("PATH", format!("{kiln}:{path}"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("a shell runs");
    assert!(
        output.status.success(),
        "{}\n{}{}",
        project.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Builds `NAME/example` with a component of that kind, as its README says.
#[track_caller]
fn example(space: &TestSpace, kind: &str, name: &str, component: &str) -> Ran {
    let context = format!("{name}/example");
    let file = format!("{context}/image.txt");
    let mut arguments = vec!["build", "--plugin", component];
    if kind == "frontend" {
        arguments.extend(["--frontend", name, "-f", &file]);
    }
    let output = if kind == "transform" { "type=oci,dest=out,tar=false" } else { "out" };
    arguments.extend(["-o", output, &context]);
    space.kiln(&arguments)
}

#[test]
fn a_directory_with_something_in_it_is_left_alone() {
    let space = TestSpace::new();
    fs::create_dir(space.path("mine")).unwrap();
    fs::write(space.path("mine/notes"), "mine").unwrap();
    let new = ["plugin", "new", "--kind", "policy", "--lang", "c"];
    space.kiln(&[&new[..], &["mine"]].concat()).ends(2).says(&["`mine` is not empty"]);
    assert_eq!(fs::read_dir(space.path("mine")).unwrap().count(), 1);
    space.kiln(&[&new[..], &["mine/notes"]].concat()).ends(2).says(&["`mine/notes` is not a directory"]);
    let bad = space.kiln(&[&new[..], &["--name", "No Name", "other"]].concat());
    bad.ends(2).says(&["`No Name` cannot be the name of a plugin", "lower-case letters"]);
    let sdk = space.kiln(&[&new[..], &["--sdk", ".", "other"]].concat());
    sdk.ends(2).says(&["`--sdk` is for plugins in Rust"]);
    assert!(!space.path("other").exists());
}

#[test]
fn what_cannot_become_a_component_is_told_why() {
    let space = TestSpace::new();
    for (name, bytes, why) in [
        ("text.wasm", &b"(module)"[..], "text form"),
        ("component.wasm", b"\0asm\x0d\0\x01\0", "a component already"),
        ("module.wasm", b"\0asm\x01\0\0\0", "does not say which world"),
        ("broken.wasm", b"\0asm\x01\0\0\0\x01", "broken"),
        ("other", b"hello", "not WebAssembly"),
    ] {
        fs::write(space.path(name), bytes).unwrap();
        space.kiln(&["plugin", "componentize", name, "-o", "out.wasm"]).ends(1).says(&[name, why]);
        assert!(!space.path("out.wasm").exists());
    }
    space.kiln(&["plugin", "componentize", "missing", "-o", "out.wasm"]).ends(2).says(&["missing"]);
}

#[test]
fn a_check_says_why_a_file_is_no_plugin() {
    let space = TestSpace::new();
    fs::write(space.path("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
    space.kiln(&["plugin", "check", "module.wasm"]).ends(1).says(&["module.wasm", "not a component"]);
    space.kiln(&["plugin", "check", "missing.wasm"]).ends(2).says(&["missing.wasm"]);
    space.kiln(&["plugin", "test", "module.wasm", "."]).ends(1).says(&["not a component"]);
}

mod as_root {
    use super::*;
    use crate::privileges::needs_root;

    /// Every kind in one language: it builds, passes its check, and its example builds.
    #[track_caller]
    fn every_kind(language: &str) {
        let space = TestSpace::new();
        for kind in KINDS {
            let name = format!("{language}-{kind}");
            let component = plugin(&space, language, kind, &name);
            let checked = space.kiln(&["plugin", "check", &component]).ok();
            for text in [name.as_str(), kind, "same answer twice", "good"] {
                assert!(checked.text().contains(text), "{checked}");
            }
            let _ = fs::remove_dir_all(space.path("out"));
            let built = example(&space, kind, &name, &component).ok();
            let read = |file: &str| {
                fs::read_to_string(space.path("out").join(file)).unwrap_or_else(|_| panic!("{file}: {built}"))
            };
            match kind {
                "instruction" => {
                    assert_eq!(read("etc/motd"), "welcome to version 1\n");
                    assert_eq!(read("etc/issue"), "this file was written without a shell\n");
                }
                "frontend" => {
                    assert_eq!(read("etc/motd"), "Nothing here was made by a shell.\n");
                    assert_eq!(read("srv/hello.txt"), "Hello from a frontend.\n");
                    assert_eq!(read("srv/pages/index.html"), "<h1>A page</h1>\n");
                }
                "policy" => {
                    assert_eq!(read("app.txt"), "An application.\n");
                    let dockerfile = space.path(format!("{name}/example/Dockerfile"));
                    fs::write(dockerfile, "FROM scratch\nCOPY app.txt /\n").unwrap();
                    let denied = example(&space, kind, &name, &component);
                    denied
                        .ends(1)
                        .says(&[&format!("{name}/missing-label"), "org.opencontainers.image.source"]);
                }
                _ => {
                    let found = crate::space::shell(&format!(
                        "cat '{}'/blobs/sha256/* | grep -ac '\"annotations\":{{.*org.opencontainers.image.title'",
                        space.path("out").display()
                    ));
                    assert_ne!(found.trim(), "0", "{built}");
                }
            }
            let mistake = match kind {
                "instruction" => {
                    let keyword = name.replace('-', "_").to_uppercase();
                    fs::write(space.path("Mistake"), format!("FROM scratch\n{keyword} --to=x a\n")).unwrap();
                    space.kiln(&["build", "--plugin", &component, "-f", "Mistake", "context"])
                }
                "frontend" => {
                    fs::write(space.path("Mistake"), "# fine\nwrite x a\n").unwrap();
                    let arguments =
                        ["build", "--plugin", &component, "--frontend", &name, "-f", "Mistake", "context"];
                    space.kiln(&arguments)
                }
                _ => continue,
            };
            mistake.ends(1).says(&[
                "Mistake:2:",
                &format!("{name}/relative-path"),
                "`x` is not an absolute path",
            ]);
        }
    }

    #[test]
    fn plugins_in_rust_pass_their_check_and_build_their_examples() {
        needs_root!();
        every_kind("rust");
    }

    #[test]
    fn plugins_in_c_pass_their_check_and_build_their_examples() {
        needs_root!();
        every_kind("c");
    }

    #[test]
    fn plugins_in_javascript_pass_their_check_and_build_their_examples() {
        needs_root!();
        every_kind("js");
    }

    #[test]
    fn plugins_in_python_pass_their_check_and_build_their_examples() {
        needs_root!();
        every_kind("python");
    }

    #[test]
    fn what_an_interpreter_throws_is_shown() {
        needs_root!();
        let space = TestSpace::new();
        plugin(&space, "js", "instruction", "thrower");
        let source = space.path("thrower/plugin.js");
        let text = fs::read_to_string(&source).unwrap();
        let broken = text.replace(
            "const text = line",
            "if (stage) throw new Error(\"no luck today\");\n    const text = line",
        );
        assert_ne!(text, broken);
        fs::write(&source, broken).unwrap();
        build(&space.path("thrower"), "js");
        let checked = space.kiln(&["plugin", "check", "thrower/thrower.wasm"]);
        checked.ends(1).says(&["instruction.apply", "no luck today"]);
    }

    #[test]
    fn recorded_calls_are_asked_again_and_compared() {
        needs_root!();
        let space = TestSpace::new();
        let component = plugin(&space, "js", "frontend", "lines");
        let build = |record: &str| {
            let arguments =
                ["build", "--plugin", &component, "--frontend", "lines", "-f", "lines/example/image.txt"];
            space.kiln(&[&arguments[..], &["--record", record, "-o", "out", "lines/example"]].concat()).ok()
        };
        build("fixtures");
        build("again");
        let names = |directory: &str| {
            let entries = fs::read_dir(space.path(directory)).unwrap().flatten();
            let mut names: Vec<_> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names("fixtures"), names("again"), "the same build writes the same names");
        let [fixture] = &names("fixtures")[..] else { panic!("{:?}", names("fixtures")) };
        assert!(fixture.starts_with("lines-frontend.build-"), "{fixture}");
        let fixture = format!("fixtures/{fixture}");
        let text = fs::read_to_string(space.path(&fixture)).unwrap();
        for part in ["contexts.open-build-file", "tree.read-text", "Nothing here was made by a shell."] {
            assert!(text.contains(part), "{part}: {text}");
        }

        // Neither the context nor the build file is there any more.
        fs::remove_dir_all(space.path("lines/example")).unwrap();
        let tested = space.kiln(&["plugin", "test", &component, "fixtures"]).ok();
        assert!(tested.text().contains("1 as recorded, 0 changed"), "{tested}");
        let ran = space.kiln(&["plugin", "run", &component, &fixture]).ok();
        assert_eq!(ran.json().pointer("/ok/targets/0/platform/os").and_then(|os| os.as_str()), Some("linux"));

        // Another answer is shown, and taken over when somebody says so.
        fs::write(space.path(&fixture), text.replace("/etc/motd", "/etc/mote")).unwrap();
        let changed = space.kiln(&["plugin", "test", &component, "fixtures"]).ok();
        assert!(
            changed.text().contains("0 changed"),
            "the build file and the answer changed together: {changed}"
        );
        let other = text.replacen("\"path\": \"/etc/motd\"", "\"path\": \"/etc/else\"", 1);
        assert_ne!(other, text);
        fs::write(space.path(&fixture), &other).unwrap();
        let changed = space.kiln(&["plugin", "test", &component, "fixtures"]);
        let changed = changed.ends(1);
        for line in ["CHANGED", "/etc/else", "/etc/motd"] {
            assert!(changed.text().contains(line), "{changed}");
        }
        space.kiln(&["plugin", "test", "--update", &component, "fixtures"]).ok();
        assert_eq!(fs::read_to_string(space.path(&fixture)).unwrap(), text);

        // A question that nobody answered then has no answer now.
        fs::write(space.path(&fixture), text.replace("tree.read-text", "tree.stat")).unwrap();
        let changed = space.kiln(&["plugin", "test", "--update", &component, "fixtures"]);
        assert!(changed.text().contains("it asked for `tree.read-text`"), "{changed}");

        fs::write(space.path(&fixture), "{}").unwrap();
        space
            .kiln(&["plugin", "test", &component, "fixtures"])
            .ends(2)
            .says(&["no record of a plugin's call"]);
        fs::write(space.path(&fixture), text.replace("kiln:plugin@0.1.0", "kiln:plugin@0.9.0")).unwrap();
        space.kiln(&["plugin", "test", &component, "fixtures"]).ends(2).says(&["kiln:plugin@0.9.0"]);
    }

    /// Blocks marked `sh` are run in one shell, in an empty directory; lines of a block marked `output` or `errors` have
    /// to be among what the block before wrote.
    #[test]
    fn the_tutorial_does_what_it_says() {
        needs_root!();
        let registry = crate::registry::Docker::start(None);
        let space = TestSpace::new();
        let page = fs::read_to_string(repository().join("docs/plugins/tutorial.md")).expect("the tutorial");
        let page = page.replace("127.0.0.1:5000", &format!("127.0.0.1:{}", registry.port()));
        let mut script = String::from("set -eu\n");
        let mut wanted = Vec::new();
        let mut blocks = 0;
        for block in page.split("\n```").skip(1).step_by(2) {
            let (kind, text) = block.split_once('\n').unwrap_or((block, ""));
            match kind {
                "sh" => {
                    blocks += 1;
                    script +=
                        &format!("exec >\"$LOGS/{blocks}.output\" 2>\"$LOGS/{blocks}.errors\"\n{text}\n");
                }
                "output" | "errors" => wanted.push((blocks, kind.to_owned(), text.to_owned())),
                "rust" => {}
                other => panic!("the tutorial has a block marked `{other}`"),
            }
        }
        assert!(blocks > 5 && wanted.len() > 5, "the tutorial has its blocks in another form");
        let logs = space.path("logs");
        let (place, target) = (space.path("tutorial"), repository().join("target/authoring/tutorial"));
        fs::create_dir(&logs).unwrap();
        fs::create_dir(&place).unwrap();
        // Only the time of compiling the SDK is shared with earlier runs.
        script = script.replace("cd greet\n", "cd greet\nmkdir -p \"$SHARED\"\nln -s \"$SHARED\" target\n");
        let kiln = Path::new(env!("CARGO_BIN_EXE_kiln")).parent().expect("a directory").display().to_string();
        let ran = Command::new("bash")
            .args(["-c", &script])
            .current_dir(&place)
            .env("PATH", format!("{kiln}:{}", std::env::var("PATH").unwrap_or_default()))
            .env("CARGO_HOME", cargo_home())
            .env("RUSTUP_HOME", rustup_home())
            .env("HOME", space.path("home"))
            .env("KILN_ROOT", space.path("store"))
            .env("LOGS", &logs)
            .env("SHARED", target)
            .env_remove("KILN_CONFIG")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("XDG_CONFIG_HOME")
            .status()
            .expect("bash runs");
        let log = |block: i32, kind: &str| {
            fs::read_to_string(logs.join(format!("{block}.{kind}"))).unwrap_or_default()
        };
        let last =
            (1..=blocks).rev().find(|block| logs.join(format!("{block}.output")).exists()).unwrap_or(1);
        assert!(ran.success(), "block {last}\n{}{}", log(last, "output"), log(last, "errors"));
        for (block, kind, text) in wanted {
            let wrote = log(block, &kind);
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                assert!(wrote.contains(line), "block {block} did not write `{line}`:\n{wrote}");
            }
        }
    }

    fn cargo_home() -> PathBuf {
        std::env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
    }

    fn rustup_home() -> PathBuf {
        std::env::var_os("RUSTUP_HOME").map_or_else(|| home().join(".rustup"), PathBuf::from)
    }

    fn home() -> PathBuf {
        PathBuf::from(std::env::var_os("HOME").expect("there is a home directory"))
    }
}
