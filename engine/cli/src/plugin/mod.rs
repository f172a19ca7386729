//! `kiln plugin …`: which components a build would have, and what they ask for.

mod args;
mod show;

use std::path::Path;

use anyhow::Result;
use kiln_driver::Driver;

use crate::build::plugin_option;
use crate::exit::Exit;
use crate::parse;

pub use args::PluginCommand;

pub fn run(command: &PluginCommand, driver: &Driver) -> Result<Exit> {
    match command {
        PluginCommand::Ls { plugins, format } => {
            for plugin in plugins {
                let (name, file) = plugin_option(plugin);
                parse::named(Path::new(file), "the plugin")?;
                driver.add_plugin(name, Path::new(file))?;
            }
            show::list(&driver.plugins()?, *format)?;
        }
        PluginCommand::Inspect { plugin, format } => show::inspect(&driver.inspect_plugin(plugin)?, *format)?,
    }
    Ok(Exit::Built)
}
