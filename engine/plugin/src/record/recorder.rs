//! Writes each call of the plugins it watches into a directory, without secrets.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kiln_core::Digest;
use serde_json::Value;

use super::fixture::{Asked, Ending, Fixture, HostCall};
use crate::component::Plugin;
use crate::contract;

/// In place of what must not be written down.
const SECRET: &str = "(secret)";

/// Shorter ones would be found in words that have nothing to do with them; where an option stands by its name they are
/// replaced whatever their length.
const SHORTEST: usize = 6;

/// A directory that receives fixtures.
#[derive(Debug)]
pub struct Recorder {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How often a name was given.
    names: BTreeMap<String, u32>,
    written: Vec<Written>,
    /// What went wrong first.
    failure: Option<io::Error>,
}

/// A call that is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Name of the plugin.
    pub plugin: String,
    /// Interface and function.
    pub hook: String,
    /// Name of the file in the recorder's directory.
    pub file: String,
}

impl Recorder {
    /// Makes the directory when it is not there.
    ///
    /// # Errors
    ///
    /// When that cannot be.
    pub fn new(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned(), state: Mutex::default() })
    }

    /// What went wrong first with writing, once.
    pub fn failure(&self) -> Option<io::Error> {
        self.lock().failure.take()
    }

    /// All calls so far, in the order in which they ended.
    pub fn written(&self) -> Vec<Written> {
        self.lock().written.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn write(
        &self,
        plugin: &Plugin,
        hook: &str,
        arguments: Vec<Value>,
        calls: Vec<HostCall>,
        ending: Ending,
    ) {
        let mut fixture = Fixture {
            contract: contract::package(),
            plugin: Asked {
                name: plugin.id.name.clone(),
                version: plugin.id.version.clone(),
                digest: plugin.id.digest.to_string(),
            },
            hook: hook.to_owned(),
            arguments,
            calls,
            ending,
        };
        Censor::of(plugin).fixture(&mut fixture);
        let file = self.name(&fixture);
        match fs::write(self.directory.join(&file), fixture.to_string()) {
            Ok(()) => {
                let written = Written { plugin: fixture.plugin.name, hook: fixture.hook, file };
                self.lock().written.push(written);
            }
            Err(error) => {
                self.lock().failure.get_or_insert(error);
            }
        }
    }

    /// By plugin, hook and what was asked, so that the same build writes the same names in whatever order its calls come.
    fn name(&self, fixture: &Fixture) -> String {
        let asked = Digest::of(Value::from(fixture.arguments.clone()).to_string().as_bytes());
        let stem = format!("{}-{}-{}", fixture.plugin.name, fixture.hook, &asked.hex()[..8]);
        let mut state = self.lock();
        let times = state.names.entry(stem.clone()).or_default();
        *times += 1;
        if *times == 1 { format!("{stem}.json") } else { format!("{stem}-{times}.json") }
    }
}

/// Knows which of a plugin's options are secret, and takes their values and the credentials of addresses out.
struct Censor<'a> {
    names: &'a [String],
    values: Vec<String>,
}

impl<'a> Censor<'a> {
    fn of(plugin: &'a Plugin) -> Self {
        let options = plugin.options.iter().filter(|(name, _)| plugin.sensitive.contains(name));
        Self { names: &plugin.sensitive, values: options.map(|(_, value)| value.clone()).collect() }
    }

    fn fixture(&mut self, fixture: &mut Fixture) {
        // What a frontend is set to comes with each question.
        if !self.names.is_empty() {
            fixture.arguments.iter().for_each(|value| self.learn(value));
        }
        fixture.arguments.iter_mut().for_each(|value| self.value(value));
        for call in &mut fixture.calls {
            call.arguments.iter_mut().for_each(|value| self.value(value));
            self.value(&mut call.answer);
        }
        match &mut fixture.ending {
            Ending::Answer(value) => self.value(value),
            Ending::Failure(words) => self.text(words),
        }
    }

    /// Whether it is the pair of a secret option and its value.
    fn is_secret(&self, members: &serde_json::Map<String, Value>) -> bool {
        let key = members.get("key").and_then(Value::as_str);
        members.contains_key("value") && key.is_some_and(|key| self.names.iter().any(|name| name == key))
    }

    fn learn(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.learn(value)),
            Value::Object(members) => {
                if self.is_secret(members)
                    && let Some(secret) = members.get("value").and_then(Value::as_str)
                {
                    self.values.push(secret.to_owned());
                }
                members.values().for_each(|value| self.learn(value));
            }
            _ => {}
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(members) => {
                if self.is_secret(members) {
                    members.insert("value".to_owned(), SECRET.into());
                }
                members.values_mut().for_each(|value| self.value(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&self, text: &mut String) {
        for secret in &self.values {
            if secret.len() >= SHORTEST && text.contains(secret) {
                *text = text.replace(secret, SECRET);
            }
        }
        if let Some(censored) = without_credentials(text) {
            *text = censored;
        }
    }
}

/// `https://user:password@host/` with `(secret)` before the `@`; nothing when there is no such address.
fn without_credentials(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end =
            after.find(|c: char| c == '/' || c.is_whitespace() || "\"'<>".contains(c)).unwrap_or(after.len());
        let authority = &after[..end];
        match authority.rsplit_once('@') {
            Some((credentials, host)) if credentials.contains(':') => {
                out.push_str(SECRET);
                out.push('@');
                out.push_str(host);
            }
            _ => out.push_str(authority),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    (out != text).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn credentials_in_addresses_are_not_written_down() {
        let censored = |text| without_credentials(text);
        assert_eq!(
            censored("http://me:pass@proxy:8080/ and https://a:b@c").as_deref(),
            Some("http://(secret)@proxy:8080/ and https://(secret)@c")
        );
        assert_eq!(censored("https://git@example.com/x"), None);
        assert_eq!(censored("a://b https://example.com/@me:x"), None);
    }

    #[test]
    fn secret_options_are_not_written_down() {
        let names = ["token".to_owned(), "pin".to_owned()];
        let mut censor = Censor { names: &names, values: Vec::new() };
        let mut value = json!([
            {"key": "token", "value": "s3cr3t-value"}, {"key": "pin", "value": "1"}, {"key": "other", "value": "1"},
            "with s3cr3t-value inside",
        ]);
        censor.learn(&value);
        censor.value(&mut value);
        let wanted = json!([
            {"key": "token", "value": SECRET}, {"key": "pin", "value": SECRET}, {"key": "other", "value": "1"},
            "with (secret) inside",
        ]);
        assert_eq!(value, wanted);
    }
}
