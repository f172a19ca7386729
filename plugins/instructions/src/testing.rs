//! Makes invocations from one line of text, the way a frontend would: cut up by the descriptor, nothing expanded.

use kiln_sdk::plugin::Instruction;
use kiln_sdk::wit::diagnostics::{Diagnostic, Severity, Span};
use kiln_sdk::wit::graph::{Hole, Op, OpKind, Output};
use kiln_sdk::wit::instruction_types::{
    Argument, Descriptor, FlagKind, FlagValue, Heredoc, InstructionError, Outcome, Split, Stage, Statement,
};
use kiln_sdk::wit::types::{ImageConfig, Pair, Platform};

use crate::{Instructions, json};

#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) statement: Statement,
    pub(crate) stage: Stage,
    /// What the configuration is before the line.
    pub(crate) config: ImageConfig,
}

pub(crate) fn pair(key: &str, value: &str) -> Pair {
    Pair { key: key.into(), value: value.into() }
}

fn pairs(list: &[(&str, &str)]) -> Vec<Pair> {
    list.iter().map(|(key, value)| pair(key, value)).collect()
}

impl Line {
    pub(crate) fn new(text: &str) -> Self {
        let (keyword, rest) = text.split_once(' ').unwrap_or((text, ""));
        let descriptor = Instructions::instructions()
            .into_iter()
            .find(|it| it.keyword == keyword)
            .unwrap_or_else(|| panic!("no keyword {keyword}"));
        let place = |part: &str| {
            let from = part.as_ptr() as usize - text.as_ptr() as usize + 1;
            Span::on_line("Dockerfile", 1, from as u32, (from + part.len()) as u32)
        };
        let mut rest = rest.trim();
        let mut flag_values = Vec::new();
        while rest.starts_with("--") {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            flag_values.push(flag(&descriptor, word, &place));
            rest = after.trim();
        }
        let list = descriptor.form.json.then(|| json::strings(rest).ok()).flatten();
        let statement = Statement {
            keyword: keyword.into(),
            json: list.is_some(),
            arguments: match list {
                Some(list) => list
                    .into_iter()
                    .map(|value| Argument {
                        key: String::new(),
                        original: format!("\"{value}\""),
                        value,
                        heredoc: None,
                        at: place(rest),
                    })
                    .collect(),
                None => cut(&descriptor, rest, &place),
            },
            flag_values,
            heredocs: Vec::new(),
            original: text.into(),
            at: place(text),
        };
        let config = ImageConfig { env: pairs(&[("PATH", "/bin")]), ..ImageConfig::default() };
        let stage = Stage {
            name: String::new(),
            index: 0,
            platform: Platform::default(),
            build_platform: Platform::default(),
            base: "docker.io/library/debian:latest".into(),
            user: String::new(),
            working_dir: String::new(),
            shell: Vec::new(),
            config: None,
            environment: config.env.clone(),
            args: Vec::new(),
            earlier: Vec::new(),
            has_base: true,
        };
        Self { statement, stage, config }
    }

    /// A here-document whose operator is among the words of the line.
    pub(crate) fn heredoc(mut self, operator: &str, content: &str) -> Self {
        let name = operator.trim_start_matches(|it: char| it.is_ascii_digit()).trim_start_matches("<<");
        let strip_tabs = name.starts_with('-');
        let index = self.statement.heredocs.len() as u32;
        let delimiter = name.trim_start_matches('-');
        self.statement.heredocs.push(Heredoc {
            name: delimiter.replace(['"', '\''], ""),
            operator: operator.into(),
            content: content.into(),
            strip_tabs,
            literal: delimiter.contains(['"', '\'']),
            at: self.statement.at.clone(),
        });
        for word in self.statement.arguments.iter_mut().filter(|word| word.original == operator) {
            word.heredoc = Some(index);
        }
        self
    }

