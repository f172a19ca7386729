//! Source policies of BuildKit: JSON in, verdicts out.
//!
//! Within the rules that match, the last `ALLOW` or `DENY` holds; a `CONVERT` that changes something ends the round, and
//! what it makes is asked about from the beginning, by the host. A source is matched as it was written, in full
//! (`docker-image://docker.io/library/alpine:3.20`); once it is resolved, `ALLOW` and `DENY` see it with its digest
//! as well. What has no meaning here is an error when it is read, and nothing is passed over.

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{GitSource, HttpSource, ImageSource};
use kiln_sdk::wit::policy_types::{Source, SourceCheck};
use regex_lite::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::options::bad;
use crate::reference::Reference;
use crate::rules::Code;
use crate::source::repository_name;

/// A regular expression may not need more than this when it is compiled.
const MAX_REGEX_BYTES: usize = 1 << 20;

const IMAGE: &str = "docker-image://";
const GIT: &str = "git://";
const LOCAL: &str = "local://";

/// Attributes of sources that exist here, by the scheme of the identifier.
const ATTRIBUTES: [&str; 5] =
    ["http.checksum", "http.filename", "git.fullurl", "git.keepgitdir", "git.checksum"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    version: i64,
    #[serde(default)]
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    #[serde(default)]
    action: Word,
    selector: SelectorText,
    updates: Option<UpdateText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectorText {
    identifier: String,
    #[serde(default, alias = "matchType")]
    match_type: Word,
    #[serde(default)]
    constraints: Vec<ConstraintText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConstraintText {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    condition: Word,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateText {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// A member of an enumeration, which is written as its name or its number; left out it is the first.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Number(u32),
    Name(String),
}

impl Default for Word {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Word {
    fn index(&self, names: &[&str], what: &str) -> Result<usize, String> {
        match self {
            Self::Number(number) if (*number as usize) < names.len() => Ok(*number as usize),
            Self::Number(number) => Err(format!("{what} {number} is none of {}", names.join(", "))),
            Self::Name(name) => names
                .iter()
                .position(|known| known == name)
                .ok_or_else(|| format!("{what} `{name}` is none of {}", names.join(", "))),
        }
    }
}

/// Rules that were understood.
pub(crate) struct SourcePolicy(Vec<Rule>);

struct Rule {
    selector: Selector,
    action: Action,
}

enum Action {
    Allow,
    Deny,
    Convert { identifier: String, attributes: BTreeMap<String, String> },
}

struct Selector {
    identifier: String,
    pattern: Pattern,
    constraints: Vec<Constraint>,
}

enum Pattern {
    /// The identifier and nothing else.
    Exact,
    /// A wildcard as well, whose stars are groups.
    Regex(Regex),
}

struct Constraint {
    key: String,
    test: Test,
}

enum Test {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

pub(crate) enum Verdict {
    Fine,
    Rewrite(Source),
    Denied(Diagnostic),
}

impl SourcePolicy {
    /// # Errors
    ///
    /// One finding, with the number of the rule that is not understood or means nothing here.
    pub(crate) fn parse(text: &str) -> Result<Self, Box<Diagnostic>> {
        let wrong = |why: String| {
            Box::new(bad(
                format!("`source-policy` cannot be used: {why}"),
                "it is the JSON that BuildKit reads: `{\"rules\": [{\"action\": \"DENY\", \"selector\": {\"identifier\": …}}]}`",
            ))
        };
        // Of an array serde would take the members in order.
        let document: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| wrong(format!("it is not such JSON: {error}")))?;
        let document: Document = serde_json::from_value(document.into())
            .map_err(|error| wrong(format!("it is not such JSON: {error}")))?;
        if ![0, 1].contains(&document.version) {
            return Err(wrong(format!("it has version {}, and 1 is known", document.version)));
        }
        let rules: Result<Vec<Rule>, String> = document
            .rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| read_rule(rule).map_err(|why| format!("rule {}: {why}", index + 1)))
            .collect();
        rules.map(Self).map_err(wrong)
    }

    pub(crate) fn evaluate(&self, check: &SourceCheck) -> Verdict {
        let Some(facts) = Facts::of(&check.source) else { return Verdict::Fine };
        let resolved = check.found.as_ref().and_then(|found| facts.resolved(&found.pin));
        let mut denied_by = None;
        for rule in &self.0 {
            if !rule.selector.constraints.iter().all(|constraint| constraint.holds(&facts)) {
                continue;
            }
            let as_written = rule.selector.matches(&facts.identifier);
            match &rule.action {
                Action::Convert { identifier, attributes } if as_written => {
                    match convert(&check.source, &facts, &rule.selector, identifier, attributes) {
                        Ok(None) => {}
                        Ok(Some(source)) => return Verdict::Rewrite(source),
                        Err(why) => return Verdict::Denied(unmappable(&facts.identifier, &why)),
                    }
                }
                Action::Convert { .. } => {}
                Action::Allow | Action::Deny => {
                    if as_written || resolved.as_deref().is_some_and(|text| rule.selector.matches(text)) {
                        denied_by = matches!(rule.action, Action::Deny).then_some(&rule.selector.identifier);
                    }
                }
            }
        }
        match denied_by {
            None => Verdict::Fine,
            Some(selector) => Verdict::Denied(
                Code::SourceDenied
                    .found(format!("the source `{}` is denied by `{selector}`", facts.identifier))
                    .help("the rule is in the source policy of this site"),
            ),
        }
    }
}

fn unmappable(identifier: &str, why: &str) -> Diagnostic {
    Code::SourceUnmappable
        .found(format!("the source policy makes something impossible of `{identifier}`: {why}"))
        .help("correct the identifier under `updates` of the rule")
}

fn read_rule(rule: RuleText) -> Result<Rule, String> {
    let selector = read_selector(rule.selector)?;
    let action = match (rule.action.index(&["ALLOW", "DENY", "CONVERT"], "action")?, rule.updates) {
        (2, None) => return Err("a CONVERT without `updates` converts to nothing".to_owned()),
        (2, Some(UpdateText { identifier, attrs: attributes })) => {
            if let Some(key) = attributes.keys().find(|key| !ATTRIBUTES.contains(&key.as_str())) {
                return Err(format!("attribute `{key}` cannot be set here"));
            }
            if identifier.starts_with("oci-layout://") || identifier.starts_with(LOCAL) {
                return Err(format!("a source cannot be made `{identifier}` here"));
            }
            let scheme = |text: &str| text.split_once("://").map(|(scheme, _)| scheme.to_owned());
            let (from, to) = (scheme(&selector.identifier), scheme(&identifier));
            let is_literal =
                |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            let kind = |scheme: &str| if scheme == "http" { "https".to_owned() } else { scheme.to_owned() };
            if let (Some(from), Some(to)) = (from, to)
                && is_literal(&from)
                && is_literal(&to)
                && kind(&from) != kind(&to)
            {
                return Err(format!("a source `{from}://` cannot be made `{to}://` here"));
            }
            Action::Convert { identifier, attributes }
        }
        (_, Some(_)) => return Err("only a CONVERT has `updates`".to_owned()),
        (0, None) => Action::Allow,
        (_, None) => Action::Deny,
    };
    Ok(Rule { selector, action })
}

fn read_selector(selector: SelectorText) -> Result<Selector, String> {
    let SelectorText { identifier, match_type, constraints } = selector;
    if identifier.is_empty() {
        return Err("its selector has no identifier".to_owned());
    }
    if identifier.starts_with("oci-layout://") {
        return Err(format!("there are no sources `{identifier}` here"));
    }
    let pattern = match match_type.index(&["WILDCARD", "EXACT", "REGEX"], "match type")? {
        0 if identifier.contains("**") => return Err(format!("`**` is no wildcard, in `{identifier}`")),
        0 if !identifier.contains('*') => Pattern::Exact,
        0 => {
            let parts: Vec<String> = identifier.split('*').map(regex_lite::escape).collect();
            Pattern::Regex(regex(&format!("(?s)^{}$", parts.join("(.*)")))?)
        }
        1 => Pattern::Exact,
        _ => Pattern::Regex(regex(&identifier)?),
    };
    let constraints: Result<Vec<Constraint>, String> = constraints.into_iter().map(read_constraint).collect();
    Ok(Selector { identifier, pattern, constraints: constraints? })
}

fn read_constraint(constraint: ConstraintText) -> Result<Constraint, String> {
    let ConstraintText { key, value, condition } = constraint;
    if !ATTRIBUTES.contains(&key.as_str()) {
        return Err(format!("attribute `{key}` is none of {}", ATTRIBUTES.join(", ")));
    }
    let test = match condition.index(&["EQUAL", "NOTEQUAL", "MATCHES"], "condition")? {
        0 => Test::Equal(value),
        1 => Test::NotEqual(value),
        _ => Test::Matches(regex(&value)?),
    };
    Ok(Constraint { key, test })
}

fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|error| format!("`{text}` is no regular expression that is understood here: {error}"))
}

impl Selector {
    fn matches(&self, identifier: &str) -> bool {
        self.identifier == identifier
            || match &self.pattern {
                Pattern::Exact => false,
                Pattern::Regex(regex) => regex.is_match(identifier),
            }
    }

    /// The new identifier, with what the groups of the pattern took in place of `$1` or `${1}`.
    fn expand(&self, identifier: &str, replacement: &str) -> String {
        match &self.pattern {
            Pattern::Regex(regex) if regex.is_match(identifier) => {
                regex.replace_all(identifier, replacement).into_owned()
            }
            _ => replacement.to_owned(),
        }
    }
}

impl Constraint {
    fn holds(&self, facts: &Facts) -> bool {
        let value = facts.attributes.get(self.key.as_str()).map_or("", String::as_str);
        match &self.test {
            Test::Equal(wanted) => value == wanted,
            Test::NotEqual(unwanted) => value != unwanted,
            Test::Matches(regex) => regex.is_match(value),
        }
    }
}

/// A source as BuildKit would name it.
struct Facts {
    identifier: String,
    attributes: BTreeMap<&'static str, String>,
}

impl Facts {
    /// Nothing for what BuildKit has no name for.
    fn of(source: &Source) -> Option<Self> {
        let mut attributes = BTreeMap::new();
        let identifier = match source {
            Source::Image(image) => format!("{IMAGE}{}", Reference::parse(&image.reference)),
            Source::Http(http) => {
                attributes.insert("http.checksum", http.checksum.clone().unwrap_or_default());
                attributes.insert("http.filename", http.filename.clone());
                http.url.clone()
            }
            Source::Git(git) => {
                attributes.insert("git.fullurl", git.url.clone());
                attributes.insert("git.checksum", git.commit.clone());
                if git.keep_git_dir {
                    attributes.insert("git.keepgitdir", "true".to_owned());
                }
                let suffix = if git.url.trim_end_matches('/').ends_with(".git") { ".git" } else { "" };
                let mut text = format!("{GIT}{}{suffix}", repository_name(&git.url));
                if !git.reference.is_empty() || !git.subdir.is_empty() {
                    text += &format!("#{}", git.reference);
                }
                if !git.subdir.is_empty() {
                    text += &format!(":{}", git.subdir);
                }
                text
            }
            Source::Context(context) if context.name.is_empty() => format!("{LOCAL}context"),
            Source::Context(context) => format!("{LOCAL}{}", context.name),
            Source::Plugin(_) => return None,
        };
        Some(Self { identifier, attributes })
    }

    /// An image with the digest that it turned out to have.
    fn resolved(&self, pin: &str) -> Option<String> {
        let is_image = self.identifier.starts_with(IMAGE);
        (is_image && !self.identifier.contains('@') && pin.contains(':'))
            .then(|| format!("{}@{pin}", self.identifier))
    }
}

/// What a rule makes of a source; nothing when it is that already.
fn convert(
    source: &Source,
    facts: &Facts,
    selector: &Selector,
    identifier: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<Option<Source>, String> {
    let identifier = match identifier {
        "" => facts.identifier.clone(),
        text => selector.expand(&facts.identifier, text),
    };
    let is_same = |key: &String, value: &String| {
        facts.attributes.get(key.as_str()).map_or("", String::as_str) == value.as_str()
    };
    if identifier == facts.identifier && attributes.iter().all(|(key, value)| is_same(key, value)) {
        return Ok(None);
    }
    let prefix = match source {
        Source::Http(_) => "http.",
        Source::Git(_) => "git.",
        _ => "nothing.",
    };
    if let Some(key) = attributes.keys().find(|key| !key.starts_with(prefix)) {
        return Err(format!("it has no attribute `{key}`"));
    }
    let attribute = |key: &str| attributes.get(key).map(String::as_str);
    match source {
        Source::Image(_) => {
            let reference =
                identifier.strip_prefix(IMAGE).ok_or_else(|| format!("`{identifier}` is no image"))?;
            Ok(Some(Source::Image(ImageSource { reference: reference.to_owned(), pinned: None })))
        }
        Source::Http(http) => {
            if !["http://", "https://"].iter().any(|scheme| identifier.starts_with(scheme)) {
                return Err(format!("`{identifier}` is no download"));
            }
            let checksum = attribute("http.checksum").map(str::to_owned).or_else(|| http.checksum.clone());
            let filename = attribute("http.filename").unwrap_or(&http.filename).to_owned();
            Ok(Some(Source::Http(HttpSource { url: identifier, checksum, filename })))
        }
        Source::Git(git) => Ok(Some(Source::Git(convert_git(git, facts, &identifier, attribute)?))),
        Source::Context(_) | Source::Plugin(_) => Err("a build context cannot be another one".to_owned()),
    }
}

fn convert_git<'a>(
    git: &GitSource,
    facts: &Facts,
    identifier: &str,
    attribute: impl Fn(&str) -> Option<&'a str>,
) -> Result<GitSource, String> {
    let rest = identifier.strip_prefix(GIT).ok_or_else(|| format!("`{identifier}` is no repository"))?;
    let mut new = git.clone();
    if identifier != facts.identifier {
        let (path, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        new.url = format!("https://{path}");
        new.reference = reference.to_owned();
        new.subdir = subdir.to_owned();
        // The commit that was asked for is one of the other repository.
        new.commit = String::new();
        new.fetch_by_commit = false;
    }
    if let Some(url) = attribute("git.fullurl") {
        new.url = url.to_owned();
    }
    if let Some(commit) = attribute("git.checksum") {
        new.commit = commit.to_owned();
    }
    match attribute("git.keepgitdir") {
        None => {}
        Some("true") => new.keep_git_dir = true,
        Some("false" | "") => new.keep_git_dir = false,
        Some(value) => return Err(format!("git.keepgitdir cannot be `{value}`")),
    }
    Ok(new)
}

#[cfg(test)]
#[path = "source_policy_tests.rs"]
mod tests;
