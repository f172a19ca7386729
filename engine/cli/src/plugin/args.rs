//! The command line of `kiln plugin`.

use clap::Subcommand;

use crate::args::Format;

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
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
