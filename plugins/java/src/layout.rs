//! How the program lies in the image: which files go where, in layers that change for different reasons.

use std::collections::BTreeMap;

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::graph::{CopyAction, FileAction, Output};

use crate::artefact::{Jar, Program};
use crate::facts::{Module, Need};
use crate::steps::{Built, SOURCE};

/// Where the program lies in the image.
pub(crate) const APP: &str = "/app";

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) title: String,
    pub(crate) pieces: Vec<Piece>,
}

/// Where a file lies that goes into the image as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below `lib` of what the step without sources left.
    Resolved,
    /// Below `lib` of what the build left.
    Made,
    /// In the project's directory after the build.
    Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A file, `path` relative to its place. `origin` is where the build tool has it.
    File { place: Place, path: String, to: String, origin: String },
    /// What is in a jar of the project; `path` relative to its directory. Patterns are those of `.dockerignore`.
    Unpacked { path: String, include: Vec<String>, exclude: Vec<String>, to: String },
    /// Files below a directory of the project.
    Directory { path: String, include: Vec<String>, to: String },
}

/// The whole program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) layers: Vec<Layer>,
    /// Arguments of `java` after its flags.
    pub(crate) start: Vec<String>,
    /// Jars of the project that hold code of its own: path and pattern of the classes in it.
    pub(crate) own: Vec<(String, &'static str)>,
    /// Files of libraries that `jdeps` is to look at, apart from those that are layers as they are.
    pub(crate) nested: Vec<Piece>,
}

