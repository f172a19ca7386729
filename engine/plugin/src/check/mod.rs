//! Tells an author what is wrong with a plugin before a build does: asks every hook the same question twice, and plans the
//! examples that the plugin describes itself with.

mod samples;
mod world;

use std::path::Path;

use kiln_core::{Cancel, Diagnostic, Plan, Platform, Request, Severity};

use crate::ask::FrontendChoice;
use crate::error::PlanError;
use crate::grants::Grant;
use crate::plugins::{Addition, Host, read_component};
use crate::record::{Ending, HOOKS, Rehearsal, RehearsalError, Reply};
use crate::summary::PluginSummary;

use world::{BUILD_FILE, World};

/// What was looked at, and what is wrong.
#[derive(Clone, Debug)]
pub struct CheckReport {
    pub summary: PluginSummary,
    /// A subject and what was seen of it, in order.
    pub seen: Vec<(String, String)>,
    /// Nothing among them below a warning.
    pub findings: Vec<Diagnostic>,
}

/// Of a limit; above, a build that is a little larger than the sample would meet it.
const MUCH: u64 = 2;

impl Host {
    /// Checks a plugin in a file, which takes part in nothing.
    ///
    /// # Errors
    ///
    /// When the file is no plugin, or nobody waits any more. A plugin that fails when it is asked is a finding.
    pub fn check_plugin(&self, file: &Path, cancel: &Cancel) -> Result<CheckReport, RehearsalError> {
        let rehearsal = self.rehearse(file)?;
        let summary = rehearsal.summary().clone();
        let mut check =
            Check { host: self, rehearsal: &rehearsal, cancel, seen: Vec::new(), findings: Vec::new() };
        check.describe();
        check.hooks()?;
        check.examples(file)?;
        let Check { seen, findings, .. } = check;
        Ok(CheckReport { summary, seen, findings })
    }
}

struct Check<'a> {
    host: &'a Host,
    rehearsal: &'a Rehearsal,
    cancel: &'a Cancel,
    seen: Vec<(String, String)>,
    findings: Vec<Diagnostic>,
}

