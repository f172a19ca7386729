//! Options of `docker build` that kiln takes and cannot mean: what each comes to is said when it is used.

use anyhow::{Result, anyhow};
use clap::Args;

use crate::exit::CommandLine;
use crate::parse;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options of docker build")]
pub struct CompatArgs {
    /// Refused unless it turns attestations off: kiln makes none
    #[arg(long = "attest", value_name = "SPEC")]
    attestations: Vec<String>,

    /// Refused unless false: kiln makes no provenance attestation
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,

    /// Refused unless false: kiln makes no SBOM attestation
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,

    /// Taken and not read: the cache is the one in kiln's store
    #[arg(long, value_name = "SPEC")]
    cache_from: Vec<String>,

    /// Taken and nothing is written: the cache is the one in kiln's store
    #[arg(long, value_name = "SPEC")]
    cache_to: Vec<String>,

    /// Taken and not needed: kiln builds by itself
    #[arg(long, value_name = "NAME")]
    builder: Option<String>,

    /// Taken and not needed: there is nothing more to be told
    #[arg(short = 'D', long)]
    debug: bool,

    /// Taken, true in any case
    #[arg(long, hide = true, value_parser = parse::boolean, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    rm: Option<bool>,

    /// Taken, true in any case
    #[arg(long, hide = true, value_parser = parse::boolean, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    force_rm: Option<bool>,

    #[arg(long, hide = true, value_parser = parse::boolean, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    compress: Option<bool>,

    #[arg(long, hide = true, value_parser = parse::boolean, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    squash: Option<bool>,

    #[arg(long, hide = true)]
    isolation: Option<String>,

    #[arg(long, hide = true)]
    security_opt: Vec<String>,

    #[arg(short = 'm', long, hide = true)]
    memory: Option<String>,

    #[arg(long, hide = true)]
    memory_swap: Option<String>,

    #[arg(short = 'c', long, hide = true)]
    cpu_shares: Option<String>,

    #[arg(long, hide = true)]
    cpu_period: Option<String>,

    #[arg(long, hide = true)]
    cpu_quota: Option<String>,

    #[arg(long, hide = true)]
    cpuset_cpus: Option<String>,

    #[arg(long, hide = true)]
    cpuset_mems: Option<String>,

    #[arg(long, hide = true)]
    resource: Vec<String>,
}

impl CompatArgs {
    /// Says what options that were given do not do.
    ///
    /// # Errors
    ///
    /// An option whose absence from the result would be worse than no result.
    pub fn notes(&self) -> Result<Vec<String>> {
        let refuse =
            |option: &str, why: &str| -> Result<()> { Err(CommandLine(anyhow!("`{option}`: {why}")).into()) };
        for (option, value) in [("--provenance", &self.provenance), ("--sbom", &self.sbom)] {
            if let Some(value) = value
                && parse::boolean(value) != Ok(false)
            {
                let why = format!("kiln makes no attestations; leave it out, or write `{option}=false`");
                refuse(&format!("{option}={value}"), &why)?;
            }
        }
        for spec in &self.attestations {
            let off = parse::csv(spec).map_err(CommandLine::from)?.iter().any(|field| {
                field.strip_prefix("disabled").is_some_and(|rest| {
                    rest.is_empty() || rest.strip_prefix('=').map(parse::boolean) == Some(Ok(true))
                })
            });
            if !off {
                refuse(&format!("--attest {spec}"), "kiln makes no attestations; leave it out")?;
            }
        }
        let mut notes = Vec::new();
        let mut note = |given: bool, text: &str| {
            if given {
                notes.push(text.to_owned());
            }
        };
        note(!self.cache_from.is_empty(), "`--cache-from` is not read: the cache is the one in kiln's store");
        note(!self.cache_to.is_empty(), "`--cache-to` writes nothing: the cache is the one in kiln's store");
        note(self.builder.is_some(), "`--builder` chooses nothing: kiln builds by itself");
        note(self.debug, "`--debug` adds nothing: everything known is told anyway");
        note(self.squash == Some(true), "`--squash` is not done: the image has one layer for each step");
        let isolated =
            self.isolation.as_deref().is_some_and(|name| !matches!(name, "" | "default" | "process"));
        note(isolated, "`--isolation` chooses nothing: steps run in namespaces");
        note(!self.security_opt.is_empty(), "`--security-opt` changes nothing: steps run in kiln's sandbox");
        let limits = [
            ("--memory", self.memory.is_some()),
            ("--memory-swap", self.memory_swap.is_some()),
            ("--cpu-shares", self.cpu_shares.is_some()),
            ("--cpu-period", self.cpu_period.is_some()),
            ("--cpu-quota", self.cpu_quota.is_some()),
            ("--cpuset-cpus", self.cpuset_cpus.is_some()),
            ("--cpuset-mems", self.cpuset_mems.is_some()),
            ("--resource", !self.resource.is_empty()),
        ];
        for (option, given) in limits {
            note(
                given,
                &format!(
                    "`{option}` limits nothing; set limits on a cgroup and name it with `--cgroup-parent`"
                ),
            );
        }
        Ok(notes)
    }
}
