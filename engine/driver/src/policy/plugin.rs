//! Plugins as sources: before one is fetched, the policies that are there already are asked whether it may be, and from
//! where. There is no build yet: they are told of one that asks for nothing.

use std::sync::{Mutex, PoisonError};

use kiln_core::graph::ImageSource;
use kiln_core::{BlobDigest, Cancel, Diagnostic, Digest, Event, EventSink};
use kiln_plugin::Point;

use super::{Policies, PolicyReport, Rules};
use crate::Driver;
use crate::artifact::FoundPlugin;
use crate::error::BuildError;
use crate::forms::lock;
use crate::outcome::SourceTexts;
use crate::request::BuildRequest;
use crate::session::Session;

/// What was said of plugins, for the build that they are loaded for.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    report: PolicyReport,
    told: Vec<Diagnostic>,
}

/// Keeps findings.
#[derive(Default)]
struct Kept(Mutex<Vec<Diagnostic>>);

impl EventSink for Kept {
    fn emit(&self, event: Event) {
        if let Event::Diagnostic(diagnostic) = event {
            lock(&self.0).push(diagnostic);
        }
    }
}

impl Driver {
    /// The plugin that `reference` names, or that policies have used in its place.
    ///
    /// # Errors
    ///
    /// [`BuildError::Wrong`] when a policy denies it; as [`Driver::find_plugin`].
    pub(crate) fn judged_plugin(
        &self,
        reference: &str,
        digest: Option<Digest>,
    ) -> Result<FoundPlugin, BuildError> {
        let (request, sources, kept) = (BuildRequest::nothing(), SourceTexts::default(), Kept::default());
        let cancel = Cancel::default();
        let session = Session::new(self, &request, &sources, &kept, &cancel);
        if !session.policies.are_asked_at(Point::Source) {
            return self.find_plugin(reference, digest);
        }
        let asked = ImageSource { reference: reference.to_owned(), pinned: digest.map(BlobDigest) };
        let found = session.judge_plugin(&asked, |source| {
            // A digest that the person gave may be the component's; one that a policy names is the manifest's.
            let text = match source.pinned {
                Some(pin) if *source != asked && !source.reference.contains('@') => {
                    format!("{}@{pin}", source.reference)
                }
                _ => source.reference.clone(),
            };
            self.find_plugin(&text, digest)
        })?;
        let mut noticed = lock(&self.noticed);
        noticed.report = session.policies.report();
        noticed.told.append(&mut lock(&kept.0));
        Ok(found)
    }
}

impl Policies {
    /// Takes over what was found before there was a build.
    pub(super) fn continue_from(&self, noticed: &Noticed) {
        let mut report = lock(&self.report);
        report.findings.clone_from(&noticed.report.findings);
        report.exemptions.clone_from(&noticed.report.exemptions);
    }

    /// Takes in the rules of a plugin that was loaded for this build after it began, and what was said of that plugin.
    pub(crate) fn renew(&mut self, rules: Rules, noticed: &Noticed) {
        let report = self.report.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut renewed = PolicyReport::of(&rules);
        renewed.findings = std::mem::take(&mut report.findings);
        renewed.exemptions = std::mem::take(&mut report.exemptions);
        for finding in &noticed.report.findings {
            renewed.add(finding.clone());
        }
        for used in &noticed.report.exemptions {
            if renewed.exemptions.iter().all(|known| known.exemption != used.exemption) {
                renewed.exemptions.push(used.clone());
            }
        }
        *report = renewed;
        self.rules = rules;
    }
}

impl Session<'_> {
    /// Shows what was found while plugins were loaded, once.
    pub(crate) fn show_noticed(&self) {
        let told = std::mem::take(&mut lock(&self.driver.noticed).told);
        self.show(told);
    }
}
