//! Follows what ELF files need from file to file, as a dynamic linker would, and keeps what it finds.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use kiln_sdk::diagnose::quoted;
use kiln_sdk::wit::types::HostError;

use crate::cache;
use crate::elf::{self, Elf, ElfError, Machine};
use crate::files::{Files, Stat};
use crate::guess;
use crate::request::Request;
use crate::search::{Asker, Kind, Linker, base_name, directory, is_part_of_musl, plain};

/// What stands at a path of a closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The file at this real path of the tree.
    File(String),
    /// A link with this target, as it was found.
    Link(String),
    /// A file with these bytes.
    Data(Vec<u8>),
}

/// Something to be told. Whether it ends the build is in [`RULES`](crate::RULES).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: &'static str,
    pub message: String,
    pub help: String,
    /// What would have to be there as well: libraries by SONAME, directories by absolute path.
    pub lacks: Vec<String>,
}

/// Files and everything that they need, by the absolute path where it belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    pub items: BTreeMap<String, Item>,
    pub problems: Vec<Problem>,
}

/// The closure of what `request` names. What is missing is among the problems, all of it.
///
/// # Errors
///
/// The tree cannot be read.
pub fn closure(files: &dyn Files, request: &Request) -> Result<Closure, HostError> {
    let mut walk = Walk {
        files,
        located: RefCell::default(),
        known: BTreeMap::new(),
        objects: BTreeMap::new(),
        closure: Closure::default(),
        by_cache: Vec::new(),
        machine: None,
        foreign: BTreeSet::new(),
    };
    for path in walk.named(&request.files)? {
        walk.program(&path, request)?;
    }
    walk.finish(request)
}

/// Links that are followed for one path.
const MAX_LINKS: usize = 40;

/// Objects of one program; a browser has three hundred.
const MAX_OBJECTS: usize = 2_000;

/// Problems that are told of one program. Somebody who lacks more than that has another one.
const MAX_PROBLEMS: usize = 50;

/// A file that is asked for.
struct Named {
    path: String,
    /// It stands in the request as such, and does not come of a pattern.
    literally: bool,
}

struct Walk<'f> {
    files: &'f dyn Files,
    /// Where paths lead: programs of one project look in the same places for the same names.
    located: RefCell<BTreeMap<String, Option<Located>>>,
    /// What was read, by real path.
    known: BTreeMap<String, Rc<Elf>>,
    /// What is part of the closure, by path.
    objects: BTreeMap<String, Rc<Elf>>,
    closure: Closure,
    /// Libraries by SONAME and path that glibc finds through its cache only.
    by_cache: Vec<(String, String)>,
    /// Of the first file, which all others have to be for.
    machine: Option<(Machine, String)>,
    /// Files for other machines that somebody needs, which has been told.
    foreign: BTreeSet<String>,
}

/// An object as the linker of one program has it.
struct Loaded {
    /// Where it was found, which is what `$ORIGIN` is about.
    origin: String,
    path: String,
    elf: Rc<Elf>,
    /// The one that asked for it first.
    loader: Option<usize>,
}

/// Where a path leads.
#[derive(Clone)]
struct Located {
    /// The file in the tree.
    real: String,
    /// Where it stands in the closure.
    path: String,
    links: Vec<(String, String)>,
}

