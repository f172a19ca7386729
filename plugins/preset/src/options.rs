//! The options that mean the same in every preset.

use kiln_sdk::wit::describe::OptionSpec;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::BuildRequest;

use crate::result::epoch;

/// The user that images run as unless the person says otherwise.
pub const USER: &str = "65532:65532";

/// The values of the common options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// Image with the toolchain, as the person wrote it. Absent: the preset decides.
    pub builder: Option<String>,
    /// Image below what the preset makes. Absent: none (`scratch`).
    pub runtime: Option<String>,
    /// `UID[:GID]`, or names that the runtime image or [`furniture`](crate::furniture) knows.
    pub user: String,
    /// Debian packages to be installed in the builder first, `NAME[:ARCH][=VERSION]`, sorted, each once.
    pub packages: Vec<String>,
}

impl Common {
    /// How `describe` lists them. `builder` says what the builder is by default, such as ``golang of the version that
    /// go.mod asks for``.
    pub fn specs(builder: &str) -> [OptionSpec; 4] {
        [
            OptionSpec::text("builder", &format!("image with the toolchain; otherwise {builder}")),
            OptionSpec::text("runtime", "image below the program").preset("scratch"),
            OptionSpec::text("user", "user and group that the image runs as").preset(USER),
            OptionSpec::list("packages", "Debian packages to install in the builder first"),
        ]
    }

    /// Reads them. Values that are blank count as not given.
    ///
    /// # Errors
    ///
    /// Every value that cannot be one, with the code `bad-option`, and a `SOURCE_DATE_EPOCH` that is no time.
    pub fn read(request: &BuildRequest) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let given = |name: &str| {
            request.option(name).map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let mut image = |name: &str| {
            let value = given(name)?;
            if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
                problems.push(bad(name, &value, "the name of an image, such as `debian:12`"));
            }
            Some(value)
        };
        let builder = image("builder");
        let runtime = image("runtime").filter(|runtime| runtime != "scratch");
        let user = given("user").unwrap_or_else(|| USER.to_owned());
        if !is_user(&user) {
            problems.push(bad("user", &user, "USER or USER:GROUP, names or numbers"));
        }
        // Several in one value, as people write them for apt.
        let mut packages: Vec<String> = request
            .option_values("packages")
            .flat_map(|value| value.split([' ', ',', '\t', '\n']))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        packages.sort();
        packages.dedup();
        for package in packages.iter().filter(|package| !is_package(package)) {
            problems.push(bad("packages", package, "a Debian package, NAME or NAME=VERSION"));
        }
        // Told before anything runs that would stumble over it.
        problems.extend(epoch(request).err().into_iter().flat_map(|failure| failure.diagnostics));
        if problems.is_empty() { Ok(Self { builder, runtime, user, packages }) } else { Err(problems) }
    }
}

/// The error for a value of an option that means nothing.
pub fn bad(name: &str, value: &str, wanted: &str) -> Diagnostic {
    Diagnostic::error("bad-option", format!("the option `{name}` is `{value}`"))
        .help(format!("it is {wanted}"))
}

fn is_user(user: &str) -> bool {
    let fits = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    match user.split_once(':') {
        Some((user, group)) => fits(user) && fits(group),
        None => fits(user),
    }
}

fn is_package(package: &str) -> bool {
    let (name, version) = package.split_once('=').unwrap_or((package, "0"));
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
        && !version.is_empty()
        && version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '~' | ':' | '*'))
}

#[cfg(test)]
mod tests {
    use kiln_sdk::wit::types::Pair;

    use super::*;
    use kiln_sdk::testing::request;

    fn read(options: &[(&str, &str)]) -> Result<Common, Vec<Diagnostic>> {
        let mut request = request(&[]);
        request.options =
            options.iter().map(|(key, value)| Pair { key: (*key).into(), value: (*value).into() }).collect();
        Common::read(&request)
    }

    #[test]
    fn nothing_given_is_scratch_and_nobody_in_particular() {
        let common = read(&[("runtime", "scratch"), ("builder", "")]).unwrap();
        assert_eq!(common, Common { builder: None, runtime: None, user: USER.into(), packages: Vec::new() });
    }

    #[test]
    fn packages_come_in_any_number_of_values() {
        let common = read(&[("packages", "gcc libc6-dev,zlib1g-dev"), ("packages", "gcc")]).unwrap();
        assert_eq!(common.packages, ["gcc", "libc6-dev", "zlib1g-dev"]);
    }

    #[test]
    fn every_value_that_cannot_be_is_told() {
        let found =
            read(&[("builder", "a b"), ("user", ":0"), ("packages", "--yes"), ("packages", "gcc=12.*")]);
        let codes: Vec<String> = found.unwrap_err().into_iter().map(|found| found.message).collect();
        assert_eq!(
            codes,
            [
                "the option `builder` is `a b`",
                "the option `user` is `:0`",
                "the option `packages` is `--yes`"
            ]
        );
    }

    #[test]
    fn a_time_that_is_none_is_told_before_anything_is_asked_of_a_builder() {
        for epoch in ["yesterday", "1e9", "-1", " 5", "99999999999999999999", "1;id"] {
            let mut request = request(&[]);
            request.build_args = vec![Pair { key: "SOURCE_DATE_EPOCH".into(), value: epoch.into() }];
            assert_eq!(Common::read(&request).unwrap_err()[0].code, "bad-epoch", "{epoch}");
        }
    }
}
