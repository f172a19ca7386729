//! Makes a statement of a line: cuts and expands flags and arguments as the descriptor of its keyword says (§4.4, §5).

use std::collections::BTreeMap;
use std::ops::Range;

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::instruction_types::{
    self, Argument, Descriptor, FlagKind, FlagSpec, FlagValue, HeredocForm, Split, Statement,
};

use crate::allowance;
use crate::expand::{self, ExpandError, Expanded, Mode, Variables};
use crate::heredoc::{self, Heredoc};
use crate::json;
use crate::parse::Line;
use crate::words::{self, FlagWord};

/// Arguments are cut at blanks before expansion and at white space of variables after it (§5.1, §7.6).
const SPLITS_VALUES: &str = "splits-values";

/// A statement and what was noticed while it was made.
#[derive(Debug)]
pub struct Cut {
    pub statement: Statement,
    pub problems: Vec<Diagnostic>,
    /// Variables that are neither set nor declared, and where they were used.
    pub undefined: Vec<(String, Span)>,
}

/// Problems of the text itself, whoever finds them: for these a trigger is refused when it is written (§16.1).
pub const LEXICAL: [&str; 3] = ["json-not-strings", "pair-without-value", "pair-without-equals"];

/// What Go's `strconv.ParseBool` takes for a truth value.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Cuts `line`. Without `variables` nothing is expanded: values are as written.
pub fn cut(line: &Line, descriptor: &Descriptor, escape: char, variables: Option<&dyn Variables>) -> Cut {
    let names = line.heredocs.iter().map(|heredoc| heredoc.operator.name.as_str());
    let heredocs = names.zip(0..).collect();
    let mut cutter =
        Cutter { line, escape, variables, heredocs, problems: Vec::new(), undefined: Vec::new() };
    let flag_values = cutter.flags(descriptor);
    let json = if descriptor.form.json { json::read(line.arguments()) } else { json::Array::NotArray };
    let is_json = matches!(json, json::Array::Strings(_));
    let arguments = match json {
        json::Array::Strings(elements) => cutter.elements(elements, descriptor.form.expand),
        json::Array::NotStrings(range) => {
            cutter.not_strings(range);
            Vec::new()
        }
        json::Array::NotArray => cutter.arguments(descriptor),
    };
    let heredocs = line.heredocs.iter().map(|heredoc| cutter.heredoc(heredoc, descriptor.heredocs)).collect();
    let Cutter { problems, undefined, .. } = cutter;
    Cut {
        statement: Statement {
            keyword: descriptor.keyword.clone(),
            json: is_json,
            arguments,
            flag_values,
            heredocs,
            original: line.logical.text.clone(),
            at: line.whole(),
        },
        problems,
        undefined,
    }
}

/// A finding about a text that cannot be expanded.
pub fn bad_expansion(error: &ExpandError, written: &str, at: &Span) -> Diagnostic {
    let (code, help) = match error {
        ExpandError::Required { .. } => {
            ("required-variable", "give it with `--build-arg`, or set it before this line")
        }
        ExpandError::OpenQuote(_) => {
            ("unterminated-quote", "close the quote, or put an escape character before it")
        }
        ExpandError::UnknownModifier { .. } => (
            "bad-substitution",
            "known are `-`, `+`, `?`, with or without `:`, and `#`, `##`, `%`, `%%`, `/`, `//`",
        ),
        ExpandError::TooLong => return allowance::exceeded(at),
        ExpandError::PatternEscape { .. } => {
            ("bad-substitution", "in patterns only `*`, `?`, `\\`, `/` and `}` can be escaped")
        }
        _ => ("bad-substitution", "write `\\$` for a dollar sign that names no variable"),
    };
    let message = match error {
        ExpandError::Required { .. } => error.to_string(),
        _ => format!("`{written}` cannot be expanded: {error}"),
    };
    Diagnostic::error(code, message).at(at).help(help)
}

