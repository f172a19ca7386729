//! `kiln run`: an image, tried at once.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use kiln_core::Cancel;
use kiln_driver::{BindVolume, Driver, ProgramExit, RunRequest};

use crate::args::RunArgs;
use crate::exit::{CommandLine, Exit};
use crate::{build, parse};

pub fn run(args: &RunArgs, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    if args.tty && !std::io::stdin().is_terminal() {
        return Err(
            CommandLine(anyhow!("`--tty`: standard input is no terminal; leave the option out")).into()
        );
    }
    let mut env = Vec::new();
    for text in &args.env {
        env.extend(parse::pair_or_environment(text, "--env").map_err(CommandLine::from)?);
    }
    let request = RunRequest {
        image: args.image.clone(),
        args: args.args.clone(),
        entrypoint: args.entrypoint.clone(),
        env,
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        network: build::network(args.network),
        volumes: args.volumes.iter().map(|text| volume(text)).collect::<Result<_>>()?,
    };
    Ok(match driver.run(&request, cancel)? {
        ProgramExit::Code(code) => Exit::Program(u8::try_from(code).unwrap_or(255)),
        // As shells report it.
        ProgramExit::Signal(signal) => Exit::Program(u8::try_from(128 + signal).unwrap_or(255)),
        ProgramExit::Cancelled => Exit::Interrupted,
    })
}

fn volume(text: &str) -> Result<BindVolume> {
    let wrong =
        |why| CommandLine(anyhow!("`--volume {text}`: {why}; write SOURCE:TARGET or SOURCE:TARGET:ro"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, readonly) = match parts[..] {
        [source, target] | [source, target, "rw"] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        _ => return Err(wrong("it has not two parts").into()),
    };
    if !target.starts_with('/') {
        return Err(wrong("the target is not absolute").into());
    }
    let source = PathBuf::from(source);
    let source = std::path::absolute(&source).map_err(|_| wrong("the source is empty"))?;
    Ok(BindVolume { source, target: target.to_owned(), readonly })
}
