//! What an image says about how to run it: the part of the OCI image configuration that builds read and set.

/// The `config` member of an OCI image configuration with Docker's extensions, and `author`.
///
/// Lists of pairs keep their order; a later value of a key wins in the earlier place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub user: String,
    pub working_dir: String,
    pub env: Vec<(String, String)>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    /// `8080/tcp` style.
    pub exposed_ports: Vec<String>,
    pub volumes: Vec<String>,
    pub labels: Vec<(String, String)>,
    pub stop_signal: String,
    /// Empty: the platform's own.
    pub shell: Vec<String>,
    pub healthcheck: Option<Healthcheck>,
    pub on_build: Vec<String>,
    pub args_escaped: bool,
    pub author: String,
    /// What the original document has beyond this record and the engine's own members, as one JSON object of the same
    /// nesting; empty for nothing.
    pub other_json: String,
}

/// Docker's health check; durations are nanoseconds, zero is "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    pub test: Vec<String>,
    pub interval_ns: u64,
    pub timeout_ns: u64,
    pub start_period_ns: u64,
    pub start_interval_ns: u64,
    pub retries: u32,
}
