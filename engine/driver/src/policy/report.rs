//! What policies had to say of a build, for people and for `--metadata-file`.

use kiln_core::{Diagnostic, Digest, Severity};
use kiln_plugin::Point;
use serde_json::{Value, json};

use super::{Exemption, Rules, Standing};
use crate::plugins::{Origin, PolicyMode};

/// What became of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyOutcome {
    Denied,
    /// Shown.
    Told,
    Exempted,
}

impl PolicyOutcome {
    fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Told => "told",
            Self::Exempted => "exempted",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFinding {
    pub policy: String,
    pub point: Point,
    pub outcome: PolicyOutcome,
    /// As it was shown.
    pub diagnostic: Diagnostic,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedExemption {
    pub exemption: Exemption,
    /// Findings that it let pass.
    pub findings: usize,
}

/// A policy that was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivePolicy {
    pub name: String,
    pub version: String,
    pub digest: Digest,
    pub points: Vec<Point>,
    pub mode: PolicyMode,
    pub codes: Vec<(String, PolicyMode)>,
    pub origin: Origin,
}

impl ActivePolicy {
    pub(crate) fn of(standing: &Standing) -> Self {
        let id = standing.policy.id();
        Self {
            name: id.name.clone(),
            version: id.version.clone(),
            digest: id.digest,
            points: standing.policy.points().collect(),
            mode: standing.mode,
            codes: standing.codes.iter().map(|(code, mode)| (code.clone(), *mode)).collect(),
            origin: standing.origin,
        }
    }
}

/// All of it, in the order in which it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyReport {
    pub policies: Vec<ActivePolicy>,
    pub findings: Vec<PolicyFinding>,
    pub exemptions: Vec<UsedExemption>,
}

impl PolicyReport {
    pub(super) fn of(rules: &Rules) -> Self {
        Self { policies: rules.standing.iter().map(ActivePolicy::of).collect(), ..Self::default() }
    }

    /// Takes a finding in; false if it is there already.
    pub(super) fn add(&mut self, finding: PolicyFinding) -> bool {
        let known = self.findings.iter().any(|known| {
            let (known, new) = (&known.diagnostic, &finding.diagnostic);
            known.code == new.code && known.message == new.message && known.primary == new.primary
        });
        if !known {
            self.findings.push(finding);
        }
        !known
    }

    /// Counts a use; true for the first.
    pub(super) fn use_exemption(&mut self, exemption: &Exemption) -> bool {
        match self.exemptions.iter_mut().find(|used| used.exemption == *exemption) {
            Some(used) => {
                used.findings += 1;
                false
            }
            None => {
                self.exemptions.push(UsedExemption { exemption: exemption.clone(), findings: 1 });
                true
            }
        }
    }

    /// One line about a build that no policy denied; `None` where there was none.
    pub fn summary(&self) -> Option<String> {
        if self.policies.is_empty() {
            return None;
        }
        let names: Vec<String> = self
            .policies
            .iter()
            .map(|policy| match policy.mode {
                PolicyMode::Enforce => policy.name.clone(),
                mode => format!("{} ({})", policy.name, mode.word()),
            })
            .collect();
        let warnings = self
            .findings
            .iter()
            .filter(|finding| {
                finding.outcome == PolicyOutcome::Told && finding.diagnostic.severity == Severity::Warning
            })
            .count();
        let mut text = format!("passed {} {}", plural(names.len(), "policy", "policies"), names.join(", "));
        if warnings > 0 {
            text.push_str(&format!(", {warnings} {}", plural(warnings, "warning", "warnings")));
        }
        let exempted: usize = self.exemptions.iter().map(|used| used.findings).sum();
        if exempted > 0 {
            let what = plural(exempted, "finding", "findings");
            text.push_str(&format!(", {exempted} {what} exempted"));
        }
        Some(text)
    }

    /// Under `kiln.policy` in metadata.
    pub fn metadata(&self) -> Value {
        let policies: Vec<Value> = self.policies.iter().map(policy).collect();
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        let exemptions: Vec<Value> = self
            .exemptions
            .iter()
            .map(|used| {
                json!({
                    "rule": used.exemption.rule,
                    "scope": used.exemption.scope,
                    "owner": used.exemption.owner,
                    "reason": used.exemption.reason,
                    "expires": used.exemption.expires.to_string(),
                    "findings": used.findings,
                })
            })
            .collect();
        json!({ "policies": policies, "findings": findings, "exemptions": exemptions })
    }
}

fn policy(policy: &ActivePolicy) -> Value {
    let codes: serde_json::Map<String, Value> =
        policy.codes.iter().map(|(code, mode)| (code.clone(), json!(mode.word()))).collect();
    json!({
        "name": policy.name,
        "version": policy.version,
        "digest": policy.digest.to_string(),
        "mode": policy.mode.word(),
        "codes": codes,
        "origin": policy.origin.word(),
    })
}

fn finding(finding: &PolicyFinding) -> Value {
    let diagnostic = &finding.diagnostic;
    json!({
        "policy": finding.policy,
        "code": diagnostic.code,
        "point": finding.point.word(),
        "severity": severity(diagnostic.severity),
        "outcome": finding.outcome.word(),
        "message": diagnostic.message,
        "place": diagnostic.primary.as_ref().map(ToString::to_string),
    })
}

pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
        Severity::Hint => "hint",
    }
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}
