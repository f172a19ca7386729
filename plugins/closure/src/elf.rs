//! Reads of an ELF file what the dynamic linker reads before it runs one: header, program headers, dynamic section.

use std::fmt;

use kiln_sdk::wit::types::HostError;

use crate::files::Files;

/// For which machine a file is. Two files run together only if all of it is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine`.
    pub number: u16,
    pub is_64_bit: bool,
    pub is_big_endian: bool,
}

const X86: u16 = 3;
const PPC64: u16 = 21;
const S390: u16 = 22;
const ARM: u16 = 40;
const X86_64: u16 = 62;
const AARCH64: u16 = 183;
const RISCV: u16 = 243;
const LOONGARCH: u16 = 258;

impl Machine {
    /// As OCI images name it; empty for one that they have no name for.
    pub fn architecture(self) -> &'static str {
        match (self.number, self.is_64_bit, self.is_big_endian) {
            (X86, false, false) => "386",
            (X86_64, true, false) => "amd64",
            (ARM, false, false) => "arm",
            (AARCH64, true, false) => "arm64",
            (PPC64, true, false) => "ppc64le",
            (PPC64, true, true) => "ppc64",
            (S390, true, true) => "s390x",
            (RISCV, true, false) => "riscv64",
            (LOONGARCH, true, false) => "loong64",
            _ => "",
        }
    }

    /// The directory that Debian and its descendants keep libraries of this machine in, below `lib`.
    pub fn multiarch(self) -> &'static str {
        match self.architecture() {
            "386" => "i386-linux-gnu",
            "amd64" => "x86_64-linux-gnu",
            "arm" => "arm-linux-gnueabihf",
            "arm64" => "aarch64-linux-gnu",
            "ppc64le" => "powerpc64le-linux-gnu",
            "ppc64" => "powerpc64-linux-gnu",
            "s390x" => "s390x-linux-gnu",
            "riscv64" => "riscv64-linux-gnu",
            "loong64" => "loongarch64-linux-gnu",
            _ => "",
        }
    }

    /// What `$PLATFORM` stands for.
    pub fn platform(self) -> &'static str {
        match self.architecture() {
            "386" => "i686",
            "amd64" => "x86_64",
            "arm" => "v7l",
            "arm64" => "aarch64",
            "ppc64le" | "ppc64" => "power8",
            "s390x" => "z900",
            _ => "",
        }
    }

    /// The flags of an entry of `ld.so.cache` for this machine; `None` where they are not known.
    pub fn cache_flags(self) -> Option<u32> {
        const LIBC6: u32 = 3;
        Some(
            LIBC6
                | match self.architecture() {
                    "386" => 0,
                    "amd64" => 0x300,
                    "s390x" => 0x400,
                    "ppc64" | "ppc64le" => 0x500,
                    "arm" => 0x900,
                    "arm64" => 0xa00,
                    "riscv64" => 0x1000,
                    _ => return None,
                },
        )
    }
}

/// As people name it, `x86-64`.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.architecture() {
            "" => {
                let bits = if self.is_64_bit { 64 } else { 32 };
                let order = if self.is_big_endian { "big" } else { "little" };
                write!(f, "machine {} ({bits} bits, {order}-endian)", self.number)
            }
            name => f.write_str(name),
        }
    }
}

/// What a file says of itself to the dynamic linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    pub machine: Machine,
    /// It can be started, and is not only a library for others.
    pub is_program: bool,
    pub interpreter: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    pub soname: Option<String>,
    pub rpath: Option<String>,
    pub runpath: Option<String>,
    /// Does without the default directories (`DF_1_NODEFLIB`).
    pub no_default_directories: bool,
    /// The string table with the names of all symbols.
    strings: Vec<u8>,
}

impl Elf {
    /// Whether the string table holds `word`: a symbol that is used or defined, or a version.
    pub fn mentions(&self, word: &str) -> bool {
        let wanted = word.as_bytes();
        self.strings.split(|byte| *byte == 0).any(|found| found == wanted)
    }
}

/// A file is not what the dynamic linker could load.
#[derive(Debug, PartialEq)]
pub enum ElfError {
    /// It does not begin as an ELF file does; here is how it begins.
    NotElf(Vec<u8>),
    /// What is wrong with it.
    Malformed(&'static str),
    /// It could not be read.
    Host(HostError),
}

impl From<HostError> for ElfError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

/// Program headers and entries of the dynamic section that are looked at; files have some dozens.
const MAX_HEADERS: u64 = 1 << 12;
const MAX_DYNAMIC_BYTES: u64 = 1 << 20;
const MAX_STRING_BYTES: u64 = 64 << 20;
const MAX_PATH_BYTES: u64 = 4096;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_NODEFLIB: u64 = 0x800;
const DF_1_PIE: u64 = 0x0800_0000;

const ET_EXEC: u64 = 2;
const ET_DYN: u64 = 3;

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    length: u64,
}