/// A path in the project's directory, relative to it.
pub(crate) fn relative(path: &str) -> &str {
    path.strip_prefix(SOURCE).unwrap_or(path).trim_start_matches('/')
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn unpacked(path: &str, include: &[&str], exclude: &[&str], to: &str) -> Piece {
    let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    Piece::Unpacked {
        path: relative(path).to_owned(),
        include: owned(include),
        exclude: owned(exclude),
        to: to.to_owned(),
    }
}

impl Layout {
    fn add(&mut self, title: &str, pieces: Vec<Piece>) {
        if !pieces.is_empty() {
            self.layers.push(Layer { title: title.to_owned(), pieces });
        }
    }

    /// A program of classes and libraries. `jars` are those of the project, `is_resolved` says whether the first step has
    /// a library, `is_bundled` whether the program's jar holds it already.
    pub(crate) fn plain(
        program: &Program,
        modules: &[Module],
        jars: &[Jar],
        is_resolved: impl Fn(&str) -> bool,
        is_bundled: impl Fn(&str) -> bool,
    ) -> Self {
        let jar = |path: &str| jars.iter().find(|jar| jar.path == path);
        // Versions of classes for versions of Java are looked for in jars only.
        let is_kept = |path: &str| {
            jar(path).is_some_and(|jar| jar.manifest.get("Multi-Release").is_some_and(|it| it == "true"))
        };
        let kept = |path: &str| Piece::File {
            place: Place::Source,
            path: relative(path).to_owned(),
            to: format!("{APP}/{}", file_name(path)),
            origin: path.to_owned(),
        };
        let mut layout = Self::default();
        let mut class_path = Vec::new();
        let mut own = Vec::new();
        if is_kept(&program.path) {
            class_path.push(format!("{APP}/{}", file_name(&program.path)));
        } else {
            class_path.extend([format!("{APP}/resources"), format!("{APP}/classes")]);
        }
        own.push((relative(&program.path).to_owned(), "**/*.class"));
        let (mut libraries, mut snapshots, mut siblings) = (Vec::new(), Vec::new(), Vec::new());
        let mut used: BTreeMap<String, usize> = BTreeMap::new();
        let needs = modules.get(program.module).map(|module| &module.needs[..]).unwrap_or_default();
        for need in needs {
            match need {
                Need::Library { name, .. } if is_bundled(name) => {}
                Need::Library { name, is_snapshot, path } => {
                    let (directory, pieces) = match is_snapshot {
                        true => ("snapshots", &mut snapshots),
                        false => ("lib", &mut libraries),
                    };
                    let to = format!("{APP}/{directory}/{name}");
                    class_path.push(to.clone());
                    let place = if is_resolved(name) { Place::Resolved } else { Place::Made };
                    pieces.push(Piece::File { place, path: name.clone(), to, origin: path.clone() });
                }
                Need::Sibling(path) if is_kept(path) => {
                    class_path.push(format!("{APP}/{}", file_name(path)));
                    siblings.push(kept(path));
                    own.push((relative(path).to_owned(), "**/*.class"));
                }
                Need::Sibling(path) => {
                    // Modules in different directories may make jars of one name.
                    let name = file_name(path).trim_end_matches(".jar");
                    let number = used.entry(name.to_owned()).or_default();
                    *number += 1;
                    let to = match number {
                        1 => format!("{APP}/modules/{name}"),
                        number => format!("{APP}/modules/{name}.{number}"),
                    };
                    class_path.push(to.clone());
                    siblings.push(unpacked(path, &[], &["META-INF/maven"], &to));
                    own.push((relative(path).to_owned(), "**/*.class"));
                }
            }
        }
        layout.add("dependencies", libraries);
        layout.add("snapshot dependencies", snapshots);
        layout.add("modules", siblings);
        if is_kept(&program.path) {
            layout.add("classes", vec![kept(&program.path)]);
        } else {
            let resources = ["**/*.class", "META-INF/maven"];
            let resources = unpacked(&program.path, &[], &resources, &format!("{APP}/resources"));
            layout.add("resources", vec![resources]);
            layout.add(
                "classes",
                vec![unpacked(&program.path, &["**/*.class"], &[], &format!("{APP}/classes"))],
            );
        }
        layout.start = vec!["-cp".to_owned(), class_path.join(":"), program.main_class.clone()];
        layout.own = own;
        layout
    }

    /// Spring Boot's jar, by its own list of layers (`BOOT-INF/layers.idx`) if it has one.
    pub(crate) fn spring_boot(program: &Program, index: Option<&str>) -> Self {
        let mut layout = Self::default();
        let listed = index.map(layers).unwrap_or_default();
        if listed.is_empty() {
            let snapshot = "BOOT-INF/lib/*-SNAPSHOT.jar";
            layout.add("dependencies", vec![unpacked(&program.path, &["BOOT-INF/lib/*"], &[snapshot], APP)]);
            layout.add("spring-boot-loader", vec![unpacked(&program.path, &["org/**"], &[], APP)]);
            layout.add("snapshot-dependencies", vec![unpacked(&program.path, &[snapshot], &[], APP)]);
            let rest = ["BOOT-INF/lib", "org"];
            layout.add("application", vec![unpacked(&program.path, &[], &rest, APP)]);
        }
        for (title, paths) in listed {
            let patterns: Vec<String> = paths
                .iter()
                .map(|path| match path.strip_suffix('/') {
                    Some(directory) => format!("{}/**", escaped(directory)),
                    None => escaped(path),
                })
                .collect();
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            if !patterns.is_empty() {
                layout.add(&title, vec![unpacked(&program.path, &patterns, &[], APP)]);
            }
        }
        layout.start = vec!["-cp".to_owned(), APP.to_owned(), program.main_class.clone()];
        layout.own = vec![(relative(&program.path).to_owned(), "BOOT-INF/classes/**/*.class")];
        layout.nested = vec![unpacked(&program.path, &["BOOT-INF/lib/*.jar"], &[], "/")];
        layout
    }

    /// Quarkus' directory. `own` are the jars in it that hold the project's classes.
    pub(crate) fn quarkus(program: &Program, own: Vec<String>) -> Self {
        let directory = relative(&program.path).trim_end_matches("/quarkus-run.jar");
        let part = |include: &[&str], to: &str| Piece::Directory {
            path: directory.to_owned(),
            include: include.iter().map(|&pattern| pattern.to_owned()).collect(),
            to: to.to_owned(),
        };
        let mut layout = Self::default();
        layout.add("dependencies", vec![part(&["lib/**"], APP)]);
        layout.add("application", vec![part(&["*", "app/**", "quarkus/**", "!lib"], APP)]);
        layout.start = vec!["-jar".to_owned(), format!("{APP}/quarkus-run.jar")];
        layout.own = own.into_iter().map(|path| (path, "**/*.class")).collect();
        layout.nested = vec![part(&["lib/**/*.jar", "quarkus/*.jar"], "/")];
        layout
    }
}

/// Reads Spring Boot's list of layers: titles, and below each paths that end with `/` for directories.
fn layers(index: &str) -> Vec<(String, Vec<String>)> {
    let mut layers: Vec<(String, Vec<String>)> = Vec::new();
    for line in index.lines() {
        let Some(text) = line.trim_start().strip_prefix("- ") else { continue };
        let name = text.trim().trim_end_matches(':').trim_matches('"').to_owned();
        match (line.starts_with(' '), layers.last_mut()) {
            (true, Some((_, paths))) => paths.push(name),
            (true, None) => {}
            (false, _) => layers.push((name, Vec::new())),
        }
    }
    layers
}

/// A path as a pattern that means just it.
fn escaped(path: &str) -> String {
    let mut pattern = String::new();
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Jars of the project as trees, each unpacked once.
pub(crate) struct Unpacked {
    source: Output,
    known: BTreeMap<String, Output>,
}

impl Unpacked {
    pub(crate) fn new(source: Output) -> Self {
        Self { source, known: BTreeMap::new() }
    }

    pub(crate) fn of(&mut self, graph: &mut GraphBuilder, path: &str) -> Output {
        if let Some(output) = self.known.get(path) {
            return *output;
        }
        let copy = CopyAction::new(self.source, vec![format!("/{path}")], "/");
        let output = graph.copy(None, CopyAction { unpack: "zip".to_owned(), ..copy });
        graph.rename(output, format!("what is in {}", file_name(path)));
        self.known.insert(path.to_owned(), output);
        output
    }

    /// The files of pieces as one layer.
    pub(crate) fn layer(
        &mut self,
        graph: &mut GraphBuilder,
        built: Built,
        title: &str,
        pieces: &[Piece],
    ) -> Output {
        let mut actions = Vec::new();
        for piece in pieces {
            let copy = match piece {
                Piece::File { place, path, to, .. } => {
                    let (input, path) = match place {
                        Place::Resolved => (built.resolved, format!("/lib/{path}")),
                        Place::Made => (built.made, format!("/lib/{path}")),
                        Place::Source => (built.source, format!("/{path}")),
                    };
                    // A mode in octal would be that of missing directories as well.
                    let mode = "u=rw,go=r".to_owned();
                    CopyAction { mode, ..CopyAction::new(input, vec![path], to.as_str()) }
                }
                Piece::Unpacked { path, include, exclude, to } => {
                    let input = self.of(graph, path);
                    CopyAction {
                        contents_only: true,
                        include_patterns: include.clone(),
                        exclude_patterns: exclude.clone(),
                        mode: "u=rwX,go=rX".to_owned(),
                        ..CopyAction::new(input, vec!["/".to_owned()], to.as_str())
                    }
                }
                Piece::Directory { path, include, to } => CopyAction {
                    contents_only: true,
                    include_patterns: include.clone(),
                    mode: "u=rwX,go=rX".to_owned(),
                    ..CopyAction::new(built.source, vec![format!("/{path}")], to.as_str())
                },
            };
            actions.push(FileAction::Copy(copy));
        }
        let output = graph.file(None, actions);
        graph.rename(output, title);
        output
    }
}
