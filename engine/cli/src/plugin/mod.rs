//! `kiln plugin …`: begins plugins, and says which a build would have and what they ask for.

mod args;
mod componentize;
mod new;
mod show;

use anyhow::Result;
use kiln_driver::Driver;

use crate::config::Config;
use crate::exit::Exit;
use crate::loading::{self, PluginArgs};
use crate::project::Project;

pub use args::PluginCommand;

pub fn run(command: &PluginCommand, config: &Config, driver: &Driver) -> Result<Exit> {
    match command {
        PluginCommand::New(args) => return new::run(args),
        PluginCommand::Componentize(args) => return componentize::run(args),
        PluginCommand::Ls { plugins, allow, format } => {
            let args = PluginArgs { plugins: plugins.clone(), ..PluginArgs::default() };
            driver.set_up_plugins(&loading::setup(config, &Project::default(), &args, allow)?)?;
            show::list(&driver.plugins()?, *format)?;
        }
        PluginCommand::Inspect { plugin, format } => show::inspect(&driver.inspect_plugin(plugin)?, *format)?,
    }
    Ok(Exit::Built)
}
