//! Where files and build files may come from.

use std::fs;

use crate::space::{TestSpace, shell};

fn built(space: &TestSpace, path: &str) -> String {
    space.read(&format!("out/{path}"))
}

mod as_root {
    use super::*;
    use crate::privileges::needs_root;

    #[test]
    fn a_build_file_on_standard_input() {
        needs_root!();
        let space = TestSpace::new();
        space.write("file", "content");
        space
            .kiln_with_input(&["build", "-f", "-", "-o", "out", "context"], b"FROM scratch\nCOPY file /\n")
            .ok();
        assert_eq!(built(&space, "file"), "content");
    }

    #[test]
    fn a_context_on_standard_input() {
        needs_root!();
        let space = TestSpace::new();
        space.write("file", "content").dockerfile("FROM scratch\nCOPY file /\n");
        for compress in ["cat", "gzip"] {
            shell(&format!(
                "tar -C '{0}/context' -c . | {compress} > '{0}/context.tar'",
                space.path("").display()
            ));
            let archive = fs::read(space.path("context.tar")).unwrap();
            space.kiln_with_input(&["build", "-o", "out", "-"], &archive).ok();
            assert_eq!(built(&space, "file"), "content");
            fs::remove_dir_all(space.path("out")).unwrap();
        }
        // Anything else there is a build file without a context.
        space
            .kiln_with_input(&["build", "-o", "out", "-"], b"FROM scratch\nCOPY <<EOF /f\nhello\nEOF\n")
            .ok();
        assert_eq!(built(&space, "f"), "hello\n");
        space.kiln_with_input(&["build", "-f", "-", "-"], b"FROM scratch\n").ends(2);
    }

    #[test]
    fn a_build_file_outside_of_the_context_with_its_own_ignore_file() {
        needs_root!();
        let space = TestSpace::new();
        space.write("file", "content").write("other", "x").write(".dockerignore", "file\n");
        fs::write(space.path("Outside"), "FROM scratch\nCOPY . /\n").unwrap();
        fs::write(space.path("Outside.dockerignore"), "other\n").unwrap();
        space.kiln(&["build", "-f", "Outside", "-o", "out", "context"]).ok();
        assert_eq!(built(&space, "file"), "content");
        assert!(!space.path("out/other").exists());
    }

    #[test]
    fn a_lower_case_build_file_is_found() {
        needs_root!();
        let space = TestSpace::new();
        space.write("dockerfile", "FROM scratch\nCOPY dockerfile /\n");
        space.build(&["-o", "out"]).ok();
        assert!(built(&space, "dockerfile").starts_with("FROM"));
    }

    #[test]
    fn named_contexts_are_directories_layouts_and_other_images() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        fs::create_dir(space.path("other")).unwrap();
        fs::write(space.path("other/file"), "of other").unwrap();
        space
            .build_text(
                "FROM scratch\nCOPY --from=other file /\n",
                &["--build-context", "other=other", "-o", "out"],
            )
            .ok();
        assert_eq!(built(&space, "file"), "of other");
        space
            .build_text(
                "FROM busybox\nRUN echo laid-out > /mark\n",
                &["-o", "type=oci,tar=false,dest=layout"],
            )
            .ok();
        let text = "FROM base\nRUN cp /mark /copied\n";
        for context in ["base=oci-layout://layout", "base=docker-image://busybox"] {
            let ran = space.build_text(text, &["--build-context", context, "-o", "out"]);
            assert_eq!(ran.status, if context.contains("layout") { 0 } else { 1 }, "{ran}");
        }
        assert_eq!(built(&space, "copied"), "laid-out\n");
        // A context in the place of a stage.
        let text = "FROM no-such-image-anywhere AS stage\nFROM scratch\nCOPY --from=stage file /taken\n";
        space.build_text(text, &["--build-context", "stage=other", "-o", "out"]).ok();
        assert_eq!(built(&space, "taken"), "of other");
        space.build_text(text, &["--build-context", "stage=nowhere"]).ends(2).says(&["`stage`", "`nowhere`"]);
    }

    #[test]
    fn the_ignore_file_has_exceptions_comments_and_depth() {
        needs_root!();
        let space = TestSpace::new();
        for file in [
            "a.md",
            "README.md",
            "deep/er/b.md",
            "deep/keep.md",
            "node_modules/x/y",
            "src/node_modules/z",
            "src/main",
            "tmp1",
            "tmp22",
        ] {
            space.write(file, "x");
        }
        space.write(
            ".dockerignore",
            "# comment\n\n*.md\n!README.md\n**/b.md\n**/node_modules\ntmp?\n/Dockerfile\n",
        );
        space.build_text("FROM scratch\nCOPY . /\n", &["-o", "out"]).ok();
        let files: Vec<_> = crate::readback::tree_of(&space.path("out"))
            .into_iter()
            .filter(|(_, entry)| entry.kind == "file")
            .map(|(path, _)| path)
            .collect();
        assert_eq!(files, ["/.dockerignore", "/README.md", "/deep/keep.md", "/src/main", "/tmp22"]);
        let text = "FROM scratch\nCOPY a.md /\n";
        space.build_text(text, &["-o", "out"]).ends(1).says(&["a.md", ".dockerignore", "Dockerfile:2"]);
    }
}
