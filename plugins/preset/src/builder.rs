//! The image with the toolchain: steps that run in it, and questions that its tools answer while the build is planned.

use std::collections::BTreeMap;

use kiln_sdk::GraphBuilder;
use kiln_sdk::diagnose::quoted;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest};
use kiln_sdk::wit::graph::{BindMount, CacheSharing, ExecOp, Mount, MountKind, Output};
use kiln_sdk::wit::solver;
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{HostError, ImageConfig, Pair, Platform};

use crate::image::Image;
use crate::options::Common;

/// Where a step finds the directory that is its result, and that [`Builder::produce`] returns.
pub const OUT: &str = "/kiln/out";

/// Images of Debian and Ubuntu delete downloads with a hook, so apt reads a configuration without it: the downloads go to a
/// cache that outlives the build. Packages are arguments, and nothing in them is shell text.
const INSTALL: &str = r#"config=$(mktemp -d)
mkdir "$config/parts"
for file in /etc/apt/apt.conf.d/*; do
    case $file in
        */docker-clean) ;;
        *) [ ! -f "$file" ] || cp "$file" "$config/parts/" ;;
    esac
done
printf 'Dir::Etc::parts "%s/parts";\n' "$config" >"$config/main"
export APT_CONFIG="$config/main" DEBIAN_FRONTEND=noninteractive
apt-get -q -o APT::Update::Error-Mode=any update
apt-get -qy -o Dpkg::Use-Pty=0 install --no-install-recommends -- "$@"
rm -rf "$config" /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
"#;

/// An image with a toolchain, in a graph.
///
/// It runs on the machine that builds, whatever the result is for.
#[derive(Clone, Debug)]
pub struct Builder {
    /// As it was asked for, such as `golang:1.22`.
    pub name: String,
    /// Its files, with what was installed.
    pub root: Output,
    pub config: ImageConfig,
    pub platform: Platform,
    /// Name of the preset, for options in messages.
    preset: &'static str,
    /// `--no-cache`.
    is_afresh: bool,
}

impl Builder {
    /// Looks the image up for the machine that builds, and installs the packages that the person asks for.
    ///
    /// # Errors
    ///
    /// There is no such image, or packages are wanted where there is no apt or that apt cannot install.
    pub fn open(
        graph: &mut GraphBuilder,
        request: &BuildRequest,
        preset: &'static str,
        name: &str,
        common: &Common,
    ) -> Result<Self, BuildFailure> {
        let image = Image::find(graph, name, &request.build_platform, &format!("{preset}.builder"))?;
        let Some(root) = image.root else {
            let message = format!("the builder image `{name}` is empty");
            return Err(Diagnostic::error("builder-empty", message).help(other_builder(preset)).into());
        };
        let mut builder = Self::on(preset, name, root, image.config, image.platform);
        builder.is_afresh = request.is_afresh("*");
        if !common.packages.is_empty() {
            let facts = builder.facts(graph, &["apt-get"], "")?;
            if facts.tool("apt-get").is_none() {
                let message = format!("the builder image `{name}` has no `apt-get` to install packages with");
                let help = format!("leave `--opt {preset}.packages` out, or {}", other_builder(preset));
                return Err(Diagnostic::error("missing-tool", message).help(help).into());
            }
            builder.install(graph, &common.packages)?;
        }
        Ok(builder)
    }

    /// A builder whose files are in the graph already, and have all the packages they need.
    pub fn on(
        preset: &'static str,
        name: &str,
        root: Output,
        config: ImageConfig,
        platform: Platform,
    ) -> Self {
        Self { name: name.to_owned(), root, config, platform, preset, is_afresh: false }
    }

    /// Installs packages of Debian in the image now, for a preset that knows which ones bring what is missing.
    ///
    /// # Errors
    ///
    /// `cannot-install`: apt fails, and its log has been shown.
    pub fn install(&mut self, graph: &mut GraphBuilder, packages: &[String]) -> Result<(), BuildFailure> {
        let mut exec = self.script(INSTALL);
        exec.args.extend(packages.iter().cloned());
        exec.mounts = vec![
            Mount::cache("/var/cache/apt", "kiln-preset-apt-cache", CacheSharing::Locked),
            Mount::cache("/var/lib/apt/lists", "kiln-preset-apt-lists", CacheSharing::Locked),
        ];
        let name = format!("installing {}", packages.join(" "));
        self.root = self.step(graph, self.root, exec, &name);
        let message =
            format!("{} cannot be installed in the builder image `{}`", quoted(packages), self.name);
        let help = format!("what apt says is above; {}", other_builder(self.preset));
        self.ask(graph, &[self.root], "cannot-install", &message, &help)?;
        Ok(())
    }

