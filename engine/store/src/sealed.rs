//! Small files that say what they are and whether all of them is there: a line, a BLAKE3 checksum, the body.

const VERSION: &str = "1";

/// `kiln <kind> 1\n`, 32 bytes of BLAKE3 of the line and the body, the body.
pub(crate) fn seal(kind: &str, body: &[u8]) -> Vec<u8> {
    let line = line(kind);
    let mut file = Vec::with_capacity(line.len() + 32 + body.len());
    file.extend_from_slice(line.as_bytes());
    file.extend_from_slice(checksum(&line, body).as_bytes());
    file.extend_from_slice(body);
    file
}

/// The body, if the file is whole, of that kind and of this version.
pub(crate) fn open<'a>(kind: &str, file: &'a [u8]) -> Option<&'a [u8]> {
    let line = line(kind);
    let (sum, body) = file.strip_prefix(line.as_bytes())?.split_first_chunk::<32>()?;
    (checksum(&line, body).as_bytes() == sum).then_some(body)
}

fn line(kind: &str) -> String {
    format!("kiln {kind} {VERSION}\n")
}

fn checksum(line: &str, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(line.as_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_changed_or_of_another_kind_is_not_opened() {
        let file = seal("record", b"body");
        assert_eq!(open("record", &file), Some(&b"body"[..]));
        assert_eq!(open("note", &file), None);
        assert_eq!(open("record", &file[..file.len() - 1]), None);
        assert_eq!(open("record", &[]), None);
        let mut changed = file;
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(open("record", &changed), None);
    }
}
