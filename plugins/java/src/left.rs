//! Looks at what the build left: facts, jars, class files.

use std::collections::{BTreeMap, BTreeSet};

use kiln_preset::Reasons;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::BuildFailure;
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{FileKind, HostError};

use crate::artefact::{Choice, Jar, Kind, Program, is_besides};
use crate::class_file;
use crate::facts::{self, Module};
use crate::layout::{Layout, relative};
use crate::manifest::Manifest;
use crate::options::Options;
use crate::plan::unreadable;
use crate::project::Look;
use crate::zip::{Archive, Bytes, ZipError};

/// Class files of one program that are read at most.
const MAX_CLASSES: u32 = 50_000;

/// What the two steps left, to be looked at.
pub(crate) struct Left<'t> {
    pub(crate) resolved: &'t Tree,
    pub(crate) made: &'t Tree,
    pub(crate) source: &'t Tree,
}

/// A file of a tree.
struct InTree<'t> {
    tree: &'t Tree,
    path: &'t str,
    size: u64,
}

impl Bytes for InTree<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u32, max: u32) -> Result<Vec<u8>, HostError> {
        self.tree.read(self.path, offset, max)
    }
}

/// Does something with a jar of a tree; `None` when it is not there.
fn with_jar<T>(
    tree: &Tree,
    path: &str,
    look: impl FnOnce(&Archive<'_>) -> Result<T, ZipError>,
) -> Result<Option<T>, BuildFailure> {
    let Ok(real) = tree.real_path(path) else { return Ok(None) };
    let size = tree.stat(&real).map_err(|error| unreadable(path, &error))?.size;
    let bytes = InTree { tree, path: &real, size };
    let looked = Archive::open(&bytes).and_then(|archive| look(&archive));
    looked
        .map(Some)
        .map_err(|error| Diagnostic::error("java-jar", format!("`{path}` is no jar: {error}")).into())
}

impl Left<'_> {
    pub(crate) fn is_complete(&self) -> bool {
        self.resolved.stat("complete").is_ok()
    }

    pub(crate) fn modules(&self) -> Result<Vec<Module>, BuildFailure> {
        let text = self.made.read_text("facts").map_err(|error| unreadable("what the build left", &error))?;
        Ok(facts::parse(&text))
    }

    /// Jars of all modules that could be programs.
    fn jars(&self, modules: &[Module]) -> Result<Vec<Jar>, BuildFailure> {
        let mut jars = Vec::new();
        for (module, of) in modules.iter().enumerate() {
            for artefact in of.artefacts.iter().filter(|it| !is_besides(&it.path, &it.classifier)) {
                let found = with_jar(self.source, relative(&artefact.path), |archive| {
                    let manifest = archive.member("META-INF/MANIFEST.MF")?.unwrap_or_default();
                    Ok(Jar {
                        module,
                        path: artefact.path.clone(),
                        is_attached: !artefact.classifier.is_empty(),
                        manifest: Manifest::parse(&manifest),
                        members: archive.members.iter().map(|member| member.name.clone()).collect(),
                    })
                })?;
                jars.extend(found);
            }
        }
        Ok(jars)
    }

    fn quarkus(&self, modules: &[Module]) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (index, module) in modules.iter().enumerate() {
            for directory in ["target", "build"] {
                let path = format!("{}/{directory}/quarkus-app/quarkus-run.jar", module.directory);
                if self.source.stat(relative(&path)).is_ok() {
                    found.push((index, path));
                }
            }
        }
        found
    }

    pub(crate) fn program(&self, modules: &[Module], options: &Options) -> Result<Program, BuildFailure> {
        let jars = self.jars(modules)?;
        let quarkus = self.quarkus(modules);
        let choice = Choice {
            modules,
            jars: &jars,
            quarkus: &quarkus,
            module: options.module.as_deref(),
            main_class: options.main_class.as_deref(),
        };
        if let Some(program) = choice.program()? {
            return Ok(program);
        }
        let mut mains: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (index, module) in modules.iter().enumerate() {
            let directory = relative(&module.directory);
            let within = |rest: &str| match directory {
                "" => rest.to_owned(),
                directory => format!("{directory}/{rest}"),
            };
            let patterns = [within("target/classes/**/*.class"), within("build/classes/*/main/**/*.class")];
            for class in classes(self.source, &patterns)?.into_iter().filter(|class| class.starts) {
                mains.entry(index).or_default().push(class.name);
            }
        }
        choice.by_method(&mains)
    }

    pub(crate) fn layout(
        &self,
        program: &Program,
        modules: &[Module],
        reasons: &mut Reasons,
    ) -> Result<Layout, BuildFailure> {
        let path = relative(&program.path);
        match program.kind {
            Kind::Plain => {
                let jars = self.jars(modules)?;
                let bundled = self.bundled(program, modules, &jars)?;
                if !bundled.is_empty() {
                    let message = format!(
                        "{path} holds {} of its libraries already, so a change of the sources makes the layer with all of them new",
                        bundled.len()
                    );
                    reasons.say("bundled", message);
                }
                let is_resolved = |name: &str| self.resolved.stat(&format!("lib/{name}")).is_ok();
                let is_bundled = |name: &str| bundled.contains(name);
                Ok(Layout::plain(program, modules, &jars, is_resolved, is_bundled))
            }
            Kind::SpringBoot => {
                let index = with_jar(self.source, path, |archive| archive.member("BOOT-INF/layers.idx"))?;
                let index = index.flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let message = match index {
                    Some(_) => "layers are those of `BOOT-INF/layers.idx`",
                    None => {
                        "the jar has no `BOOT-INF/layers.idx`: layers are those that Spring Boot makes by default"
                    }
                };
                reasons.say("layers", message);
                Ok(Layout::spring_boot(program, index.as_deref()))
            }
            Kind::Quarkus => {
                let directory = path.trim_end_matches("quarkus-run.jar");
                let own = self
                    .source
                    .matching(&[&format!("{directory}app/*.jar")])
                    .map_err(|error| unreadable(path, &error))?;
                Ok(Layout::quarkus(program, own))
            }
        }
    }

    /// Names of libraries whose classes the program's jar has in it.
    fn bundled(
        &self,
        program: &Program,
        modules: &[Module],
        jars: &[Jar],
    ) -> Result<BTreeSet<String>, BuildFailure> {
        let members: BTreeSet<&str> = jars
            .iter()
            .filter(|jar| jar.path == program.path)
            .flat_map(|jar| jar.members.iter().map(String::as_str))
            .collect();
        let mut bundled = BTreeSet::new();
        let needs = modules.get(program.module).map(|module| &module.needs[..]).unwrap_or_default();
        for need in needs {
            let facts::Need::Library { name, .. } = need else { continue };
            let path = format!("lib/{name}");
            let tree = if self.resolved.stat(&path).is_ok() { self.resolved } else { self.made };
            let is_class = |name: &&str| name.ends_with(".class") && !name.ends_with("module-info.class");
            let first = with_jar(tree, &path, |archive| {
                let names = archive.members.iter().map(|member| member.name.as_str());
                Ok(names.filter(|name| !name.starts_with("META-INF/")).find(is_class).map(str::to_owned))
            })?;
            if let Some(Some(class)) = first
                && members.contains(class.as_str())
            {
                bundled.insert(name.clone());
            }
        }
        Ok(bundled)
    }
}

/// The class files of a tree that patterns match.
pub(crate) fn classes(tree: &Tree, patterns: &[String]) -> Result<Vec<class_file::Class>, BuildFailure> {
    let failed = |error: HostError| unreadable("a class file", &error);
    let found = tree.glob(patterns, MAX_CLASSES).map_err(failed)?;
    let mut classes = Vec::new();
    for file in found.iter().filter(|file| file.kind == FileKind::Regular) {
        let bytes = tree.read(&file.path, 0, 16 << 20).map_err(failed)?;
        classes.extend(class_file::read(&bytes));
    }
    Ok(classes)
}
