//! Policies in a build: who is asked when, what their findings lead to, and what is written down of it.
//!
//! Sources are judged before they are contacted and again when it is known what they are; the graph and its commands
//! before anything runs, found in the cache or not; layers, images and outputs before anything is written or named.
//! Nothing that a build did earlier stands in for a verdict but a verdict of the same policy on the same thing.

mod exemption;
mod graph;
mod layer;
mod memory;
mod output;
mod plugin;
mod report;
mod services;
mod source;
mod stored;
mod weigh;

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use kiln_core::Diagnostic;
use kiln_plugin::{Asking, BuildFacts, Point, Policy, PolicyError};

pub(crate) use exemption::Scoped;
pub use exemption::{Date, Exemption, ExemptionError};
pub use report::{ActivePolicy, PolicyFinding, PolicyOutcome, PolicyReport, UsedExemption};

pub(crate) use graph::StepLimits;
pub(crate) use output::Product;
pub(crate) use plugin::Noticed;
pub(crate) use source::{NotUsed, first_message};
pub(crate) use stored::Move;
pub(crate) use weigh::UNDECIDED;

use crate::error::BuildError;
use crate::forms::lock;
use crate::plugins::{Origin, PolicyMode};
use crate::request::OutputKind;
use crate::session::Session;
use services::PolicyServices;

/// A policy as it stands in a build.
#[derive(Clone)]
pub(crate) struct Standing {
    pub(crate) policy: Policy,
    pub(crate) mode: PolicyMode,
    /// Where a code differs from `mode`.
    pub(crate) codes: BTreeMap<String, PolicyMode>,
    /// Who asked for it.
    pub(crate) origin: Origin,
}

impl Standing {
    /// The strictest that any finding of it can meet.
    fn strictest(&self) -> PolicyMode {
        self.codes
            .values()
            .copied()
            .chain([self.mode])
            .max_by_key(|mode| mode.strictness())
            .unwrap_or_default()
    }

    fn is_asked(&self, point: Point) -> bool {
        self.strictest() != PolicyMode::Off && self.policy.has(point)
    }

    fn name(&self) -> &str {
        &self.policy.id().name
    }
}

impl PolicyMode {
    fn strictness(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Warn => 1,
            Self::Enforce => 2,
        }
    }

    /// As configuration has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}

/// The policies of a driver, and what they do not apply to.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    pub(crate) standing: Vec<Standing>,
    pub(crate) exemptions: Vec<Scoped>,
}

/// The policies of one build, and what came of asking them.
pub(crate) struct Policies {
    rules: Rules,
    /// Beginning of it, seconds since 1970.
    today: u64,
    facts: OnceLock<BuildFacts>,
    report: Mutex<PolicyReport>,
    sources: source::Sources,
    /// What was refused while a plugin asked for it, by the message that the plugin was given.
    denied: Mutex<Vec<(String, Vec<Diagnostic>)>>,
}

impl Policies {
    /// `now` in seconds since 1970.
    pub(crate) fn new(rules: Rules, noticed: &Noticed, now: i64) -> Self {
        const DAY: u64 = 86_400;
        let report = PolicyReport::of(&rules);
        let policies = Self {
            rules,
            today: u64::try_from(now).unwrap_or(0) / DAY * DAY,
            facts: OnceLock::new(),
            report: Mutex::new(report),
            sources: source::Sources::default(),
            denied: Mutex::default(),
        };
        policies.continue_from(noticed);
        policies
    }

    pub(crate) fn at(&self, point: Point) -> impl Iterator<Item = &Standing> {
        self.rules.standing.iter().filter(move |standing| standing.is_asked(point))
    }

    pub(crate) fn are_asked_at(&self, point: Point) -> bool {
        self.at(point).next().is_some()
    }

    /// Who the frontend is was not known until now.
    pub(crate) fn forget_facts(&mut self) {
        self.facts = OnceLock::new();
    }

