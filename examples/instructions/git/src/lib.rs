//! `GIT --ref=v1.2 https://example.org/x.git /src`: files of a git repository, fetched by the engine.
//!
//! No git in the image, no credentials in a layer, and the reference becomes a commit before anything runs: the step is
//! done again when the reference moves, and only then.

use kiln_sdk::GraphBuilder;
use kiln_sdk::plugin::{Instruction, Plugin};
use kiln_sdk::wit::describe::{PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{CopyAction, GitSource};
use kiln_sdk::wit::instruction_types::{
    Argument, Descriptor, FlagSpec, InstructionError, Outcome, Stage, Statement,
};
use kiln_sdk::wit::types::Pair;

/// The component.
pub struct Git;

const USAGE: &str =
    "GIT [--ref=REF] [--commit=ID] [--subdir=PATH] [--submodules] [--keep-git-dir] [--link] URL DESTINATION";

/// Digits that git takes for a commit at least, and how many there are in all.
const SHORTEST: usize = 7;
const WHOLE: [usize; 2] = [40, 64];

/// The source and the directory that one line asks for, and everything that is wrong with it.
fn read(statement: &Statement) -> (Option<(GitSource, String)>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let mut wrong = |code: &str, message: String, at: &Argument, help: &str| {
        problems.push(Diagnostic::error(code, message).at(&at.at).help(help));
    };
    let mut source = GitSource::new("");
    if let Some(reference) = statement.flag("ref") {
        let text = reference.value.as_str();
        let is_bad = text.is_empty()
            || text.starts_with('-')
            || text.contains("..")
            || text.ends_with(['/', '.'])
            || text.contains(|c: char| c.is_control() || " ~^:?*[\\".contains(c));
        if is_bad {
            let help = "name a branch, a tag, or a whole reference such as `refs/heads/main`";
            wrong("git-ref", format!("`{text}` cannot be a reference"), reference, help);
        }
        text.clone_into(&mut source.reference);
    }
    if let Some(commit) = statement.flag("commit") {
        let text = commit.value.to_ascii_lowercase();
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || !(SHORTEST..=WHOLE[1]).contains(&text.len()) {
            let help = "write 40 hexadecimal digits, or 7 at least";
            wrong("git-commit", format!("`{}` is no commit", commit.value), commit, help);
        } else if source.reference.is_empty() && WHOLE.contains(&text.len()) {
            // Only a whole one can be asked for by itself.
            source.reference.clone_from(&text);
        }
        source.commit = text;
    }
    if let Some(subdir) = statement.flag("subdir") {
        let parts = subdir.value.split('/').filter(|part| !matches!(*part, "" | "."));
        source.subdir = parts.collect::<Vec<_>>().join("/");
        if subdir.value.split('/').any(|part| part == "..") || source.subdir.is_empty() {
            let message = format!("`{}` is no directory of the repository", subdir.value);
            wrong("git-subdir", message, subdir, "write a path that counts from its root, without `..`");
        }
    }
    source.submodules = statement.is_set("submodules");
    source.keep_git_dir = statement.is_set("keep-git-dir");
    match &statement.arguments[..] {
        [url, destination] => {
            if !is_repository(&url.value) {
                let help = "write `https://HOST/PATH`, `ssh://USER@HOST/PATH`, `git://HOST/PATH` or `USER@HOST:PATH`";
                wrong("git-url", format!("`{}` is no address of a repository", url.value), url, help);
            }
            if url.value.contains(['#', '?']) {
                let help = "say it with `--ref`, `--commit` and `--subdir`";
                wrong("git-url", format!("`{}` is more than an address", url.value), url, help);
            }
            source.url.clone_from(&url.value);
            let mut problems = problems;
            if has_password(&url.value) {
                let message = "the password in the address is part of the history of the image";
                let problem = Diagnostic::warning("git-password", message).at(&url.at);
                problems.push(problem.help("give kiln the credentials as secrets, or use ssh"));
            }
            (Some((source, destination.value.clone())), problems)
        }
        arguments => {
            let message = match arguments {
                [] => "GIT needs a repository and a destination",
                [_] => "GIT needs a destination as well",
                _ => "GIT takes one repository and one destination",
            };
            let at = arguments.get(2).map_or(&statement.at, |extra| &extra.at);
            problems
                .push(Diagnostic::error("git-arguments", message).at(at).help(format!("write `{USAGE}`")));
            (None, problems)
        }
    }
}

fn is_repository(url: &str) -> bool {
    let schemes = ["https://", "http://", "git://", "ssh://"];
    if let Some(rest) = schemes.iter().find_map(|scheme| url.strip_prefix(scheme)) {
        return rest.split_once('/').is_some_and(|(host, path)| !host.is_empty() && !path.is_empty());
    }
    let Some((user, rest)) = url.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let is_word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    is_word(user) && is_word(host) && !path.is_empty()
}

fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    authority.split_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// `path` as seen from the working directory, with a slash at its end: a directory.
fn destination(working_dir: &str, path: &str) -> String {
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}/{path}", working_dir.trim_end_matches('/')),
    };
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.is_empty() { "/".to_owned() } else { format!("/{}/", parts.join("/")) }
}

impl Plugin for Git {
    fn describe() -> PluginInfo {
        PluginInfo::new("git", env!("CARGO_PKG_VERSION"), "brings the files of a git repository")
            .license("Apache-2.0")
            .rules([
                Rule::error("git-arguments", "there is not one repository and one destination"),
                Rule::error("git-url", "the address is none of a repository"),
                Rule::error("git-ref", "the reference is none that git would take"),
                Rule::error("git-commit", "the commit is not hexadecimal"),
                Rule::error("git-subdir", "the directory leaves the repository"),
                Rule::warning("git-password", "the address has a password"),
            ])
            .example("The sources of a release", "FROM gcc\nGIT --ref=v1.2 https://example.org/x.git /src\n")
    }
}