/// The bytes of a file in its own order and width.
struct Words {
    machine: Machine,
}

impl Words {
    /// An unsigned number of `length` bytes at `at`; the bytes have to be there.
    fn number(&self, bytes: &[u8], at: usize, length: usize) -> u64 {
        let bytes = bytes[at..at + length].iter();
        let push = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.machine.is_big_endian { bytes.fold(0, push) } else { bytes.rev().fold(0, push) }
    }

    fn word(&self) -> usize {
        if self.machine.is_64_bit { 8 } else { 4 }
    }
}

/// Reads the file at `path`.
///
/// # Errors
///
/// It is no program and no library, or cannot be read.
pub fn read(files: &dyn Files, path: &str) -> Result<Elf, ElfError> {
    let head = files.read(path, 0, 64)?;
    if !head.starts_with(b"\x7fELF") {
        return Err(ElfError::NotElf(head));
    }
    let (class, order) = match head.get(4..6) {
        Some([class @ (1 | 2), order @ (1 | 2)]) => (*class, *order),
        _ => return Err(ElfError::Malformed("its class or byte order is unknown")),
    };
    let mut machine = Machine { number: 0, is_64_bit: class == 2, is_big_endian: order == 2 };
    let header = if machine.is_64_bit { 64 } else { 52 };
    if head.len() < header {
        return Err(ElfError::Malformed("its header is cut off"));
    }
    let words = Words { machine };
    machine.number = words.number(&head, 18, 2) as u16;
    let kind = words.number(&head, 16, 2);
    if !matches!(kind, ET_EXEC | ET_DYN) {
        return Err(ElfError::Malformed("it is neither a program nor a shared library"));
    }
    let (table, sizes) = if machine.is_64_bit { ((32, 8), 54) } else { ((28, 4), 42) };
    let offset = words.number(&head, table.0, table.1);
    let size = words.number(&head, sizes, 2);
    let count = words.number(&head, sizes + 2, 2);
    let least = if machine.is_64_bit { 56 } else { 32 };
    if count > 0 && size < least || count > MAX_HEADERS {
        return Err(ElfError::Malformed("its program headers cannot be"));
    }
    let bytes = read_exactly(files, path, offset, count * size)?;
    let segments: Vec<Segment> =
        bytes.chunks_exact(size.max(1) as usize).map(|entry| segment(&words, entry)).collect();
    let mut elf = Elf {
        machine,
        is_program: kind == ET_EXEC,
        interpreter: None,
        needed: Vec::new(),
        soname: None,
        rpath: None,
        runpath: None,
        no_default_directories: false,
        strings: Vec::new(),
    };
    if let Some(segment) = segments.iter().find(|segment| segment.kind == PT_INTERP) {
        if segment.length > MAX_PATH_BYTES {
            return Err(ElfError::Malformed("the path of its interpreter is too long"));
        }
        let bytes = read_exactly(files, path, segment.offset, segment.length)?;
        elf.is_program = true;
        elf.interpreter = Some(text(bytes.split(|byte| *byte == 0).next().unwrap_or_default())?);
    }
    if let Some(segment) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
        if segment.length > MAX_DYNAMIC_BYTES {
            return Err(ElfError::Malformed("its dynamic section is too long"));
        }
        let bytes = read_exactly(files, path, segment.offset, segment.length)?;
        dynamic(files, path, &words, &segments, &bytes, &mut elf)?;
    }
    Ok(elf)
}

fn segment(words: &Words, entry: &[u8]) -> Segment {
    let (offset, address, length) = if words.machine.is_64_bit { (8, 16, 32) } else { (4, 8, 16) };
    Segment {
        kind: words.number(entry, 0, 4) as u32,
        offset: words.number(entry, offset, words.word()),
        address: words.number(entry, address, words.word()),
        length: words.number(entry, length, words.word()),
    }
}

