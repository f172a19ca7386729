//! Questions about a build file that are answered without building (Dockerfile specification §22).

use std::collections::BTreeSet;

use kiln_core::{Cancel, Diagnostic, EventSink, Severity};
use kiln_plugin::{Outline, PlanError, Rule, TargetInfo};

use crate::Driver;
use crate::error::BuildError;
use crate::outcome::SourceTexts;
use crate::request::BuildRequest;
use crate::session::Session;

/// What is wrong with a build file, and what could be better.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Violations of rules that people are expected to keep, by place.
    pub violations: Vec<Finding>,
    /// What else was noticed; it makes no file bad.
    pub notes: Vec<Diagnostic>,
    /// Why the file cannot be built at all.
    pub errors: Vec<Diagnostic>,
    /// Of the errors at least one is that something outside, such as a registry, said no.
    pub refused: bool,
}

/// A violation of a rule.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Name of the rule; of a plugin that does not ship with kiln with the plugin's name and `/` before it.
    pub rule: String,
    /// A sentence about the rule; empty when the plugin says none.
    pub description: String,
    pub diagnostic: Diagnostic,
}

impl Driver {
    /// Looks for problems in the whole build file, or in what the target of the request needs.
    ///
    /// # Errors
    ///
    /// When no answer could be had. That the file is wrong is an answer.
    pub fn check(
        &self,
        request: &BuildRequest,
        sources: &SourceTexts,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Check, BuildError> {
        let mut session = Session::new(self, request, sources, events, cancel);
        session.choose_frontend()?;
        let mut found = session
            .while_asking(|| {
                session.plugins.check(&session.choice.frontend, &session.asked(), &session, cancel)
            })
            .map_err(|error| session.not_planned(error))?;
        found.sort_by_key(|diagnostic| {
            diagnostic.primary.as_ref().map(|at| (at.file.clone(), at.start.line, at.start.column))
        });
        let plugins = session
            .plugins
            .plugins()
            .map_err(|error| BuildError::world("could not look into a plugin", error))?;
        let builtin: BTreeSet<&str> =
            plugins.iter().filter(|plugin| plugin.builtin).map(|plugin| plugin.name.as_str()).collect();
        let mut check = Check { refused: session.refused(), ..Check::default() };
        for diagnostic in found {
            let (plugin, code) = diagnostic.code.split_once('/').unwrap_or(("", &diagnostic.code));
            // Rules of the shipped plugins that are not explained anywhere are advice of kiln's own, which no other
            // builder gives: files that are good elsewhere are good here.
            let ours = builtin.contains(plugin);
            match diagnostic.severity {
                Severity::Error => check.errors.push(diagnostic),
                Severity::Warning if !ours || !diagnostic.url.is_empty() => {
                    let rule = if ours { code.to_owned() } else { diagnostic.code.clone() };
                    let rules =
                        plugins.iter().filter(|known| known.name == plugin).flat_map(|known| &known.rules);
                    let known = rules.into_iter().find(|rule: &&Rule| rule.code == code);
                    let description = known.map(|rule| rule.summary.clone()).unwrap_or_default();
                    check.violations.push(Finding { rule, description, diagnostic });
                }
                _ => check.notes.push(diagnostic),
            }
        }
        Ok(check)
    }

    /// What can be built.
    ///
    /// # Errors
    ///
    /// When the file is wrong, or no answer could be had.
    pub fn targets(
        &self,
        request: &BuildRequest,
        sources: &SourceTexts,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Vec<TargetInfo>, BuildError> {
        let mut session = Session::new(self, request, sources, events, cancel);
        session.choose_frontend()?;
        let answer = session.while_asking(|| {
            session.plugins.targets(&session.choice.frontend, &session.asked(), &session, cancel)
        });
        session.told(answer, "targets")
    }

    /// What the target of the request can be given, and what it needs.
    ///
    /// # Errors
    ///
    /// As [`Self::targets`].
    pub fn outline(
        &self,
        request: &BuildRequest,
        sources: &SourceTexts,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Outline, BuildError> {
        let mut session = Session::new(self, request, sources, events, cancel);
        session.choose_frontend()?;
        let answer = session.while_asking(|| {
            session.plugins.outline(&session.choice.frontend, &session.asked(), &session, cancel)
        });
        let mut outline = session.told(answer, "outline")?;
        outline.parameters.sort_by_key(|argument| argument.at.as_ref().map(|at| at.start.line));
        Ok(outline)
    }
}

impl Session<'_> {
    fn told<T>(&self, answer: Result<Option<T>, PlanError>, what: &str) -> Result<T, BuildError> {
        answer.map_err(|error| self.not_planned(error))?.ok_or_else(|| {
            BuildError::wrong(
                Diagnostic::error("no-answer", format!("the frontend of this build file tells no {what}"))
                    .help("`--call=build` builds it all the same"),
            )
        })
    }
}
