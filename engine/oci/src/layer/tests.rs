use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use kiln_core::digest::{Digest, FileDigest};
use kiln_core::seams::EntrySink;
use kiln_core::tree::{Content, Entry, File, Kind, Place, Time, Tree, TreePath};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Keeps entries and reads files into memory.
#[derive(Default)]
struct Collect(Vec<(TreePath, Entry)>);

impl EntrySink for Collect {
    fn entry(&mut self, path: TreePath, mut entry: Entry, content: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        match &mut entry.kind {
            Kind::File(file) => {
                assert_eq!(file.size, bytes.len() as u64, "{path:?}");
                file.content = inline(&bytes).content;
            }
            _ => assert!(bytes.is_empty()),
        }
        self.0.push((path, entry));
        Ok(())
    }
}

fn inline(bytes: &[u8]) -> File {
    File {
        size: bytes.len() as u64,
        content: Content { digest: Some(FileDigest::of(bytes)), place: Place::Inline(bytes.into()) },
    }
}

fn read(tar: &[u8]) -> Result<Tree, ReadLayerError> {
    let mut sink = Collect::default();
    let stats = read_layer(tar, &mut sink, &Limits::DEFAULT)?;
    assert_eq!(stats.diff_id.0, Digest::of(tar));
    Ok(Tree::new(sink.0))
}

fn write(tree: &Tree, times: Times) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new(), times);
    for (path, entry) in tree.entries() {
        writer.append(path, entry, None).unwrap();
    }
    writer.finish().unwrap()
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

fn file(bytes: &[u8]) -> Entry {
    Entry { kind: Kind::File(inline(bytes)), mode: 0o644, ..Entry::directory() }
}

fn with_kind(kind: Kind) -> Entry {
    Entry { kind, mode: 0o644, ..Entry::directory() }
}

/// `path kind` lines, for comparing at a glance.
fn listing(tree: &Tree) -> Vec<String> {
    tree.entries()
        .iter()
        .map(|(path, entry)| {
            let kind = match &entry.kind {
                Kind::Directory { opaque: false } => "dir".to_owned(),
                Kind::Directory { opaque: true } => "opaque".to_owned(),
                Kind::File(file) => format!("file {}", file.size),
                Kind::Link(target) => format!("= {}", target.display()),
                Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
                Kind::CharDevice { major, minor } => format!("c {major},{minor}"),
                Kind::BlockDevice { major, minor } => format!("b {major},{minor}"),
                Kind::Fifo => "fifo".to_owned(),
                Kind::Socket => "socket".to_owned(),
                Kind::Whiteout => "gone".to_owned(),
            };
            format!("{} {kind}", path.display())
        })
        .collect()
}

/// A tar stream that Python's `tarfile` makes; `script` has `add(name, type, data=b"", **fields)`.
fn python(script: &str) -> Vec<u8> {
    let prelude = "
import io, sys, tarfile
out = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.PAX_FORMAT, errors='surrogateescape')
def add(name, kind='0', data=b'', **fields):
    entry = tarfile.TarInfo(name)
    entry.type = kind.encode()
    entry.size = len(data)
    for key, value in fields.items():
        setattr(entry, key, value)
    out.addfile(entry, io.BytesIO(data))
";
    run("python3", &["-c", &format!("{prelude}\n{script}\nout.close()")], &[], None)
}

fn run(program: &str, arguments: &[&str], input: &[u8], directory: Option<&std::path::Path>) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8");
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs `{program}`: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A reader may close the pipe before the padding at the end.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

