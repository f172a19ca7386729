//! The go command as steps in the builder: what it is told, what it sees, and what it keeps.

use kiln_preset::{Builder, Facts, OUT, set_pair, word};
use kiln_sdk::wit::graph::{BindMount, CacheSharing, ExecOp, Mount, MountKind, Output};
use kiln_sdk::wit::types::{Pair, Platform};

use crate::listing::FORMAT;
use crate::project::{Kind, Project};
use crate::settings::{NETRC, Settings};

/// Where the project lies in the builder.
pub(crate) const SOURCES: &str = "/src";

/// Where the go command keeps modules and what it compiled.
pub(crate) const MODULES: &str = "/go/pkg/mod";
pub(crate) const COMPILED: &str = "/root/.cache/go-build";

/// Where the go command looks for names and passwords.
pub(crate) const NETRC_FILE: &str = "/root/.netrc";

/// Facts of the builder image besides those that every preset asks for.
pub(crate) const FACTS: &str = r#"if command -v go >/dev/null; then
    echo "go-version $(go env GOVERSION)"
    cc=$(go env CC)
    echo "cc $cc"
    if path=$(command -v "${cc%% *}"); then echo "cc-path $path"; fi
    zip=$(go env GOROOT)/lib/time/zoneinfo.zip
    if [ -s "$zip" ]; then echo "zoneinfo-zip $zip"; fi
fi"#;

/// The go command for one project.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Toolchain<'p> {
    pub(crate) builder: &'p Builder,
    pub(crate) project: &'p Project,
    pub(crate) settings: &'p Settings,
    /// It knows `-buildvcs`.
    pub(crate) can_stamp: bool,
}

impl<'p> Toolchain<'p> {
    /// That of the builder, which said what it is in `facts`.
    pub(crate) fn new(
        builder: &'p Builder,
        project: &'p Project,
        settings: &'p Settings,
        facts: &Facts,
    ) -> Self {
        let can_stamp = can_stamp(facts.value("go-version").unwrap_or_default());
        Self { builder, project, settings, can_stamp }
    }
}

/// Whether a Go of this version, as `go env GOVERSION` says it, stamps programs with the state of a repository: since 1.18.
/// What is so old that it does not know its version does not.
fn can_stamp(version: &str) -> bool {
    let mut parts = version.trim_start_matches("go").split(|c: char| !c.is_ascii_digit());
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
    match (number(), number()) {
        (Some(1), Some(minor)) => minor >= 18,
        _ => version.starts_with("devel"),
    }
}

/// What the go command compiles for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal<'p> {
    pub(crate) platform: &'p Platform,
    pub(crate) is_cgo: bool,
}

impl Goal<'_> {
    /// The variables that say so.
    pub(crate) fn variables(self) -> Vec<Pair> {
        let Platform { os, arch, variant, .. } = self.platform;
        let mut variables = Vec::new();
        set_pair(&mut variables, "CGO_ENABLED", if self.is_cgo { "1" } else { "0" });
        set_pair(&mut variables, "GOOS", os);
        set_pair(&mut variables, "GOARCH", arch);
        match (arch.as_str(), variant.strip_prefix('v')) {
            ("arm", Some(level)) => set_pair(&mut variables, "GOARM", level),
            ("amd64", Some(level)) if level != "1" => {
                set_pair(&mut variables, "GOAMD64", &format!("v{level}"))
            }
            _ => {}
        }
        variables
    }
}

