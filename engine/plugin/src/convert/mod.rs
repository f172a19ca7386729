//! Turns values of the contract into those of the core and back. What a component says is believed only here, after
//! it was checked.

use std::fmt;

use crate::limits;

pub(crate) mod answers;
pub(crate) mod config;
pub(crate) mod duration;
pub(crate) mod findings;
pub(crate) mod graph;
pub(crate) mod ops;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod questions;
pub(crate) mod told;
pub(crate) mod transform;

/// Something in an answer that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Such as `op 7`; empty for the answer as a whole.
    at: String,
    what: String,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { at: String::new(), what: what.into() }
    }

    pub(crate) fn at(mut self, at: impl Into<String>) -> Self {
        self.at = at.into();
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.what)
    }
}

/// A string of bounded length without NUL, which no path, argument or variable can hold.
pub(crate) fn text(field: &str, text: String) -> Result<String, Fault> {
    if text.len() > limits::STRING_BYTES {
        let limit = limits::STRING_BYTES >> 20;
        return Err(Fault::new(format!("{field} is longer than {limit} MiB")));
    }
    if text.as_bytes().contains(&0) {
        return Err(Fault::new(format!("{field} {text:?} holds a NUL")));
    }
    Ok(text)
}

pub(crate) fn texts(field: &str, list: Vec<String>) -> Result<Vec<String>, Fault> {
    list.into_iter().map(|one| text(field, one)).collect()
}

/// An absolute path.
pub(crate) fn absolute(field: &str, path: String) -> Result<String, Fault> {
    let path = text(field, path)?;
    if !path.starts_with('/') {
        return Err(Fault::new(format!("{field} `{path}` is not absolute")));
    }
    Ok(path)
}

/// Pairs as they come: base images hold odd ones.
pub(crate) fn pairs(
    field: &str,
    list: Vec<crate::bindings::wit::types::Pair>,
) -> Result<Vec<(String, String)>, Fault> {
    list.into_iter().map(|pair| Ok((text(field, pair.key)?, text(field, pair.value)?))).collect()
}

pub(crate) fn told_pairs(list: &[(String, String)]) -> Vec<crate::bindings::wit::types::Pair> {
    list.iter()
        .map(|(key, value)| crate::bindings::wit::types::Pair { key: key.clone(), value: value.clone() })
        .collect()
}
