//! What a file op does although it is hardly what was meant.

use crate::users::UserError;

/// BuildKit does all of these without a word, and builds count on it; the user is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// All but the last are lost.
    #[error("several files become `{dest}`, which is not a directory; the last is what stays")]
    SeveralOntoFile { dest: String },
    #[error("{0}; the files get another")]
    UnknownOwner(UserError),
}

impl Remark {
    /// A short name, as in [`crate::Diagnostic::code`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::SeveralOntoFile { .. } => "several-onto-file",
            Self::UnknownOwner(_) => "unknown-user",
        }
    }

    /// What the user can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::SeveralOntoFile { dest } => format!("write `{dest}/` to copy into a directory"),
            Self::UnknownOwner(_) => {
                "names are looked up in the tree written to; a number needs no look-up".into()
            }
        }
    }
}
