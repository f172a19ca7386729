//! `kiln build --call`: what a build file says about itself, as text or JSON of the shape that `docker buildx` prints.

use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use base64::Engine;
use kiln_core::{Cancel, Diagnostic, Span};
use kiln_driver::{BuildError, BuildRequest, Check, Driver, Finding, Need, Outline, SourceTexts, TargetInfo};
use serde_json::{Map, Value, json};

use crate::args::Format;
use crate::exit::{CommandLine, Exit};
use crate::progress::{Mode, Progress};
use crate::telling::Telling;
use crate::{parse, report, table};

/// A question that is asked in place of building.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Check,
    Outline,
    Targets,
    /// Which questions there are.
    Describe,
}

/// `--call METHOD[,format=text|json][,ignorestatus=BOOL]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Absent: build.
    pub question: Option<Question>,
    pub format: Format,
    /// Findings do not show in the exit status.
    pub ignore_status: bool,
}

const QUESTIONS: [(&str, &str); 4] = [
    ("check", "find what is wrong with the build file, and what could be better"),
    ("outline", "list what the target can be given, and what it needs"),
    ("targets", "list the stages that can be built"),
    ("subrequests.describe", "list these questions"),
];

impl Call {
    pub fn read(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            CommandLine(anyhow!(
                "`--call {text}`: {why}; write build, check, outline or targets, and `,format=json` for programs"
            ))
        };
        let mut call = Self { question: None, format: Format::Text, ignore_status: false };
        let mut method = None;
        for field in parse::csv(text).map_err(CommandLine::from)? {
            match field.split_once('=') {
                None => {
                    ensure!(method.is_none(), wrong("it asks two questions"));
                    method = Some(field);
                }
                Some(("format", "json")) => call.format = Format::Json,
                Some(("format", "text")) => call.format = Format::Text,
                Some(("ignorestatus", value)) => {
                    call.ignore_status =
                        parse::boolean(value).map_err(|_| wrong("`ignorestatus` is true or false"))?;
                }
                Some((key, value)) => return Err(wrong(&format!("there is no `{key}={value}`")).into()),
            }
        }
        call.question = match method.as_deref() {
            Some("build") => None,
            Some("check" | "lint") => Some(Question::Check),
            Some("outline") => Some(Question::Outline),
            Some("targets") => Some(Question::Targets),
            Some("subrequests.describe") => Some(Question::Describe),
            Some(other) => return Err(wrong(&format!("there is no method `{other}`")).into()),
            None => return Err(wrong("it asks nothing").into()),
        };
        Ok(call)
    }
}

/// What answering needs beside the question.
struct Asked<'a> {
    request: &'a BuildRequest,
    driver: &'a Driver,
    cancel: &'a Cancel,
    sources: SourceTexts,
    progress: Arc<Progress>,
    mode: Mode,
}

pub fn run(
    call: Call,
    question: Question,
    request: &BuildRequest,
    driver: &Driver,
    cancel: &Cancel,
    mode: Mode,
) -> Result<Exit> {
    let asked = Asked {
        request,
        driver,
        cancel,
        sources: SourceTexts::default(),
        progress: Arc::new(Progress::new(mode)),
        mode,
    };
    match question {
        Question::Check => asked.check(call),
        Question::Outline => {
            let answer = driver.outline(request, &asked.sources, &*asked.progress, cancel);
            asked.answer(answer, |outline| match call.format {
                Format::Json => json_text(&asked.outline_json(outline)),
                Format::Text => outline_text(outline),
            })
        }
        Question::Targets => {
            let answer = driver.targets(request, &asked.sources, &*asked.progress, cancel);
            asked.answer(answer, |targets| match call.format {
                Format::Json => json_text(&asked.targets_json(targets)),
                Format::Text => targets_text(targets),
            })
        }
        Question::Describe => {
            let list: Vec<Value> = QUESTIONS
                .iter()
                .map(|(name, description)| json!({ "name": name, "description": description }))
                .collect();
            table::put(&match call.format {
                Format::Json => json_text(&json!(list)),
                Format::Text => columns(
                    &["NAME", "DESCRIPTION"],
                    &QUESTIONS.map(|(name, what)| vec![name.to_owned(), what.to_owned()]),
                ),
            })?;
            Ok(Exit::Built)
        }
    }
}

