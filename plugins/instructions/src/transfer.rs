//! What COPY and ADD have in common: sources, destination, owner, mode, here-documents, and `--link` (§12).

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::graph::{CopyAction, FileAction, FileOp, MakeFileAction, OpKind, Owner};
use kiln_sdk::wit::instruction_types::{Argument, Heredoc, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::entry;
use crate::ownership::{chmod, chown};
use crate::path::{absolute, destination};
use crate::statement::{boolean, comment_in_words, flags, listed, nonempty_flag};

/// Grammar of the line (§5.6, §6.7).
pub(crate) fn validate(statement: &Statement, findings: &mut Findings) {
    let Some((sources, target)) = split(statement, findings) else { return };
    for heredoc in sources.iter().filter_map(|source| body(statement, source)) {
        judge_name(heredoc, &statement.at, findings);
    }
    comment_in_words(statement, |words| read_as(words, &target.original), findings);
}

/// What words, the last of them the destination, are taken for.
fn read_as(words: &[Argument], target: &str) -> String {
    let sources = &words[..words.len().saturating_sub(1)];
    let role = match sources.len() {
        0 => return format!("`{target}` is read as the destination"),
        1 => "is read as a source",
        _ => "are read as sources",
    };
    let sources = listed(sources.iter().map(|word| word.original.as_str()));
    format!("{sources} {role} and `{target}` as the destination")
}

/// Sources and destination. None together with an error.
pub(crate) fn split<'a>(
    statement: &'a Statement,
    findings: &mut Findings,
) -> Option<(&'a [Argument], &'a Argument)> {
    let keyword = statement.keyword.to_ascii_uppercase();
    let (target, sources) = match statement.arguments.split_last() {
        Some((target, sources)) if !sources.is_empty() => (target, sources),
        only => {
            let message = format!("{keyword} needs at least two arguments, a source and the destination");
            let error = Diagnostic::error("argument-count", message).at(&statement.at);
            findings.push(match only {
                Some((source, _)) => {
                    error.help(format!("say where to: `{keyword} {} /path`", source.original))
                }
                None => error,
            });
            return None;
        }
    };
    if body(statement, target).is_some() {
        let message =
            format!("`{}` is a here-document, and the last argument is the destination", target.original);
        findings.push(Diagnostic::error("heredoc-destination", message).at(&target.at));
        return None;
    }
    Some((sources, target))
}

/// The here-document that an argument stands for.
pub(crate) fn body<'a>(statement: &'a Statement, argument: &Argument) -> Option<&'a Heredoc> {
    argument.heredoc.and_then(|index| statement.heredocs.get(index as usize))
}

/// A delimiter becomes the name of a file.
pub(crate) fn judge_name(heredoc: &Heredoc, at: &Span, findings: &mut Findings) -> bool {
    let good = !heredoc.name.contains('/') && heredoc.name != "." && heredoc.name != "..";
    if !good {
        let message = format!("the delimiter of `{}` cannot be the name of a file", heredoc.operator);
        let help = "write a delimiter without `/`, and the path as the destination";
        findings.push(Diagnostic::error("heredoc-name", message).at(at).help(help));
    }
    good
}

