//! The steps that run the build tool: one that sees the build files only, and one that sees the sources.

use kiln_preset::Builder;
use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::graph::{
    CacheMount, CacheSharing, CopyAction, ExecOp, FileAction, MakeFileAction, Mount, MountKind, Output,
};

use crate::options::Options;
use crate::project::{Project, Tool};

/// Where the project lies while it is built, whatever it is called outside.
pub(crate) const SOURCE: &str = "/src";

/// Where the second step sees what the first one left.
const HAVE: &str = "/kiln/have";

/// Where steps see what the preset brings for the build tool.
const BRINGS: &str = "/kiln/tool";

/// The one time that files in jars have: the first that both a ZIP file can have and Maven takes.
const TIMESTAMP: &str = "-Dproject.build.outputTimestamp=315532802";

/// Maven is told what a listener wants to know of it, so that no plugin has to be there. The phases run on modules without
/// sources: what they need is fetched on the way, and what fails because nothing is there to be compiled is no matter.
const MAVEN_RESOLVE: &str = r#"cd /src
home=$(TOOL -B -Dstyle.color=never -v | sed -n 's/^Maven home: *//p')
if [ -z "$home" ]; then echo 'Maven does not say where it is' >&2; exit 1; fi
mkdir -p /kiln/out/extension/META-INF/plexus
javac -nowarn -cp "$home/lib/*" -d /kiln/out/extension /kiln/tool/Facts.java
cp /kiln/tool/components.xml /kiln/out/extension/META-INF/plexus/
TOOL -Dmaven.ext.class.path=/kiln/out/extension -fn "$@" || true
if [ -e /kiln/out/facts ] && ! grep -q 'failed$' /kiln/out/facts; then : >/kiln/out/complete; fi
"#;

const GRADLE_RESOLVE: &str = r#"cd /src
if TOOL "$@" && [ ! -e /kiln/out/incomplete ]; then : >/kiln/out/complete; fi
mkdir -p /kiln/out/lib
"#;

/// Without the network first, where the step before found all: the cache it filled may have been emptied since.
const BUILD: &str = r#"cd /src
if [ -e /kiln/have/complete ]; then
    { TOOL OFFLINE "$@" 2>&1 && : >/tmp/built || true; } | tee /tmp/log
    if [ ! -e /tmp/built ]; then
        grep -q 'offline mode' /tmp/log || exit 1
        echo 'something is missing: once more, with the network'
        TOOL "$@"
    fi
else
    TOOL "$@"
fi
mkdir -p /kiln/out/lib
[ -e /kiln/out/facts ] || cat /kiln/out/facts.* >/kiln/out/facts
"#;

/// How the build tool is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) tool: Tool,
    pub(crate) is_wrapped: bool,
    pub(crate) tests: bool,
    /// Tests are compiled, though they do not run.
    pub(crate) compiles_tests: bool,
    pub(crate) args: Vec<String>,
}

impl Command {
    pub(crate) fn new(project: &Project, options: &Options) -> Self {
        Self {
            tool: project.found.tool,
            is_wrapped: project.found.has_wrapper && options.wrapper,
            tests: options.tests,
            compiles_tests: project.shares_tests,
            args: options.args.clone(),
        }
    }

