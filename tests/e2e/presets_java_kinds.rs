//! The Java preset: kinds of programs and of projects beside the plain ones, each put together of a few lines.

mod as_root {
    use std::fs;

    use serde_json::json;

    use crate::presets::output;
    use crate::presets_java::{POM, ejected, instead, layers, maven, prepared, project};
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::{TestSpace, shell};

    /// A jar with the layout of Spring Boot's and a launcher of a few lines, built where no runtime can be linked.
    #[test]
    fn a_jar_with_its_own_list_of_layers_runs_on_a_whole_runtime_where_none_can_be_linked() {
        needs_root!();
        let space = prepared(TestSpace::with_bases(&["junit", "openjdk"]));
        space
            .build_text(
                "FROM junit\nRUN rm -rf /usr/lib/jvm/*/jmods /usr/share/fonts\n",
                &["-o", "type=oci,dest=without.tar"],
            )
            .ok();
        shell(&format!(
            "cd '{}' && mkdir without && tar -xf without.tar -C without",
            space.path("").display()
        ));
        let manifest = "<build><plugins><plugin><artifactId>maven-jar-plugin</artifactId><configuration><archive>\
                        <manifestEntries><Main-Class>org.Launcher</Main-Class><Start-Class>Main</Start-Class>\
                        </manifestEntries></archive></configuration></plugin></plugins></build>";
        let launcher = "package org;\npublic class Launcher { public static void main(String[] a) throws Exception {\n\
                        System.out.print(new String(Launcher.class.getResourceAsStream(\"/BOOT-INF/lib/a.txt\").readAllBytes())); } }\n";
        let index = "- \"dependencies\":\n  - \"BOOT-INF/lib/\"\n- \"spring-boot-loader\":\n  - \"org/\"\n\
                     - \"snapshot-dependencies\":\n- \"application\":\n  - \"BOOT-INF/classes/\"\n  - \"META-INF/\"\n";
        project(
            &space,
            &[
                ("pom.xml", &POM.replace("MORE", manifest)),
                ("src/main/java/org/Launcher.java", launcher),
                ("src/main/resources/BOOT-INF/layers.idx", index),
                ("src/main/resources/BOOT-INF/lib/a.txt", "booted\n"),
                ("src/main/resources/BOOT-INF/classes/b.txt", "b\n"),
            ],
        );
        let builder = format!("--build-context=jdk=oci-layout://{}", space.path("without").display());
        let runtime = instead("eclipse-temurin:17-jre", "openjdk");
        let args = ["--frontend=java", "--opt=java.builder=jdk", &builder, &runtime, "-t", "it"];
        space.build(&[&args[..], &["--opt=java.fonts=true"]].concat()).ends(1).says(&[
            "java/java-fonts",
            "the builder image has no fonts",
            "--opt java.packages=fonts-dejavu-core,fontconfig-config",
        ]);
        space.build(&args).ok().says(&[
            "layers are those of `BOOT-INF/layers.idx`",
            "java/java-whole-runtime",
            "the image is on all of `eclipse-temurin:17-jre`: the JDK of the builder comes without its `jmods`",
        ]);
        assert_eq!(output(&space, "it", &[]), "booted\n");
        let image = readback::image(&space, "it");
        assert_eq!(image.config["config"]["Entrypoint"][0], json!("/usr/bin/java"));
        let history = image.config["history"].as_array().expect("there is a history");
        let titles: Vec<&str> =
            history.iter().rev().take(3).filter_map(|line| line["created_by"].as_str()).collect();
        assert_eq!(titles, ["application", "spring-boot-loader", "dependencies"]);
        assert!(!image.tree.contains_key("/app/BOOT-INF/layers.idx"), "no layer of the list has it");
        ejected(&space, "it", &[&builder, &runtime], &["--opt=java.builder=jdk"]);
        assert_eq!(output(&space, "ejected", &[]), "booted\n");
    }

