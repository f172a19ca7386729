//! What a plugin implements: one trait per exported interface, with the functions of that interface.

use crate::wit::diagnostics::Diagnostic;
use crate::wit::generated::exports::kiln::plugin as exports;
use crate::wit::instruction_types::{Descriptor, InstructionError, Outcome, Stage, Statement};
use crate::wit::types::Pair;

pub use exports::derive::Guest as Derive;
pub use exports::describe::Guest as Plugin;
pub use exports::frontend::Guest as Frontend;
pub use exports::frontend_check::Guest as Check;
pub use exports::frontend_detect::Guest as Detect;
pub use exports::frontend_eject::Guest as Eject;
pub use exports::frontend_outline::Guest as Outline;
pub use exports::image_transform::Guest as Transform;
pub use exports::policy_exec::Guest as ExecPolicy;
pub use exports::policy_export::Guest as ExportPolicy;
pub use exports::policy_graph::Guest as GraphPolicy;
pub use exports::policy_image::Guest as ImagePolicy;
pub use exports::policy_layer::Guest as LayerPolicy;
pub use exports::policy_source::Guest as SourcePolicy;

/// The interface `instruction`, with `apply` for one statement at a time: those that come together do not see each other.
pub trait Instruction {
    fn instructions() -> Vec<Descriptor>;

    /// Grammar only, of statements in which nothing has been expanded.
    fn validate(statements: Vec<Statement>) -> Vec<Diagnostic>;

    /// # Errors
    ///
    /// The keyword is none of this plugin's, or the statement is wrong.
    fn apply(statement: Statement, stage: &Stage, options: &[Pair]) -> Result<Outcome, InstructionError>;
}
