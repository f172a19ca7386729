//! The options of this preset, and the build arguments that the go command knows as variables.

use kiln_preset::{Common, bad};
use kiln_sdk::wit::describe::OptionSpec;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest};
use kiln_sdk::wit::types::Pair;

/// Variables of the go command that a build argument of the same name sets (`go help environment`).
pub(crate) const VARIABLES: [&str; 22] = [
    "CC",
    "CGO_CFLAGS",
    "CGO_CPPFLAGS",
    "CGO_CXXFLAGS",
    "CGO_ENABLED",
    "CGO_LDFLAGS",
    "CXX",
    "GOAMD64",
    "GOARM",
    "GOAUTH",
    "GOEXPERIMENT",
    "GOFIPS140",
    "GOFLAGS",
    "GOINSECURE",
    "GONOPROXY",
    "GONOSUMDB",
    "GOPRIVATE",
    "GOPROXY",
    "GOSUMDB",
    "GOTOOLCHAIN",
    "GOVCS",
    "PKG_CONFIG_PATH",
];

/// Whether C may be part of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgo {
    /// The packages of the program decide.
    Auto,
    On,
    Off,
}

/// What the person asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) common: Common,
    /// Of Go, without `go` before it; empty when the project decides.
    pub(crate) version: String,
    /// The main package, as a directory or an import path; empty when there is one only.
    pub(crate) main: String,
    pub(crate) ldflags: String,
    /// Build tags, in the order given.
    pub(crate) tags: Vec<String>,
    pub(crate) cgo: Cgo,
    /// Variables of the steps that run the go command.
    pub(crate) env: Vec<Pair>,
    /// Libraries that the program opens at run time.
    pub(crate) with: Vec<String>,
    /// Files of the project that the image gets as well: where from, relative to its root, and where to.
    pub(crate) files: Vec<(String, String)>,
    pub(crate) certificates: bool,
    pub(crate) zoneinfo: bool,
    /// The person has a netrc file for private modules.
    pub(crate) has_netrc: bool,
}

/// All options, for `describe`.
pub(crate) fn specs() -> Vec<OptionSpec> {
    let mut specs = Common::specs("golang of the version that the project asks for").to_vec();
    specs.extend([
        OptionSpec::text("version", "version of Go, such as 1.22; otherwise that of go.work or go.mod"),
        OptionSpec::text("main", "main package to build, as ./directory or import path"),
        OptionSpec::text("ldflags", "flags for the linker, after `-s -w -buildid=`"),
        OptionSpec::list("tags", "build tags"),
        OptionSpec::choice("cgo", "whether C may be part of the program", &["auto", "on", "off"]),
        OptionSpec::list("env", "variables for the go command, NAME=VALUE"),
        OptionSpec::list("with", "shared libraries that a program with C opens at run time"),
        OptionSpec::list("files", "files of the project to put into the image, SOURCE or SOURCE:/PATH"),
        OptionSpec::boolean("certificates", "CA certificates in the image", true),
        OptionSpec::boolean("zoneinfo", "time zones in the image, unless the program has them itself", true),
    ]);
    specs
}

impl Settings {
    /// Reads options and build arguments; an option goes before an argument.
    ///
    /// # Errors
    ///
    /// Every value that cannot be one.
    pub(crate) fn read(request: &BuildRequest) -> Result<Self, BuildFailure> {
        let mut problems: Vec<Diagnostic> = Vec::new();
        let common = Common::read(request).unwrap_or_else(|found| {
            problems = found;
            Common { builder: None, runtime: None, user: String::new(), packages: Vec::new() }
        });
        let text = |name: &str| request.option(name).unwrap_or_default().trim().to_owned();
        let version = text("version");
        let version = version.strip_prefix("go").unwrap_or(&version).to_owned();
        let is_version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !version.chars().all(is_version) {
            problems.push(bad("version", &version, "a version of Go, such as 1.22 or 1.22.3"));
        }
        let tags: Vec<String> = request
            .option_values("tags")
            .flat_map(|value| value.split([',', ' ']))
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect();
        let is_tag =
            |tag: &&String| !tag.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'));
        problems.extend(
            tags.iter().filter(is_tag).map(|tag| bad("tags", tag, "a build tag, of letters and digits")),
        );
        let mut env: Vec<Pair> =
            request.build_args.iter().filter(|arg| VARIABLES.contains(&arg.key.as_str())).cloned().collect();
        for given in request.option_values("env") {
            match given.split_once('=').filter(|(name, _)| is_variable(name)) {
                Some((name, value)) => kiln_preset::set_pair(&mut env, name, value),
                None => {
                    problems.push(bad("env", given, "NAME=VALUE, such as GOPROXY=https://proxy.example.com"))
                }
            }
        }
        if common.builder.is_some() && !version.is_empty() {
            let message = "the options `builder` and `version` both say which Go is wanted";
            problems.push(Diagnostic::error("bad-option", message).help("leave one of them out"));
        }
        let mut files = Vec::new();
        for given in request.option_values("files") {
            match file(given) {
                Some(file) => files.push(file),
                None => {
                    problems.push(bad("files", given, "SOURCE or SOURCE:/PATH, such as `static:/srv/static`"))
                }
            }
        }
        let said = |value: &str| env.iter().any(|pair| pair.key == "CGO_ENABLED" && pair.value == value);
        let cgo = match request.option("cgo") {
            Some("on") => Cgo::On,
            Some("off") => Cgo::Off,
            _ if said("1") => Cgo::On,
            _ if said("0") => Cgo::Off,
            _ => Cgo::Auto,
        };
        env.retain(|pair| pair.key != "CGO_ENABLED");
        if !problems.is_empty() {
            return Err(problems.into());
        }
        Ok(Self {
            common,
            version,
            main: text("main"),
            ldflags: text("ldflags"),
            tags,
            cgo,
            env,
            with: request.option_values("with").map(str::to_owned).collect(),
            files,
            certificates: request.option("certificates") != Some("false"),
            zoneinfo: request.option("zoneinfo") != Some("false"),
            has_netrc: request.secret_ids.iter().any(|id| id == NETRC),
        })
    }

