//! What every preset keeps, and how the engine asks for it: held against `tests/fixtures/words`, a preset of a few lines.
//! The helpers are those of the tests of the presets that ship with kiln.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::signal;
use crate::space::{Ran, TestSpace, finish, shell};

/// Numbers what is unpacked and started: one test may do so several times.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// The digest of what `kiln build ARGS… CONTEXT` makes.
#[track_caller]
pub(crate) fn digest(space: &TestSpace, args: &[&str]) -> String {
    let context = space.context();
    let context = context.to_str().expect("the context has a name in UTF-8");
    space.kiln(&[&["build", "-q"], args, &[context]].concat()).ok().text().trim().to_owned()
}

/// Builds the context of `space` once more, copied to another directory, at another time, with an empty store; fails
/// unless the image is the same to the byte. Returns its digest.
#[track_caller]
pub(crate) fn same_elsewhere(space: &TestSpace, args: &[&str]) -> String {
    let mut other = TestSpace::new();
    other.config.clone_from(&space.config);
    other.environment.clone_from(&space.environment);
    let context = other.path("some/where/else/entirely");
    shell(&format!(
        "rmdir '{2}' && mkdir -p '{1}' && cp -r '{0}/.' '{1}' && find '{1}' -exec touch -hd 2001-02-03 {{}} + && \
         ln -s '{1}' '{2}'",
        space.context().display(),
        context.display(),
        other.context().display()
    ));
    let here = digest(space, args);
    assert_eq!(digest(&other, args), here, "in another directory, from the same files");
    here
}

/// `image` as a bundle for runc, unpacked by umoci as the image says; `args` take the place of its command.
#[track_caller]
fn bundle(space: &TestSpace, image: &str, args: &[&str]) -> PathBuf {
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let at = space.path(format!("runc-{number}"));
    fs::create_dir(&at).expect("a directory for the bundle");
    let archive = at.join("image.tar");
    let archive = archive.to_str().expect("the directory has a name in UTF-8");
    space.kiln(&["image", "save", image, "-o", archive]).ok();
    shell(&format!(
        "cd '{}' && skopeo copy --quiet 'oci-archive:{archive}' oci:layout:it && umoci unpack --image layout:it bundle 2>&1",
        at.display()
    ));
    let bundle = at.join("bundle");
    let file = bundle.join("config.json");
    let text = fs::read(&file).expect("umoci writes config.json");
    let mut config: Value = serde_json::from_slice(&text).expect("config.json is JSON");
    let user = &config["process"]["user"];
    assert_ne!(user["uid"], json!(0), "the program is to run as somebody else than root");
    config["process"]["terminal"] = json!(false);
    if !args.is_empty() {
        let entrypoint = entrypoint(space, image);
        let all: Vec<Value> = entrypoint.into_iter().chain(args.iter().map(|arg| json!(arg))).collect();
        config["process"]["args"] = json!(all);
    }
    // The machine's network, as `kiln run --network host` has it.
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("there are namespaces");
    namespaces.retain(|namespace| namespace["type"] != "network");
    fs::write(&file, config.to_string()).expect("config.json is written");
    bundle
}

/// The entrypoint of an image in the store.
#[track_caller]
fn entrypoint(space: &TestSpace, image: &str) -> Vec<Value> {
    let inspected = space.kiln(&["image", "inspect", image]).ok().text().to_owned();
    let inspected: Value = serde_json::from_str(&inspected).expect("it is JSON");
    let found = find(&inspected, "Entrypoint").and_then(Value::as_array).cloned();
    found.unwrap_or_default()
}

/// The first member of this name, however deep.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => {
            members.get(name).or_else(|| members.values().find_map(|member| find(member, name)))
        }
        Value::Array(list) => list.iter().find_map(|member| find(member, name)),
        _ => None,
    }
}

