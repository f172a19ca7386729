//! What a plugin says about itself, in few words.

use crate::wit::describe::{Example, PluginInfo, Rule};
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

    pub fn example(mut self, title: &str, text: &str) -> Self {
        self.examples.push(Example { title: title.into(), text: text.into() });
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
}
