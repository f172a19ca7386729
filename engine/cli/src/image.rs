//! `kiln image …`: what lies in the store, shown and moved.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use kiln_core::{Cancel, Event, EventSink, ImageRef, Platform};
use kiln_driver::{Destination, Driver, ImportRequest, SaveFormat};
use serde_json::json;

use crate::age;
use crate::args::{ArchiveFormat, Format, ImageCommand};
use crate::config::Config;
use crate::exit::{CommandLine, Exit};
use crate::loading::{self, PluginArgs};
use crate::parse::human_size;
use crate::project::Project;
use crate::report::{self, Style};
use crate::table;

pub fn run(command: &ImageCommand, config: &Config, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    match command {
        ImageCommand::Ls { all, format, bytes } => list(driver, *all, *format, *bytes)?,
        ImageCommand::Inspect { image } => table::put(&format!("{:#}\n", driver.inspect(image)?))?,
        ImageCommand::History { image, format, bytes, no_trunc } => {
            history(driver, image, *format, *bytes, *no_trunc)?;
        }
        ImageCommand::Files { image, path, format } => {
            files(driver, image, path.as_deref(), *format, cancel)?
        }
        ImageCommand::Tag { image, name } => {
            let name = image_name(name)?;
            set_up_policies(config, driver)?;
            driver.tag(image, &name, &Told, cancel)?;
        }
        ImageCommand::Rm { images } => {
            for name in driver.untag(images)? {
                table::put(&format!("{name}\n"))?;
            }
        }
        ImageCommand::Save { images, output, format } => {
            let format = match format {
                ArchiveFormat::Oci => SaveFormat::Oci,
                ArchiveFormat::Docker => SaveFormat::Docker,
            };
            set_up_policies(config, driver)?;
            driver.save(images, &destination(output), format, &Told, cancel)?;
        }
        ImageCommand::Load { input } => {
            crate::READING.store(input == "-", std::sync::atomic::Ordering::Release);
            for (name, digest) in driver.load((input != "-").then(|| Path::new(input)), cancel)? {
                table::put(&format!("{} {digest}\n", name.as_deref().unwrap_or("<none>")))?;
            }
        }
        ImageCommand::Import { source, name, changes, platform } => {
            let platform = match platform {
                Some(text) => Platform::parse(text).map_err(|error| CommandLine(error.into()))?,
                None => Platform::host(),
            };
            let request =
                ImportRequest { source: source.as_path(), name: image_name(name)?, changes, platform };
            // An image that nobody built is judged like one that somebody did.
            set_up_policies(config, driver)?;
            let digest = driver.import(&request, &Told, cancel)?;
            table::put(&format!("{digest}\n"))?;
        }
    }
    Ok(Exit::Built)
}

/// Those of the site: no repository and no option has a say in what becomes of an image of the store.
fn set_up_policies(config: &Config, driver: &Driver) -> Result<()> {
    loading::tell(driver);
    let setup = loading::setup(config, &Project::default(), &PluginArgs::default(), &[])?;
    Ok(driver.set_up_plugins(&setup)?)
}

/// Shows what policies say, and no progress.
struct Told;

impl EventSink for Told {
    fn emit(&self, event: Event) {
        if let Event::Diagnostic(diagnostic) = event {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            tell!("{}", report::render(&diagnostic, &|_| None, Style { colour }));
        }
    }
}

fn image_name(name: &str) -> Result<ImageRef> {
    let parsed = ImageRef::parse(name).map_err(|error| CommandLine(error.into()))?;
    if parsed.is_pinned() {
        return Err(CommandLine(anyhow!("`{name}`: a name given to an image has a tag, not a digest")).into());
    }
    Ok(parsed.or_latest())
}

fn destination(output: &str) -> Destination {
    match output {
        "-" => Destination::Stdout,
        path => Destination::Path(path.into()),
    }
}

/// Exact or for people.
fn size(size_bytes: u64, exact: bool) -> String {
    if exact { size_bytes.to_string() } else { human_size(size_bytes) }
}

