//! The example that composes images of Debian packages, fed from a mirror of a few packages on this machine.

mod as_root {
    use std::fs;
    use std::path::Path;

    use crate::plugins::component;
    use crate::privileges::needs_root;
    use crate::server::Files;
    use crate::space::{Ran, TestSpace, shell};

    /// Fields beyond name and version, and a script that fills the package's directory.
    const PACKAGES: [(&str, &str, &str); 6] = [
        (
            "base-files",
            "Essential: yes",
            "mkdir -p etc bin lib tmp usr/share/base-files; chmod 1777 tmp; echo one >etc/debian_version; echo profile >usr/share/base-files/profile",
        ),
        (
            "base-passwd",
            "Depends: libfoo1 (>= 1.0)",
            "mkdir -p usr/share/base-passwd; echo 'root:*:0:0:root:/root:/bin/sh' >usr/share/base-passwd/passwd.master; echo 'root:*:0:' >usr/share/base-passwd/group.master",
        ),
        (
            "busybox",
            "Provides: shell\nPre-Depends: base-files",
            "mkdir -p bin usr/bin; cp BUSYBOX bin/busybox; for name in sh cat ls id; do ln -s busybox bin/$name; done",
        ),
        (
            "libfoo1",
            "Multi-Arch: same",
            "mkdir -p usr/lib/foo lib/foo usr/share/doc/libfoo1; echo so >usr/lib/foo/libfoo.so.1; echo moved >lib/foo/data; echo words >usr/share/doc/libfoo1/copyright",
        ),
        ("broken", "Depends: tool, libbar (>= 2) | libfoo1 (>> 3)", "mkdir etc; echo broken >etc/broken"),
        (
            "tool",
            "Depends: shell\nConflicts: rival",
            "mkdir -p usr/bin; printf '#!/bin/sh\\necho tool runs\\n' >usr/bin/tool; chmod 755 usr/bin/tool; touch -d '2001-02-03 04:05:06' usr/bin/tool",
        ),
    ];

    /// A mirror with one suite, whose index is compressed by xz.
    struct Mirror {
        server: Files,
        /// `sha256:…` of `Release`.
        pin: String,
    }

    impl Mirror {
        fn start() -> Self {
            let server = Files::start();
            let root = server.root.path();
            // One that needs no libraries.
            let tools = TestSpace::with_bases(&["busybox"]);
            tools.build_text("FROM busybox\n", &["-o", "tools"]).ok();
            let busybox = tools.path("tools/bin/busybox");
            let mut list = String::new();
            for (name, fields, fill) in PACKAGES {
                let directory = root.join("build").join(name);
                fs::create_dir_all(directory.join("DEBIAN")).expect("a directory for the package");
                let control = format!(
                    "Package: {name}\nVersion: 1.2-3\nArchitecture: amd64\nMaintainer: Somebody <x@example.org>\n{fields}\nDescription: for tests\n of kiln\n"
                );
                fs::write(directory.join("DEBIAN/control"), &control).expect("the control file is written");
                let fill = fill.replace("BUSYBOX", &format!("'{}'", busybox.display()));
                shell(&format!("cd '{}' && {fill}", directory.display()));
                let sums = "find . -path ./DEBIAN -prune -o -type f -printf '%P\\n' | xargs -r md5sum >DEBIAN/md5sums";
                shell(&format!("cd '{}' && {sums}", directory.display()));
                fs::create_dir_all(root.join("pool")).expect("a directory for the pool");
                let path = format!("pool/{name}.deb");
                shell(&format!(
                    "cd '{}' && find . -exec touch -h -d @1000000000 {{}} + && dpkg-deb --root-owner-group -Zxz -b . '{}'",
                    directory.display(),
                    root.join(&path).display()
                ));
                let digest = digest(&root.join(&path));
                list += &format!("{control}Filename: {path}\nSize: 1\nSHA256: {digest}\n\n");
            }
            let suite = root.join("dists/tests");
            fs::create_dir_all(suite.join("main/binary-amd64")).expect("a directory for the suite");
            fs::write(suite.join("main/binary-amd64/Packages"), list).expect("the list is written");
            shell(&format!("xz '{}'", suite.join("main/binary-amd64/Packages").display()));
            let list = digest(&suite.join("main/binary-amd64/Packages.xz"));
            let release = format!(
                "Suite: tests\nDate: Sat, 12 Jul 2025 09:10:47 UTC\nSHA256:\n {list} 1 main/binary-amd64/Packages.xz\n"
            );
            fs::write(suite.join("Release"), release).expect("the release is written");
            let pin = format!("sha256:{}", digest(&suite.join("Release")));
            Self { server, pin }
        }

