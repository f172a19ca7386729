use std::io::Cursor;
use std::process::Command;

use super::*;

/// What was handed on, as one line each.
#[derive(Default)]
struct Listing(Vec<String>);

impl EntrySink for Listing {
    fn entry(&mut self, path: TreePath, entry: Entry, content: &mut dyn Read) -> io::Result<()> {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        let kind = match entry.kind {
            Kind::Directory { .. } => "directory".to_owned(),
            Kind::Symlink(target) => format!("link to {}", String::from_utf8_lossy(&target)),
            Kind::File(file) => {
                assert_eq!(file.size, text.len() as u64);
                format!("`{text}`")
            }
            other => panic!("{other:?}"),
        };
        self.0.push(format!("{} {:o} {} {kind}", path.display(), entry.mode, entry.mtime.seconds));
        Ok(())
    }
}

/// Runs a line of shell in a fresh directory and returns the file `a` that it leaves.
fn made_by(line: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let run = Command::new("bash").args(["-euc", line]).current_dir(&directory).output().unwrap();
    assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
    std::fs::read(directory.path().join("a")).unwrap()
}

fn ar(bytes: &[u8]) -> Result<Vec<String>, ReadArchiveError> {
    let mut listing = Listing::default();
    read_ar(bytes, &mut listing, &Limits::DEFAULT).map(|_| listing.0)
}

fn zip(bytes: &[u8]) -> Result<Vec<String>, ReadArchiveError> {
    let mut listing = Listing::default();
    read_zip(Cursor::new(bytes), &mut listing, &Limits::DEFAULT).map(|_| listing.0)
}

const PYTHON: &str = "python3 - <<'E'
import zipfile, time
z = zipfile.ZipFile('a', 'w')
def add(name, data, mode, method=zipfile.ZIP_DEFLATED):
    info = zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6))
    info.external_attr = mode << 16
    info.create_system = 3
    info.compress_type = method
    z.writestr(info, data)
add('d/', '', 0o40700)
add('d/f', 'content' * 3, 0o100640)
add('stored', 'x', 0o100755, zipfile.ZIP_STORED)
add('link', 'd/f', 0o120777)
z.close()
E";

#[test]
fn members_of_ar_archives_keep_their_names_and_modes() {
    let bytes = made_by(
        "printf odd > f; printf even > a-name-of-more-than-fifteen-characters; chmod 600 f; chmod 755 a-*
         touch -d @1000 f a-*; ar qU a f a-*",
    );
    assert!(is_ar(&bytes));
    assert_eq!(
        ar(&bytes).unwrap(),
        ["/f 600 1000 `odd`", "/a-name-of-more-than-fifteen-characters 755 1000 `even`"]
    );
    let bsd = b"!<arch>\n#1/8            0           0     0     100644  10        `\nlongname\n!";
    assert_eq!(ar(bsd).unwrap(), ["/longname 644 0 `\n!`"]);
}

#[test]
fn broken_ar_archives_are_refused() {
    let bytes = made_by("printf content > f; ar q a f");
    for length in [4, 30, 70] {
        let mut listing = Listing::default();
        let read = read_ar(&bytes[..length], &mut LenientListing(&mut listing), &Limits::DEFAULT);
        assert!(matches!(read, Err(ReadArchiveError::Archive { .. })), "{length}");
    }
    let evil = String::from_utf8_lossy(&bytes).replacen("f/  ", "../f", 1);
    assert!(matches!(ar(evil.as_bytes()), Err(ReadArchiveError::LeavesRoot { .. })));
}

#[test]
fn members_of_zip_archives_are_files_directories_and_links() {
    let bytes = made_by(PYTHON);
    assert!(is_zip(&bytes));
    assert_eq!(
        zip(&bytes).unwrap(),
        [
            "/d 700 981173106 directory",
            "/d/f 640 981173106 `contentcontentcontent`",
            "/stored 755 981173106 `x`",
            "/link 777 981173106 link to d/f",
        ]
    );
}

#[test]
fn broken_zip_archives_are_refused() {
    let bytes = made_by(PYTHON);
    for length in [0, 4, bytes.len() / 2, bytes.len() - 1] {
        assert!(zip(&bytes[..length]).is_err(), "{length}");
    }
    // Whatever byte changes: an error or another content, never a panic.
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        let mut listing = Listing::default();
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            read_zip(Cursor::new(&changed), &mut LenientListing(&mut listing), &Limits::DEFAULT).map(drop)
        }))
        .expect("no panic");
    }
    let evil = made_by(&PYTHON.replace("'stored'", "'../out'"));
    assert!(matches!(zip(&evil), Err(ReadArchiveError::LeavesRoot { .. })));
}

/// Takes anything.
struct LenientListing<'a>(&'a mut Listing);

impl EntrySink for LenientListing<'_> {
    fn entry(&mut self, path: TreePath, _: Entry, content: &mut dyn Read) -> io::Result<()> {
        io::copy(&mut content.take(1 << 20), &mut io::sink())?;
        self.0.0.push(path.display());
        Ok(())
    }
}

#[test]
fn limits_hold_for_what_an_archive_says_of_itself() {
    let bytes = made_by(PYTHON);
    let limited = |limits: Limits| {
        let mut listing = Listing::default();
        read_zip(Cursor::new(&bytes), &mut listing, &limits).map(drop)
    };
    assert!(matches!(
        limited(Limits { entries: 3, ..Limits::DEFAULT }),
        Err(ReadArchiveError::Limit { what: "the number of entries", .. })
    ));
    assert!(matches!(
        limited(Limits { content_bytes: 10, ..Limits::DEFAULT }),
        Err(ReadArchiveError::Limit { what: "the content of all files", .. })
    ));
}

#[test]
fn what_a_compressed_file_holds_is_one_file() {
    let mut listing = Listing::default();
    read_compressed(|| Ok(&b"bytes"[..]), &mut listing, &Limits::DEFAULT).unwrap();
    assert_eq!(listing.0, ["/content 644 0 `bytes`"]);
    let limits = Limits { content_bytes: 4, ..Limits::DEFAULT };
    let refused = read_compressed(|| Ok(&b"bytes"[..]), &mut Listing::default(), &limits);
    assert!(matches!(refused, Err(ReadArchiveError::Limit { .. })));
}
