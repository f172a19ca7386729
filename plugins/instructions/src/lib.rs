//! The instructions of a Dockerfile, save those that make stages.

/// The component.
#[derive(Debug)]
pub struct Instructions;