    /// A script for the image's `/bin/sh`, with the environment of the image; it ends at the first command that fails.
    /// Mounts, working directory and further variables are for the caller to add; what is pushed onto `args` is `$1` and so on.
    pub fn script(&self, script: &str) -> ExecOp {
        let args = ["/bin/sh", "-euc", script, "sh"].map(str::to_owned).to_vec();
        ExecOp { args, env: self.config.env.clone(), ..ExecOp::default() }
    }

    /// Runs a step on `base`, which is [`root`](Self::root) or made from it, for the machine that builds. Returns the
    /// changed files; slot N is the mount N - 1 of `exec`.
    pub fn step(&self, graph: &mut GraphBuilder, base: Output, exec: ExecOp, name: &str) -> Output {
        let output = graph.exec(base, exec);
        graph.set_platform(output, &self.platform);
        graph.rename(output, name);
        if self.is_afresh {
            graph.no_cache(output);
        }
        output
    }

    /// Runs a step for what it puts into [`OUT`], which is empty before. Returns that directory as a tree of its own.
    pub fn produce(&self, graph: &mut GraphBuilder, base: Output, mut exec: ExecOp, name: &str) -> Output {
        let scratch = BindMount { input: None, selector: String::new() };
        exec.mounts.push(Mount { target: OUT.to_owned(), readonly: false, kind: MountKind::Bind(scratch) });
        let slot = exec.mounts.len() as u32;
        let output = self.step(graph, base, exec, name);
        Output { slot, ..output }
    }

    /// Which of `tools` are there, where certificates and time zones lie, and what `more` prints: lines of a key and a value,
    /// for facts that a preset wants besides. Asked once per image, since nothing of the project is in the question.
    ///
    /// # Errors
    ///
    /// The image has no shell that runs, or `more` fails.
    pub fn facts(&self, graph: &GraphBuilder, tools: &[&str], more: &str) -> Result<Facts, BuildFailure> {
        let mut graph = graph.clone();
        let script = format!("{{\n{PROBE}{more}\n}} >{OUT}/facts\n");
        let mut exec = self.script(&script);
        exec.args.extend(tools.iter().map(|tool| (*tool).to_owned()));
        let output = self.produce(&mut graph, self.root, exec, &format!("looking at {}", self.name));
        let trees = solve(&graph, &[output]).map_err(|error| {
            let message = format!("the builder image `{}` cannot be asked what it has", self.name);
            self.failure("builder-unusable", &message, &error)
        })?;
        let text = read(&trees, "facts").map_err(|error| {
            self.failure("builder-unusable", "what the builder image has cannot be read", &error)
        })?;
        Ok(Facts { values: pairs(&text), builder: self.name.clone(), preset: self.preset })
    }

    /// Runs scripts now and opens what each left in [`OUT`]. All of them run at the same time where there is room.
    ///
    /// # Errors
    ///
    /// A step fails: its log has been shown, and `message` says what it was for.
    pub fn ask(
        &self,
        graph: &GraphBuilder,
        outputs: &[Output],
        code: &str,
        message: &str,
        help: &str,
    ) -> Result<Vec<Tree>, BuildFailure> {
        solve(graph, outputs).map_err(|error| {
            let mut failure = self.failure(code, message, &error);
            if let Some(first) = failure.diagnostics.first_mut()
                && first.help.is_empty()
            {
                first.help = help.to_owned();
            }
            failure
        })
    }

    fn failure(&self, code: &str, message: &str, error: &HostError) -> BuildFailure {
        let found = match error.code.as_str() {
            "build-failed" => Diagnostic::error(code, message),
            "denied" => Diagnostic::error(code, format!("{message}: {}", error.message))
                .help(format!("allow it with `--allow {}.solve=exec`", self.preset)),
            _ => Diagnostic::error(code, format!("{message}: {}", error.message)),
        };
        found.into()
    }
}

