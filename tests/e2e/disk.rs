//! A disk that is full.

mod as_root {
    use std::path::PathBuf;

    use crate::privileges::needs_root;
    use crate::space::{TestSpace, shell};

    /// A small file system, gone with the value.
    struct Small(PathBuf);

    impl Small {
        fn mount(path: PathBuf, size: &str) -> Self {
            shell(&format!("mkdir -p '{0}' && mount -t tmpfs -o size={size} tmpfs '{0}'", path.display()));
            Self(path)
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }

    #[test]
    fn a_full_store_is_told_and_works_again_with_less() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.store = space.path("small");
        let _small = Small::mount(space.store.clone(), "16m");
        space.build_text("FROM busybox\nRUN echo before > /b\n", &["-t", "before"]).ok();
        space.write("large", vec![7u8; 30_000_000]);
        space
            .build_text("FROM busybox\nCOPY large /\nRUN echo x > /x\n", &["-t", "it"])
            .ends(3)
            .says(&["space"]);
        space.kiln(&["image", "inspect", "it"]).ends(1);
        space.build_text("FROM busybox\nRUN echo after > /a\n", &["-t", "after"]).ok();
        assert_eq!(space.kiln(&["run", "after", "cat", "/a"]).ok().text(), "after\n");
        assert_eq!(space.kiln(&["run", "before", "cat", "/b"]).ok().text(), "before\n");
    }

    #[test]
    fn a_pull_into_a_full_store_leaves_nothing_under_a_final_name() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox", "debian"]);
        space.store = space.path("small");
        let _small = Small::mount(space.store.clone(), "16m");
        space.build_text("FROM debian\nRUN true\n", &["-t", "it"]).ends(3).says(&["space"]);
        space.build_text("FROM busybox\nRUN true\n", &["-t", "it"]).ok();
    }

    #[test]
    fn an_output_on_a_full_disk_is_no_file() {
        needs_root!();
        let space = TestSpace::new();
        let small = Small::mount(space.path("small"), "1m");
        space.write("large", vec![7u8; 5_000_000]).dockerfile("FROM scratch\nCOPY large /\n");
        for form in ["oci,compression=uncompressed", "tar", "docker"] {
            space.build(&["-o", &format!("type={form},dest=small/it.tar")]).ends(3).says(&["space"]);
            assert!(!small.0.join("it.tar").exists(), "half an archive was left");
        }
    }
}