/// A changeset with everything in it that a tar can hold.
fn rich_tree() -> Tree {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let mut entries = vec![
        (path("dev"), Entry::directory()),
        (path("dev/null"), with_kind(Kind::CharDevice { major: 1, minor: 3 })),
        (path("dev/sda"), with_kind(Kind::BlockDevice { major: 8, minor: 0xfffff })),
        (path("etc"), with_kind(Kind::Directory { opaque: true })),
        (path("etc/empty"), file(b"")),
        (path("etc/block"), file(&[7; 512])),
        (path("etc/gone"), with_kind(Kind::Whiteout)),
        (path("etc/passwd"), file(b"root:x:0:0\n")),
        (path("etc/passwd-"), with_kind(Kind::Link(path("etc/passwd")))),
        (path("fifo"), with_kind(Kind::Fifo)),
        (path("link"), with_kind(Kind::Symlink((*b"../../outside").into()))),
        (path("long-link"), with_kind(Kind::Symlink(vec![b'l'; 300].into()))),
        (path(&long), file(b"long")),
        (path("spl/it"), file(b"")),
        (path(&format!("{}/{}", "p".repeat(90), "q".repeat(90))), file(b"prefix")),
        (path("ünïcode"), file(b"x")),
        (TreePath::parse(b"raw\xff\xfename").unwrap(), file(b"y")),
        (path("zzz"), with_kind(Kind::Whiteout)),
    ];
    let mut special = file(b"special");
    special.mode = 0o6755;
    special.uid = 3_000_000_000;
    special.gid = 2_097_152;
    special.mtime = Time { seconds: -2, nanoseconds: 500_000_000 };
    special.xattrs = Some(Box::new(vec![
        ((*b"security.capability").into(), (*b"\x01\n\x00\x02=\n").into()),
        ((*b"user.empty").into(), (*b"").into()),
    ]));
    entries.push((path("special"), special));
    Tree::new(entries)
}

/// What is lost on purpose: whiteouts have no metadata, and attributes other than capabilities stay behind.
fn normalised(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for (_, entry) in tree.entries_mut() {
        if entry.kind == Kind::Whiteout {
            entry.mode = 0;
        }
        if let Some(xattrs) = &mut entry.xattrs {
            xattrs.retain(|(name, _)| **name == *b"security.capability");
        }
    }
    tree
}

#[test]
fn a_tree_written_and_read_again_is_the_same() {
    let tree = rich_tree();
    let tar = write(&tree, Times::Kept);
    assert!(normalised(&read(&tar).unwrap()) == normalised(&tree), "{:#?}", listing(&read(&tar).unwrap()));
}

#[test]
fn the_same_entries_are_the_same_bytes_and_an_epoch_hides_times() {
    let tree = rich_tree();
    assert!(write(&tree, Times::Kept) == write(&tree, Times::Kept));
    let mut younger = tree.clone();
    younger.entries_mut().for_each(|(_, entry)| entry.mtime.seconds += 1000);
    assert!(write(&tree, Times::Kept) != write(&younger, Times::Kept));
    assert!(write(&tree, Times::Epoch(1_700_000_000)) == write(&younger, Times::Epoch(1_700_000_000)));
    // The format is a promise: layers of equal content have equal digests in every release.
    assert_eq!(Digest::of(&write(&tree, Times::Epoch(1_700_000_000))).to_string(), GOLDEN);
}

const GOLDEN: &str = "sha256:21c74dfbe1ae6f4a833e5ca6f881a71fdc2b8b06fe69b53b953123a888a5ec66";

#[test]
fn other_programs_read_what_is_written() {
    let tree = rich_tree();
    let tar = write(&tree, Times::Kept);
    let script = "
import sys, tarfile
for e in tarfile.open(fileobj=sys.stdin.buffer, mode='r|', errors='surrogateescape'):
    x = {k: v for k, v in e.pax_headers.items() if k.startswith('SCHILY')}
    print(e.name.encode('utf-8', 'surrogateescape').hex(), e.type.decode(), e.size, oct(e.mode), e.uid, e.gid, e.mtime, e.linkname, repr(e.uname + e.gname), len(x))
";
    let seen = String::from_utf8(run("python3", &["-c", script], &tar, None)).unwrap();
    let hex = |name: &[u8]| name.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for line in [
        format!("{} 0 7 0o6755 3000000000 2097152 -1.5  '' 1", hex(b"special")),
        format!("{} 0 0 0o0 0 0 0  '' 0", hex(b"etc/.wh..wh..opq")),
        format!("{} 0 0 0o0 0 0 0  '' 0", hex(b".wh.zzz")),
        format!("{} 1 0 0o644 0 0 0 etc/passwd '' 0", hex(b"etc/passwd-")),
        format!("{} 0 1 0o644 0 0 0  '' 0", hex(b"raw\xff\xfename")),
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line}\n{seen}");
    }
    let names = run("tar", &["-t"], &tar, None);
    assert_eq!(
        String::from_utf8(names).unwrap().lines().count(),
        tree.len() + 1,
        "every entry and one opaque marker"
    );
}

