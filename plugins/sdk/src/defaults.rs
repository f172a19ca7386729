//! Empty values of the records that have many members, for `..Default::default()`.

// The types are generated, so there is no place for a derive.
#![allow(clippy::derivable_impls)]

use crate::wit::frontend_types::{BuildResult, TargetResult};
use crate::wit::graph::{CopyAction, ExecOp, Graph, Output};
use crate::wit::image_transform::{Changes, Squash};
use crate::wit::instruction_types::Outcome;
use crate::wit::types::{Healthcheck, ImageConfig, Platform};

impl Default for Graph {
    fn default() -> Self {
        Self { ops: Vec::new() }
    }
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            user: String::new(),
            working_dir: String::new(),
            env: Vec::new(),
            entrypoint: None,
            cmd: None,
            exposed_ports: Vec::new(),
            volumes: Vec::new(),
            labels: Vec::new(),
            stop_signal: String::new(),
            shell: Vec::new(),
            healthcheck: None,
            on_build: Vec::new(),
            args_escaped: false,
            author: String::new(),
            other_json: String::new(),
        }
    }
}

impl Default for Healthcheck {
    fn default() -> Self {
        Self {
            test: Vec::new(),
            interval: String::new(),
            timeout: String::new(),
            start_period: String::new(),
            start_interval: String::new(),
            retries: 0,
        }
    }
}

/// Linux on x86-64.
impl Default for Platform {
    fn default() -> Self {
        Self { os: "linux".into(), arch: "amd64".into(), variant: String::new(), os_version: String::new() }
    }
}

/// Nothing changed.
impl Default for Outcome {
    fn default() -> Self {
        Self {
            fragment: Graph::default(),
            root: None,
            config: None,
            changes: Vec::new(),
            set_env: Vec::new(),
            history: Vec::new(),
            expansion: Vec::new(),
            diagnostics: Vec::new(),
        }
    }
}

/// No command, on nothing: `args` and the mount at `/` are to be filled in.
impl Default for ExecOp {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            secret_env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            mounts: Vec::new(),
            network: String::new(),
            security: String::new(),
            hostname: String::new(),
            host_aliases: Vec::new(),
            ulimits: Vec::new(),
            shm_size: 0,
            devices: Vec::new(),
            ok_exit_codes: Vec::new(),
        }
    }
}

impl CopyAction {
    /// Copies `paths` of `input` to `dest` as they are: no links followed, no patterns, directories by name.
    pub fn new(input: Output, paths: Vec<String>, dest: impl Into<String>) -> Self {
        Self {
            input,
            paths,
            dest: dest.into(),
            owner: None,
            mode: String::new(),
            include_patterns: Vec::new(),
            exclude_patterns: Vec::new(),
            follow_symlinks: false,
            contents_only: false,
            create_dest: true,
            allow_wildcard: false,
            allow_empty_wildcard: false,
            unpack: String::new(),
            keep_parents: false,
        }
    }
}

impl TargetResult {
    /// An image, absent `root` one without layers, that stands on no other.
    pub fn new(platform: Platform, root: Option<Output>, config: ImageConfig) -> Self {
        Self {
            platform,
            root,
            config,
            history: Vec::new(),
            annotations: Vec::new(),
            attestations: Vec::new(),
            scans: Vec::new(),
            base_name: String::new(),
            base_digest: String::new(),
        }
    }
}

impl BuildResult {
    /// Images made by one graph, with nothing to say about it.
    pub fn new(graph: Graph, targets: Vec<TargetResult>) -> Self {
        Self {
            graph,
            targets,
            source_date_epoch: String::new(),
            export_options: Vec::new(),
            diagnostics: Vec::new(),
        }
    }
}

/// Nothing changed.
impl Default for Changes {
    fn default() -> Self {
        Self {
            config: None,
            set_annotations: Vec::new(),
            add_attestations: Vec::new(),
            squash: Squash::KeepLayers,
            fragment: None,
            root: None,
            extra_files: Vec::new(),
            diagnostics: Vec::new(),
        }
    }
}
