//! `{{KEYWORD}} [--to=PATH] WORD…` writes a line of text into a file of the image.

use kiln_sdk::GraphBuilder;
use kiln_sdk::plugin::{Instruction, Plugin};
use kiln_sdk::wit::describe::{PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{Descriptor, FlagSpec, InstructionError, Outcome, Stage, Statement};
use kiln_sdk::wit::types::Pair;

/// The component.
struct Component;

const USAGE: &str = "{{KEYWORD}} [--to=PATH] WORD…";
const DEFAULT: &str = "/etc/motd";

impl Plugin for Component {
    fn describe() -> PluginInfo {
        PluginInfo::new("{{name}}", env!("CARGO_PKG_VERSION"), "writes a line of text into a file")
            .rules([
                Rule::error("no-words", "there is nothing to write"),
                Rule::error("relative-path", "the file to write is not an absolute path"),
            ])
            .example("A message of the day", "FROM scratch\n{{KEYWORD}} welcome\n")
    }
}

impl Instruction for Component {
    fn instructions() -> Vec<Descriptor> {
        vec![Descriptor::new("{{KEYWORD}}", USAGE, "Writes a line of text into a file.").flag(FlagSpec::text("to"))]
    }

    /// Variables are not expanded here, so a line that has some is judged only when it is applied.
    fn validate(statements: Vec<Statement>) -> Vec<Diagnostic> {
        statements.iter().filter(|statement| statement.is_constant()).flat_map(problems).collect()
    }

    fn apply(statement: Statement, stage: &Stage, _: &[Pair]) -> Result<Outcome, InstructionError> {
        let problems = problems(&statement);
        if !problems.is_empty() {
            return Err(problems.into());
        }
        let path = statement.flag("to").map_or(DEFAULT, |path| &path.value);
        let words: Vec<&str> = statement.arguments.iter().map(|word| &*word.value).collect();
        let line = words.join(" ") + "\n";

        let mut graph = GraphBuilder::new().at(&statement.at, statement.original.as_str());
        let base = stage.has_base.then(|| graph.base());
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let below = if parent.is_empty() { base } else { Some(graph.make_dir(base, parent, None)) };
        let root = graph.make_file(below, path, line.into_bytes(), 0o644);
        Ok(Outcome::root(graph.finish(), root))
    }
}

/// Everything that is wrong with a line, each at its place.
fn problems(statement: &Statement) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    if statement.arguments.is_empty() {
        let problem = Diagnostic::error("no-words", "{{KEYWORD}} has nothing to write");
        problems.push(problem.at(&statement.at).help(format!("write `{USAGE}`")));
    }
    if let Some(path) = statement.flag("to")
        && !path.value.starts_with('/')
    {
        let problem = Diagnostic::error("relative-path", format!("`{}` is not an absolute path", path.value));
        problems.push(problem.at(&path.at).help("begin it with `/`"));
    }
    problems
}

kiln_sdk::export_instruction!(Component);

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_sdk::testing;

    fn line(text: &str) -> Statement {
        testing::statement(text, &Component::instructions()[0])
    }

    #[test]
    fn words_are_written() {
        let outcome = Component::apply(line("{{KEYWORD}} hello world"), &testing::stage(), &[]).expect("an outcome");
        assert!(outcome.root.is_some());
    }

    #[test]
    fn each_mistake_has_its_code() {
        assert_eq!(problems(&line("{{KEYWORD}}"))[0].code, "no-words");
        assert_eq!(problems(&line("{{KEYWORD}} --to=motd hello"))[0].code, "relative-path");
    }
}
