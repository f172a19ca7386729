//! Where dynamic linkers look for a library: ld.so(8) for glibc, and the rules of musl.

use kiln_sdk::wit::types::HostError;

use crate::elf::{Elf, Machine};
use crate::files::Files;

/// Whose rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Glibc,
    Musl,
}

impl Kind {
    /// Of a program or library, by its interpreter or by the name of its C library.
    pub(crate) fn of(elf: &Elf) -> Self {
        let interpreter = elf.interpreter.as_deref().unwrap_or_default();
        let is_musl = base_name(interpreter).starts_with("ld-musl-")
            || elf.needed.iter().any(|name| name.starts_with("libc.musl-"));
        if is_musl { Self::Musl } else { Self::Glibc }
    }
}

/// A directory to look in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// As the linker would write it, `..` and links included.
    pub directory: String,
    /// The linker finds it only through `/etc/ld.so.cache`.
    pub by_cache: bool,
}

/// The places that do not depend on who asks.
#[derive(Clone, Debug)]
pub(crate) struct Linker {
    pub kind: Kind,
    machine: Machine,
    common: Vec<Place>,
}

/// What the search knows of an object that asks for a library, from itself up to the program.
pub(crate) struct Asker<'a> {
    pub elf: &'a Elf,
    /// What `$ORIGIN` stands for.
    pub origin: &'a str,
}

impl Linker {
    pub(crate) fn new(
        files: &dyn Files,
        kind: Kind,
        machine: Machine,
        interpreter: &str,
    ) -> Result<Self, HostError> {
        let common = match kind {
            Kind::Glibc => glibc(files, machine)?,
            Kind::Musl => musl(files, interpreter)?,
        };
        Ok(Self { kind, machine, common })
    }

    /// Directories in order, for a library that the first of `askers` needs; the last one is the program.
    pub(crate) fn places(&self, askers: &[Asker<'_>]) -> Vec<Place> {
        let mut places = Vec::new();
        let mut add = |list: &Option<String>, origin: &str| {
            for entry in list.iter().flat_map(|list| list.split(':')) {
                places.extend(
                    self.expanded(entry, origin).map(|directory| Place { directory, by_cache: false }),
                );
            }
        };
        let Some(first) = askers.first() else { return self.common.clone() };
        match self.kind {
            Kind::Glibc => {
                if first.elf.runpath.is_none() {
                    for asker in askers.iter().filter(|asker| asker.elf.runpath.is_none()) {
                        add(&asker.elf.rpath, asker.origin);
                    }
                }
                add(&first.elf.runpath, first.origin);
            }
            Kind::Musl => {
                for asker in askers {
                    let list =
                        if asker.elf.runpath.is_some() { &asker.elf.runpath } else { &asker.elf.rpath };
                    add(list, asker.origin);
                }
            }
        }
        if !first.elf.no_default_directories {
            places.extend(self.common.iter().cloned());
        }
        places
    }

    /// An entry of RPATH or RUNPATH. A relative one depends on where somebody happens to be, and is passed over.
    fn expanded(&self, entry: &str, origin: &str) -> impl Iterator<Item = String> + use<> {
        let replace = |text: &str, name: &str, value: &str| {
            text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
        };
        let entry = replace(entry, "ORIGIN", origin);
        let entry = replace(&entry, "PLATFORM", self.machine.platform());
        let has_lib = entry.contains("$LIB") || entry.contains("${LIB}");
        // What it stands for was chosen when the linker was built: `lib` with the name of the machine on Debian.
        let libs: Vec<String> = match has_lib {
            true => vec![format!("lib/{}", self.machine.multiarch()), "lib64".to_owned(), "lib".to_owned()],
            false => vec![String::new()],
        };
        libs.into_iter().map(move |lib| replace(&entry, "LIB", &lib)).filter(|entry| entry.starts_with('/'))
    }
}

fn glibc(files: &dyn Files, machine: Machine) -> Result<Vec<Place>, HostError> {
    let mut defaults = Vec::new();
    let multiarch = machine.multiarch();
    if !multiarch.is_empty() {
        defaults.extend([format!("/lib/{multiarch}"), format!("/usr/lib/{multiarch}")]);
    }
    if machine.is_64_bit {
        defaults.extend(["/lib64".to_owned(), "/usr/lib64".to_owned()]);
    }
    defaults.extend(["/lib".to_owned(), "/usr/lib".to_owned()]);
    let mut configured = Vec::new();
    configuration(files, "/etc/ld.so.conf", 0, &mut configured)?;
    let by_cache = |directory: &String| !defaults.contains(directory);
    let configured =
        configured.into_iter().map(|directory| Place { by_cache: by_cache(&directory), directory });
    let mut places: Vec<Place> = configured.collect();
    places.extend(defaults.into_iter().map(|directory| Place { directory, by_cache: false }));
    Ok(places)
}

/// Files include one another less deep than this.
const MAX_INCLUDES: u32 = 8;
const MAX_CONFIGURATION_BYTES: u32 = 1 << 20;

/// Directories that a file of the form of `/etc/ld.so.conf` names, in order.
fn configuration(
    files: &dyn Files,
    path: &str,
    depth: u32,
    found: &mut Vec<String>,
) -> Result<(), HostError> {
    if depth > MAX_INCLUDES || files.real_path(path)?.is_none() {
        return Ok(());
    }
    let text = files.read(path, 0, MAX_CONFIGURATION_BYTES)?;
    for line in String::from_utf8_lossy(&text).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("include") => {
                for pattern in words {
                    let pattern = match pattern.starts_with('/') {
                        true => pattern.to_owned(),
                        false => format!("/etc/{pattern}"),
                    };
                    for path in files.matching(&pattern)? {
                        configuration(files, &path, depth + 1, found)?;
                    }
                }
            }
            Some("hwcap") | None => {}
            Some(_) => {
                // `directory=TYPE` is from the days of other C libraries.
                let directory = line.split('=').next().unwrap_or_default().trim_end_matches(['/', ' ']);
                if directory.starts_with('/') && !found.iter().any(|known| known == directory) {
                    found.push(directory.to_owned());
                }
            }
        }
    }
    Ok(())
}

