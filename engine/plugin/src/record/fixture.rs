//! One call of a plugin as a file: what it was asked, what it asked the host, what it answered.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call, readable and writable by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// Version of the contract, as in `kiln:plugin@0.1.0`.
    pub contract: String,
    /// Who was asked.
    pub plugin: Asked,
    /// Interface and function, such as `instruction.apply`.
    pub hook: String,
    /// One for each parameter; a tree is `{"tree": N}`.
    pub arguments: Vec<Value>,
    /// What the plugin asked the host meanwhile, in order.
    #[serde(default)]
    pub calls: Vec<HostCall>,
    #[serde(flatten)]
    pub ending: Ending,
}

/// A plugin as it called itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub name: String,
    pub version: String,
    pub digest: String,
}

/// A question to the host and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCall {
    /// Interface and function, such as `resolver.images`.
    pub call: String,
    pub arguments: Vec<Value>,
    pub answer: Value,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    Answer(Value),
    /// In words, as the build had them.
    Failure(String),
}

/// A file is no fixture.
#[derive(Debug, thiserror::Error)]
#[error("it is no record of a plugin's call: {0}")]
pub struct FixtureError(pub(crate) String);

impl Fixture {
    /// # Errors
    ///
    /// When `text` is not JSON of this shape.
    pub fn parse(text: &str) -> Result<Self, FixtureError> {
        serde_json::from_str(text).map_err(|error| FixtureError(error.to_string()))
    }
}

impl fmt::Display for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?;
        writeln!(f, "{text}")
    }
}
