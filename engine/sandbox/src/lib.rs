//! Runs one process in Linux namespaces over given mounts.