/// Builds part of a graph now.
fn solve(graph: &GraphBuilder, outputs: &[Output]) -> Result<Vec<Tree>, HostError> {
    solver::solve(&graph.clone().finish(), outputs)
}

fn read(trees: &[Tree], path: &str) -> Result<String, HostError> {
    let missing = || HostError { code: "not-found".to_owned(), message: "nothing came".to_owned() };
    trees.first().ok_or_else(missing)?.read_text(path)
}

fn other_builder(preset: &str) -> String {
    format!("choose another with `--opt {preset}.builder=IMAGE`")
}

/// `tool NAME PATH` for each argument that is a program, and where things lie that images are furnished with.
const PROBE: &str = r#"for tool; do
    if path=$(command -v "$tool"); then echo "tool:$tool $path"; fi
done
for path in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
    if [ -s "$path" ]; then echo "certificates $path"; break; fi
done
if [ -e /usr/share/zoneinfo/Etc/UTC ]; then echo "zoneinfo /usr/share/zoneinfo"; fi
if [ -e /usr/share/zoneinfo/Europe/Kiev ]; then echo "zoneinfo-backward yes"; fi
"#;

/// What is known of a builder image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    values: BTreeMap<String, String>,
    builder: String,
    preset: &'static str,
}

impl Facts {
    /// A value that the preset's own lines printed, or one of `certificates`, `zoneinfo`, `zoneinfo-backward`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Where a program is, if it is there.
    pub fn tool(&self, name: &str) -> Option<&str> {
        self.value(&format!("tool:{name}"))
    }

    /// Where a program is that nothing goes without.
    ///
    /// # Errors
    ///
    /// `missing-tool`, with the option that names another image.
    pub fn need(&self, name: &str) -> Result<&str, BuildFailure> {
        self.tool(name).ok_or_else(|| {
            let message = format!("the builder image `{}` has no `{name}`", self.builder);
            Diagnostic::error("missing-tool", message).help(other_builder(self.preset)).into()
        })
    }
}

/// Lines of a key, a blank and a value.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (key, value) = line.trim_end().split_once(' ')?;
        Some((key.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

/// Sets one of a list of pairs, in its place if it has one.
pub fn set_pair(pairs: &mut Vec<Pair>, key: &str, value: &str) {
    match pairs.iter_mut().find(|pair| pair.key == key) {
        Some(pair) => pair.value = value.to_owned(),
        None => pairs.push(Pair { key: key.to_owned(), value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(graph: &mut GraphBuilder) -> Builder {
        let env = vec![Pair { key: "PATH".into(), value: "/opt/bin:/bin".into() }];
        let config = ImageConfig { env, ..ImageConfig::default() };
        Builder::on("go", "golang:1.22", graph.image("golang:1.22"), config, Platform::default())
    }

    #[test]
    fn what_a_step_produces_is_a_tree_of_its_own() {
        let mut graph = GraphBuilder::new();
        let builder = builder(&mut graph);
        let mut exec = builder.script("true");
        exec.mounts.push(Mount::tmpfs("/tmp"));
        let output = builder.produce(&mut graph, builder.root, exec, "x");
        assert_eq!((output.op, output.slot), (1, 2));
        let op = &graph.finish().ops[1];
        assert!(op.platform.is_some(), "it runs on the machine that builds");
        let kiln_sdk::wit::graph::OpKind::Exec(exec) = &op.kind else { panic!("{op:?}") };
        assert_eq!(exec.mounts[2].target, OUT);
        assert_eq!(exec.env[0].value, "/opt/bin:/bin", "the environment is that of the image");
    }

    #[test]
    fn a_tool_that_is_missing_is_told_with_the_option_that_helps() {
        let values = pairs("tool:go /usr/local/go/bin/go\nzoneinfo /usr/share/zoneinfo\n\nbad\n");
        let facts = Facts { values, builder: "debian".into(), preset: "go" };
        assert_eq!(facts.need("go").unwrap(), "/usr/local/go/bin/go");
        assert_eq!(facts.value("zoneinfo"), Some("/usr/share/zoneinfo"));
        let found = facts.need("gcc").unwrap_err().diagnostics.remove(0);
        assert_eq!(found.message, "the builder image `debian` has no `gcc`");
        assert_eq!(found.help, "choose another with `--opt go.builder=IMAGE`");
    }
}
