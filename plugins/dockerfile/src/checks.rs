//! The checks of §21.6 that need no evaluation, and the wording of those that do.

use std::collections::BTreeMap;

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::{Diagnostic, Position, Span};
use kiln_sdk::wit::types::Platform;

use crate::directives::CheckOptions;
use crate::expand::{self, Mode};
use crate::findings::{EXPERIMENTAL, Findings, check};
use crate::parse::Line;
use crate::platform;
use crate::reference::Reference;
use crate::scope::{Globals, StageScope, declared};
use crate::stages::{File, StageText};

/// Options of the first comment above `line` that has any (§21.3).
pub fn local_options(line: &Line, findings: &mut Findings) -> Option<CheckOptions> {
    match line.comments.iter().find_map(|comment| CheckOptions::from_comment(comment))? {
        Ok(options) => Some(options),
        Err(problem) => {
            findings.add(bad_options(&problem).at(&line.whole()), None);
            None
        }
    }
}

/// The error for options of `check` that cannot be read.
pub fn bad_options(problem: &str) -> Diagnostic {
    Diagnostic::error("bad-check-option", format!("the options of `check` cannot be read: {problem}"))
        .help("write `# check=skip=Rule,Rule;error=true`")
}

fn help_near<'n>(name: &str, known: impl Iterator<Item = &'n str>, otherwise: &str) -> String {
    match nearest(name, known) {
        Some(near) => format!("write `${near}`"),
        None => otherwise.to_owned(),
    }
}

pub fn undefined_in_from(name: &str, globals: &Globals, at: &Span) -> Diagnostic {
    check("UndefinedArgInFrom", format!("FROM uses `${name}`, which no ARG before the first FROM declares"))
        .at(at)
        .help(help_near(name, globals.names(), &format!("add `ARG {name}=…` before the first FROM")))
}

pub fn undefined_variable(
    name: &str,
    scope: &StageScope,
    globals: &Globals,
    at: &Span,
    suggest: bool,
) -> Diagnostic {
    let otherwise = if expand::Variables::is_declared(globals, name) {
        format!(
            "add `ARG {name}` to this stage: arguments declared before the first FROM are seen in FROM only"
        )
    } else {
        format!("declare it with `ARG {name}` or set it with `ENV {name}=…` before this line")
    };
    let known = scope.names().take(if suggest { usize::MAX } else { 0 });
    check("UndefinedVar", format!("`${name}` is not defined here, so it expands to nothing"))
        .at(at)
        .help(help_near(name, known, &otherwise))
}

/// Judges the text of the file as a whole.
pub fn file(file: &File, findings: &mut Findings) {
    casing(file, findings);
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    for line in file.globals.iter().chain(file.stages.iter().flat_map(|stage| stage.lines.iter())) {
        let local = local_options(line, findings);
        empty_continuation(line, local.as_ref(), findings);
    }
    for line in file.globals.iter().filter(|line| line.keyword == "ARG") {
        let local = local_options(line, findings);
        argument_comment(line, file.escape, local.as_ref(), findings);
        secret_arguments(line, file.escape, local.as_ref(), findings);
    }
    for stage in &file.stages {
        let line = &stage.from.line;
        let local = local_options(line, findings);
        let local = local.as_ref();
        empty_continuation(line, local, findings);
        from_platform(stage, local, findings);
        for line in stage.lines.iter().filter(|line| line.keyword == "ARG") {
            let local = local_options(line, findings);
            argument_comment(line, file.escape, local.as_ref(), findings);
        }
        let Some((word, name)) = &stage.from.name else { continue };
        let (at, written) = (line.span(name), line.text(name));
        let (lower, as_word) = (stage.name.clone(), line.text(word));
        if written != lower {
            let finding =
                check("StageNameCasing", format!("the stage name `{written}` is not in lower case"));
            findings.add(finding.at(&at).help(format!("write `{lower}`")).fix(&at, lower.as_str()), local);
        }
        let keyword = line.written_keyword();
        let wanted = match keyword {
            "FROM" => Some("AS"),
            "from" => Some("as"),
            _ => None,
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != as_word) {
            let at = line.span(word);
            let finding = check("FromAsCasing", format!("`{as_word}` and `{keyword}` differ in case"));
            findings.add(finding.at(&at).help(format!("write `{wanted}`")).fix(&at, wanted), local);
        }
        if matches!(lower.as_str(), "context" | "scratch") {
            let message = format!("`{lower}` is reserved and should not be the name of a stage");
            findings.add(check("ReservedStageName", message).at(&at).help("choose another name"), local);
        }
        if !begins_with(&line.comments, [lower.as_str()].into_iter()) {
            findings.add(definition_comment(&line.whole(), &lower), local);
        }
        match seen.get(&lower) {
            Some(first) => {
                let message = format!("there is an earlier stage of the name `{lower}`");
                let finding = check("DuplicateStageName", message).at(&at).label(first, "the first one");
                findings.add(finding.help("choose another name"), local);
            }
            None => {
                seen.insert(lower, at);
            }
        }
    }
}

