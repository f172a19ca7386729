//! Sets the scene of a case: the files, archives and repositories that its builds find.

use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use crate::builders::{Builder, Place};
use crate::cases::{Build, Case, Section};
use crate::entries::Entry;
use crate::expectations::{Made, differences};
use crate::images::{self, Image};

/// What all cases of a run share.
pub(crate) struct Stage {
    pub(crate) builder: Builder,
    pub(crate) directory: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) bases: Vec<Image>,
    /// `127.0.0.1:PORT` of the server of files and repositories.
    pub(crate) server: String,
}

/// Runs the builds of a case; returns what is not as it should be.
pub(crate) fn play(case: &Case, stage: &Stage) -> Vec<String> {
    let directory = stage.directory.join(&case.name);
    let context = directory.join("context");
    fs::create_dir_all(&context).expect("the directory of a case is made");
    // What a build may find is an expectation where there are several; elsewhere a common store saves pulling.
    let store = if case.builds.len() > 1 { directory.join("store") } else { stage.directory.join("store") };
    let mut args = Vec::new();
    let mut environment = Vec::new();
    let mut source = "context".to_owned();
    let mut before: Option<String> = None;
    let words = Words { stage, case: &case.name };
    for (index, build) in case.builds.iter().enumerate() {
        let mut input = Vec::new();
        for section in &build.sections {
            let section = &words.fill_in(section);
            match section.kind.as_str() {
                "args" => args = section.statements().flat_map(split).collect(),
                "source" => source = section.arguments.join(" "),
                "environment" => {
                    environment =
                        section.statements().filter_map(|line| line.split_once('=')).map(own).collect();
                }
                "stdin" => input = standard_input(section, &context),
                _ => set_up(section, &context),
            }
        }
        let own_output = ["-o", "--output", "--call", "--check", "--print"];
        let writes_image = !args.iter().any(|arg: &String| {
            own_output.iter().any(|option| arg == option || arg.starts_with(&format!("{option}=")))
        });
        let output = format!("image-{index}.tar");
        let place =
            Place { directory: &directory, store: &store, config: &stage.config, environment: &environment };
        let ran = stage.builder.build(&place, &args, &source, &input, writes_image.then_some(&output));
        // A case that names the archive itself has it read too.
        let images = match ran.status == 0 && directory.join(&output).exists() {
            true => match images::read_archive(&directory.join(&output)) {
                Ok(images) => images,
                Err(error) => return vec![format!("the image: {error}\n{ran}")],
            },
            false => Vec::new(),
        };
        let made = Made {
            builder: stage.builder,
            ran: &ran,
            images: &images,
            bases: &stage.bases,
            before: before.as_deref(),
        };
        let mut found = differences(&words.filled(build), &made);
        if !found.is_empty() {
            if case.builds.len() > 1 {
                found.insert(0, format!("build {} of {}:", index + 1, case.builds.len()));
            }
            return found;
        }
        before = images.first().map(|image| image.digest.clone());
    }
    fs::remove_dir_all(&directory).expect("the directory of a case goes");
    Vec::new()
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The words in a case that stand for something else in every run.
struct Words<'a> {
    stage: &'a Stage,
    case: &'a str,
}

impl Words<'_> {
    fn fill_in(&self, section: &Section) -> Section {
        let fill = |text: &String| {
            text.replace("@HTTP@", &format!("http://{}/{}", self.stage.server, self.case))
                .replace("@UNIQUE@", &format!("{}-{}", self.stage.directory.display(), self.case))
        };
        Section {
            kind: section.kind.clone(),
            arguments: section.arguments.iter().map(fill).collect(),
            lines: section.lines.iter().map(fill).collect(),
        }
    }

    fn filled(&self, build: &Build) -> Build {
        Build { sections: build.sections.iter().map(|section| self.fill_in(section)).collect() }
    }
}

fn set_up(section: &Section, context: &Path) {
    let named = || section.arguments.first().unwrap_or_else(|| panic!("`{}` names no file", section.kind));
    match section.kind.as_str() {
        "Dockerfile" => write(&context.join("Dockerfile"), &section.content()),
        "file" => write(&inside(context, named()), &section.content()),
        "context" => {
            let entries = entries(section);
            for entry in &entries {
                entry.make(context).unwrap_or_else(|error| panic!("`{entry}`: {error}"));
            }
            // Making an entry changed the time of its directory.
            for entry in entries.iter().filter(|entry| entry.kind != 'x') {
                entry.set_time(context).unwrap_or_else(|error| panic!("`{entry}`: {error}"));
            }
        }
        "archive" => {
            let packed = compress(&pack(&entries(section)), section.arguments.get(1).map(String::as_str));
            write(&inside(context, named()), &packed);
        }
        "repository" => repository(section, &inside(context, named())),
        _ => {}
    }
}

fn entries(section: &Section) -> Vec<Entry> {
    section.statements().map(Entry::parse).collect()
}

/// `path` relative to the context; it may lead out of it, but not out of the directory of the case.
fn inside(context: &Path, path: &str) -> PathBuf {
    let mut whole = context.to_owned();
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => drop(whole.pop()),
            Component::Normal(name) => whole.push(name),
            _ => {}
        }
    }
    assert!(whole.starts_with(context.parent().expect("a context has a parent")), "`{path}` leads too far");
    whole
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file has a parent")).expect("parents are made");
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn pack(entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        entry.archive(&mut archive).unwrap_or_else(|error| panic!("`{entry}`: {error}"));
    }
    archive.into_inner().expect("memory takes an archive")
}

/// Compresses with the program of that name.
fn compress(bytes: &[u8], program: Option<&str>) -> Vec<u8> {
    let Some(program) = program else { return bytes.to_owned() };
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("`{program}`: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).expect("the program reads"));
        child.wait_with_output().expect("the program writes").stdout
    })
}

/// `stdin`: the lines below; `stdin tar [PROGRAM]`: an archive of the context.
fn standard_input(section: &Section, context: &Path) -> Vec<u8> {
    if section.arguments.first().is_none_or(|argument| argument != "tar") {
        return section.content();
    }
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all("", context).expect("the context is packed");
    let packed = archive.into_inner().expect("memory takes an archive");
    compress(&packed, section.arguments.get(1).map(String::as_str))
}

/// Makes a git repository at `path`. Lines are entries of the work tree and, in between, arguments of git:
/// `git commit -m first`, `git tag v1`.
fn repository(section: &Section, path: &Path) {
    fs::create_dir_all(path).expect("the directory of the repository is made");
    let git = |arguments: &[String]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(path)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", path)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "nobody")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "nobody@example.org")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_DATE"), "1000000000 +0000")))
            .output()
            .unwrap_or_else(|error| panic!("git: {error}"));
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "--quiet", "--initial-branch", "main"].map(str::to_owned));
    for line in section.statements() {
        match line.strip_prefix("git ") {
            Some(arguments) => git(&split(arguments)),
            None => Entry::parse(line).make(path).unwrap_or_else(|error| panic!("`{line}`: {error}")),
        }
        if !line.starts_with("git ") {
            git(&["add", "--all"].map(str::to_owned));
        }
    }
}

/// Words as a shell reads them: blanks separate, single and double quotes group.
fn split(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut quote = None;
    let mut inside = false;
    for char in line.chars() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(char);
                if !inside {
                    words.push(String::new());
                }
                inside = true;
            }
            (None, ' ') => inside = false,
            _ => {
                if !inside {
                    words.push(String::new());
                }
                inside = true;
                words.last_mut().expect("a word was begun").push(char);
            }
        }
    }
    words
}
