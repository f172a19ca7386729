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
