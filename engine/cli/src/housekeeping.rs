//! `kiln du` and `kiln prune`: what the store takes, and giving it back.

use std::io::{BufRead, IsTerminal};
use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow};
use kiln_driver::{Driver, PruneOptions};
use serde_json::json;

use crate::args::{DuArgs, Format, PruneArgs};
use crate::exit::{CommandLine, Exit};
use crate::{parse, table};

pub fn du(args: &DuArgs, driver: &Driver) -> Result<Exit> {
    let usage = driver.usage()?;
    let total: u64 = usage.iter().map(|kind| kind.disk_bytes).sum();
    if args.format == Format::Json {
        let kinds: Vec<_> = usage
            .iter()
            .map(|kind| json!({ "kind": kind.name, "entries": kind.entries, "bytes": kind.disk_bytes }))
            .collect();
        table::put(&format!("{:#}\n", json!({ "total": total, "kinds": kinds })))?;
        return Ok(Exit::Built);
    }
    let size = |bytes: u64| if args.bytes { bytes.to_string() } else { parse::human_size(bytes) };
    let mut rows: Vec<_> = usage
        .iter()
        .map(|kind| vec![kind.name.to_owned(), kind.entries.to_string(), size(kind.disk_bytes)])
        .collect();
    rows.push(vec!["total".to_owned(), String::new(), size(total)]);
    table::print(&["KIND", "ENTRIES", "SIZE"], &[1, 2], &rows)?;
    Ok(Exit::Built)
}

pub fn prune(args: &PruneArgs, driver: &Driver) -> Result<Exit> {
    let options = PruneOptions {
        all: args.all,
        keep_bytes: args.keep_storage.as_deref().map(parse::size).transpose().map_err(CommandLine::from)?,
        keep_for: args
            .keep_duration
            .as_deref()
            .map(parse::duration)
            .transpose()
            .map_err(CommandLine::from)?,
    };
    if args.all && !args.force && !confirmed()? {
        return Err(CommandLine(anyhow!("nothing was removed; confirm with y, or give --force")).into());
    }
    let pruned = driver.prune(&options)?;
    table::put(&format!("removed {} entries, {}\n", pruned.entries, parse::human_size(pruned.disk_bytes)))?;
    Ok(Exit::Built)
}

/// Asks on a terminal; without one there is nobody to say no, and scripts give `--force` or mean it.
fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    tell!("Remove the cache, pulled bases, unnamed images and cache mounts? [y/N] ");
    let mut line = String::new();
    crate::READING.store(true, Ordering::Release);
    let read = std::io::stdin().lock().read_line(&mut line);
    crate::READING.store(false, Ordering::Release);
    read?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