#[test]
fn attributes_may_hold_any_byte_and_those_of_overlay_are_dropped() {
    let tar = python(
        r"
add('f', mode=0o644, pax_headers={
    'SCHILY.xattr.security.capability': b'\x01\n\n12 a=b\n\x02'.decode('latin-1'),
    'SCHILY.xattr.trusted.overlay.opaque': 'y',
    'SCHILY.xattr.user.overlay.overlay.whiteout': 'y'})
",
    );
    let tree = read(&tar).unwrap();
    let xattrs = tree.get(&path("f")).unwrap().xattrs.as_deref().unwrap();
    assert_eq!(xattrs.len(), 1);
    assert_eq!(&*xattrs[0].0, b"security.capability");
    assert_eq!(&*xattrs[0].1, b"\x01\n\n12 a=b\n\x02");
}

#[test]
fn times_before_1970_and_parts_of_seconds_are_kept() {
    let tree = read(&python("add('a', mtime=-1.5)\nadd('b', mtime=12.25)")).unwrap();
    let time = |name| tree.get(&path(name)).unwrap().mtime;
    assert_eq!(time("a"), Time { seconds: -2, nanoseconds: 500_000_000 });
    assert_eq!(time("b"), Time { seconds: 12, nanoseconds: 250_000_000 });
    // GNU's binary numbers, too.
    let gnu = python("out.format = tarfile.GNU_FORMAT\nadd('a', mtime=-7, uid=5000000)");
    let tree = read(&gnu).unwrap();
    let entry = tree.get(&path("a")).unwrap();
    assert_eq!((entry.mtime.seconds, entry.uid), (-7, 5_000_000));
}

#[test]
fn long_names_are_read_in_both_notations() {
    let script = "
name = 'd' * 150 + '/' + 'f' * 180
add(name, data=b'12')
add('s', '2', linkname='t' * 200)
add('h', '1', linkname=name)
";
    for format in ["", "out.format = tarfile.GNU_FORMAT\n"] {
        let tree = read(&python(&format!("{format}{script}"))).unwrap();
        let name = format!("{}/{}", "d".repeat(150), "f".repeat(180));
        assert_eq!(
            listing(&tree),
            [format!("/{name} file 2"), format!("/h = /{name}"), format!("/s -> {}", "t".repeat(200)),]
        );
    }
}

#[test]
fn sparse_files_are_whole_in_every_notation() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = vec![0u8; 3_000_000];
    expected[400_000..400_005].copy_from_slice(b"piece");
    for at in 0..30 {
        expected[1_000_000 + at * 65536] = b'a' + at as u8;
    }
    let name = directory.path().join("holes");
    let sparse = std::fs::File::create(&name).unwrap();
    sparse.set_len(expected.len() as u64).unwrap();
    use std::os::unix::fs::FileExt;
    for (at, byte) in expected.iter().enumerate().filter(|(_, byte)| **byte != 0) {
        sparse.write_at(&[*byte], at as u64).unwrap();
    }
    std::fs::write(directory.path().join("next"), "after").unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let mut arguments = format.to_vec();
        arguments.extend(["-S", "-c", "holes", "next"]);
        let tar = run("tar", &arguments, &[], Some(directory.path()));
        assert!(tar.len() < 1_000_000, "tar did not find the holes");
        let tree = read(&tar).unwrap();
        assert_eq!(listing(&tree), ["/holes file 3000000", "/next file 5"], "{format:?}");
        let Kind::File(found) = &tree.get(&path("holes")).unwrap().kind else { unreachable!() };
        assert!(found.content.digest == Some(FileDigest::of(&expected)), "{format:?}");
    }
}

#[test]
fn whiteouts_hide_lower_layers_in_whatever_order_they_come() {
    let before = "
add('.wh.gone')
add('d/.wh..wh..opq')
add('.wh.replaced')
add('d', '5')
add('d/new')
add('replaced', '5')
add('implied/.wh..wh..opq')
";
    let after = "
add('d', '5')
add('replaced', '5')
add('d/new')
add('./implied/.wh..wh..opq')
add('d/.wh..wh..opq')
add('.wh.replaced')
add('.wh.gone')
";
    for script in [before, after] {
        assert_eq!(
            listing(&read(&python(script)).unwrap()),
            ["/d opaque", "/d/new file 0", "/gone gone", "/implied opaque", "/replaced opaque"]
        );
    }
}

