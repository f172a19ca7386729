//! Finds the step's program the way a shell would, executes it, and says why if that fails.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

use rustix::fs::{Access, access};

use crate::fault::{Fault, INTERPRETER, SEARCHED, Step};
use crate::spec::Spec;
use crate::sys;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of a file is looked at to say what it is.
const HEAD_BYTES: usize = 4096;

/// Returns only when the program could not be executed.
pub(crate) fn execute(spec: &Spec) -> Fault {
    let Some(program) = spec.argv.first() else {
        return Fault::new(Step::Execute, "", rustix::io::Errno::NOENT);
    };
    let argv = spec.argv.iter().map(|argument| c_string(argument));
    let env = spec.env.iter().map(|(name, value)| {
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        c_string(&variable)
    });
    let (argv, env): (Vec<CString>, Vec<CString>) = match (argv.collect(), env.collect()) {
        (Ok(argv), Ok(env)) => (argv, env),
        (Err(error), _) | (_, Err(error)) => return Fault::new(Step::Execute, program, error),
    };
    if program.as_bytes().contains(&b'/') {
        return match attempt(program, &argv, &env) {
            Attempt::Absent(error) => Fault::new(Step::Execute, program, error),
            Attempt::Denied(error) => Fault::new(Step::Execute, program, error),
            Attempt::Failed(fault) => fault,
        };
    }
    let path = spec
        .env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value.as_os_str());
    let mut denied = None;
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let candidate = OsString::from_vec([directory, b"/", program.as_bytes()].concat());
        match attempt(&candidate, &argv, &env) {
            Attempt::Absent(_) => {}
            Attempt::Denied(error) => {
                denied.get_or_insert(Fault::new(Step::Execute, candidate, error));
            }
            Attempt::Failed(fault) => return fault,
        }
    }
    denied.unwrap_or_else(|| Fault {
        detail: format!("{SEARCHED}{}", path.to_string_lossy()),
        ..Fault::new(Step::Execute, program, rustix::io::Errno::NOENT)
    })
}

enum Attempt {
    /// Nothing there; another directory may have it.
    Absent(io::Error),
    /// Something there that may not be executed; another directory may have better.
    Denied(io::Error),
    Failed(Fault),
}

fn attempt(program: &OsStr, argv: &[CString], env: &[CString]) -> Attempt {
    let name = match c_string(program) {
        Ok(name) => name,
        Err(error) => return Attempt::Absent(error),
    };
    let error = sys::execute(&name, argv, env);
    let detail = match error.raw_os_error() {
        Some(libc::ENOENT) if access(program, Access::EXISTS).is_ok() => {
            format!("{INTERPRETER}{}", interpreter(&head(program)))
        }
        Some(libc::ENOENT | libc::ENOTDIR) => return Attempt::Absent(error),
        Some(libc::EACCES) => return Attempt::Denied(error),
        Some(libc::ENOEXEC) => wrong_format(&head(program)),
        _ => String::new(),
    };
    Attempt::Failed(Fault { detail, ..Fault::new(Step::Execute, program, error) })
}

fn c_string(string: &OsStr) -> io::Result<CString> {
    CString::new(string.as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn head(program: &OsStr) -> Vec<u8> {
    let mut head = vec![0; HEAD_BYTES];
    let length = File::open(program).and_then(|file| file.read_at(&mut head, 0)).unwrap_or(0);
    head.truncate(length);
    head
}

/// What should have run the file that begins with `head`; empty if it does not say.
fn interpreter(head: &[u8]) -> String {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        // A carriage return stays: it is the usual reason why the interpreter is not found.
        return line
            .trim_matches([' ', '\t'])
            .split([' ', '\t'])
            .next()
            .unwrap_or_default()
            .escape_debug()
            .to_string();
    }
    Elf::read(head).and_then(|elf| elf.interpreter()).unwrap_or_default()
}

fn wrong_format(head: &[u8]) -> String {
    let here = std::env::consts::ARCH;
    match Elf::read(head) {
        Some(elf) if elf.architecture() != here => format!(
            "is built for {} and this machine is {here}; register an emulator with binfmt_misc (qemu-user-static) \
             or build for this platform",
            elf.architecture()
        ),
        Some(_) => "is damaged, or built for a newer kernel".to_owned(),
        None if head.is_empty() => "is empty".to_owned(),
        None => "is neither an executable nor a script that begins with `#!`".to_owned(),
    }
}

/// The beginning of an ELF file.
struct Elf<'a> {
    head: &'a [u8],
    wide: bool,
    little: bool,
}