fn definition_comment(at: &Span, name: &str) -> Diagnostic {
    check(EXPERIMENTAL, format!("the comment above `{name}` does not begin with that name"))
        .at(at)
        .help(format!("write `# {name} <what it is>`, or leave a bare `#` between"))
}

fn argument_comment(line: &Line, escape: char, local: Option<&CheckOptions>, findings: &mut Findings) {
    let declared = declared(line, escape).unwrap_or_default();
    if let Some(first) = declared.first()
        && !begins_with(&line.comments, declared.iter().map(|declared| declared.name.as_str()))
    {
        findings.add(definition_comment(&line.whole(), &first.name), local);
    }
}

/// Whether the comment right above begins with one of the names, or there is none. Options for the checks are no
/// comment about anything.
fn begins_with<'n>(comments: &[String], mut names: impl Iterator<Item = &'n str>) -> bool {
    let Some(comment) = comments.last().filter(|comment| CheckOptions::from_comment(comment).is_none())
    else {
        return true;
    };
    let first = comment.split(' ').next();
    names.any(|name| first == Some(name))
}

fn empty_continuation(line: &Line, local: Option<&CheckOptions>, findings: &mut Findings) {
    if !line.logical.blank_inside {
        return;
    }
    let mut at = line.whole();
    let last = line.logical.last_line;
    at.start = Position { line: last, column: 0 };
    at.end = Position { line: last, column: 0 };
    let finding = check("NoEmptyContinuation", "a blank line stands within this instruction").at(&at);
    findings.add(finding.help("remove the blank line, or put `#` there"), local);
}

/// Which case most keywords of the file are in (ties: upper), and which are not (§21.6).
fn casing(file: &File, findings: &mut Findings) {
    let lines =
        || file.stages.iter().flat_map(|stage| std::iter::once(&stage.from.line).chain(stage.lines.iter()));
    let is_lower = |word: &str| !word.contains(char::is_uppercase);
    let is_upper = |word: &str| !word.contains(char::is_lowercase);
    let lower = lines().filter(|line| is_lower(line.written_keyword())).count();
    let upper = lines().filter(|line| is_upper(line.written_keyword())).count();
    let (wanted_lower, name) = if lower > upper { (true, "lower") } else { (false, "upper") };
    for line in lines() {
        let written = line.written_keyword();
        if if wanted_lower { is_lower(written) } else { is_upper(written) } {
            continue;
        }
        let wanted = if wanted_lower { written.to_lowercase() } else { written.to_uppercase() };
        let at = line.keyword_span();
        let message = format!("most keywords of this file are in {name} case, and `{written}` is not");
        let finding = check("ConsistentInstructionCasing", message).at(&at);
        let local = local_options(line, findings);
        findings.add(finding.help(format!("write `{wanted}`")).fix(&at, wanted.as_str()), local.as_ref());
    }
}

fn from_platform(stage: &StageText, local: Option<&CheckOptions>, findings: &mut Findings) {
    let Some(flag) = &stage.from.platform else { return };
    let line = &stage.from.line;
    let at = line.span(&flag.range);
    let value = flag.value().unwrap_or_default();
    if matches!(value, "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        let message = format!("`--platform={value}` is what FROM uses anyway");
        findings.add(check("RedundantTargetPlatform", message).at(&at).help("leave it out"), local);
        return;
    }
    if value.contains('$') {
        return;
    }
    if let Some(platform) = platform::read(value, &Platform::default()) {
        let name = &stage.name;
        if name.contains(&platform.os) || name.contains(&platform.arch) {
            return;
        }
    }
    let message = format!("the platform `{value}` is fixed, so this file builds for no other");
    let help = "leave it out, use `$BUILDPLATFORM`, or name the stage after the platform";
    findings.add(check("FromPlatformFlagConstDisallowed", message).at(&at).help(help), local);
}

