//! Writes the build as a Dockerfile that a person can keep: every decision is in it, and nothing is asked again.

use kiln_preset::{ClosureRequest, Dockerfile, literal, platform_text, word};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, TextFile};
use kiln_sdk::wit::graph::Output;
use kiln_sdk::wit::types::{ImageConfig, Platform};

use crate::image;
use crate::layout::{Layer, Piece, Place};
use crate::plan::{self, Plan, Runtime};
use crate::project::{Look, Tool};
use crate::runtime::{self, HOME};
use crate::steps::{self, SOURCE, build_files};

/// Where the parts of the image are laid out in the build stage, one directory for each layer.
const OUT: &str = "/out";

/// # Errors
///
/// The build files cannot be listed, or the runtime cannot be looked into.
pub(crate) fn files(mut plan: Plan, request: &BuildRequest) -> Result<Vec<TextFile>, BuildFailure> {
    let Some((platform, chosen)) = plan.runtimes.first().cloned() else { return Ok(Vec::new()) };
    let closure = match &chosen {
        Runtime::Linked { .. } => closure(&mut plan, &chosen)?,
        Runtime::Image { .. } => Vec::new(),
    };
    let furniture = image::furniture(&mut plan)?;
    let mut file = Dockerfile::new();
    file.reasons(&plan.reasons);
    builder_stage(&mut file, &plan, &chosen);
    if let Runtime::Linked { modules, below } = &chosen {
        file.from("", "builder", "runtime");
        file.comment(&format!(
            "The runtime for {}: the modules of the JDK that the program needs, the libraries of the builder that the JVM needs, and certificates as a file.",
            platform_text(&platform)
        ));
        let mut script = vec![runtime::link_command(modules, plan.version)];
        script.push(format!("mkdir -p {OUT}/runtime/opt"));
        script.push(format!("cp -a {HOME} {OUT}/runtime/opt/"));
        if let Some(path) = plan.facts.value("cacerts") {
            script.push(format!("rm -f {OUT}/runtime{HOME}/lib/security/cacerts"));
            script.push(format!("cp -L {} {OUT}/runtime{HOME}/lib/security/cacerts", word(path)));
        }
        let mut directories: Vec<&str> = plan.facts.value("locale").into_iter().collect();
        if plan.options.fonts {
            directories.extend(["/etc/fonts", "/usr/share/fonts"]);
        }
        for path in directories {
            script.push(format!("mkdir -p {OUT}/runtime{}", word(path)));
            script.push(format!("cp -a {}/. {OUT}/runtime{}", word(path), word(path)));
        }
        script.extend(closure);
        file.run(&[], &(script.join("\n") + "\n"));
        if below.is_none() {
            file.blank();
            file.comment("What every program expects of the image it runs in: users, certificates, /tmp.");
            file.run(&[], &furniture.script(&format!("{OUT}/furniture")));
        }
    }
    build_stage(&mut file, &plan, request)?;
    image_stage(&mut file, &mut plan, &platform, &chosen, request);
    Ok(vec![TextFile { path: "Dockerfile".to_owned(), text: file.finish()? }])
}

/// Commands that copy the libraries of the runtime, which lies in the builder at its own place.
fn closure(plan: &mut Plan, chosen: &Runtime) -> Result<Vec<String>, BuildFailure> {
    let Runtime::Linked { modules, below } = chosen else { return Ok(Vec::new()) };
    let linked = runtime::link(&mut plan.graph, &plan.builder, modules, plan.version);
    let whole = runtime::in_builder(&mut plan.graph, &plan.builder, linked);
    let below = below.as_ref().and_then(|image| image.root);
    let outputs: Vec<Output> = [whole].into_iter().chain(below).collect();
    let message = "the runtime cannot be linked";
    let trees = plan.builder.ask(&plan.graph, &outputs, "java-runtime", message, "")?;
    let Some(tree) = trees.first() else {
        return Err(Diagnostic::error("java-runtime", message).into());
    };
    let request = runtime::request(&plan.builder.platform.arch, &plan.facts, modules);
    let request = ClosureRequest::read(&runtime::expand(&request.task(), tree));
    let commands = kiln_preset::commands(tree, trees.get(1), &request, &format!("{OUT}/runtime"))?;
    // The runtime itself is copied as it is.
    Ok(commands.into_iter().filter(|command| !command.contains(&format!("{OUT}/runtime{HOME}/"))).collect())
}