    /// The wrapper is a script of the project's own, and the settings name what is built.
    #[test]
    fn the_wrapper_the_settings_and_the_fonts_are_the_persons() {
        needs_root!();
        let space = prepared(TestSpace::with_bases(&["junit"]));
        let wrapper = "#!/bin/sh\nif grep -q '<offline>' /root/.m2/settings.xml; then echo mvnw was called; fi\nexec mvn \"$@\"\n";
        let main =
            "public class Main { public static void main(String[] a) { System.out.println(\"run\"); } }\n";
        project(
            &space,
            &[
                ("pom.xml", &POM.replace("MORE", "<build><finalName>${named}</finalName></build>")),
                ("mvnw", wrapper),
                ("src/main/java/Main.java", main),
            ],
        );
        let settings = "<settings><offline>true</offline><servers><server><id>x</id><password>open-sesame</password></server>\
                        </servers><profiles><profile><id>p</id><properties><named>by-settings</named></properties></profile>\
                        </profiles><activeProfiles><activeProfile>p</activeProfile></activeProfiles></settings>\n";
        fs::write(space.path("settings.xml"), settings).expect("it is written");
        let secret = format!("--secret=id=maven-settings,src={}", space.path("settings.xml").display());
        let builder = maven();
        let with = [secret.as_str(), &builder];
        let fonts = "--opt=java.fonts=true";
        let built = space.build(&[&["--frontend=java", fonts, "-t", "it"], &with[..]].concat()).ok().says(&[
            "pom.xml found, built by Maven as `mvnw` brings it",
            "target/by-settings.jar",
            "Maven builds offline",
        ]);
        assert_eq!(built.stderr.matches(" mvnw was called\n").count(), 2, "in both steps: {built}");
        let image = readback::image(&space, "it");
        assert!(image.tree.contains_key("/etc/fonts/fonts.conf"));
        assert!(
            image.files().iter().any(|path| path.starts_with("/usr/share/fonts/") && path.ends_with(".ttf"))
        );
        assert!(!image.tree.keys().any(|path| path.contains("settings") || path.contains("mvnw")));
        let archive = space.path("image.tar");
        let archive_option = format!("type=oci,compression=uncompressed,dest={}", archive.display());
        // Layers, configuration and history.
        let nowhere = |args: &[&str]| {
            space.build(&[args, &with, &["-o", &archive_option]].concat()).ok();
            let bytes = fs::read(&archive).expect("it is written");
            assert!(!bytes.windows(11).any(|window| window == b"open-sesame"), "{args:?}");
        };
        nowhere(&["--frontend=java", fonts]);
        let built = ejected(&space, "it", &with, &[fonts]);
        assert_eq!(built.stderr.matches(" mvnw was called\n").count(), 2, "in both steps: {built}");
        assert_eq!(output(&space, "ejected", &[]), "run\n");
        nowhere(&[]);
    }

