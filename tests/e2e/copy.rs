//! What COPY and ADD take along, and where they put it.

use crate::readback::tree_of;
use crate::space::TestSpace;

/// Builds stage `target` of `examples/copy-semantics` into a directory and lists what is in it.
fn copied(target: &str) -> (TestSpace, Vec<String>) {
    let space = TestSpace::with_example("copy-semantics", &[]);
    // Git keeps no empty directories.
    space.directory("dir/empty");
    space.build(&["--target", target, "-o", "out"]).ok();
    let paths = tree_of(&space.path("out")).into_keys().collect();
    (space, paths)
}

mod as_root {
    use super::copied;
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::{TestSpace, shell};

    #[test]
    fn copying_the_context_keeps_directories_dotfiles_and_empty_directories() {
        needs_root!();
        let (space, paths) = copied("all");
        let expected = [
            "/x",
            "/x/.dockerignore",
            "/x/.hidden",
            "/x/dir",
            "/x/dir/.hidden",
            "/x/dir/empty",
            "/x/dir/file",
            "/x/dir/kept.log",
            "/x/dir/sub",
            "/x/dir/sub/deep",
            "/x/file",
        ];
        assert_eq!(paths, expected);
        assert_eq!(space.read("out/x/file"), "top\n");
    }

    #[test]
    fn a_wildcard_takes_dotfiles_and_the_contents_of_directories_in_order() {
        needs_root!();
        let (space, paths) = copied("star");
        let expected = [
            "/x",
            "/x/.dockerignore",
            "/x/.hidden",
            "/x/empty",
            "/x/file",
            "/x/kept.log",
            "/x/sub",
            "/x/sub/deep",
        ];
        assert_eq!(paths, expected);
        assert_eq!(space.read("out/x/file"), "top\n");
        assert_eq!(space.read("out/x/.hidden"), "in dir, hidden\n");
    }

    #[test]
    fn copying_a_directory_copies_its_contents() {
        needs_root!();
        let (space, paths) = copied("directory");
        assert_eq!(
            paths,
            ["/x", "/x/.hidden", "/x/empty", "/x/file", "/x/kept.log", "/x/sub", "/x/sub/deep"]
        );
        assert_eq!(space.read("out/x/file"), "in dir\n");
    }

    #[test]
    fn of_several_files_for_what_is_no_directory_the_last_one_counts() {
        needs_root!();
        let space = TestSpace::new();
        space.write("a", "a").write("b", "b").dockerfile("FROM scratch\nCOPY a b /x\n");
        space.build(&["-o", "out"]).ok().says(&["several-sources", "Dockerfile:2", "`/x/`"]);
        assert_eq!(space.read("out/x"), "b");
        space.dockerfile("FROM scratch\nCOPY a /x/\nCOPY a b /x\n");
        space.build(&["-o", "there"]).ok();
        assert_eq!(space.read("there/x/b"), "b");
    }

    #[test]
    fn a_wildcard_without_match_copies_nothing() {
        needs_root!();
        let space = TestSpace::new();
        space.write("a", "a").dockerfile("FROM scratch\nCOPY a package*.json /x/\n");
        space.build(&["-o", "out"]).ok();
        assert_eq!(readback::tree_of(&space.path("out")).into_keys().collect::<Vec<_>>(), ["/x", "/x/a"]);
    }

