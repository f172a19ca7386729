//! Point 1: whether something from elsewhere may be used, and as what.
//!
//! What is asked about is what somebody wrote, and what is used in the end is what the last policy made of it: the
//! answers to plugins, the graph, keys and the history of bases all speak of that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kiln_core::graph::{ContextSource, GitSource, HttpSource, ImageSource};
use kiln_core::seams::{HostError, ImageRequest};
use kiln_core::{Diagnostic, ImageRef, Platform, Span, Target};
use kiln_oci::web::without_credentials;
use kiln_plugin::{FoundSource, Point, PolicySource, SourceCheck};

use super::weigh::Weighed;
use super::{PolicyMode, Standing};
use crate::artifact::FoundPlugin;
use crate::error::BuildError;
use crate::forms::lock;
use crate::session::Session;
use crate::source::image::PinnedImage;
use crate::source::remote::RemoteError;

/// How often one source may be rewritten.
const MOST_ROUNDS: u32 = 8;

/// What was judged in this build.
#[derive(Default)]
pub(crate) struct Sources {
    images: Mutex<Vec<Arc<JudgedImage>>>,
    /// By what was asked; what is used, and nothing for a context.
    others: Mutex<HashMap<String, Option<PolicySource>>>,
}

/// An image that may be used.
pub(crate) struct JudgedImage {
    /// In full, as it was asked for.
    asked: ImageRef,
    platform: Option<Platform>,
    pub(crate) image: Arc<PinnedImage>,
    /// Another one than was asked for.
    pub(crate) is_rewritten: bool,
    /// Findings that wait to be shown with a place.
    waiting: Mutex<Vec<Diagnostic>>,
}

/// Why a source is not used.
pub(crate) enum NotUsed<E> {
    Denied(Vec<Diagnostic>),
    NotFound(E),
    /// No policy could be asked.
    Failed(BuildError),
}

impl<E> From<BuildError> for NotUsed<E> {
    fn from(error: BuildError) -> Self {
        Self::Failed(error)
    }
}

/// A source that may be used.
struct Settled<T> {
    found: T,
    source: PolicySource,
    rewritten: bool,
    told: Vec<Diagnostic>,
}

/// The verdict of all policies on one question.
enum Verdict {
    Use(Vec<Diagnostic>),
    Rewrite(PolicySource, Vec<Diagnostic>),
    Deny(Vec<Diagnostic>),
}

/// What is asked, without who is asked.
#[derive(Clone, Copy)]
struct Question<'a> {
    platform: Option<&'a Platform>,
    spans: &'a [Span],
}

