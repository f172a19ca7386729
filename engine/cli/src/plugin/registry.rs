//! `kiln plugin push`, `pull`, `rm`, `sign` and `update`: plugins in registries.

use std::path::Path;

use anyhow::{Result, anyhow};
use kiln_driver::{Driver, plugin_reference};

use crate::build::write_file;
use crate::exit::CommandLine;
use crate::parse;
use crate::table;

/// The name for builds that want these very bytes goes to standard output.
pub fn push(file: &Path, reference: &str, driver: &Driver) -> Result<()> {
    parse::named(file, "the plugin")?;
    let pushed = driver.push_plugin(file, &plugin_reference(reference)?, epoch()?)?;
    let name = pushed.reference.familiar();
    tellln!("pushed {} {} as {name}", pushed.summary.name, pushed.summary.version);
    table::put(&format!("{name}@{}\n", pushed.manifest))
}

/// Seconds since 1970 at which what is published was made: always the same, so that the same file has one digest.
fn epoch() -> Result<i64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => text.parse().map_err(|_| {
            CommandLine(anyhow!("SOURCE_DATE_EPOCH is `{text}`, and a number of seconds is needed")).into()
        }),
        _ => Ok(0),
    }
}

pub fn pull(reference: &str, output: Option<&Path>, driver: &Driver) -> Result<()> {
    let reference = plugin_reference(reference)?;
    let (pulled, wasm) = driver.pull_plugin(&reference)?;
    if let Some(output) = output {
        write_file(output, &wasm)?;
    }
    if let Some(summary) = &pulled.summary {
        tellln!("pulled {} {}, {}", summary.name, summary.version, parse::human_size(pulled.size_bytes));
    }
    table::put(&format!("{}@{}\n", without_digest(reference), pulled.manifest))
}

fn without_digest(mut reference: kiln_core::ImageRef) -> String {
    reference.digest = None;
    reference.familiar()
}

pub fn remove(plugins: &[String], driver: &Driver) -> Result<()> {
    for name in driver.remove_pulled_plugins(plugins)? {
        tellln!("removed {name}");
    }
    Ok(())
}

pub fn sign(key: &Path, reference: &str, driver: &Driver) -> Result<()> {
    parse::named(key, "the key")?;
    let (manifest, at) = driver.sign_plugin(&plugin_reference(reference)?, key)?;
    tellln!("signed {manifest}");
    table::put(&format!("{}\n", at.familiar()))
}

pub fn update(plugins: &[String], lock_file: &Path, accept: &[String], driver: &Driver) -> Result<()> {
    let updated = driver.update_plugins(lock_file, plugins, accept)?;
    let mut changed = 0;
    for plugin in &updated {
        match plugin.from {
            Some(from) if from == plugin.to && plugin.accepted.is_empty() => continue,
            Some(from) => {
                tellln!("{} {}: {} -> {}", plugin.name, plugin.source, from.0.short(), plugin.to.0.short());
            }
            None => tellln!("{} {}: {}", plugin.name, plugin.source, plugin.to.0.short()),
        }
        changed += 1;
        if !plugin.accepted.is_empty() {
            tellln!("  now wants {}", plugin.accepted.join(", "));
        }
    }
    match (changed, updated.len()) {
        (0, 0) => tellln!("there is nothing in `{}`", lock_file.display()),
        (0, _) => tellln!("`{}` says what the registries say", lock_file.display()),
        _ => tellln!("wrote `{}`", lock_file.display()),
    }
    Ok(())
}