    /// The value of a variable that the person sets.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|pair| pair.key == name).map(|pair| pair.value.as_str())
    }
}

/// Id of the secret with names and passwords for hosts that modules come from.
pub(crate) const NETRC: &str = "netrc";

/// Reads `SOURCE[:/PATH]`. Without a path, the files come to lie where the program finds them by the same name, since it is
/// started in `/`.
fn file(given: &str) -> Option<(String, String)> {
    let (source, path) = match given.split_once(":/") {
        Some((source, path)) => (source, Some(path)),
        None => (given, None),
    };
    let source = source.trim_start_matches("./").trim_matches('/');
    let path = path.unwrap_or(source).trim_matches('/');
    let is_plain = |path: &str| {
        !path.is_empty()
            && !path.chars().any(char::is_control)
            && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
    };
    (is_plain(source) && is_plain(path)).then(|| (source.to_owned(), format!("/{path}")))
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn request(options: &[(&str, &str)], args: &[(&str, &str)]) -> BuildRequest {
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(key, value)| Pair { key: (*key).into(), value: (*value).into() }).collect()
        };
        BuildRequest { build_args: pairs(args), options: pairs(options), ..kiln_sdk::testing::request(&[]) }
    }

    #[test]
    fn variables_come_from_arguments_and_options() {
        let args = [("GOPROXY", "a"), ("CGO_ENABLED", "0"), ("OTHER", "x")];
        let settings = Settings::read(&request(&[("env", "GOPROXY=b"), ("env", "X=1=2")], &args)).unwrap();
        assert_eq!((settings.variable("GOPROXY"), settings.variable("X")), (Some("b"), Some("1=2")));
        assert_eq!((settings.variable("OTHER"), settings.cgo), (None, Cgo::Off));
        let on = Settings::read(&request(&[("cgo", "on")], &args)).unwrap();
        assert_eq!(on.cgo, Cgo::On, "an option goes before an argument");
    }

    #[test]
    fn lists_are_read_in_every_spelling() {
        let settings =
            Settings::read(&request(&[("tags", "a,b"), ("tags", "c d"), ("version", "go1.22")], &[]))
                .unwrap();
        assert_eq!(settings.tags, ["a", "b", "c", "d"]);
        assert_eq!(settings.version, "1.22");
    }

    #[test]
    fn two_options_that_say_which_go_is_wanted_are_one_too_many() {
        let found = Settings::read(&request(&[("builder", "my/go"), ("version", "1.22")], &[])).unwrap_err();
        assert_eq!(found.diagnostics[0].code, "bad-option");
    }

    #[test]
    fn files_go_where_they_are_told_or_where_they_were() {
        let check = |given, expected: Option<(&str, &str)>| {
            let found = file(given);
            assert_eq!(found.as_ref().map(|(from, to)| (from.as_str(), to.as_str())), expected, "{given}");
        };
        check("static", Some(("static", "/static")));
        check("./a/b/:/srv/www/", Some(("a/b", "/srv/www")));
        for bad in ["", ".", "../x", "a/../b", ":/x", "a:/", "a:/../b"] {
            check(bad, None);
        }
    }

    #[test]
    fn all_bad_values_are_told_at_once() {
        let given = [("env", "1=2"), ("version", "1 2"), ("tags", "a;b"), ("user", "a b"), ("files", "/")];
        let found = Settings::read(&request(&given, &[])).unwrap_err();
        assert_eq!(found.diagnostics.len(), 5);
    }
}
