//! Writes the Dockerfile that makes an image which behaves the same, for people who want to go on from there.

use kiln_closure::Item;
use kiln_preset::{Dockerfile, Reasons, check_target, epoch, word};
use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, TextFile};
use kiln_sdk::wit::types::ImageConfig;

use crate::image::config;
use crate::installed::base_name;
use crate::plan::{Plan, Project, plan};
use crate::project::System;
use crate::settings::Settings;

/// Flags that hide where the program was built.
const FLAGS: &str = "-fPIE -ffile-prefix-map=/work/src=. -ffile-prefix-map=/work/build=.";

/// What `eject` answers: the image for the first platform that is wanted.
///
/// # Errors
///
/// Whatever keeps the project from becoming an image.
pub(crate) fn eject(request: &BuildRequest) -> Result<Vec<TextFile>, BuildFailure> {
    check_target(request, "the file is that of the program; symbols come from `kiln build --target debug`")?;
    let mut reasons = Reasons::new();
    let settings = Settings::read(request)?;
    let project = Project::open(&settings, &mut reasons)?;
    let mut graph = GraphBuilder::new();
    let platforms = request.wanted_platforms();
    let platform = platforms.first().unwrap_or(&request.build_platform);
    let plan = plan(&mut graph, request, &settings, &project, platform, &mut reasons)?;
    let epoch = epoch(request)?;
    let mut file = Dockerfile::new();
    for code in ["c-system", "c-builder", "c-tools"] {
        if let Some(sentence) = reasons.sentence(code) {
            file.comment(&sentence_case(sentence));
        }
    }
    file.from("", &plan.builder.name, "build");
    if !plan.packages.is_empty() {
        let packages: Vec<String> = plan.packages.iter().map(|name| word(name)).collect();
        file.run(
            &[],
            &format!(
                "apt-get update && apt-get install -y --no-install-recommends {} && rm -rf /var/lib/apt/lists/*",
                packages.join(" ")
            ),
        );
    }
    file.env("SOURCE_DATE_EPOCH", epoch);
    file.workdir("/work/src");
    file.copy(&[], &["."], ".");
    if let Some(sentence) = reasons.sentence("c-link") {
        file.comment(&sentence_case(sentence));
    }
    let commands = commands(&settings, &project.system, &plan);
    file.run(&[], &commands.join("\n"));
    for code in ["c-program", "c-uninstalled"] {
        if let Some(sentence) = reasons.sentence(code) {
            file.comment(&sentence_case(sentence));
        }
    }
    let tidy = tidy(&plan);
    if !tidy.is_empty() {
        file.run(&[], &tidy.join("\n"));
    }
    let mut image = Vec::new();
    if let Some(furniture) = &plan.furniture {
        image.push(furniture.script("/image").trim_end().to_owned());
    }
    image.extend(libraries(&plan));
    if !image.is_empty() {
        file.comment(match plan.runtime {
            None => "Users, groups and /tmp; then each library that is needed, and who needs it.",
            Some(_) => "What the image below does not have.",
        });
        file.run(&[], &image.join("\n"));
    }
    match &plan.runtime {
        Some(runtime) => file.from("", &runtime.name, ""),
        None => file.from("", "scratch", ""),
    }
    if !image.is_empty() {
        file.copy(&["--from=build"], &["/image/"], "/");
    }
    file.copy(&["--from=build"], &["/out/"], "/");
    let base = plan.runtime.as_ref().map_or_else(ImageConfig::default, |image| image.config.clone());
    file.config(&config(&plan, &settings, request), &base);
    Ok(vec![TextFile { path: "Dockerfile".to_owned(), text: file.finish()? }])
}

/// A sentence begins with a capital, unless that is part of a name, and ends with a stop.
fn sentence_case(text: &str) -> String {
    let is_name = text.split(' ').next().is_some_and(|word| word.contains(['.', '`', '/']));
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !is_name => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        _ => format!("{text}."),
    }
}

fn words(arguments: &[String]) -> String {
    arguments.iter().map(|argument| format!(" {}", word(argument))).collect()
}

