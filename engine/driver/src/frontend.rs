//! Decides which frontend turns what was given into a plan: the one that the person names, that the build file asks for,
//! that the repository names, or that knows the directory.

use std::borrow::Cow;

use kiln_core::graph::ContextSource;
use kiln_core::seams::{HostError, Services};
use kiln_core::{Diagnostic, ImageRef, Position, Request, Severity, Span};
use kiln_plugin::{Confidence, Detection, FrontendChoice};

use crate::error::BuildError;
use crate::forms::lock;
use crate::outcome::Outcome;
use crate::plugins::{Origin, PluginSource, PluginUse};
use crate::session::Session;
use crate::syntax::{self, ARGUMENT, Asked};
use crate::views::MAX_BUILD_FILE_BYTES;

/// How much of a file is read to see what it asks for.
const HEAD_BYTES: usize = 64 << 10;

/// Why, when `kiln.toml` decides.
const BY_PROJECT: &str = "kiln.toml names it";

const UNKNOWN_SYNTAX: &str = "unknown-syntax";

/// Whom to ask, and for which file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) frontend: FrontendChoice,
    /// The build file that was found, for a frontend that would not look for it itself.
    file: Option<String>,
    /// Why this one, for people: what decided.
    pub(crate) reason: String,
}

impl Choice {
    fn named(name: &str, reason: impl Into<String>) -> Self {
        Self { frontend: FrontendChoice::Named(name.to_owned()), file: None, reason: reason.into() }
    }

    /// The frontend for Dockerfiles.
    fn usual(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }
}

impl Session<'_> {
    /// To be done before anything is asked. Loads the frontend that the build file asks for, if it may.
    ///
    /// # Errors
    ///
    /// When the build file asks for what is no frontend here, or there is nothing that any frontend takes on.
    pub(crate) fn choose_frontend(&mut self) -> Result<(), BuildError> {
        self.choice = self.chosen()?;
        self.policies.forget_facts();
        Ok(())
    }

    /// What the chosen frontend is asked.
    pub(crate) fn asked(&self) -> Cow<'_, Request> {
        match &self.choice.file {
            None => Cow::Borrowed(&self.request.frontend),
            Some(file) => Cow::Owned(Request { file: file.clone(), ..self.request.frontend.clone() }),
        }
    }

    /// The outcome, with the plugins that led to it.
    pub(crate) fn with_plugins(&self, outcome: Outcome) -> Outcome {
        let mut plugins: Vec<_> = lock(&self.used).values().cloned().collect();
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        Outcome { plugins, ..outcome }
    }

    fn chosen(&mut self) -> Result<Choice, BuildError> {
        let request = self.request;
        if let Some(name) = &request.frontend_name {
            return Ok(Choice::named(name, "`--frontend` names it"));
        }
        let argument = request.frontend.build_args.iter().rev().find(|(name, _)| name == ARGUMENT);
        let argument = argument.map(|(_, value)| syntax::first_word(value)).filter(|value| !value.is_empty());
        let is_given = !request.frontend.file.is_empty();
        if let (None, Some(name), false) = (argument, &request.project_frontend, is_given) {
            return Ok(Choice::named(name, BY_PROJECT));
        }
        let found = self.build_file();
        let asked = match (argument, &found) {
            (Some(reference), _) => Some((Asked { reference: reference.to_owned(), line: 0 }, None)),
            (None, Ok(Some((name, head)))) => syntax::asked(head).map(|asked| {
                let whole = Position { line: asked.line, column: 0 };
                let span = Span { file: name.clone(), start: whole, end: whole };
                (asked, Some(span))
            }),
            (None, _) => None,
        };
        if let Some((asked, at)) = asked {
            let reason = match &at {
                Some(at) => format!("line {} of `{}` asks for `{}`", at.start.line, at.file, asked.reference),
                None => format!("the build argument `{ARGUMENT}` asks for `{}`", asked.reference),
            };
            let Some(name) = self.by_reference(&asked.reference, at)? else {
                return Ok(Choice::usual(reason));
            };
            let file = found.ok().flatten().map(|(name, _)| name);
            return Ok(Choice { file, ..Choice::named(&name, reason) });
        }
        match (&request.project_frontend, found) {
            (Some(name), _) => Ok(Choice::named(name, BY_PROJECT)),
            // A context that cannot be had is the frontend's to say, which knows how.
            (None, Err(_)) => Ok(Choice::default()),
            (None, Ok(None)) if !is_given => self.recognised(),
            (None, Ok(Some((file, _)))) => Ok(Choice::usual(format!("`{file}` found"))),
            (None, Ok(None)) => Ok(Choice::usual("a build file is named, and no other frontend")),
        }
    }

    /// Name and beginning of the build file; nothing of one that cannot be read, which is the frontend's to say. An error
    /// when the place where it would be cannot be looked at.
    fn build_file(&self) -> Result<Option<(String, Vec<u8>)>, HostError> {
        let tree = self.open_build_file()?;
        let given = self.request.frontend.file.as_str();
        let names = if given.is_empty() { &syntax::FILES[..] } else { &[given][..] };
        for name in names {
            match tree.read(name, 0, HEAD_BYTES) {
                Ok(head) if head.len() == HEAD_BYTES && syntax::is_json(&head) => {
                    let whole = tree.read(name, 0, MAX_BUILD_FILE_BYTES as usize).unwrap_or(head);
                    return Ok(Some(((*name).to_owned(), whole)));
                }
                Ok(head) => return Ok(Some(((*name).to_owned(), head))),
                Err(error) if error.code == "not-found" => {}
                Err(_) => return Ok(Some(((*name).to_owned(), Vec::new()))),
            }
        }
        Ok(None)
    }

    /// The frontend that a name in a build file, or in the build argument for it, means. `None` is kiln's own.
    fn by_reference(&mut self, reference: &str, at: Option<Span>) -> Result<Option<String>, BuildError> {
        if syntax::is_own(reference) {
            return Ok(None);
        }
        let asks = match at {
            Some(_) => "the file asks".to_owned(),
            None => format!("the build argument `{ARGUMENT}` asks"),
        };
        let refuse = |why: &str, help: &str| {
            let message = format!("{asks} for the frontend `{reference}`, {why}");
            let more = match at {
                Some(_) => "if it is an ordinary Dockerfile, remove the line",
                None => "leave it out to read the file as a Dockerfile",
            };
            let error = Diagnostic::error(UNKNOWN_SYNTAX, message).at(at.clone());
            BuildError::wrong(error.help(format!("{more}\n{help}")))
        };
        if let Some(is_frontend) = self.plugins.is_frontend(reference) {
            return match is_frontend {
                true => Ok(Some(reference.to_owned())),
                false => Err(refuse("which is a plugin of another kind", "name a frontend")),
            };
        }
        let load = format!("to load it, say `--plugin oci://{reference}`");
        let Ok(image) = ImageRef::parse(reference) else {
            return Err(refuse(
                "which is neither a plugin of this build nor the name of one",
                "load it with `--plugin FILE`",
            ));
        };
        if let Some(name) = self.driver.plugin_from(&image.clone().or_latest()) {
            return match self.plugins.is_frontend(&name) {
                Some(true) => Ok(Some(name)),
                _ => Err(refuse("which is a plugin of another kind", "name a frontend")),
            };
        }
        if !self.driver.may_be_named(&image)? {
            return Err(refuse(
                "which nobody but the file vouches for",
                &format!(
                    "{load}, pin it in the file with `@sha256:…`, or allow it in the configuration: [syntax] allow"
                ),
            ));
        }
        let wanted = PluginUse::new(PluginSource::Registry(reference.to_owned()), Origin::BuildFile);
        let name = self.driver.add_plugin(&wanted).map_err(|error| match error {
            BuildError::Wrong(diagnostics) => BuildError::Wrong(
                diagnostics.into_iter().map(|found| placed(found, at.clone(), reference)).collect(),
            ),
            error => error,
        })?;
        self.plugins = self.driver.host();
        // It may have rules of its own: those of everybody else stay.
        self.policies.renew(self.driver.rules(), &lock(&self.driver.noticed));
        self.show_noticed();
        match self.plugins.is_frontend(&name) {
            Some(true) => Ok(Some(name)),
            _ => Err(refuse("which is a plugin of another kind", "name a frontend")),
        }
    }

    /// The frontend that knows a directory without a build file.
    fn recognised(&self) -> Result<Choice, BuildError> {
        let source = ContextSource { name: String::new(), ignore: None };
        let Ok(context) = self.open_context(&source) else { return Ok(Choice::default()) };
        let found = self.plugins.detect(&context, self.cancel).map_err(|error| self.not_planned(error))?;
        let best = found.first().map_or(Confidence::No, |surest| surest.confidence);
        let surest: Vec<_> = found.iter().take_while(|one| one.confidence == best).collect();
        match (&surest[..], best) {
            ([one, ..], Confidence::Certain) if one.is_standard => {
                Ok(Choice::named(&one.frontend, &one.reason))
            }
            ([one], Confidence::Likely | Confidence::Certain) => {
                Ok(Choice::named(&one.frontend, &one.reason))
            }
            (several, Confidence::Likely | Confidence::Certain) => Err(undecided(several)),
            _ => Err(nobodys(&found)),
        }
    }
}

