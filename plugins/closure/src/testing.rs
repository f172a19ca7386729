//! Trees and ELF files in memory.

use std::collections::BTreeMap;

use kiln_sdk::wit::types::HostError;

use crate::elf::Machine;
use crate::files::{Files, Stat};

/// A tree of files and links.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<String, String>,
}

impl Tree {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(mut self, path: &str, bytes: &[u8]) -> Self {
        self.files.insert(path.to_owned(), bytes.to_vec());
        self
    }

    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.links.insert(path.to_owned(), target.to_owned());
        self
    }

    /// Follows links in `path`, in the last part only if `last`.
    fn resolve(&self, path: &str, last: bool) -> Option<String> {
        let mut done = String::new();
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut follows = 0;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    done.truncate(done.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = format!("{done}/{part}");
            match self.links.get(&next) {
                Some(target) if last || !rest.iter().all(String::is_empty) => {
                    follows += 1;
                    if follows > 40 {
                        return None;
                    }
                    if target.starts_with('/') {
                        done.clear();
                    }
                    rest.extend(target.split('/').rev().map(str::to_owned));
                }
                _ => done = next,
            }
        }
        Some(if done.is_empty() { "/".to_owned() } else { done })
    }

    fn is_directory(&self, path: &str) -> bool {
        let below = format!("{}/", path.trim_end_matches('/'));
        self.files.keys().chain(self.links.keys()).any(|known| known.starts_with(&below))
    }
}

/// Whether a path matches a pattern with `*` for what has no slash and `**` for anything.
fn fits(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let (deep, after) = after.strip_prefix('*').map_or((false, after), |after| (true, after));
            let ends = (0..=rest.len()).filter(|at| rest.is_char_boundary(*at));
            ends.take_while(|at| deep || !rest[..*at].contains('/')).any(|at| fits(after, &rest[at..]))
        }),
    }
}

impl Files for Tree {
    fn stat(&self, path: &str) -> Result<Option<Stat>, HostError> {
        let Some(path) = self.resolve(path, false) else { return Ok(None) };
        if let Some(target) = self.links.get(&path) {
            return Ok(Some(Stat::Link(target.clone())));
        }
        if self.files.contains_key(&path) {
            return Ok(Some(Stat::File));
        }
        Ok(self.is_directory(&path).then_some(Stat::Directory))
    }

    fn real_path(&self, path: &str) -> Result<Option<String>, HostError> {
        let found = self.resolve(path, true);
        Ok(found.filter(|path| self.files.contains_key(path) || self.is_directory(path)))
    }

    fn read(&self, path: &str, offset: u32, max: u32) -> Result<Vec<u8>, HostError> {
        let missing = || HostError { code: "not-found".into(), message: path.into() };
        let bytes = self.resolve(path, true).and_then(|path| self.files.get(&path)).ok_or_else(missing)?;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        Ok(rest[..rest.len().min(max as usize)].to_vec())
    }

