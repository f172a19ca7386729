//! `kiln policy …`: what the rules are, how they stand, and what they say of a build that is not made.

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use clap::Subcommand;
use kiln_core::{Cancel, Diagnostic, Severity};
use kiln_driver::{ActivePolicy, BuildError, Driver, Exemption, Rule};

use crate::args::BuildArgs;
use crate::build;
use crate::config::Config;
use crate::exit::{CommandLine, Exit};
use crate::loading::{self, PluginArgs};
use crate::plugin::{TestArgs, test};
use crate::project::Project;
use crate::table;

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Judge a build without making it: its sources, its graph and its commands
    Check(Box<BuildArgs>),
    /// Ask a policy what was recorded in builds (`kiln build --record DIR`), and compare its answers
    Test(TestArgs),
    /// Show the rules of a policy, what becomes of their findings and who said so, and exemptions
    Explain {
        /// A policy, or POLICY/CODE for one rule; absent: all policies there are
        #[arg(value_name = "POLICY[/CODE]")]
        rule: Option<String>,
        #[command(flatten)]
        plugins: PluginArgs,
        /// Grant a plugin what it wants, plugin.CAPABILITY=NAME
        #[arg(long, value_name = "RIGHT", value_delimiter = ',')]
        allow: Vec<String>,
    },
}

pub fn run(command: &PolicyCommand, config: &Config, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    if !matches!(command, PolicyCommand::Check(_)) {
        loading::tell(driver);
    }
    match command {
        PolicyCommand::Check(args) => build::judge(args, config, driver, cancel),
        PolicyCommand::Test(args) => test(args, driver, cancel),
        PolicyCommand::Explain { rule, plugins, allow } => {
            driver.set_up_plugins(&loading::setup(config, &Project::default(), plugins, allow)?)?;
            table::put(&explain(driver, rule.as_deref())?)?;
            Ok(Exit::Built)
        }
    }
}

fn explain(driver: &Driver, rule: Option<&str>) -> Result<String> {
    let policies = driver.policies();
    if policies.is_empty() {
        return Err(CommandLine(anyhow!(
            "no policy is there to be explained; name one with `--policy FILE`, or in the configuration"
        ))
        .into());
    }
    let (policy, code) = match rule.map(|rule| rule.split_once('/').unwrap_or((rule, ""))) {
        None => (None, None),
        Some((policy, "")) => (Some(policy), None),
        Some((policy, code)) => (Some(policy), Some(code)),
    };
    let known: Vec<&str> = policies.iter().map(|known| known.name.as_str()).collect();
    if let Some(policy) = policy
        && !known.contains(&policy)
    {
        return Err(no_such("policy", policy, &known));
    }
    let summaries = driver.plugins()?;
    let exemptions = driver.exemptions();
    let mut text = String::new();
    for active in policies.iter().filter(|active| policy.is_none_or(|wanted| wanted == active.name)) {
        let rules = summaries.iter().find(|known| known.name == active.name).map(|known| &known.rules[..]);
        let rules = rules.unwrap_or_default();
        if let Some(code) = code
            && rules.iter().all(|rule| rule.code != code)
        {
            let known: Vec<&str> = rules.iter().map(|rule| rule.code.as_str()).collect();
            return Err(no_such("rule", code, &known));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        describe(&mut text, active, rules, code, &exemptions);
    }
    Ok(text)
}

fn no_such(what: &str, name: &str, known: &[&str]) -> anyhow::Error {
    let error = Diagnostic::error(&format!("no-such-{what}"), format!("there is no {what} `{name}`"));
    BuildError::wrong(error.help(format!("there is {}", known.join(", ")))).into()
}

fn describe(
    text: &mut String,
    active: &ActivePolicy,
    rules: &[Rule],
    code: Option<&str>,
    exemptions: &[(Exemption, bool)],
) {
    let points: Vec<&str> = active.points.iter().map(|point| point.word()).collect();
    let _ = writeln!(text, "{} {}", active.name, active.version);
    let _ = writeln!(text, "{:<13} {}", "digest", active.digest);
    let _ = writeln!(text, "{:<13} {}, by {}", "mode", active.mode.word(), active.origin);
    let _ = writeln!(text, "{:<13} {}", "asked about", points.join(", "));
    let rules: Vec<&Rule> = rules.iter().filter(|rule| code.is_none_or(|code| code == rule.code)).collect();
    if !rules.is_empty() {
        let rows: Vec<Vec<String>> = rules.iter().map(|rule| row(active, rule)).collect();
        let _ = write!(text, "\n{}", table::text(&["RULE", "FINDS", "MODE", "WHAT", "SEE"], &[], &rows));
    }
    let of_rule = |exemption: &&(Exemption, bool)| {
        let (policy, alone) = exemption.0.rule.split_once('/').unwrap_or((&active.name, &exemption.0.rule));
        policy == active.name && code.is_none_or(|code| code == alone)
    };
    let rows: Vec<Vec<String>> = exemptions.iter().filter(of_rule).map(exempted).collect();
    if !rows.is_empty() {
        let head = ["EXEMPTED", "FOR", "UNTIL", "OWNER", "REASON"];
        let _ = write!(text, "\n{}", table::text(&head, &[], &rows));
    }
}

fn row(active: &ActivePolicy, rule: &Rule) -> Vec<String> {
    let severity = match rule.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
        Severity::Hint => "hint",
    };
    let mode = match active.codes.iter().find(|(code, _)| *code == rule.code) {
        Some((_, mode)) => format!("{} (for this rule)", mode.word()),
        None => active.mode.word().to_owned(),
    };
    vec![rule.code.clone(), severity.to_owned(), mode, rule.summary.clone(), rule.url.clone()]
}

fn exempted((exemption, is_over): &(Exemption, bool)) -> Vec<String> {
    let scope = if exemption.scope.is_empty() { "everything" } else { &exemption.scope };
    let until = match is_over {
        true => format!("{} (over)", exemption.expires),
        false => exemption.expires.to_string(),
    };
    vec![exemption.rule.clone(), scope.to_owned(), until, exemption.owner.clone(), exemption.reason.clone()]
}
