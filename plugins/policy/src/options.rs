//! The options: one per rule, off when not given, and presets that give several.
//!
//! Names begin with what they do: `allow-` and `deny-` take patterns, `require-` and `no-` switch a rule on, `max-` is
//! a limit.

use std::collections::BTreeMap;

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::describe::{OptionKind, OptionSpec};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::types::Pair;

use crate::rules::Code;

/// One option as it is told to the host, and what the presets give it.
struct Known {
    name: &'static str,
    kind: OptionKind,
    summary: &'static str,
    choices: &'static [&'static str],
    baseline: &'static [&'static str],
    strict: &'static [&'static str],
}

const fn list(name: &'static str, summary: &'static str) -> Known {
    known(name, OptionKind::TextList, summary)
}

const fn text(name: &'static str, summary: &'static str) -> Known {
    known(name, OptionKind::Text, summary)
}

const fn flag(name: &'static str, summary: &'static str) -> Known {
    known(name, OptionKind::Boolean, summary)
}

const fn known(name: &'static str, kind: OptionKind, summary: &'static str) -> Known {
    Known { name, kind, summary, choices: &[], baseline: &[], strict: &[] }
}

impl Known {
    const fn of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// Given by `strict` alone.
    const fn strict(mut self, values: &'static [&'static str]) -> Self {
        self.strict = values;
        self
    }

    /// Given by `baseline`, and so by `strict`.
    const fn baseline(mut self, values: &'static [&'static str]) -> Self {
        self.baseline = values;
        self.strict = values;
        self
    }
}

/// Kinds of output that there are.
pub(crate) const OUTPUTS: [&str; 6] = ["store", "registry", "oci", "docker", "tar", "local"];

const ON: &[&str] = &["true"];

/// Sorted by name.
const OPTIONS: &[Known] = &[
    list("allow-bases", "images that an image may be built on, as patterns; `scratch` is the empty one"),
    list("allow-destinations", "names that may be pushed to, as patterns"),
    list("allow-images", "images that a build may use, as patterns"),
    list("allow-outputs", "kinds of output that a build may have: store, registry, oci, docker, tar, local"),
    list("allow-plugins", "plugins that a build may load, as patterns for their references"),
    list("allow-ports", "ports that an image may expose: 8080, 8000-8999/tcp"),
    list(
        "allow-repositories",
        "git repositories that a build may use, as patterns such as github.com/example/*",
    ),
    list("allow-secrets", "paths that `no-secrets` passes over, as patterns"),
    list("allow-setuid", "paths that `no-setuid` passes over, as patterns"),
    list("allow-tags", "tags that may be pushed, as patterns"),
    list("allow-urls", "addresses that a build may download from, as patterns"),
    list("deny-bases", "images that no image may be built on, as patterns"),
    list("deny-commands", "programs that no step may run, by name or path").strict(&["sudo", "su"]),
    list("deny-destinations", "names that may not be pushed to, as patterns"),
    list("deny-images", "images that no build may use, as patterns"),
    list("deny-packages", "packages that no image may have: name, or name=version, as patterns"),
    list("deny-ports", "ports that no image may expose: 22, 1-1023/tcp").strict(&["22", "23", "3389"]),
    list("deny-repositories", "git repositories that no build may use, as patterns"),
    list("deny-tags", "tags that may not be pushed, as patterns").strict(&["latest"]),
    list("deny-urls", "addresses that no build may download from, as patterns"),
    text("max-base-age", "how old the image may be that an image is built on: 90d, 12w, 1y"),
    text("max-image-age", "how old an image may be that a build uses: 90d, 12w, 1y"),
    text("max-layer-size", "how large a layer may be that a build adds: 200MB, 1GiB"),
    known("max-layers", OptionKind::Integer, "how many layers an image may have"),
    text("max-size", "how large an image may be: 200MB, 1GiB"),
    known(
        "network",
        OptionKind::Choice,
        "what network steps may have: as they ask, all but the machine's own, or none",
    )
    .of(&["any", "no-host", "none"])
    .baseline(&["no-host"]),
    flag("no-insecure", "no step may run without its sandbox").baseline(ON),
    flag("no-latest", "images have a tag other than `latest`, or a digest").baseline(ON),
    flag("no-pipe-to-shell", "no step may hand what it downloads to a shell or interpreter").baseline(ON),
    flag("no-plain-http", "downloads and repositories are fetched over https or ssh").baseline(ON),
    flag("no-secrets", "no private keys, tokens or passwords in layers, variables, arguments and history")
        .baseline(ON),
    flag("no-setuid", "no setuid or setgid programs in layers that a build adds").strict(ON),
    known("preset", OptionKind::Choice, "gives several options at once; what is given beside it goes first")
        .of(&["none", "baseline", "strict"]),
    list("require-annotations", "annotations that an image has: key, or key=pattern"),
    list("require-attestations", "predicate types of which an image has an attestation"),
    flag("require-checksum", "downloads have a checksum").baseline(ON),
    flag("require-commit", "git repositories are named with a whole commit").strict(ON),
    flag("require-digest", "images are named with a digest").strict(ON),
    flag("require-healthcheck", "an image has a health check"),
    list("require-labels", "labels that an image has: key, or key=pattern"),
    flag("require-numeric-user", "an image has a user by number other than 0"),
    flag("require-user", "an image has a user other than root").strict(ON),
    text("source-policy", "a source policy of BuildKit, as JSON"),
];

