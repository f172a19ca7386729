//! The command line of `kiln plugin`.

use std::path::PathBuf;

use clap::Subcommand;

use super::check::CheckArgs;
use super::componentize::ComponentizeArgs;
use super::fixtures::{RunArgs, TestArgs};
use super::new::NewArgs;
use crate::args::Format;

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Begin a plugin: write a project that builds with the ordinary tools of its language
    New(NewArgs),
    /// Make a component of a core WebAssembly module, as compilers for C write it
    Componentize(ComponentizeArgs),
    /// Say what is wrong with a plugin: its contract, its description, its limits, and whether it answers the same twice
    Check(CheckArgs),
    /// Ask a plugin what was recorded in a build, and show its answer; or have a real build ask it, and record that
    Run(RunArgs),
    /// Ask a plugin what was recorded in builds, and compare its answers
    Test(TestArgs),
    /// List the plugins that a build would have, and those that were pulled
    Ls {
        #[arg(long = "plugin", value_name = "[NAME=]FILE|oci://REF")]
        plugins: Vec<String>,
        /// Grant a plugin what it wants, plugin.CAPABILITY=NAME
        #[arg(long, value_name = "RIGHT", value_delimiter = ',')]
        allow: Vec<String>,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show what a plugin is and what it asks for, granting it nothing
    Inspect {
        /// A file, oci://REGISTRY/REPOSITORY[:TAG][@DIGEST], or a plugin that ships with kiln: NAME or builtin:NAME
        plugin: String,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Send a plugin to a registry
    Push {
        file: PathBuf,
        #[arg(value_name = "REGISTRY/REPOSITORY[:TAG]")]
        reference: String,
    },
    /// Fetch a plugin from a registry into the store
    Pull {
        #[arg(value_name = "REGISTRY/REPOSITORY[:TAG][@DIGEST]")]
        reference: String,
        /// Write the component to a file as well
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Remove names of pulled plugins; the bytes go with `kiln prune`
    Rm {
        /// Name or digest
        #[arg(required = true, value_name = "PLUGIN")]
        plugins: Vec<String>,
    },
    /// Sign a plugin in a registry, as cosign does
    Sign {
        /// Private key: ECDSA on P-256 or Ed25519, in PEM (PKCS #8)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[arg(value_name = "REGISTRY/REPOSITORY[:TAG][@DIGEST]")]
        reference: String,
    },
    /// Let the names in kiln.lock stand for what registries say now
    Update {
        /// Names or sources of the file; an oci:// source that it does not have is added [default: all]
        #[arg(value_name = "PLUGIN")]
        plugins: Vec<String>,
        #[arg(long, value_name = "FILE", default_value = "kiln.lock")]
        lock_file: PathBuf,
        /// Take a plugin that wants this now and did not before; may be repeated
        #[arg(long, value_name = "CAPABILITY")]
        accept: Vec<String>,
    },
}