impl Instruction for Git {
    fn instructions() -> Vec<Descriptor> {
        vec![
            Descriptor::new(
                "GIT",
                USAGE,
                "Brings the files of a git repository, at a commit that the build notes.",
            )
            .flag(FlagSpec::text("ref"))
            .flag(FlagSpec::text("commit"))
            .flag(FlagSpec::text("subdir"))
            .flag(FlagSpec::boolean("submodules"))
            .flag(FlagSpec::boolean("keep-git-dir"))
            .flag(FlagSpec::boolean("link")),
        ]
    }

    /// Variables are not expanded here, so a line that has some is judged only when it is applied.
    fn validate(statements: Vec<Statement>) -> Vec<Diagnostic> {
        statements.iter().filter(|statement| statement.is_constant()).flat_map(|it| read(it).1).collect()
    }

    fn apply(statement: Statement, stage: &Stage, _: &[Pair]) -> Result<Outcome, InstructionError> {
        let (wanted, diagnostics) = read(&statement);
        let Some((source, path)) = wanted.filter(|_| !diagnostics.iter().any(Diagnostic::is_error)) else {
            return Err(diagnostics.into());
        };
        let mut graph = GraphBuilder::new().at(&statement.at, statement.original.as_str());
        let name = format!("clone {}", source.url);
        let tree = graph.git(source);
        graph.rename(tree, name);
        let dest = destination(&stage.working_dir, &path);
        let copy = CopyAction { contents_only: true, ..CopyAction::new(tree, vec!["/".into()], dest) };
        let base = stage.has_base.then(|| graph.base());
        let root = match base {
            // A layer that is the same on whatever it lies.
            Some(base) if statement.is_set("link") => {
                let layer = graph.copy(None, copy);
                graph.merge(vec![base, layer])
            }
            base => graph.copy(base, copy),
        };
        Ok(Outcome { diagnostics, ..Outcome::root(graph.finish(), root) })
    }
}

kiln_sdk::export_instruction!(Git);

#[cfg(test)]
mod tests {
    use kiln_sdk::testing;
    use kiln_sdk::wit::graph::{FileAction, OpKind};

    use super::*;

    fn apply(text: &str, stage: &Stage) -> Outcome {
        let statement = testing::statement(text, &Git::instructions()[0]);
        Git::apply(statement, stage, &[]).expect("an outcome")
    }

    #[test]
    fn a_repository_is_copied_into_a_directory() {
        let stage = Stage { working_dir: "/work".into(), ..testing::stage() };
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let text = format!("GIT --commit={commit} --subdir=/a//b --submodules https://example.org/x src");
        let outcome = apply(&text, &stage);
        let OpKind::Git(git) = &outcome.fragment.ops[0].kind else { panic!() };
        assert_eq!(
            (git.reference.as_str(), git.commit.as_str(), git.subdir.as_str()),
            (commit, commit, "a/b")
        );
        assert!(git.submodules && !git.keep_git_dir);
        let OpKind::File(file) = &outcome.fragment.ops[2].kind else { panic!() };
        let FileAction::Copy(copy) = &file.actions[0] else { panic!() };
        assert_eq!((copy.dest.as_str(), copy.contents_only), ("/work/src/", true));
    }

    #[test]
    fn a_reference_may_be_held_to_a_commit() {
        let outcome = apply("GIT --ref=main --commit=0123abc git@example.org:x.git /", &testing::stage());
        let OpKind::Git(git) = &outcome.fragment.ops[0].kind else { panic!() };
        assert_eq!((git.reference.as_str(), git.commit.as_str()), ("main", "0123abc"));
    }

    #[test]
    fn an_independent_layer_does_not_look_at_what_is_below() {
        let outcome = apply("GIT --link https://example.org/x /src", &testing::stage());
        assert!(matches!(outcome.fragment.ops.last().map(|op| &op.kind), Some(OpKind::Merge(_))));
        let empty = Stage { has_base: false, ..testing::stage() };
        let outcome = apply("GIT --link https://example.org/x /src", &empty);
        assert!(matches!(outcome.fragment.ops.last().map(|op| &op.kind), Some(OpKind::File(_))));
    }

    #[test]
    fn each_mistake_is_shown_where_it_stands() {
        for (text, code, column) in [
            ("GIT", "git-arguments", 1),
            ("GIT https://example.org/x", "git-arguments", 1),
            ("GIT https://example.org/x /a /b", "git-arguments", 30),
            ("GIT example.org/x /a", "git-url", 5),
            ("GIT https://example.org /a", "git-url", 5),
            ("GIT https://example.org/x#main /a", "git-url", 5),
            ("GIT --ref=a..b https://example.org/x /a", "git-ref", 11),
            ("GIT --commit=main https://example.org/x /a", "git-commit", 14),
            ("GIT --subdir=../x https://example.org/x /a", "git-subdir", 14),
            ("GIT https://me:secret@example.org/x /a", "git-password", 5),
        ] {
            let found = Git::validate(vec![testing::statement(text, &Git::instructions()[0])]);
            let places: Vec<_> = found
                .iter()
                .map(|it| (it.code.as_str(), it.primary.as_ref().map_or(0, |at| at.start.column)))
                .collect();
            assert_eq!(places, [(code, column)], "{text}");
        }
        let variable = testing::statement("GIT $URL", &Git::instructions()[0]);
        assert!(Git::validate(vec![variable]).is_empty());
    }
}
