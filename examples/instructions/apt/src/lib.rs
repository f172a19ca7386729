//! `APT git curl=8.*`: packages of Debian or one of its descendants, installed without leaving traces.
//!
//! What Dockerfiles write in four lines and often forget one of: update and install in one step, no recommended packages,
//! no questions, lists and downloads in caches that outlive the build and not in the layer.

mod package;

use kiln_sdk::GraphBuilder;
use kiln_sdk::plugin::{Instruction, Plugin};
use kiln_sdk::wit::describe::{PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{CacheSharing, ExecOp, Mount};
use kiln_sdk::wit::instruction_types::{
    Descriptor, FlagSpec, HeredocForm, InstructionError, Outcome, Stage, Statement,
};
use kiln_sdk::wit::types::Pair;

use package::packages;

/// The component.
pub struct Apt;

const USAGE: &str = "APT [--no-update] [--recommends] PACKAGE[:ARCH][=VERSION]…";

/// Packages come as arguments, so that nothing in them is shell text. The images of Debian and Ubuntu delete downloads
/// after each run of apt with a hook, `docker-clean`: apt reads its configuration from a copy that does without.
const SCRIPT: &str = r#"set -eu
if ! command -v apt-get >/dev/null 2>&1; then
    echo "APT needs a base image with apt-get, such as debian or ubuntu" >&2
    exit 127
fi
update=$1 recommends=$2
shift 2
config=/dev/shm/apt.$$
mkdir -p "$config/parts"
for file in /etc/apt/apt.conf.d/*; do
    case $file in
        */docker-clean) ;;
        *) [ ! -f "$file" ] || cp "$file" "$config/parts/" ;;
    esac
done
printf 'Dir::Etc::parts "%s/parts";\n' "$config" >"$config/main"
export APT_CONFIG="$config/main" DEBIAN_FRONTEND=noninteractive
if [ "$update" = yes ]; then
    apt-get -q -o APT::Update::Error-Mode=any update
elif ! ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1; then
    echo "APT --no-update: there are no package lists yet; leave the flag out once" >&2
    exit 100
