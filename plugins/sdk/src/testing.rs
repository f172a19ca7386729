//! Makes statements and stages for native tests of instructions, without a frontend.

use crate::wit::describe::OptionSpec;
use crate::wit::diagnostics::Span;
use crate::wit::frontend_types::BuildRequest;
use crate::wit::instruction_types::{
    Argument, Descriptor, FlagKind, FlagValue, Heredoc, HeredocForm, Split, Stage, Statement,
};
use crate::wit::types::{Pair, Platform};

/// Cuts `text` up as a frontend would, as line 1 of `Dockerfile`, with what follows the first line as the bodies of its
/// here-documents. Simpler than a frontend: words end at blanks, quotes do not group, nothing is expanded.
///
/// # Panics
///
/// A flag that the descriptor does not have.
pub fn statement(text: &str, descriptor: &Descriptor) -> Statement {
    let (line, bodies) = text.split_once('\n').unwrap_or((text, ""));
    let mut words = words(line);
    let keyword = if words.is_empty() { descriptor.keyword.clone() } else { words.remove(0).1.to_owned() };
    let flags = words.iter().take_while(|(_, word)| word.starts_with("--")).count();
    let arguments = words.split_off(flags);
    let flag_values = words.into_iter().map(|(start, word)| flag(start, word, descriptor)).collect();
    let arguments: Vec<(usize, &str)> = match (descriptor.form.split, arguments.first()) {
        (Split::Whole, Some((start, _))) => vec![(*start, line[*start..].trim_end())],
        _ => arguments,
    };
    let mut statement = Statement {
        keyword,
        json: false,
        arguments: arguments.into_iter().map(|(start, word)| argument(start, word)).collect(),
        flag_values,
        heredocs: Vec::new(),
        original: line.to_owned(),
        at: Span::on_line("Dockerfile", 1, 1, columns(line) + 1),
    };
    if !matches!(descriptor.heredocs, HeredocForm::Refused) {
        heredocs(&mut statement, bodies);
    }
    if matches!(descriptor.form.split, Split::Pairs) {
        for argument in &mut statement.arguments {
            if let Some((key, value)) = argument.original.split_once('=') {
                (argument.key, argument.value) = (key.to_owned(), value.to_owned());
            }
        }
    }
    statement
}

/// What a frontend is asked for the machine that builds, when the user says nothing: options have their defaults.
pub fn request(options: &[OptionSpec]) -> BuildRequest {
    let given = options.iter().filter(|option| !option.preset.is_empty());
    BuildRequest {
        file: String::new(),
        target: String::new(),
        platforms: Vec::new(),
        build_platform: Platform::default(),
        build_args: Vec::new(),
        labels: Vec::new(),
        options: given.map(|it| Pair { key: it.name.clone(), value: it.preset.clone() }).collect(),
        no_cache: Vec::new(),
        secret_ids: Vec::new(),
        ssh_ids: Vec::new(),
    }
}

fn words(line: &str) -> Vec<(usize, &str)> {
    let start = |word: &str| word.as_ptr() as usize - line.as_ptr() as usize;
    line.split_ascii_whitespace().map(|word| (start(word), word)).collect()
}

fn columns(text: &str) -> u32 {
    text.chars().count() as u32
}

fn argument(start: usize, word: &str) -> Argument {
    let column = start as u32 + 1;
    Argument {
        key: String::new(),
        value: word.to_owned(),
        original: word.to_owned(),
        heredoc: None,
        at: Span::on_line("Dockerfile", 1, column, column + columns(word)),
    }
}

fn flag(start: usize, word: &str, descriptor: &Descriptor) -> FlagValue {
    let (name, value) = word[2..].split_once('=').unwrap_or((&word[2..], "true"));
    let spec = descriptor.flag_specs.iter().find(|spec| spec.name == name);
    let spec = spec.unwrap_or_else(|| panic!("{} has no flag --{name}", descriptor.keyword));
    let whole = argument(start, word);
    let from = start + word.len() - value.len().min(word.len() - 2);
    let values = match spec.kind {
        FlagKind::Boolean | FlagKind::Text => vec![argument(from, value)],
        FlagKind::Fields => value.split(',').map(|field| fields(from, field)).collect(),
    };
    FlagValue { name: name.to_owned(), values, at: whole.at }
}

fn fields(start: usize, field: &str) -> Argument {
    let (key, value) = field.split_once('=').unwrap_or((field, ""));
    Argument { key: key.to_owned(), value: value.to_owned(), ..argument(start, field) }
}

/// Takes the bodies that the arguments announce, in order.
fn heredocs(statement: &mut Statement, bodies: &str) {
    let mut lines = bodies.split_inclusive('\n');
    let mut number = 2;
    for argument in &mut statement.arguments {
        let Some(operator) = argument.original.strip_prefix("<<") else { continue };
        let name = operator.trim_start_matches('-').replace(['"', '\''], "");
        let first = number;
        let mut content = String::new();
        for line in lines.by_ref() {
            number += 1;
            if line.trim_end_matches('\n').trim_start_matches('\t') == name {
                break;
            }
            content.push_str(line);
        }
        argument.heredoc = Some(statement.heredocs.len() as u32);
        statement.heredocs.push(Heredoc {
            strip_tabs: operator.starts_with('-'),
            literal: operator.contains(['"', '\'']),
            name,
            operator: argument.original.clone(),
            content,
            at: Span {
                end: Span::on_line("", number - 1, 1, 1).end,
                ..Span::on_line("Dockerfile", first, 1, 1)
            },
        });
    }
}

/// The first stage of a file, on Debian, in `/`, with nothing set.
pub fn stage() -> Stage {
    Stage {
        name: String::new(),
        index: 0,
        platform: Platform::default(),
        build_platform: Platform::default(),
        base: "docker.io/library/debian:latest".into(),
        user: String::new(),
        working_dir: "/".into(),
        shell: Vec::new(),
        config: None,
        environment: Vec::new(),
        args: Vec::new(),
        earlier: Vec::new(),
        has_base: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wit::instruction_types::FlagSpec;

    #[test]
    fn words_flags_and_bodies_stand_where_they_are_written() {
        let descriptor = Descriptor::new("X", "X", "x")
            .heredocs(HeredocForm::Verbatim)
            .flag(FlagSpec::text("a"))
            .flag(FlagSpec::boolean("b"))
            .flag(FlagSpec::fields("c"));
        let text = "X --a=é --b --c=k=v,w one <<A <<-B\n1\nA\n\t2\n\tB\n";
        let statement = statement(text, &descriptor);
        let columns = |at: &Span| (at.start.column, at.end.column);
        assert_eq!(columns(&statement.flag_values[0].at), (3, 8));
        assert_eq!(statement.flag_values[0].values[0].value, "é");
        assert_eq!(statement.flag_values[1].values[0].value, "true");
        assert_eq!(statement.flag_values[2].values[0].key, "k");
        assert_eq!(statement.arguments.len(), 3);
        let bodies: Vec<_> =
            statement.heredocs.iter().map(|it| (it.content.as_str(), it.at.start.line)).collect();
        assert_eq!(bodies, [("1\n", 2), ("\t2\n", 4)]);
        assert!(statement.heredocs[1].strip_tabs);
    }
}
