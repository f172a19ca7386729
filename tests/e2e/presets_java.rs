//! The Java preset: what it builds from projects of Maven and Gradle, and what it says about those that are none.
//! The helpers are those of presets_java_kinds.rs as well.

use std::fs;

use crate::bases::repository;
use crate::plugins::component;
use crate::readback;
use crate::space::{Ran, TestSpace};

pub(crate) const POM: &str = "<project><modelVersion>4.0.0</modelVersion><groupId>g</groupId><artifactId>it</artifactId>\
                   <version>1</version><properties><maven.compiler.release>17</maven.compiler.release>\
                   <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>MORE</project>\n";

/// Makes kiln know the preset, and a base image by the name of the one that the preset asks for.
pub(crate) fn prepared(mut space: TestSpace) -> TestSpace {
    let component = component("plugins/java").with_file_name("kiln_java.wasm");
    let config = fs::read_to_string(&space.config).expect("there is a configuration");
    space.config = space.path("presets.toml");
    let plugin = format!("{config}[plugins.java]\nsource = {component:?}\nallow = [\"solve\"]\n");
    fs::write(&space.config, plugin).expect("it is written");
    space
}

/// `--build-context` that puts a base image in the place of one from Docker Hub.
pub(crate) fn instead(name: &str, base: &str) -> String {
    let bases = std::env::var("KILN_BASES").map_or_else(|_| repository().join("target/bases"), Into::into);
    format!("--build-context={name}=oci-layout://{}", bases.join(base).display())
}

pub(crate) fn maven() -> String {
    instead("maven:3-eclipse-temurin-17", "junit")
}

/// A project of these files, and of a pom with nothing special unless one is among them.
pub(crate) fn project(space: &TestSpace, files: &[(&str, &str)]) {
    fs::remove_dir_all(space.context()).expect("the last project goes");
    space.write("pom.xml", POM.replace("MORE", ""));
    for (path, text) in files {
        space.write(path, text);
    }
}

pub(crate) fn build(space: &TestSpace, args: &[&str]) -> Ran {
    space.build(&[&["--frontend=java", &maven()], args].concat())
}

/// Digests of the layers of an image, lowest first.
pub(crate) fn layers(space: &TestSpace, name: &str) -> Vec<String> {
    let inspected = space.kiln(&["image", "inspect", name]).ok().json();
    let layers = inspected["images"][0]["layers"].as_array().expect("there are layers");
    layers.iter().map(|layer| layer["diffId"].as_str().expect("a digest").to_owned()).collect()
}

/// Builds the Dockerfile that the preset writes when it is asked with `args`, as `ejected`, and fails unless its image
/// has the files of `image` and starts the same. `contexts` are options for both.
#[track_caller]
pub(crate) fn ejected(space: &TestSpace, image: &str, contexts: &[&str], args: &[&str]) -> Ran {
    let built = crate::ejected::ejected(space, image, &[&["--frontend=java"], args].concat(), contexts);
    let variables = |image: &str| {
        let config = readback::image(space, image).config;
        let mut list = config["config"]["Env"].as_array().expect("there are variables").clone();
        list.sort_by_key(ToString::to_string);
        list
    };
    assert_eq!(variables(image), variables("ejected"));
    built
}

mod as_root {
    use serde_json::json;

    use super::*;
    use crate::presets::{Runtime, Service, free_port, output, same_elsewhere};
    use crate::privileges::needs_root;

    fn hello() -> TestSpace {
        prepared(TestSpace::with_example("presets/java-hello", &["junit", "openjdk", "debian"]))
    }

    fn service() -> TestSpace {
        prepared(TestSpace::with_example("presets/java-service", &["junit"]))
    }

    /// The program of the example on images that have a Java of their own, and that have none.
    fn runs_on_other_images(space: &TestSpace) {
        let on = |name: &str| format!("--opt=java.runtime={name}");
        let args = [&on("openjdk"), "-t", "it"];
        build(space, &args)
            .ok()
            .says(&["runtime `openjdk`, as the option `runtime` says: it has `/usr/bin/java`"]);
        assert_eq!(output(space, "it", &[]), "Hello, wörld!\n");
        let image = readback::image(space, "it");
        assert_eq!(image.config["config"]["Entrypoint"][0], json!("/usr/bin/java"));
        assert!(!image.tree.contains_key("/opt/java") && !image.tree.contains_key("/home/nonroot"));

        let debian = on("debian");
        build(space, &[&debian, "-t", "it"]).ok().says(&["on `debian`, which has no Java"]);
        assert_eq!(output(space, "it", &[]), "Hello, wörld!\n");
        let image = readback::image(space, "it");
        assert_eq!(image.config["config"]["Entrypoint"][0], json!("/opt/java/bin/java"));
        assert_eq!(image.entry("/lib").target, "usr/lib", "it is the link that Debian has");
        ejected(space, "it", &[&maven()], &[&debian]);
        assert_eq!(output(space, "ejected", &["Zoë"]), "Hello, Zoë!\n");
    }

    #[test]
    fn one_class_with_a_main_method_is_a_program_on_nothing_or_on_what_one_likes() {
        needs_root!();
        let space = hello();
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
        ejected(&space, "more", &[&maven()], &more).does_not_say("Tests run");
        assert_eq!(output(&space, "ejected", &["Zoë"]), "Hello, Zoë!\n");
        fs::remove_file(space.context().join("Dockerfile")).expect("it was written");
        runs_on_other_images(&space);
    }

