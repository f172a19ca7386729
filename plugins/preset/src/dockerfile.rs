//! Writes Dockerfiles that people keep: what was decided as comments, every value quoted, instructions that every builder knows.

use std::fmt::Write as _;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::types::{ImageConfig, Pair};

use crate::reasons::Reasons;

/// Columns that a comment has at most.
const COMMENT_COLUMNS: usize = 100;

/// A Dockerfile under construction. Each method appends one instruction.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    text: String,
    /// What it cannot say.
    problems: Vec<Diagnostic>,
}

impl Default for Dockerfile {
    fn default() -> Self {
        Self::new()
    }
}

impl Dockerfile {
    /// Begins with the line that makes older builders fetch what knows cache mounts and here-documents, and with whose file
    /// this is: were the name of a project the first thing after that line, it could look like a directive to the builder.
    pub fn new() -> Self {
        let text =
            "# syntax=docker/dockerfile:1\n# Written by `kiln plan --eject`; from here on it is yours.\n";
        Self { text: text.to_owned(), problems: Vec::new() }
    }

    /// Everything that was decided, as comments.
    pub fn reasons(&mut self, reasons: &Reasons) {
        self.comment("What was decided, and why:");
        for sentence in reasons.sentences() {
            self.comment(&format!("- {sentence}"));
        }
    }