/// Configures, compiles and installs into /out.
fn commands(settings: &Settings, system: &System, plan: &Plan) -> Vec<String> {
    let level = match settings.build_type.as_str() {
        "size" => "-Os",
        "debug" => "-O0 -g",
        _ => "-O2",
    };
    let (link, compiler) = match (plan.is_static, plan.libc) {
        (true, "musl") => ("-static", "musl-gcc"),
        (true, _) => ("-static-pie", "cc"),
        (false, _) => ("", "cc"),
    };
    let flags = format!("{FLAGS} {level} {}", settings.cflags).trim().to_owned();
    let ldflags = format!("{link} {}", settings.ldflags).trim().to_owned();
    let (configure, make) = (words(&settings.configure), words(&settings.make));
    let mut lines = vec!["mkdir -p /out /work/build".to_owned()];
    // Flags that decide how programs are linked go with the compiler where a Makefile need not look at LDFLAGS.
    let cc = word(format!("{compiler} {link}").trim());
    let cxx = word(format!("c++ {link}").trim());
    let plain = word(&flags);
    match system {
        System::CMake => {
            let flags = format!("{FLAGS} {}", settings.cflags).trim().to_owned();
            lines.push(format!(
                "export CFLAGS={0} CXXFLAGS={0} LDFLAGS={1}",
                word(&flags),
                word(&settings.ldflags)
            ));
            let mut line = String::from("cmake -B /work/build");
            if settings.preset.is_empty() {
                let kind = match settings.build_type.as_str() {
                    "size" => "MinSizeRel",
                    "debug" => "Debug",
                    _ => "Release",
                };
                line += &format!(" -DCMAKE_BUILD_TYPE={kind}");
                for (language, kind) in
                    [("C", "RELEASE"), ("CXX", "RELEASE"), ("C", "MINSIZEREL"), ("CXX", "MINSIZEREL")]
                {
                    if settings.build_type != "debug" {
                        line += &format!(" \\\n    '-DCMAKE_{language}_FLAGS_{kind}={level} -DNDEBUG'");
                    }
                }
            } else {
                line += &format!(" --preset {}", word(&settings.preset));
            }
            if !settings.test {
                line += " \\\n    -DBUILD_TESTING=OFF";
            }
            if plan.libc == "musl" {
                line += " -DCMAKE_C_COMPILER=musl-gcc";
            }
            if plan.is_static {
                line += &format!(" -DCMAKE_EXE_LINKER_FLAGS={}", word(&ldflags));
            }
            line +=
                &format!("{configure} \\\n    -DCMAKE_INSTALL_PREFIX=/usr/local -DCMAKE_INSTALL_LIBDIR=lib");
            lines.push(line);
            let own = if make.is_empty() { String::new() } else { format!(" --{make}") };
            lines.push(format!("cmake --build /work/build --parallel \"$(nproc)\"{own}"));
            if settings.test {
                lines.push("(cd /work/build && ctest --output-on-failure)".to_owned());
            }
            lines.push("DESTDIR=/out cmake --install /work/build".to_owned());
        }
        System::Meson => {
            let level = match settings.build_type.as_str() {
                "size" => "s",
                "debug" => "0",
                _ => "2",
            };
            let debug = settings.build_type == "debug";
            let flags = word(format!("{FLAGS} {}", settings.cflags).trim());
            lines.push(format!(
                "export CC={compiler} CFLAGS={flags} CXXFLAGS={flags} LDFLAGS={}",
                word(&ldflags)
            ));
            lines.push(format!(
                "meson setup --prefix=/usr/local --libdir=lib -Doptimization={level} -Ddebug={debug}{configure} /work/build ."
            ));
            lines.push(format!("ninja -C /work/build{make}"));
            if settings.test {
                lines.push("meson test -C /work/build --no-rebuild --print-errorlogs".to_owned());
            }
            lines.push("DESTDIR=/out meson install -C /work/build --no-rebuild".to_owned());
        }
        System::Autotools => {
            lines.push("[ -e configure ] || autoreconf -fi".to_owned());
            lines.push("place=/work/build".to_owned());
            lines.push("grep -q 'Generated by GNU Autoconf' configure || place=/work/src".to_owned());
            lines.push("cd \"$place\"".to_owned());
            let ldflags = word(&settings.ldflags);
            lines.push(format!(
                "/work/src/configure --prefix=/usr/local{configure} \\\n    CC={cc} CXX={cxx} CFLAGS={plain} CXXFLAGS={plain} LDFLAGS={ldflags}"
            ));
            make_lines(&mut lines, settings, &make);
        }
        System::Make => {
            let ldflags = word(&settings.ldflags);
            lines.push(format!("export CFLAGS={plain} CXXFLAGS={plain} LDFLAGS={ldflags}"));
            make_lines(&mut lines, settings, &format!(" CC={cc} CXX={cxx}{make}"));
        }
        System::File(name) => {
            let compiler = if name.ends_with(".c") { compiler } else { "c++" };
            lines.push("mkdir -p /out/usr/local/bin".to_owned());
            let line = format!(
                "{compiler} {flags} {} -o {} {ldflags}",
                word(&operand(name)),
                word(&format!("/out{}", plan.program))
            );
            lines.push(line.trim().to_owned());
        }
    }
    if !plan.is_installed {
        let place = if *system == System::Make { "/work/src" } else { "/work/build" };
        lines.push("mkdir -p /out/usr/local/bin".to_owned());
        lines.push(format!(
            "find {place} -type f -perm -u+x -name {} ! -path '*/CMakeFiles/*' -exec cp {{}} /out/usr/local/bin/ ';'",
            word(base_name(&plan.program))
        ));
    }
    lines
}