fn list(driver: &Driver, all: bool, format: Format, bytes: bool) -> Result<()> {
    let images = driver.images(all)?;
    if format == Format::Json {
        let images: Vec<_> = images
            .iter()
            .map(|image| {
                json!({
                    "name": image.name,
                    "digest": image.digest.to_string(),
                    "platforms": image.platforms,
                    "created": image.created,
                    "size": image.size_bytes,
                    "pulled": image.pulled,
                })
            })
            .collect();
        return table::put(&format!("{:#}\n", json!(images)));
    }
    let rows: Vec<_> = images
        .iter()
        .map(|image| {
            vec![
                image.name.clone().unwrap_or_else(|| "<none>".to_owned()),
                image.digest.short(),
                image.platforms.join(","),
                image.created.as_deref().map_or_else(|| "-".to_owned(), age::ago),
                size(image.size_bytes, bytes),
            ]
        })
        .collect();
    table::print(&["NAME", "DIGEST", "PLATFORM", "CREATED", "SIZE"], &[4], &rows)
}

fn history(driver: &Driver, image: &str, format: Format, bytes: bool, no_trunc: bool) -> Result<()> {
    let rows = driver.history(image)?;
    if format == Format::Json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "created": row.created,
                    "createdBy": row.created_by,
                    "comment": row.comment,
                    "size": row.size_bytes,
                    "layer": row.layer.map(|layer| layer.to_string()),
                    "base": row.base,
                })
            })
            .collect();
        return table::put(&format!("{:#}\n", json!(rows)));
    }
    let mut lines = Vec::new();
    let mut base = None;
    for row in &rows {
        if row.base != base {
            base.clone_from(&row.base);
            if let Some(base) = &base {
                lines.push(vec![format!("FROM {base}"), String::new(), String::new(), String::new()]);
            }
        }
        let command = match row.created_by.split_whitespace().collect::<Vec<_>>().join(" ") {
            command if no_trunc || command.chars().count() <= 60 => command,
            command => command.chars().take(59).chain(['…']).collect(),
        };
        lines.push(vec![
            command,
            row.layer.map_or_else(|| "-".to_owned(), |layer| layer.0.short()),
            row.layer.map_or_else(|| "-".to_owned(), |_| size(row.size_bytes, bytes)),
            row.created.as_deref().map(age::ago).unwrap_or_default(),
        ]);
    }
    // Newest first, as with `docker history`; a base's line then stands below what was made on it and above its own.
    table::print(&["CREATED BY", "LAYER", "SIZE", "CREATED"], &[2], &lines)
}

fn files(driver: &Driver, image: &str, path: Option<&str>, format: Format, cancel: &Cancel) -> Result<()> {
    let files = driver.files(image, path, cancel)?;
    if format == Format::Json {
        let files: Vec<_> = files
            .iter()
            .map(|file| {
                json!({
                    "path": file.path,
                    "type": file.kind_name(),
                    "mode": format!("{:04o}", file.mode),
                    "uid": file.uid,
                    "gid": file.gid,
                    "size": file.size_bytes,
                    "target": file.target,
                    "mtime": file.mtime_seconds,
                })
            })
            .collect();
        return table::put(&format!("{:#}\n", json!(files)));
    }
    let mut text = String::new();
    for file in &files {
        let target = match &file.target {
            Some(target) => format!(" -> {target}"),
            None => String::new(),
        };
        text.push_str(&format!(
            "{}{} {:>5} {:>5} {:>12} {}{target}\n",
            file.kind,
            permissions(file.mode),
            file.uid,
            file.gid,
            file.size_bytes,
            file.path
        ));
    }
    table::put(&text).context("could not list the files")
}

/// `rwxr-xr-x`, with set-id and sticky bits as `ls` shows them.
fn permissions(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::permissions;

    #[test]
    fn modes_look_as_ls_shows_them() {
        for (mode, text) in
            [(0o755, "rwxr-xr-x"), (0o4711, "rws--x--x"), (0o1777, "rwxrwxrwt"), (0o2640, "rw-r-S---")]
        {
            assert_eq!(permissions(mode), text);
        }
    }
}
