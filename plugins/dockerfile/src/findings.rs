//! Collects findings and drops those that the build file silences (§21). Knows the rules by name only.

use std::collections::BTreeSet;

use kiln_sdk::diagnose::quoted;
use kiln_sdk::wit::diagnostics::{Diagnostic, Severity, Span};

use crate::allowance;
use crate::directives::CheckOptions;

/// The checks of this frontend that Dockerfile authors know by name (§21.6), with a sentence each.
pub const CHECKS: [(&str, &str); 17] = [
    ("ConsistentInstructionCasing", "a keyword is not in the case that most keywords of the file are in"),
    ("CopyIgnoredFile", "COPY or ADD of a file that the ignore file excludes"),
    ("DuplicateStageName", "two stages of one name"),
    ("FromAsCasing", "`AS` is not in the case of its `FROM`"),
    ("FromPlatformFlagConstDisallowed", "a constant platform in FROM"),
    (EXPERIMENTAL, "the comment above a stage or an argument does not begin with its name"),
    ("InvalidBaseImagePlatform", "the base image is for another platform than the one wanted"),
    ("InvalidDefaultArgInFrom", "without build arguments a FROM names no valid image"),
    (
        "MultipleInstructionsDisallowed",
        "several CMD, ENTRYPOINT or HEALTHCHECK, of which only the last counts",
    ),
    ("NoEmptyContinuation", "a blank line within a continued instruction"),
    ("RedundantTargetPlatform", "a platform in FROM that is the default"),
    ("ReservedStageName", "a stage called `context` or `scratch`"),
    ("SecretsUsedInArgOrEnv", "an argument whose name says that its value is secret"),
    ("StageNameCasing", "the name of a stage is not in lower case"),
    ("UndefinedArgInFrom", "FROM uses a variable that is no global argument"),
    ("UndefinedVar", "a variable that is nowhere set"),
    ("WorkdirRelativePath", "the first WORKDIR is relative to one that the base image chooses"),
];

/// The one that has to be asked for.
pub const EXPERIMENTAL: &str = "InvalidDefinitionDescription";

/// What is said of a line that brought in the text with the finding.
const READ_IN: &str = "read in here";

/// How many findings are kept: nobody reads more, and hosts take no more than some thousands.
const MAX_FINDINGS: usize = 2_000;

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Of the whole file.
    pub options: CheckOptions,
    found: Vec<Diagnostic>,
    has_errors: bool,
    /// Code, message, file, line and column of each.
    seen: BTreeSet<(String, String, String, u32, u32)>,
    /// Rules whose findings were kept, for `error=true`.
    violated: BTreeSet<String>,
    /// The lines that brought in the text which is being read, innermost last.
    within: Vec<Span>,
}

impl Findings {
    /// Keeps what nothing silences; `local` are the options of the instruction it is about (§21.3).
    pub fn add(&mut self, mut diagnostic: Diagnostic, local: Option<&CheckOptions>) {
        // Findings equal in code, message and place are one: several platforms, stages or passes report them.
        if self.is_silenced(&diagnostic, local) {
            return;
        }
        // Whatever does not fit after the first text that did not is the fault of that one.
        let place = diagnostic.primary.as_ref().filter(|_| diagnostic.code != allowance::EXCEEDED);
        let (file, line, column) =
            place.map_or(("", 0, 0), |span| (span.file.as_str(), span.start.line, span.start.column));
        let (code, message) = (diagnostic.code.clone(), diagnostic.message.clone());
        if !self.seen.insert((code, message, file.to_owned(), line, column)) {
            return;
        }
        if let Some(place) = diagnostic.primary.clone() {
            for by in self.ways(&place) {
                diagnostic = diagnostic.label(&by, READ_IN);
            }
        }
        let rule = rule_name(&diagnostic.code);
        // The names of the checks begin with a capital; kiln's own hints do not fail a build.
        if diagnostic.severity == Severity::Warning && rule.starts_with(|c: char| c.is_ascii_uppercase()) {
            self.violated.insert(rule.to_owned());
        }
        // The first error is kept in any case, for it decides.
        if self.found.len() >= MAX_FINDINGS && (!diagnostic.is_error() || self.has_errors) {
            return;
        }
        self.has_errors |= diagnostic.is_error();
        self.found.push(diagnostic);
    }

    /// What is found from here on stands in text that the line `by` brought in, until it is [left](Self::leave).
    pub fn enter(&mut self, by: &Span) {
        self.within.push(by.clone());
    }

    pub fn leave(&mut self) {
        self.within.pop();
    }

