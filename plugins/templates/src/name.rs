//! The name of a plugin, and how it is spelled where names have other letters.

use std::fmt;
use std::str::FromStr;

/// `[a-z][a-z0-9-]*`, at most 64 letters, as the contract has it for `plugin-info.name`; and since it names files and a
/// crate as well, none that ends with `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// A word cannot be the name of a plugin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be the name of a plugin: names are lower-case letters, digits and `-`, beginning with a letter, and no \
     word of a language"
)]
pub struct NameError(pub String);

const LONGEST: usize = 64;

/// Words that name something else where the name of a plugin becomes that of a crate or a module.
const RESERVED: &str = "abstract alloc as async await become box break build const continue core crate deps do dyn else \
    enum extern false final fn for gen if impl in kiln-sdk let loop macro match mod move mut override priv proc-macro pub ref \
    return self static std struct super test trait true try type typeof unsafe unsized use vendor virtual where while \
    yield";

impl FromStr for Name {
    type Err = NameError;

    fn from_str(word: &str) -> Result<Self, NameError> {
        let fine = word.starts_with(|c: char| c.is_ascii_lowercase())
            && !word.ends_with('-')
            && word.len() <= LONGEST
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !RESERVED.split(' ').any(|reserved| reserved == word);
        if fine { Ok(Self(word.to_owned())) } else { Err(NameError(word.to_owned())) }
    }
}

impl Name {
    /// The nearest name to a word such as that of a directory: `My Plugin_2` becomes `my-plugin-2`. Nothing when no
    /// letter remains.
    pub fn near(word: &str) -> Option<Self> {
        let spelled: String = word
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        let parts: Vec<&str> = spelled.split('-').filter(|part| !part.is_empty()).collect();
        let name = parts.join("-");
        name.trim_start_matches(|c: char| !c.is_ascii_lowercase()).parse().ok()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `my_plugin`
    pub(crate) fn snake(&self) -> String {
        self.0.replace('-', "_")
    }

    /// `MY_PLUGIN`
    pub(crate) fn keyword(&self) -> String {
        self.snake().to_ascii_uppercase()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
