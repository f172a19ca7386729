//! Writes what the preset does as a Dockerfile for any builder, with the reasons as comments.

use kiln_preset::{Common, Dockerfile, Image, commands, literal, word};
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, TextFile};
use kiln_sdk::wit::graph::Output;
use kiln_sdk::wit::types::ImageConfig;

use crate::plan::Plan;
use crate::project::Kind;
use crate::settings::NETRC;
use crate::toolchain::{COMPILED, MODULES, NETRC_FILE, SOURCES};

/// Where the files of the image are put together.
const IMAGE: &str = "/image";

/// A Dockerfile that makes an image which behaves the same.
///
/// # Errors
///
/// Everything that makes the build one that fails.
pub(crate) fn eject(request: &BuildRequest) -> Result<Vec<TextFile>, BuildFailure> {
    let mut plan = Plan::new(request)?;
    let libraries = libraries(&mut plan)?;
    let mut file = Dockerfile::new();
    file.reasons(&plan.reasons);

    // A program with C is compiled where it runs; Go alone compiles for every platform on this one.
    let platform = if plan.is_cgo { "" } else { "$BUILDPLATFORM" };
    file.from(platform, &plan.builder.name, "build");
    let Common { runtime, packages, .. } = plan.settings.common.clone();
    if !packages.is_empty() {
        let names: Vec<String> = packages.iter().map(|package| word(package)).collect();
        file.run(
            &[],
            &format!(
                "apt-get update && apt-get install -y --no-install-recommends {} && rm -rf /var/lib/apt/lists/*",
                names.join(" ")
            ),
        );
    }
    file.workdir(SOURCES);
    file.env("GOMODCACHE", MODULES);
    file.env("GOCACHE", COMPILED);
    for pair in &plan.settings.env {
        // What was given for one build is given for each: the address of a proxy may hold a password.
        let is_given = request.build_arg(&pair.key) == Some(pair.value.as_str());
        match is_given || has_credentials(&pair.value) {
            true => file.arg(&pair.key),
            false => file.env(&pair.key, &pair.value),
        }
    }
    let cache = [format!("type=cache,target={MODULES}"), format!("type=cache,target={COMPILED}")];
    let netrc = format!("type=secret,id={NETRC},target={NETRC_FILE}");
    let mut mounts: Vec<&str> = cache.iter().map(String::as_str).collect();
    if plan.settings.has_netrc {
        mounts.push(&netrc);
    }
    if plan.project.has_dependencies && !plan.project.is_vendored {
        file.blank();
        file.comment(
            "Only what says which modules are needed, so that sources can change without a download.",
        );
        copy_module_files(&mut file, &plan);
        file.run(&mounts, "go mod download");
    }

    file.blank();
    file.copy(&[], &["."], ".");
    let go = plan.toolchain();
    let command = go.build_command(&plan.main.directory, &format!("{IMAGE}{}", plan.program()));
    let before = go.before();
    if plan.is_cgo {
        file.run(&mounts, &format!("{before}CGO_ENABLED=1 {command}"));
    } else {
        file.comment("The builder says which platform it makes the image for.");
        for name in ["TARGETOS", "TARGETARCH", "TARGETVARIANT"] {
            file.arg(name);
        }
        file.run(
            &mounts,
            &format!(
                "{before}export CGO_ENABLED=0 GOOS=\"$TARGETOS\" GOARCH=\"$TARGETARCH\"\n{VARIANT}{command}"
            ),
        );
    }
    if !libraries.is_empty() {
        file.blank();
        file.comment("The libraries that the program needs, found by reading it.");
        file.run(&[], &(libraries.join("\n") + "\n"));
    }
    if let Some(furniture) = &plan.furniture {
        file.blank();
        file.comment("What every program expects of its image.");
        file.run(&[], &furniture.script(IMAGE));
    }
    if let (Some(zip), Some((_, path))) = (&plan.zoneinfo_zip, plan.zoneinfo_variable()) {
        file.run(&[], &format!("install -D -m 0644 {} {IMAGE}{path}", word(zip)));
    }

    file.from("", runtime.as_deref().unwrap_or("scratch"), "");
    file.copy(&["--from=build"], &[&format!("{IMAGE}/")], "/");
    for (source, path) in &plan.settings.files {
        file.copy(&[], &[&literal(source)], path);
    }
    if let Some((name, path)) = plan.zoneinfo_variable() {
        file.env(name, path);
    }
    let config = ImageConfig {
        user: plan.settings.common.user.clone(),
        working_dir: "/".to_owned(),
        entrypoint: Some(vec![plan.program()]),
        labels: request.labels.clone(),
        ..ImageConfig::default()
    };
    file.config(&config, &ImageConfig::default());
    Ok(vec![TextFile { path: "Dockerfile".to_owned(), text: file.finish()? }])
}

/// Whether a value has an address with the name of a user in it, who may have a password, or be one.
fn has_credentials(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let authority = rest.split(|c: char| matches!(c, '/' | '?' | '#' | ',' | '|') || c.is_whitespace());
        authority.into_iter().next().is_some_and(|authority| authority.contains('@'))
    })
}

/// Levels of a processor, which builders call variants, in the words of the go command.
const VARIANT: &str = r#"case "$TARGETARCH/$TARGETVARIANT" in
    arm/v*) export GOARM="${TARGETVARIANT#v}" ;;
    amd64/v*) export GOAMD64="$TARGETVARIANT" ;;
esac
"#;

fn copy_module_files(file: &mut Dockerfile, plan: &Plan) {
    match &plan.project.kind {
        Kind::Workspace(directories) => {
            file.copy(&[], &["go.work*"], "./");
            for directory in directories {
                let directory = directory.trim_start_matches("./").trim_end_matches('/');
                let directory = if directory.is_empty() { "." } else { directory };
                let pattern = literal(directory);
                file.copy(
                    &[],
                    &[&format!("{pattern}/go.mod"), &format!("{pattern}/go.sum*")],
                    &format!("{directory}/"),
                );
            }
        }
        _ => {
            file.copy(&[], &["go.mod", "go.sum*"], "./");
            for directory in &plan.project.local_modules {
                let pattern = literal(directory);
                file.copy(&[], &[&format!("{pattern}/go.mod")], &format!("{directory}/"));
            }
        }
    }
}

/// Commands that bring the program's libraries into the image, read from the program as it is compiled now.
fn libraries(plan: &mut Plan) -> Result<Vec<String>, BuildFailure> {
    if !plan.is_cgo {
        return Ok(Vec::new());
    }
    let Some(platform) = plan.platforms.first().cloned() else { return Ok(Vec::new()) };
    let program = plan.compiled(&platform);
    let (request, root) = plan.closure(program, &platform);
    let below = match plan.settings.common.runtime.clone() {
        Some(name) => Image::find(&mut plan.graph, &name, &platform, "go.runtime")?.root,
        None => None,
    };
    let outputs: Vec<Output> = [root].into_iter().chain(below).collect();
    let trees = plan.builder.ask(&plan.graph, &outputs, "go-build", "the program cannot be compiled", "")?;
    let Some(tree) = trees.first() else { return Ok(Vec::new()) };
    Ok(commands(tree, trees.get(1), &request, IMAGE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_user_in_it_is_told_from_one_without() {
        for value in
            ["https://u:secret@proxy.example/", "direct,https://token@host", "http://a|https://b:c@d"]
        {
            assert!(has_credentials(value), "{value}");
        }
        for value in ["https://proxy.example/@v1", "https://proxy.example,direct", "off", "-tags=a@b", ""] {
            assert!(!has_credentials(value), "{value}");
        }
    }
}
