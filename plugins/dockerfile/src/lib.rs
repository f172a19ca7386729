//! Turns a Dockerfile into a build graph.
