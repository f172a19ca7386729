//! The Java preset: what it builds from projects of Maven and Gradle, and what it says about those that are none.

mod as_root {
    use std::fs;

    use serde_json::json;

    use crate::bases::repository;
    use crate::plugins::component;
    use crate::presets::{output, same_elsewhere};
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::{Ran, TestSpace};

    const POM: &str = "<project><modelVersion>4.0.0</modelVersion><groupId>g</groupId><artifactId>it</artifactId>\
                       <version>1</version><properties><maven.compiler.release>17</maven.compiler.release>\
                       <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>MORE</project>\n";

    /// Makes kiln know the preset, and a base image by the name of the one that the preset asks for.
    fn prepared(mut space: TestSpace) -> TestSpace {
        let component = component("plugins/java").with_file_name("kiln_java.wasm");
        let config = fs::read_to_string(&space.config).expect("there is a configuration");
        space.config = space.path("presets.toml");
        let plugin = format!("{config}[plugins.java]\nsource = {component:?}\nallow = [\"solve\"]\n");
        fs::write(&space.config, plugin).expect("it is written");
        space
    }

    /// `--build-context` that puts a base image in the place of one from Docker Hub.
    fn instead(name: &str, base: &str) -> String {
        let bases =
            std::env::var("KILN_BASES").map_or_else(|_| repository().join("target/bases"), Into::into);
        format!("--build-context={name}=oci-layout://{}", bases.join(base).display())
    }

    fn maven() -> String {
        instead("maven:3-eclipse-temurin-17", "junit")
    }

    fn example(name: &str) -> TestSpace {
        prepared(TestSpace::with_example(&format!("presets/{name}"), &["junit"]))
    }

    /// A project of these files, and of a pom with nothing special unless one is among them.
    fn project(space: &TestSpace, files: &[(&str, &str)]) {
        fs::remove_dir_all(space.context()).expect("the last project goes");
        space.write("pom.xml", POM.replace("MORE", ""));
        for (path, text) in files {
            space.write(path, text);
        }
    }

    fn build(space: &TestSpace, args: &[&str]) -> Ran {
        space.build(&[&["--frontend=java", &maven()], args].concat())
    }

    #[test]
    fn one_class_with_a_main_method_is_a_program_on_nothing() {
        needs_root!();
        let space = example("java-hello");
        let built = build(&space, &["-t", "it", "--label", "a=b", "--opt", "java.tests=true"]).ok();
        built.says(&[
            "pom.xml found, built by Maven",
            "Java 17, as `maven.compiler.release` in `pom.xml` says",
            "builder `maven:3-eclipse-temurin-17`",
            "`org.example.Hello` is the only class with a `main` method",
            "`jdeps` finds that the program needs java.base",
            "Tests run: 1, Failures: 0",
        ]);
        assert_eq!(output(&space, "it", &[]), "Hello, wörld!\n");
        assert_eq!(output(&space, "it", &["Zoë"]), "Hello, Zoë!\n");
        let image = readback::image(&space, "it");
        let config = &image.config["config"];
        assert_eq!((&config["User"], &config["WorkingDir"]), (&json!("65532:65532"), &json!("/")));
        assert_eq!(config["Labels"], json!({"a": "b"}));
        assert_eq!(
            config["Entrypoint"],
            json!([
                "/opt/java/bin/java",
                "-XX:MaxRAMPercentage=75",
                "-XX:+ExitOnOutOfMemoryError",
                "-Dfile.encoding=UTF-8",
                "-cp",
                "/app/resources:/app/classes",
                "org.example.Hello"
            ])
        );
        let mut rest = image.files();
        let runtime = ["/opt/java/", "/lib", "/usr/lib/locale/"];
        rest.retain(|path| !runtime.iter().any(|prefix| path.starts_with(prefix)));
        assert_eq!(
            rest,
            [
                "/app/classes/org/example/Hello.class",
                "/app/resources/META-INF/MANIFEST.MF",
                "/etc/group",
                "/etc/nsswitch.conf",
                "/etc/passwd",
                "/etc/ssl/certs/ca-certificates.crt"
            ]
        );
        for (path, mode) in [("/tmp", 0o1777), ("/app/classes", 0o755), ("/etc/ssl/certs", 0o755)] {
            assert_eq!(image.entry(path).mode, mode, "{path}");
        }
        let certificates = image.entry("/opt/java/lib/security/cacerts");
        assert!(certificates.target.is_empty() && certificates.size > 100_000, "a file, with certificates");

        // Flags and modules that the person adds.
        let more = ["--opt", "java.jvm-flags=-Dgreeting=hi", "--opt", "java.modules=java.sql"];
        build(&space, &[&more[..], &["-t", "more"]].concat()).ok().says(&["java.sql (the option `modules`)"]);
        let image = readback::image(&space, "more");
        assert_eq!(image.config["config"]["Entrypoint"][4], json!("-Dgreeting=hi"));
        assert!(image.tree.contains_key("/opt/java/legal/java.sql"));
    }