    /// The program, in words of the shell.
    pub(crate) fn program(&self) -> &'static str {
        match (self.tool, self.is_wrapped) {
            (Tool::Maven, false) => "mvn",
            (Tool::Maven, true) => "/bin/sh ./mvnw",
            (Tool::Gradle, false) => "gradle",
            (Tool::Gradle, true) => "/bin/sh ./gradlew",
        }
    }

    /// The flag with which the tool does without the network.
    pub(crate) fn offline(&self) -> &'static str {
        match self.tool {
            Tool::Maven => "-o",
            Tool::Gradle => "--offline",
        }
    }

    fn script(&self, script: &str) -> String {
        script.replace("OFFLINE", self.offline()).replace("TOOL", self.program())
    }

    /// Arguments that a person would type as well.
    pub(crate) fn plain(&self) -> Vec<String> {
        let mut args: Vec<String> = match self.tool {
            Tool::Maven => vec!["-B".into(), "-Dstyle.color=never".into(), TIMESTAMP.into()],
            Tool::Gradle => vec!["--no-daemon".into(), "--console=plain".into()],
        };
        if self.tool == Tool::Maven && !self.tests {
            args.push(if self.compiles_tests { "-DskipTests" } else { "-Dmaven.test.skip=true" }.into());
        }
        args.extend(self.args.iter().cloned());
        args
    }

    fn words(&self, resolves: bool) -> Vec<String> {
        let mut args = self.plain();
        args.push(format!("-Dkiln.out={}", kiln_preset::OUT));
        if !resolves {
            args.push(format!("-Dkiln.have={HAVE}"));
        }
        match self.tool {
            Tool::Maven => {
                // Progress of downloads is thousands of lines.
                let listener = "org.apache.maven.cli.transfer.Slf4jMavenTransferListener";
                args.push(format!("-Dorg.slf4j.simpleLogger.log.{listener}=warn"));
                if !resolves {
                    args.push(format!("-Dmaven.ext.class.path={HAVE}/extension"));
                }
                args.push("package".into());
            }
            Tool::Gradle => {
                args.extend(["--init-script".to_owned(), format!("{BRINGS}/kiln.gradle")]);
                // Listeners of this kind are not for a configuration that is kept.
                args.push("-Dorg.gradle.configuration-cache=false".into());
                args.push(if resolves { "kilnResolve" } else { "kilnFacts" }.into());
                if self.tests && !resolves {
                    args.push("test".into());
                }
            }
        }
        args
    }
}

/// Patterns of the files that say what a project needs.
pub(crate) fn build_files(tool: Tool) -> &'static [&'static str] {
    match tool {
        Tool::Maven => &["**/pom.xml", ".mvn", ".mvn/**", "mvnw"],
        Tool::Gradle => &[
            "**/*.gradle",
            "**/*.gradle.kts",
            "**/gradle.properties",
            "**/*.lockfile",
            "**/*.versions.toml",
            "gradle",
            "gradle/**",
            "buildSrc",
            "buildSrc/**",
            "gradlew",
        ],
    }
}

/// What the two steps leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Built {
    /// Of the step that sees build files: libraries below `lib`, and whether all was found.
    pub(crate) resolved: Output,
    /// Of the step that sees sources: `facts`, and below `lib` libraries that the first step did not find.
    pub(crate) made: Output,
    /// The project's directory after it.
    pub(crate) source: Output,
}

/// Puts both steps into the graph. `outputs` are directories of the project that only builds write.
pub(crate) fn build(
    graph: &mut GraphBuilder,
    builder: &Builder,
    command: &Command,
    outputs: &[String],
    secrets: &[String],
) -> Built {
    let context = graph.build_context("");
    graph.rename(context, "the project");
    let copy = CopyAction { contents_only: true, ..CopyAction::new(context, vec!["/".into()], "/") };
    let exclude_patterns = outputs.to_vec();
    let include_patterns = build_files(command.tool).iter().map(|&pattern| pattern.to_owned()).collect();
    let files = CopyAction { include_patterns, exclude_patterns: exclude_patterns.clone(), ..copy.clone() };
    let files = graph.copy(None, files);
    graph.rename(files, "build files");
    let sources = graph.copy(None, CopyAction { exclude_patterns, ..copy });
    graph.rename(sources, "sources");
    let brings = brings(graph, command.tool);
    let mounts = mounts(graph, builder, command, secrets, brings);
    let writable = |input| {
        let Mount { kind, .. } = Mount::bind(SOURCE, input);
        Mount { target: SOURCE.to_owned(), readonly: false, kind }
    };
    let name = command.tool.name();

    let (script, title) = match command.tool {
        Tool::Maven => (MAVEN_RESOLVE, format!("{name}: dependencies")),
        Tool::Gradle => (GRADLE_RESOLVE, format!("{name}: dependencies")),
    };
    let mut exec = exec(builder, command, script, true);
    exec.mounts.push(writable(files));
    exec.mounts.extend(mounts.iter().cloned());
    let resolved = builder.produce(graph, builder.root, exec, &title);

    let mut exec = self::exec(builder, command, BUILD, false);
    exec.mounts.push(writable(sources));
    exec.mounts.extend(mounts);
    exec.mounts.push(Mount::bind(HAVE, resolved));
    exec.mounts.push(Mount::tmpfs("/tmp"));
    let made = builder.produce(graph, builder.root, exec, &format!("{name}: build"));
    Built { resolved, made, source: Output { slot: 1, ..made } }
}