fn builder_stage(file: &mut Dockerfile, plan: &Plan, chosen: &Runtime) {
    // A runtime is linked where it runs; without one, the build is the same for every platform.
    let platform = if matches!(chosen, Runtime::Image { .. }) { "$BUILDPLATFORM" } else { "" };
    file.from(platform, &plan.builder.name, "builder");
    if !plan.options.common.packages.is_empty() {
        let packages: Vec<String> = plan.options.common.packages.iter().map(|name| word(name)).collect();
        file.run(
            &[],
            &format!(
                "apt-get update && apt-get install -y --no-install-recommends {} && rm -rf /var/lib/apt/lists/*",
                packages.join(" ")
            ),
        );
    }
}

fn build_stage(file: &mut Dockerfile, plan: &Plan, request: &BuildRequest) -> Result<(), BuildFailure> {
    let command = &plan.command;
    let tool = command.tool.name();
    file.from("", "builder", "build");
    if plan.version < 18 {
        file.env("LANG", "C.UTF-8");
    }
    file.workdir(SOURCE);
    file.blank();
    file.comment("The build files first: what the project needs is fetched again only when they change.");
    let context = plan::open_context()?;
    let files = context
        .matching(build_files(command.tool))
        .map_err(|error| plan::unreadable("the build context", &error))?;
    for path in files.iter().filter(|path| is_file(&context, path)) {
        let directory =
            path.rsplit_once('/').map_or("./".to_owned(), |(directory, _)| format!("{directory}/"));
        file.copy(&[], &[&literal(path)], &directory);
    }
    let args: Vec<String> = command.plain().iter().map(|arg| word(arg)).collect();
    let args = args.join(" ");
    let (cache, goals, resolve) = match command.tool {
        Tool::Maven => {
            let mut cache = "type=cache,sharing=locked,target=/root/.m2/repository".to_owned();
            if plan.facts.value("repository").is_some() {
                cache.push_str(",from=builder,source=/root/.m2/repository");
            }
            (cache, "package", format!("{} -fn {args} package || true", command.program()))
        }
        Tool::Gradle => {
            let cache = "type=cache,sharing=locked,target=/root/.gradle".to_owned();
            let goals = if command.tests { "assemble test" } else { "assemble" };
            (cache, goals, format!("{} {args} dependencies || true", command.program()))
        }
    };
    if command.tool == Tool::Gradle {
        file.env("GRADLE_USER_HOME", "/root/.gradle");
    }
    let mut mounts = vec![cache];
    if let Some((id, path)) = steps::secret(command.tool, &request.secret_ids) {
        mounts.push(format!("type=secret,id={id},target={path}"));
    }
    let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
    let outputs: Vec<String> = plan.outputs.iter().map(|path| word(path)).collect();
    let clean = format!("rm -rf {}", outputs.join(" "));
    file.run(&mounts, &format!("{resolve}\n{clean}\n"));
    file.blank();
    file.comment(&format!(
        "The sources. What earlier builds of this machine left beside them is removed; {tool} may use the network, as the cache can be emptied at any time."
    ));
    file.copy(&[], &["."], ".");
    let mut script = vec![clean, format!("{} {args} {goals}", command.program())];
    for layer in &plan.layout.layers {
        script.push(format!("# {}", layer.title));
        script.extend(commands(layer));
    }
    file.run(&mounts, &(script.join("\n") + "\n"));
    Ok(())
}

fn is_file(context: &kiln_sdk::wit::trees::Tree, path: &str) -> bool {
    use kiln_sdk::wit::types::FileKind;
    context.stat(path).is_ok_and(|file| file.kind == FileKind::Regular)
}

/// A directory name for a layer.
fn directory(layer: &Layer) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("{OUT}/{}", layer.title.chars().map(fits).collect::<String>())
}

/// Commands that lay the files of a layer out.
fn commands(layer: &Layer) -> Vec<String> {
    let out = directory(layer);
    let mut commands = Vec::new();
    for piece in &layer.pieces {
        match piece {
            Piece::File { place, path, to, origin } => {
                let from = match place {
                    Place::Source => format!("{SOURCE}/{path}"),
                    Place::Resolved | Place::Made => origin.clone(),
                };
                commands.push(format!("install -D -m 0644 {} {}", word(&from), word(&format!("{out}{to}"))));
            }
            Piece::Unpacked { path, include, exclude, to } => {
                let jar = word(&format!("{SOURCE}/{path}"));
                commands
                    .push(format!("rm -rf /tmp/jar && mkdir -p /tmp/jar && (cd /tmp/jar && jar xf {jar})"));
                commands.extend(exclude.iter().map(|pattern| without(pattern)));
                commands.extend(selection("/tmp/jar", include, &format!("{out}{to}")));
            }
            Piece::Directory { path, include, to } => {
                commands.extend(selection(&format!("{SOURCE}/{path}"), include, &format!("{out}{to}")));
            }
        }
    }
    commands
}

