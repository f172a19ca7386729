//! The same inputs give the same bytes, wherever and whenever.

mod as_root {
    use std::fs;

    use crate::privileges::needs_root;
    use crate::space::{TestSpace, shell};

    /// Builds an example twice, as two clones would: other directories, other stores, other times of the files.
    #[track_caller]
    fn twice(example: &str, bases: &[&str], args: &[&str]) {
        let archives = [1, 2].map(|time| {
            let space = TestSpace::with_example(example, bases);
            shell(&format!(
                "find '{}' -exec touch -h -d '200{time}-01-01' {{}} +",
                space.context().display()
            ));
            for form in ["oci", "docker", "tar"] {
                let output = format!("type={form},dest={form}.tar");
                space
                    .build(&[&["--reproducible", "-t", "example.org/it:1", "-o", &output], args].concat())
                    .ok();
            }
            ["oci.tar", "docker.tar", "tar.tar"].map(|name| fs::read(space.path(name)).unwrap())
        });
        for (form, (one, two)) in ["oci", "docker", "tar"].iter().zip(archives[0].iter().zip(&archives[1])) {
            assert!(one == two, "two {form} archives of {example} differ");
        }
    }

    #[test]
    fn hello() {
        needs_root!();
        twice("hello", &[], &[]);
    }

    #[test]
    fn c() {
        needs_root!();
        twice("c", &["gcc"], &[]);
    }

    #[test]
    fn go() {
        needs_root!();
        twice("go", &["golang", "nginx"], &[]);
    }

    #[test]
    fn php() {
        needs_root!();
        twice("php", &["php"], &[]);
    }

    #[test]
    fn java() {
        needs_root!();
        twice("java", &["maven", "openjdk"], &[]);
    }

    #[test]
    fn copies() {
        needs_root!();
        twice("copy-semantics", &[], &["--target", "all"]);
    }

    #[test]
    fn steps() {
        needs_root!();
        twice("reproducible", &["busybox"], &[]);
    }

    #[test]
    fn times_are_kept_by_default_and_one_epoch_on_request() {
        needs_root!();
        let mut space = TestSpace::new();
        space.write("file", "x").dockerfile("FROM scratch\nCOPY file /\n");
        shell(&format!("touch -d '@1000000000' '{}/file'", space.context().display()));
        let time = |space: &TestSpace, args: &[&str]| {
            space.build(&[&["-o", "type=tar,dest=it.tar"], args].concat()).ok();
            shell(&format!(
                "TZ=UTC tar --full-time -tvf '{}' | grep -o '2001-09-09\\|1970-01-01\\|2009-02-13'",
                space.path("it.tar").display()
            ))
        };
        assert_eq!(time(&space, &[]).trim(), "2001-09-09");
        assert_eq!(time(&space, &["--reproducible"]).trim(), "1970-01-01");
        assert_eq!(time(&space, &["--build-arg", "SOURCE_DATE_EPOCH=1234567890"]).trim(), "2009-02-13");
        space.environment.push(("SOURCE_DATE_EPOCH".into(), "1234567890".into()));
        assert_eq!(time(&space, &[]).trim(), "2009-02-13");
    }

    #[test]
    fn a_step_sees_the_epoch_where_it_is_declared() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo \"epoch $SOURCE_DATE_EPOCH\"\n");
        assert_eq!(space.build(&["--reproducible"]).ok().steps().log("RUN echo"), "epoch 0");
        let ran = space.build(&["--build-arg", "SOURCE_DATE_EPOCH=42"]).ok();
        assert_eq!(ran.steps().log("RUN echo"), "epoch 42");
    }
}