    /// What the service of the example answers, under both runtimes.
    #[track_caller]
    fn serves(space: &TestSpace, image: &str) {
        for runtime in [Runtime::Kiln, Runtime::Runc] {
            let port = free_port();
            let service = Service::start(space, runtime, image, &["-p", &port.to_string()], port);
            assert_eq!(service.get("/KI"), "kiln\n", "{runtime:?}");
            assert_eq!(service.get("/%C3%B6"), "örtlich\n", "{runtime:?}");
            assert_eq!(service.get("/machine"), "user nonroot\nencoding UTF-8\n", "{runtime:?}");
        }
    }

    #[test]
    fn a_changed_line_of_a_server_makes_one_layer_new() {
        needs_root!();
        let space = service();
        let tests = "--opt=java.tests=true";
        let first = build(&space, &[tests, "-t", "it"]).ok();
        assert_eq!(
            first.stderr.matches("Tests run: 1, Failures: 0, Errors: 0, Skipped: 0\n").count(),
            2,
            "{first}"
        );
        assert_eq!(first.steps().times("Maven: build"), 1, "{first}");
        first.says(&[
            "the image is of module `server`: server/target/server-1.0.jar",
            "Maven builds offline",
            "`jdeps` finds that the program needs java.base, jdk.httpserver",
            "jdk.crypto.ec (TLS finds elliptic curves by name)",
        ]);
        let image = readback::image(&space, "it");
        let size: u64 = image.tree.values().map(|entry| 512 + entry.size.next_multiple_of(512)).sum();
        assert!(size <= 70_000_000, "the image has {size} bytes");
        assert!(image.tree.contains_key("/app/lib/commons-cli-1.5.0.jar"));
        assert!(image.tree.contains_key("/app/modules/words-1.0/org/example/words/words.txt"));
        assert!(image.tree.contains_key("/app/resources/logging.properties"));
        assert!(!image.tree.keys().any(|path| path.contains("junit") || path.starts_with("/src")));
        serves(&space, "it");

        let before = layers(&space, "it");
        let file = "server/src/main/java/org/example/server/Server.java";
        let text = space.read(&format!("context/{file}"));
        space.write(file, text.replace("listening on", "waiting on"));
        let built = build(&space, &[tests, "-t", "it"]).ok();
        let steps = built.steps();
        assert_eq!(steps.times("Maven: build"), 1, "{built}");
        for step in ["Maven: dependencies", "jdeps: modules of the JDK", "jlink: runtime"] {
            assert!(steps.has(step) && !steps.did(step), "{step}: {built}");
        }
        built.does_not_say("Downloading");
        let after = layers(&space, "it");
        let (last, below) = after.split_last().expect("there are layers");
        assert_eq!((before.len(), &before[..5]), (6, below), "all but the classes are as they were");
        assert_ne!(&before[5], last);

        // What the build left beside the sources is no source, and the image says nothing of where it was built.
        space.write("server/target/classes/Old.class", "old").write(".git/HEAD", "ref: x\n");
        build(&space, &[tests, "-t", "again"]).ok().says(&["named again"]);
        assert_eq!(layers(&space, "again"), after);
        ejected(&space, "again", &[&maven()], &[tests]).says(&["Tests run: 1"]);
        serves(&space, "ejected");
    }

    #[test]
    fn the_image_is_the_same_to_the_byte_wherever_it_is_built() {
        needs_root!();
        same_elsewhere(&service(), &["--frontend=java", &maven()]);
    }

    #[test]
    fn projects_of_gradle_are_built_as_well() {
        needs_root!();
        let space = prepared(TestSpace::with_example("presets/java-gradle", &["gradle"]));
        let gradle = instead("gradle:jdk17", "gradle");
        space.write("gradlew", "#!/bin/sh\necho gradlew was called\nexec gradle \"$@\"\n");
        let args = ["--frontend=java", &gradle, "--opt=java.wrapper=false", "-t", "it"];
        space.build(&args).ok().does_not_say("gradlew was called").says(&[
            "build.gradle found, built by Gradle",
            "`gradlew` is not used, as the option `wrapper` says",
            "Java 17, as `sourceCompatibility` in `build.gradle` says",
            "the image is of module `:app`: app/build/libs/app.jar (the main class of its build file",
            "Gradle builds offline",
        ]);
        assert_eq!(output(&space, "it", &["7"]), "7 cups cost 21 EUR\n");
        let before = layers(&space, "it");
        let file = "app/src/main/java/org/example/app/Main.java";
        let text = space.read(&format!("context/{file}"));
        space.write(file, text.replace("cups", "mugs"));
        let steps = space.build(&args).ok().steps();
        assert_eq!((steps.times("Gradle: build"), steps.times("Gradle: dependencies")), (1, 0));
        assert_eq!(output(&space, "it", &["7"]), "7 mugs cost 21 EUR\n");
        let after = layers(&space, "it");
        assert_eq!((before.len(), &before[..5]), (6, &after[..5]));
        assert_ne!(before[5], after[5]);

        let built = ejected(&space, "it", &[&gradle], &[]);
        assert_eq!(built.stderr.matches(" gradlew was called\n").count(), 2, "in both steps: {built}");
        assert_eq!(output(&space, "ejected", &["7"]), "7 mugs cost 21 EUR\n");
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
        fs::remove_dir_all(space.context()).expect("the last project goes");
        space.write("README.md", "nothing\n");
        build(&space, &[]).ends(1).says(&["java/java-no-project", "looked for pom.xml, build.gradle"]);
    }
}