/// What was said of a plugin that a file asks for, said of the place where it does.
fn placed(found: Diagnostic, at: Option<Span>, reference: &str) -> Diagnostic {
    let help = match found.help.is_empty() {
        true => format!("if it is an ordinary Dockerfile, remove the line that asks for `{reference}`"),
        false => found.help.clone(),
    };
    Diagnostic { severity: Severity::Error, code: UNKNOWN_SYNTAX.to_owned(), ..found }.at(at).help(help)
}

fn undecided(surest: &[&Detection]) -> BuildError {
    let names: Vec<_> = surest.iter().map(|one| format!("`{}`", one.frontend)).collect();
    let reasons: Vec<_> = surest.iter().map(|one| format!("`{}`: {}", one.frontend, one.reason)).collect();
    let choose = format!("choose one: `--frontend {}`", surest[0].frontend);
    BuildError::wrong(
        Diagnostic::error(
            "several-frontends",
            format!(
                "there is no build file, and {} are equally sure that the directory is theirs",
                names.join(" and ")
            ),
        )
        .help(format!("{choose}\n{}", reasons.join("\n"))),
    )
}

fn nobodys(found: &[Detection]) -> BuildError {
    let mut listed: Vec<&Detection> = found.iter().collect();
    // What users expect comes first.
    listed.sort_by_key(|one| !one.is_standard);
    let said = listed.into_iter().map(|one| match one.confidence {
        Confidence::Possible => {
            format!(
                "`{0}`: {1}; it would build this if asked, with `--frontend {0}`",
                one.frontend, one.reason
            )
        }
        _ => format!("`{}`: {}", one.frontend, one.reason),
    });
    let mut lines: Vec<String> = said.collect();
    lines.push(
        "name a file with `-f`, or the directory that holds the project as the build context".to_owned(),
    );
    BuildError::wrong(
        Diagnostic::error("no-build-file", "there is no build file, and no frontend knows this directory")
            .help(lines.join("\n")),
    )
}
