//! ADD: as COPY from the build context, and archives, downloads and git repositories (§12.12–§12.14).

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::graph::{HttpSource, OpKind};
use kiln_sdk::wit::instruction_types::{Argument, HeredocForm, Outcome, Stage, Statement};

use crate::copy::warn_of_nothing;
use crate::findings::Findings;
use crate::git::{self, GitUrl};
use crate::keyword::{Flag, Keyword, PATHS};
use crate::path::base_name;
use crate::statement::{boolean, flags, nonempty_flag};
use crate::transfer::{self, Transfer};

pub(crate) static ADD: Keyword = Keyword {
    name: "ADD",
    summary: "copies files and unpacks archives, from the build context or from afar",
    usage: "ADD [--checksum=DIGEST] [--chown=USER[:GROUP]] [--chmod=MODE] [--link] [--keep-git-dir] [--unpack] [--exclude=PATTERN]… SOURCE… DESTINATION",
    form: PATHS,
    heredocs: HeredocForm::Expanded,
    flags: &[
        Flag::text("checksum").expanded(),
        Flag::text("chmod").expanded(),
        Flag::text("chown").expanded(),
        Flag::text("exclude").repeatable(),
        Flag::boolean("keep-git-dir"),
        Flag::boolean("link"),
        Flag::boolean("unpack"),
    ],
    traits: &[],
    validate: transfer::validate,
    apply,
};

/// Length of the hexadecimal digits of the digests that a download can be checked by.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

enum Source {
    Local,
    Download,
    Git(GitUrl),
}

fn apply(statement: &Statement, stage: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let mut transfer = Transfer::new(statement, stage, findings)?;
    let mut sources = Vec::new();
    for argument in transfer.sources.clone() {
        let source = match git::parse(&argument.value) {
            Some(Ok(url)) => Source::Git(url),
            Some(Err(reason)) => {
                let message = format!("`{}` is no git source: {reason}", argument.value);
                findings.push(Diagnostic::error("invalid-git-source", message).at(&argument.at));
                continue;
            }
            None if argument.value.starts_with("http://") || argument.value.starts_with("https://") => {
                Source::Download
            }
            None => Source::Local,
        };
        sources.push((argument, source));
    }
    let checksum = checksum(statement, &sources, findings);
    warn_of_flags(statement, &sources, findings);

    let unpack = boolean(statement, "unpack");
    for (argument, source) in sources {
        match source {
            Source::Local => {
                warn_of_nothing(argument, findings);
                let context = transfer.graph.context();
                transfer.local(context, &argument.value, false, tar(unpack.unwrap_or(true)));
            }
            Source::Download => {
                let filename = filename(&argument.value);
                let source = HttpSource {
                    url: argument.value.clone(),
                    checksum: checksum.clone(),
                    filename: filename.clone(),
                };
                let file = transfer.graph.push_at(OpKind::Http(source), vec![argument.at.clone()]);
                transfer.graph.rename(file, format!("download {}", argument.value));
                transfer.made(file, vec![format!("/{filename}")], tar(unpack.unwrap_or(false)));
            }
            Source::Git(url) => {
                let Some(source) = repository(statement, url, checksum.as_deref(), argument, findings) else {
                    continue;
                };
                let tree = transfer.graph.push_at(source, vec![argument.at.clone()]);
                transfer.graph.rename(tree, format!("clone {}", argument.value));
                transfer.made(tree, vec!["/".into()], "");
            }
        }
    }
    transfer.finish("", findings)
}

fn tar(unpack: bool) -> &'static str {
    if unpack { "tar" } else { "" }
}

/// The last segment of the path of an URL (§12.13).
fn filename(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let decoded = git::decode(path, false);
    match base_name(&decoded) {
        "" | "." | ".." | "/" => "__unnamed__".into(),
        name => name.into(),
    }
}

/// The value of `--checksum` once it is known to fit its source.
fn checksum(
    statement: &Statement,
    sources: &[(&Argument, Source)],
    findings: &mut Findings,
) -> Option<String> {
    let value = nonempty_flag(statement, "checksum")?;
    let text = value.value.as_str();
    let reason = match sources {
        _ if statement.arguments.len() != 2 => "`--checksum` is for exactly one source".into(),
        [(_, Source::Local)] | [] => "`--checksum` is for downloads and git repositories only".into(),
        [(_, Source::Download)] if !is_digest(text) => {
            format!("`{text}` is not a digest such as `sha256:` and 64 hexadecimal digits")
        }
        [(_, Source::Git(_))] => match git::commit(text) {
            Ok(commit) => return Some(commit),
            Err(reason) => reason,
        },
        _ => return Some(text.into()),
    };
    findings.push(Diagnostic::error("invalid-checksum", reason).at(&value.at));
    None
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let length = ALGORITHMS.iter().find(|(name, _)| *name == algorithm).map(|(_, length)| *length);
    length == Some(hex.len()) && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A repository with what flags and URL say together.
fn repository(
    statement: &Statement,
    mut url: GitUrl,
    checksum: Option<&str>,
    argument: &Argument,
    findings: &mut Findings,
) -> Option<OpKind> {
    let mut conflict = |name: &str, at: &Span| {
        let message = format!("`--{name}` contradicts the URL");
        let error = Diagnostic::error("invalid-git-source", message).at(at);
        findings.push(error.label(&argument.at, "says otherwise").help("say it in one place only"));
    };
    let at = |name: &str| flags(statement, name).last().map_or(&statement.at, |flag| &flag.at);
    if let Some(checksum) = checksum {
        if url.commit.as_deref().is_some_and(|commit| commit != checksum) {
            conflict("checksum", at("checksum"));
            return None;
        }
        url.commit = Some(checksum.into());
    }
    let keep = boolean(statement, "keep-git-dir");
    if let (Some(flag), Some(said)) = (keep, url.keep_git_dir)
        && flag != said
    {
        conflict("keep-git-dir", at("keep-git-dir"));
        return None;
    }
    if url.commit_times {
        let message = "`mtime` in the URL counts for build contexts only: files get the time of the checkout";
        findings.push(Diagnostic::warning("no-effect", message).at(&argument.at));
    }
    let keep = keep.or(url.keep_git_dir).unwrap_or(false);
    Some(OpKind::Git(url.source(keep)))
}

/// Flags that none of the sources can heed.
fn warn_of_flags(statement: &Statement, sources: &[(&Argument, Source)], findings: &mut Findings) {
    let git = |source: &Source| matches!(source, Source::Git(_));
    let mut warn = |name: &str, reason: &str| {
        let at = flags(statement, name).last().map_or(&statement.at, |flag| &flag.at);
        let message = format!("`--{name}` does nothing here: {reason}");
        findings.push(Diagnostic::warning("no-effect", message).at(at));
    };
    if boolean(statement, "keep-git-dir") == Some(true) && !sources.iter().any(|(_, source)| git(source)) {
        warn("keep-git-dir", "no source is a git repository");
    }
    if boolean(statement, "unpack") == Some(true) && sources.iter().all(|(_, source)| git(source)) {
        warn("unpack", "no source is a file");
    }
}

#[cfg(test)]
#[path = "add_tests.rs"]
mod tests;