fi
apt-get -qy -o "APT::Install-Recommends=$recommends" -o Dpkg::Use-Pty=0 install -- "$@"
rm -rf "$config"
rm -f /var/log/apt/*.log /var/log/apt/eipp.log.xz /var/log/dpkg.log /var/log/alternatives.log \
    /var/lib/dpkg/*-old /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache"#;

fn read(statement: &Statement) -> Result<Vec<String>, Vec<Diagnostic>> {
    let (packages, problems) = packages(statement);
    if problems.iter().any(Diagnostic::is_error) { Err(problems) } else { Ok(packages) }
}

impl Plugin for Apt {
    fn describe() -> PluginInfo {
        PluginInfo::new(
            "apt",
            env!("CARGO_PKG_VERSION"),
            "installs packages of Debian without leaving traces",
        )
        .license("Apache-2.0")
        .rules([
            Rule::error("apt-package", "a package has a name or version that none can have"),
            Rule::error("apt-nothing", "no package is named"),
            Rule::error("apt-base", "the stage has no package manager"),
            Rule::warning("apt-twice", "a package is named twice"),
        ])
        .example("A pinned package", "FROM debian\nAPT ca-certificates curl=8.*\n")
    }
}

impl Instruction for Apt {
    fn instructions() -> Vec<Descriptor> {
        vec![
            Descriptor::new("APT", USAGE, "Installs packages, with caches outside of the image.")
                .heredocs(HeredocForm::Expanded)
                .flag(FlagSpec::boolean("no-update"))
                .flag(FlagSpec::boolean("recommends")),
        ]
    }

    /// Variables are not expanded here, so a line that has some is judged only when it is applied.
    fn validate(statements: Vec<Statement>) -> Vec<Diagnostic> {
        let constant = |statement: &&Statement| {
            statement.is_constant()
                && statement.heredocs.iter().all(|it| it.literal || !it.content.contains('$'))
        };
        statements.iter().filter(constant).flat_map(|statement| packages(statement).1).collect()
    }

    fn apply(statement: Statement, stage: &Stage, _: &[Pair]) -> Result<Outcome, InstructionError> {
        let packages = read(&statement)?;
        if !stage.has_base {
            let problem = Diagnostic::error("apt-base", "there is no package manager in `scratch`");
            return Err(problem
                .at(&statement.at)
                .help("begin the stage with an image that has apt-get")
                .into());
        }
        let mut graph = GraphBuilder::new().at(&statement.at, statement.original.as_str());
        let base = graph.base();
        let word = |yes| if yes { "yes" } else { "no" };
        let recommends = if statement.is_set("recommends") { "true" } else { "false" };
        let mut args: Vec<String> =
            ["/bin/sh", "-c", SCRIPT, "apt", word(!statement.is_set("no-update")), recommends]
                .map(String::from)
                .into();
        args.extend(packages);
        // Lists and packages of one distribution and processor are of no use to another.
        let id = |what: &str| format!("apt/{what}/{}/{}", stage.platform.arch, stage.base);
        let mounts: Vec<Mount> = vec![
            Mount::cache("/var/cache/apt", id("cache"), CacheSharing::Locked),
            Mount::cache("/var/lib/apt/lists", id("lists"), CacheSharing::Locked),
        ];
        let exec = ExecOp { args, cwd: "/".into(), user: "0:0".into(), mounts, ..ExecOp::default() };
        let root = graph.exec(base, exec);
        Ok(Outcome::root(graph.finish(), root))
    }
}

kiln_sdk::export_instruction!(Apt);

#[cfg(test)]
mod tests {
    use kiln_sdk::testing;
    use kiln_sdk::wit::graph::{MountKind, OpKind};

    use super::*;

    fn apply(text: &str) -> Result<Outcome, InstructionError> {
        let statement = testing::statement(text, &Apt::instructions()[0]);
        Apt::apply(statement, &testing::stage(), &[])
    }

    fn exec(text: &str) -> ExecOp {
        let outcome = apply(text).expect("an outcome");
        let root = outcome.root.expect("a filesystem");
        match outcome.fragment.ops.into_iter().nth(root.op as usize).map(|op| op.kind) {
            Some(OpKind::Exec(exec)) => exec,
            other => panic!("{other:?}"),
        }
    }

    fn findings(text: &str) -> Vec<(String, u32, u32)> {
        let statement = testing::statement(text, &Apt::instructions()[0]);
        let place = |finding: Diagnostic| {
            let at = finding.primary.expect("a place");
            (finding.code, at.start.line, at.start.column)
        };
        Apt::validate(vec![statement]).into_iter().map(place).collect()
    }

    #[test]
    fn packages_are_arguments_and_never_shell_text() {
        let exec = exec("APT --recommends git libc6:i386 curl=8.*");
        assert_eq!(exec.args[4..], ["yes", "true", "git", "libc6:i386", "curl=8.*"]);
        assert_eq!(exec.user, "0:0");
    }

    #[test]
    fn lists_and_downloads_are_in_locked_caches() {
        let exec = exec("APT --no-update git");
        assert_eq!(exec.args[4..], ["no", "false", "git"]);
        let caches: Vec<_> = exec.mounts[1..]
            .iter()
            .map(|mount| match &mount.kind {
                MountKind::Cache(cache) => (mount.target.as_str(), cache.id.as_str(), cache.sharing),
                other => panic!("{other:?}"),
            })
            .collect();
        let (cache, lists) = (
            "apt/cache/amd64/docker.io/library/debian:latest",
            "apt/lists/amd64/docker.io/library/debian:latest",
        );
        assert_eq!(
            caches,
            [
                ("/var/cache/apt", cache, CacheSharing::Locked),
                ("/var/lib/apt/lists", lists, CacheSharing::Locked)
            ]
        );
    }

    #[test]
    fn a_here_document_holds_a_package_on_each_line() {
        let exec = exec("APT make <<EOF\n# the compiler\ngcc  # all of it\n\n  g++=4:12\nEOF\n");
        assert_eq!(exec.args[6..], ["make", "gcc", "g++=4:12"]);
    }

    #[test]
    fn each_mistake_is_shown_where_it_stands() {
        for (text, expected) in [
            ("APT", ("apt-nothing", 1, 1)),
            ("APT <<EOF\n# nothing\nEOF\n", ("apt-nothing", 1, 1)),
            ("APT git Curl", ("apt-package", 1, 9)),
            ("APT git vim-", ("apt-package", 1, 9)),
            ("APT git=", ("apt-package", 1, 5)),
            ("APT ./local.deb", ("apt-package", 1, 5)),
            ("APT -y git", ("apt-package", 1, 5)),
            ("APT <<EOF\ngit\n  b@d\nEOF\n", ("apt-package", 3, 3)),
            ("APT git git", ("apt-twice", 1, 9)),
            ("APT git=1 git=2", ("apt-twice", 1, 11)),
        ] {
            let (code, line, column) = expected;
            assert_eq!(findings(text), [(code.to_owned(), line, column)], "{text}");
        }
        assert_eq!(findings("APT $PACKAGES"), []);
        assert!(matches!(apply("APT Curl"), Err(InstructionError::Invalid(problems)) if problems.len() == 1));
    }

    #[test]
    fn an_empty_stage_has_no_package_manager() {
        let statement = testing::statement("APT git", &Apt::instructions()[0]);
        let stage = Stage { has_base: false, ..testing::stage() };
        let refused = Apt::apply(statement, &stage, &[]);
        assert!(
            matches!(refused, Err(InstructionError::Invalid(problems)) if problems[0].code == "apt-base")
        );
    }
}