fn exec(builder: &Builder, command: &Command, script: &str, resolves: bool) -> ExecOp {
    let mut exec = builder.script(&command.script(script));
    exec.args.extend(command.words(resolves));
    kiln_preset::set_pair(&mut exec.env, "LANG", "C.UTF-8");
    if command.tool == Tool::Gradle {
        kiln_preset::set_pair(&mut exec.env, "GRADLE_USER_HOME", "/root/.gradle");
    }
    exec
}

fn brings(graph: &mut GraphBuilder, tool: Tool) -> Output {
    let files: &[(&str, &[u8])] = match tool {
        Tool::Maven => &[
            ("/Facts.java", include_bytes!("../builder/Facts.java")),
            ("/components.xml", include_bytes!("../builder/components.xml")),
        ],
        Tool::Gradle => &[("/kiln.gradle", include_bytes!("../builder/kiln.gradle"))],
    };
    let file = |(path, data): &(&str, &[u8])| {
        let (path, data) = ((*path).to_owned(), data.to_vec());
        FileAction::MakeFile(MakeFileAction { path, data, mode: 0o644, owner: None })
    };
    let output = graph.file(None, files.iter().map(file).collect());
    graph.rename(output, "what the build tool is asked");
    output
}

/// The secret that the tool's steps have, if it was given: its id, and where the tool reads it.
pub(crate) fn secret(tool: Tool, given: &[String]) -> Option<(&'static str, &'static str)> {
    let (id, path) = match tool {
        Tool::Maven => ("maven-settings", "/root/.m2/settings.xml"),
        Tool::Gradle => ("gradle-properties", "/root/.gradle/gradle.properties"),
    };
    given.iter().any(|known| known == id).then_some((id, path))
}

/// Caches, secrets and what the preset brings, the same for both steps.
fn mounts(
    graph: &mut GraphBuilder,
    builder: &Builder,
    command: &Command,
    secrets: &[String],
    brings: Output,
) -> Vec<Mount> {
    // One writer at a time: neither tool's cache is made for two machines that do not know each other.
    let cache = |target: &str, id: &str| Mount::cache(target, id, CacheSharing::Locked);
    let secret = secret(command.tool, secrets).map(|(id, path)| Mount::secret(path, id));
    let mut mounts = vec![Mount::bind(BRINGS, brings)];
    match command.tool {
        Tool::Maven => {
            // An image may bring artefacts along.
            let copy = CopyAction::new(builder.root, vec!["/root/.m2/repositor[y]".into()], "/");
            let copy =
                CopyAction { contents_only: true, allow_wildcard: true, allow_empty_wildcard: true, ..copy };
            let seed = graph.copy(None, copy);
            graph.rename(seed, "artefacts of the builder");
            let mut repository = cache("/root/.m2/repository", "kiln-java-maven");
            if let MountKind::Cache(CacheMount { seed: from, .. }) = &mut repository.kind {
                *from = Some(seed);
            }
            mounts.push(repository);
            if command.is_wrapped {
                mounts.push(cache("/root/.m2/wrapper", "kiln-java-mvnw"));
            }
        }
        Tool::Gradle => {
            mounts.push(cache("/root/.gradle", "kiln-java-gradle"));
        }
    }
    mounts.extend(secret);
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(tool: Tool) -> Command {
        Command {
            tool,
            is_wrapped: false,
            tests: false,
            compiles_tests: false,
            args: vec!["-Pproduction".into()],
        }
    }

    #[test]
    fn the_wrapper_stands_where_the_tool_stood() {
        let plain = command(Tool::Gradle);
        assert!(plain.script(BUILD).contains("\n    { gradle --offline \"$@\""));
        let wrapped = Command { is_wrapped: true, ..command(Tool::Maven) };
        assert!(wrapped.script(BUILD).contains("{ /bin/sh ./mvnw -o \"$@\""));
        assert!(!wrapped.script(MAVEN_RESOLVE).contains("TOOL"));
    }

    #[test]
    fn tests_run_only_when_they_are_wanted() {
        let args = |command: &Command| command.words(false).join(" ");
        let maven = command(Tool::Maven);
        assert!(args(&maven).contains("-Dmaven.test.skip=true") && args(&maven).ends_with("package"));
        assert!(args(&maven).contains(" -Pproduction "));
        assert!(args(&Command { compiles_tests: true, ..maven.clone() }).contains("-DskipTests"));
        assert!(!args(&Command { tests: true, ..maven }).contains("kip"));
        assert!(args(&Command { tests: true, ..command(Tool::Gradle) }).ends_with("kilnFacts test"));
    }
}
