//! `kiln plugin run` and `kiln plugin test`: asks a plugin what was recorded, and compares its answers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::{Args, Parser};
use kiln_core::Cancel;
use kiln_driver::record::{Asked, Ending, Fixture, Rehearsal, RehearsalError, Reply};
use kiln_driver::{Driver, LoadError};
use serde_json::Value;

use crate::args::BuildArgs;
use crate::config::Config;
use crate::exit::{CommandLine, Exit};
use crate::{build, parse, table};

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub plugin: PathBuf,
    /// A call that was written down: the host's answers are played back
    #[arg(value_name = "FIXTURE", required_unless_present = "record", conflicts_with = "record")]
    pub fixture: Option<PathBuf>,
    /// Ask about a real build instead, which is planned and judged and not made, and write each call into a file of DIR
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// After `--`: options of `kiln build`, and the build context
    #[arg(last = true, value_name = "BUILD OPTIONS", requires = "record")]
    pub build: Vec<String>,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub plugin: PathBuf,
    /// Calls that `kiln build --record` wrote down, or directories of them
    #[arg(value_name = "FIXTURE", required = true)]
    pub fixtures: Vec<PathBuf>,
    /// Write down what the plugin answers now
    #[arg(long)]
    pub update: bool,
}

/// Lines of a difference that are shown.
const SHOWN: usize = 40;

pub fn run(args: &RunArgs, config: &Config, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    let Some(plugin) = load(&args.plugin, driver)? else { return Ok(Exit::BuildWrong) };
    let file = match (&args.fixture, &args.record) {
        (Some(fixture), _) => fixture,
        (None, Some(directory)) => return live(args, directory, &plugin, config, driver, cancel),
        (None, None) => {
            return Err(CommandLine(anyhow!("name a FIXTURE, or a directory with --record")).into());
        }
    };
    parse::named(file, "the record")?;
    let fixture = read(file)?;
    let Some(reply) = replay(&plugin, &fixture, file, cancel)? else { return Ok(Exit::Interrupted) };
    match reply.ending {
        Ending::Answer(answer) => {
            table::put(&format!("{answer:#}\n"))?;
            Ok(Exit::Built)
        }
        Ending::Failure(why) => {
            tellln!("error: plugin {} failed in {}: {why}", plugin.id(), fixture.hook);
            Ok(Exit::Refused)
        }
    }
}

/// Has the plugin asked by a build as far as that goes without running anything, and prints where each call was written.
fn live(
    args: &RunArgs,
    directory: &Path,
    plugin: &Rehearsal,
    config: &Config,
    driver: &Driver,
    cancel: &Cancel,
) -> Result<Exit> {
    let name = &plugin.id().name;
    let file =
        args.plugin.to_str().ok_or_else(|| CommandLine(anyhow!("the path of the plugin is no UTF-8")))?;
    let mut words = vec!["kiln".to_owned(), "--plugin".to_owned(), file.to_owned()];
    let asks = |option: &str| {
        args.build.iter().any(|word| word == option || word.starts_with(&format!("{option}=")))
    };
    if plugin.summary().kinds.contains(&"frontend") && !asks("--frontend") {
        words.extend(["--frontend".to_owned(), name.clone()]);
    }
    words.extend(args.build.iter().cloned());
    let Asking { build } = Asking::try_parse_from(words)
        .map_err(|error| CommandLine(anyhow!("after `--`: {}", first_paragraph(&error.to_string()))))?;
    let recorder = driver.record_plugins(directory)?;
    let exit = build::rehearse(&build, config, driver, cancel);
    let mut asked = false;
    for call in recorder.written() {
        asked |= call.plugin == *name;
        table::put(&format!("{} {} {}\n", call.plugin, call.hook, directory.join(&call.file).display()))?;
    }
    if let Some(error) = recorder.failure() {
        return Err(error)
            .with_context(|| format!("could not write down a plugin's call in `{}`", directory.display()));
    }
    let exit = exit?;
    if !asked && exit == Exit::Built {
        return Err(CommandLine(anyhow!(
            "`{name}` was not asked anything: only frontends, instructions, and policies on sources, graph and commands are \
             asked before something is built; for the others there is `kiln build --record DIR`"
        ))
        .into());
    }
    Ok(exit)
}

/// What stands after `--`.
#[derive(Debug, Parser)]
struct Asking {
    #[command(flatten)]
    build: BuildArgs,
}