/// What holds for every source of one line.
pub(crate) struct Transfer<'a> {
    pub(crate) statement: &'a Statement,
    pub(crate) sources: Vec<&'a Argument>,
    heredocs: Vec<&'a Heredoc>,
    target: &'a Argument,
    stage: Stage,
    dest: String,
    owner: Option<Owner>,
    mode: String,
    exclude: Vec<String>,
    link: bool,
    pub(crate) graph: GraphBuilder,
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(statement: &'a Statement, stage: Stage, findings: &mut Findings) -> Option<Self> {
        let (arguments, target) = split(statement, findings)?;
        let heredocs: Vec<&Heredoc> = arguments.iter().filter_map(|source| body(statement, source)).collect();
        if !heredocs.iter().all(|heredoc| judge_name(heredoc, &statement.at, findings)) {
            return None;
        }
        let sources = arguments.iter().filter(|source| source.heredoc.is_none()).collect();
        let mode = chmod(statement, findings);
        let wanted = boolean(statement, "link").unwrap_or(false);
        let link = wanted && mode.is_empty();
        if wanted && !link {
            let message = "`--link` is ignored because of `--chmod`: this is an ordinary copy";
            let at = flags(statement, "link").last().map_or(&statement.at, |flag| &flag.at);
            findings.push(Diagnostic::info("link-ignored", message).at(at));
        }
        let exclude =
            flags(statement, "exclude").flat_map(|flag| &flag.values).map(|it| it.value.clone()).collect();
        let transfer = Self {
            sources,
            heredocs,
            target,
            dest: destination(&stage.config.working_dir, &target.value),
            owner: chown(statement, link, findings),
            mode,
            exclude,
            link,
            graph: GraphBuilder::new().at(&statement.at, statement.original.as_str()),
            statement,
            stage,
        };
        transfer.warn_of_overwriting(arguments, findings);
        Some(transfer)
    }

    /// Several files may end up as one (§12.4): whether the destination is a directory is known only when it is
    /// there, so this is said where nothing points to one.
    fn warn_of_overwriting(&self, sources: &[Argument], findings: &mut Findings) {
        let dir = absolute("/", &self.stage.config.working_dir);
        let is_dir =
            self.dest.ends_with('/') || dir == self.dest || dir.starts_with(&format!("{}/", self.dest));
        if sources.len() < 2 || is_dir {
            return;
        }
        let target = self.target.original.as_str();
        let message =
            format!("unless `{target}` is a directory already, each source replaces the one before it");
        let warning = Diagnostic::warning("several-sources", message).at(&self.target.at);
        findings.push(match self.statement.json {
            true => warning.help("end the destination with `/`"),
            false => warning.help(format!("write `{target}/`")).fix(&self.target.at, format!("{target}/")),
        });
    }

    /// Finishes a copy of one source with what the line says of all.
    pub(crate) fn action(&self, copy: CopyAction) -> FileAction {
        FileAction::Copy(CopyAction {
            dest: self.dest.clone(),
            owner: self.owner.clone(),
            mode: self.mode.clone(),
            exclude_patterns: self.exclude.clone(),
            contents_only: true,
            create_dest: true,
            ..copy
        })
    }

    /// Paths of sources go first and here-documents last, one layer for all. `more` is what the history shows
    /// between keyword and owner.
    pub(crate) fn finish(mut self, mut actions: Vec<FileAction>, more: &str) -> Option<Outcome> {
        for heredoc in std::mem::take(&mut self.heredocs) {
            let path = format!("/{}", heredoc.name);
            let file = MakeFileAction {
                path: path.clone(),
                data: heredoc.content.clone().into_bytes(),
                mode: 0o644,
                owner: None,
            };
            let input = self.graph.file(None, vec![FileAction::MakeFile(file)]);
            self.graph.rename(input, format!("file {}", heredoc.name));
            // Its name is to be taken literally, and no pattern is about it.
            let copy = CopyAction::new(input, vec![path], "");
            actions.push(match self.action(copy) {
                FileAction::Copy(copy) => {
                    FileAction::Copy(CopyAction { exclude_patterns: Vec::new(), ..copy })
                }
                other => other,
            });
        }
        let base = self.stage.has_base.then(|| self.graph.base());
        let (layer, root) = match (self.link, base) {
            (true, Some(base)) => {
                let layer = self.graph.push(OpKind::File(FileOp { base: None, actions }));
                (layer, self.graph.merge(vec![base, layer]))
            }
            (_, base) => {
                let layer = self.graph.push(OpKind::File(FileOp { base, actions }));
                (layer, layer)
            }
        };
        let created_by = self.created_by(more);
        Some(Outcome {
            fragment: self.graph.finish(),
            root: Some(root),
            history: vec![entry(created_by, Some(layer.op))],
            ..Outcome::default()
        })
    }

    fn created_by(&self, more: &str) -> String {
        let mut text = format!("{}{more}", self.statement.keyword.to_ascii_uppercase());
        for name in ["chown", "chmod"] {
            if let Some(value) = nonempty_flag(self.statement, name) {
                text.push_str(&format!(" --{name}={}", value.value));
            }
        }
        for source in &self.sources {
            text.push_str(&format!(" {}", source.value));
        }
        for argument in &self.statement.arguments {
            if let Some(heredoc) = body(self.statement, argument) {
                text.push_str(&format!(" <<{}", heredoc.name));
            }
        }
        format!("{text} {} # buildkit", self.target.value)
    }
}