/// For `describe`.
pub(crate) fn specs() -> Vec<OptionSpec> {
    let spec = |known: &Known| OptionSpec {
        name: known.name.to_owned(),
        kind: known.kind,
        summary: known.summary.to_owned(),
        preset: String::new(),
        required: false,
        choices: known.choices.iter().map(|&choice| choice.to_owned()).collect(),
        sensitive: false,
    };
    OPTIONS.iter().map(spec).collect()
}

/// What is wrong with the configuration of this policy.
pub(crate) fn bad(message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
    Code::BadOption.found(message).help(help)
}

/// Options by name, the preset's included where nothing else is said.
#[derive(Debug, Default)]
pub(crate) struct Given(BTreeMap<&'static str, Vec<String>>);

impl Given {
    /// Reads what the host hands over: pairs, of which those of a list have the same key. A pair without a value is an
    /// option that was not given.
    pub(crate) fn read(pairs: &[Pair], problems: &mut Vec<Diagnostic>) -> Self {
        let mut given: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for pair in pairs.iter().filter(|pair| !pair.value.is_empty()) {
            let Some(known) = OPTIONS.iter().find(|known| known.name == pair.key) else {
                let help = match nearest(&pair.key, OPTIONS.iter().map(|known| known.name)) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "`kiln plugin inspect` lists the options".to_owned(),
                };
                problems.push(bad(format!("the policy has no option `{}`", pair.key), help));
                continue;
            };
            given.entry(known.name).or_default().push(pair.value.clone());
        }
        for (name, values) in &given {
            let known = OPTIONS.iter().find(|known| known.name == *name);
            let is_list = known.is_some_and(|known| known.kind == OptionKind::TextList);
            if !is_list && values.windows(2).any(|pair| pair[0] != pair[1]) {
                problems.push(bad(
                    format!("`{name}` is given several times, with different values"),
                    "give it once",
                ));
            }
        }
        let preset = given.get("preset").and_then(|values| values.last()).cloned().unwrap_or_default();
        for known in OPTIONS {
            let values = match &*preset {
                "baseline" => known.baseline,
                "strict" => known.strict,
                _ => &[],
            };
            if !values.is_empty() {
                given
                    .entry(known.name)
                    .or_insert_with(|| values.iter().map(|&value| value.to_owned()).collect());
            }
        }
        if !["", "none", "baseline", "strict"].contains(&&*preset) {
            problems
                .push(bad(format!("there is no preset `{preset}`"), "write `none`, `baseline` or `strict`"));
        }
        Self(given)
    }

    /// Values of an option, in the order given; none when it is not.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of an option that has one.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pair;

    #[test]
    fn options_are_sorted_and_described() {
        assert!(OPTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(OPTIONS.iter().all(|known| (known.kind == OptionKind::Choice) != known.choices.is_empty()));
    }

    #[test]
    fn what_is_given_goes_before_what_the_preset_gives() {
        let mut problems = Vec::new();
        let given = Given::read(
            &[
                pair("preset", "strict"),
                pair("require-user", "false"),
                pair("deny-ports", "1-1023"),
                pair("max-size", ""),
            ],
            &mut problems,
        );
        assert_eq!(problems, []);
        assert_eq!(given.value("require-user"), Some("false"));
        assert_eq!(given.value("no-latest"), Some("true"));
        assert_eq!(given.values("deny-ports"), ["1-1023"]);
        assert_eq!(given.value("max-size"), None, "an empty value is none");
    }
}
