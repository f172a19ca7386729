//! `INCLUDE PATH` and `IF CONDITION <<THEN <<ELSE`: build files put together from pieces, within a stage.
//!
//! Both answer with text that the frontend reads in place of the line. Where a stage begins is still seen without
//! evaluating anything: there is no `FROM` in such text.

mod condition;
mod include;

use kiln_sdk::plugin::{Instruction, Plugin};
use kiln_sdk::wit::describe::{PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{
    Descriptor, FlagSpec, HeredocForm, InstructionError, Outcome, SourceText, Stage, Statement,
};
use kiln_sdk::wit::types::Pair;

use condition::Condition;

/// The component.
pub struct Compose;

pub(crate) const INCLUDE: &str = "INCLUDE [--context=NAME] [--optional] PATH";
const IF: &str = "IF CONDITION <<THEN [<<ELSE]";

/// The branches of an IF: here-documents, in order.
fn branches(statement: &Statement) -> Result<(), Diagnostic> {
    let message = match statement.heredocs.len() {
        1 | 2 => return Ok(()),
        0 => "IF needs a here-document with the lines that it is about",
        _ => "IF has two branches at most",
    };
    let help = format!("write `{IF}`, then the lines, ended by `THEN`, then those of the other branch");
    Err(Diagnostic::error("if-branches", message).at(&statement.at).help(help))
}

fn judge(statement: &Statement) -> Vec<Diagnostic> {
    match statement.keyword.as_str() {
        "IF" => branches(statement).err().into_iter().chain(condition::grammar(statement)).collect(),
        _ if statement.is_constant() => include::path(statement).err().into_iter().collect(),
        _ => Vec::new(),
    }
}

impl Plugin for Compose {
    fn describe() -> PluginInfo {
        PluginInfo::new("compose", env!("CARGO_PKG_VERSION"), "puts build files together from pieces")
            .license("Apache-2.0")
            .rules([
                Rule::error("include-path", "the path of the file to be read in is missing or leaves the context"),
                Rule::error("include-not-found", "the file to be read in is not there or is no text"),
                Rule::error("if-condition", "the condition cannot be understood"),
                Rule::error("if-branches", "there is not one branch or two"),
            ])
            .example("Lines that one machine adds", "FROM debian\nINCLUDE --optional build/local.docker\n")
            .example(
                "A package for one platform",
                "FROM debian\nARG TARGETARCH\nIF $TARGETARCH = arm64 <<THEN <<ELSE\nRUN ./configure --neon\nTHEN\nRUN ./configure\nELSE\n",
            )
    }
}

impl Instruction for Compose {
    fn instructions() -> Vec<Descriptor> {
        vec![
            Descriptor::new("INCLUDE", INCLUDE, "Reads a file of the build context as lines of this stage.")
                .flag(FlagSpec::text("context"))
                .flag(FlagSpec::boolean("optional")),
            Descriptor::new("IF", IF, "Reads one of two here-documents as lines of this stage.")
                .heredocs(HeredocForm::Verbatim),
        ]
    }

    fn validate(statements: Vec<Statement>) -> Vec<Diagnostic> {
        statements.iter().flat_map(judge).collect()
    }

    fn apply(statement: Statement, stage: &Stage, _: &[Pair]) -> Result<Outcome, InstructionError> {
        let expansion = match statement.keyword.as_str() {
            "IF" => {
                branches(&statement)?;
                let holds = Condition::read(&statement)?.holds();
                let branch = statement.heredocs.into_iter().nth(usize::from(!holds));
                branch.map(|heredoc| SourceText {
                    file: heredoc.at.file,
                    first_line: heredoc.at.start.line,
                    text: heredoc.content,
                })
            }
            "INCLUDE" => include::text(&statement, stage)?,
            _ => return Err(InstructionError::Unknown(statement.keyword)),
        };
        Ok(Outcome { expansion: expansion.into_iter().collect(), ..Outcome::default() })
    }
}

kiln_sdk::export_reading_instruction!(Compose);

#[cfg(test)]
mod tests {
    use kiln_sdk::testing;

    use super::*;

    fn statement(text: &str) -> Statement {
        let known = Compose::instructions();
        let keyword = text.split(' ').next().unwrap_or_default();
        testing::statement(text, known.iter().find(|it| it.keyword == keyword).expect("a keyword"))
    }

    #[test]
    fn one_branch_is_read_at_its_place() {
        let text = |condition: &str| {
            let text = format!("IF {condition} <<THEN <<ELSE\nRUN a\nTHEN\nRUN b\nRUN c\nELSE\n");
            let outcome = Compose::apply(statement(&text), &testing::stage(), &[]).expect("an outcome");
            outcome.expansion.into_iter().map(|it| (it.text, it.first_line)).collect::<Vec<_>>()
        };
        assert_eq!(text("1 = 1"), [("RUN a\n".to_owned(), 2)]);
        assert_eq!(text("1 = 2"), [("RUN b\nRUN c\n".to_owned(), 4)]);
        let nothing = Compose::apply(statement("IF no <<THEN\nRUN a\nTHEN\n"), &testing::stage(), &[]);
        assert!(nothing.expect("an outcome").expansion.is_empty());
    }

    #[test]
    fn each_mistake_is_shown_where_it_stands() {
        for (text, code, column) in [
            ("IF x", "if-branches", 1),
            ("IF x <<A <<B <<C\nA\nB\nC\n", "if-branches", 1),
            ("IF <<THEN\nTHEN\n", "if-condition", 1),
            ("IF a b <<THEN\nTHEN\n", "if-condition", 6),
            ("IF a = b c <<THEN\nTHEN\n", "if-condition", 10),
            ("IF a = b = c <<THEN\nTHEN\n", "if-condition", 10),
            ("IF a && <<THEN\nTHEN\n", "if-condition", 6),
            ("INCLUDE", "include-path", 1),
            ("INCLUDE a b", "include-path", 11),
            ("INCLUDE ../x", "include-path", 9),
        ] {
            let found = Compose::validate(vec![statement(text)]);
            let places: Vec<_> = found
                .iter()
                .map(|it| (it.code.as_str(), it.primary.as_ref().map_or(0, |at| at.start.column)))
                .collect();
            assert_eq!(places, [(code, column)], "{text}");
        }
        assert!(Compose::validate(vec![statement("INCLUDE $WHICH/x")]).is_empty());
    }
}
