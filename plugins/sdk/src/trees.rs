//! Looks into trees where what is not there is an answer too.

use crate::wit::trees::Tree;
use crate::wit::types::HostError;

impl HostError {
    /// Whether there is no such file: nothing at the path, something else than a file, or no directory that could hold it.
    pub fn is_absent(&self) -> bool {
        matches!(self.code.as_str(), "not-found" | "not-a-file" | "not-a-directory")
    }
}

impl Tree {
    /// The text of a file; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Of `read-text`, when there is a file.
    pub fn text_if_there(&self, path: &str) -> Result<Option<String>, HostError> {
        match self.read_text(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_as_a_file_is_absent() {
        let is_absent = |code: &str| HostError { code: code.to_owned(), message: String::new() }.is_absent();
        assert!(["not-found", "not-a-file", "not-a-directory"].into_iter().all(is_absent));
        assert!(!["limit", "denied", "invalid-argument", ""].into_iter().any(is_absent));
    }
}
