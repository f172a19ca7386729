//! `kiln plugin check`: what is wrong with a plugin, and what was looked at.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use kiln_core::{Cancel, Severity};
use kiln_driver::record::RehearsalError;
use kiln_driver::{Driver, LoadError};

use crate::exit::Exit;
use crate::{parse, report, table};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub plugin: PathBuf,
}

pub fn run(args: &CheckArgs, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    parse::named(&args.plugin, "the plugin")?;
    let found = match driver.check_plugin(&args.plugin, cancel) {
        Ok(found) => found,
        Err(RehearsalError::Cancelled) => return Ok(Exit::Interrupted),
        Err(RehearsalError::Load(error @ (LoadError::Refused { .. } | LoadError::Failed(_)))) => {
            tellln!("error: {error}");
            return Ok(Exit::BuildWrong);
        }
        Err(error) => return Err(error.into()),
    };
    let plugin = &found.summary;
    let wants =
        if plugin.capabilities.is_empty() { "nothing".to_owned() } else { plugin.capabilities.join(", ") };
    let mut text = format!("{} {} ({})\n", plugin.name, plugin.version, plugin.kinds.join(", "));
    let mut rows = vec![("wants".to_owned(), wants)];
    rows.extend(found.seen.iter().cloned());
    let width = rows.iter().map(|(subject, _)| subject.chars().count()).max().unwrap_or_default();
    for (subject, what) in rows {
        text.push_str(&format!("  {subject:<width$}  {what}\n"));
    }
    table::put(&text)?;
    for finding in &found.findings {
        tell!("{}", report::render(finding, &|_| None, report::Style { colour: false }));
    }
    let errors = found.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if errors > 0 {
        return Ok(Exit::BuildWrong);
    }
    table::put("good\n")?;
    Ok(Exit::Built)
}
