use super::*;
use crate::testing::{Image, Tree};

const LD: &str = "/lib64/ld-linux-x86-64.so.2";
const LIBS: &str = "/usr/lib/x86_64-linux-gnu";

fn library() -> Image {
    Image::new(Image::AMD64)
}

fn program(needed: &[&str]) -> Image {
    Image::program(Image::AMD64, LD).needs(needed)
}

/// Debian with merged directories, with the C library.
fn debian() -> Tree {
    Tree::new()
        .link("/lib", "usr/lib")
        .link("/lib64", "usr/lib64")
        .link("/usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
        .file(&format!("{LIBS}/ld-linux-x86-64.so.2"), &library().uses(&["GLIBC_2.34"]).bytes())
        .file(
            &format!("{LIBS}/libc.so.6"),
            &library().needs(&["ld-linux-x86-64.so.2"]).uses(&["getaddrinfo", "GLIBC_2.34"]).bytes(),
        )
        .file("/etc/ld.so.conf", b"/usr/local/lib\n/lib/x86_64-linux-gnu\n")
}

fn of(tree: &Tree, files: &[&str]) -> Closure {
    let files = files.iter().map(|path| (*path).to_owned()).collect();
    closure(tree, &Request { files, ..Request::default() }).unwrap()
}

fn paths(closure: &Closure) -> Vec<&str> {
    assert_eq!(closure.problems, []);
    closure.items.keys().map(String::as_str).collect()
}

fn messages(closure: &Closure) -> Vec<&str> {
    closure.problems.iter().map(|problem| problem.message.as_str()).collect()
}

#[test]
fn links_to_directories_become_directories() {
    let tree = debian().file("/app/server", &program(&["libc.so.6"]).bytes());
    let found = of(&tree, &["/app/server"]);
    assert_eq!(
        paths(&found),
        ["/app/server", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6", LD]
    );
    assert_eq!(found.items[LD], Item::Link("../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2".to_owned()));
    assert_eq!(found.items["/lib/x86_64-linux-gnu/libc.so.6"], Item::File(format!("{LIBS}/libc.so.6")));
}

#[test]
fn separate_directories_stay_separate() {
    let tree = Tree::new()
        .link(LD, "/lib/x86_64-linux-gnu/ld-2.31.so")
        .file("/lib/x86_64-linux-gnu/ld-2.31.so", &library().bytes())
        .link("/lib/x86_64-linux-gnu/libc.so.6", "libc-2.31.so")
        .file("/lib/x86_64-linux-gnu/libc-2.31.so", &library().bytes())
        .file("/usr/lib/x86_64-linux-gnu/libssl.so.3", &library().needs(&["libc.so.6"]).bytes())
        .file("/bin/p", &program(&["libssl.so.3"]).bytes());
    assert_eq!(
        paths(&of(&tree, &["/bin/p"])),
        [
            "/bin/p",
            "/lib/x86_64-linux-gnu/ld-2.31.so",
            "/lib/x86_64-linux-gnu/libc-2.31.so",
            "/lib/x86_64-linux-gnu/libc.so.6",
            LD,
            "/usr/lib/x86_64-linux-gnu/libssl.so.3"
        ]
    );
}

#[test]
fn chains_of_links_are_kept_whole() {
    let tree = debian()
        .link("/usr/bin/java", "/etc/alternatives/java")
        .link("/etc/alternatives/java", "/opt/jdk/bin/java")
        .file("/opt/jdk/bin/java", &program(&["libjli.so"]).runpath("$ORIGIN/../lib").bytes())
        .link("/opt/jdk/lib/libjli.so", "libjli.so.1")
        .link("/opt/jdk/lib/libjli.so.1", "libjli.so.1.2")
        .file("/opt/jdk/lib/libjli.so.1.2", &library().bytes());
    let found = of(&tree, &["/usr/bin/java"]);
    assert_eq!(
        paths(&found),
        [
            "/etc/alternatives/java",
            "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            LD,
            "/opt/jdk/bin/java",
            "/opt/jdk/lib/libjli.so",
            "/opt/jdk/lib/libjli.so.1",
            "/opt/jdk/lib/libjli.so.1.2",
            "/usr/bin/java"
        ]
    );
}

#[test]
fn a_program_below_a_link_finds_its_libraries_beside_it() {
    let tree = debian()
        .link("/opt/app/current", "releases/5")
        .file("/opt/app/releases/5/bin/p", &program(&["liba.so"]).runpath("$ORIGIN/../lib").bytes())
        .file("/opt/app/releases/5/lib/liba.so", &library().bytes());
    let found = of(&tree, &["/opt/app/current/bin/p"]);
    assert_eq!(
        found.items["/opt/app/current/lib/liba.so"],
        Item::File("/opt/app/releases/5/lib/liba.so".to_owned())
    );
}

#[test]
fn a_soname_that_is_loaded_is_not_looked_for_again() {
    // The second library would be another one by the path of who asks for it.
    let tree = debian()
        .file("/a/libone.so", &library().bytes())
        .file("/b/libone.so", &library().bytes())
        .file("/a/libtwo.so", &library().needs(&["libone.so"]).runpath("/b").bytes())
        .file("/p", &program(&["libone.so", "libtwo.so"]).runpath("/a").bytes());
    let found = of(&tree, &["/p"]);
    assert!(found.items.contains_key("/a/libone.so") && !found.items.contains_key("/b/libone.so"));
}

#[test]
fn every_missing_library_is_named_with_who_needs_it() {
    let tree = debian()
        .file(&format!("{LIBS}/liba.so.1"), &library().needs(&["libgone.so.2"]).bytes())
        .file("/p", &program(&["liba.so.1", "liba.so.7", "libz.so.1", "x/y.so"]).bytes());
    let found = of(&tree, &["/p"]);
    assert_eq!(
        messages(&found),
        [
            "`/p` needs `liba.so.7`, which is nowhere that the dynamic linker looks",
            "`/p` needs `libz.so.1`, which is nowhere that the dynamic linker looks",
            "`/p` needs `x/y.so`, which is nowhere that the dynamic linker looks",
            "`/lib/x86_64-linux-gnu/liba.so.1` needs `libgone.so.2`, which is nowhere that the dynamic linker looks",
        ]
    );
    assert_eq!(found.problems[0].help, "`/lib/x86_64-linux-gnu/liba.so.1` is there, which is another one");
    assert!(found.problems[1].help.starts_with("looked in `/usr/local/lib`, `/lib/x86_64-linux-gnu`"));
    assert!(found.problems.iter().all(|problem| problem.code == "closure-missing"));
    let lone = Tree::new().file("/p", &program(&[]).bytes());
    assert_eq!(messages(&of(&lone, &["/p"])), [format!("the interpreter `{LD}` of `/p` is not there")]);
}

#[test]
fn machines_do_not_mix() {
    let arm = Image::new(Image::ARM64);
    let tree = debian()
        .file("/p", &program(&["liba.so"]).runpath("/foreign:/own").bytes())
        .file("/foreign/liba.so", &arm.bytes())
        .file("/q", &arm.bytes());
    let found = of(&tree, &["/p", "/q"]);
    assert_eq!(
        messages(&found),
        [
            "`/p` is for amd64 and needs `liba.so`, and `/foreign/liba.so` is for arm64",
            "`/p` is for amd64, and `/q` for arm64"
        ]
    );
    assert_eq!(messages(&of(&tree, &["/p", "/foreign/liba.so"])).len(), 1, "one file, one message");
    // The linker passes over what it cannot load.
    let tree = tree.file("/own/liba.so", &library().bytes());
    assert!(of(&tree, &["/p"]).items.contains_key("/own/liba.so"));
    let request =
        Request { files: vec!["/q".to_owned()], architecture: "amd64".to_owned(), ..Request::default() };
    assert_eq!(messages(&closure(&tree, &request).unwrap()), ["`/q` is for arm64, and the image for amd64"]);
}

#[test]
fn files_that_are_none_are_told_apart() {
    let tree = debian()
        .file("/dir/x", b"")
        .file("/script", b"#! /usr/bin/perl -w\n")
        .file("/text", b"text")
        .link("/dangling", "/gone");
    let found = of(&tree, &["/gone", "/dir", "/script", "/text", "/dangling", "/dir/*.so"]);
    assert_eq!(
        messages(&found),
        [
            "no file matches `/dir/*.so`",
            "`/gone` is not there",
            "`/dir` is a directory",
            "`/script` is a script",
            "`/text` is no ELF file",
            "`/dangling` is a link to `/gone`, which is not there"
        ]
    );
    assert_eq!(found.problems[3].help, "name what runs it: `/usr/bin/perl`");
}

#[test]
fn a_pattern_stands_for_the_elf_files_it_matches() {
    let tree = debian()
        .file("/plugins/a.so", &library().needs(&["libc.so.6"]).bytes())
        .file("/plugins/README", b"text")
        .link("/plugins/b.so", "a.so");
    assert_eq!(
        paths(&of(&tree, &["/plugins/*"])),
        ["/lib/x86_64-linux-gnu/libc.so.6", "/plugins/a.so", "/plugins/b.so"]
            .into_iter()
            .chain(["/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"])
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_library_of_a_configured_directory_comes_with_a_cache() {
    let tree = debian()
        .file("/usr/local/lib/libmine.so.1", &library().bytes())
        .file("/p", &program(&["libmine.so.1"]).bytes());
    let found = of(&tree, &["/p"]);
    let Item::Data(cache) = &found.items["/etc/ld.so.cache"] else { panic!("{found:?}") };
    let text = String::from_utf8_lossy(cache);
    assert!(text.contains("/usr/local/lib/libmine.so.1\0") && !text.contains("libc.so.6"));
}

#[test]
fn musl_is_its_own_c_library() {
    let tree = Tree::new()
        .file("/lib/ld-musl-x86_64.so.1", &library().bytes())
        .link("/lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1")
        .file("/usr/lib/libz.so.1", &library().needs(&["libc.musl-x86_64.so.1"]).bytes())
        .file(
            "/p",
            &Image::program(Image::AMD64, "/lib/ld-musl-x86_64.so.1")
                .needs(&["libz.so.1", "libpthread.so"])
                .bytes(),
        );
    assert_eq!(paths(&of(&tree, &["/p"])), ["/lib/ld-musl-x86_64.so.1", "/p", "/usr/lib/libz.so.1"]);
}

#[test]
fn what_the_c_library_opens_behind_ones_back_is_guessed() {
    let user = |words: &[&str]| debian().file("/p", &program(&["libc.so.6"]).uses(words).bytes());
    let codes = |tree: &Tree, with: &[&str]| {
        let with = with.iter().map(|name| (*name).to_owned()).collect();
        let request = Request { files: vec!["/p".to_owned()], with, ..Request::default() };
        closure(tree, &request).unwrap().problems.into_iter().map(|problem| problem.code).collect::<Vec<_>>()
    };
    let library = library().bytes();
    let lookups = user(&["getaddrinfo"])
        .file(&format!("{LIBS}/libnss_files.so.2"), &library)
        .file(&format!("{LIBS}/libnss_sss.so.2"), &library);
    assert_eq!(codes(&lookups, &[]), [""; 0], "files and dns are built in");
    let lookups = lookups.file("/etc/nsswitch.conf", b"passwd: files [NOTFOUND=return] sss\n");
    assert_eq!(codes(&lookups, &[]), ["closure-nss"]);
    assert_eq!(codes(&lookups, &["libnss_sss.so.2"]), [""; 0]);
    let threads = user(&["pthread_cancel"]);
    assert_eq!(codes(&threads, &[]), [""; 0]);
    let threads = threads.file(&format!("{LIBS}/libgcc_s.so.1"), &library);
    assert_eq!(codes(&threads, &[]), ["closure-libgcc"]);
    let text = user(&["iconv_open"]).file(&format!("{LIBS}/gconv/UTF-16.so"), &library);
    assert_eq!(codes(&text, &[]), ["closure-gconv"]);
}

#[test]
fn a_static_program_is_alone() {
    let tree = Tree::new().file("/p", &library().bytes());
    assert_eq!(paths(&of(&tree, &["/p"])), ["/p"]);
}

#[test]
fn what_has_the_name_of_a_library_and_is_none_is_told() {
    let tree = debian()
        .file("/p", &program(&["liba.so", "libb.so"]).bytes())
        .link(&format!("{LIBS}/liba.so"), "liba.so")
        .link(&format!("{LIBS}/libb.so"), "/etc/ld.so.conf");
    let found = of(&tree, &["/p"]);
    let help: Vec<&str> = found.problems.iter().map(|problem| problem.help.as_str()).collect();
    assert_eq!(
        help,
        [
            "`/lib/x86_64-linux-gnu/liba.so` is there, which is no library that can be loaded",
            "`/lib/x86_64-linux-gnu/libb.so` is there, which is no library that can be loaded"
        ]
    );
}

#[test]
fn a_program_that_lacks_very_many_libraries_is_not_told_all_of_them() {
    let names: Vec<String> = (0..60_000).map(|number| format!("lib{number}.so")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = of(&debian().file("/p", &program(&names).bytes()), &["/p"]);
    assert_eq!(found.problems.len(), MAX_PROBLEMS + 1);
    assert_eq!(found.problems[MAX_PROBLEMS].message, "`/p` lacks more than these");
}

#[test]
fn libraries_that_need_each_other_without_an_end_are_counted() {
    let name = |number: usize| format!("lib{number}.so");
    let mut tree = debian().file("/p", &program(&["lib0.so"]).bytes());
    for number in 0..=MAX_OBJECTS {
        let next = name(number + 1);
        tree = tree.file(&format!("{LIBS}/{}", name(number)), &library().needs(&[&next]).bytes());
    }
    let found = of(&tree, &["/p"]);
    assert_eq!(messages(&found), ["`/p` needs more than 2000 libraries"]);
}

/// Counts what is asked of a tree.
struct Counted {
    tree: Tree,
    stats: std::cell::Cell<usize>,
}

impl Files for Counted {
    fn stat(&self, path: &str) -> Result<Option<Stat>, HostError> {
        self.stats.set(self.stats.get() + 1);
        self.tree.stat(path)
    }

    fn real_path(&self, path: &str) -> Result<Option<String>, HostError> {
        self.tree.real_path(path)
    }

    fn read(&self, path: &str, offset: u32, max: u32) -> Result<Vec<u8>, HostError> {
        self.tree.read(path, offset, max)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        self.tree.matching(pattern)
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, HostError> {
        self.tree.names(directory)
    }
}

#[test]
fn a_place_is_looked_at_once_however_many_programs_need_what_is_there() {
    let names: Vec<String> = (0..30).map(|number| format!("lib{number}.so")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut tree = debian();
    for name in &names {
        tree = tree.file(&format!("{LIBS}/{name}"), &library().bytes());
    }
    let mut files = Vec::new();
    for number in 0..300 {
        files.push(format!("/app/p{number}"));
        tree = tree.file(&files[number], &program(&names).bytes());
    }
    let counted = Counted { tree, stats: std::cell::Cell::default() };
    let found = closure(&counted, &Request { files, ..Request::default() }).unwrap();
    assert_eq!(paths(&found).len(), 300 + 30 + 2);
    assert!(counted.stats.get() < 1_000, "{} questions", counted.stats.get());
}