    /// Variables of the image, and so of the stage.
    pub(crate) fn env(mut self, list: &[(&str, &str)]) -> Self {
        self.config.env = pairs(list);
        self.stage.environment = pairs(list);
        self
    }

    /// Arguments declared in the stage; those with a value are in the environment.
    pub(crate) fn args(mut self, list: &[(&str, Option<&str>)]) -> Self {
        for (name, value) in list {
            self.stage.args.push((*name).into());
            self.stage.environment.extend(value.map(|value| pair(name, value)));
        }
        self
    }

    pub(crate) fn after(mut self, keywords: &[&str]) -> Self {
        self.stage.earlier = keywords.iter().map(|&keyword| keyword.into()).collect();
        self
    }

    pub(crate) fn in_dir(mut self, dir: &str) -> Self {
        self.stage.working_dir = dir.into();
        self
    }

    /// Right after `FROM scratch`.
    pub(crate) fn on_nothing(self) -> Self {
        let mut line = self.on_scratch(&[]);
        line.stage.has_base = false;
        line
    }

    /// In a stage from `scratch`, with some instructions behind it.
    pub(crate) fn on_scratch(self, earlier: &[&str]) -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut line = self.env(&[("PATH", path)]).in_dir("/").after(earlier);
        line.stage.base.clear();
        line
    }

    pub(crate) fn asked(&self) -> Result<Outcome, InstructionError> {
        Instructions::apply(self.statement.clone(), &self.stage, &[])
    }

    #[track_caller]
    pub(crate) fn apply(&self) -> Applied {
        let errors: Vec<Diagnostic> = self.validate().into_iter().filter(Diagnostic::is_error).collect();
        assert_eq!(errors, [], "{}", self.statement.original);
        self.evaluate()
    }

    /// [`apply`](Self::apply) for a statement that looks different once it is expanded.
    #[track_caller]
    pub(crate) fn evaluate(&self) -> Applied {
        match self.asked() {
            Ok(outcome) => {
                let mut config = self.config.clone();
                for change in &outcome.changes {
                    config.change(change.clone());
                }
                Applied { outcome, config }
            }
            Err(error) => panic!("{}: {error:?}", self.statement.original),
        }
    }

    pub(crate) fn validate(&self) -> Vec<Diagnostic> {
        Instructions::validate(vec![self.statement.clone()])
    }

    /// A finding of `validate`.
    #[track_caller]
    pub(crate) fn validated(&self, code: &str) -> Diagnostic {
        let found = self.validate();
        found.iter().find(|it| it.code == code).cloned().unwrap_or_else(|| panic!("no {code} in {found:?}"))
    }

    /// An error both of `validate` and of `apply`.
    #[track_caller]
    pub(crate) fn is_wrong(&self, code: &str, message: &str) {
        let found = self.validated(code);
        assert_eq!((found.severity, found.message.as_str()), (Severity::Error, message));
        assert_eq!(self.refused(code).message, message);
    }

    /// An error of `apply`, while `validate` has none.
    #[track_caller]
    pub(crate) fn is_wrong_when_applied(&self, code: &str) -> Diagnostic {
        assert!(!self.validate().iter().any(Diagnostic::is_error), "{}", self.statement.original);
        self.refused(code)
    }

    #[track_caller]
    fn refused(&self, code: &str) -> Diagnostic {
        let Err(InstructionError::Invalid(found)) = self.asked() else {
            panic!("{} was applied", self.statement.original);
        };
        let error = found.iter().find(|it| it.code == code && it.is_error());
        let error =
            error.unwrap_or_else(|| panic!("{}: no {code} in {found:?}", self.statement.original)).clone();
        assert!(error.primary.is_some(), "{error:?} has no place");
        error
    }
}

pub(crate) struct Applied {
    pub(crate) outcome: Outcome,
    config: ImageConfig,
}