    /// What stands for the policies at a point, their options and modes; empty where there are none.
    pub(crate) fn fingerprint(&self, point: Point) -> String {
        let line = |standing: &Standing| {
            let id = standing.policy.id();
            let (options, mode, codes) = (standing.policy.options(), standing.mode, &standing.codes);
            format!("\n{} {} {options:?} {mode:?} {codes:?}", id.name, id.digest)
        };
        self.at(point).map(line).collect()
    }

    pub(crate) fn report(&self) -> PolicyReport {
        lock(&self.report).clone()
    }
}

/// An answer with what the policy reported meanwhile, or, for want of an answer, the findings that this leads to.
type Asked<R> = Result<(R, Vec<Diagnostic>), Vec<Diagnostic>>;

impl Session<'_> {
    /// What all policies are told of this build.
    pub(crate) fn build_facts(&self) -> Result<&BuildFacts, BuildError> {
        if let Some(facts) = self.policies.facts.get() {
            return Ok(facts);
        }
        let request = self.request;
        let frontend =
            self.plugins.frontend_id(&self.choice.frontend).map_err(|error| self.not_planned(error))?;
        let pushed = request.outputs.iter().filter(|output| output.kind == OutputKind::Registry);
        let mut push_to: Vec<String> = pushed
            .flat_map(|output| output.names.iter().chain(&request.tags))
            .map(ToString::to_string)
            .collect();
        push_to.sort();
        push_to.dedup();
        let facts = BuildFacts {
            frontend: frontend.name,
            frontend_digest: frontend.digest.to_string(),
            target: request.frontend.target.clone(),
            platforms: request.frontend.platforms.clone(),
            build_args: request.frontend.build_args.clone(),
            allowed: request.allow.clone(),
            push_to,
            today: self.policies.today,
        };
        Ok(self.policies.facts.get_or_init(|| facts))
    }

    /// Puts one question to one policy.
    fn ask<R>(
        &self,
        standing: &Standing,
        question: impl FnOnce(&Policy, Asking<'_>) -> Result<R, PolicyError>,
    ) -> Result<Asked<R>, BuildError> {
        let facts = self.build_facts()?;
        let services = PolicyServices::new(self);
        let asking = Asking { facts, services: &services, cancel: self.cancel };
        match question(&standing.policy, asking) {
            _ if self.cancel.is_cancelled() => Err(BuildError::Cancelled),
            Ok(answer) => Ok(Ok((answer, services.reported()))),
            Err(PolicyError::Cancelled) => Err(BuildError::Cancelled),
            Err(error) => Ok(Err(weigh::undecided(standing, &error))),
        }
    }

    /// Keeps what was refused in an answer to a plugin, so that it is said where the plugin says that it failed.
    pub(crate) fn keep_denied(&self, message: &str, findings: &[Diagnostic]) {
        lock(&self.policies.denied).push((message.to_owned(), findings.to_vec()));
    }

    /// A policy refused what a plugin asked for.
    pub(crate) fn is_denied(&self) -> bool {
        !lock(&self.policies.denied).is_empty()
    }

    /// Whether this is what a plugin was answered when a policy refused something.
    pub(crate) fn is_denial(&self, message: &str) -> bool {
        lock(&self.policies.denied).iter().any(|(known, _)| known == message)
    }

    /// What a frontend finds wrong, with the findings of policies in place of what it says of them.
    pub(crate) fn with_denied(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let denied = std::mem::take(&mut *lock(&self.policies.denied));
        let mut told = Vec::new();
        let mut said = denied.is_empty();
        for diagnostic in found {
            let about = denied.iter().find(|(message, _)| diagnostic.message.contains(message));
            let Some((_, findings)) = about else {
                told.push(diagnostic);
                continue;
            };
            said = true;
            told.extend(findings.iter().map(|finding| Diagnostic {
                primary: finding.primary.clone().or_else(|| diagnostic.primary.clone()),
                ..finding.clone()
            }));
        }
        if !said {
            // The frontend has words of its own for it.
            told.extend(denied.into_iter().flat_map(|(_, findings)| findings));
        }
        told.dedup();
        told
    }
}