impl Asked<'_> {
    /// Shows an answer, or why there is none.
    fn answer<T>(&self, answer: Result<T, BuildError>, show: impl Fn(&T) -> String) -> Result<Exit> {
        self.progress.finish();
        match answer {
            Ok(answer) => {
                table::put(&show(&answer))?;
                Ok(Exit::Built)
            }
            Err(error) => self.telling().failed(error),
        }
    }

    fn telling(&self) -> Telling<'_> {
        Telling { progress: &self.progress, sources: &self.sources, mode: self.mode }
    }

    fn check(&self, call: Call) -> Result<Exit> {
        let answer = self.driver.check(self.request, &self.sources, &*self.progress, self.cancel);
        self.progress.finish();
        let check = match answer {
            // Found before there was anything to check, such as a context that is not there.
            Err(BuildError::Wrong(errors)) => Check { errors, ..Check::default() },
            Err(BuildError::Refused(errors)) => Check { errors, refused: true, ..Check::default() },
            Err(BuildError::Step(failure)) => {
                let errors = std::iter::once(failure.diagnostic).chain(failure.findings).collect();
                Check { errors, ..Check::default() }
            }
            answer => answer?,
        };
        match call.format {
            Format::Json => table::put(&json_text(&self.check_json(&check)))?,
            Format::Text => {
                table::put(&self.check_text(&check))?;
                self.telling().tell(&check.errors);
            }
        }
        Ok(match (check.errors.is_empty(), check.violations.is_empty()) {
            (false, _) if check.refused => Exit::Refused,
            _ if call.ignore_status => Exit::Built,
            (true, true) => Exit::Built,
            _ => Exit::BuildWrong,
        })
    }

    fn check_text(&self, check: &Check) -> String {
        let mut text = String::new();
        match check.violations.len() {
            // The errors are told, and there is nothing to add to them.
            0 if !check.errors.is_empty() => {}
            0 => text.push_str("Check complete, no warnings found.\n"),
            1 => text.push_str("Check complete, 1 warning has been found!\n"),
            many => text.push_str(&format!("Check complete, {many} warnings have been found!\n")),
        }
        for Finding { rule, diagnostic, .. } in &check.violations {
            let page =
                if diagnostic.url.is_empty() { String::new() } else { format!(" - {}", diagnostic.url) };
            text.push_str(&format!("\nWARNING: {rule}{page}\n{}\n", diagnostic.message));
            self.place(&mut text, diagnostic);
        }
        for note in &check.notes {
            text.push_str(&format!("\nNOTE: {}\n{}\n", note.code, note.message));
            self.place(&mut text, note);
        }
        text
    }

    fn place(&self, text: &mut String, diagnostic: &Diagnostic) {
        if let Some(span) = &diagnostic.primary {
            text.push_str(&format!("{}:{}\n", span.file, span.start.line));
            if let Some(file) = self.sources.text(&span.file) {
                report::surroundings(text, &file, span);
            }
        }
        if !diagnostic.help.is_empty() {
            text.push_str(&format!("help: {}\n", diagnostic.help.replace('\n', "\n      ")));
        }
    }

    /// The files that were read: those that places name, and the build file when nothing names it. What lies beside
    /// the build file under its name with an ending is not it.
    fn files(&self) -> Vec<(String, String)> {
        let names = self.sources.names();
        let beside = |name: &str| {
            names
                .iter()
                .any(|other| name.strip_prefix(other.as_str()).is_some_and(|ending| ending.starts_with('.')))
        };
        names
            .iter()
            .filter(|name| !beside(name))
            .filter_map(|name| Some((name.clone(), self.sources.text(name)?)))
            .collect()
    }

    /// `{"ranges": […]}`, with the index of the file in the list of sources unless it is the first.
    fn location(&self, at: Option<&Span>) -> Value {
        let Some(at) = at else { return json!({}) };
        let end = at.end.line.max(at.start.line);
        let mut place = Map::new();
        if let Some(index @ 1..) = self.files().iter().position(|(name, _)| *name == at.file) {
            place.insert("sourceIndex".to_owned(), json!(index));
        }
        place.insert(
            "ranges".to_owned(),
            json!([{ "start": { "line": at.start.line }, "end": { "line": end } }]),
        );
        Value::Object(place)
    }

    fn sources_json(&self) -> Vec<Value> {
        self.files().iter().map(|(_, text)| json!(encoded(text))).collect()
    }

    fn check_json(&self, check: &Check) -> Value {
        let warning = |finding: &Finding| {
            json!({
                "ruleName": finding.rule,
                "description": finding.description,
                "url": finding.diagnostic.url,
                "detail": finding.diagnostic.message,
                "location": self.location(finding.diagnostic.primary.as_ref()),
            })
        };
        let sources: Vec<Value> = self
            .files()
            .iter()
            .map(|(name, text)| json!({ "filename": name, "data": encoded(text), "language": "Dockerfile" }))
            .collect();
        let warnings: Vec<Value> = check.violations.iter().map(warning).collect();
        let mut answer = json!({
            "warnings": if warnings.is_empty() { Value::Null } else { json!(warnings) },
            "sources": sources,
        });
        if !check.notes.is_empty() {
            let notes = check.notes.iter().map(|note| {
                json!({
                    "code": note.code,
                    "detail": note.message,
                    "location": self.location(note.primary.as_ref()),
                })
            });
            answer["notes"] = notes.collect();
        }
        if let [first, ..] = &check.errors[..] {
            answer["buildError"] =
                json!({ "message": first.message, "location": self.location(first.primary.as_ref()) });
            let errors = check.errors.iter().map(crate::progress::diagnostic_json);
            answer["errors"] = errors.collect();
        }
        answer
    }

    fn outline_json(&self, outline: &Outline) -> Value {
        let mut answer = Map::new();
        let mut put = |key: &str, value: Value| {
            if !matches!(&value, Value::String(text) if text.is_empty())
                && !matches!(&value, Value::Array(list) if list.is_empty())
            {
                answer.insert(key.to_owned(), value);
            }
        };
        put("name", json!(outline.target.name));
        put("description", json!(outline.target.description));
        let args = outline.parameters.iter().map(|argument| {
            let mut info = json!({ "name": argument.name });
            if !argument.description.is_empty() {
                info["description"] = json!(argument.description);
            }
            if let Some(value) = argument.value.as_ref().or(argument.preset.as_ref()) {
                info["value"] = json!(value);
            }
            info["location"] = self.location(argument.at.as_ref());
            info
        });
        put("args", args.collect());
        let needs = |needs: &[Need], key: &str| -> Value {
            let list = needs.iter().map(|need| {
                let mut info = json!({ key: need.id });
                if need.required {
                    info["required"] = json!(true);
                }
                info["location"] = self.location(need.at.as_ref());
                info
            });
            list.collect()
        };
        put("secrets", needs(&outline.secrets, "name"));
        put("ssh", needs(&outline.ssh, "name"));
        put("cache", needs(&outline.caches, "ID"));
        put("sources", json!(self.sources_json()));
        Value::Object(answer)
    }

    fn targets_json(&self, targets: &[TargetInfo]) -> Value {
        let list = targets.iter().map(|target| {
            let mut info = Map::new();
            if !target.name.is_empty() {
                info.insert("name".to_owned(), json!(target.name));
            }
            if target.is_default {
                info.insert("default".to_owned(), json!(true));
            }
            if !target.description.is_empty() {
                info.insert("description".to_owned(), json!(target.description));
            }
            info.insert("base".to_owned(), json!(target.base));
            if let Some(platform) = &target.platform {
                info.insert("platform".to_owned(), json!(platform.to_string()));
            }
            info.insert("location".to_owned(), self.location(target.at.as_ref()));
            Value::Object(info)
        });
        json!({ "targets": list.collect::<Value>(), "sources": self.sources_json() })
    }
}

fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn json_text(value: &Value) -> String {
    format!("{value:#}\n")
}

fn outline_text(outline: &Outline) -> String {
    let target = &outline.target;
    let mut text = String::new();
    match (target.name.is_empty(), target.description.is_empty()) {
        (true, _) => {}
        (false, true) => text.push_str(&format!("TARGET: {}\n\n", target.name)),
        (false, false) => {
            text.push_str(&format!("TARGET:      {}\nDESCRIPTION: {}\n\n", target.name, target.description));
        }
    }
    let mut tables = Vec::new();
    if !outline.parameters.is_empty() {
        let rows: Vec<_> = outline
            .parameters
            .iter()
            .map(|argument| {
                let value = argument.value.as_ref().or(argument.preset.as_ref()).cloned();
                vec![argument.name.clone(), value.unwrap_or_default(), argument.description.clone()]
            })
            .collect();
        tables.push(columns(&["BUILD ARG", "VALUE", "DESCRIPTION"], &rows));
    }
    let needs = [("SECRET", &outline.secrets), ("SSH", &outline.ssh)];
    for (head, needs) in needs.iter().filter(|(_, needs)| !needs.is_empty()) {
        let rows: Vec<_> = needs
            .iter()
            .map(|need| vec![need.id.clone(), if need.required { "true".to_owned() } else { String::new() }])
            .collect();
        tables.push(columns(&[head, "REQUIRED"], &rows));
    }
    if !outline.caches.is_empty() {
        let rows: Vec<_> = outline.caches.iter().map(|cache| vec![cache.id.clone()]).collect();
        tables.push(columns(&["CACHE"], &rows));
    }
    text + &tables.join("\n")
}

fn targets_text(targets: &[TargetInfo]) -> String {
    let rows: Vec<_> = targets
        .iter()
        .map(|target| {
            let name = match (target.name.as_str(), target.is_default) {
                ("", true) => "(default)".to_owned(),
                (name, true) => format!("{name} (default)"),
                (name, false) => name.to_owned(),
            };
            vec![name, target.description.clone()]
        })
        .collect();
    columns(&["TARGET", "DESCRIPTION"], &rows)
}

fn columns(head: &[&str], rows: &[Vec<String>]) -> String {
    table::text(head, &[], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_method_with_options() {
        let read = |text| Call::read(text).map(|call| (call.question, call.format, call.ignore_status)).ok();
        assert_eq!(read("build"), Some((None, Format::Text, false)));
        assert_eq!(read("check"), Some((Some(Question::Check), Format::Text, false)));
        assert_eq!(read("lint,format=json"), Some((Some(Question::Check), Format::Json, false)));
        assert_eq!(read("check,ignorestatus=1"), Some((Some(Question::Check), Format::Text, true)));
        assert_eq!(read("format=json,targets"), Some((Some(Question::Targets), Format::Json, false)));
        for text in
            ["", "foo", "check,outline", "check,format=xml", "check,ignorestatus=maybe", "format=json"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