/// A file's name for a compiler, to which `-x.c` is an option and `@x.c` a file of options.
fn operand(name: &str) -> String {
    if name.starts_with(['-', '@']) { format!("./{name}") } else { name.to_owned() }
}

fn make_lines(lines: &mut Vec<String>, settings: &Settings, make: &str) {
    lines.push(format!("make -j \"$(nproc)\"{make}"));
    if settings.test {
        lines.push(format!(
            "if make -n check >/dev/null 2>&1; then make check{make}; else make test{make}; fi"
        ));
    }
    lines.push(format!(
        "if make -n install >/dev/null 2>&1; then\n    make install DESTDIR=/out PREFIX=/usr/local prefix=/usr/local{make}\nfi"
    ));
}

/// Takes away what nobody misses at run time.
fn tidy(plan: &Plan) -> Vec<String> {
    let out = |path: &String| word(&format!("/out/{}", path.trim_start_matches('/')));
    let mut lines = Vec::new();
    if !plan.installed.excluded.is_empty() {
        let paths: Vec<String> = plan.installed.excluded.iter().map(out).collect();
        lines.push(format!("rm -rf {}", paths.join(" \\\n    ")));
    }
    let is_stripped = |path: &&String| !plan.unstripped.contains(path);
    for path in plan.installed.programs.iter().filter(is_stripped) {
        lines.push(format!("strip --strip-all {}", out(path)));
    }
    for path in plan.installed.libraries.iter().filter(is_stripped) {
        lines.push(format!("strip --strip-unneeded {}", out(path)));
    }
    lines
}

/// Copies each library by name, with who needs it.
fn libraries(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let mut needs_cache = false;
    for (path, item) in &plan.shared.items {
        if let Some(asker) = plan.shared.askers.get(base_name(path)) {
            let line = format!("# {}: needed by {asker}", base_name(path));
            lines.push(line.replace(char::is_control, " "));
        }
        let to = word(&format!("/image{path}"));
        let directory =
            word(&format!("/image{}", path.rsplit_once('/').map_or("", |(directory, _)| directory)));
        match item {
            Item::File(real) => lines.push(format!("mkdir -p {directory} && cp -p {} {to}", word(real))),
            Item::Link(target) => lines.push(format!("mkdir -p {directory} && ln -sf {} {to}", word(target))),
            // The only data that a closure has is the cache of the dynamic linker.
            Item::Data(_) => needs_cache = true,
        }
    }
    if needs_cache {
        lines.push(
            "# Libraries of the project lie where the dynamic linker looks through its cache only."
                .to_owned(),
        );
        lines.push("cp -a /out/. / && mkdir -p /image/etc && ldconfig -C /image/etc/ld.so.cache".to_owned());
    }
    lines
}