impl Check<'_> {
    fn see(&mut self, subject: &str, what: impl Into<String>) {
        self.seen.push((subject.to_owned(), what.into()));
    }

    fn error(&mut self, code: &str, message: String, help: &str) {
        self.findings.push(Diagnostic::error(code, message).help(help));
    }

    fn warning(&mut self, code: &str, message: String, help: &str) {
        self.findings.push(Diagnostic::warning(code, message).help(help));
    }

    /// What it says about itself, as far as it can be judged without calling anything else.
    fn describe(&mut self) {
        let summary = self.rehearsal.summary().clone();
        if summary.version.is_empty() {
            self.error("no-version", "it has no version".to_owned(), "fill `version` in `describe`");
        }
        if summary.summary.trim().is_empty() || summary.summary.contains('\n') {
            let message = "its summary is not one line".to_owned();
            self.warning("summary", message, "lists show it beside the name");
        }
        let mut codes = std::collections::BTreeSet::new();
        for rule in &summary.rules {
            if !is_code(&rule.code) {
                let message =
                    format!("the rule `{}` has a code that cannot be written in a build file", rule.code);
                self.error("rule-code", message, "use letters, digits and `-`");
            } else if !codes.insert(rule.code.clone()) {
                let message = format!("two rules are called `{}`", rule.code);
                self.error("rule-code", message, "people silence findings by this name");
            }
            if rule.summary.trim().is_empty() {
                let message = format!("the rule `{}` says nothing about itself", rule.code);
                self.warning("rule-summary", message, "one line for the documentation");
            }
        }
        let mut names = std::collections::BTreeSet::new();
        for option in &summary.options {
            if !is_code(&option.name) || !names.insert(option.name.clone()) {
                let message =
                    format!("the option `{}` has a name that is taken or cannot be written", option.name);
                self.error("option-name", message, "use letters, digits and `-`, each name once");
            }
            if option.required && !option.preset.is_empty() {
                let message = format!("the option `{}` is required and has a preset", option.name);
                self.warning("option-required", message, "with a preset nobody has to set it");
            }
            if !option.preset.is_empty()
                && !option.choices.is_empty()
                && !option.choices.contains(&option.preset)
            {
                let message = format!("the preset of the option `{}` is none of its choices", option.name);
                self.error("option-preset", message, "choose one of its choices");
            }
        }
        for keyword in &summary.keywords {
            if !keyword.usage.starts_with(&keyword.keyword) {
                let message = format!("the usage of `{}` does not begin with it", keyword.keyword);
                self.warning("usage", message, "messages show it as what to write");
            }
        }
        let count = |what: &str, count: usize| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut about = vec![count("rule", summary.rules.len()), count("option", summary.options.len())];
        about.push(count("example", summary.examples.len()));
        if !summary.keywords.is_empty() {
            about.push(count("instruction", summary.keywords.len()));
        }
        self.see("describe", about.join(", "));
    }

    /// Every hook twice. It may refuse what it is asked, and has to do so in the same words again.
    fn hooks(&mut self) -> Result<(), RehearsalError> {
        let summary = self.rehearsal.summary();
        let keywords: Vec<String> = summary.keywords.iter().map(|keyword| keyword.keyword.clone()).collect();
        let options: Vec<(String, String)> = summary
            .options
            .iter()
            .filter(|option| !option.preset.is_empty())
            .map(|option| (option.name.clone(), option.preset.clone()))
            .collect();
        for (hook, is_exported) in HOOKS {
            if !is_exported(&self.rehearsal.plugin) {
                continue;
            }
            let arguments = samples::arguments(hook, &keywords, &options);
            let world = World::new("");
            let asked = self.rehearsal.ask_twice(hook, &arguments, &|_| world::tree(), &world, self.cancel);
            let [first, second] = asked?;
            self.judge(hook, &first, &second);
        }
        Ok(())
    }

    fn judge(&mut self, hook: &str, first: &Reply, second: &Reply) {
        if let Ending::Failure(why) = &first.ending {
            let message = format!("it failed in {hook}: {why}");
            let help = if why.contains("borrow handles still remain") {
                "a tree that is lent to a hook has to be given back before it answers: see what `kiln plugin new` builds \
                 with in this language"
            } else {
                "every hook that is exported has to answer; a refusal is an answer too"
            };
            self.error("failed", message, help);
            return;
        }
        if first.ending != second.ending || first.calls != second.calls {
            let message = format!("{hook} answered differently when it was asked the same again");
            let help = "an answer may depend on nothing but the arguments and what the host answers; look for a table \
                        without an order, or a counter";
            self.error("unsteady", message, help);
        }
        if hook == "policy-exec.check-exec"
            && let Ending::Answer(verdicts) = &first.ending
            && verdicts.as_array().is_some_and(|verdicts| verdicts.len() != 1)
        {
            let message =
                "policy-exec.check-exec was asked about one command and did not give one verdict".to_owned();
            self.error("verdicts", message, "give one verdict for each of `execs`, in order");
        }
        let limits = self.host.limits;
        if first.fuel > limits.fuel / MUCH {
            let message =
                format!("{hook} takes {} of the work that a call may take", share(first.fuel, limits.fuel));
            self.warning("work", message, "real build files are larger than a sample");
        }
        let (memory, limit) = (first.memory_bytes as u64, limits.memory_bytes as u64);
        if memory > limit / MUCH {
            let message = format!("{hook} takes {} of the memory that a call may take", share(memory, limit));
            self.warning("memory", message, "real build files are larger than a sample");
        }
        let used = format!(
            "same answer twice, {} thousand units of work, {} KiB of memory",
            first.fuel.div_ceil(1000),
            memory >> 10
        );
        self.see(hook, used);
    }

    /// Examples are build files: of the default frontend, or of this one.
    fn examples(&mut self, file: &Path) -> Result<(), RehearsalError> {
        let summary = self.rehearsal.summary().clone();
        let choice = if summary.kinds.contains(&"frontend") {
            FrontendChoice::Named(summary.name.clone())
        } else if summary.kinds.contains(&"instruction") {
            FrontendChoice::Dockerfile
        } else {
            return Ok(());
        };
        if summary.examples.is_empty() {
            let message = "it has no example, so nothing was planned with it".to_owned();
            self.warning("no-example", message, "put a short build file into `examples` of `describe`");
            return Ok(());
        }
        let mut host = self.host.clone();
        for keyword in &summary.keywords {
            host.prefer(&keyword.keyword, &summary.name);
        }
        let wasm = read_component(file)?;
        let place = file.display().to_string();
        host.load(Addition { place, wasm: wasm.into(), grants: Grant::everything(), ..Addition::default() })?;
        for (title, text) in &summary.examples {
            let request = Request {
                file: BUILD_FILE.to_owned(),
                platforms: vec![Platform::default()],
                ..Request::default()
            };
            let world = World::new(text);
            let plan = || host.plan(&choice, &request, &world, self.cancel);
            let subject = format!("example `{title}`");
            match (plan(), plan()) {
                (Ok(first), Ok(second)) if first != second => {
                    let message = format!("the {subject} gave another plan the second time");
                    self.error("unsteady", message, "a plan may depend on nothing but what the host answers");
                }
                (Ok(plan), _) => {
                    let Plan { graph, targets, .. } = plan;
                    let what = format!(
                        "planned twice, {} operations, {} images",
                        graph.vertices().len(),
                        targets.len()
                    );
                    self.see(&subject, what);
                }
                (Err(PlanError::Cancelled), _) => return Err(RehearsalError::Cancelled),
                (Err(PlanError::Wrong(found)), _) => {
                    let errors = found.iter().filter(|found| found.severity == Severity::Error);
                    let what: Vec<String> = errors.map(|found| found.message.clone()).collect();
                    let message = format!("the {subject} is no good build file: {}", what.join("; "));
                    self.error("example", message, "examples are shown to people, who copy them");
                }
                (Err(error), _) => {
                    self.error("example", format!("the {subject} could not be planned: {error}"), "");
                }
            }
        }
        Ok(())
    }
}

/// As it can be written after `check=skip=` and on the command line.
fn is_code(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn share(part: u64, whole: u64) -> String {
    format!("{} %", part.saturating_mul(100) / whole.max(1))
}
