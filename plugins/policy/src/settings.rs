//! The options as values: parsed once for each question, wrong ones collected.

use core::fmt;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::types::Pair;

use crate::glob::Glob;
use crate::options::{Given, OUTPUTS, bad};
use crate::packages::PackagePattern;
use crate::ports::Ports;
use crate::reference::{ImagePattern, Reference};
use crate::{age, size};

/// Two lists over the same things. With neither, all is well.
#[derive(Debug)]
pub(crate) struct Lists<T> {
    pub(crate) allow: Vec<T>,
    pub(crate) deny: Vec<T>,
}

/// What two lists say of one thing.
pub(crate) enum Verdict<'a, T> {
    Fine,
    Denied(&'a T),
    NotAllowed,
}

impl<T> Lists<T> {
    /// What is denied is denied, allowed or not.
    pub(crate) fn judge(&self, matches: impl Fn(&T) -> bool) -> Verdict<'_, T> {
        if let Some(pattern) = self.deny.iter().find(|pattern| matches(pattern)) {
            return Verdict::Denied(pattern);
        }
        if self.allow.is_empty() || self.allow.iter().any(matches) {
            Verdict::Fine
        } else {
            Verdict::NotAllowed
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// A pattern for what an image is built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BasePattern {
    Scratch,
    Image(ImagePattern),
}

impl BasePattern {
    /// `None` is the empty base.
    pub(crate) fn matches(&self, base: Option<&Reference>) -> bool {
        match (self, base) {
            (Self::Scratch, base) => base.is_none(),
            (Self::Image(pattern), Some(base)) => pattern.matches(base),
            (Self::Image(_), None) => false,
        }
    }
}

impl fmt::Display for BasePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch => f.write_str("scratch"),
            Self::Image(pattern) => pattern.fmt(f),
        }
    }
}

/// A label or annotation that has to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) key: String,
    pub(crate) value: Option<Glob>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Network {
    #[default]
    Any,
    NoHost,
    None,
}

/// Every rule, as far as it is on.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) images: Lists<ImagePattern>,
    pub(crate) require_digest: bool,
    pub(crate) no_latest: bool,
    /// In seconds, as is the other age.
    pub(crate) max_image_age: Option<u64>,
    pub(crate) urls: Lists<Glob>,
    pub(crate) require_checksum: bool,
    pub(crate) no_plain_http: bool,
    pub(crate) repositories: Lists<Glob>,
    pub(crate) require_commit: bool,
    pub(crate) plugins: Lists<ImagePattern>,
    /// JSON.
    pub(crate) source_policy: Option<String>,
    pub(crate) bases: Lists<BasePattern>,
    pub(crate) max_base_age: Option<u64>,
    pub(crate) network: Network,
    pub(crate) no_insecure: bool,
    pub(crate) deny_commands: Vec<Glob>,
    pub(crate) no_pipe_to_shell: bool,
    pub(crate) no_setuid: bool,
    pub(crate) allow_setuid: Vec<Glob>,
    pub(crate) no_secrets: bool,
    pub(crate) allow_secrets: Vec<Glob>,
    /// In bytes, as is the other size.
    pub(crate) max_layer_size: Option<u64>,
    pub(crate) max_size: Option<u64>,
    pub(crate) max_layers: Option<u64>,
    pub(crate) require_user: bool,
    pub(crate) require_numeric_user: bool,
    pub(crate) require_healthcheck: bool,
    pub(crate) require_labels: Vec<Requirement>,
    pub(crate) require_annotations: Vec<Requirement>,
    pub(crate) require_attestations: Vec<String>,
    pub(crate) ports: Lists<Ports>,
    pub(crate) deny_packages: Vec<PackagePattern>,
    pub(crate) outputs: Vec<String>,
    pub(crate) destinations: Lists<ImagePattern>,
    pub(crate) tags: Lists<Glob>,
}

impl Settings {
    /// # Errors
    ///
    /// A finding for each option that makes no sense.
    pub(crate) fn read(options: &[Pair]) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let given = Given::read(options, &mut problems);
        let mut reader = Reader { given: &given, problems };
        let settings = reader.all();
        reader.contradictions(&settings);
        if reader.problems.is_empty() { Ok(settings) } else { Err(reader.problems) }
    }
}