impl<'a> Elf<'a> {
    fn read(head: &'a [u8]) -> Option<Self> {
        let ident = head.get(..20)?;
        ident.starts_with(b"\x7fELF").then_some(Self { head, wide: ident[4] == 2, little: ident[5] == 1 })
    }

    fn number(&self, offset: usize, size: usize) -> Option<usize> {
        let bytes = self.head.get(offset..offset.checked_add(size)?)?;
        let fold = |number: usize, byte: &u8| (number << 8) | usize::from(*byte);
        Some(if self.little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
    }

    /// In the words of Rust's target names.
    fn architecture(&self) -> String {
        match self.number(18, 2) {
            Some(3) => "x86".to_owned(),
            Some(62) => "x86_64".to_owned(),
            Some(40) => "arm".to_owned(),
            Some(183) => "aarch64".to_owned(),
            Some(243) if self.wide => "riscv64".to_owned(),
            Some(22) => "s390x".to_owned(),
            Some(21) => "powerpc64".to_owned(),
            Some(8) => "mips".to_owned(),
            Some(258) => "loongarch64".to_owned(),
            machine => format!("machine type {}", machine.unwrap_or(0)),
        }
    }

    /// The program loader a dynamic executable names.
    fn interpreter(&self) -> Option<String> {
        const PT_INTERP: usize = 3;
        let (table, entry_size, count) = if self.wide {
            (self.number(32, 8)?, self.number(54, 2)?, self.number(56, 2)?)
        } else {
            (self.number(28, 4)?, self.number(42, 2)?, self.number(44, 2)?)
        };
        (0..count).find_map(|index| {
            let entry = table.checked_add(index.checked_mul(entry_size)?)?;
            if self.number(entry, 4)? != PT_INTERP {
                return None;
            }
            let (offset, size) = if self.wide {
                (self.number(entry.checked_add(8)?, 8)?, self.number(entry.checked_add(32)?, 8)?)
            } else {
                (self.number(entry.checked_add(4)?, 4)?, self.number(entry.checked_add(16)?, 4)?)
            };
            let path = self.head.get(offset..offset.checked_add(size)?)?;
            let path = path.split(|byte| *byte == 0).next()?;
            Some(String::from_utf8_lossy(path).into_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_of_a_script_is_its_first_word() {
        assert_eq!(interpreter(b"#! /bin/bash -e\necho"), "/bin/bash");
        assert_eq!(interpreter(b"#!/bin/sh\r\necho"), "/bin/sh\\r");
        assert_eq!(interpreter(b"echo"), "");
    }

    #[test]
    fn a_foreign_executable_is_named_by_its_architecture() {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18] = 243;
        assert!(wrong_format(&head).starts_with("is built for riscv64"));
        assert_eq!(wrong_format(b""), "is empty");
        assert!(wrong_format(b"echo").contains("`#!`"));
    }

    #[test]
    fn the_loader_of_a_dynamic_executable_is_read_from_its_header() {
        let own = head(std::env::current_exe().unwrap().as_os_str());
        let loader = interpreter(&own);
        assert!(loader.is_empty() || loader.starts_with('/'), "{loader}");
        // A table that points outside of what was read is no reason to fail.
        let mut wild = own[..64].to_vec();
        wild[32..40].fill(0xff);
        assert_eq!(interpreter(&wild), "");
    }
}
