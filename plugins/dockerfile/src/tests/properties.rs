//! What is true of every text, not only of those that somebody thought of: random texts against these laws.
//!
//! Where a law needs to know the right answer, it comes from a model that is written from the Dockerfile specification,
//! slow and simple, and shares no code with what it judges.

mod arrays;
mod expansion;
mod globs;
mod ignoring;
mod naming;
mod parsing;
mod planning;
mod texts;