    /// The lines through which `place` came to be read, from the nearest on, without those that it stands in itself.
    pub fn ways(&self, place: &Span) -> Vec<Span> {
        let holds =
            |by: &Span| by.file == place.file && (by.start.line..=by.end.line).contains(&place.start.line);
        self.within.iter().rev().filter(|by| !holds(by)).cloned().collect()
    }

    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in diagnostics {
            self.add(diagnostic, None);
        }
    }

    fn is_silenced(&self, diagnostic: &Diagnostic, local: Option<&CheckOptions>) -> bool {
        if diagnostic.severity == Severity::Error {
            return false;
        }
        let rule = rule_name(&diagnostic.code);
        let mut options = [Some(&self.options), local].into_iter().flatten();
        if rule == EXPERIMENTAL {
            return !options.any(|options| options.experimental.contains(rule));
        }
        options.any(|options| options.skip.contains(rule))
    }

    /// How many findings were kept.
    pub fn count(&self) -> usize {
        self.found.len()
    }

    pub fn has_error(&self) -> bool {
        self.has_errors
    }

    /// With `error=true`, the findings become an error that names the rules (§21.2).
    pub fn enforce(&mut self) {
        if !self.options.error || self.violated.is_empty() || self.has_error() {
            return;
        }
        let rules = quoted(&self.violated);
        let message = format!("the file asks that findings fail the build, and it violates {rules}");
        self.has_errors = true;
        self.found.push(
            Diagnostic::error("check-failed", message)
                .help("mend them, or leave `error=true` out of the `# check=` directive"),
        );
    }

    pub fn take(self) -> Vec<Diagnostic> {
        self.found
    }
}

/// Without the name of the plugin.
fn rule_name(code: &str) -> &str {
    code.rsplit_once('/').map_or(code, |(_, rule)| rule)
}

/// A finding of one of the checks that authors know by name, with the page that explains it.
pub fn check(rule: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::warning(rule, message).url(url(rule))
}

/// `StageNameCasing` is explained at `…/stage-name-casing/`.
pub fn url(rule: &str) -> String {
    let mut page = String::from("https://docs.docker.com/go/dockerfile/rule/");
    for (index, letter) in rule.char_indices() {
        if index > 0 && letter.is_ascii_uppercase() {
            page.push('-');
        }
        page.push(letter.to_ascii_lowercase());
    }
    page.push('/');
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(options: &str, code: &str, local: Option<&str>) -> bool {
        let mut findings = Findings { options: CheckOptions::read(options).unwrap(), ..Findings::default() };
        let local = local.map(|text| CheckOptions::read(text).unwrap());
        findings.add(Diagnostic::warning(code, "x"), local.as_ref());
        !findings.take().is_empty()
    }

    #[test]
    fn section_21_rules_are_silenced_by_name() {
        assert!(kept("", "UndefinedVar", None));
        assert!(!kept("skip=UndefinedVar", "UndefinedVar", None));
        assert!(!kept("skip=undefinedvar", "dockerfile/UndefinedVar", None));
        assert!(!kept("skip=all", "UndefinedVar", None));
        assert!(!kept("", "UndefinedVar", Some("skip=UndefinedVar")));
        assert!(kept("skip=UndefinedVar", "StageNameCasing", None));
    }

    #[test]
    fn section_21_4_experimental_rules_have_to_be_asked_for() {
        assert!(!kept("", EXPERIMENTAL, None));
        assert!(kept("experimental=all;skip=all", EXPERIMENTAL, None));
        assert!(kept("experimental=InvalidDefinitionDescription", EXPERIMENTAL, None));
    }

    #[test]
    fn section_21_2_findings_can_fail_the_build() {
        let enforced = |code| {
            let options = CheckOptions::read("error=true").unwrap();
            let mut findings = Findings { options, ..Findings::default() };
            findings.add(Diagnostic::warning(code, "x"), None);
            findings.enforce();
            findings.has_error()
        };
        assert!(
            enforced("UndefinedVar") && enforced("dockerfile/UndefinedVar") && !enforced("several-sources")
        );
    }

    #[test]
    fn thousands_of_findings_are_cut_but_an_error_counts() {
        let mut findings = Findings::default();
        findings.extend((0..5_000).map(|number| Diagnostic::warning("w", number.to_string())));
        findings.extend([Diagnostic::error("e", "1"), Diagnostic::error("e", "2")]);
        assert!(findings.has_error());
        assert_eq!(findings.take().len(), MAX_FINDINGS + 1);
    }

    #[test]
    fn equal_findings_are_kept_once() {
        let mut findings = Findings::default();
        findings.extend([check("A", "x"), check("A", "x"), check("A", "y")]);
        assert_eq!(findings.take().len(), 2);
        assert_eq!(url("StageNameCasing"), "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/");
    }
}