    /// A launcher of a few lines in the place of Quarkus' own, in the directories that Quarkus documents.
    #[test]
    fn the_fast_jar_of_quarkus_is_started_as_it_is() {
        needs_root!();
        let space = prepared(TestSpace::with_bases(&["gradle"]));
        let launcher = "package boot;\nimport java.io.File;\nimport java.net.*;\nimport java.util.*;\n\
            public class Launcher { public static void main(String[] args) throws Exception {\n\
            File home = new File(Launcher.class.getProtectionDomain().getCodeSource().getLocation().toURI()).getParentFile().getParentFile().getParentFile();\n\
            List<URL> jars = new ArrayList<>();\n\
            for (String name : new String[] {\"app\", \"lib/main\", \"quarkus\"})\n\
            for (File file : new File(home, name).listFiles()) jars.add(file.toURI().toURL());\n\
            Class<?> main = new URLClassLoader(jars.toArray(new URL[0])).loadClass(\"app.Main\");\n\
            main.getMethod(\"main\", String[].class).invoke(null, (Object) args); } }\n";
        let main = "package app;\nimport org.apache.commons.cli.*;\npublic class Main { public static void main(String[] args) throws Exception {\n\
            String name = new DefaultParser().parse(new Options(), args).getArgList().get(0);\n\
            System.out.println(\"Hello, \" + name + Main.class.getResource(\"/generated\").getPath().replaceAll(\".*/(.*)!.*\", \" of $1\")); } }\n";
        let tasks = "apply plugin: 'java'\nsourceCompatibility = 17\n\
            repositories { maven { url 'file:///usr/share/maven-repo' } }\n\
            dependencies { compile 'commons-cli:commons-cli:1.5.0' }\n\
            def quarkus = new File(buildDir, 'quarkus-app')\n\
            task appJar(type: Jar) { destinationDir = new File(quarkus, 'app'); from(sourceSets.main.output) { include 'app/**' } }\n\
            task launcherJar(type: Jar) { destinationDir = new File(quarkus, 'lib/boot'); archiveName = 'boot.jar'\n\
            from(sourceSets.main.output) { include 'boot/**', 'native/**' } }\n\
            task generatedJar(type: Jar) { destinationDir = new File(quarkus, 'quarkus'); archiveName = 'generated-bytecode.jar'\n\
            from(sourceSets.main.output) { include 'generated' } }\n\
            task mainJars(type: Copy) { from configurations.runtimeClasspath; into new File(quarkus, 'lib/main') }\n\
            task runJar(type: Jar) { destinationDir = quarkus; archiveName = 'quarkus-run.jar'\n\
            manifest { attributes 'Main-Class': 'boot.Launcher', 'Class-Path': 'lib/boot/boot.jar' } }\n\
            task quarkusBuild { dependsOn appJar, launcherJar, generatedJar, mainJars, runJar }\n\
            quarkusBuild.doLast { new File(quarkus, 'quarkus-app-dependencies.txt').text = 'commons-cli\\n' }\n\
            assemble.dependsOn quarkusBuild\n";
        fs::remove_dir_all(space.context()).expect("the empty context goes");
        space.write("build.gradle", tasks).write("settings.gradle", "rootProject.name = 'fast'\n");
        space.write("src/main/java/boot/Launcher.java", launcher).write("src/main/java/app/Main.java", main);
        space.write("src/main/resources/generated", "").write("src/main/resources/native/libprobe.so", "");
        let gradle = instead("gradle:jdk17", "gradle");
        let args = ["--frontend=java", &gradle, "-t", "it"];
        space.build(&args).ok().says(&[
            "build/quarkus-app/quarkus-run.jar (Quarkus' fast-jar)",
            "`boot.jar` may load a shared library of its own",
        ]);
        assert_eq!(output(&space, "it", &["Zoë"]), "Hello, Zoë of generated-bytecode.jar\n");
        let image = readback::image(&space, "it");
        let mut program = image.files();
        program.retain(|path| path.starts_with("/app/"));
        assert_eq!(
            program,
            [
                "/app/app/fast.jar",
                "/app/lib/boot/boot.jar",
                "/app/lib/main/commons-cli-1.5.0.jar",
                "/app/quarkus-app-dependencies.txt",
                "/app/quarkus-run.jar",
                "/app/quarkus/generated-bytecode.jar"
            ]
        );
        for library in ["libdl.so.2", "libpthread.so.0", "librt.so.1", "libstdc++.so.6"] {
            assert!(image.files().iter().any(|path| path.ends_with(library)), "{library}");
        }
        let start = image.config["config"]["Entrypoint"].as_array().expect("it starts something");
        assert_eq!(start[start.len() - 2..], [json!("-jar"), json!("/app/quarkus-run.jar")]);
        let before = layers(&space, "it");
        space.write("src/main/java/app/Main.java", main.replace("Hello", "Hallo"));
        space.build(&args).ok();
        let after = layers(&space, "it");
        let (last, below) = after.split_last().expect("there are layers");
        assert_eq!((before.len(), &before[..3]), (4, below), "libraries are as they were");
        assert_ne!(&before[3], last);
        ejected(&space, "it", &[&gradle], &[]);
        assert_eq!(output(&space, "ejected", &["Zoë"]), "Hallo, Zoë of generated-bytecode.jar\n");
    }
}