fn without(pattern: &str) -> String {
    match pattern.strip_prefix("**/") {
        Some(name) => format!("find /tmp/jar -name {} -type f -delete", word(name)),
        None => format!("(cd /tmp/jar && rm -rf {})", glob(pattern)),
    }
}

/// A pattern as a word of the shell, to which only `*` means something.
fn glob(pattern: &str) -> String {
    let (mut text, mut literal) = (String::new(), String::new());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => literal.extend(chars.next()),
            '*' => {
                text.extend(Some(word(&std::mem::take(&mut literal))).filter(|word| word != "''"));
                text.push('*');
            }
            c => literal.push(c),
        }
    }
    if !literal.is_empty() {
        text.push_str(&word(&literal));
    }
    text
}

/// Commands that copy what patterns match, `DIRECTORY/**` and such, with the directories it lies in.
fn selection(from: &str, include: &[String], to: &str) -> Vec<String> {
    let (from, into) = (word(from), word(to));
    let mut commands = vec![format!("mkdir -p {into}")];
    if include.is_empty() {
        commands.push(format!("cp -r {from}/. {into}"));
    }
    for pattern in include.iter().filter(|pattern| !pattern.starts_with('!')) {
        commands.push(match pattern.strip_prefix("**/") {
            Some(name) => format!(
                "(cd {from} && find . -name {} -type f -exec cp --parents {{}} {into} ';')",
                word(name)
            ),
            None if pattern == "*" => {
                format!("(cd {from} && find . -maxdepth 1 -type f -exec cp {{}} {into} ';')")
            }
            None => {
                let path = glob(pattern.trim_end_matches("/**").trim_end_matches("/*"));
                // What one of our own patterns could match need not be there.
                let copy = "if [ -e \"$path\" ]; then cp -r --parents \"$path\"";
                format!("(cd {from} && for path in {path}; do {copy} {into}; fi; done)")
            }
        });
    }
    commands
}

fn image_stage(
    file: &mut Dockerfile,
    plan: &mut Plan,
    platform: &Platform,
    chosen: &Runtime,
    request: &BuildRequest,
) {
    let below = match chosen {
        Runtime::Image { image, .. } => Some(image),
        Runtime::Linked { below, .. } => below.as_ref(),
    };
    file.from("", below.map_or("scratch", |image| &image.name), "");
    if let Runtime::Linked { below, .. } = chosen {
        if below.is_none() {
            file.copy(&["--from=runtime"], &[&format!("{OUT}/furniture/")], "/");
        }
        file.copy(&["--from=runtime"], &[&format!("{OUT}/runtime/")], "/");
    }
    file.comment("The program, in layers that change for different reasons.");
    for layer in &plan.layout.layers {
        file.copy(&["--from=build"], &[&format!("{}/", directory(layer))], "/");
    }
    let config = image::shape(plan, platform, chosen).finish(&mut plan.graph, request).config;
    let base = below.map_or_else(ImageConfig::default, |image| image.config.clone());
    file.config(&config, &base);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_words_in_which_wildcards_stay() {
        assert_eq!(glob("BOOT-INF/lib/*-SNAPSHOT.jar"), "BOOT-INF/lib/*-SNAPSHOT.jar");
        assert_eq!(glob(r"META-INF/a b\*\[1\]"), "'META-INF/a b*[1]'");
        assert_eq!(glob("a b/*/c"), "'a b/'*/c");
    }

    #[test]
    fn what_patterns_match_is_copied_and_what_they_could_match_need_not_be_there() {
        let include = ["**/*.class", "*", "lib/**", "x/*-SNAPSHOT.jar", "!lib"].map(str::to_owned);
        assert_eq!(
            selection("/a", &include, "/b"),
            [
                "mkdir -p /b",
                "(cd /a && find . -name '*.class' -type f -exec cp --parents {} /b ';')",
                "(cd /a && find . -maxdepth 1 -type f -exec cp {} /b ';')",
                "(cd /a && for path in lib; do if [ -e \"$path\" ]; then cp -r --parents \"$path\" /b; fi; done)",
                "(cd /a && for path in x/*-SNAPSHOT.jar; do if [ -e \"$path\" ]; then cp -r --parents \"$path\" /b; fi; done)",
            ]
        );
    }
}