fn musl(files: &dyn Files, interpreter: &str) -> Result<Vec<Place>, HostError> {
    let name = base_name(interpreter).split('.').next().unwrap_or_default();
    let path = format!("/etc/{name}.path");
    let mut directories: Vec<String> = ["/lib", "/usr/local/lib", "/usr/lib"].map(str::to_owned).into();
    if !name.is_empty() && files.real_path(&path)?.is_some() {
        let text = files.read(&path, 0, MAX_CONFIGURATION_BYTES)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        directories = text.split([':', '\n']).filter(|it| it.starts_with('/')).map(str::to_owned).collect();
    }
    Ok(directories.into_iter().map(|directory| Place { directory, by_cache: false }).collect())
}

/// Names that musl itself answers for.
pub(crate) fn is_part_of_musl(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("lib") else { return false };
    let stem = rest.split('.').next().unwrap_or_default();
    rest.contains('.') && ["c", "pthread", "rt", "m", "dl", "util", "xnet"].contains(&stem)
}

pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The directory of an absolute path, `/` for what lies in the root.
pub(crate) fn directory(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// The path without `.`, `..` and double slashes, as if no directory were a link.
pub(crate) fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::read;
    use crate::testing::{Image, Tree};

    fn elf(image: Image) -> Elf {
        read(&Tree::new().file("/x", &image.bytes()), "/x").unwrap()
    }

    fn directories(linker: &Linker, askers: &[(&Elf, &str)]) -> Vec<String> {
        let askers: Vec<_> = askers.iter().map(|(elf, origin)| Asker { elf, origin }).collect();
        linker.places(&askers).into_iter().map(|place| place.directory).collect()
    }

    #[test]
    fn a_runpath_is_the_own_and_an_rpath_that_of_all_who_asked() {
        let linker = Linker { kind: Kind::Glibc, machine: Image::AMD64, common: Vec::new() };
        let program = elf(Image::new(Image::AMD64).rpath("/program:relative:$ORIGIN/../lib"));
        let plain = elf(Image::new(Image::AMD64).rpath("/library"));
        let modern = elf(Image::new(Image::AMD64).rpath("/ignored").runpath("${ORIGIN}/own"));
        assert_eq!(
            directories(&linker, &[(&plain, "/l"), (&program, "/p")]),
            ["/library", "/program", "/p/../lib"]
        );
        assert_eq!(directories(&linker, &[(&modern, "/l"), (&program, "/p")]), ["/l/own"]);
        assert_eq!(directories(&linker, &[(&plain, "/l"), (&modern, "/p")]), ["/library"]);
        let linker = Linker { kind: Kind::Musl, ..linker };
        assert_eq!(directories(&linker, &[(&plain, "/l"), (&modern, "/p")]), ["/library", "/p/own"]);
    }

    #[test]
    fn lib_stands_for_each_of_its_meanings() {
        let linker = Linker { kind: Kind::Glibc, machine: Image::ARM64, common: Vec::new() };
        let program = elf(Image::new(Image::ARM64).runpath("/opt/$LIB/$PLATFORM"));
        assert_eq!(
            directories(&linker, &[(&program, "/")]),
            ["/opt/lib/aarch64-linux-gnu/aarch64", "/opt/lib64/aarch64", "/opt/lib/aarch64"]
        );
    }

    #[test]
    fn configured_directories_come_first_and_are_told_from_the_default_ones() {
        let tree = Tree::new()
            .file("/etc/ld.so.conf", b"include ld.so.conf.d/*.conf\n")
            .file("/etc/ld.so.conf.d/a.conf", b"# mine\n/opt/lib/ # that\nhwcap 1 x\n/lib/x86_64-linux-gnu\n")
            .file("/etc/ld.so.conf.d/b.conf", b"include /etc/ld.so.conf\n/opt/lib\n");
        let linker = Linker::new(&tree, Kind::Glibc, Image::AMD64, "").unwrap();
        let found: Vec<_> = linker.common.iter().map(|it| (it.directory.as_str(), it.by_cache)).collect();
        assert_eq!(
            found[..3],
            [("/opt/lib", true), ("/lib/x86_64-linux-gnu", false), ("/lib/x86_64-linux-gnu", false)]
        );
        assert!(found.contains(&("/usr/lib64", false)));
    }

    #[test]
    fn musl_reads_its_own_list() {
        let tree = Tree::new().file("/etc/ld-musl-x86_64.path", b"/a:/b\n/c\n");
        let linker = Linker::new(&tree, Kind::Musl, Image::AMD64, "/lib/ld-musl-x86_64.so.1").unwrap();
        let found: Vec<_> = linker.common.iter().map(|place| place.directory.as_str()).collect();
        assert_eq!(found, ["/a", "/b", "/c"]);
        assert!(
            is_part_of_musl("libpthread.so.0") && !is_part_of_musl("libz.so.1") && !is_part_of_musl("libc")
        );
    }

    #[test]
    fn paths_are_made_plain() {
        assert_eq!(plain("/a/./b/../../c//d"), "/c/d");
        assert_eq!(plain("/../.."), "/");
        assert_eq!((directory("/a"), directory("/a/b"), base_name("/a/b")), ("/", "/a", "b"));
    }
}