struct Reader<'a> {
    given: &'a Given,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn all(&mut self) -> Settings {
        Settings {
            images: self.lists("allow-images", "deny-images", image),
            require_digest: self.flag("require-digest"),
            no_latest: self.flag("no-latest"),
            max_image_age: self.age("max-image-age"),
            urls: self.lists("allow-urls", "deny-urls", url),
            require_checksum: self.flag("require-checksum"),
            no_plain_http: self.flag("no-plain-http"),
            repositories: self.lists("allow-repositories", "deny-repositories", repository),
            require_commit: self.flag("require-commit"),
            plugins: Lists { allow: self.list("allow-plugins", image), deny: Vec::new() },
            source_policy: self.given.value("source-policy").map(str::to_owned),
            bases: self.lists("allow-bases", "deny-bases", base),
            max_base_age: self.age("max-base-age"),
            network: self.network(),
            no_insecure: self.flag("no-insecure"),
            deny_commands: self.list("deny-commands", command),
            no_pipe_to_shell: self.flag("no-pipe-to-shell"),
            no_setuid: self.flag("no-setuid"),
            allow_setuid: self.list("allow-setuid", path),
            no_secrets: self.flag("no-secrets"),
            allow_secrets: self.list("allow-secrets", path),
            max_layer_size: self.size("max-layer-size"),
            max_size: self.size("max-size"),
            max_layers: self.count("max-layers"),
            require_user: self.flag("require-user"),
            require_numeric_user: self.flag("require-numeric-user"),
            require_healthcheck: self.flag("require-healthcheck"),
            require_labels: self.list("require-labels", requirement),
            require_annotations: self.list("require-annotations", requirement),
            require_attestations: self.list("require-attestations", |text| Ok(text.to_owned())),
            ports: self.lists("allow-ports", "deny-ports", |text| Ports::parse(text).ok_or("it is no port")),
            deny_packages: self.list("deny-packages", PackagePattern::parse),
            outputs: self.list("allow-outputs", output),
            destinations: self.lists("allow-destinations", "deny-destinations", image),
            tags: self.lists("allow-tags", "deny-tags", tag),
        }
    }

    fn wrong(&mut self, name: &str, value: &str, why: &str, help: &str) {
        self.problems.push(bad(format!("`{name}` cannot be `{value}`: {why}"), help));
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.given.value(name) {
            None | Some("false") => false,
            Some("true") => true,
            Some(value) => {
                self.wrong(name, value, "it is neither true nor false", "write `true` or `false`");
                false
            }
        }
    }

    fn list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, &'static str>) -> Vec<T> {
        let given = self.given;
        let mut list = Vec::new();
        for value in given.values(name) {
            match parse(value.trim()) {
                Ok(item) => list.push(item),
                Err(why) => {
                    self.wrong(name, value, why, &format!("see `{name}` in the reference of this policy"))
                }
            }
        }
        list
    }

    /// Both lists, in which the same pattern may not be.
    fn lists<T: PartialEq + fmt::Debug>(
        &mut self,
        allow: &str,
        deny: &str,
        parse: impl Fn(&str) -> Result<T, &'static str> + Copy,
    ) -> Lists<T> {
        let given = self.given;
        for value in given.values(allow).iter().filter(|value| given.values(deny).contains(value)) {
            self.problems.push(bad(
                format!("`{value}` is both in `{allow}` and in `{deny}`"),
                "take it out of one of them; what is denied is denied, allowed or not",
            ));
        }
        Lists { allow: self.list(allow, parse), deny: self.list(deny, parse) }
    }

    fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        why: &str,
        help: &str,
    ) -> Option<T> {
        let value = self.given.value(name)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.wrong(name, value, why, help);
        }
        parsed
    }

    fn age(&mut self, name: &str) -> Option<u64> {
        self.parsed(name, age::parse, "it is no age", "write a number and a unit: `48h`, `90d`, `12w`, `1y`")
    }

    fn size(&mut self, name: &str) -> Option<u64> {
        self.parsed(name, size::parse, "it is no size", "write a number and a unit: `200MB`, `1.5GiB`")
    }

    fn count(&mut self, name: &str) -> Option<u64> {
        self.parsed(name, |text| text.parse().ok(), "it is no number", "write a number such as `40`")
    }

    fn network(&mut self) -> Network {
        match self.given.value("network") {
            None | Some("any") => Network::Any,
            Some("no-host") => Network::NoHost,
            Some("none") => Network::None,
            Some(value) => {
                self.wrong("network", value, "there is no such network", "write `any`, `no-host` or `none`");
                Network::Any
            }
        }
    }

    fn contradictions(&mut self, settings: &Settings) {
        for (exception, is_there, rule, is_on) in [
            ("allow-setuid", !settings.allow_setuid.is_empty(), "no-setuid", settings.no_setuid),
            ("allow-secrets", !settings.allow_secrets.is_empty(), "no-secrets", settings.no_secrets),
        ] {
            if is_there && !is_on {
                self.problems.push(bad(
                    format!("`{exception}` makes exceptions from `{rule}`, which is off"),
                    format!("add `{rule} = true`, or take `{exception}` out"),
                ));
            }
        }
        if let (Some(layer), Some(image)) = (settings.max_layer_size, settings.max_size)
            && layer > image
        {
            self.problems.push(bad(
                format!(
                    "`max-layer-size` ({}) is more than `max-size` ({})",
                    size::show(layer),
                    size::show(image)
                ),
                "no layer can be larger than its image",
            ));
        }
        if settings.require_numeric_user && self.given.value("require-user") == Some("false") {
            self.problems.push(bad(
                "`require-numeric-user` asks for a user other than root, and `require-user = false` for none",
                "take one of them out",
            ));
        }
    }
}

fn image(text: &str) -> Result<ImagePattern, &'static str> {
    ImagePattern::parse(text)
}

