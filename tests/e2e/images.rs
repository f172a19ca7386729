//! The image store: listing, naming, moving and removing.

mod as_root {
    use std::fs;

    use serde_json::Value;

    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::{TestSpace, shell};

    /// A space with `it:1`, two layers on busybox.
    fn example() -> TestSpace {
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("file", "x".repeat(1000));
        space
            .build_text(
                "FROM busybox\nCOPY file /file\nRUN rm /var/www -r; echo y > /y\nCMD [\"cat\", \"/y\"]\n",
                &["-t", "it:1"],
            )
            .ok();
        space
    }

    fn names(space: &TestSpace) -> Vec<String> {
        let images = space.kiln(&["image", "ls", "--format", "json"]).ok().json();
        let name = |image: &Value| image["name"].as_str().expect("a name").to_owned();
        let mut names: Vec<String> = images.as_array().expect("a list").iter().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn images_are_listed_with_exact_sizes_on_request() {
        needs_root!();
        let space = example();
        let listed = space.kiln(&["image", "ls"]).ok();
        assert!(listed.text().contains("it:1") || listed.text().contains("it "), "{listed}");
        let bytes = space.kiln(&["image", "ls", "--bytes"]).ok();
        let files = readback::listed(&space, "it:1");
        let line = bytes.text().lines().find(|line| line.contains("it")).unwrap_or_else(|| panic!("{bytes}"));
        assert!(
            line.split_whitespace().any(|word| word.parse::<u64>().is_ok_and(|size| size >= 1000)),
            "{bytes}"
        );
        assert_eq!(files["/file"].size, 1000);
    }

    #[test]
    fn history_leads_down_to_the_base() {
        needs_root!();
        let space = example();
        space.build_text("FROM it:1\nRUN echo z > /z\n", &["-t", "next"]).ok();
        let history = space.kiln(&["image", "history", "--no-trunc", "next"]).ok();
        for text in ["echo z > /z", "echo y > /y", "COPY file /file", "busybox", "it:1"] {
            assert!(history.text().contains(text), "no `{text}` in\n{history}");
        }
        let history = space.kiln(&["image", "history", "--format", "json", "next"]).ok().json();
        assert!(history.as_array().is_some_and(|lines| lines.len() >= 4), "{history:#}");
    }

    #[test]
    fn files_of_an_image_without_a_shell_are_listed() {
        needs_root!();
        let space = TestSpace::new();
        space.write("a/b", "12345").link("a/c", "b");
        space.build_text("FROM scratch\nCOPY a /a\n", &["-t", "it"]).ok();
        let text = space.kiln(&["image", "files", "it"]).ok();
        for part in ["/a/b", "/a/c", "5"] {
            assert!(text.text().contains(part), "{text}");
        }
        let below = space.kiln(&["image", "files", "it", "/a/b"]).ok();
        assert!(below.text().contains("/a/b") && !below.text().contains("/a/c"), "{below}");
        space.kiln(&["image", "files", "it", "/nowhere"]).ends(1).says(&["/nowhere"]);
    }

    #[test]
    fn names_are_given_and_taken() {
        needs_root!();
        let space = example();
        space.kiln(&["image", "tag", "it:1", "example.org/other:2"]).ok();
        assert_eq!(names(&space), ["example.org/other:2", "it:1"]);
        space.kiln(&["image", "rm", "it:1"]).ok();
        assert_eq!(names(&space), ["example.org/other:2"]);
        assert_eq!(space.kiln(&["run", "example.org/other:2"]).ok().text(), "y\n");
        space.kiln(&["image", "rm", "it:1"]).ends(1).says(&["it:1"]);
        space.kiln(&["image", "tag", "it:1", "x"]).ends(1).says(&["it:1"]);
        space.kiln(&["image", "tag", "example.org/other:2", "Not A Name"]).ends(2).says(&["Not A Name"]);
    }

    #[test]
    fn a_saved_image_loads_elsewhere_and_is_the_same() {
        needs_root!();
        let space = example();
        let elsewhere = TestSpace::new();
        let id = |space: &TestSpace| {
            let inspected = space.kiln(&["image", "inspect", "it:1"]).ok().json();
            inspected
                .pointer("/digest")
                .or(inspected.pointer("/0/digest"))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        for format in ["oci", "docker"] {
            let archive = elsewhere.path(format!("{format}.tar"));
            space.kiln(&["image", "save", "it:1", "--format", format, "-o", archive.to_str().unwrap()]).ok();
            elsewhere.kiln(&["image", "load", "-i", archive.to_str().unwrap()]).ok();
            assert_eq!(names(&elsewhere), ["it:1"]);
            assert_eq!(readback::listed(&elsewhere, "it:1"), readback::listed(&space, "it:1"));
            assert_eq!(elsewhere.kiln(&["run", "it:1"]).ok().text(), "y\n");
            if format == "oci" {
                assert_eq!(id(&elsewhere), id(&space));
            }
            elsewhere.kiln(&["image", "rm", "it:1"]).ok();
        }
        readback::image(&space, "it:1");
    }

    #[test]
    fn save_and_load_work_through_pipes() {
        needs_root!();
        let space = example();
        let archive = space.kiln(&["image", "save", "it:1"]).ok();
        let elsewhere = TestSpace::new();
        elsewhere.kiln_with_input(&["image", "load"], &archive.stdout).ok();
        assert_eq!(names(&elsewhere), ["it:1"]);
        elsewhere.kiln_with_input(&["image", "load"], b"this is no archive").ends(3);
        elsewhere.kiln_with_input(&["image", "load"], &archive.stdout[..archive.stdout.len() / 2]).ends(3);
        assert_eq!(names(&elsewhere), ["it:1"]);
    }

    #[test]
    fn images_of_other_tools_are_loaded() {
        needs_root!();
        let space = TestSpace::new();
        let archive = space.path("skopeo.tar");
        let bases = std::env::var_os("KILN_BASES")
            .map_or_else(|| crate::bases::repository().join("target/bases"), Into::into);
        crate::bases::config(&["busybox"]);
        shell(&format!(
            "skopeo copy --quiet 'oci:{}:latest' 'docker-archive:{}:example.org/box:9'",
            bases.join("busybox").display(),
            archive.display()
        ));
        space.kiln(&["image", "load", "-i", archive.to_str().unwrap()]).ok();
        assert_eq!(space.kiln(&["run", "example.org/box:9", "echo", "loaded"]).ok().text(), "loaded\n");
    }

    #[test]
    fn a_root_file_system_is_imported_as_one_layer() {
        needs_root!();
        let space = example();
        space.build(&["-o", "type=tar,dest=root.tar", "-o", "type=local,dest=root"]).ok();
        for (source, name) in [("root.tar", "of-archive"), ("root", "of-directory")] {
            space.kiln(&["image", "import", source, name, "-c", "CMD [\"cat\", \"/file\"]"]).ok();
            let image = readback::image(&space, name);
            assert_eq!(image.config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
            assert_eq!(image.read("/y"), "y\n");
            assert_eq!(space.kiln(&["run", name]).ok().text(), "x".repeat(1000));
        }
    }

    #[test]
    fn prune_keeps_what_images_need_and_gives_the_rest_back() {
        needs_root!();
        let space = example();
        space.build_text("FROM busybox\nRUN head -c 3000000 /dev/urandom > /large\n", &["-t", "large"]).ok();
        let used = |space: &TestSpace| -> u64 {
            shell(&format!("du -s --block-size=1 '{}' | cut -f1", space.store.display()))
                .trim()
                .parse()
                .unwrap()
        };
        let du = space.kiln(&["du", "--bytes"]).ok();
        assert!(!du.text().trim().is_empty());
        space.kiln(&["du", "--format", "json"]).ok().json();
        let before = used(&space);
        assert!(before > 3_000_000);
        space.kiln(&["image", "rm", "large"]).ok();
        space.kiln(&["prune", "--all", "--force"]).ok();
        let after = used(&space);
        assert!(after + 2_500_000 < before, "{before} bytes before, {after} after");
        assert_eq!(space.kiln(&["run", "it:1"]).ok().text(), "y\n");
        readback::image(&space, "it:1");
        space.kiln(&["image", "rm", "it:1"]).ok();
        space.kiln(&["prune", "--all", "--force"]).ok();
        assert!(used(&space) < 1_000_000, "{} bytes of an empty store", used(&space));
        space.build_text("FROM busybox\nRUN echo again > /again\n", &["-t", "again"]).ok();
    }

    #[test]
    fn the_store_outlives_its_contexts() {
        needs_root!();
        let space = TestSpace::new();
        space.write("file", "precious");
        space.build_text("FROM scratch\nCOPY file /\n", &["-t", "it"]).ok();
        fs::remove_dir_all(space.context()).unwrap();
        assert_eq!(readback::image(&space, "it").read("/file"), "precious");
    }
}
