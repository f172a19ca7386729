//! What COPY and ADD have in common: sources, destination, owner, mode, here-documents, and `--link` (§12).

use std::collections::BTreeSet;

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::graph::{CopyAction, FileAction, MakeFileAction, Output, Owner};
use kiln_sdk::wit::instruction_types::{Argument, Heredoc, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::entry;
use crate::ownership::{chmod, chown};
use crate::path::{absolute, clean, destination};
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
    stage: &'a Stage,
    dest: String,
    owner: Option<Owner>,
    mode: String,
    exclude: Vec<String>,
    link: bool,
    pub(crate) graph: GraphBuilder,
    actions: Vec<CopyAction>,
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(statement: &'a Statement, stage: &'a Stage, findings: &mut Findings) -> Option<Self> {
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
        let excluded = flags(statement, "exclude").flat_map(|flag| &flag.values);
        let (rooted, exclude): (Vec<_>, Vec<_>) =
            excluded.partition(|pattern| pattern.value.trim_start_matches('!').starts_with('/'));
        for pattern in rooted {
            let message = format!("`{}` excludes nothing: patterns begin at the source", pattern.value);
            let help = format!("write `--exclude={}`", pattern.value.replacen('/', "", 1));
            findings.push(Diagnostic::warning("no-effect", message).at(&pattern.at).help(help));
        }
        let exclude = exclude.into_iter().map(|pattern| pattern.value.clone()).collect();
        Some(Self {
            sources,
            heredocs,
            target,
            dest: destination(&stage.working_dir, &target.value),
            owner: chown(statement, link, findings),
            mode,
            exclude,
            link,
            graph: GraphBuilder::new().at(&statement.at, statement.original.as_str()),
            actions: Vec::new(),
            statement,
            stage,
        })
    }

    /// Adds a copy of sources, finished with what the line says of all. Sources of one tree become one action.
    pub(crate) fn copy(&mut self, copy: CopyAction) {
        let mut copy = CopyAction {
            dest: self.dest.clone(),
            owner: self.owner.clone(),
            mode: self.mode.clone(),
            contents_only: true,
            create_dest: true,
            ..copy
        };
        // What keeps its directories is put below the destination, whatever that looks like.
        if copy.keep_parents && !copy.dest.ends_with('/') {
            copy.dest.push('/');
        }
        if let Some(last) = self.actions.last_mut() {
            let paths = std::mem::take(&mut last.paths);
            let more = std::mem::take(&mut copy.paths);
            let alike = *last == copy;
            last.paths = paths;
            if alike {
                last.paths.extend(more);
                return;
            }
            copy.paths = more;
        }
        self.actions.push(copy);
    }

    /// A copy of one source as `--exclude` has it, links and patterns as in §12.3.
    pub(crate) fn local(&mut self, input: Output, source: &str, keep_parents: bool, unpack: &str) {
        // `/./` says what is to be kept of the path, and would not survive.
        let path = if keep_parents { source.to_owned() } else { clean(&format!("/{source}")) };
        self.copy(CopyAction {
            follow_symlinks: true,
            allow_wildcard: true,
            allow_empty_wildcard: true,
            exclude_patterns: self.exclude.clone(),
            unpack: unpack.into(),
            keep_parents,
            ..CopyAction::new(input, vec![path], "")
        });
    }

    /// A copy of a tree or file that was made for this line, whose name is to be taken literally.
    pub(crate) fn made(&mut self, input: Output, paths: Vec<String>, unpack: &str) {
        let exclude_patterns = self.exclude.clone();
        self.copy(CopyAction {
            exclude_patterns,
            unpack: unpack.into(),
            ..CopyAction::new(input, paths, "")
        });
    }

    /// Here-documents come last, and all is one layer. `more` is what the history shows between keyword and owner.
    pub(crate) fn finish(mut self, more: &str, findings: &mut Findings) -> Option<Outcome> {
        self.copy_heredocs();
        self.warn_of_overwriting(findings);
        let actions = std::mem::take(&mut self.actions).into_iter().map(FileAction::Copy).collect();
        let base = self.stage.has_base.then(|| self.graph.base());
        let (layer, root) = match (self.link, base) {
            (true, Some(base)) => {
                let layer = self.graph.file(None, actions);
                (layer, self.graph.merge(vec![base, layer]))
            }
            (_, base) => {
                let layer = self.graph.file(base, actions);
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

    fn copy_heredocs(&mut self) {
        let mut files = Vec::new();
        let mut paths = Vec::new();
        let mut known = BTreeSet::new();
        for heredoc in std::mem::take(&mut self.heredocs) {
            let path = format!("/{}", heredoc.name);
            let data = heredoc.content.clone().into_bytes();
            files.push(FileAction::MakeFile(MakeFileAction {
                path: path.clone(),
                data,
                mode: 0o644,
                owner: None,
            }));
            if known.insert(path.clone()) {
                paths.push(path);
            }
        }
        if !files.is_empty() {
            let input = self.graph.file(None, files);
            let names: Vec<&str> = paths.iter().map(|path| &path[1..]).collect();
            self.graph.rename(input, format!("write {}", names.join(" ")));
            // Patterns are about what is found, and this is said outright.
            self.copy(CopyAction::new(input, paths, ""));
        }
    }

    /// Several sources may end up as one file (§12.4), which is said where nothing points to a directory. A pattern
    /// is not taken for several: often it stands for one file whose name has a version in it.
    fn warn_of_overwriting(&self, findings: &mut Findings) {
        let dir = absolute("/", &self.stage.working_dir);
        let is_dir =
            self.dest.ends_with('/') || dir == self.dest || dir.starts_with(&format!("{}/", self.dest));
        let count: usize = self.actions.iter().map(|action| action.paths.len()).sum();
        if count < 2 || is_dir {
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