struct Cutter<'l> {
    line: &'l Line,
    escape: char,
    variables: Option<&'l dyn Variables>,
    /// Place of the last here-document of a name.
    heredocs: BTreeMap<&'l str, u32>,
    problems: Vec<Diagnostic>,
    undefined: Vec<(String, Span)>,
}

impl Cutter<'_> {
    fn arguments(&mut self, descriptor: &Descriptor) -> Vec<Argument> {
        let text = &self.line.logical.text;
        let rest = self.line.rest.clone();
        let expand = descriptor.form.expand;
        match descriptor.form.split {
            Split::Whole if rest.is_empty() => Vec::new(),
            Split::Whole => vec![self.plain(rest, expand)],
            Split::Blanks if descriptor.traits.iter().any(|word| word == SPLITS_VALUES) => {
                let found = words::blanks(text, rest);
                found.into_iter().flat_map(|word| self.split_again(word, expand)).collect()
            }
            Split::Blanks => {
                words::blanks(text, rest).into_iter().map(|word| self.plain(word, expand)).collect()
            }
            Split::Words => {
                let found = words::quoted(text, rest, self.escape);
                found.into_iter().flat_map(|word| self.split_again(word, expand)).collect()
            }
            Split::Pairs => self.pairs(expand),
        }
    }

    fn plain(&mut self, range: Range<usize>, expand: bool) -> Argument {
        let original = self.line.text(&range).to_owned();
        let at = self.line.span(&range);
        let heredoc = self.heredoc_index(&original);
        let value = self.expanded(&original, expand && heredoc.is_none(), &at);
        Argument { key: String::new(), value, original, heredoc, at }
    }

    /// Which here-document a word stands for. Of several with one name it is the last (§6.7).
    fn heredoc_index(&self, word: &str) -> Option<u32> {
        if self.heredocs.is_empty() || !word.contains("<<") {
            return None;
        }
        let name = heredoc::operator(word)?.name;
        self.heredocs.get(name.as_str()).copied()
    }

    fn split_again(&mut self, range: Range<usize>, expand: bool) -> Vec<Argument> {
        let Some(variables) = self.variables.filter(|_| expand) else {
            return vec![self.plain(range, expand)];
        };
        let original = self.line.text(&range);
        if self.heredoc_index(original).is_some() {
            return vec![self.plain(range, expand)];
        }
        let at = self.line.span(&range);
        match expand::words(original, Mode::arguments(self.escape), variables) {
            Ok((values, undefined)) => {
                self.undefined.extend(undefined.into_iter().map(|name| (name, at.clone())));
                let argument = |value| Argument {
                    key: String::new(),
                    value,
                    original: original.to_owned(),
                    heredoc: None,
                    at: at.clone(),
                };
                values.into_iter().map(argument).collect()
            }
            Err(error) => {
                self.problems.push(bad_expansion(&error, original, &at));
                Vec::new()
            }
        }
    }

    fn pairs(&mut self, expand: bool) -> Vec<Argument> {
        let line = self.line;
        let text = &line.logical.text;
        let found = words::quoted(text, line.rest.clone(), self.escape);
        let Some(first) = found.first() else { return Vec::new() };
        if !text[first.clone()].contains('=') {
            let key = words::blanks(text, line.rest.clone()).swap_remove(0);
            let value = words::trim(text, key.end..line.rest.end);
            return vec![self.pair(key.start..value.end.max(key.end), key, value, expand)];
        }
        let mut pairs = Vec::new();
        for word in found {
            // Without `=` it is all key; whoever judges sees that in the original.
            let equals = text[word.clone()].find('=').map_or(word.end, |at| word.start + at);
            let value = word.end.min(equals + 1)..word.end;
            pairs.push(self.pair(word.clone(), word.start..equals, value, expand));
        }
        pairs
    }

    fn pair(
        &mut self,
        whole: Range<usize>,
        key: Range<usize>,
        value: Range<usize>,
        expand: bool,
    ) -> Argument {
        let (line, at) = (self.line, self.line.span(&whole));
        Argument {
            key: self.expanded(line.text(&key), expand, &at),
            value: self.expanded(line.text(&value), expand, &at),
            original: line.text(&whole).to_owned(),
            heredoc: None,
            at,
        }
    }

    fn elements(&mut self, elements: Vec<json::Element>, expand: bool) -> Vec<Argument> {
        let start = self.line.rest.start;
        let mut arguments = Vec::with_capacity(elements.len());
        for element in elements {
            let range = start + element.range.start..start + element.range.end;
            let at = self.line.span(&range);
            arguments.push(Argument {
                key: String::new(),
                value: self.expanded(&element.value, expand, &at),
                original: self.line.text(&range).to_owned(),
                heredoc: None,
                at,
            });
        }
        arguments
    }

    fn not_strings(&mut self, range: Range<usize>) {
        let start = self.line.rest.start;
        let range = start + range.start..start + range.end;
        let written = self.line.text(&range);
        let message = format!("`{written}` is no string, and this array may hold only strings");
        self.problems.push(
            Diagnostic::error("json-not-strings", message)
                .at(&self.line.span(&range))
                .help("put each element in double quotes"),
        );
    }

    fn expanded(&mut self, text: &str, expand: bool, at: &Span) -> String {
        let Some(variables) = self.variables.filter(|_| expand) else { return text.to_owned() };
        match expand::word(text, Mode::arguments(self.escape), variables) {
            Ok(Expanded { text, undefined }) => {
                self.undefined.extend(undefined.into_iter().map(|name| (name, at.clone())));
                text
            }
            Err(error) => {
                self.problems.push(bad_expansion(&error, text, at));
                String::new()
            }
        }
    }

    fn heredoc(&mut self, heredoc: &Heredoc, form: HeredocForm) -> instruction_types::Heredoc {
        let at = self.line.body_span(heredoc);
        let operator = &heredoc.operator;
        let content = match (form, self.variables) {
            (HeredocForm::Expanded, Some(_)) if operator.literal => heredoc.stripped(),
            (HeredocForm::Expanded, Some(variables)) => {
                let body = heredoc.stripped();
                match expand::word(&body, Mode::HEREDOC, variables) {
                    Ok(Expanded { text, undefined }) => {
                        self.undefined.extend(undefined.into_iter().map(|name| (name, at.clone())));
                        text
                    }
                    Err(error) => {
                        self.problems.push(bad_expansion(&error, &operator.written, &at));
                        String::new()
                    }
                }
            }
            _ => heredoc.content.clone(),
        };
        instruction_types::Heredoc {
            name: operator.name.clone(),
            operator: operator.written.clone(),
            content,
            strip_tabs: operator.strip_tabs,
            literal: operator.literal,
            at,
        }
    }

    fn flags(&mut self, descriptor: &Descriptor) -> Vec<FlagValue> {
        let line = self.line;
        let mut values: Vec<FlagValue> = Vec::new();
        if ignores_flags(line) {
            return values;
        }
        for word in &line.flags {
            let Some(spec) = descriptor.flag_specs.iter().find(|spec| spec.name == word.name()) else {
                self.problems.push(unknown_flag(
                    line,
                    word,
                    descriptor.flag_specs.iter().map(|it| it.name.as_str()),
                ));
                continue;
            };
            if !spec.repeatable && values.iter().any(|earlier| earlier.name == spec.name) {
                let message = format!("`--{}` is given more than once", spec.name);
                self.problems.push(
                    Diagnostic::error("duplicate-flag", message)
                        .at(&line.span(&word.range))
                        .help("keep one of them"),
                );
                continue;
            }
            if let Some(arguments) = self.flag_value(spec, word) {
                values.push(FlagValue {
                    name: spec.name.clone(),
                    values: arguments,
                    at: line.span(&word.range),
                });
            }
        }
        values
    }

    fn flag_value(&mut self, spec: &FlagSpec, word: &FlagWord) -> Option<Vec<Argument>> {
        let place = word.value_range();
        let at = self.line.span(&place);
        let argument = |value, original: &str| Argument {
            key: String::new(),
            value,
            original: original.to_owned(),
            heredoc: None,
            at: at.clone(),
        };
        match (spec.kind, word.value()) {
            (FlagKind::Boolean, None) => Some(vec![argument("true".to_owned(), "")]),
            (FlagKind::Boolean, Some(value)) => match value.to_lowercase().as_str() {
                known @ ("true" | "false") => Some(vec![argument(known.to_owned(), value)]),
                _ => {
                    let message = format!("`--{}` is either true or false, and not `{value}`", spec.name);
                    let help = format!("write `--{0}`, `--{0}=true` or `--{0}=false`", spec.name);
                    self.problems.push(Diagnostic::error("bad-flag-value", message).at(&at).help(help));
                    None
                }
            },
            (FlagKind::Text | FlagKind::Fields, None) => {
                let message = format!("`--{}` needs a value", spec.name);
                let help = format!("write `--{}=value`, without a blank", spec.name);
                self.problems.push(Diagnostic::error("flag-without-value", message).at(&at).help(help));
                None
            }
            (FlagKind::Text, Some(value)) => {
                let expanded = self.expanded(value, spec.expand, &at);
                Some(vec![argument(expanded, value)])
            }
            (FlagKind::Fields, Some(value)) => self.fields(spec, value, &place),
        }
    }

    fn fields(&mut self, spec: &FlagSpec, value: &str, place: &Range<usize>) -> Option<Vec<Argument>> {
        // The places of fields are known only if the word stands in the file as it is here.
        let plain = self.line.text(place) == value;
        let part = |range: Range<usize>| {
            if plain { place.start + range.start..place.start + range.end } else { place.clone() }
        };
        let fields = match words::fields(value) {
            Ok(fields) => fields,
            Err(offset) => {
                let message = format!("the value of `--{}` has a quote in the middle of a field", spec.name);
                self.problems.push(
                    Diagnostic::error("bad-flag-value", message)
                        .at(&self.line.span(&part(offset..value.len())))
                        .help("put the quotes around the whole field: `\"key=a,b\"`"),
                );
                return None;
            }
        };
        let mut arguments = Vec::with_capacity(fields.len());
        for (field, range) in fields {
            let at = self.line.span(&part(range));
            let (key, value) = field.split_once('=').unwrap_or((&field, ""));
            arguments.push(Argument {
                key: key.to_owned(),
                value: self.expanded(value, spec.expand, &at),
                original: field.clone(),
                heredoc: None,
                at,
            });
        }
        Some(arguments)
    }
}

/// Where the reference does not look at flags at all (§4.5).
fn ignores_flags(line: &Line) -> bool {
    match line.keyword.as_str() {
        "STOPSIGNAL" => true,
        "HEALTHCHECK" => {
            let kind = line.arguments().split_whitespace().next().unwrap_or_default();
            kind.eq_ignore_ascii_case("NONE")
        }
        _ => false,
    }
}

/// The error for a flag that an instruction does not have.
pub fn unknown_flag<'n>(line: &Line, word: &FlagWord, known: impl Iterator<Item = &'n str>) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    let (keyword, name) = (&line.keyword, word.name());
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("write `--{near}`"),
        None if known.is_empty() => {
            format!("{keyword} has no flags; for text that begins with dashes write `-- {}`", word.text)
        }
        None => {
            let known: Vec<_> = known.iter().map(|name| format!("`--{name}`")).collect();
            format!(
                "{keyword} has {}; for text that begins with dashes write `-- {}`",
                known.join(", "),
                word.text
            )
        }
    };
    Diagnostic::error("unknown-flag", format!("{keyword} has no flag `--{name}`"))
        .at(&line.span(&word.name_range()))
        .help(help)
}

#[cfg(test)]
mod tests;