/// Of an error of the parser without its usage, which is that of another command.
fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn test(args: &TestArgs, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    let Some(plugin) = load(&args.plugin, driver)? else { return Ok(Exit::BuildWrong) };
    let mut files = Vec::new();
    for path in &args.fixtures {
        parse::named(path, "the record")?;
        collect(path, &mut files)?;
    }
    let (mut same, mut changed, mut others) = (0, 0, 0);
    for file in &files {
        let fixture = read(file)?;
        if fixture.plugin.name != plugin.id().name {
            others += 1;
            continue;
        }
        let Some(reply) = replay(&plugin, &fixture, file, cancel)? else { return Ok(Exit::Interrupted) };
        let difference = difference(&fixture, &reply);
        if difference.is_empty() {
            same += 1;
            table::put(&format!("ok       {}\n", file.display()))?;
            continue;
        }
        changed += 1;
        // What it asks now, nobody has answered.
        let unanswered = matches!(&reply.ending, Ending::Failure(why) if why.starts_with(UNRECORDED));
        if args.update && !unanswered {
            update(file, fixture, reply, &plugin)?;
            table::put(&format!("updated  {}\n{difference}", file.display()))?;
        } else {
            table::put(&format!("CHANGED  {}\n{difference}", file.display()))?;
            if unanswered {
                table::put(
                    "    the host's answer to this is not on record; record it again with `kiln build --record`\n",
                )?;
            }
        }
    }
    if same + changed == 0 {
        let text = format!("there is no record of a call of `{}` in what was given", plugin.id().name);
        return Err(CommandLine(anyhow!(text)).into());
    }
    let more = if others > 0 { format!(", {others} of other plugins") } else { String::new() };
    let verb = if args.update { "differed" } else { "changed" };
    table::put(&format!("{same} as recorded, {changed} {verb}{more}\n"))?;
    Ok(if changed == 0 || args.update { Exit::Built } else { Exit::BuildWrong })
}

/// How a failure begins that is a question without an answer on record.
const UNRECORDED: &str = "it asked for ";

/// Nothing when it is no plugin, which is said.
fn load(file: &Path, driver: &Driver) -> Result<Option<Rehearsal>> {
    parse::named(file, "the plugin")?;
    match driver.rehearse_plugin(file) {
        Ok(plugin) => Ok(Some(plugin)),
        Err(error @ (LoadError::Refused { .. } | LoadError::Failed(_))) => {
            tellln!("error: {error}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn read(file: &Path) -> Result<Fixture> {
    let text = fs::read_to_string(file).with_context(|| format!("could not read `{}`", file.display()))?;
    Fixture::parse(&text).map_err(|error| CommandLine(anyhow!("`{}`: {error}", file.display())).into())
}

/// Nothing when nobody waits any more.
fn replay(plugin: &Rehearsal, fixture: &Fixture, file: &Path, cancel: &Cancel) -> Result<Option<Reply>> {
    match plugin.replay(fixture, cancel) {
        Ok(reply) => Ok(Some(reply)),
        Err(RehearsalError::Cancelled) => Ok(None),
        Err(error @ (RehearsalError::Contract { .. } | RehearsalError::Question(_))) => {
            Err(CommandLine(anyhow!("`{}`: {error}", file.display())).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Records in a directory are the files that end with `.json`, by name.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("could not read `{}`", path.display()))? {
        let path = entry.with_context(|| format!("could not read `{}`", path.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    files.append(&mut found);
    Ok(())
}

fn update(file: &Path, fixture: Fixture, reply: Reply, plugin: &Rehearsal) -> Result<()> {
    let id = plugin.id();
    let asked = Asked { name: id.name.clone(), version: id.version.clone(), digest: id.digest.to_string() };
    let fixture = Fixture { plugin: asked, calls: reply.calls, ending: reply.ending, ..fixture };
    fs::write(file, fixture.to_string()).with_context(|| format!("could not write `{}`", file.display()))
}

/// What is another one than on record, for people; nothing when all is the same.
fn difference(fixture: &Fixture, reply: &Reply) -> String {
    let mut out = lines_that_differ(&ending(&fixture.ending), &ending(&reply.ending));
    for call in &reply.unasked {
        out.push_str(&format!(
            "    it did not ask `{}` with {}\n",
            call.call,
            Value::from(call.arguments.clone())
        ));
    }
    out
}

fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Answer(answer) => format!("{answer:#}"),
        Ending::Failure(why) => format!("failed: {why}"),
    }
}

/// From the first line that differs to the last.
fn lines_that_differ(old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let before = start.checked_sub(1).and_then(|line| old.get(line)).copied();
    let (old, new) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    let indent = |line: &str| line.len() - line.trim_start().len();
    let common = before.iter().chain(old).chain(new).map(|line| indent(line)).min().unwrap_or_default();
    let mut out = String::new();
    if let Some(before) = before {
        out.push_str(&format!("      {}\n", &before[common..]));
    }
    for (sign, lines) in [('-', old), ('+', new)] {
        for line in lines.iter().take(SHOWN) {
            out.push_str(&format!("    {sign} {}\n", &line[common..]));
        }
        if lines.len() > SHOWN {
            out.push_str(&format!("    {sign} … {} more lines\n", lines.len() - SHOWN));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_what_lies_between_equal_lines() {
        assert_eq!(lines_that_differ("a\nb\nc", "a\nb\nc"), "");
        assert_eq!(lines_that_differ("a\nb\nc", "a\nx\nc"), "      a\n    - b\n    + x\n");
        assert_eq!(lines_that_differ("a", "a\nb"), "      a\n    + b\n");
        assert_eq!(lines_that_differ("a\na", "a"), "      a\n    - a\n");
        assert_eq!(
            lines_that_differ("{\n    a\n      b\n}", "{\n    a\n      c\n}"),
            "      a\n    -   b\n    +   c\n"
        );
    }
}
