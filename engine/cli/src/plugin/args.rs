//! The command line of `kiln plugin`.

use clap::Subcommand;

use super::componentize::ComponentizeArgs;
use super::new::NewArgs;
use crate::args::Format;

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Begin a plugin: write a project that builds with the ordinary tools of its language
    New(NewArgs),
    /// Make a component of a core WebAssembly module, as compilers for C write it
    Componentize(ComponentizeArgs),
    /// List the plugins that a build would have
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
        /// A file, or the name of a plugin that ships with kiln
        plugin: String,
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}
