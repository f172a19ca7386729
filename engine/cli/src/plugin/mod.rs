//! `kiln plugin …`: begins plugins, tests them, and says which a build would have and what they ask for.

mod args;
mod check;
mod componentize;
mod fixtures;
mod new;
mod registry;
mod show;

use anyhow::Result;
use kiln_core::Cancel;
use kiln_driver::{Driver, PLUGIN_SCHEME, plugin_reference};

use crate::config::Config;
use crate::exit::Exit;
use crate::loading::{self, PluginArgs};
use crate::project::Project;

pub use args::PluginCommand;
pub use fixtures::{TestArgs, test};

pub fn run(command: &PluginCommand, config: &Config, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    loading::tell(driver);
    match command {
        PluginCommand::New(args) => return new::run(args),
        PluginCommand::Componentize(args) => return componentize::run(args),
        PluginCommand::Check(args) => return check::run(args, driver, cancel),
        PluginCommand::Run(args) => return fixtures::run(args, config, driver, cancel),
        PluginCommand::Test(args) => return fixtures::test(args, driver, cancel),
        PluginCommand::Ls { plugins, allow, format } => {
            let args = PluginArgs { plugins: plugins.clone(), ..PluginArgs::default() };
            driver.set_up_plugins(&loading::setup(config, &Project::default(), &args, allow)?)?;
            let (plugins, pulled) = (driver.plugins()?, driver.pulled_plugins()?);
            show::list(
                &plugins,
                &driver.shelved_plugins()?,
                &driver.plugins_of_registries(),
                &pulled,
                *format,
            )?;
        }
        PluginCommand::Inspect { plugin, format } if plugin.starts_with(PLUGIN_SCHEME) => {
            let inspected = driver.inspect_remote_plugin(&plugin_reference(plugin)?)?;
            show::inspect_remote(&inspected, *format)?;
        }
        PluginCommand::Inspect { plugin, format } => show::inspect(&driver.inspect_plugin(plugin)?, *format)?,
        PluginCommand::Push { file, reference } => registry::push(file, reference, driver)?,
        PluginCommand::Pull { reference, output } => registry::pull(reference, output.as_deref(), driver)?,
        PluginCommand::Rm { plugins } => registry::remove(plugins, driver)?,
        PluginCommand::Sign { key, reference } => registry::sign(key, reference, driver)?,
        PluginCommand::Update { plugins, lock_file, accept } => {
            registry::update(plugins, lock_file, accept, driver)?;
        }
    }
    Ok(Exit::Built)
}
