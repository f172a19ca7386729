//! Finds the build file, reads it and judges all of it, whatever will be built (§1, §24 phase P).

use kiln_sdk::diagnose::quoted;
use kiln_sdk::wit::diagnostics::{Diagnostic, Position, Span};
use kiln_sdk::wit::frontend_types::BuildRequest;
use kiln_sdk::wit::types::HostError;

use crate::arguments;
use crate::checks;
use crate::directives::CheckOptions;
use crate::findings::Findings;
use crate::host::Host;
use crate::ignore::IgnoreFile;
use crate::onbuild;
use crate::parse::{Keywords, Line, Place, TOO_MANY, parse};
use crate::resolve;
use crate::scope::{BuildArgs, declared};
use crate::stages::{self, File};

/// Names that are tried in order when none is given.
pub const FILE_NAMES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// A build file that was read, right or wrong.
#[derive(Debug)]
pub struct Loaded {
    pub file: File,
    pub keywords: Keywords,
    pub build_args: BuildArgs,
    /// `<file>.dockerignore`, if it is there (§19.1).
    pub ignore: Option<IgnoreFile>,
    pub findings: Findings,
}

/// Reads the build file that `request` names.
///
/// # Errors
///
/// There is no file, it cannot be read, or is far too long. What else is wrong in it is in
/// [`Loaded::findings`].
pub fn load(host: &dyn Host, request: &BuildRequest) -> Result<Loaded, Diagnostic> {
    let (name, bytes) = select(host, &request.file)?;
    let build_args: BuildArgs =
        request.build_args.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    let text = String::from_utf8_lossy(&bytes);
    let keywords = Keywords::new(host.known());
    let mut findings = Findings::default();
    let parsed = parse(&text, &Place { file: name.as_str().into(), fixed: None }, 1, None, &keywords);
    if let Some(problem) = parsed.problems.iter().find(|problem| problem.code == TOO_MANY) {
        return Err(problem.clone());
    }
    let mut problems = Vec::new();
    let file = stages::group(&name, parsed, &keywords, &mut problems);
    options(&file, &build_args, &mut findings);
    findings.extend(problems);
    findings.extend(not_text(&bytes, &file));
    if let Some(problem) = too_long(&file) {
        return Err(problem);
    }
    grammar(host, &file, &keywords, &mut findings);
    findings.extend(resolve::impossible(&file, &keywords));
    checks::file(&file, &mut findings);
    let ignore = ignore_file(host, &name, &mut findings);
    Ok(Loaded { file, keywords, build_args, ignore, findings })
}

fn select(host: &dyn Host, asked: &str) -> Result<(String, Vec<u8>), Diagnostic> {
    let unreadable = |name: &str, error: HostError| {
        Diagnostic::error("unreadable-build-file", format!("`{name}` cannot be read: {}", error.message))
    };
    let names = if asked.is_empty() { FILE_NAMES.to_vec() } else { vec![asked] };
    for name in &names {
        if let Some(bytes) = host.build_file(name).map_err(|error| unreadable(name, error))? {
            return Ok(((*name).to_owned(), bytes));
        }
    }
    let help = "name another file with `-f`, or the directory that holds it as the build context";
    let message = match names.as_slice() {
        [one] => format!("there is no build file `{one}`"),
        several => format!("there is no build file: looked for {}", quoted(several)),
    };
    Err(Diagnostic::error("no-build-file", message).help(help))
}

/// Lines that are not UTF-8 (§2.1). In comments and in the name of an author, where old files have them, they do no
/// harm; anywhere else the build would see other bytes than were written.
fn not_text(bytes: &[u8], file: &File) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0) {
        return found;
    }
    let lines = lines(file);
    for (index, physical) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let foreign = std::str::from_utf8(physical).err().map(|error| error.valid_up_to());
        let nul = physical.iter().position(|byte| *byte == 0);
        let Some(at) = foreign.into_iter().chain(nul).min() else { continue };
        let number = index as u32 + 1;
        let after = lines.partition_point(|line| line.logical.first_line <= number);
        let Some(owner) = lines[..after].last().filter(|line| number <= line.last_line) else { continue };
        let is_comment = physical.trim_ascii_start().starts_with(b"#") && number <= owner.logical.last_line;
        // What is written to a file may hold anything.
        let is_content = number > owner.logical.last_line && matches!(owner.keyword.as_str(), "COPY" | "ADD");
        let is_nul = physical[at] == 0;
        if is_comment || owner.keyword == "MAINTAINER" && !is_nul || is_content && is_nul {
            continue;
        }
        let column = String::from_utf8_lossy(&physical[..at]).chars().count() as u32 + 1;
        let message = match is_nul {
            true => "a NUL stands in no text".to_owned(),
            false => format!("the byte 0x{:02x} is not UTF-8", physical[at]),
        };
        found.push(
            Diagnostic::error("not-utf8", message)
                .at(&Span::on_line(&file.name, number, column, column + 1))
                .help("save the file as UTF-8"),
        );
        if found.len() == MAX_NOT_TEXT {
            break;
        }
    }
    found
}