        /// A file with a source that is pinned after these lines, and the rest after it.
        fn file(&self, top: &str, rest: &str) -> String {
            format!("{top}\n[[source]]\nsuite = \"tests\"\nrelease = \"{}\"\n{rest}", self.pin)
        }

        fn build(&self, space: &TestSpace, text: &str, more: &[&str]) -> Ran {
            space.write("debian.toml", text);
            let plugin = component("examples/debian-image");
            let mirror = format!("mirror={}", self.server.url(""));
            let mut args = vec!["--plugin", plugin.to_str().expect("the path is UTF-8"), "--opt", &mirror];
            args.extend([
                "--frontend=debian-image",
                "--allow=plugin.solve:files=debian-image",
                "--platform=linux/amd64",
            ]);
            args.extend(more);
            space.build(&args)
        }
    }

    fn digest(file: &Path) -> String {
        shell(&format!("sha256sum '{}'", file.display())).split(' ').next().expect("a digest").to_owned()
    }

    const WHOLE: &str = "packages = [\"tool\", \"busybox=1.2-3\", \"base-passwd\"]\nbase = \"essential\"\nexclude = [\"usr/share/doc/**\"]";
    const REST: &str = "[[user]]\nname = \"app\"\nuid = 1000\n[[file]]\npath = \"/srv/motd\"\ntext = \"hello\\n\"\nmode = \"0600\"\nowner = \"app\"\n[[file]]\npath = \"/srv/notes\"\nfrom = \"notes.txt\"\n[[link]]\npath = \"/srv/link\"\ntarget = \"motd\"\n[image]\ncmd = [\"tool\"]\nlabels = { a = \"b\" }\n";

    #[test]
    fn an_image_of_packages_runs_and_is_a_base_of_others() {
        needs_root!();
        let (mirror, space) = (Mirror::start(), TestSpace::with_example("debian-image", &[]));
        space.write("notes.txt", "notes\n");
        let text = mirror.file(WHOLE, REST);
        mirror.build(&space, &text, &["-t", "composed"]).ok().says(&["composing 5 packages of tests"]);
        assert_eq!(space.kiln(&["run", "composed"]).ok().text(), "tool runs\n");
        let shown = space.kiln(&[
            "run",
            "composed",
            "sh",
            "-c",
            "cat /srv/notes /etc/profile; id app; ls -d /bin /usr/lib/foo/*",
        ]);
        assert_eq!(
            shown.ok().text(),
            "notes\nprofile\nuid=1000(app) gid=1000(app) groups=1000(app)\n/bin\n/usr/lib/foo/data\n/usr/lib/foo/libfoo.so.1\n"
        );
        let image = crate::readback::image(&space, "composed");
        assert_eq!(image.entry("/bin").target, "usr/bin");
        let motd = image.entry("/srv/motd");
        assert_eq!((motd.mode, motd.uid), (0o600, 1000));
        assert_eq!((image.entry("/tmp").mode, image.entry("/home/app").uid), (0o1777, 1000));
        assert!(!image.tree.contains_key("/usr/share/doc/libfoo1/copyright"), "it is excluded");
        assert_eq!(image.config["config"]["Labels"]["a"], "b");

        space.build_text("FROM composed\nRUN tool >/told\n", &["-t", "above"]).ok();
        assert_eq!(space.kiln(&["run", "above", "cat", "/told"]).ok().text(), "tool runs\n");
        mirror.build(&space, &text, &["-t", "composed"]).ok().says(&["nothing to do"]);
    }

