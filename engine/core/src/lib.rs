//! Decides what a build means and what is to be done next.
#![forbid(unsafe_code)]
