//! The command line of `kiln plan`: what of `kiln build`'s bears on a plan, under the same names.

use clap::{Args, Parser};
use std::path::PathBuf;

use crate::args::{BuildArgs, Format, NetworkArg, ProgressMode};
use crate::loading::PluginArgs;
use crate::parse::boolean;

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Write an equivalent that can be edited, such as a Dockerfile, and build nothing
    #[arg(long)]
    pub eject: bool,

    /// Where to write it: a directory, or `-` for standard output [default: the context]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<String>,

    /// Write over files that are there
    #[arg(long)]
    pub force: bool,

    /// How to show a plan
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,

    /// Build file: a path, an http(s) address, or `-` for standard input [default: as `kiln build` finds one]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,

    /// Stage or target to plan [default: the last, or the only one]
    #[arg(long, value_name = "STAGE", default_value = "", hide_default_value = true)]
    pub target: String,

    /// Set a build argument; without a value it is taken from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub build_args: Vec<String>,

    /// Set a label of the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,

    /// Platforms to plan for, such as linux/amd64,linux/arm64
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    pub platforms: Vec<String>,

    #[command(flatten)]
    pub plugins: PluginArgs,

    /// Use plugins only as kiln.lock has them; fail where it would have to change
    #[arg(long)]
    pub locked: bool,

    /// File that says what names of plugins mean [default: kiln.lock in the context, if that is a directory]
    #[arg(long, value_name = "FILE")]
    pub lock_file: Option<PathBuf>,

    /// Another source of files, by name
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    pub build_contexts: Vec<String>,

    /// Grant a right that is off by default: network.host, security.insecure, plugin.CAPABILITY=NAME
    #[arg(long, value_name = "RIGHT", value_delimiter = ',')]
    pub allow: Vec<String>,

    /// Give a secret to what is built for the plan: id=ID[,src=FILE|,env=NAME][,type=file|env]
    #[arg(long = "secret", value_name = "SPEC")]
    pub secrets: Vec<String>,

    /// Lend SSH keys to what is built for the plan: default, ID=SOCKET or ID=KEYFILE[,KEYFILE…]
    #[arg(long = "ssh", value_name = "SPEC")]
    pub ssh: Vec<String>,

    /// Network of what is built for the plan
    #[arg(long, value_enum, default_value = "default")]
    pub network: NetworkArg,

    /// Do not use the cache
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    pub no_cache: bool,

    /// Ask registries again what image names mean
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    pub pull: bool,

    /// How to show what is built for the plan
    #[arg(long, value_enum, default_value = "auto", env = "BUILDKIT_PROGRESS", hide_env = true)]
    pub progress: ProgressMode,

    /// Show the plan and nothing of how it came to be
    #[arg(short, long)]
    pub quiet: bool,

    /// One time on everything the build makes, so that equal inputs give equal bytes: SOURCE_DATE_EPOCH, or 0
    #[arg(long)]
    pub reproducible: bool,

    /// What would be built: a directory, the address of a git repository or an archive, or `-`
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub context: String,
}

/// `kiln build` with nothing said but what is built.
#[derive(Parser)]
struct Plain {
    #[command(flatten)]
    build: BuildArgs,
}

impl PlanArgs {
    /// The build that is planned.
    pub fn build(&self) -> BuildArgs {
        // After `--`, so that it is a context whatever it looks like.
        let plain = Plain::parse_from(["kiln", "--", &self.context]).build;
        BuildArgs {
            file: self.file.clone(),
            target: self.target.clone(),
            build_args: self.build_args.clone(),
            labels: self.labels.clone(),
            platforms: self.platforms.clone(),
            plugins: self.plugins.clone(),
            locked: self.locked,
            lock_file: self.lock_file.clone(),
            build_contexts: self.build_contexts.clone(),
            allow: self.allow.clone(),
            secrets: self.secrets.clone(),
            ssh: self.ssh.clone(),
            network: self.network,
            no_cache: self.no_cache,
            pull: self.pull,
            progress: self.progress,
            quiet: self.quiet,
            reproducible: self.reproducible,
            ..plain
        }
    }
}
