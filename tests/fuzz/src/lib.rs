//! What has to be true of every input, one function for each fuzz target. A panic is a finding.

pub mod files;
pub mod images;
pub mod plugins;
pub mod words;