impl Walk<'_> {
    fn problem(&mut self, code: &'static str, message: String, help: impl Into<String>) {
        self.tell(Problem { code, message, help: help.into(), lacks: Vec::new() });
    }

    fn tell(&mut self, problem: Problem) {
        if !self.closure.problems.contains(&problem) {
            self.closure.problems.push(problem);
        }
    }

    fn named(&mut self, paths: &[String]) -> Result<Vec<Named>, HostError> {
        let mut named = Vec::new();
        for path in paths {
            if !path.contains(['*', '?', '[']) {
                named.push(Named { path: path.clone(), literally: true });
                continue;
            }
            let found = self.files.matching(path)?;
            if found.is_empty() {
                self.problem("closure-file", format!("no file matches `{path}`"), "");
            }
            named.extend(found.into_iter().map(|path| Named { path, literally: false }));
        }
        Ok(named)
    }

    /// Follows the links at the end of `path`; links in directories on the way count as directories.
    fn locate(&self, path: &str) -> Result<Option<Located>, HostError> {
        if let Some(known) = self.located.borrow().get(path) {
            return Ok(known.clone());
        }
        let located = self.follow(path)?;
        self.located.borrow_mut().insert(path.to_owned(), located.clone());
        Ok(located)
    }

    fn follow(&self, path: &str) -> Result<Option<Located>, HostError> {
        let mut raw = path.to_owned();
        let mut placed = plain(path);
        let mut links = Vec::new();
        for _ in 0..MAX_LINKS {
            match self.files.stat(&raw)? {
                Some(Stat::File) => {
                    let Some(real) = self.files.real_path(&raw)? else { return Ok(None) };
                    return Ok(Some(Located { real, path: placed, links }));
                }
                Some(Stat::Link(target)) => {
                    let joined = |at: &str| match target.starts_with('/') {
                        true => target.clone(),
                        false => format!("{}/{target}", directory(at)),
                    };
                    let next = plain(&joined(&placed));
                    raw = joined(&raw);
                    // Once its directory is none that is a link, a link may lead to itself.
                    if next == placed {
                        continue;
                    }
                    links.push((std::mem::replace(&mut placed, next), target));
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn read(&mut self, real: &str) -> Result<Rc<Elf>, ElfError> {
        if let Some(elf) = self.known.get(real) {
            return Ok(Rc::clone(elf));
        }
        let elf = Rc::new(elf::read(self.files, real)?);
        self.known.insert(real.to_owned(), Rc::clone(&elf));
        Ok(elf)
    }

    fn keep(&mut self, located: &Located, elf: &Rc<Elf>) {
        for (path, target) in &located.links {
            self.closure.items.insert(path.clone(), Item::Link(target.clone()));
        }
        self.closure.items.insert(located.path.clone(), Item::File(located.real.clone()));
        self.objects.insert(located.path.clone(), Rc::clone(elf));
    }

    /// One file that is asked for, with everything that it needs.
    fn program(&mut self, named: &Named, request: &Request) -> Result<(), HostError> {
        let path = &named.path;
        let Some(located) = self.locate(path)? else {
            if named.literally {
                let message = match self.files.stat(path)? {
                    Some(Stat::Directory) => format!("`{path}` is a directory"),
                    Some(Stat::Link(target)) => {
                        format!("`{path}` is a link to `{target}`, which is not there")
                    }
                    _ => format!("`{path}` is not there"),
                };
                let help = match message.ends_with("directory") {
                    true => format!("name the files in it: `{}/*`", path.trim_end_matches('/')),
                    false => "paths count from the root of the tree that is looked at".to_owned(),
                };
                self.problem("closure-file", message, help);
            }
            return Ok(());
        };
        if self.foreign.contains(&located.path) {
            return Ok(());
        }
        let elf = match self.read(&located.real) {
            Ok(elf) => elf,
            Err(ElfError::Host(error)) => return Err(error),
            Err(ElfError::NotElf(_)) if !named.literally => return Ok(()),
            Err(error) => {
                self.unusable(path, &error);
                return Ok(());
            }
        };
        if !self.fits(&elf, path) {
            return Ok(());
        }
        self.keep(&located, &elf);
        // The kernel resolves the path of a program, and the linker takes that of a library as it is.
        let origin = if elf.interpreter.is_some() { &located.path } else { path };
        let mut loaded = vec![Loaded {
            origin: plain(directory(origin)),
            path: located.path.clone(),
            elf: Rc::clone(&elf),
            loader: None,
        }];
        let mut names: BTreeMap<String, ()> = BTreeMap::new();
        names.extend(elf.soname.iter().map(|name| (name.clone(), ())));
        if let Some(interpreter) = &elf.interpreter {
            self.interpreter(interpreter, path, &elf, &mut names)?;
        }
        let interpreter = elf.interpreter.clone().unwrap_or_default();
        let linker = Linker::new(self.files, Kind::of(&elf), elf.machine, &interpreter)?;
        let mut queue: VecDeque<(String, usize)> = elf.needed.iter().map(|name| (name.clone(), 0)).collect();
        queue.extend(request.with.iter().map(|name| (name.clone(), 0)));
        while let Some((name, asker)) = queue.pop_front() {
            if names.contains_key(&name) || linker.kind == Kind::Musl && is_part_of_musl(&name) {
                continue;
            }
            if self.closure.problems.len() >= MAX_PROBLEMS {
                self.problem("closure-missing", format!("`{path}` lacks more than these"), "");
                break;
            }
            names.insert(name.clone(), ());
            let Some(found) = self.library(&linker, &name, asker, &loaded)? else { continue };
            if loaded.iter().any(|known| known.path == found.path) {
                continue;
            }
            names.extend(found.elf.soname.iter().map(|name| (name.clone(), ())));
            queue.extend(found.elf.needed.iter().map(|name| (name.clone(), loaded.len())));
            loaded.push(found);
            if loaded.len() > MAX_OBJECTS {
                let message = format!("`{path}` needs more than {MAX_OBJECTS} libraries");
                self.problem("closure-file", message, "");
                break;
            }
        }
        Ok(())
    }

    fn unusable(&mut self, path: &str, error: &ElfError) {
        let (message, help) = match error {
            ElfError::NotElf(head) if head.starts_with(b"#!") => {
                let line = String::from_utf8_lossy(&head[2..]).into_owned();
                let interpreter = line.split_whitespace().next().unwrap_or_default().to_owned();
                (format!("`{path}` is a script"), format!("name what runs it: `{interpreter}`"))
            }
            ElfError::NotElf(_) => (format!("`{path}` is no ELF file"), String::new()),
            ElfError::Malformed(why) => (format!("`{path}` cannot be loaded: {why}"), String::new()),
            ElfError::Host(error) => (format!("`{path}` cannot be read: {}", error.message), String::new()),
        };
        self.problem("closure-file", message, help);
    }

    /// Whether a file is for the machine that the first was for.
    fn fits(&mut self, elf: &Elf, path: &str) -> bool {
        let Some((machine, first)) = &self.machine else {
            self.machine = Some((elf.machine, path.to_owned()));
            return true;
        };
        if *machine == elf.machine {
            return true;
        }
        let message = format!("`{first}` is for {machine}, and `{path}` for {}", elf.machine);
        self.problem(
            "closure-machine",
            message,
            "programs for one machine make one image: build the others apart",
        );
        false
    }

    /// The program's interpreter, which is a library as well.
    fn interpreter(
        &mut self,
        interpreter: &str,
        program: &str,
        elf: &Elf,
        names: &mut BTreeMap<String, ()>,
    ) -> Result<(), HostError> {
        let Some(located) = self.locate(interpreter)? else {
            let message = format!("the interpreter `{interpreter}` of `{program}` is not there");
            let help = "take the file out of the stage that can run it, or install its C library there";
            self.problem("closure-missing", message, help);
            return Ok(());
        };
        match self.read(&located.real) {
            Ok(found) if found.machine == elf.machine => {
                names.insert(base_name(interpreter).to_owned(), ());
                names.extend(found.soname.iter().map(|name| (name.clone(), ())));
                self.keep(&located, &found);
            }
            Ok(found) => {
                let message = format!(
                    "`{program}` is for {}, and its interpreter `{interpreter}` for {}",
                    elf.machine, found.machine
                );
                self.problem("closure-machine", message, "");
            }
            Err(ElfError::Host(error)) => return Err(error),
            Err(error) => self.unusable(interpreter, &error),
        }
        Ok(())
    }

    /// The library that `asker` gets when it asks for `name`.
    fn library(
        &mut self,
        linker: &Linker,
        name: &str,
        asker: usize,
        loaded: &[Loaded],
    ) -> Result<Option<Loaded>, HostError> {
        let mut chain = vec![asker];
        while let Some(loader) = loaded[chain[chain.len() - 1]].loader {
            chain.push(loader);
        }
        let askers: Vec<Asker<'_>> = chain
            .iter()
            .map(|index| Asker { elf: &loaded[*index].elf, origin: &loaded[*index].origin })
            .collect();
        let machine = loaded[asker].elf.machine;
        let places = if name.contains('/') { Vec::new() } else { linker.places(&askers) };
        let mut candidates: Vec<(String, bool)> =
            places.iter().map(|place| (format!("{}/{name}", place.directory), place.by_cache)).collect();
        if name.starts_with('/') {
            candidates.push((name.to_owned(), false));
        }
        let mut foreign = None;
        for (path, by_cache) in candidates {
            let Some(located) = self.locate(&path)? else { continue };
            let elf = match self.read(&located.real) {
                Ok(elf) => elf,
                Err(ElfError::Host(error)) => return Err(error),
                // A linker script or the like: the linker goes on to the next directory.
                Err(_) => continue,
            };
            if elf.machine != machine {
                foreign.get_or_insert((located.path, elf.machine));
                continue;
            }
            self.keep(&located, &elf);
            let path = plain(&path);
            if by_cache {
                self.by_cache.push((name.to_owned(), path.clone()));
            }
            let origin = directory(&path).to_owned();
            return Ok(Some(Loaded { origin, path: located.path, elf, loader: Some(asker) }));
        }
        let who = &loaded[asker].path;
        match foreign {
            Some((path, other)) => {
                let message =
                    format!("`{who}` is for {machine} and needs `{name}`, and `{path}` is for {other}");
                let help = format!("install the library for {machine} as well");
                self.problem("closure-machine", message, help);
                self.foreign.insert(path);
            }
            None => {
                let message =
                    format!("`{who}` needs `{name}`, which is nowhere that the dynamic linker looks");
                let help =
                    self.advice(name, &places.iter().map(|it| it.directory.as_str()).collect::<Vec<_>>())?;
                self.problem("closure-missing", message, help);
            }
        }
        Ok(None)
    }

    /// What to do about a missing library: another version of it may be there.
    fn advice(&self, name: &str, directories: &[&str]) -> Result<String, HostError> {
        let stem = name.split(".so").next().unwrap_or(name);
        let mut places: Vec<String> = directories.iter().map(|directory| plain(directory)).collect();
        let mut seen = Vec::new();
        places.retain(|place| {
            !seen.contains(place) && {
                seen.push(place.clone());
                true
            }
        });
        for place in &places {
            let names = self.files.names(place)?;
            if let Some(near) =
                names.iter().find(|known| known.split(".so").next() == Some(stem) && known.contains(".so"))
            {
                let is = if near == name { "no library that can be loaded" } else { "another one" };
                return Ok(format!("`{place}/{near}` is there, which is {is}"));
            }
        }
        Ok(match places.is_empty() {
            true => "a relative path depends on the directory of whoever starts the program".to_owned(),
            false => format!("looked in {}", quoted(places)),
        })
    }

    fn finish(mut self, request: &Request) -> Result<Closure, HostError> {
        let Some((machine, first)) = self.machine.clone() else { return Ok(self.closure) };
        let runs = match (request.architecture.as_str(), machine.architecture()) {
            ("", _) | (_, "") => true,
            ("amd64", "386") | ("arm64", "arm") => true,
            (wanted, found) => wanted == found,
        };
        if !runs {
            let message = format!("`{first}` is for {machine}, and the image for {}", request.architecture);
            let help = "build the program for the platform of the image, or give the stage that `--platform`";
            self.problem("closure-platform", message, help);
        }
        let is_complete = self.closure.problems.iter().all(|problem| problem.code == "closure-platform");
        if !self.by_cache.is_empty() {
            match cache::write(machine, &self.by_cache) {
                Some(bytes) => {
                    self.closure.items.insert("/etc/ld.so.cache".to_owned(), Item::Data(bytes));
                }
                None => {
                    let (name, path) = &self.by_cache[0];
                    let message = format!(
                        "`{name}` is found at `{path}` through `/etc/ld.so.cache`, whose form is not known for {machine}"
                    );
                    self.problem(
                        "closure-missing",
                        message,
                        "link the program with an rpath to that directory",
                    );
                }
            }
        }
        if is_complete {
            for problem in guess::problems(self.files, &self.objects, &request.with)? {
                self.tell(problem);
            }
        }
        Ok(self.closure)
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