    #[test]
    fn owners_and_modes_are_those_asked_for() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("file", "x").write("dir/script", "#!/bin/sh\n");
        shell(&format!(
            "chmod 755 '{0}/dir/script'; chmod 640 '{0}/file'; chown 7:8 '{0}/file'",
            space.context().display()
        ));
        let text = "FROM busybox\nCOPY file dir/script /plain/\nCOPY --chown=12:34 dir /numbers\n\
                    COPY --chown=www-data --chmod=751 file /names/\nCOPY --chmod=u=rwX,go=rX dir /symbols\n";
        space.build_text(text, &["-t", "it"]).ok();
        let image = readback::image(&space, "it");
        let seen = |path: &str| {
            let entry = image.entry(path);
            (entry.uid, entry.gid, entry.mode)
        };
        assert_eq!(seen("/plain/file"), (0, 0, 0o640));
        assert_eq!(seen("/plain/script"), (0, 0, 0o755));
        assert_eq!(seen("/numbers/script"), (12, 34, 0o755));
        assert_eq!(seen("/numbers"), (12, 34, 0o755));
        assert_eq!(seen("/names/file"), (33, 33, 0o751));
        assert_eq!(seen("/symbols/script"), (0, 0, 0o755));
    }

    #[test]
    fn an_owner_that_the_image_does_not_know_is_told_and_is_root() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("file", "x");
        space.build_text("FROM busybox\nCOPY --chown=nobodyknows file /\n", &["-t", "it"]).ok().says(&[
            "nobodyknows",
            "/etc/passwd",
            "Dockerfile:2",
        ]);
        let image = readback::image(&space, "it");
        assert_eq!((image.entry("/file").uid, image.entry("/file").gid), (0, 0));
    }

    #[test]
    fn links_inside_a_directory_stay_and_named_links_are_followed() {
        needs_root!();
        let space = TestSpace::new();
        space.write("dir/file", "content").link("dir/inside", "file").link("named", "dir/file");
        space
            .build_text(
                "FROM scratch\nCOPY dir /dir\nCOPY named /\nCOPY dir/../../../dir/file /up\n",
                &["-t", "it"],
            )
            .ok();
        let image = readback::image(&space, "it");
        assert_eq!(image.entry("/dir/inside").target, "file");
        assert_eq!(image.entry("/named").kind, "file");
        assert_eq!(image.read("/up"), "content");
    }

    #[test]
    fn a_destination_link_is_followed_within_the_root() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("file", "x");
        let text = "FROM busybox\nRUN mkdir /real && ln -s /real /in && ln -s ../../../../out-of /out\nCOPY file /in/\nCOPY file /out/\n";
        space.build_text(text, &["-t", "it"]).ok();
        let image = readback::image(&space, "it");
        assert_eq!(image.entry("/real/file").kind, "file");
        assert_eq!(image.entry("/out-of/file").kind, "file");
    }

    #[test]
    fn archives_are_unpacked_by_add_alone() {
        needs_root!();
        let space = TestSpace::new();
        shell(&format!(
            "cd '{}' && mkdir -p t/sub && echo in > t/sub/file && ln -s file t/sub/link && tar -cf plain.tar -C t . && \
             for f in gzip bzip2 xz zstd; do tar -I \"$f\" -cf a.$f -C t .; done && rm -r t",
            space.context().display()
        ));
        let mut text = "FROM scratch\nCOPY plain.tar /copied.tar\nADD plain.tar /plain/\nADD --unpack=false plain.tar /kept.tar\n".to_owned();
        for form in ["gzip", "bzip2", "xz", "zstd"] {
            text.push_str(&format!("ADD a.{form} /{form}\n"));
        }
        space.build_text(&text, &["-t", "it"]).ok();
        let image = readback::image(&space, "it");
        for form in ["plain", "gzip", "bzip2", "xz", "zstd"] {
            assert_eq!(image.read(&format!("/{form}/sub/file")), "in\n");
            assert_eq!(image.entry(&format!("/{form}/sub/link")).target, "file");
        }
        assert_eq!(image.entry("/copied.tar").kind, "file");
        assert_eq!(image.entry("/kept.tar").kind, "file");
    }

    #[test]
    fn hard_links_and_deletions_survive_the_way_through_layers() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let whole = "FROM busybox\nRUN mkdir /d && echo one > /d/one && ln /d/one /d/two && echo gone > /d/gone\n\
                     RUN rm /d/gone && rm -r /var/www && mkdir /var/www && echo new > /var/www/new\n";
        space.build_text(whole, &["-t", "whole"]).ok();
        let image = readback::image(&space, "whole");
        assert!(!image.tree.contains_key("/d/gone"));
        let parts = format!("{whole}FROM scratch\nCOPY --from=0 /d /d\nCOPY --from=0 /var/www /www\n");
        space.build_text(&parts, &["-t", "parts"]).ok();
        assert_eq!(readback::image(&space, "parts").files(), ["/d/one", "/d/two", "/www/new"]);
    }

    #[test]
    fn odd_names_arrive_as_they_are() {
        needs_root!();
        let space = TestSpace::new();
        for name in
            ["with space", "ünïcode", "new\nline", "-dash", "[bracket]", "quote\"d", &"long".repeat(50)]
        {
            space.write(&format!("dir/{name}"), "x");
        }
        space
            .build_text(
                "FROM scratch\nCOPY dir /dir\nCOPY [\"dir/with space\", \"/a name\"]\n",
                &["-t", "it"],
            )
            .ok();
        let image = readback::image(&space, "it");
        assert_eq!(image.files().len(), 8, "{:?}", image.files());
    }
}