    fn matching(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        let pattern = format!("/{}", pattern.trim_start_matches('/'));
        let fits = |path: &&String| fits(&pattern, path);
        let mut found: Vec<String> =
            self.files.keys().chain(self.links.keys()).filter(fits).cloned().collect();
        found.sort();
        Ok(found)
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, HostError> {
        let Some(directory) = self.resolve(directory, true) else { return Ok(Vec::new()) };
        let below = format!("{}/", directory.trim_end_matches('/'));
        let known = self.files.keys().chain(self.links.keys());
        let names =
            known.filter_map(|path| path.strip_prefix(&below)).filter_map(|rest| rest.split('/').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// An ELF file: a header, three program headers, the interpreter's path, a dynamic section and its strings.
#[derive(Clone, Debug)]
pub struct Image {
    machine: Machine,
    interpreter: Option<String>,
    needed: Vec<String>,
    runpath: Option<String>,
    rpath: Option<String>,
    words: Vec<String>,
}

impl Image {
    pub const AMD64: Machine = Machine { number: 62, is_64_bit: true, is_big_endian: false };
    pub const ARM64: Machine = Machine { number: 183, is_64_bit: true, is_big_endian: false };
    pub const I386: Machine = Machine { number: 3, is_64_bit: false, is_big_endian: false };
    pub const S390X: Machine = Machine { number: 22, is_64_bit: true, is_big_endian: true };

    pub fn new(machine: Machine) -> Self {
        let (needed, words) = (Vec::new(), Vec::new());
        Self { machine, interpreter: None, needed, runpath: None, rpath: None, words }
    }

    pub fn program(machine: Machine, interpreter: &str) -> Self {
        Self { interpreter: Some(interpreter.to_owned()), ..Self::new(machine) }
    }

    pub fn needs(mut self, names: &[&str]) -> Self {
        self.needed.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    pub fn runpath(mut self, path: &str) -> Self {
        self.runpath = Some(path.to_owned());
        self
    }

    pub fn rpath(mut self, path: &str) -> Self {
        self.rpath = Some(path.to_owned());
        self
    }

    /// Symbols that it uses.
    pub fn uses(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let wide = self.machine.is_64_bit;
        let width = if wide { 8 } else { 4 };
        let mut strings = vec![0_u8];
        let mut keep = |word: &str| {
            let at = strings.len() as u64;
            strings.extend(word.as_bytes());
            strings.push(0);
            at
        };
        let mut entries: Vec<(u64, u64)> = self.needed.iter().map(|name| (1, keep(name))).collect();
        entries.extend(self.rpath.iter().map(|path| (15, keep(path))));
        entries.extend(self.runpath.iter().map(|path| (29, keep(path))));
        for word in &self.words {
            keep(word);
        }
        let interpreter = self.interpreter.as_ref().map(|path| format!("{path}\0").into_bytes());
        let interpreter = interpreter.unwrap_or_default();
        let (header, entry) = if wide { (64_u64, 56_u64) } else { (52, 32) };
        let interpreter_at = header + 3 * entry;
        let dynamic_at = interpreter_at + interpreter.len() as u64;
        let dynamic_length = (entries.len() as u64 + 3) * 2 * width;
        let strings_at = dynamic_at + dynamic_length;
        entries.extend([(5, 0x1000 + strings_at), (10, strings.len() as u64), (0, 0)]);
        let mut out = Vec::new();
        let put = |out: &mut Vec<u8>, number: u64, length: u64| {
            let bytes = number.to_le_bytes();
            let bytes = &bytes[..length as usize];
            match self.machine.is_big_endian {
                true => out.extend(bytes.iter().rev()),
                false => out.extend(bytes),
            }
        };
        out.extend(b"\x7fELF");
        out.extend([if wide { 2 } else { 1 }, if self.machine.is_big_endian { 2 } else { 1 }, 1]);
        out.resize(16, 0);
        put(&mut out, 3, 2);
        put(&mut out, u64::from(self.machine.number), 2);
        put(&mut out, 1, 4);
        put(&mut out, 0, width);
        put(&mut out, header, width);
        put(&mut out, 0, width);
        put(&mut out, 0, 4);
        put(&mut out, header, 2);
        put(&mut out, entry, 2);
        put(&mut out, 3, 2);
        out.resize(header as usize, 0);
        let total = strings_at + strings.len() as u64;
        let kind = |present: bool, kind: u64| if present { kind } else { 0 };
        for (kind, offset, length) in [
            (1, 0, total),
            (kind(!interpreter.is_empty(), 3), interpreter_at, interpreter.len() as u64),
            (kind(self.interpreter.is_some() || entries.len() > 3, 2), dynamic_at, dynamic_length),
        ] {
            put(&mut out, kind, 4);
            if wide {
                put(&mut out, 0, 4);
            }
            for number in [offset, 0x1000 + offset, 0, length, length] {
                put(&mut out, number, width);
            }
            put(&mut out, 0, width);
            if !wide {
                put(&mut out, 0, 4);
            }
        }
        assert_eq!(out.len() as u64, interpreter_at);
        out.extend(interpreter);
        for (tag, value) in entries {
            put(&mut out, tag, width);
            put(&mut out, value, width);
        }
        out.extend(strings);
        out
    }
}
