//! The instructions of a Dockerfile, save those that make stages (`FROM`, `ARG`, `ONBUILD` are the frontend's).
//!
//! One module per keyword says how its line is cut up, judges the grammar, and turns the line and the stage it stands
//! in into what changes. Sections are those of the Dockerfile specification. Pure: no host function is called.

mod add;
mod cmd;
mod copy;
mod duration;
mod entrypoint;
mod env;
mod expose;
mod findings;
mod git;
mod healthcheck;
mod history;
mod json;
mod keyword;
mod label;
mod maintainer;
mod mount;
mod mount_fields;
mod ownership;
mod pairs;
mod path;
mod run;
mod shell;
mod shell_form;
mod statement;
mod stopsignal;
#[cfg(test)]
mod testing;
mod transfer;
mod user;
mod volume;
mod workdir;

use kiln_sdk::diagnose::nearest;
use kiln_sdk::plugin::{Instruction, Plugin};
use kiln_sdk::wit::describe::{Example, PluginInfo};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{Descriptor, InstructionError, Outcome, Stage, Statement};
use kiln_sdk::wit::types::Pair;

use findings::Findings;
use keyword::Keyword;

/// Every keyword of this component, sorted.
static KEYWORDS: [&Keyword; 15] = [
    &add::ADD,
    &cmd::CMD,
    &copy::COPY,
    &entrypoint::ENTRYPOINT,
    &env::ENV,
    &expose::EXPOSE,
    &healthcheck::HEALTHCHECK,
    &label::LABEL,
    &maintainer::MAINTAINER,
    &run::RUN,
    &shell::SHELL,
    &stopsignal::STOPSIGNAL,
    &user::USER,
    &volume::VOLUME,
    &workdir::WORKDIR,
];

#[cfg(target_family = "wasm")]
#[global_allocator]
static MEMORY: kiln_sdk::memory::Shelves = kiln_sdk::memory::Shelves::new();

/// The component.
#[derive(Debug)]
pub struct Instructions;

impl Plugin for Instructions {
    fn describe() -> PluginInfo {
        PluginInfo {
            name: "instructions".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "the instructions of a Dockerfile".into(),
            homepage: String::new(),
            license: env!("CARGO_PKG_LICENSE").into(),
            options: Vec::new(),
            rules: findings::rules(),
            examples: vec![Example {
                title: "A program of one file".into(),
                text: "FROM scratch\nCOPY hello /\nENTRYPOINT [\"/hello\"]\n".into(),
            }],
        }
    }
}

impl Instruction for Instructions {
    fn instructions() -> Vec<Descriptor> {
        KEYWORDS.iter().map(|keyword| keyword.descriptor()).collect()
    }

    fn validate(statements: Vec<Statement>) -> Vec<Diagnostic> {
        let mut findings = Findings::default();
        for statement in &statements {
            if let Some(keyword) = find(&statement.keyword) {
                (keyword.validate)(statement, &mut findings);
            }
        }
        findings.into_list()
    }

    fn apply(statement: Statement, stage: &Stage, _: &[Pair]) -> Result<Outcome, InstructionError> {
        let Some(keyword) = find(&statement.keyword) else {
            return Err(InstructionError::Unknown(unknown(&statement.keyword)));
        };
        let mut findings = Findings::default();
        let outcome = (keyword.apply)(&statement, stage, &mut findings);
        match outcome {
            Some(outcome) if !findings.has_error() => {
                Ok(Outcome { diagnostics: findings.into_list(), ..outcome })
            }
            _ => Err(InstructionError::Invalid(findings.into_list())),
        }
    }
}

fn find(keyword: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().copied().find(|known| known.name.eq_ignore_ascii_case(keyword))
}

fn unknown(keyword: &str) -> String {
    match nearest(keyword, KEYWORDS.iter().map(|known| known.name)) {
        Some(near) => format!("no instruction `{keyword}`; there is `{near}`"),
        None => format!("no instruction `{keyword}`"),
    }
}