    /// An empty line, unless there is one already.
    pub fn blank(&mut self) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A comment, broken between words.
    pub fn comment(&mut self, text: &str) {
        let text = text.replace(|c: char| c.is_control(), " ");
        let mut line = String::from("#");
        for word in text.split_whitespace() {
            if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > COMMENT_COLUMNS {
                self.line(&line);
                line = String::from("#");
            }
            line.extend([" ", word]);
        }
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// `FROM [--platform=…] IMAGE [AS NAME]`; empty texts are left out.
    pub fn from(&mut self, platform: &str, image: &str, name: &str) {
        self.blank();
        let mut line = String::from("FROM ");
        if !platform.is_empty() {
            line.extend(["--platform=", platform, " "]);
        }
        line.push_str(image);
        if !name.is_empty() {
            line.extend([" AS ", name]);
        }
        self.line(&line);
    }

    /// `ARG NAME`, for what the builder or the person sets.
    pub fn arg(&mut self, name: &str) {
        self.line(&format!("ARG {name}"));
    }

    /// `ENV` with a value that is taken as it is.
    pub fn env(&mut self, name: &str, value: &str) {
        self.one_line(&format!("the variable `{name}`"), &[value]);
        self.line(&format!("ENV {name}={}", quoted(value)));
    }

    /// `LABEL` with a value that is taken as it is.
    pub fn label(&mut self, name: &str, value: &str) {
        self.one_line(&format!("the label `{}`", name.escape_default()), &[name, value]);
        self.line(&format!("LABEL {}={}", quoted(name), quoted(value)));
    }

    /// Notes that `what` cannot be said, if it has several lines: in no way of quoting does the language know them.
    fn one_line(&mut self, what: &str, texts: &[&str]) {
        if texts.iter().any(|text| text.contains(['\n', '\r'])) {
            let message = format!("{what} has a line break, which a Dockerfile cannot say");
            let help = "leave it out, or build without the file: `kiln build` takes it as it is";
            self.problems.push(Diagnostic::error("eject-line-break", message).help(help));
        }
    }

    pub fn workdir(&mut self, path: &str) {
        self.line(&format!("WORKDIR {}", escaped(path)));
    }

    pub fn user(&mut self, user: &str) {
        self.line(&format!("USER {}", escaped(user)));
    }

    /// `COPY` with flags such as `--from=build`, of one or more paths. Sources are patterns; see [`literal`].
    pub fn copy(&mut self, flags: &[&str], sources: &[&str], dest: &str) {
        let mut line = String::from("COPY ");
        for flag in flags {
            line.extend([*flag, " "]);
        }
        let is_plain = |path: &str| {
            !path.is_empty()
                && !path.starts_with(['-', '<', '['])
                && !path.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | '$' | '#'))
        };
        if sources.iter().all(|path| is_plain(path)) && is_plain(dest) {
            for path in sources {
                line.extend([*path, " "]);
            }
            line.push_str(dest);
        } else {
            let paths: Vec<String> = sources.iter().chain([&dest]).map(|path| escaped(path)).collect();
            line.push_str(&json(&paths));
        }
        self.line(&line);
    }

    /// A file with this text, mode 0644.
    pub fn file(&mut self, path: &str, text: &str) {
        let end = end_mark(text);
        self.line(&format!("COPY --chmod=0644 <<'{end}' {path}"));
        self.body(text, &end);
    }

    /// `RUN` with mounts such as `type=cache,target=/x`, and a command for the shell. One of several lines becomes a
    /// here-document that ends at the first command that fails.
    pub fn run(&mut self, mounts: &[&str], command: &str) {
        self.text.push_str("RUN");
        for mount in mounts {
            let _ = write!(self.text, " --mount={mount} \\\n   ");
        }
        if command.trim_end().contains('\n') {
            let end = end_mark(command);
            self.line(&format!(" <<'{end}'"));
            self.line("set -eu");
            self.body(command, &end);
        } else {
            self.line(&format!(" {}", command.trim()));
        }
    }

    fn body(&mut self, text: &str, end: &str) {
        self.text.push_str(text);
        if !text.is_empty() && !text.ends_with('\n') {
            self.text.push('\n');
        }
        self.line(end);
    }

    /// `ENTRYPOINT` in exec form.
    pub fn entrypoint(&mut self, argv: &[String]) {
        self.line(&format!("ENTRYPOINT {}", json(argv)));
    }

    /// `CMD` in exec form.
    pub fn cmd(&mut self, argv: &[String]) {
        self.line(&format!("CMD {}", json(argv)));
    }

    /// The instructions that give an image this configuration: variables, labels, ports, directory, user, stop signal, what it
    /// starts. What `base` has already is left out.
    pub fn config(&mut self, config: &ImageConfig, base: &ImageConfig) {
        let is_new = |pair: &&Pair, known: &[Pair]| !known.contains(pair);
        for pair in config.env.iter().filter(|pair| is_new(pair, &base.env)) {
            self.env(&pair.key, &pair.value);
        }
        for pair in config.labels.iter().filter(|pair| is_new(pair, &base.labels)) {
            self.label(&pair.key, &pair.value);
        }
        for port in config.exposed_ports.iter().filter(|port| !base.exposed_ports.contains(port)) {
            self.line(&format!("EXPOSE {port}"));
        }
        if config.stop_signal != base.stop_signal {
            self.line(&format!("STOPSIGNAL {}", config.stop_signal));
        }
        if !config.working_dir.is_empty() {
            self.workdir(&config.working_dir);
        }
        if !config.user.is_empty() {
            self.user(&config.user);
        }
        if let Some(entrypoint) = &config.entrypoint {
            self.entrypoint(entrypoint);
        }
        if let Some(cmd) = &config.cmd {
            self.cmd(cmd);
        }
    }

    /// The text.
    ///
    /// # Errors
    ///
    /// `eject-line-break`, for each value that the language has no way to say.
    pub fn finish(self) -> Result<String, Vec<Diagnostic>> {
        if self.problems.is_empty() { Ok(self.text) } else { Err(self.problems) }
    }
}

/// A path as a pattern of `COPY` that means just it. Builders take a backslash alone for part of a name, but not in
/// brackets.
pub fn literal(path: &str) -> String {
    let mut pattern = String::new();
    for c in path.chars() {
        match c {
            '*' | '?' | '[' => pattern.extend(['[', c, ']']),
            '\\' => pattern.push_str("[\\\\]"),
            c => pattern.push(c),
        }
    }
    pattern
}

