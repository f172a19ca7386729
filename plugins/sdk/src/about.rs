//! What a plugin says about itself, in few words.

use crate::wit::describe::{Example, OptionKind, OptionSpec, PluginInfo, Rule};
use crate::wit::diagnostics::Severity;

impl PluginInfo {
    /// A plugin without options, rules and examples. `name` is what findings and grants call it, `[a-z][a-z0-9-]*`.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            homepage: String::new(),
            license: String::new(),
            options: Vec::new(),
            rules: Vec::new(),
            examples: Vec::new(),
        }
    }

    /// An SPDX expression such as `Apache-2.0`.
    pub fn license(mut self, license: &str) -> Self {
        self.license = license.into();
        self
    }

    pub fn rules(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.rules.extend(rules);
        self
    }

    pub fn options(mut self, options: impl IntoIterator<Item = OptionSpec>) -> Self {
        self.options.extend(options);
        self
    }

    pub fn example(mut self, title: &str, text: &str) -> Self {
        self.examples.push(Example { title: title.into(), text: text.into() });
        self
    }
}

impl OptionSpec {
    fn new(kind: OptionKind, name: &str, summary: &str) -> Self {
        Self {
            name: name.into(),
            kind,
            summary: summary.into(),
            preset: String::new(),
            required: false,
            choices: Vec::new(),
            sensitive: false,
        }
    }

    /// A text, not required and without a default. `name` is `[a-z][a-z0-9-]*`.
    pub fn text(name: &str, summary: &str) -> Self {
        Self::new(OptionKind::Text, name, summary)
    }

    /// Texts, as many as the user gives.
    pub fn list(name: &str, summary: &str) -> Self {
        Self::new(OptionKind::TextList, name, summary)
    }

    /// `true` or `false`; with a default, since nobody wants a third value.
    pub fn boolean(name: &str, summary: &str, preset: bool) -> Self {
        Self::new(OptionKind::Boolean, name, summary).preset(if preset { "true" } else { "false" })
    }

    /// One of `choices`, the first unless the user says otherwise.
    pub fn choice(name: &str, summary: &str, choices: &[&str]) -> Self {
        let choices: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
        let preset = choices.first().cloned().unwrap_or_default();
        Self { choices, preset, ..Self::new(OptionKind::Choice, name, summary) }
    }

    /// What holds when the user says nothing.
    pub fn preset(mut self, value: &str) -> Self {
        self.preset = value.into();
        self
    }
}

impl Rule {
    fn new(severity: Severity, code: &str, summary: &str) -> Self {
        let (code, summary) = (code.into(), summary.into());
        Self { code, summary, url: String::new(), severity, experimental: false }
    }

    /// A finding that makes the build fail.
    pub fn error(code: &str, summary: &str) -> Self {
        Self::new(Severity::Error, code, summary)
    }

    /// A finding that people may silence.
    pub fn warning(code: &str, summary: &str) -> Self {
        Self::new(Severity::Warning, code, summary)
    }

    /// A finding that says what was chosen and why.
    pub fn info(code: &str, summary: &str) -> Self {
        Self::new(Severity::Info, code, summary)
    }
}
