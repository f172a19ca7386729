//! Writes `/etc/ld.so.cache` for the libraries of a closure, as `ldconfig` would: glibc looks into directories of
//! `ld.so.conf` through this file only.

use std::cmp::Ordering;

use crate::elf::Machine;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// The file for libraries by SONAME and path. `None` where the form of its entries is not known.
pub(crate) fn write(machine: Machine, libraries: &[(String, String)]) -> Option<Vec<u8>> {
    let flags = machine.cache_flags()?;
    let mut libraries: Vec<&(String, String)> = libraries.iter().collect();
    // The reader searches by halves in descending order.
    libraries.sort_by(|a, b| compare(b.0.as_bytes(), a.0.as_bytes()).then_with(|| a.1.cmp(&b.1)));
    libraries.dedup();
    let number = |number: usize| match machine.is_big_endian {
        true => (number as u32).to_be_bytes(),
        false => (number as u32).to_le_bytes(),
    };
    let mut entries = Vec::new();
    let mut strings: Vec<u8> = Vec::new();
    for (name, path) in &libraries {
        let begin = HEADER + libraries.len() * ENTRY;
        entries.extend(number(flags as usize));
        for text in [name, path] {
            entries.extend(number(begin + strings.len()));
            strings.extend(text.as_bytes());
            strings.push(0);
        }
        // Version of the kernel and capabilities of the processor: any.
        entries.extend([0; 12]);
    }
    let mut file = MAGIC.to_vec();
    file.extend(number(libraries.len()));
    file.extend(number(strings.len()));
    file.push(if machine.is_big_endian { 3 } else { 2 });
    file.resize(HEADER, 0);
    file.extend(entries);
    file.extend(strings);
    Some(file)
}

/// The order of names in the cache: runs of digits count as numbers and come after everything else.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        match (a, b) {
            ([x, ..], [y, ..]) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (left, right) = (digits(&mut a), digits(&mut b));
                if left != right {
                    return left.cmp(&right);
                }
            }
            ([x, ..], _) if x.is_ascii_digit() => return Ordering::Greater,
            (_, [y, ..]) if y.is_ascii_digit() => return Ordering::Less,
            ([x, rest_a @ ..], [y, rest_b @ ..]) => {
                if x != y {
                    return x.cmp(y);
                }
                (a, b) = (rest_a, rest_b);
            }
            _ => return a.len().cmp(&b.len()),
        }
    }
}

fn digits(text: &mut &[u8]) -> u64 {
    let mut number = 0_u64;
    while let [digit @ b'0'..=b'9', rest @ ..] = text {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        *text = rest;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Image;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        for (a, b) in
            [("liba.so.9", "liba.so.10"), ("liba.so", "liba1.so"), ("liba.so", "libb.so"), ("a", "ab")]
        {
            assert_eq!(compare(a.as_bytes(), b.as_bytes()), Ordering::Less, "{a} {b}");
        }
        assert_eq!(compare(b"liba.so.1", b"liba.so.1"), Ordering::Equal);
    }

    #[test]
    fn names_point_at_their_strings() {
        let pair = |name: &str, path: &str| (name.to_owned(), path.to_owned());
        let list = [pair("liba.so.9", "/x/liba.so.9"), pair("liba.so.10", "/x/liba.so.10")];
        let file = write(Image::AMD64, &list).unwrap();
        let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let text = |at: usize| file[at..].split(|byte| *byte == 0).next().unwrap();
        assert_eq!((number(20), number(HEADER)), (2, 0x303));
        assert_eq!(text(number(HEADER + 4)), b"liba.so.10");
        assert_eq!(text(number(HEADER + ENTRY + 8)), b"/x/liba.so.9");
    }
}