/// A word that no line of the text is.
fn end_mark(text: &str) -> String {
    let mut end = String::from("EOF");
    while text.lines().any(|line| line.trim() == end) {
        end.push('F');
    }
    end
}

/// A value that builders do not expand: in double quotes.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text + "\""
}

/// A value where builders expand variables and quotes mean themselves.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('$', "\\$")
}

/// An array of strings.
fn json(values: &[String]) -> String {
    let string = |value: &String| {
        let mut text = String::from("\"");
        for c in value.chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => text.push(c),
            }
        }
        text + "\""
    };
    format!("[{}]", values.iter().map(string).collect::<Vec<_>>().join(", "))
}

/// One word for a shell, quoted where it has to be.
pub fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_quoted_for_where_it_stands() {
        let mut file = Dockerfile::new();
        file.from("$BUILDPLATFORM", "golang:1.22", "build");
        file.env("A", "a $b \"c\" \\");
        file.copy(&["--from=build"], &["/out/a b"], "/x");
        file.copy(&[], &["go.mod", "go.sum"], "./");
        file.run(&["type=cache,target=/c"], "go build");
        file.run(&[], "a\nEOF");
        file.file("/etc/passwd", "root\n");
        file.entrypoint(&["/x \"y\"".to_owned()]);
        assert_eq!(
            file.finish().unwrap(),
            "# syntax=docker/dockerfile:1\n# Written by `kiln plan --eject`; from here on it is yours.\n\n\
             FROM --platform=$BUILDPLATFORM golang:1.22 AS build\n\
             ENV A=\"a \\$b \\\"c\\\" \\\\\"\n\
             COPY --from=build [\"/out/a b\", \"/x\"]\n\
             COPY go.mod go.sum ./\n\
             RUN --mount=type=cache,target=/c \\\n    go build\n\
             RUN <<'EOFF'\nset -eu\na\nEOF\nEOFF\n\
             COPY --chmod=0644 <<'EOF' /etc/passwd\nroot\nEOF\n\
             ENTRYPOINT [\"/x \\\"y\\\"\"]\n"
        );
    }

    #[test]
    fn comments_are_broken_between_words() {
        let mut file = Dockerfile::new();
        file.comment(&"word ".repeat(40));
        let text = file.finish().unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= COMMENT_COLUMNS), "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }

    #[test]
    fn the_name_of_a_project_is_no_directive_and_no_line_of_its_own() {
        let mut reasons = Reasons::new();
        reasons.say("x", "escape=`.c found\nRUN id\u{1b}[2J");
        let mut file = Dockerfile::new();
        file.reasons(&reasons);
        let text = file.finish().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3..], ["# - escape=`.c found RUN id [2J"], "{text}");
        assert!(lines[1].starts_with("# Written by"), "{text}");
    }

    #[test]
    fn a_value_of_several_lines_is_refused_and_not_cut_in_two() {
        let mut file = Dockerfile::new();
        file.env("A", "a\nRUN id");
        file.env("B", "b");
        file.label("c\nRUN id", "d");
        let problems = file.finish().unwrap_err();
        let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "the variable `A` has a line break, which a Dockerfile cannot say",
                "the label `c\\nRUN id` has a line break, which a Dockerfile cannot say"
            ]
        );
    }

    #[test]
    fn a_path_is_no_pattern() {
        for (path, expected) in
            [("a/b", "a/b"), ("st[a]tic", "st[[]a]tic"), ("a*?", "a[*][?]"), ("a\\b", "a[\\\\]b")]
        {
            assert_eq!(literal(path), expected);
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        let check = |text, expected| assert_eq!(word(text), expected);
        check("a/b-1.so", "a/b-1.so");
        check("", "''");
        check("it's $x", "'it'\\''s $x'");
    }
}