    #[test]
    fn the_image_is_the_same_to_the_byte_wherever_it_is_built() {
        needs_root!();
        same_elsewhere(&example("java-service"), &["--frontend=java", &maven()]);
    }

    const MAIN: &str =
        "public class NAME { public static void main(String[] a) { System.out.println(\"NAME\"); } }\n";

    #[test]
    fn what_is_no_single_program_is_told_with_what_there_is() {
        needs_root!();
        let space = prepared(TestSpace::with_bases(&["junit", "busybox"]));
        let class = |name: &str| MAIN.replace("NAME", name);

        // Two classes of one module.
        project(
            &space,
            &[("src/main/java/One.java", &class("One")), ("src/main/java/Two.java", &class("Two"))],
        );
        build(&space, &[]).ends(1).says(&[
            "java/java-programs",
            "several classes have a `main` method: `One` of `it`, `Two` of `it`",
            "say which with `--opt java.main-class=One`",
        ]);
        build(&space, &["--opt", "java.main-class=Tow"]).ends(1).says(&[
            "java/java-main-class",
            "no artefact has the class `Tow`",
            "looked into it-1.jar",
        ]);
        build(&space, &["--opt", "java.main-class=Two", "-t", "it"]).ok();
        assert_eq!(space.kiln(&["run", "it"]).ok().text(), "Two\n");

        // Nothing to start, a class that does not compile, a pom that is none.
        project(&space, &[("src/main/java/One.java", "class One {}\n")]);
        build(&space, &[]).ends(1).says(&["java/java-no-program", "looked into it-1.jar"]);
        project(&space, &[("src/main/java/One.java", "class One {\n    int x = \"text\";\n}\n")]);
        build(&space, &[]).ends(1).says(&[
            "Maven does not build the project",
            "/src/src/main/java/One.java:[2,13]",
            "incompatible types",
        ]);
        project(&space, &[("pom.xml", "<project>\n  <artifactId>it</artifact>\n</project>\n")]);
        build(&space, &[]).ends(1).says(&["java/java-pom", "`pom.xml` is no well-formed XML", "pom.xml:2"]);

        // Two modules with programs.
        let module = |name: &str| {
            let parent =
                "<parent><groupId>g</groupId><artifactId>it</artifactId><version>1</version></parent>";
            let plugin = "<build><plugins><plugin><artifactId>maven-jar-plugin</artifactId><configuration><archive>\
                          <manifest><mainClass>Main</mainClass></manifest></archive></configuration></plugin>\
                          </plugins></build>";
            format!(
                "<project><modelVersion>4.0.0</modelVersion>{parent}<artifactId>{name}</artifactId>{plugin}</project>\n"
            )
        };
        let modules =
            "<packaging>pom</packaging><modules><module>api</module><module>worker</module></modules>";
        project(
            &space,
            &[
                ("pom.xml", &POM.replace("MORE", modules)),
                ("api/pom.xml", &module("api")),
                ("worker/pom.xml", &module("worker")),
                ("api/src/main/java/Main.java", &class("Main")),
                ("worker/src/main/java/Main.java", &class("Main")),
            ],
        );
        build(&space, &[]).ends(1).says(&[
            "java/java-programs",
            "the project makes 2 programs: `api` (api-1.jar, `Main-Class` of its manifest is `Main`), `worker`",
            "say which with `--opt java.module=api`",
        ]);
        build(&space, &["--opt", "java.module=web"]).ends(1).says(&[
            "java/java-module",
            "the project has no module `web`",
            "it has `it`, `api`, `worker`",
        ]);
        build(&space, &["--opt", "java.module=./worker/"]).ok().says(&["the image is of module `worker`"]);

        // Builders and options that do not do, and no project at all.
        let with = |option: &str| build(&space, &["--opt", option]).ends(1);
        with("java.builder=busybox")
            .says(&["java/missing-tool", "the builder image `busybox` has no `javac`"]);
        let old = ["--opt", "java.version=21", "--opt", "java.builder=junit"];
        build(&space, &old)
            .ends(1)
            .says(&["java/java-version", "the builder image `junit` has Java 17, and Java 21 is wanted"]);
        with("java.version=new").says(&["java/bad-option", "the option `version` is `new`"]);
        with("java.main-class=a b").says(&["java/bad-option", "the option `main-class` is `a b`"]);
        with("java.fonts=true").says(&["java/java-programs"]);
        fs::remove_dir_all(space.context()).expect("the last project goes");
        space.write("README.md", "nothing\n");
        build(&space, &[]).ends(1).says(&["java/java-no-project", "looked for pom.xml, build.gradle"]);
    }
}