impl Session<'_> {
    /// The image that a request may have, judged once per build.
    pub(crate) fn judged_image(
        &self,
        request: &ImageRequest,
        spans: &[Span],
    ) -> Result<Arc<JudgedImage>, NotUsed<HostError>> {
        let asked = ImageRef::parse(&request.source.reference)
            .map_err(|error| NotUsed::NotFound(HostError::new("invalid-argument", error.to_string())))?
            .or_latest();
        let known =
            lock(&self.policies.sources.images).iter().find(|known| known.serves(&asked, request)).cloned();
        let judged = match known {
            Some(known) => known,
            None => {
                let question = Question { platform: request.platform.as_ref(), spans };
                let settled =
                    self.settle_source(PolicySource::Image(request.source.clone()), question, |source| {
                        let PolicySource::Image(source) = source else {
                            unreachable!("a rewritten source stays of its kind")
                        };
                        let request =
                            ImageRequest { source: source.clone(), platform: request.platform.clone() };
                        let image = self.find_pinned(&request)?;
                        let found = FoundSource { pin: image.digest.to_string(), image: Some(image.info()) };
                        Ok((image, found))
                    })?;
                let judged = Arc::new(JudgedImage {
                    asked,
                    platform: request.platform.clone(),
                    image: settled.found,
                    is_rewritten: settled.rewritten,
                    waiting: Mutex::new(settled.told),
                });
                lock(&self.policies.sources.images).push(judged.clone());
                judged
            }
        };
        if !spans.is_empty() {
            let waiting = std::mem::take(&mut *lock(&judged.waiting));
            let placed = |finding: Diagnostic| {
                let primary = finding.primary.clone().or_else(|| spans.first().cloned());
                Diagnostic { primary, ..finding }
            };
            self.show(waiting.into_iter().map(placed).collect());
        }
        Ok(judged)
    }

    /// The git source to use in place of `source`, which may be itself.
    pub(crate) fn judged_git(&self, source: &GitSource, spans: &[Span]) -> Result<GitSource, RemoteError> {
        let judged = self.judged_other(PolicySource::Git(source.clone()), spans, |source| {
            let PolicySource::Git(source) = source else {
                unreachable!("a rewritten source stays of its kind")
            };
            Ok(FoundSource { pin: self.commit_id(source)?, image: None })
        })?;
        match judged {
            Some(PolicySource::Git(judged)) => Ok(judged),
            _ => Ok(source.clone()),
        }
    }

    /// The download to use in place of `source`, which may be itself.
    pub(crate) fn judged_http(&self, source: &HttpSource, spans: &[Span]) -> Result<HttpSource, RemoteError> {
        let judged = self.judged_other(PolicySource::Http(source.clone()), spans, |source| {
            let PolicySource::Http(source) = source else {
                unreachable!("a rewritten source stays of its kind")
            };
            let digest = match &source.checksum {
                Some(checksum) => checksum.clone(),
                None => self.download(&source.url, None)?.digest.to_string(),
            };
            Ok(FoundSource { pin: digest, image: None })
        })?;
        match judged {
            Some(PolicySource::Http(judged)) => Ok(judged),
            _ => Ok(source.clone()),
        }
    }

    /// The address to use in place of `url`.
    pub(crate) fn judged_url(&self, url: &str) -> Result<HttpSource, RemoteError> {
        let source = HttpSource { url: url.to_owned(), checksum: None, filename: String::new() };
        self.judged_http(&source, &[])
    }

    /// Whether a context may be opened.
    pub(crate) fn judge_context(&self, source: &ContextSource, spans: &[Span]) -> Result<(), BuildError> {
        if !self.policies.are_asked_at(Point::Source) {
            return Ok(());
        }
        let key = format!("context {source:?}");
        if lock(&self.policies.sources.others).contains_key(&key) {
            return Ok(());
        }
        let asked = PolicySource::Context(source.clone());
        match self.ask_about(&asked, Question { platform: None, spans }, 0, None)? {
            Verdict::Use(told) => self.show(told),
            Verdict::Rewrite(..) => {
                let name = if source.name.is_empty() { "context" } else { &source.name };
                return Err(BuildError::wrong(Diagnostic::error(
                    "policy-rewrite",
                    format!(
                        "a policy names another context in place of `{name}`, and a context is what the person gave"
                    ),
                )));
            }
            Verdict::Deny(denied) => {
                self.keep_denied(&first_message(&denied), &denied);
                return Err(BuildError::Wrong(denied));
            }
        }
        lock(&self.policies.sources.others).insert(key, None);
        Ok(())
    }

    /// The plugin that may be used for `source`, if policies let one. `find` fetches what a source names.
    pub(super) fn judge_plugin(
        &self,
        source: &ImageSource,
        find: impl Fn(&ImageSource) -> Result<FoundPlugin, BuildError>,
    ) -> Result<FoundPlugin, BuildError> {
        let settled = self.settle_source(
            PolicySource::Plugin(source.clone()),
            Question { platform: None, spans: &[] },
            |source| {
                let PolicySource::Plugin(source) = source else {
                    unreachable!("a rewritten source stays of its kind")
                };
                let plugin = find(source)?;
                let pin = plugin.artifact.manifest.to_string();
                Ok((plugin, FoundSource { pin, image: None }))
            },
        );
        match settled {
            Ok(settled) => {
                self.show(settled.told);
                Ok(settled.found)
            }
            Err(NotUsed::Denied(denied)) => Err(BuildError::Wrong(denied)),
            Err(NotUsed::NotFound(error) | NotUsed::Failed(error)) => Err(error),
        }
    }

    /// The names under which targets know their bases, where those are others than were asked for.
    pub(crate) fn name_bases(&self, targets: &mut [Target]) {
        let judged = lock(&self.policies.sources.images);
        for target in targets {
            let rewritten = judged.iter().filter(|judged| judged.is_rewritten).find(|judged| {
                let digests = [Some(judged.image.digest), judged.image.index];
                digests.iter().flatten().any(|digest| digest.to_string() == target.base_digest)
                    && judged.asked.to_string() == target.base_name
            });
            if let Some(judged) = rewritten {
                target.base_name = ImageRef { digest: None, ..judged.image.reference.clone() }.to_string();
            }
        }
    }

    /// Shows what no place was found for.
    pub(crate) fn show_waiting(&self) {
        let judged = lock(&self.policies.sources.images).clone();
        for image in judged {
            let waiting = std::mem::take(&mut *lock(&image.waiting));
            self.show(waiting);
        }
    }

    fn judged_other(
        &self,
        source: PolicySource,
        spans: &[Span],
        find: impl Fn(&PolicySource) -> Result<FoundSource, RemoteError>,
    ) -> Result<Option<PolicySource>, RemoteError> {
        if !self.policies.are_asked_at(Point::Source) {
            return Ok(None);
        }
        let key = format!("{source:?}");
        if let Some(known) = lock(&self.policies.sources.others).get(&key) {
            return Ok(known.clone());
        }
        let settled =
            self.settle_source(source, Question { platform: None, spans }, |source| Ok(((), find(source)?)));
        match settled {
            Ok(settled) => {
                self.show(settled.told);
                let used = Some(settled.source);
                lock(&self.policies.sources.others).insert(key, used.clone());
                Ok(used)
            }
            Err(NotUsed::Denied(denied)) => {
                self.keep_denied(&first_message(&denied), &denied);
                Err(BuildError::Wrong(denied).into())
            }
            Err(NotUsed::NotFound(error)) => Err(error),
            Err(NotUsed::Failed(error)) => Err(error.into()),
        }
    }

    /// Asks until no policy wants another source: each time before it is contacted, and again when `find` has said what
    /// it is.
    fn settle_source<T, E>(
        &self,
        source: PolicySource,
        question: Question<'_>,
        find: impl Fn(&PolicySource) -> Result<(T, FoundSource), E>,
    ) -> Result<Settled<T>, NotUsed<E>> {
        let asked = source.clone();
        let mut current = source;
        let mut told = Vec::new();
        for round in 0..=MOST_ROUNDS {
            let next = match self.ask_about(&current, question, round, None)? {
                Verdict::Deny(denied) => return Err(NotUsed::Denied(denied)),
                Verdict::Rewrite(next, more) => (next, more),
                Verdict::Use(more) => {
                    told.extend(more);
                    let (found, facts) = find(&current).map_err(NotUsed::NotFound)?;
                    match self.ask_about(&current, question, round, Some(facts))? {
                        Verdict::Deny(denied) => return Err(NotUsed::Denied(denied)),
                        Verdict::Rewrite(next, more) => (next, more),
                        Verdict::Use(more) => {
                            told.extend(more);
                            let rewritten = current != asked;
                            return Ok(Settled { found, source: current, rewritten, told });
                        }
                    }
                }
            };
            current = next.0;
            told.extend(next.1);
        }
        let what = shown(&asked);
        Err(NotUsed::Denied(vec![
            Diagnostic::error(
                "policy-rewrite",
                format!(
                    "policies rewrote `{what}` {MOST_ROUNDS} times and were not done; it was `{}` then",
                    shown(&current)
                ),
            )
            .at(question.spans.first().cloned())
            .help("a policy that rewrites a source has to leave its own answer as it is"),
        ]))
    }

    fn ask_about(
        &self,
        source: &PolicySource,
        question: Question<'_>,
        round: u32,
        found: Option<FoundSource>,
    ) -> Result<Verdict, BuildError> {
        let check = SourceCheck {
            source: source.clone(),
            platform: question.platform.cloned(),
            spans: question.spans.to_vec(),
            round,
            found,
        };
        let things = names(source);
        let mut weighed = Weighed::default();
        let mut rewritten: Option<(&Standing, PolicySource)> = None;
        for standing in self.policies.at(Point::Source) {
            let (rewrite, findings) =
                match self.ask(standing, |policy, asking| policy.check_source(asking, &check))? {
                    Ok((verdict, mut reported)) => {
                        reported.extend(verdict.diagnostics);
                        (verdict.rewrite.filter(|rewrite| rewrite != source), reported)
                    }
                    Err(undecided) => (None, undecided),
                };
            let place = question.spans.first();
            let findings = findings
                .into_iter()
                .map(|finding| Diagnostic {
                    primary: finding.primary.clone().or_else(|| place.cloned()),
                    ..finding
                })
                .collect();
            weighed.join(self.weigh(standing, Point::Source, findings, &things));
            let Some(rewrite) = rewrite else { continue };
            if standing.mode != PolicyMode::Enforce {
                let note = format!(
                    "the policy `{}` would use `{}` in place of `{}`",
                    standing.name(),
                    shown(&rewrite),
                    shown(source)
                );
                let code = format!("{}/would-rewrite", standing.name());
                weighed.join(self.weigh(
                    standing,
                    Point::Source,
                    vec![Diagnostic::warning(&code, note)],
                    &things,
                ));
                continue;
            }
            match &rewritten {
                Some((other, known)) if *known != rewrite => {
                    weighed.denied.push(
                        Diagnostic::error(
                            "policy-conflict",
                            format!(
                                "the policies `{}` and `{}` rewrite `{}` differently: to `{}` and to `{}`",
                                other.name(),
                                standing.name(),
                                shown(source),
                                shown(known),
                                shown(&rewrite)
                            ),
                        )
                        .at(place.cloned()),
                    );
                }
                _ => rewritten = Some((standing, rewrite)),
            }
        }
        Ok(match rewritten {
            _ if !weighed.denied.is_empty() => Verdict::Deny(weighed.denied),
            Some((_, source)) => Verdict::Rewrite(source, weighed.told),
            None => Verdict::Use(weighed.told),
        })
    }
}