impl Toolchain<'_> {
    /// A script over a copy of the project, of which nothing remains.
    fn script(&self, script: &str, sources: Output, goal: Option<Goal<'_>>) -> ExecOp {
        let mut exec = self.builder.script(script);
        exec.cwd = SOURCES.to_owned();
        set_pair(&mut exec.env, "GOMODCACHE", MODULES);
        set_pair(&mut exec.env, "GOCACHE", COMPILED);
        for pair in goal.map(Goal::variables).iter().flatten().chain(&self.settings.env) {
            set_pair(&mut exec.env, &pair.key, &pair.value);
        }
        let bind = BindMount { input: Some(sources), selector: String::new() };
        // The go command may want to write to go.sum and go.work.sum; that is thrown away.
        exec.mounts.push(Mount { target: SOURCES.to_owned(), readonly: false, kind: MountKind::Bind(bind) });
        exec.mounts.push(Mount::cache(MODULES, "kiln-go-mod", CacheSharing::Shared));
        exec.mounts.push(Mount::cache(COMPILED, "kiln-go-build", CacheSharing::Shared));
        if self.settings.has_netrc {
            exec.mounts.push(Mount::secret(NETRC_FILE, NETRC));
        }
        exec
    }

    /// Fetches what `go.mod` requires. Seen are the files that say so, and nothing else.
    pub(crate) fn download(&self, files: Output) -> ExecOp {
        self.script("go mod download", files, None)
    }

    /// Asks for all packages of the project and what they import, with C allowed unless it is ruled out.
    pub(crate) fn list(&self, files: Output, goal: Goal<'_>) -> ExecOp {
        let patterns: Vec<String> = self.patterns().iter().map(|pattern| word(pattern)).collect();
        let flags: Vec<String> = self.common_flags().iter().map(|flag| word(flag)).collect();
        let script = format!(
            "{}go list -e -deps {} -f {} {} >{OUT}/packages",
            self.before(),
            flags.join(" "),
            word(FORMAT),
            patterns.join(" ")
        );
        self.script(&script, files, Some(goal))
    }

    /// Compiles one package, with everything of the project there to be embedded.
    pub(crate) fn build(&self, sources: Output, goal: Goal<'_>, directory: &str, program: &str) -> ExecOp {
        let script =
            format!("{}{}", self.before(), self.build_command(directory, &format!("{OUT}/{program}")));
        self.script(&script, sources, Some(goal))
    }

    /// `go build …`, as one line for a shell.
    pub(crate) fn build_command(&self, directory: &str, output: &str) -> String {
        let mut ldflags = "-s -w -buildid=".to_owned();
        if !self.settings.ldflags.is_empty() {
            ldflags.extend([" ", &self.settings.ldflags]);
        }
        let mut words = vec!["go".to_owned(), "build".to_owned(), "-trimpath".to_owned()];
        words.extend(self.common_flags());
        words.extend([
            "-ldflags".to_owned(),
            ldflags,
            "-o".to_owned(),
            output.to_owned(),
            directory.to_owned(),
        ]);
        words.iter().map(|it| word(it)).collect::<Vec<_>>().join(" ")
    }

    /// Flags of every command that loads packages. Where there is no `.git`, nothing about a version is stamped; saying so keeps
    /// it that way where one is.
    fn common_flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if self.can_stamp {
            flags.push("-buildvcs=false".to_owned());
        }
        if self.project.is_vendored {
            flags.push("-mod=vendor".to_owned());
        }
        if !self.settings.tags.is_empty() {
            flags.push(format!("-tags={}", self.settings.tags.join(",")));
        }
        flags
    }

    /// What has to be done first: files without a module get one that says which Go they are in.
    pub(crate) fn before(&self) -> &'static str {
        if self.project.kind == Kind::Files { "go mod init app\n" } else { "" }
    }

    /// All packages of the project, as `go list` wants to be asked.
    fn patterns(&self) -> Vec<String> {
        match &self.project.kind {
            Kind::Module => vec!["./...".to_owned()],
            Kind::Files => vec![".".to_owned()],
            Kind::Workspace(directories) => directories
                .iter()
                .map(|directory| match directory.trim_start_matches("./").trim_end_matches('/') {
                    "" | "." => "./...".to_owned(),
                    below => format!("./{below}/..."),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_sdk::GraphBuilder;
    use kiln_sdk::wit::types::ImageConfig;

    use super::*;
    use crate::settings::tests::request;

    fn with<R>(options: &[(&str, &str)], kind: Kind, ask: impl FnOnce(Toolchain<'_>, Output) -> R) -> R {
        let root = GraphBuilder::new().scratch();
        let settings = Settings::read(&request(options, &[])).unwrap();
        let builder = Builder::on("go", "golang:1.22", root, ImageConfig::default(), Platform::default());
        let project = Project {
            kind,
            module: String::new(),
            version: None,
            has_dependencies: false,
            local_modules: Vec::new(),
            is_vendored: true,
        };
        ask(Toolchain { builder: &builder, project: &project, settings: &settings, can_stamp: true }, root)
    }

    #[test]
    fn what_the_person_wants_is_one_word_each_for_the_shell() {
        let options = [("tags", "a"), ("tags", "b"), ("ldflags", "-X main.v='1 2'")];
        let command = with(&options, Kind::Module, |go, _| go.build_command("./cmd/a b", "/o"));
        assert_eq!(
            command,
            r"go build -trimpath -buildvcs=false -mod=vendor -tags=a,b -ldflags '-s -w -buildid= -X main.v='\''1 2'\''' -o /o './cmd/a b'"
        );
    }

    #[test]
    fn a_workspace_is_asked_for_each_of_its_modules() {
        let kind = Kind::Workspace(vec![".".into(), "./a".into(), "b/".into()]);
        assert_eq!(with(&[], kind, |go, _| go.patterns()), ["./...", "./a/...", "./b/..."]);
    }

    #[test]
    fn platforms_are_told_in_the_words_of_the_go_command() {
        let check = |arch: &str, variant: &str, expected: &[&str]| {
            let platform = Platform { arch: arch.into(), variant: variant.into(), ..Platform::default() };
            let variables = Goal { platform: &platform, is_cgo: false }.variables();
            let told: Vec<String> =
                variables.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
            assert_eq!(told[0], "CGO_ENABLED=0");
            assert_eq!(&told[2..], expected);
        };
        check("arm", "v7", &["GOARCH=arm", "GOARM=7"]);
        check("amd64", "v3", &["GOARCH=amd64", "GOAMD64=v3"]);
        check("arm64", "", &["GOARCH=arm64"]);
    }

    #[test]
    fn flags_that_an_old_go_does_not_know_are_not_given() {
        for (version, expected) in [
            ("go1.17.13", false),
            ("go1.18", true),
            ("go1.25rc1", true),
            ("", false),
            ("devel go1.26-abc", true),
        ] {
            assert_eq!(can_stamp(version), expected, "{version}");
        }
    }

    #[test]
    fn a_netrc_file_is_there_when_the_person_has_one() {
        let mut with_secret = request(&[], &[]);
        with_secret.secret_ids = vec![NETRC.to_owned()];
        let root = GraphBuilder::new().scratch();
        let builder = Builder::on("go", "golang:1.22", root, ImageConfig::default(), Platform::default());
        let project = Project {
            kind: Kind::Module,
            module: String::new(),
            version: None,
            has_dependencies: true,
            local_modules: Vec::new(),
            is_vendored: false,
        };
        for (request, expected) in [(request(&[], &[]), None), (with_secret, Some(NETRC_FILE))] {
            let settings = Settings::read(&request).unwrap();
            let go = Toolchain { builder: &builder, project: &project, settings: &settings, can_stamp: true };
            let mounts = go.download(root).mounts;
            let secret = mounts.iter().find(|mount| matches!(mount.kind, MountKind::Secret(_)));
            assert_eq!(secret.map(|mount| mount.target.as_str()), expected);
        }
    }

    #[test]
    fn variables_of_the_person_go_last() {
        let platform = Platform::default();
        let exec = with(&[("env", "GOAMD64=v2")], Kind::Files, |go, root| {
            go.list(root, Goal { platform: &platform, is_cgo: true })
        });
        assert!(exec.env.iter().any(|pair| pair.key == "GOAMD64" && pair.value == "v2"));
        assert!(exec.args[2].starts_with("go mod init app\ngo list -e -deps "), "{:?}", exec.args);
    }
}