kiln_sdk::export_instruction!(Instructions);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Line;
    use kiln_sdk::wit::instruction_types::{Argument, FlagValue};

    #[test]
    fn keywords_are_sorted_and_found_in_any_case() {
        assert!(KEYWORDS.is_sorted_by_key(|keyword| keyword.name));
        assert!(find("copy").is_some() && find("FROM").is_none());
    }

    #[test]
    fn a_keyword_of_somebody_else_is_unknown_with_a_near_match() {
        let mut line = Line::new("CMD x");
        line.statement.keyword = "CDM".into();
        let Err(InstructionError::Unknown(message)) = line.asked() else {
            panic!("applied");
        };
        assert_eq!(message, "no instruction `CDM`; there is `CMD`");
    }

    #[test]
    fn every_flag_of_the_specification_is_described() {
        let flags: Vec<String> = Instructions::instructions()
            .iter()
            .filter(|it| !it.flag_specs.is_empty())
            .map(|it| {
                let names: Vec<&str> = it.flag_specs.iter().map(|flag| flag.name.as_str()).collect();
                format!("{} {}", it.keyword, names.join(" "))
            })
            .collect();
        assert_eq!(
            flags,
            [
                "ADD checksum chmod chown exclude keep-git-dir link unpack",
                "COPY chmod chown exclude from link parents",
                "HEALTHCHECK interval retries start-interval start-period timeout",
                "RUN device mount network security",
            ]
        );
    }

    /// Words that parsers stumble over, put together at random into statements that no frontend would make.
    #[test]
    fn no_statement_makes_a_plugin_trap() {
        const WORDS: [&str; 36] = [
            "",
            " ",
            "#",
            "# x",
            "=",
            "a=",
            "=b",
            "a=b",
            "[",
            "['a']",
            "[\"a\",]",
            "\"",
            "'",
            "\\",
            "`",
            "$",
            "${",
            "é",
            "\u{1f600}=\u{301}",
            "/",
            "..",
            "a/./b",
            "<<EOF",
            "0",
            "-1",
            "99999999999999999999",
            "80-90/TCP",
            "[::1]:80",
            "1.5h",
            "ns",
            ":",
            "a:b:c",
            "https://h/%zz%é?x=%f#:",
            "git@h:x?tag=&tag=#é:/..",
            "type=cache",
            "1.9999999999999999999999p",
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % limit as u64) as usize
        };
        let mut applied = 0;
        for _ in 0..20_000 {
            let keyword = KEYWORDS[below(KEYWORDS.len())];
            let mut line = Line::new(keyword.name);
            let place = line.statement.at.clone();
            let argument = |below: &mut dyn FnMut(usize) -> usize| Argument {
                key: WORDS[below(WORDS.len())].into(),
                value: WORDS[below(WORDS.len())].into(),
                original: format!("{}{}", WORDS[below(WORDS.len())], WORDS[below(WORDS.len())]),
                heredoc: (below(8) == 0).then(|| below(3) as u32),
                at: place.clone(),
            };
            line.statement.json = below(4) == 0;
            for _ in 0..below(4) {
                line.statement.arguments.push(argument(&mut below));
            }
            for flag in keyword.descriptor().flag_specs {
                if below(3) == 0 {
                    let values = (0..below(5)).map(|_| argument(&mut below)).collect();
                    line.statement.flag_values.push(FlagValue { name: flag.name, values, at: place.clone() });
                }
            }
            line.stage.working_dir = WORDS[below(WORDS.len())].into();
            line.stage.has_base = below(2) == 0;
            line = line.heredoc(WORDS[below(WORDS.len())], WORDS[below(WORDS.len())]);
            line.validate();
            let Ok(outcome) = line.asked() else { continue };
            applied += 1;
            let ops = outcome.fragment.ops.len() as u32;
            assert!(outcome.root.is_none_or(|root| root.op < ops));
            assert!(outcome.history.iter().all(|entry| entry.layer.is_none_or(|layer| layer < ops)));
        }
        assert!(applied > 1_000, "{applied}");
    }
}