impl JudgedImage {
    /// The same was asked; in a graph, it is what a plugin was told of the same name.
    fn serves(&self, asked: &ImageRef, request: &ImageRequest) -> bool {
        self.asked == *asked
            && match request.source.pinned {
                Some(pinned) => self.image.digest == pinned,
                None => self.platform == request.platform,
            }
    }
}

/// What a plugin is told of a refusal.
pub(crate) fn first_message(denied: &[Diagnostic]) -> String {
    denied.first().map(|finding| finding.message.clone()).unwrap_or_default()
}

/// A source as a message names it.
fn shown(source: &PolicySource) -> String {
    match source {
        PolicySource::Image(image) | PolicySource::Plugin(image) => match image.pinned {
            Some(digest) if !image.reference.contains('@') => format!("{}@{digest}", image.reference),
            _ => image.reference.clone(),
        },
        PolicySource::Context(context) if context.name.is_empty() => "context".to_owned(),
        PolicySource::Context(context) => context.name.clone(),
        PolicySource::Git(git) => {
            let url = without_credentials(&git.url);
            let reference = if git.commit.is_empty() { &git.reference } else { &git.commit };
            if reference.is_empty() { url } else { format!("{url}#{reference}") }
        }
        PolicySource::Http(http) => without_credentials(&http.url),
    }
}

/// The names by which an exemption may know a source.
fn names(source: &PolicySource) -> Vec<String> {
    let mut names = vec![shown(source)];
    match source {
        PolicySource::Image(image) | PolicySource::Plugin(image) => {
            names.push(image.reference.clone());
            names.extend(ImageRef::parse(&image.reference).map(|full| full.or_latest().to_string()));
        }
        PolicySource::Git(git) => names.push(without_credentials(&git.url)),
        PolicySource::Context(_) | PolicySource::Http(_) => {}
    }
    names.dedup();
    names
}
