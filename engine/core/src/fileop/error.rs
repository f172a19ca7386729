//! Why a file op cannot be evaluated.

use crate::ignore::IgnoreError;
use crate::merged::ResolveError;
use crate::mode::ModeError;
use crate::pattern::PatternError;
use crate::tree::TreePath;
use crate::users::UserError;

/// What the world around a file op could not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WorldError(pub String);

impl From<String> for WorldError {
    fn from(why: String) -> Self {
        Self(why)
    }
}

/// A file op that its trees do not allow. Paths are those of the tree they lie in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileOpError {
    #[error("{}", source_not_found(.path, .leads_to.as_ref()))]
    SourceNotFound {
        /// As written.
        path: String,
        /// Where links lead, if that is elsewhere.
        leads_to: Option<TreePath>,
        /// What the user may have meant.
        near: Vec<TreePath>,
        /// It is there, but the ignore rules leave it out.
        excluded: bool,
    },
    #[error("nothing matches `{pattern}`")]
    NoMatch { pattern: String },
    #[error("`{pattern}` is not a pattern: {why}")]
    Pattern { pattern: String, why: PatternError },
    #[error("among the patterns of a copy, {0}")]
    Filter(IgnoreError),
    #[error(transparent)]
    Path(#[from] ResolveError),
    #[error("`{}` exists and is not a directory", .path.display())]
    NotADirectory { path: TreePath },
    #[error("cannot replace the directory `{}` with the file `{}`", .path.display(), .source_path.display())]
    FileOverDirectory { path: TreePath, source_path: TreePath },
    #[error("cannot put the directory `{}` where `{}` is not a directory", .source_path.display(), .path.display())]
    DirectoryOverFile { path: TreePath, source_path: TreePath },
    #[error("`{}` is a directory", .path.display())]
    IsADirectory { path: TreePath },
    #[error("`{}` cannot be made: the directory it would be in does not exist", .path.display())]
    NoParent { path: TreePath },
    #[error("there is no `{path}` to be {what}")]
    Missing { path: String, what: &'static str },
    #[error("`{}` cannot be part of an image, where names that begin with `.wh.` mean removed files", .path.display())]
    Reserved { path: TreePath },
    #[error("the root directory cannot be removed")]
    RemoveRoot,
    #[error(transparent)]
    Mode(#[from] ModeError),
    #[error(transparent)]
    User(#[from] UserError),
    #[error("could not read `{}`", .path.display())]
    Read { path: TreePath, source: WorldError },
    #[error("could not unpack `{}`", .path.display())]
    Unpack { path: TreePath, source: WorldError },
    #[error("the step reads input {0}, which it does not have")]
    NoInput(usize),
}

fn source_not_found(path: &str, leads_to: Option<&TreePath>) -> String {
    match leads_to {
        Some(leads_to) => {
            format!("`{path}` was not found: it leads to `{}`, which does not exist", leads_to.display())
        }
        None => format!("`{path}` was not found"),
    }
}

impl FileOpError {
    /// A short name, as in [`crate::Diagnostic::code`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::SourceNotFound { .. } | Self::NoMatch { .. } => "source-not-found",
            Self::Pattern { .. } | Self::Filter(_) => "bad-pattern",
            Self::Path(_) => "bad-path",
            Self::NotADirectory { .. }
            | Self::FileOverDirectory { .. }
            | Self::DirectoryOverFile { .. }
            | Self::IsADirectory { .. } => "file-conflict",
            Self::NoParent { .. } | Self::Missing { .. } => "path-not-found",
            Self::Reserved { .. } => "reserved-name",
            Self::RemoveRoot => "remove-root",
            Self::Mode(_) => "bad-mode",
            Self::User(_) => "unknown-user",
            Self::Read { .. } | Self::Unpack { .. } => "unreadable-file",
            Self::NoInput(_) => "bad-graph",
        }
    }

    /// What the user can do about it; empty when the message says all.
    pub fn help(&self) -> String {
        match self {
            Self::SourceNotFound { excluded: true, .. } => {
                "it exists, but `.dockerignore` leaves it out; add a line with `!` and its path".into()
            }
            Self::SourceNotFound { near, .. } if !near.is_empty() => {
                let near: Vec<_> = near.iter().map(|path| format!("`{}`", path.display())).collect();
                format!("there is {}", near.join(", "))
            }
            Self::Reserved { .. } => {
                "leave it out with `.dockerignore` or `--exclude`, or give it another name".into()
            }
            Self::DirectoryOverFile { path, .. } => {
                format!("if `{}` is a link to a directory, copy into that directory instead", path.display())
            }
            Self::User(UserError::NoFile { .. } | UserError::Unknown { .. }) => {
                "names are looked up in the tree written to; a number needs no look-up".into()
            }
            _ => String::new(),
        }
    }
}