fn dynamic(
    files: &dyn Files,
    path: &str,
    words: &Words,
    segments: &[Segment],
    bytes: &[u8],
    elf: &mut Elf,
) -> Result<(), ElfError> {
    let width = words.word();
    let entries: Vec<(u64, u64)> = bytes
        .chunks_exact(2 * width)
        .map(|entry| (words.number(entry, 0, width), words.number(entry, width, width)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let value = |tag| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
    let flags = value(DT_FLAGS_1).unwrap_or(0);
    elf.no_default_directories = flags & DF_1_NODEFLIB != 0;
    elf.is_program |= flags & DF_1_PIE != 0;
    let (Some(address), Some(length)) = (value(DT_STRTAB), value(DT_STRSZ)) else { return Ok(()) };
    if length > MAX_STRING_BYTES {
        return Err(ElfError::Malformed("its table of strings is too long"));
    }
    let holds = |segment: &&Segment| {
        let inside = address.checked_sub(segment.address);
        segment.kind == PT_LOAD && inside.is_some_and(|inside| inside < segment.length)
    };
    let offset = segments.iter().find(holds).and_then(|it| it.offset.checked_add(address - it.address));
    let offset = offset.ok_or(ElfError::Malformed("its table of strings lies in no segment"))?;
    elf.strings = read_exactly(files, path, offset, length)?;
    let string = |at: u64| {
        let rest = usize::try_from(at).ok().and_then(|at| elf.strings.get(at..));
        let rest = rest.ok_or(ElfError::Malformed("a name lies outside of its table of strings"))?;
        text(rest.split(|byte| *byte == 0).next().unwrap_or_default())
    };
    let needed = entries.iter().filter(|entry| entry.0 == DT_NEEDED);
    elf.needed = needed.map(|entry| string(entry.1)).collect::<Result<_, _>>()?;
    elf.soname = value(DT_SONAME).map(string).transpose()?;
    elf.rpath = value(DT_RPATH).map(string).transpose()?;
    elf.runpath = value(DT_RUNPATH).map(string).transpose()?;
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, ElfError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ElfError::Malformed("a path in it is not UTF-8"))
}

fn read_exactly(files: &dyn Files, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, ElfError> {
    let cut_off = ElfError::Malformed("it is cut off");
    let (Ok(offset), Ok(length)) = (u32::try_from(offset), u32::try_from(length)) else {
        return Err(cut_off);
    };
    if length == 0 {
        return Ok(Vec::new());
    }
    let bytes = files.read(path, offset, length)?;
    if bytes.len() == length as usize { Ok(bytes) } else { Err(cut_off) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Image, Tree};

    #[test]
    fn every_width_and_order_of_bytes_is_read() {
        for (machine, name) in
            [(Image::AMD64, "amd64"), (Image::I386, "386"), (Image::S390X, "s390x"), (Image::ARM64, "arm64")]
        {
            let image =
                Image::program(machine, "/lib/ld.so").needs(&["libc.so.6", "libz.so.1"]).runpath("$ORIGIN");
            let tree = Tree::new().file("/p", &image.bytes());
            let elf = read(&tree, "/p").unwrap();
            assert_eq!(elf.machine.architecture(), name);
            assert_eq!(elf.interpreter.as_deref(), Some("/lib/ld.so"));
            assert_eq!(elf.needed, ["libc.so.6", "libz.so.1"]);
            assert_eq!((elf.runpath.as_deref(), &elf.rpath), (Some("$ORIGIN"), &None));
            assert!(elf.mentions("libz.so.1") && !elf.mentions("libz"));
        }
    }

    #[test]
    fn a_static_program_needs_nothing() {
        let tree = Tree::new().file("/p", &Image::new(Image::AMD64).bytes());
        let elf = read(&tree, "/p").unwrap();
        assert_eq!((elf.interpreter, elf.needed.len()), (None, 0));
    }

    #[test]
    fn what_is_no_elf_file_is_told_and_no_bytes_make_it_panic() {
        let whole = Image::program(Image::AMD64, "/lib/ld.so").needs(&["libc.so.6"]).bytes();
        let tree = Tree::new().file("/script", b"#!/bin/sh\n").file("/empty", b"");
        assert!(matches!(read(&tree, "/script"), Err(ElfError::NotElf(head)) if head.starts_with(b"#!")));
        assert!(matches!(read(&tree, "/empty"), Err(ElfError::NotElf(_))));
        for length in 0..whole.len() {
            let _ = read(&Tree::new().file("/p", &whole[..length]), "/p").expect_err("cut off");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                let _ = read(&Tree::new().file("/p", &bytes), "/p");
            }
        }
    }
}