fn base(text: &str) -> Result<BasePattern, &'static str> {
    if text == "scratch" { Ok(BasePattern::Scratch) } else { image(text).map(BasePattern::Image) }
}

fn url(text: &str) -> Result<Glob, &'static str> {
    if text == "**" || text.contains("://") {
        Ok(Glob::new(text))
    } else {
        Err("an address begins with `https://` or the like, or with a pattern for it such as `**://`")
    }
}

fn repository(text: &str) -> Result<Glob, &'static str> {
    if text.contains("://") {
        return Err("repositories are compared without `https://`, user and `.git`: `github.com/example/*`");
    }
    Ok(Glob::new(text.trim_end_matches('/').trim_end_matches(".git")))
}

/// Paths in an image, with or without a slash in front.
fn path(text: &str) -> Result<Glob, &'static str> {
    match text.trim_start_matches('/') {
        "" => Err("it names no file"),
        path => Ok(Glob::new(path)),
    }
}

fn command(text: &str) -> Result<Glob, &'static str> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err("a program has one word: its name, or its path");
    }
    Ok(Glob::new(text))
}

fn tag(text: &str) -> Result<Glob, &'static str> {
    if text.contains([':', '/', '@']) {
        return Err("a tag is what comes after the name of an image");
    }
    Ok(Glob::new(text))
}

fn output(text: &str) -> Result<String, &'static str> {
    if OUTPUTS.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err("outputs are store, registry, oci, docker, tar and local")
    }
}

fn requirement(text: &str) -> Result<Requirement, &'static str> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(Glob::new(value))),
        None => (text, None),
    };
    if key.is_empty() {
        return Err("it has no key");
    }
    Ok(Requirement { key: key.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pair;

    fn problems(options: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs: Vec<Pair> = options.iter().map(|(key, value)| pair(key, value)).collect();
        let problems = Settings::read(&pairs).err().unwrap_or_default();
        assert!(problems.iter().all(|problem| problem.is_error() && problem.code == "bad-option"));
        problems.into_iter().map(|problem| (problem.message, problem.help)).collect()
    }

    #[test]
    fn every_value_that_says_nothing_is_told() {
        let check = |name: &str, value: &str, message: &str| {
            let found = problems(&[(name, value)]);
            assert_eq!(found.len(), 1, "{name}={value}: {found:?}");
            assert!(found[0].0.contains(message), "{name}={value}: {found:?}");
            assert!(!found[0].1.is_empty(), "{name}={value}: no help");
        };
        check("require-user", "yes", "`require-user` cannot be `yes`: it is neither true nor false");
        check("max-size", "large", "it is no size");
        check("max-base-age", "90", "it is no age");
        check("max-layers", "few", "it is no number");
        check("network", "off", "there is no such network");
        check("preset", "loose", "there is no preset `loose`");
        check("allow-images", "*", "`*` could mean several things");
        check("allow-urls", "example.com/*", "an address begins with");
        check("allow-repositories", "https://github.com/x/*", "repositories are compared without");
        check("deny-ports", "ssh", "it is no port");
        check("deny-commands", "rm -rf", "a program has one word");
        check("deny-packages", "=1", "it has no name");
        check("allow-outputs", "floppy", "outputs are");
        check("allow-tags", "x:1", "a tag is what comes after");
        check("require-labels", "=x", "it has no key");
        check("requier-user", "true", "the policy has no option `requier-user`");
        assert_eq!(problems(&[("requier-user", "true")])[0].1, "did you mean `require-user`?");
    }

    #[test]
    fn options_that_contradict_each_other_are_told() {
        let check = |options: &[(&str, &str)], message: &str| {
            let found = problems(options);
            assert_eq!(found.len(), 1, "{options:?}: {found:?}");
            assert!(found[0].0.contains(message), "{options:?}: {found:?}");
        };
        check(
            &[("allow-images", "alpine"), ("deny-images", "alpine")],
            "both in `allow-images` and in `deny-images`",
        );
        check(&[("allow-setuid", "/bin/su")], "makes exceptions from `no-setuid`, which is off");
        check(
            &[("preset", "baseline"), ("no-secrets", "false"), ("allow-secrets", "a")],
            "`no-secrets`, which is off",
        );
        check(&[("max-layer-size", "2GB"), ("max-size", "1GB")], "is more than `max-size`");
        check(&[("require-numeric-user", "true"), ("require-user", "false")], "`require-user = false`");
        check(&[("max-size", "1GB"), ("max-size", "2GB")], "given several times");
        assert_eq!(problems(&[("max-size", "1GB"), ("max-size", "1GB")]), []);
    }

    #[test]
    fn the_presets_make_sense() {
        for preset in ["none", "baseline", "strict"] {
            assert_eq!(problems(&[("preset", preset)]), [], "{preset}");
        }
        let strict = Settings::read(&[pair("preset", "strict")]).unwrap();
        assert!(strict.require_user && strict.no_secrets && strict.require_digest && strict.no_setuid);
        assert_eq!(strict.network, Network::NoHost);
        let none = Settings::read(&[]).unwrap();
        assert!(!none.require_user && none.images.is_empty() && none.network == Network::Any);
    }
}