impl Applied {
    /// What the configuration is after the line.
    #[track_caller]
    pub(crate) fn config(&self) -> &ImageConfig {
        assert!(!self.outcome.changes.is_empty(), "the configuration changes");
        &self.config
    }

    pub(crate) fn history(&self) -> Vec<&str> {
        self.outcome.history.iter().map(|entry| entry.created_by.as_str()).collect()
    }

    pub(crate) fn op(&self, output: Output) -> &Op {
        &self.outcome.fragment.ops[output.op as usize]
    }

    /// The operation that makes the new filesystem.
    #[track_caller]
    pub(crate) fn root(&self) -> &OpKind {
        &self.op(self.outcome.root.expect("a new filesystem")).kind
    }

    /// The operation whose layer the history line is about.
    #[track_caller]
    pub(crate) fn layer(&self) -> &OpKind {
        let op = self.outcome.history[0].layer.expect("a layer");
        &self.outcome.fragment.ops[op as usize].kind
    }

    pub(crate) fn is_base(&self, output: Output) -> bool {
        self.op(output).kind == OpKind::Hole(Hole::Base)
    }

    #[track_caller]
    pub(crate) fn finds(&self, code: &str) -> &Diagnostic {
        let found = &self.outcome.diagnostics;
        found.iter().find(|it| it.code == code).unwrap_or_else(|| panic!("no {code} in {found:?}"))
    }

    #[track_caller]
    pub(crate) fn lacks(&self, code: &str) {
        assert!(self.outcome.diagnostics.iter().all(|it| it.code != code), "{:?}", self.outcome.diagnostics);
    }

    #[track_caller]
    pub(crate) fn finds_nothing(&self) {
        assert_eq!(self.outcome.diagnostics, []);
    }
}

fn argument(key: &str, value: &str, original: &str, at: Span) -> Argument {
    let bare = value.replace(['"', '\''], "");
    Argument { key: key.replace(['"', '\''], ""), value: bare, original: original.into(), heredoc: None, at }
}

fn flag(descriptor: &Descriptor, word: &str, place: &dyn Fn(&str) -> Span) -> FlagValue {
    let (name, value) = word[2..].split_once('=').unwrap_or((&word[2..], "true"));
    let spec = descriptor.flag_specs.iter().find(|spec| spec.name == name);
    let spec = spec.unwrap_or_else(|| panic!("no flag {name}"));
    let values = match spec.kind {
        FlagKind::Fields => value
            .split(',')
            .map(|field| {
                let (key, value) = field.split_once('=').unwrap_or((field, ""));
                argument(key, value, field, place(field))
            })
            .collect(),
        _ => vec![argument("", value, value, place(word))],
    };
    FlagValue { name: name.into(), values, at: place(word) }
}

fn cut(descriptor: &Descriptor, rest: &str, place: &dyn Fn(&str) -> Span) -> Vec<Argument> {
    if rest.is_empty() {
        return Vec::new();
    }
    let whole = |text: &str| Argument {
        key: String::new(),
        value: text.into(),
        original: text.into(),
        heredoc: None,
        at: place(text),
    };
    match descriptor.form.split {
        Split::Whole => vec![whole(rest)],
        Split::Blanks | Split::Words => {
            rest.split_whitespace().map(|word| argument("", word, word, place(word))).collect()
        }
        Split::Pairs => {
            let words = quoted_words(rest);
            if !words[0].contains('=') {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                return vec![argument(key, value.trim(), rest, place(rest))];
            }
            words
                .into_iter()
                .map(|word| {
                    let (key, value) = word.split_once('=').unwrap_or((word, ""));
                    argument(key, value, word, place(word))
                })
                .collect()
        }
    }
}

fn quoted_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quoted = false;
    for (i, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        quoted ^= letter == '"';
        match start {
            Some(from) if letter == ' ' && !quoted => {
                words.push(&text[from..i]);
                start = None;
            }
            None if letter != ' ' => start = Some(i),
            _ => {}
        }
    }
    words
}
