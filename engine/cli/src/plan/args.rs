//! The command line of `kiln plan`: what of `kiln build`'s bears on a plan, and what becomes of it.

use clap::Args;

use crate::args::{Format, InputArgs};

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Write an equivalent that can be edited, such as a Dockerfile, and build nothing
    #[arg(long)]
    pub eject: bool,

    /// Where to write it: a directory, or `-` for standard output [default: the context]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<String>,

    /// Write over files that are there
    #[arg(long)]
    pub force: bool,

    /// How to show a plan
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,

    #[command(flatten)]
    pub inputs: InputArgs,

    /// What would be built: a directory, the address of a git repository or an archive, or `-`
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub context: String,
}
