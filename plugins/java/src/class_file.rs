//! Reads of a class file what tells which modules of the JDK it needs and whether it can be started, and writes one
//! that stands for what a whole program refers to.

use std::collections::BTreeSet;

/// What a class file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    /// With dots.
    pub(crate) name: String,
    /// It has `public static void main(String[])`.
    pub(crate) starts: bool,
    /// Classes of the JDK that it refers to, with slashes.
    pub(crate) references: BTreeSet<String>,
}

/// Where the packages of the JDK's modules begin. What else begins so only makes one name more to look up.
const JDK: [&str; 10] = [
    "java/",
    "javax/",
    "jdk/",
    "sun/",
    "com/sun/",
    "org/w3c/dom/",
    "org/xml/sax/",
    "org/ietf/jgss/",
    "org/jcp/xml/",
    "netscape/javascript/",
];

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn skip_attributes(&mut self) -> Option<()> {
        for _ in 0..self.short()? {
            self.short()?;
            let length = self.long()?;
            self.take(length as usize)?;
        }
        Some(())
    }
}

/// Reads a class file; `None` when it is none. Names are those of the constant pool and of all descriptors and
/// signatures in it: a text that looks like one makes one name too many, and never one too few.
pub(crate) fn read(bytes: &[u8]) -> Option<Class> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.long()? != 0xcafe_babe {
        return None;
    }
    reader.long()?;
    let count = reader.short()?;
    let mut texts: Vec<&[u8]> = vec![&[]; usize::from(count)];
    let mut classes: Vec<u16> = vec![0; usize::from(count)];
    let mut index = 1;
    while index < usize::from(count) {
        let tag = reader.take(1)?[0];
        match tag {
            1 => {
                let length = reader.short()?;
                texts[index] = reader.take(usize::from(length))?;
            }
            7 => classes[index] = reader.short()?,
            8 | 16 | 19 | 20 => {
                reader.take(2)?;
            }
            15 => {
                reader.take(3)?;
            }
            3 | 4 | 9..=12 | 17 | 18 => {
                reader.take(4)?;
            }
            // Of these, the next index is left out.
            5 | 6 => {
                reader.take(8)?;
                index += 1;
            }
            _ => return None,
        }
        index += 1;
    }
    let text = |index: u16| texts.get(usize::from(index)).copied().unwrap_or_default();
    let mut references = BTreeSet::new();
    for class in classes.iter().filter(|class| **class != 0) {
        let name = text(*class);
        // Arrays are written as descriptors, which are looked at below.
        if !name.starts_with(b"[") {
            keep(name, &mut references);
        }
    }
    for text in &texts {
        descriptors(text, &mut references);
    }
    reader.short()?;
    let this = reader.short()?;
    let name = String::from_utf8_lossy(text(*classes.get(usize::from(this))?)).replace('/', ".");
    reader.short()?;
    let interfaces = reader.short()?;
    reader.take(usize::from(interfaces) * 2)?;
    for _ in 0..reader.short()? {
        reader.take(6)?;
        reader.skip_attributes()?;
    }
    let mut starts = false;
    for _ in 0..reader.short()? {
        let (access, name, descriptor) = (reader.short()?, reader.short()?, reader.short()?);
        let is_public_and_static = access & 0x0009 == 0x0009;
        starts |=
            is_public_and_static && text(name) == b"main" && text(descriptor) == b"([Ljava/lang/String;)V";
        reader.skip_attributes()?;
    }
    reader.skip_attributes()?;
    Some(Class { name, starts, references })
}

fn keep(name: &[u8], references: &mut BTreeSet<String>) {
    if let Ok(name) = std::str::from_utf8(name)
        && JDK.iter().any(|prefix| name.starts_with(prefix))
    {
        references.insert(name.to_owned());
    }
}

/// Each `Lpackage/Name;` and `Lpackage/Name<` of a text.
fn descriptors(text: &[u8], references: &mut BTreeSet<String>) {
    let mut rest = text;
    while let Some(begin) = rest.iter().position(|byte| *byte == b'L') {
        rest = &rest[begin + 1..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'$' | b'-');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        if matches!(rest.get(length), Some(b';' | b'<')) {
            keep(&rest[..length], references);
        }
        // Another `L` in it would end where this one does.
        rest = &rest[length..];
    }
}

/// A class file with nothing in it but these references, for `jdeps`: it stays the same as long as a program refers to
/// the same classes, whatever else changes in it.
pub(crate) fn stand_in(references: &BTreeSet<String>) -> Vec<u8> {
    // More than a class file can hold is more than the JDK has.
    let names = ["References", "java/lang/Object"]
        .into_iter()
        .chain(references.iter().map(String::as_str).filter(|name| name.len() < 0xffff).take(30_000));
    let mut pool = Vec::new();
    let mut next = 1_u16;
    for name in names {
        pool.push(1);
        pool.extend((name.len() as u16).to_be_bytes());
        pool.extend(name.as_bytes());
        pool.push(7);
        pool.extend(next.to_be_bytes());
        next += 2;
    }
    let mut file = vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52];
    file.extend(next.to_be_bytes());
    file.extend(pool);
    // Public, this and super; no interfaces, fields, methods and attributes.
    file.extend([0, 0x21, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_refers_to_what_it_was_made_of() {
        let references: BTreeSet<String> =
            ["java/sql/Driver", "java/util/List"].map(str::to_owned).into_iter().collect();
        let class = read(&stand_in(&references)).unwrap();
        assert_eq!(class.name, "References");
        assert!(!class.starts && class.references.is_superset(&references));
        assert_eq!(class.references.len(), 3, "and to java/lang/Object");
    }

    #[test]
    fn descriptors_and_signatures_name_classes() {
        let mut found = BTreeSet::new();
        descriptors(b"(ILjava/util/Map<Ljava/sql/Date;[Lorg/example/X;>;)V", &mut found);
        descriptors(b"Ljava/not/closed LL[Ljavax/naming/Context$A_1;", &mut found);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["java/sql/Date", "java/util/Map", "javax/naming/Context$A_1"]);
    }

    #[test]
    fn a_text_is_looked_at_once() {
        let mut found = BTreeSet::new();
        for text in ["L".repeat(4 << 20), "Ljava/".repeat(1 << 20), "L;".repeat(1 << 20)] {
            descriptors(text.as_bytes(), &mut found);
        }
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn damaged_files_are_no_classes() {
        let file = stand_in(&BTreeSet::from(["java/sql/Driver".to_owned()]));
        for cut in 0..file.len() {
            assert_eq!(read(&file[..cut]), None, "{cut}");
        }
        for at in 0..file.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut file = file.clone();
                file[at] = byte;
                let _ = read(&file);
            }
        }
    }
}
