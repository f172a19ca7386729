//! Plugins as sources: before one is fetched, the policies that are there already are asked whether it may be, and from
//! where. There is no build yet: they are told of one that asks for nothing.

use std::sync::Mutex;

use kiln_core::graph::ImageSource;
use kiln_core::{BlobDigest, Cancel, Diagnostic, Digest, Event, EventSink};
use kiln_plugin::Point;

use super::{Policies, PolicyReport};
use crate::Driver;
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
    /// The reference from which a plugin may be fetched in place of `reference`, which may be itself.
    ///
    /// # Errors
    ///
    /// [`BuildError::Wrong`] when a policy denies it.
    pub(crate) fn judged_plugin(
        &self,
        reference: &str,
        digest: Option<Digest>,
    ) -> Result<String, BuildError> {
        let (request, sources, kept) = (BuildRequest::nothing(), SourceTexts::default(), Kept::default());
        let cancel = Cancel::default();
        let session = Session::new(self, &request, &sources, &kept, &cancel);
        if !session.policies.are_asked_at(Point::Source) {
            return Ok(reference.to_owned());
        }
        let asked = ImageSource { reference: reference.to_owned(), pinned: digest.map(BlobDigest) };
        let judged = session.judge_plugin(&asked)?;
        let mut noticed = lock(&self.noticed);
        noticed.report = session.policies.report();
        noticed.told.append(&mut lock(&kept.0));
        Ok(match judged.pinned {
            Some(pin) if judged != asked && !judged.reference.contains('@') => {
                format!("{}@{pin}", judged.reference)
            }
            _ => judged.reference,
        })
    }
}

impl Policies {
    /// Takes over what was found before there was a build.
    pub(super) fn continue_from(&self, noticed: &Noticed) {
        let mut report = lock(&self.report);
        report.findings.clone_from(&noticed.report.findings);
        report.exemptions.clone_from(&noticed.report.exemptions);
    }
}

impl Session<'_> {
    /// Shows what was found while plugins were loaded, once.
    pub(crate) fn show_noticed(&self) {
        let told = std::mem::take(&mut lock(&self.driver.noticed).told);
        self.show(told);
    }
}
