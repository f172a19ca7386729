//! Collects what is wrong with a line, and lists the rules that findings go by.

use kiln_sdk::wit::describe::Rule;
use kiln_sdk::wit::diagnostics::{Diagnostic, Severity};

#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Diagnostic>);

impl Findings {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    pub(crate) fn has_error(&self) -> bool {
        self.0.iter().any(Diagnostic::is_error)
    }

    pub(crate) fn into_list(self) -> Vec<Diagnostic> {
        self.0
    }
}

/// A warning of one of the checks that Dockerfile authors know by name (§21.6), with the page that explains it.
pub(crate) fn check(rule: &'static str, message: String) -> Diagnostic {
    Diagnostic::warning(rule, message).url(url(rule))
}

/// `JSONArgsRecommended` is explained at `…/json-args-recommended/`.
fn url(rule: &str) -> String {
    let mut page = String::from("https://docs.docker.com/go/dockerfile/rule/");
    let letters: Vec<char> = rule.chars().collect();
    for (i, letter) in letters.iter().enumerate() {
        // A word begins at a capital after a small letter, or at the last capital of a row.
        let begins = i > 0
            && letter.is_ascii_uppercase()
            && (letters[i - 1].is_ascii_lowercase()
                || letters.get(i + 1).is_some_and(char::is_ascii_lowercase));
        if begins {
            page.push('-');
        }
        page.push(letter.to_ascii_lowercase());
    }
    page.push('/');
    page
}

const CHECKS: [(&str, &str); 6] = [
    ("ExposeInvalidFormat", "EXPOSE names a host port or an address"),
    ("ExposeProtoCasing", "the protocol in EXPOSE is not in lower case"),
    ("JSONArgsRecommended", "CMD or ENTRYPOINT runs through a shell, which does not pass signals on"),
    ("LegacyKeyValueFormat", "`ENV key value` or `LABEL key value` without `=`"),
    ("MaintainerDeprecated", "MAINTAINER in place of a label"),
    ("SecretsUsedInArgOrEnv", "a variable whose name says that its value is secret"),
];

/// Kiln's own.
const RULES: [(&str, Severity, &str); 31] = [
    ("argument-count", Severity::Error, "too few or too many arguments"),
    ("blank-key", Severity::Error, "a variable or label without a name"),
    ("blank-value", Severity::Warning, "an argument that expands to nothing"),
    ("blank-volume", Severity::Error, "a volume without a path"),
    ("copy-of-url", Severity::Error, "COPY of something that only ADD can fetch"),
    ("empty-command", Severity::Error, "RUN with an empty list"),
    ("heredoc-destination", Severity::Error, "a here-document where the destination stands"),
    ("heredoc-name", Severity::Error, "a here-document whose delimiter cannot be a file name"),
    ("invalid-checksum", Severity::Error, "a checksum that is none, or of something that has none"),
    ("invalid-device", Severity::Error, "`--device` that names no device"),
    (
        "invalid-git-source",
        Severity::Error,
        "a git URL that contradicts itself or asks for something unknown",
    ),
    (
        "invalid-healthcheck",
        Severity::Error,
        "HEALTHCHECK that is neither CMD nor NONE, or with a bad option",
    ),
    ("invalid-mode", Severity::Error, "`--chmod` that is neither octal nor symbolic"),
    ("invalid-mount", Severity::Error, "`--mount` that cannot be made"),
    ("invalid-network", Severity::Error, "an unknown word after `--network`"),
    (
        "invalid-owner",
        Severity::Error,
        "`--chown` that is not `user[:group]`, or a name that cannot be looked up",
    ),
    ("invalid-port", Severity::Error, "EXPOSE of something that is no port"),
    ("invalid-security", Severity::Error, "an unknown word after `--security`"),
    ("invalid-shell", Severity::Error, "SHELL without a JSON array"),
    ("invalid-signal", Severity::Error, "STOPSIGNAL with an unknown signal"),
    ("link-ignored", Severity::Info, "`--link` together with `--chmod` is an ordinary copy"),
    ("looks-like-json", Severity::Warning, "brackets that look like a JSON array and are shell text"),
    ("no-effect", Severity::Warning, "a flag or option that does nothing here"),
    ("no-shell", Severity::Warning, "shell form in an image that has no shell"),
    ("pair-without-equals", Severity::Error, "ENV or LABEL with a word that has no `=`"),
    ("pair-without-value", Severity::Error, "ENV or LABEL with a name and no value"),
    ("several-sources", Severity::Warning, "several sources for what may become one file"),
    ("trailing-comment", Severity::Warning, "`#` after the beginning of a line, where it starts no comment"),
    ("unknown-mount-option", Severity::Error, "`--mount` with an option that does not exist"),
    ("unsupported-platform", Severity::Error, "an instruction that the target platform does not have"),
    ("variable-in-from", Severity::Error, "a variable where the name of a stage or image stands"),
];

pub(crate) fn rules() -> Vec<Rule> {
    let known = CHECKS.iter().map(|(code, summary)| (*code, Severity::Warning, *summary, url(code)));
    let own = RULES.iter().map(|(code, severity, summary)| (*code, *severity, *summary, String::new()));
    known
        .chain(own)
        .map(|(code, severity, summary, url)| Rule {
            code: code.into(),
            summary: summary.into(),
            url,
            severity,
            experimental: false,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_in_kebab_case() {
        let page =
            |rule| url(rule).trim_start_matches("https://docs.docker.com/go/dockerfile/rule/").to_owned();
        assert_eq!(page("JSONArgsRecommended"), "json-args-recommended/");
        assert_eq!(page("SecretsUsedInArgOrEnv"), "secrets-used-in-arg-or-env/");
        assert_eq!(page("ExposeProtoCasing"), "expose-proto-casing/");
    }

    #[test]
    fn rules_are_sorted_and_none_is_listed_twice() {
        assert!(CHECKS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(RULES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