fn lines(file: &File) -> Vec<&Line> {
    let stages = file.stages.iter().flat_map(|stage| std::iter::once(&stage.from.line).chain(&stage.lines));
    file.globals.iter().chain(stages).collect()
}

/// What is said of a file that is no text at all.
const MAX_NOT_TEXT: usize = 20;

/// Bytes of one instruction, here-documents included; kernels take no longer arguments. Files have their own limit.
const MAX_INSTRUCTION_BYTES: usize = 1 << 20;

/// An instruction that would cost more to evaluate than it can mean.
fn too_long(file: &File) -> Option<Diagnostic> {
    let lines = lines(file);
    let long = |line: &&&Line| {
        let bodies: usize = line.heredocs.iter().map(|heredoc| heredoc.content.len()).sum();
        let content = matches!(line.keyword.as_str(), "COPY" | "ADD");
        let counted = if content { 0 } else { bodies };
        line.logical.text.len() + counted > MAX_INSTRUCTION_BYTES
    };
    let line = lines.iter().find(long)?;
    let message = format!("this instruction is longer than {} MiB", MAX_INSTRUCTION_BYTES >> 20);
    Some(Diagnostic::error("instruction-too-long", message).at(&line.whole()))
}

/// Options of the `check` directive, or of the build argument that replaces it as a whole (§21.2).
fn options(file: &File, build_args: &BuildArgs, findings: &mut Findings) {
    let argument = build_args.get("BUILDKIT_DOCKERFILE_CHECK");
    let text = argument.or(file.check.as_ref().map(|(text, _)| text));
    match CheckOptions::read(text.map(String::as_str).unwrap_or_default()) {
        Ok(options) => findings.options = options,
        Err(problem) => {
            let mut diagnostic = checks::bad_options(&problem);
            if let (None, Some((_, line))) = (argument, &file.check) {
                let whole = Position { line: *line, column: 0 };
                diagnostic = diagnostic.at(&Span { file: file.name.clone(), start: whole, end: whole });
            }
            findings.add(diagnostic, None);
        }
    }
}

/// How many lines are judged in one call: more would only need more memory at a time.
const JUDGED: usize = 128;

/// Judges the grammar of every line (§1.8).
fn grammar(host: &dyn Host, file: &File, keywords: &Keywords, findings: &mut Findings) {
    let mut statements = Vec::new();
    let mut judged = Vec::new();
    let mut nested = Vec::new();
    let mut problems = Vec::new();
    for line in file.globals.iter().chain(file.stages.iter().flat_map(|stage| stage.lines.iter())) {
        match (line.keyword.as_str(), keywords.get(&line.keyword)) {
            ("ARG", _) => problems.extend(declared(line, file.escape).err()),
            ("ONBUILD", _) => nested.extend(onbuild::judge(line, file.escape, keywords, &mut problems)),
            (_, Some(descriptor)) => {
                let cut = arguments::cut(line, descriptor, file.escape, None);
                if cut.problems.is_empty() {
                    statements.push(cut.statement);
                }
                if statements.len() == JUDGED {
                    judged.append(&mut host.validate(&statements));
                    statements.clear();
                }
                problems.extend(cut.problems);
            }
            (_, None) => {}
        }
    }
    findings.extend(problems);
    let local: Vec<_> = file.stages.iter().flat_map(|stage| stage.lines.iter()).collect();
    if !statements.is_empty() {
        judged.append(&mut host.validate(&statements));
    }
    for finding in judged {
        // The comment above a line silences what is found in it.
        let line = finding.primary.as_ref().map_or(0, |span| span.start.line);
        let at = local.partition_point(|candidate| candidate.logical.first_line <= line);
        let above = at.checked_sub(1).filter(|_| !finding.is_error());
        let options = above.and_then(|index| checks::local_options(local[index], findings));
        findings.add(finding, options.as_ref());
    }
    if !nested.is_empty() {
        findings.extend(host.validate(&nested).into_iter().map(onbuild::when_fired));
    }
}

/// `<file>.dockerignore` beside the build file (§19.1, §19.2).
fn ignore_file(host: &dyn Host, name: &str, findings: &mut Findings) -> Option<IgnoreFile> {
    let name = format!("{name}.dockerignore");
    let bytes = match host.build_file(&name) {
        Ok(bytes) => bytes?,
        Err(error) => {
            let message = format!("`{name}` cannot be read: {}", error.message);
            findings.add(Diagnostic::error("unreadable-ignore-file", message), None);
            return None;
        }
    };
    read_ignore(&name, &bytes, findings)
}

/// Reads an ignore file; reports it when it is malformed.
pub fn read_ignore(name: &str, bytes: &[u8], findings: &mut Findings) -> Option<IgnoreFile> {
    match IgnoreFile::read(name, &String::from_utf8_lossy(bytes)) {
        Ok(ignore) => Some(ignore),
        Err(error) => {
            let message = format!("`{name}` cannot be used: {error}");
            findings.add(
                Diagnostic::error("bad-ignore-file", message).help("mend the pattern or remove it"),
                None,
            );
            None
        }
    }
}
