//! The command line: names and meanings as in `docker buildx build` where that has them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::compat::CompatArgs;
use crate::loading::PluginArgs;
use crate::parse::boolean;
use crate::plan::PlanArgs;
use crate::plugin::PluginCommand;
use crate::policy::PolicyCommand;

/// Builds container images; extended with WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 110, after_help = ALSO, args_override_self = true)]
pub struct Cli {
    /// Directory of kiln's store [default: /var/lib/kiln for root, else the XDG data directory]
    #[arg(long, global = true, env = "KILN_ROOT", value_name = "DIR", hide_env_values = true)]
    pub root: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

const ALSO: &str = "As with docker: `kiln images`, `rmi`, `history`, `inspect`, `tag`, `save`, `load` and `import` are short for \
                    `kiln image …`.";

/// Commands of `docker` that are kiln's under another name.
const ALIASES: [(&str, &[&str]); 8] = [
    ("images", &["image", "ls"]),
    ("rmi", &["image", "rm"]),
    ("history", &["image", "history"]),
    ("tag", &["image", "tag"]),
    ("save", &["image", "save"]),
    ("load", &["image", "load"]),
    ("import", &["image", "import"]),
    ("inspect", &["image", "inspect"]),
];

/// `arguments`, the program's name first, with the first word that is no option replaced if it is an alias.
pub fn without_aliases(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let mut index = 1;
    while let Some(argument) = arguments.get(index).and_then(|argument| argument.to_str()) {
        if let Some((_, meant)) = ALIASES.iter().find(|(alias, _)| *alias == argument) {
            arguments.splice(index..=index, meant.iter().map(OsString::from));
        }
        match argument_width(&arguments[index]) {
            0 => break,
            width => index += width,
        }
    }
    arguments
}

/// How many words a global option takes; 0 for what is no option.
fn argument_width(argument: &OsStr) -> usize {
    match argument.to_str() {
        Some("--root") => 2,
        Some(option) if option.starts_with('-') => 1,
        _ => 0,
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image
    Build(Box<BuildArgs>),
    /// Show what a build would do and why, or write it down as files
    Plan(Box<PlanArgs>),
    /// Look at and move images in kiln's store
    #[command(subcommand)]
    Image(ImageCommand),
    /// Run an image in the sandbox
    Run(RunArgs),
    /// Look at, publish and fetch plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Look at policies, and ask them about a build
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show what the store holds and how much disk it takes
    Du(DuArgs),
    /// Remove what no image needs from the store
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Name for the image, `name[:tag]`; may be repeated
    #[arg(short, long = "tag", value_name = "NAME")]
    pub tags: Vec<String>,

    #[command(flatten)]
    pub inputs: InputArgs,

    /// Add an annotation to the manifest
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    pub annotations: Vec<String>,

    /// Where to write the result: DIR, or type=store|oci|docker|tar|local|registry,dest=PATH[,compression=…]
    #[arg(short, long = "output", value_name = "SPEC")]
    pub outputs: Vec<String>,

    /// Shorthand for --output=type=registry
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    pub push: bool,

    /// Shorthand for --output=type=store, which is what happens anyway without --output
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    pub load: bool,

    /// Write the image's digest to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,

    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,

    /// Write each call of a plugin that does not ship with kiln into a directory, for `kiln plugin test`; secret options
    /// and the credentials of addresses are left out
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,

    /// Ask in place of building: check, outline or targets, with `,format=json` for programs
    #[arg(long, value_name = "METHOD[,format=FORMAT]", default_value = "build", hide_default_value = true)]
    pub call: String,

    /// Shorthand for --call=check: find what is wrong with the build file, and what could be better
    #[arg(long, conflicts_with = "call", value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    pub check: bool,

    /// Build context: a directory, the address of a git repository or an archive, or `-` for an archive or a Dockerfile
    /// on standard input
    #[arg(value_name = "CONTEXT")]
    pub context: String,

    #[command(flatten)]
    pub compat: CompatArgs,
}

/// What a build is made of and how its steps run: all that bears on a plan, too.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// Build file: a path, an http(s) address, or `-` for standard input [default: Dockerfile in the context]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,

    /// Stage or target to build [default: the last, or the only one]
    #[arg(long, value_name = "STAGE", default_value = "", hide_default_value = true)]
    pub target: String,

    /// Set a build argument; without a value it is taken from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub build_args: Vec<String>,

    /// Set a label of the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,

    /// Platforms to build for, such as linux/amd64,linux/arm64
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    pub platforms: Vec<String>,

    /// Do not use the cache
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    pub no_cache: bool,

    /// Do not use the cache for these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,

    /// Ask registries again what image names mean
    #[arg(long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    pub pull: bool,

    /// How to show progress
    #[arg(long, value_enum, default_value = "auto", env = "BUILDKIT_PROGRESS", hide_env = true)]
    pub progress: ProgressMode,

    /// Show nothing but the result: the image's digest, or the plan
    #[arg(short, long, value_parser = boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", value_name = "BOOL", hide_possible_values = true, hide_default_value = true)]
    pub quiet: bool,

    #[command(flatten)]
    pub plugins: PluginArgs,

    /// Use plugins only as kiln.lock has them; fail where it would have to change
    #[arg(long)]
    pub locked: bool,

    /// File that says what names of plugins mean [default: kiln.lock in the context, if that is a directory]
    #[arg(long, value_name = "FILE")]
    pub lock_file: Option<PathBuf>,

    /// Network of RUN steps that do not say otherwise
    #[arg(long, value_enum, default_value = "default")]
    pub network: NetworkArg,

    /// Add a line to /etc/hosts of RUN steps
    #[arg(long = "add-host", value_name = "HOST:IP")]
    pub add_hosts: Vec<String>,

    /// Give a secret to RUN steps: id=ID[,src=FILE|,env=NAME][,type=file|env]
    #[arg(long = "secret", value_name = "SPEC")]
    pub secrets: Vec<String>,

    /// Lend SSH keys to RUN steps: default, ID=SOCKET or ID=KEYFILE[,KEYFILE…]
    #[arg(long = "ssh", value_name = "SPEC")]
    pub ssh: Vec<String>,

    /// Another source of files, by name
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    pub build_contexts: Vec<String>,

    /// Grant a right that is off by default: network.host, security.insecure, plugin.CAPABILITY=NAME
    #[arg(long, value_name = "RIGHT", value_delimiter = ',')]
    pub allow: Vec<String>,

    /// Size of /dev/shm in RUN steps, such as 128m
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,

    /// Run steps in a cgroup of their own below this one: a path, or a slice such as build.slice
    #[arg(long, value_name = "CGROUP")]
    pub cgroup_parent: Option<String>,

    /// Limit of RUN steps, such as nofile=1024:2048
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub ulimits: Vec<String>,

    /// One time on everything the build makes, so that equal inputs give equal bytes: SOURCE_DATE_EPOCH, or 0
    #[arg(long)]
    pub reproducible: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// tty on a terminal, plain otherwise
    Auto,
    Tty,
    Plain,
    #[value(alias = "json")]
    Rawjson,
    #[value(alias = "none")]
    Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkArg {
    #[value(alias = "sandbox")]
    Default,
    None,
    Host,
}

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List images
    Ls {
        /// Also those without a name, and bases that were pulled
        #[arg(short, long)]
        all: bool,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        /// Sizes in bytes
        #[arg(long)]
        bytes: bool,
    },
    /// Show configuration, layers and sizes as JSON
    Inspect { image: String },
    /// Show where each layer came from, down to the base image
    History {
        image: String,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        /// Sizes in bytes
        #[arg(long)]
        bytes: bool,
        /// Do not shorten commands
        #[arg(long)]
        no_trunc: bool,
    },
    /// List the files of an image
    Files {
        image: String,
        /// Only below this path
        path: Option<String>,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Give an image another name
    Tag { image: String, name: String },
    /// Remove names; what nothing else needs goes with `kiln prune`
    Rm {
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Write images to an archive
    Save {
        #[arg(required = true)]
        images: Vec<String>,
        /// File to write; `-` for standard output
        #[arg(short, long, default_value = "-")]
        output: String,
        #[arg(long, value_enum, default_value = "oci")]
        format: ArchiveFormat,
    },
    /// Read images from an archive or an OCI layout directory
    Load {
        /// File or directory; `-` for standard input
        #[arg(short, long, default_value = "-")]
        input: String,
    },
    /// Make an image of one layer from a directory or a tar archive of files
    Import {
        source: PathBuf,
        name: String,
        /// Set configuration with a Dockerfile line, such as 'CMD ["sh"]'
        #[arg(short, long = "change", value_name = "INSTRUCTION")]
        changes: Vec<String>,
        #[arg(long)]
        platform: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArchiveFormat {
    Oci,
    Docker,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Set an environment variable; without a value it is taken from kiln's own
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// User to run as, `user[:group]`
    #[arg(short, long)]
    pub user: Option<String>,
    /// Directory to start in
    #[arg(short, long)]
    pub workdir: Option<String>,
    /// Program to start in place of the image's entrypoint
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// Network of the container
    #[arg(long, value_enum, default_value = "default")]
    pub network: NetworkArg,
    /// Show a directory or file of the host inside, SOURCE:TARGET[:ro]
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET[:ro]")]
    pub volumes: Vec<String>,
    /// Taken as with docker: kiln's own input always goes to the program
    #[arg(short, long)]
    pub interactive: bool,
    /// Run with kiln's own terminal, which must be one
    #[arg(short, long)]
    pub tty: bool,
    /// Taken as with docker: nothing of a container is ever kept
    #[arg(long)]
    pub rm: bool,
    /// Image to run
    pub image: String,
    /// What to run, in place of the image's own command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DuArgs {
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Sizes in bytes
    #[arg(long)]
    pub bytes: bool,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Also remove pulled bases, unnamed images, cache mounts and everything else that no named image needs
    #[arg(short, long)]
    pub all: bool,
    /// Remove the least recently used only until this much remains, such as 10g
    #[arg(long, value_name = "SIZE")]
    pub keep_storage: Option<String>,
    /// Keep what was used within this time, such as 24h
    #[arg(long, value_name = "DURATION")]
    pub keep_duration: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_docker_are_found() {
        let meant = |line: &str| {
            let words = line.split(' ').map(OsString::from);
            without_aliases(words).join(&OsString::from(" ")).into_string().unwrap()
        };
        assert_eq!(meant("kiln images -a"), "kiln image ls -a");
        assert_eq!(meant("kiln --root /x rmi a"), "kiln --root /x image rm a");
        assert_eq!(meant("kiln --root=/x save images"), "kiln --root=/x image save images");
        assert_eq!(meant("kiln image ls images"), "kiln image ls images");
        assert_eq!(meant("kiln --root images"), "kiln --root images");
        assert_eq!(meant("kiln"), "kiln");
    }

    #[test]
    fn options_are_as_clap_wants_them() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
