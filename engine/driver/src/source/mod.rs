//! Where files come from: images, contexts, archives, downloads, git repositories.

pub(crate) mod address;
pub(crate) mod context;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod remote;
