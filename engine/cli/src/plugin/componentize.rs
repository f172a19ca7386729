//! `kiln plugin componentize`: makes a component of what compilers for C and the like write.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::exit::Exit;
use crate::parse;

#[derive(Debug, Args)]
pub struct ComponentizeArgs {
    /// A core WebAssembly module that was linked with the bindings of a world
    #[arg(value_name = "MODULE")]
    pub module: PathBuf,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

pub fn run(args: &ComponentizeArgs) -> Result<Exit> {
    parse::named(&args.module, "the module")?;
    let module =
        fs::read(&args.module).with_context(|| format!("could not read `{}`", args.module.display()))?;
    let component = match kiln_driver::componentize(&module) {
        Ok(component) => component,
        Err(error) => {
            tellln!("error: {}: {error}", args.module.display());
            return Ok(Exit::BuildWrong);
        }
    };
    fs::write(&args.output, component)
        .with_context(|| format!("could not write `{}`", args.output.display()))?;
    Ok(Exit::Built)
}