/// A command that starts a bundle under runc, and the name of the container.
fn runc(bundle: &std::path::Path) -> (Command, String) {
    let name = format!("kiln-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    let mut command = Command::new("runc");
    command
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(&name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    (command, name)
}

/// Runs `image` under runc, from files that umoci unpacked, as the user of the image, who is not root; `args` take the
/// place of its command.
#[track_caller]
pub(crate) fn under_runc(space: &TestSpace, image: &str, args: &[&str]) -> Ran {
    let (mut command, _) = runc(&bundle(space, image, args));
    finish(command.spawn().expect("runc starts"), format!("runc run {image} {}", args.join(" ")))
}

/// Runs `image` under `kiln run` and under runc; fails unless both end with 0 and print the same. Returns that.
#[track_caller]
pub(crate) fn output(space: &TestSpace, image: &str, args: &[&str]) -> String {
    let ours = space.kiln(&[&["run", image], args].concat()).ok();
    let theirs = under_runc(space, image, args).ok();
    assert_eq!(ours.text(), theirs.text(), "under kiln and under runc\n{ours}\n{theirs}");
    ours.text().to_owned()
}

/// Which program runs an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Kiln,
    Runc,
}

/// A port on the loopback interface that nobody has at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

/// A server out of an image, on the machine's own network. Ends with this value.
pub(crate) struct Service {
    child: Child,
    port: u16,
    container: Option<String>,
}

impl Service {
    /// Starts `image`, with `args` in place of its command, and waits until something listens on `port`.
    #[track_caller]
    pub(crate) fn start(space: &TestSpace, runtime: Runtime, image: &str, args: &[&str], port: u16) -> Self {
        let (mut command, container) = match runtime {
            Runtime::Kiln => (space.command(&[&["run", "--network", "host", image], args].concat()), None),
            Runtime::Runc => {
                let (command, name) = runc(&bundle(space, image, args));
                (command, Some(name))
            }
        };
        // Nobody reads what it says: it must not wait for that.
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("it starts");
        let mut service = Self { child, port, container };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = service.child.try_wait().expect("it can be waited for");
            assert!(ended.is_none(), "{image} under {runtime:?} ended with {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{image} under {runtime:?} listens nowhere");
            std::thread::sleep(Duration::from_millis(20));
        }
        service
    }

    /// The body of what `GET PATH` brings; anything but 200 fails the test.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("the question is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the answer is read");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "{path}: {answer}");
        body.to_owned()
    }

    /// Asks it to end as `docker stop` does; its exit status.
    pub(crate) fn stop(mut self) -> i32 {
        match &self.container {
            Some(container) => drop(shell(&format!("runc kill '{container}' TERM"))),
            None => signal(&self.child, "TERM"),
        }
        let begun = Instant::now();
        loop {
            match self.child.try_wait().expect("it can be waited for") {
                Some(status) => return status.code().unwrap_or(-1),
                None => assert!(begun.elapsed() < Duration::from_secs(20), "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(container) = &self.container {
            let _ = Command::new("runc").args(["delete", "--force", container]).output();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

mod as_root {
    use super::*;
    use crate::plugins::component;
    use crate::privileges::needs_root;

    /// Options with which kiln has the preset of the fixture.
    fn words() -> Vec<String> {
        let plugin = component("tests/fixtures/words");
        let plugin = plugin.to_str().expect("the path is UTF-8").to_owned();
        vec!["--plugin".to_owned(), plugin, "--allow=plugin.solve=words".to_owned()]
    }

    fn with<'a>(options: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
        options.iter().map(String::as_str).chain(more.iter().copied()).collect()
    }

    /// A directory that is the fixture's.
    fn project() -> TestSpace {
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("words.txt", "three small words\n");
        space
    }

    #[test]
    fn a_directory_without_a_build_file_is_built_by_the_preset_that_knows_it() {
        needs_root!();
        let (space, options) = (project(), words());
        space.build(&with(&options, &["-t", "it"])).ok();
        assert_eq!(output(&space, "it", &[]), "three small words\n");
        assert_eq!(output(&space, "it", &["/words.txt", "/words.txt"]), "three small words\n".repeat(2));
    }

    #[test]
    fn the_image_is_the_same_to_the_byte_wherever_it_is_built() {
        needs_root!();
        let (space, options) = (project(), words());
        let first = same_elsewhere(&space, &with(&options, &[]));
        let dated = same_elsewhere(&space, &with(&options, &["--build-arg=SOURCE_DATE_EPOCH=1000000000"]));
        assert_ne!(first, dated, "the time is the one that the user gave");
    }

    /// `kiln plan ARGS… CONTEXT`.
    fn plan(space: &TestSpace, options: &[String], more: &[&str]) -> Ran {
        let context = space.context();
        let context = context.to_str().expect("the context has a name in UTF-8");
        space.kiln(&[&["plan", "--progress", "plain"], &with(options, more)[..], &[context]].concat())
    }

    #[test]
    fn a_plan_says_who_builds_why_how_and_what() {
        needs_root!();
        let (space, options) = (project(), words());
        let told = plan(&space, &options, &[]).ok();
        for line in [
            "because      words.txt found, 1 lines",
            "  3 words, counted by busybox",
            "  the words begin here (words.txt:1)",
            "image linux/",
            "  base       scratch",
            "  user       65532:65532",
            "  entrypoint [\"/bin/busybox\",\"cat\"]",
            "  cmd        [\"/words.txt\"]",
            "  ports      7/tcp",
        ] {
            assert!(told.text().contains(line), "no `{line}`\n{told}");
        }
        let at = |name: &str| told.text().find(name).unwrap_or_else(|| panic!("no `{name}`\n{told}"));
        assert!(
            at("busybox\n") < at("  the program\n") && at("  the program\n") < at("  the words\n"),
            "{told}"
        );
        told.steps().ran("counting words");
        told.does_not_say("the program").does_not_say("words: 3 words");
        assert!(!space.kiln(&["images"]).ok().text().contains("words"), "nothing is built");

        let plan = plan(&space, &options, &["--format", "json", "--opt", "words.user=7:8"]).ok().json();
        assert_eq!(plan["frontend"]["name"], "words");
        assert_eq!(plan["reasons"][0]["code"], "words/count");
        assert_eq!(plan["reasons"][0]["message"], "3 words, counted by busybox");
        assert_eq!(plan["images"][0]["user"], "7:8");
        assert_eq!(plan["images"][0]["cmd"], json!(["/words.txt"]));
        assert_eq!(plan["epoch"], 0);
        let names: Vec<_> =
            plan["steps"].as_array().expect("steps").iter().map(|step| &step["name"]).collect();
        assert!(names.contains(&&json!("the words")), "{names:?}");
    }

    #[test]
    fn a_dockerfile_has_a_plan_too() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile(
            "FROM busybox AS a\nRUN touch /x\nFROM busybox AS unused\nRUN false\nFROM a\nUSER 5\nENV A=b\nEXPOSE 80\n",
        );
        let told = plan(&space, &[], &["--build-arg", "X=1"]).ok();
        for text in
            ["`Dockerfile` found", "RUN touch /x", "  user       5", "  env        A=b", "80/tcp", "busybox"]
        {
            assert!(told.text().contains(text), "no `{text}`\n{told}");
        }
        assert!(!told.text().contains("RUN false"), "what nobody needs is no step\n{told}");
        told.says(&["warning", "X"]);
        let target = plan(&space, &[], &["--target", "unused"]).ok();
        assert!(target.text().contains("RUN false"), "{target}");
        let json = plan(&space, &[], &["--format=json"]).ok().json();
        assert_eq!(json["frontend"]["name"], "dockerfile");
        assert_eq!(json["frontend"]["builtin"], true);
        space.dockerfile("FROM busybox\nRUM x\n");
        plan(&space, &[], &[]).ends(1).says(&["Dockerfile:2", "RUM"]);
        // What bears on steps is said as for a build.
        space.dockerfile("FROM busybox\nRUN true\n");
        plan(&space, &[], &["--add-host=a:127.0.0.1", "--ulimit=nofile=9:9", "--shm-size=1m"]).ok();
    }

    #[test]
    fn a_step_that_fails_while_planning_is_shown_with_its_log() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("tasks", "run echo a-line; exit 4\n");
        let plugin = component("tests/fixtures/planning");
        let plugin = plugin.to_str().expect("the path is UTF-8");
        let context = space.context();
        let context = context.to_str().expect("the context has a name in UTF-8");
        for question in [&["plan"][..], &["plan", "--eject"], &["build", "--call=check"]] {
            let options = [
                "--plugin",
                plugin,
                "--frontend=planning",
                "--allow=plugin.solve=planning",
                "-f",
                "context/tasks",
            ];
            let ran = space.kiln(&[question, &options[..], &[context]].concat());
            match question {
                ["plan"] => drop(ran.ends(1).says(&["------ early run", "a-line", "exit", "4"])),
                ["plan", ..] => drop(ran.ends(1).says(&["`planning` cannot write its plan"])),
                _ => drop(ran.ok()),
            }
        }
    }

    #[test]
    fn an_ejected_dockerfile_builds_what_the_preset_builds() {
        needs_root!();
        let (space, options) = (project(), words());
        plan(&space, &options, &["--eject", "--opt=user=4:5"]).ok().says(&["words: wrote", "/Dockerfile"]);
        assert!(space.read("context/Dockerfile").starts_with("# 3 words, counted by busybox\nFROM"));
        // It is there now, and wins.
        space.build(&with(&options, &["-t", "ejected"])).ok().does_not_say("words:");
        space.build(&with(&options, &["-t", "preset", "--frontend=words", "--opt=user=4:5"])).ok();
        assert_eq!(output(&space, "ejected", &[]), output(&space, "preset", &[]));
        let users = ["ejected", "preset"].map(|image| {
            let text = space.kiln(&["image", "inspect", image]).ok().text().to_owned();
            find(&serde_json::from_str(&text).expect("JSON"), "User").cloned()
        });
        assert_eq!(users, [Some(json!("4:5")), Some(json!("4:5"))]);
    }

    #[test]
    fn ejecting_writes_over_nothing_and_nowhere_else() {
        needs_root!();
        let (space, options) = (project(), words());
        let eject =
            |more: &[&str]| plan(&space, &options, &[&["--eject", "--frontend=words"], more].concat());
        space.write("words.txt", "a b\nwrite deploy/x\n");
        space.dockerfile("mine");
        eject(&[]).ends(2).says(&["/Dockerfile` is there already", "--force"]);
        assert_eq!(space.read("context/Dockerfile"), "mine");
        assert!(!space.context().join("deploy").exists(), "all or nothing");
        assert!(eject(&["-o", "-"]).ok().text().starts_with("==> Dockerfile <==\n# 4 words"));
        eject(&["-o", "elsewhere/new"]).ok();
        assert_eq!(space.read("elsewhere/new/deploy/x"), "deploy/x\n");
        for place in ["context/words.txt", "context/words.txt/below"] {
            eject(&["-o", place]).ends(2).says(&[&format!("`{place}` is no directory")]);
        }
        eject(&["--force"]).ok();
        assert!(space.read("context/Dockerfile").starts_with("# 4 words"));

        space.write("kiln.toml", "frontend = \"words\"\n");
        eject(&["--force"]).ok().says(&["kiln.toml names the frontend `words`"]);
        space.write("words.txt", "a\nwrite nothing\n");
        eject(&[]).ends(1).says(&["`words` has nothing to write"]);
        for path in ["../out", "/tmp/kiln-out", ".git/hooks/post-commit", "a/../../out"] {
            space.write("words.txt", format!("a\nwrite {path}\n"));
            eject(&["-o", "hostile"]).ends(3).says(&["words", path]);
            assert!(!space.path("hostile").exists() && !space.path("out").exists(), "{path}");
        }
        fs::create_dir(space.path("away")).expect("a directory");
        space.link("deploy-link", "../away").write("words.txt", "a\nwrite deploy-link/x\n");
        eject(&["--force"]).ends(2).says(&["deploy-link` is a link"]);
        assert!(!space.path("away/x").exists());

        let context = space.context();
        let context = context.to_str().expect("the context has a name in UTF-8");
        space.kiln(&["plan", "--force", context]).ends(2).says(&["--eject"]);
        fs::remove_file(space.path("context/kiln.toml")).expect("the file goes");
        space.kiln(&["plan", "--eject", context]).ends(1).says(&["`dockerfile` cannot write its plan"]);
    }

    #[test]
    fn a_build_file_wins_and_two_presets_that_are_as_sure_do_not() {
        needs_root!();
        let (space, options) = (project(), words());
        let (plugin, grant) = (&options[1], "--allow=plugin.solve=one,plugin.solve=two");
        let (one, two) = (format!("one={plugin}"), format!("two={plugin}"));
        let both = ["--plugin", &one, "--plugin", &two, grant];
        space.build(&both).ends(1).says(&[
            "several-frontends",
            "`one` and `two` are equally sure",
            "--frontend one",
            "`two`: words.txt found",
        ]);
        space.build(&[&both[..], &["--frontend=two", "-t", "it"]].concat()).ok().says(&["two: 3 words"]);
        space.write("kiln.toml", "frontend = \"one\"\n");
        // All of it is there already, so there are no reasons to be told.
        space.build(&both).ok().says(&["with plugin one@"]).does_not_say("one: 3 words");
        fs::remove_file(space.context().join("kiln.toml")).expect("the file goes");
        for name in ["Dockerfile", "dockerfile", "Containerfile"] {
            space.write(name, "FROM scratch\nLABEL by=file\n");
            space.build(&both).ok().does_not_say("words");
            fs::remove_file(space.context().join(name)).expect("the file goes");
        }
        fs::remove_file(space.context().join("words.txt")).expect("the file goes");
        let ran = space.build(&with(&options, &[])).ends(1).says(&[
            "no-build-file",
            "`dockerfile`: looked for `Dockerfile`, `dockerfile`, `Containerfile`",
            "`words`: looked for `words.txt`",
            "-f",
        ]);
        let at = |text: &str| ran.stderr.find(text);
        assert!(at("`dockerfile`:") < at("`words`:"), "what most people look for comes first\n{ran}");
        plan(&space, &options, &[]).ends(1).says(&["no-build-file", "`words`: looked for"]);
    }

    #[test]
    fn reasons_are_one_line_each_and_not_told_again_when_nothing_is_done() {
        needs_root!();
        let (space, options) = (project(), words());
        let first = space.build(&with(&options, &["-t", "it"])).ok();
        for reason in ["words: 3 words, counted by busybox", "words: the words begin here (words.txt:1)"] {
            assert_eq!(first.stderr.lines().filter(|line| *line == reason).count(), 1, "{first}");
        }
        assert!(
            first.stderr.find("words: 3") < first.stderr.find(" the program\n"),
            "before it is done\n{first}"
        );
        space.build(&with(&options, &["-t", "it"])).ok().does_not_say("words: 3");
        space.write("words.txt", "other words, not the same\n");
        space.build(&with(&options, &["-t", "it"])).ok().says(&["words: 5 words"]);
        let json = space.build(&with(&options, &["--progress=rawjson"])).ok();
        let told =
            json.stderr.lines().filter(|line| line.contains("words/count") && line.contains("\"info\""));
        assert_eq!(told.count(), 1, "{json}");
    }

    #[test]
    fn presets_that_ship_with_kiln_are_listed_and_told_what_they_know() {
        needs_root!();
        let (space, options) = (project(), words());
        let listed = space.kiln(&["plugin", "ls"]).ok();
        for line in ["go ", "java ", "builtin:policy"] {
            assert!(listed.text().contains(line), "no `{line}`\n{listed}");
        }
        for name in ["builtin:go", "go", "java"] {
            let inspected = space.kiln(&["plugin", "inspect", name]).ok();
            for text in ["OPTION", "  builder", "  user", "[65532:65532]"] {
                assert!(inspected.text().contains(text), "no `{text}`\n{inspected}");
            }
        }
        space.kiln(&["plugin", "inspect", "builtin:nothing"]).ends(1).says(&["`nothing`", "kiln plugin ls"]);
        // Said of one by name, whether it is asked or not.
        space.build(&with(&options, &["--opt=go.nonsense=1"])).ends(1).says(&["go", "no option `nonsense`"]);
        space.write("kiln.toml", "frontend = \"go\"\n[options]\nnonsense = 1\n");
        space.build(&[]).ends(1).says(&["kiln.toml", "no option `nonsense`"]);
        fs::remove_file(space.context().join("kiln.toml")).expect("the file goes");
        // One from elsewhere takes the place of the one that ships with kiln.
        let instead = format!("go={}", options[1]);
        let ran = space.build(&["--plugin", &instead, "--allow=plugin.solve=go", "-t", "it"]).ok();
        ran.says(&["go: 3 words", "with plugin go@"]);
        space.build(&["--plugin=builtin:go"]).ends(1).says(&["no-build-file", "`go`: ", "`java`: "]);
    }

    #[test]
    fn what_serves_is_asked_under_both_runtimes() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nRUN mkdir /srv && echo served > /srv/index.html\nUSER 65532\n\
                    ENTRYPOINT [\"/bin/busybox\", \"httpd\", \"-f\", \"-h\", \"/srv\", \"-p\"]\n";
        space.build_text(text, &["-t", "server"]).ok();
        for runtime in [Runtime::Kiln, Runtime::Runc] {
            let port = free_port();
            let address = format!("127.0.0.1:{port}");
            let service = Service::start(&space, runtime, "server", &[&address], port);
            assert_eq!(service.get("/index.html"), "served\n");
            // The first process of a container is not ended by a signal that it does not handle: kiln has one of its own.
            if runtime == Runtime::Kiln {
                assert_eq!(service.stop(), 130);
            }
        }
    }
}
