//! Conducts the passes, wiring rooms to core's traits.
#![forbid(unsafe_code)]