    #[test]
    fn dpkg_knows_the_packages_and_their_files() {
        needs_root!();
        let (mirror, space) = (Mirror::start(), TestSpace::new());
        let text = mirror.file("packages = [\"tool\", \"base-passwd\"]", "");
        mirror.build(&space, &text, &["-o", "root"]).ok();
        let database = space.path("root/var/lib/dpkg");
        let ask = |args: &str| shell(&format!("dpkg-query --admindir='{}' {args}", database.display()));
        assert_eq!(
            ask("-W -f '${binary:Package} ${Version} ${db:Status-Status}\\n'"),
            "base-files 1.2-3 installed\nbase-passwd 1.2-3 installed\nbusybox 1.2-3 installed\nlibfoo1:amd64 1.2-3 installed\ntool 1.2-3 installed\n"
        );
        assert_eq!(ask("-S /usr/bin/tool"), "tool: /usr/bin/tool\n");
        assert!(ask("-L libfoo1:amd64").lines().any(|line| line == "/lib/foo/data"));
        assert!(ask("-s tool").contains("for tests\n of kiln"));
        assert_eq!(shell(&format!("dpkg --admindir='{}' --audit", database.display())), "");
        let verified = format!("dpkg --root='{}' --verify", space.path("root").display());
        assert_eq!(shell(&verified), "", "every file is as its package has it");
        let later = mirror.file("packages = [\"tool\"]\nscripts = \"later\"", "");
        mirror.build(&space, &later, &["-o", "root"]).ok();
        assert_eq!(ask("-W -f '${db:Status-Status}\\n' tool"), "unpacked\n");
    }

    #[test]
    fn the_same_pin_gives_the_same_bytes() {
        needs_root!();
        let mirror = Mirror::start();
        let images: Vec<_> = (0..2)
            .map(|_| {
                let space = TestSpace::new();
                space.write("notes.txt", "notes\n");
                mirror.build(&space, &mirror.file(WHOLE, REST), &["-t", "x", "--iidfile", "id"]).ok();
                let image = crate::readback::image(&space, "x");
                assert_eq!(image.config["created"], "2025-07-12T09:10:47Z");
                space.read("id")
            })
            .collect();
        assert_eq!(images[0], images[1]);
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        needs_root!();
        let (mirror, space) = (Mirror::start(), TestSpace::new());
        let fails = |top: &str, texts: &[&str]| {
            mirror.build(&space, &mirror.file(top, ""), &["-o", "out"]).ends(1).says(texts);
        };
        fails("packages = [\"tol\"]", &["debian-no-package", "debian.toml:1:13", "did you mean `tool`?"]);
        fails("packages = [\"tool=2\"]", &["debian-version", "there is 1.2-3"]);
        fails("packges = []", &["debian-key", "debian.toml:1:1", "did you mean `packages`?"]);
        fails("packages = [", &["debian-syntax", "debian.toml:"]);
        fails(
            "packages = [\"broken\"]",
            &[
                "debian-unresolvable",
                "nothing satisfies `Depends: libbar (>= 2) | libfoo1 (>> 3)` of `broken` 1.2-3",
                "help: `broken` is named here",
                "`libfoo1` is there in the version 1.2-3",
            ],
        );
        fails("packages = [\"shell\"]", &["it is provided by busybox: name one of them"]);

        let unpinned = "packages = [\"tool\"]\n[[source]]\nsuite = \"tests\"\n";
        let told = format!("release = \"{}\"", mirror.pin);
        mirror.build(&space, unpinned, &["-o", "out"]).ends(1).says(&[
            "debian-pin",
            "debian.toml:2:1",
            &told,
        ]);
        let wrong =
            mirror.file("packages = [\"tool\"]", "").replace(&mirror.pin, &format!("sha256:{:064}", 0));
        mirror.build(&space, &wrong, &["-o", "out"]).ends(1).says(&[
            "debian-fetch",
            &mirror.pin,
            "was asked for",
        ]);
        let other = unpinned.replace("tests", "other");
        mirror.build(&space, &other, &["-o", "out"]).ends(1).says(&["debian-fetch", "404"]);
        mirror
            .build(&space, &mirror.file("base = \"all\"", ""), &["--check"])
            .ends(1)
            .says(&["debian-word", "debian.toml:1:8"]);

        // The list has been signed for, so to speak; what the pool has since is something else.
        fs::write(mirror.server.root.path().join("pool/tool.deb"), "another")
            .expect("the package is written");
        fails("packages = [\"tool\"]", &["checksum-mismatch", "pool/tool.deb"]);
        let any = unpinned.replace("suite", "release = \"any\"\nsuite").replace("tool", "libfoo1");
        mirror.build(&space, &any, &["-o", "out"]).ok();
        assert_eq!(space.read("out/usr/lib/foo/data"), "moved\n");
    }
}