/// Each FROM has to name an image when no build argument is given (§21.6, `InvalidDefaultArgInFrom`).
pub fn default_arguments(file: &File, defaults: &Globals, findings: &mut Findings) {
    for stage in &file.stages {
        let line = &stage.from.line;
        let written = line.text(&stage.from.reference);
        if !written.contains('$') {
            continue;
        }
        let Ok(expanded) = expand::word(written, Mode::arguments(file.escape), defaults) else { continue };
        let name = expanded.text;
        if Reference::read(&name).is_ok() || file.find(&name).is_some() {
            continue;
        }
        let what = if name.is_empty() { "nothing".to_owned() } else { format!("`{name}`") };
        let message = format!("without build arguments `{written}` is {what}, and that is no image");
        let finding = check("InvalidDefaultArgInFrom", message).at(&line.span(&stage.from.reference));
        let local = local_options(line, findings);
        findings.add(finding.help("give the arguments defaults: `ARG NAME=value`"), local.as_ref());
    }
}

/// Arguments whose names say that their values are secrets (§21.6, `SecretsUsedInArgOrEnv`).
pub fn secret_arguments(line: &Line, escape: char, local: Option<&CheckOptions>, findings: &mut Findings) {
    for declared in declared(line, escape).unwrap_or_default() {
        if is_secret(&declared.name) {
            let message =
                format!("the value of `{}` stays in the history of the image for all to read", declared.name);
            let finding = check("SecretsUsedInArgOrEnv", message).at(&declared.at);
            findings.add(finding.help("use `RUN --mount=type=secret,id=…`"), local);
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let mut words = name.split('_');
    let has = |known: &[&str]| name.split('_').any(|word| known.contains(&word));
    words.any(|word| {
        matches!(
            word,
            "apikey"
                | "auth"
                | "credential"
                | "credentials"
                | "key"
                | "password"
                | "pword"
                | "passwd"
                | "secret"
                | "token"
        )
    }) && !has(&["public", "file", "version"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowance::Allowance;
    use crate::parse::{Place, parse, tests::keywords};
    use crate::scope::predefined;
    use crate::stages::group;

    fn found(text: &str) -> Vec<String> {
        let keywords = keywords();
        let parsed = parse(text, &Place { file: "Dockerfile".into(), fixed: None }, 1, None, &keywords);
        let mut problems = Vec::new();
        let read = group("Dockerfile", parsed, &keywords, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let mut findings = Findings::default();
        if let Some((options, _)) = &read.check {
            findings.options = CheckOptions::read(options).unwrap();
        }
        file(&read, &mut findings);
        let platform = Platform::default();
        let predefined = predefined(&platform, &platform, "default");
        let globals = Globals::read(
            &read.globals,
            '\\',
            &predefined,
            &BTreeMap::new(),
            &Allowance::default(),
            &mut problems,
        );
        default_arguments(&read, &globals, &mut findings);
        findings.take().into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn section_21_6_checks_of_the_text() {
        for (text, expected) in [
            ("FROM a AS b", vec![]),
            ("FROM a AS Build", vec!["StageNameCasing"]),
            ("FROM a as b", vec!["FromAsCasing"]),
            ("from a AS b", vec!["FromAsCasing"]),
            ("from a as b\nRUN x", vec!["ConsistentInstructionCasing"]),
            ("from a as b\nrun x\nRUN y", vec!["ConsistentInstructionCasing"]),
            ("FROM a\nRun x", vec!["ConsistentInstructionCasing"]),
            ("FROM a\nRUN x \\\n\n y", vec!["NoEmptyContinuation"]),
            ("FROM a AS x\nFROM b AS X", vec!["StageNameCasing", "DuplicateStageName"]),
            ("FROM a AS scratch", vec!["ReservedStageName"]),
            ("FROM --platform=linux/amd64 a", vec!["FromPlatformFlagConstDisallowed"]),
            ("FROM --platform=linux/amd64 a AS build-amd64", vec![]),
            ("FROM --platform=$BUILDPLATFORM a", vec![]),
            ("FROM --platform=${TARGETPLATFORM} a", vec!["RedundantTargetPlatform"]),
            ("ARG v\nFROM a:$v", vec!["InvalidDefaultArgInFrom"]),
            ("ARG v=1\nFROM a:$v", vec![]),
            ("ARG v\nFROM a:${v:-1}", vec![]),
            ("ARG MY_TOKEN\nFROM a", vec!["SecretsUsedInArgOrEnv"]),
            ("ARG TOKEN_FILE TOKENS PUBLIC_KEY\nFROM a", vec![]),
            ("# other\nFROM a AS b\n# other\nARG c\n", vec![]),
            (
                "# check=experimental=all\n# other\nFROM a AS b\n# other\nARG c\n# d is\nARG d\n",
                vec![EXPERIMENTAL, EXPERIMENTAL],
            ),
            ("# check=skip=all\nFROM a as B", vec![]),
            ("# x\n# check=skip=FromAsCasing\nFROM a as B", vec!["StageNameCasing"]),
            ("# x\n# check=skip\nFROM a AS b", vec!["bad-check-option"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }
}