#[test]
fn a_whiteout_does_not_hide_a_file_of_its_own_layer() {
    for script in ["add('f')\nadd('.wh.f')", "add('.wh.f')\nadd('f')"] {
        assert_eq!(listing(&read(&python(script)).unwrap()), ["/f file 0"]);
    }
}

#[test]
fn notes_of_aufs_are_no_files() {
    let script =
        "add('.wh..wh.plnk', '5')\nadd('.wh..wh.plnk/1.2', data=b'x')\nadd('.wh..wh.orph', '5')\nadd('f')";
    assert_eq!(listing(&read(&python(script)).unwrap()), ["/f file 0"]);
}

#[test]
fn in_archives_no_name_is_a_whiteout() {
    let tar = python("add('.wh.f')\nadd('d', '5')\nadd('d/.wh..wh..opq')");
    let mut sink = Collect::default();
    let stats = read_archive(&tar[..], &mut sink, &Limits::DEFAULT).unwrap();
    assert_eq!(stats.entries, 3);
    assert_eq!(listing(&Tree::new(sink.0)), ["/.wh.f file 0", "/d dir", "/d/.wh..wh..opq file 0"]);
}

#[test]
fn names_that_leave_the_root_are_refused_and_the_entry_is_named() {
    for name in ["../evil", "a/../../evil", "/../evil", "..", "a/.wh..."] {
        let error = read(&python(&format!("add('{name}')"))).unwrap_err();
        assert!(matches!(error, ReadLayerError::LeavesRoot { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name.trim_end_matches('/')), "{error}");
    }
    let error = read(&python("add('a')\nadd('h', '1', linkname='../a')")).unwrap_err();
    assert!(matches!(error, ReadLayerError::LeavesRoot { .. }), "{error}");
    // What stays inside is where it says.
    assert_eq!(listing(&read(&python("add('/a/../b')")).unwrap()), ["/b file 0"]);
}

#[test]
fn hard_links_need_a_file_that_came_before() {
    for script in [
        "add('h', '1', linkname='missing')",
        "add('h', '1', linkname='later')\nadd('later')",
        "add('d', '5')\nadd('h', '1', linkname='d')",
        "add('h', '1', linkname='')",
    ] {
        let error = read(&python(script)).unwrap_err();
        assert!(matches!(error, ReadLayerError::LinkTarget { .. }), "{script}: {error}");
    }
    let script = "
add('z', data=b'1')
add('b', '1', linkname='/z')
add('a', '1', linkname='b')
add('s', '2', linkname='z')
add('t', '1', linkname='s')
add('z', '1', linkname='z')
";
    assert_eq!(
        listing(&read(&python(script)).unwrap()),
        ["/a = /z", "/b = /z", "/s -> z", "/t -> z", "/z file 1"]
    );
}

#[test]
fn a_file_with_further_names_cannot_be_replaced_under_them() {
    let error = read(&python("add('a')\nadd('b', '1', linkname='a')\nadd('a', data=b'new')")).unwrap_err();
    assert!(matches!(error, ReadLayerError::Replaces { .. }), "{error}");
    let error = read(&python("add('d/f')\nadd('d')")).unwrap_err();
    assert!(matches!(error, ReadLayerError::Replaces { .. }), "{error}");
    assert_eq!(listing(&read(&python("add('a')\nadd('a', data=b'new')")).unwrap()), ["/a file 3"]);
}

#[test]
fn paths_go_through_links_of_the_same_layer_and_stay_inside() {
    let script = "
add('usr/lib', '5')
add('lib', '2', linkname='usr/lib')
add('lib/x')
add('up', '2', linkname='../../../etc')
add('up/y')
add('abs', '2', linkname='/lib/z')
add('abs/w')
";
    assert_eq!(
        listing(&read(&python(script)).unwrap()),
        [
            "/abs -> /lib/z",
            "/etc/y file 0",
            "/lib -> usr/lib",
            "/up -> ../../../etc",
            "/usr/lib dir",
            "/usr/lib/x file 0",
            "/usr/lib/z/w file 0",
        ]
    );
    let error = read(&python("add('l', '2', linkname='l')\nadd('l/x')")).unwrap_err();
    assert!(error.to_string().contains("loop"), "{error}");
    let error = read(&python("add('f')\nadd('f/x')")).unwrap_err();
    assert!(matches!(error, ReadLayerError::UnderFile { .. }), "{error}");
}

#[test]
fn truncated_and_foreign_bytes_are_errors_wherever_they_end() {
    let tar = write(&rich_tree(), Times::Kept);
    for cut in (1..tar.len() - 2 * header::BLOCK).filter(|cut| cut % header::BLOCK != 0).step_by(97) {
        let mut sink = Collect::default();
        let error = read_layer(&tar[..cut], &mut sink, &Limits::DEFAULT).unwrap_err();
        assert!(matches!(error, ReadLayerError::Truncated { .. }), "{cut}: {error}");
    }
    let error = read(&[b'x'; 2048]).unwrap_err();
    assert!(matches!(error, ReadLayerError::Header { at: 0, .. }), "{error}");
    let mut broken = tar.clone();
    broken[3] ^= 1;
    assert!(matches!(read(&broken).unwrap_err(), ReadLayerError::Header { at: 0, .. }));
}

#[test]
fn a_compressed_stream_that_ends_early_is_truncated_too() {
    let tar = write(&rich_tree(), Times::Kept);
    for program in ["gzip", "zstd", "xz", "bzip2"] {
        let packed = run(program, &["-c"], &tar, None);
        let cut = &packed[..packed.len() / 2];
        let (_, stream) = crate::decompress_any(cut).unwrap();
        let error = read_layer(stream, &mut Collect::default(), &Limits::DEFAULT).unwrap_err();
        assert!(matches!(error, ReadLayerError::Truncated { .. }), "{program}: {error:?}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let tar = write(&rich_tree(), Times::Kept);
    let mut state = 7u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for _ in 0..3000 {
        let mut damaged = tar.clone();
        let at = random(damaged.len());
        damaged[at] = random(256) as u8;
        let block = at - at % header::BLOCK;
        // With a checksum that is right again, the damage gets past the first door.
        let mut sum = 0u32;
        for (at, byte) in damaged[block..block + header::BLOCK].iter().enumerate() {
            sum += u32::from(if header::CHECKSUM.contains(&at) { b' ' } else { *byte });
        }
        damaged[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut sink = Collect::default();
        let _ = read_layer(&damaged[..], &mut sink, &Limits::DEFAULT);
    }
}

#[test]
fn limits_are_errors_that_say_which() {
    let tar = write(&rich_tree(), Times::Kept);
    let refuse = |limits: Limits, what: &str| {
        let mut sink = Collect::default();
        let error = read_layer(&tar[..], &mut sink, &limits).unwrap_err();
        assert!(matches!(error, ReadLayerError::Limit { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    refuse(Limits { entries: 3, ..Limits::DEFAULT }, "entries");
    refuse(Limits { name_bytes: 100, ..Limits::DEFAULT }, "names");
    refuse(Limits { path_bytes: 100, ..Limits::DEFAULT }, "a name");
    refuse(Limits { header_bytes: 20, ..Limits::DEFAULT }, "extended header");
    refuse(Limits { content_bytes: 100, ..Limits::DEFAULT }, "content");
}

#[test]
fn bytes_after_the_end_belong_to_the_diff_id() {
    let mut tar = write(&rich_tree(), Times::Kept);
    tar.extend_from_slice(&[0; 20_000]);
    tar.extend_from_slice(b"garbage");
    read(&tar).unwrap();
    assert_eq!(read(&[]).unwrap().len(), 0);
    assert_eq!(read(&[0; 1024]).unwrap().len(), 0);
}

#[test]
fn content_that_is_not_as_long_as_it_says_is_an_error_that_names_the_file() {
    let entry = Entry {
        kind: Kind::File(File { size: 5, content: Content { digest: None, place: Place::Here } }),
        ..Entry::directory()
    };
    for (bytes, said) in [(&b"123"[..], "only 3 came"), (b"123456", "more came")] {
        let mut writer = LayerWriter::new(Vec::new(), Times::Kept);
        let error = writer.append(&path("some/file"), &entry, Some(&mut &bytes[..])).unwrap_err();
        assert!(error.to_string().contains("/some/file"), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_name_that_would_become_a_whiteout_is_refused_in_layers_only() {
    let mut writer = LayerWriter::new(Vec::new(), Times::Kept);
    let error = writer.append(&path("a/.wh.b"), &file(b""), None).unwrap_err();
    assert!(matches!(error, WriteLayerError::ReservedName { .. }), "{error}");
    let mut writer = LayerWriter::rootfs(Vec::new(), Times::Kept);
    writer.append(&path("a/.wh.b"), &file(b""), None).unwrap();
    assert!(writer.append(&path("b"), &with_kind(Kind::Whiteout), None).is_err());
}

#[test]
fn sockets_and_their_further_names_are_left_out() {
    let tree = Tree::new(vec![
        (path("a"), with_kind(Kind::Socket)),
        (path("b"), with_kind(Kind::Link(path("a")))),
        (path("c"), file(b"")),
    ]);
    assert_eq!(listing(&read(&write(&tree, Times::Kept)).unwrap()), ["/c file 0"]);
}

#[test]
fn a_plain_archive_is_recognised_by_its_first_header() {
    assert!(crate::is_tar(&write(&rich_tree(), Times::Kept)[..512]));
    assert!(crate::is_tar(&python("add('x')")[..512]));
    assert!(!crate::is_tar(&[b'x'; 512]));
}

/// Archives of all that can be in one, written here and by others, and what strikes readers: names that lead out, fields
/// that are no numbers, sizes that are not there.
fn archive() -> impl Strategy<Value = Vec<u8>> {
    let name = select(vec![
        "a",
        "a/b",
        "a/b/c",
        "/d",
        "../e",
        "a/../f",
        "./g",
        ".wh.a",
        "a/.wh..wh..opq",
        ".wh.",
        "é",
    ]);
    let kind = select(b"0012345677xgLKSVDz\0".to_vec());
    let entry = (name.clone(), kind, name, vec(any::<u8>(), 0..20), vec((0..512usize, any::<u8>()), 0..3));
    vec(entry, 0..6).prop_map(|entries| {
        let mut tar = Vec::new();
        for (name, kind, target, content, changes) in entries {
            let mut header = ::tar::Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.as_mut_bytes()[156] = kind;
            for (at, byte) in changes {
                header.as_mut_bytes()[at] = byte;
            }
            header.set_cksum();
            tar.extend_from_slice(header.as_bytes());
            tar.extend_from_slice(&content);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.resize(tar.len() + 1024, 0);
        tar
    })
}

/// Counts, and looks at no more than the paths.
#[derive(Default)]
struct Counted(u64);

impl EntrySink for Counted {
    fn entry(&mut self, path: TreePath, _: Entry, content: &mut dyn Read) -> io::Result<()> {
        assert!(path.components().all(|name| !matches!(name, b"" | b"." | b"..")), "{path:?}");
        self.0 += io::copy(content, &mut io::sink())?;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_archive_leaves_the_root_or_its_limits(mut tar in archive(), cut in any::<prop::sample::Index>(), whole in any::<bool>()) {
        if !whole {
            tar.truncate(cut.index(tar.len() + 1));
        }
        let limits = Limits { entries: 5, content_bytes: 1 << 16, ..Limits::DEFAULT };
        let mut sink = Counted::default();
        if let Ok(stats) = read_layer(&tar[..], &mut sink, &limits) {
            prop_assert!(stats.entries <= limits.entries);
            prop_assert_eq!(stats.diff_id.0, Digest::of(&tar));
        }
        prop_assert!(sink.0 <= limits.content_bytes);
        let mut sink = Counted::default();
        let _ = read_archive(&tar[..], &mut sink, &limits);
        prop_assert!(sink.0 <= limits.content_bytes);
    }

    #[test]
    fn what_is_read_and_written_is_read_again_as_the_same(tar in archive()) {
        if let Ok(tree) = read(&tar) {
            let again = read(&write(&tree, Times::Kept));
            prop_assert_eq!(again.map_err(|error| TestCaseError::fail(error.to_string()))?, tree);
        }
    }
}
