//! From findings to what they lead to: modes, exemptions, and what happens when a policy gives no verdict.

use kiln_core::{Diagnostic, Event, Severity};
use kiln_plugin::{Point, PolicyError};

use super::exemption::{Date, Scoped, quoted};
use super::{Exemption, PolicyFinding, PolicyOutcome, Standing, first_message};
use crate::error::BuildError;
use crate::forms::{lock, one_line};
use crate::plugins::PolicyMode;
use crate::session::Session;

/// The code, behind the name of the policy, of having given no verdict.
pub(crate) const UNDECIDED: &str = "undecided";

/// Findings after modes and exemptions.
#[derive(Debug, Default)]
pub(super) struct Weighed {
    /// Any of these denies the build.
    pub(super) denied: Vec<Diagnostic>,
    /// To be shown.
    pub(super) told: Vec<Diagnostic>,
}

impl Weighed {
    pub(super) fn join(&mut self, other: Self) {
        self.denied.extend(other.denied);
        self.told.extend(other.told);
    }
}

/// What it means that a policy trapped, ran into a limit or answered what makes no sense: no, unless it is on trial.
pub(super) fn undecided(standing: &Standing, error: &PolicyError) -> Vec<Diagnostic> {
    let name = standing.name();
    let message = format!("the policy `{name}` could not decide: {}", one_line(error));
    vec![
        Diagnostic::error(&format!("{name}/{UNDECIDED}"), message).help(
            "a build is not let pass without a verdict; have the policy mended by whoever looks after it",
        ),
    ]
}

impl Standing {
    fn mode_of(&self, code: &str) -> PolicyMode {
        let own = code.strip_prefix(self.name()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(code);
        match self.codes.get(own).or_else(|| self.codes.get(code)) {
            Some(mode) => *mode,
            None if own == UNDECIDED => self.strictest(),
            None => self.mode,
        }
    }
}

impl Session<'_> {
    /// What findings of a policy lead to. `things` are what they are about, besides what each names itself.
    pub(super) fn weigh(
        &self,
        standing: &Standing,
        point: Point,
        findings: Vec<Diagnostic>,
        things: &[String],
    ) -> Weighed {
        let mut weighed = Weighed::default();
        let today = Date::of(self.policies.today);
        for mut diagnostic in findings {
            let mode = standing.mode_of(&diagnostic.code);
            if mode == PolicyMode::Off {
                continue;
            }
            let mut outcome = PolicyOutcome::Told;
            if diagnostic.severity == Severity::Error {
                match self.exemption(&diagnostic, things, today) {
                    Some(scoped) if scoped.is_over(today) => {
                        let exemption = &scoped.exemption;
                        add_help(
                            &mut diagnostic,
                            &format!(
                                "the exemption that {} answered for (`{}`) ended on {}",
                                exemption.owner, exemption.reason, exemption.expires
                            ),
                        );
                        outcome = PolicyOutcome::Denied;
                    }
                    Some(scoped) => {
                        self.exempt(standing, point, diagnostic, &scoped.exemption);
                        continue;
                    }
                    None => outcome = PolicyOutcome::Denied,
                }
                if mode == PolicyMode::Warn {
                    diagnostic.severity = Severity::Warning;
                    outcome = PolicyOutcome::Told;
                }
            }
            let finding = PolicyFinding {
                policy: standing.name().to_owned(),
                point,
                outcome,
                diagnostic: diagnostic.clone(),
            };
            let new = lock(&self.policies.report).add(finding);
            match outcome {
                PolicyOutcome::Denied => weighed.denied.push(diagnostic),
                _ if new => weighed.told.push(diagnostic),
                _ => {}
            }
        }
        weighed
    }

    /// The exemption that a finding falls under: one that still holds, if there is one.
    fn exemption(&self, diagnostic: &Diagnostic, things: &[String], today: Date) -> Option<&Scoped> {
        if diagnostic.code.ends_with(&format!("/{UNDECIDED}")) || self.policies.rules.exemptions.is_empty() {
            return None;
        }
        let mut about = things.to_vec();
        about.extend(quoted(&diagnostic.message).map(str::to_owned));
        about.extend(diagnostic.primary.as_ref().map(|at| at.file.clone()));
        let matching = || {
            let all = self.policies.rules.exemptions.iter();
            all.filter(|exemption| exemption.is_about(&diagnostic.code, &about))
        };
        matching().find(|exemption| !exemption.is_over(today)).or_else(|| matching().next())
    }

    /// Lets a finding pass, and says so.
    fn exempt(&self, standing: &Standing, point: Point, diagnostic: Diagnostic, exemption: &Exemption) {
        let finding = PolicyFinding {
            policy: standing.name().to_owned(),
            point,
            outcome: PolicyOutcome::Exempted,
            diagnostic: diagnostic.clone(),
        };
        let mut report = lock(&self.policies.report);
        if !report.add(finding) || !report.use_exemption(exemption) {
            return;
        }
        drop(report);
        let note = format!(
            "`{}` is let pass{} until {}: {} ({})",
            exemption.rule,
            if exemption.scope.is_empty() { String::new() } else { format!(" for `{}`", exemption.scope) },
            exemption.expires,
            exemption.reason,
            exemption.owner
        );
        self.show(vec![Diagnostic::new(Severity::Info, "policy-exemption", note).at(diagnostic.primary)]);
    }

    pub(super) fn show(&self, told: Vec<Diagnostic>) {
        for diagnostic in told {
            self.events.emit(Event::Diagnostic(diagnostic));
        }
    }

    /// Shows what is to be shown; an error if anything denies.
    pub(super) fn settle(&self, weighed: Weighed) -> Result<(), BuildError> {
        self.show(weighed.told);
        match weighed.denied.is_empty() {
            true => Ok(()),
            false => {
                // A plugin that has part of a graph solved is told of it in other words.
                self.keep_denied(&first_message(&weighed.denied), &weighed.denied);
                Err(BuildError::Wrong(weighed.denied))
            }
        }
    }
}

fn add_help(diagnostic: &mut Diagnostic, help: &str) {
    if !diagnostic.help.is_empty() {
        diagnostic.help.push('\n');
    }
    diagnostic.help.push_str(help);
}
