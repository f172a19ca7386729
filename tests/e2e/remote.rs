//! Sources on other machines: downloads, git repositories, and contexts made of them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::server::{Daemon, Files, MODIFIED, commit};
use crate::space::{TestSpace, shell};

fn sha256(text: &str) -> String {
    format!("sha256:{}", &shell(&format!("printf %s '{text}' | sha256sum"))[..64])
}

fn add(url: &str, to: &str) -> String {
    format!("FROM scratch\nADD {url} {to}\n")
}

/// A repository with a branch, a tag of each kind, a sub-directory, a link and a program. Prints its two commits.
const HISTORY: &str = "mkdir -p dir/deep && echo one > file && echo deep > dir/deep/g && ln -s file link
    printf '#!/bin/sh\\n' > run.sh && chmod 755 run.sh
    git add . && git commit -qm one && git tag light && git tag -a v1 -m v1 && git rev-parse HEAD
    git checkout -qb other && echo two > file && git commit -qam two && git rev-parse HEAD && git checkout -q main";

/// Mode and owner of a file of an image that was written as `out.tar`, as tar lists them: a directory that is written
/// has the owner of whoever writes it.
fn listed(space: &TestSpace, path: &str) -> String {
    let archive = space.path("out.tar").display().to_string();
    let listing = shell(&format!("tar --numeric-owner -tvf '{archive}' '{path}'"));
    listing.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn ids(printed: &str) -> Vec<String> {
    printed.lines().map(str::to_owned).collect()
}

mod as_root {
    use super::*;
    use crate::privileges::needs_root;

    #[test]
    fn a_download_is_roots_0600_and_has_the_time_that_the_server_says() {
        needs_root!();
        let (space, server) = (TestSpace::new(), Files::start());
        server.write("file.bin", "content");
        let text = format!(
            "FROM scratch\nADD {0} /dir/\nADD {0} /named\nADD {1} /dir/\nADD --chmod=644 --chown=3:4 {0} /changed\n",
            server.url("file.bin?x=/y"),
            server.url("to/file.bin")
        );
        space.build_text(&text, &["-o", "out", "-o", "type=tar,dest=out.tar"]).ok();
        for path in ["dir/file.bin", "named"] {
            let written = format!("out/{path}");
            assert_eq!(space.read(&written), "content");
            assert_eq!(fs::metadata(space.path(&written)).unwrap().mtime(), MODIFIED.1, "{path}");
            assert_eq!(listed(&space, path), "-rw------- 0/0", "{path}");
        }
        assert_eq!(listed(&space, "changed"), "-rw-r--r-- 3/4");
    }

    #[test]
    fn what_did_not_change_is_not_fetched_again_and_what_did_is_told() {
        needs_root!();
        let (space, server) = (TestSpace::new(), Files::start());
        server.write("file", "one");
        let text = add(&server.url("file"), "/");
        space.build_text(&text, &["-o", "out"]).ok();
        assert_eq!(server.answers(), ["200 /file"]);
        space.build_text(&text, &["-o", "out"]).ok();
        assert_eq!(server.answers(), ["304 /file"]);
        // Without the cache too: what is there was found to be right.
        space.build_text(&text, &["-o", "out", "--no-cache"]).ok();
        assert_eq!(server.answers(), ["304 /file"]);
        server.write("file", "two");
        space.build_text(&text, &["-o", "out"]).ok().says(&["what is fetched changed", "file"]);
        assert_eq!(server.answers(), ["200 /file"]);
        assert_eq!(space.read("out/file"), "two");
    }

    #[test]
    fn one_address_is_asked_once_for_a_whole_build() {
        needs_root!();
        let (space, server) = (TestSpace::new(), Files::start());
        server.write("file", "one");
        let url = server.url("file");
        let text =
            format!("FROM scratch AS a\nADD {url} /a\nFROM scratch\nCOPY --from=a / /\nADD {url} /b\n");
        space.build_text(&text, &["-o", "out"]).ok();
        assert_eq!(server.answers(), ["200 /file"]);
        assert_eq!((space.read("out/a"), space.read("out/b")), ("one".to_owned(), "one".to_owned()));
    }

    #[test]
    fn a_checksum_is_verified_and_says_all_the_next_time() {
        needs_root!();
        let (space, server) = (TestSpace::new(), Files::start());
        server.write("file", "content");
        let text = format!("FROM scratch\nADD --checksum={} {} /\n", sha256("content"), server.url("file"));
        space.build_text(&text, &["-o", "out"]).ok();
        let longer = shell("printf content | sha512sum");
        let other =
            format!("FROM scratch\nADD --checksum=sha512:{} {} /\n", &longer[..128], server.url("file"));
        space.build_text(&other, &["-o", "out"]).ok();
        let wrong = format!("FROM scratch\nADD --checksum={} {} /\n", sha256("other"), server.url("file"));
        space.build_text(&wrong, &["-o", "out"]).ends(1).says(&[
            &sha256("content"),
            &sha256("other"),
            &server.url("file"),
            "Dockerfile:2",
            "checksum-mismatch",
        ]);
        server.stop();
        for text in [&text, &other] {
            space.build_text(text, &["-o", "out", "--no-cache"]).ok();
        }
    }

    #[test]
    fn refusals_name_the_address_the_status_and_the_line() {
        needs_root!();
        let (space, server) = (TestSpace::new(), Files::start());
        let url = server.url("status/404/x");
        space.build_text(&add(&url, "/"), &[]).ends(1).says(&[&url, "404", "Dockerfile:2:5"]);
        let url = server.url("to/gone");
        space.build_text(&add(&url, "/"), &[]).ends(1).says(&[&url, &server.url("gone"), "404"]);
        let url = server.url("status/500/x");
        space.build_text(&add(&url, "/"), &[]).ends(3).says(&[&url, "500", "Dockerfile:2"]);
        let url = "http://127.0.0.1:1/x";
        space.build_text(&add(url, "/"), &[]).ends(3).says(&[url, "could not reach", "Dockerfile:2"]);
        space.build_text(&add("http://a_b@:1/x", "/"), &[]).ends(1).says(&["not an address"]);
    }

    #[test]
    fn what_breaks_off_leaves_nothing_behind() {
        needs_root!();
        let (space, server) = (TestSpace::new(), Files::start());
        server.write("file", "content");
        let url = server.url("torn/file");
        space.build_text(&add(&url, "/"), &["-o", "out"]).ends(3).says(&[&url]);
        assert!(!space.path("out").exists());
        space.build_text(&add(&server.url("file"), "/"), &["-o", "out"]).ok();
        assert_eq!(space.read("out/file"), "content");
    }

    #[test]
    fn downloads_are_unpacked_when_asked_and_only_then() {
        needs_root!();
        let (space, server) = (TestSpace::new(), Files::start());
        let root = server.root.path().display().to_string();
        shell(&format!("cd '{root}' && mkdir d && echo in > d/f && chown 5:6 d/f"));
        for (name, compress) in
            [("a.tar", "cat"), ("a.gz", "gzip"), ("a.bz2", "bzip2"), ("a.xz", "xz"), ("a.zst", "zstd -q")]
        {
            shell(&format!("cd '{root}' && tar -c d | {compress} > {name}"));
            let url = server.url(name);
            let text = format!("FROM scratch\nADD {url} /plain/\nADD --unpack=true {url} /unpacked/\n");
            space.build_text(&text, &["-o", "out", "-o", "type=tar,dest=out.tar"]).ok();
            assert!(space.path(format!("out/plain/{name}")).is_file());
            assert_eq!(space.read("out/unpacked/d/f"), "in\n");
            assert_eq!(listed(&space, "unpacked/d/f"), "-rw-r--r-- 5/6");
            fs::remove_dir_all(space.path("out")).unwrap();
        }
    }

    #[test]
    fn credentials_come_from_secrets_and_stay_there() {
        needs_root!();
        let (space, server) = (TestSpace::new(), Files::start());
        server.write("file", "content");
        server.lock("Bearer Zm9vYmFy");
        let text = add(&server.url("file"), "/");
        let name = format!("HTTP_AUTH_TOKEN_{}", server.host());
        space.build_text(&text, &["-o", "out"]).ends(3).says(&["401", &name, "Dockerfile:2"]);
        fs::write(space.path("token"), "Zm9vYmFy\n").unwrap();
        let secret = format!("id={name},src={}", space.path("token").display());
        space.build_text(&text, &["-o", "out", "--secret", &secret]).ok().does_not_say("Zm9vYmFy");
        assert_eq!(space.read("out/file"), "content");
        let found = shell(&format!("grep -rl Zm9vYmFy '{}' || true", space.store.display()));
        assert_eq!(found, "", "the token is in the store");
    }

    #[test]
    fn a_repository_is_added_by_branch_tag_and_commit() {
        needs_root!();
        let (space, daemon) = (TestSpace::new(), Daemon::start());
        let commits = ids(&daemon.repository("x", HISTORY));
        let url = daemon.url("x");
        for (suffix, content) in [
            ("", "one\n"),
            ("#other", "two\n"),
            ("#refs/heads/other", "two\n"),
            ("#light", "one\n"),
            ("#v1", "one\n"),
            (&format!("#{}", commits[1]), "two\n"),
            (&format!("#{}", &commits[1][..9]), "two\n"),
            ("?branch=other", "two\n"),
            ("?tag=v1", "one\n"),
            (&format!("?branch=other&commit={}", &commits[1][..8]), "two\n"),
            (&format!("?commit={}&fetch-by-commit=1", commits[1]), "two\n"),
        ] {
            space.build_text(&add(&format!("{url}{suffix}"), "/src/"), &["-o", "out"]).ok();
            assert_eq!(space.read("out/src/file"), content, "{suffix}");
            assert!(!space.path("out/src/.git").exists());
        }
        let mode = |path: &str| fs::symlink_metadata(space.path(path)).unwrap().mode() & 0o7777;
        assert_eq!(
            (mode("out/src/file"), mode("out/src/run.sh"), mode("out/src/dir")),
            (0o644, 0o755, 0o755)
        );
        let made = fs::metadata(space.path("out/src")).unwrap().mtime();
        assert!(made > 1_000_000_000, "the directory has the time of the checkout, not {made}");
        assert_eq!(fs::read_link(space.path("out/src/link")).unwrap().to_str(), Some("file"));
        fs::remove_dir_all(space.path("out")).unwrap();
        space.build_text(&add(&format!("{url}#main:dir"), "/src/"), &["-o", "out"]).ok();
        assert_eq!(space.read("out/src/deep/g"), "deep\n");
        assert!(!space.path("out/src/file").exists());
    }

    #[test]
    fn what_a_repository_does_not_have_is_told_at_its_line() {
        needs_root!();
        let (space, daemon) = (TestSpace::new(), Daemon::start());
        let commits = ids(&daemon.repository("x", HISTORY));
        let url = daemon.url("x");
        let fails = |suffix: &str, status: i32, texts: &[&str]| {
            let ran = space.build_text(&add(&format!("{url}{suffix}"), "/"), &[]).ends(status);
            ran.says(&[&url, "Dockerfile:2"]).says(texts);
        };
        fails("#none", 1, &["no branch, tag or commit `none`"]);
        fails("#0123abc", 1, &["no branch, tag or commit `0123abc`"]);
        fails(&format!("#{}", "0".repeat(40)), 1, &[&"0".repeat(40)]);
        fails("#main:no/such", 1, &["no directory `no/such`"]);
        fails("#main:link", 1, &["no directory `link`"]);
        fails("?branch=main&checksum=abc", 1, &[&commits[0], "abc was asked for", "checksum-mismatch"]);
        let text = format!("FROM scratch\nADD --checksum={} {url}#main /\n", commits[1]);
        space.build_text(&text, &[]).ends(1).says(&[&commits[0], &commits[1]]);
        // Nothing of what is written there becomes an option of git.
        space.build_text(&add(&format!("{url}#--upload-pack=touch"), "/"), &[]).ends(1).says(&["not a name"]);
        let url = daemon.url("no-such-repository");
        space.build_text(&add(&url, "/"), &[]).ends(1).says(&[&url, "Dockerfile:2"]);
        let url = "git://127.0.0.1:1/x";
        space.build_text(&add(url, "/"), &[]).ends(3).says(&[url, "Dockerfile:2"]);
    }

    #[test]
    fn without_git_the_message_says_so() {
        needs_root!();
        let mut space = TestSpace::new();
        space.environment.push(("PATH".to_owned(), "/nowhere".to_owned()));
        space.build_text(&add("git://127.0.0.1:1/x", "/"), &[]).ends(3).says(&[
            "`git` is not installed",
            "Dockerfile:2",
            "install the package",
        ]);
    }

    #[test]
    fn a_branch_that_moved_is_built_again_and_one_that_did_not_is_not() {
        needs_root!();
        let (space, daemon) = (TestSpace::new(), Daemon::start());
        daemon.repository("x", HISTORY);
        let text = add(&daemon.url("x"), "/");
        space.build_text(&text, &["-o", "out"]).ok();
        let again = space.build_text(&text, &["-o", "out"]).ok();
        assert!(!again.stderr.contains("fetching"), "{again}");
        daemon.repository("x", "echo three > file && git commit -qam three");
        space.build_text(&text, &["-o", "out"]).ok().says(&["what is fetched changed"]);
        assert_eq!(space.read("out/file"), "three\n");
    }

    #[test]
    fn submodules_come_along_unless_they_are_not_wanted() {
        needs_root!();
        let (space, daemon) = (TestSpace::new(), Daemon::start());
        daemon.repository("sub", "echo inner > inner && git add . && git commit -qm sub");
        let sub = daemon.root.path().join("sub").display().to_string();
        daemon.repository(
            "x",
            &format!(
                "git submodule --quiet add --name s '{sub}' dir/sub
                 git config -f .gitmodules submodule.s.url ../sub && git add . && git commit -qm x"
            ),
        );
        space.build_text(&add(&daemon.url("x"), "/"), &["-o", "out"]).ok();
        assert_eq!(space.read("out/dir/sub/inner"), "inner\n");
        assert!(!space.path("out/dir/sub/.git").exists());
        let without = add(&daemon.url("x?submodules=false"), "/");
        space.build_text(&without, &["-o", "out2"]).ok();
        assert!(!space.path("out2/dir/sub/inner").exists());
        // What leads to files of this machine is not followed.
        daemon.repository(
            "x",
            &format!("git config -f .gitmodules submodule.s.url 'file://{sub}' && git commit -qam x"),
        );
        space.build_text(&add(&daemon.url("x"), "/"), &[]).ends(1).says(&["dir/sub", "file://"]);
    }

    #[test]
    fn a_kept_repository_knows_its_commit_and_tag() {
        needs_root!();
        let (space, daemon) = (TestSpace::new(), Daemon::start());
        let commits = ids(&daemon.repository("x", HISTORY));
        let text = format!("FROM scratch\nADD --keep-git-dir=true {}#v1 /\n", daemon.url("x"));
        space.build_text(&text, &["-o", "out"]).ok();
        let out = space.path("out").display().to_string();
        let git = |command: &str| shell(&format!("git -c safe.directory='*' -C '{out}' {command}"));
        assert_eq!(git("rev-parse HEAD").trim(), commits[0]);
        assert_eq!(git("describe").trim(), "v1");
        assert_eq!(git("status --porcelain"), "");
        assert_eq!(git("remote get-url origin").trim(), daemon.url("x"));
    }

    #[test]
    fn repositories_over_http_need_no_server_that_knows_git() {
        needs_root!();
        let (space, server) = (TestSpace::new(), Files::start());
        commit(server.root.path(), "x.git", HISTORY);
        let url = server.url("x.git");
        space.build_text(&add(&format!("{url}#other"), "/"), &["-o", "out"]).ok();
        assert_eq!(space.read("out/file"), "two\n");
        let token = "x-access-token:Zm9vYmFy";
        server.lock(&format!("Basic {}", shell(&format!("printf %s {token} | base64 -w0"))));
        let fresh = TestSpace::new();
        fresh.build_text(&add(&url, "/"), &["-o", "out"]).ends(3).says(&[&url, "GIT_AUTH_TOKEN"]);
        fs::write(fresh.path("token"), "Zm9vYmFy\n").unwrap();
        let secret = |name: &str| format!("id={name},src={}", fresh.path("token").display());
        let elsewhere = secret("GIT_AUTH_TOKEN.example.com");
        fresh.build_text(&add(&url, "/"), &["-o", "out", "--secret", &elsewhere]).ends(3);
        for name in ["GIT_AUTH_TOKEN".to_owned(), format!("GIT_AUTH_TOKEN.{}", server.host())] {
            fresh.build_text(&add(&url, "/"), &["-o", "out", "--no-cache", "--secret", &secret(&name)]).ok();
            assert_eq!(fresh.read("out/file"), "one\n");
        }
        let found = shell(&format!("grep -rl Zm9vYmFy '{}' || true", fresh.store.display()));
        assert_eq!(found, "", "the token is in the store");
    }

    #[test]
    fn repositories_over_ssh_use_the_agent_that_was_given_and_no_configuration() {
        needs_root!();
        let mut space = TestSpace::new();
        commit(&space.path(""), "x", HISTORY);
        let log = space.path("log");
        // In place of the program: it runs here what it is asked to run there.
        fs::create_dir(space.path("bin")).unwrap();
        let script = format!(
            "#!/bin/sh\necho \"agent=$SSH_AUTH_SOCK $*\" >>'{}'\nfor last; do :; done\nexec sh -c \"$last\"\n",
            log.display()
        );
        fs::write(space.path("bin/ssh"), script).unwrap();
        shell(&format!("chmod 755 '{}'", space.path("bin/ssh").display()));
        let path = format!("{}:{}", space.path("bin").display(), std::env::var("PATH").unwrap());
        space.environment.push(("PATH".to_owned(), path));
        let socket = space.path("agent");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let ssh = format!("default={}", socket.display());
        let repository = space.path("x").display().to_string();
        for url in [format!("git@example.test:{repository}"), format!("ssh://git@example.test{repository}")] {
            space.build_text(&add(&format!("{url}#other"), "/"), &["-o", "out", "--ssh", &ssh]).ok();
            assert_eq!(space.read("out/file"), "two\n");
        }
        let log = fs::read_to_string(log).unwrap();
        for line in log.lines() {
            assert!(line.starts_with(&format!("agent={} ", socket.display())), "{line}");
            assert!(line.contains("-F /dev/null -o BatchMode=yes"), "{line}");
            assert!(line.contains("git@example.test git-upload-pack "), "{line}");
        }
    }

    #[test]
    fn contexts_are_repositories_archives_and_lone_build_files() {
        needs_root!();
        let (space, daemon, server) = (TestSpace::new(), Daemon::start(), Files::start());
        let text = "FROM scratch\nCOPY . /all/\n";
        daemon.repository(
            "x",
            &format!("mkdir sub && printf '{text}' > sub/Dockerfile && echo s > sub/s && echo s > sub/.dockerignore
                      printf '{text}' > Dockerfile && git add . && git commit -qm x"),
        );
        let build = |args: &[&str]| {
            let _ = fs::remove_dir_all(space.path("out"));
            space.kiln(&[&["build", "--progress", "plain", "-o", "out"], args].concat())
        };
        build(&[&daemon.url("x#main:sub")]).ok();
        assert_eq!(space.read("out/all/s"), "s\n");
        build(&["-f", "sub/Dockerfile", &daemon.url("x")]).ok();
        assert_eq!(space.read("out/all/sub/s"), "s\n");
        assert!(!space.path("out/all/.git").exists());
        build(&["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &daemon.url("x")]).ok();
        assert!(space.path("out/all/.git/HEAD").exists());
        build(&[&daemon.url("x#none")]).ends(1).says(&["no branch, tag or commit `none`"]);

        let root = server.root.path().display().to_string();
        shell(&format!(
            "cd '{root}' && mkdir c && printf '{text}' > c/Dockerfile && echo f > c/f && echo f > c/.dockerignore
             chown 5:6 c/f"
        ));
        for (name, compress) in
            [("a.tar", "cat"), ("a.gz", "gzip"), ("a.bz2", "bzip2"), ("a.xz", "xz"), ("a.zst", "zstd -q")]
        {
            shell(&format!("cd '{root}' && tar -C c -c . | {compress} > {name}"));
            build(&["-o", "type=tar,dest=out.tar", &server.url(name)]).ok();
            assert_eq!(space.read("out/all/f"), "f\n", "ignore files are for directories");
            assert_eq!(listed(&space, "all/f"), "-rw-r--r-- 5/6", "owners of archives stay");
        }
        server.write("Lone", text);
        build(&[&server.url("Lone")]).ok();
        assert_eq!(space.read("out/all/context"), text);
        build(&[&server.url("missing.tar")]).ends(1).says(&["404", &server.url("missing.tar")]);
        build(&["http://127.0.0.1:1/x"]).ends(3).says(&["could not reach"]);
        space.write("local", "local");
        build(&["-f", &server.url("Lone"), "context"]).ok();
        assert_eq!(space.read("out/all/local"), "local");
    }

    #[test]
    fn named_contexts_are_repositories_downloads_and_archives() {
        needs_root!();
        let (space, daemon, server) = (TestSpace::new(), Daemon::start(), Files::start());
        daemon.repository("x", HISTORY);
        server.write("data", "data");
        shell(&format!("cd '{0}' && echo in > f && tar -czf a.tgz f", space.path("").display()));
        let git = format!("repo={}#other", daemon.url("x"));
        let http = format!("web={}", server.url("data"));
        let text = "FROM scratch\nCOPY --from=repo file /\nCOPY --from=web context /\nCOPY --from=tar f /\n";
        let contexts =
            ["--build-context", &git, "--build-context", &http, "--build-context", "tar=a.tgz", "-o", "out"];
        space.build_text(text, &contexts).ok();
        assert_eq!(space.read("out/file"), "two\n");
        assert_eq!(space.read("out/context"), "data");
        assert_eq!(space.read("out/f"), "in\n");
        let text = "FROM scratch\nCOPY --from=repo file /\n";
        for (value, said) in [("gopher://x", "gopher://x"), ("target:other", "target:other")] {
            let context = format!("repo={value}");
            space.build_text(text, &["--build-context", &context]).ends(1).says(&[said, "docker-image://"]);
        }
    }

    #[test]
    fn a_commits_time_is_that_of_the_build_when_it_is_asked_for() {
        needs_root!();
        let (space, daemon) = (TestSpace::new(), Daemon::start());
        daemon.repository(
            "x",
            "printf 'FROM scratch\\nCOPY f /\\n' > Dockerfile && echo f > f && git add . && git commit -qm x",
        );
        // 2001-02-03T04:05:06Z
        let time = 981_173_106;
        let args =
            ["build", "--build-arg", "SOURCE_DATE_EPOCH=context", "-t", "it", "-o", "out", &daemon.url("x")];
        space.kiln(&args).ok();
        assert_eq!(fs::metadata(space.path("out/f")).unwrap().mtime(), time);
        let config = crate::readback::image(&space, "it").config;
        assert_eq!(config["created"].as_str(), Some("2001-02-03T04:05:06Z"));
        let fresh = TestSpace::new();
        let url = daemon.url("x?mtime=commit");
        fresh.kiln(&["build", "-o", "out", &url]).ok();
        assert_eq!(fs::metadata(fresh.path("out/f")).unwrap().mtime(), time);
    }
}
