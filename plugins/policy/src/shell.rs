//! As much of the shell's grammar as it takes to see which programs a line runs and what is piped into what.
//!
//! It does not expand, and forgives what a shell would refuse: whatever it does not understand is part of a word.

/// Deeper nesting is read as text.
const MAX_DEPTH: usize = 32;

/// Commands one after the other, however they are joined (`;`, `&&`, lines…).
pub(crate) type List = Vec<Pipeline>;

/// Commands of which each reads what the one before writes.
pub(crate) type Pipeline = Vec<Command>;

#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Simple(Simple),
    /// `( … )`
    Group(List),
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Simple {
    pub(crate) words: Vec<Word>,
    /// Bodies of here-documents that it reads.
    pub(crate) documents: Vec<String>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Word {
    /// Without quotes.
    pub(crate) text: String,
    /// What is run to make it: `$( … )`, `` ` … ` `` and `<( … )`.
    pub(crate) made_by: Vec<List>,
}

pub(crate) fn parse(text: &str) -> List {
    parse_at(text, 0)
}

fn parse_at(text: &str, depth: usize) -> List {
    let mut parser = Parser { rest: text, depth, documents: Vec::new() };
    let mut list = List::new();
    // A bracket that closes nothing, as in `case`, ends no more than a list.
    while !parser.rest.is_empty() {
        list.append(&mut parser.list());
    }
    list
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
    /// Delimiters of here-documents that begin after this line, and whether tabs before them go.
    documents: Vec<(String, bool)>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Up to `)` or the end; the bracket is taken.
    fn list(&mut self) -> List {
        let mut list = List::new();
        let mut pipeline = Pipeline::new();
        // After `|` the next command may stand on a line of its own.
        let mut goes_on = false;
        loop {
            self.blanks();
            match self.peek() {
                None => break,
                Some(')') => {
                    self.next();
                    break;
                }
                Some('\n') => {
                    self.next();
                    let bodies = self.bodies();
                    if let Some(Command::Simple(simple)) = pipeline.last_mut() {
                        simple.documents.extend(bodies);
                    }
                    if !goes_on {
                        end(&mut list, &mut pipeline);
                    }
                }
                Some(';') => {
                    self.next();
                    end(&mut list, &mut pipeline);
                }
                Some('&') => {
                    self.next();
                    self.take("&");
                    end(&mut list, &mut pipeline);
                }
                Some('|') => {
                    self.next();
                    if self.take("|") {
                        end(&mut list, &mut pipeline);
                    } else {
                        self.take("&");
                        goes_on = true;
                    }
                }
                Some('(') if self.depth < MAX_DEPTH => {
                    self.next();
                    self.depth += 1;
                    let group = self.list();
                    self.depth -= 1;
                    goes_on = false;
                    pipeline.push(Command::Group(group));
                }
                Some(_) => {
                    let simple = self.simple();
                    goes_on = false;
                    // Of `) 2>&1` nothing is left.
                    if !simple.words.is_empty() {
                        pipeline.push(Command::Simple(simple));
                    }
                }
            }
        }
        let bodies = self.bodies();
        if let Some(Command::Simple(simple)) = pipeline.last_mut() {
            simple.documents.extend(bodies);
        }
        end(&mut list, &mut pipeline);
        list
    }

    /// Blanks, joined lines and comments.
    fn blanks(&mut self) {
        loop {
            if self.take("\\\n") || self.take(" ") || self.take("\t") || self.take("\r") {
                continue;
            }
            if self.rest.starts_with('#') {
                self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
            }
            return;
        }
    }

    fn simple(&mut self) -> Simple {
        let mut simple = Simple::default();
        loop {
            self.blanks();
            match self.peek() {
                None | Some('\n' | ';' | '|' | ')') => return simple,
                Some('&') if self.rest.starts_with("&>") => self.redirection(&mut simple),
                Some('&') => return simple,
                Some('(') => {
                    // `name ()` begins a function, whose body is a list like any other.
                    self.next();
                    if self.depth >= MAX_DEPTH {
                        continue;
                    }
                    self.blanks();
                    if self.take(")") {
                        simple.words.clear();
                        return simple;
                    }
                    self.depth += 1;
                    let made_by = vec![self.list()];
                    self.depth -= 1;
                    simple.words.push(Word { text: String::new(), made_by });
                }
                Some('<' | '>') => self.redirection(&mut simple),
                Some(_) => {
                    let word = self.word();
                    let is_descriptor = !word.text.is_empty()
                        && word.text.bytes().all(|byte| byte.is_ascii_digit())
                        && self.rest.starts_with(['<', '>']);
                    if !is_descriptor {
                        simple.words.push(word);
                    }
                }
            }
        }
    }

    fn redirection(&mut self, simple: &mut Simple) {
        if self.rest.starts_with("<(") || self.rest.starts_with(">(") {
            let word = self.word();
            simple.words.push(word);
            return;
        }
        if self.take("<<<") {
            self.blanks();
            let word = self.word();
            simple.documents.push(word.text);
            return;
        }
        if self.take("<<") {
            let strips_tabs = self.take("-");
            self.blanks();
            let delimiter = self.word().text;
            self.documents.push((delimiter, strips_tabs));
            return;
        }
        while self.rest.starts_with(['<', '>', '&', '|']) {
            // `< <(…)` reads what a command writes.
            if self.rest.starts_with("<(") {
                break;
            }
            self.next();
        }
        self.blanks();
        let target = self.word();
        if !target.made_by.is_empty() {
            simple.words.push(target);
        }
    }

    /// Takes the here-documents that this line began.
    fn bodies(&mut self) -> Vec<String> {
        let mut bodies = Vec::new();
        for (delimiter, strips_tabs) in core::mem::take(&mut self.documents) {
            let mut body = String::new();
            while !self.rest.is_empty() {
                let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
                self.rest = rest;
                let line = if strips_tabs { line.trim_start_matches('\t') } else { line };
                if line == delimiter {
                    break;
                }
                body += line;
                body.push('\n');
            }
            bodies.push(body);
        }
        bodies
    }

    fn word(&mut self) -> Word {
        let mut word = Word::default();
        let start = self.rest.len();
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\r' | '\n' | ';' | '|' | '&' | ')' => break,
                '(' => break,
                '<' | '>' => {
                    let is_process = self.rest[1..].starts_with('(') && self.depth < MAX_DEPTH;
                    if !is_process {
                        break;
                    }
                    self.next();
                    self.next();
                    self.substitution(&mut word);
                }
                '\'' => {
                    self.next();
                    while let Some(next) = self.next() {
                        if next == '\'' {
                            break;
                        }
                        word.text.push(next);
                    }
                }
                '"' => {
                    self.next();
                    self.quoted(&mut word);
                }
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') | None => {}
                        Some(next) => word.text.push(next),
                    }
                }
                '$' | '`' => self.dollar(&mut word),
                _ => {
                    self.next();
                    word.text.push(next);
                }
            }
        }
        if self.rest.len() == start {
            // A character that begins no word, such as a lone `<`: to go on is all that matters.
            self.next();
        }
        word
    }

    fn quoted(&mut self, word: &mut Word) {
        while let Some(next) = self.peek() {
            match next {
                '"' => {
                    self.next();
                    return;
                }
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') | None => {}
                        Some(next @ ('"' | '\\' | '$' | '`')) => word.text.push(next),
                        Some(next) => word.text.extend(['\\', next]),
                    }
                }
                '$' | '`' => self.dollar(word),
                _ => {
                    self.next();
                    word.text.push(next);
                }
            }
        }
    }

    fn dollar(&mut self, word: &mut Word) {
        if self.depth < MAX_DEPTH && self.rest.starts_with("$(") && !self.rest.starts_with("$((") {
            self.rest = &self.rest[2..];
            self.substitution(word);
        } else if self.take("`") {
            let mut inner = String::new();
            while let Some(next) = self.next() {
                match next {
                    '`' => break,
                    '\\' => inner.extend(self.next()),
                    next => inner.push(next),
                }
            }
            if self.depth < MAX_DEPTH {
                word.made_by.push(parse_at(&inner, self.depth + 1));
            }
        } else if let Some(next) = self.next() {
            word.text.push(next);
        }
    }

    fn substitution(&mut self, word: &mut Word) {
        self.depth += 1;
        let documents = core::mem::take(&mut self.documents);
        let list = self.list();
        self.documents = documents;
        self.depth -= 1;
        word.made_by.push(list);
    }
}

fn end(list: &mut List, pipeline: &mut Pipeline) {
    if !pipeline.is_empty() {
        list.push(core::mem::take(pipeline));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands by their words; a substitution in braces, groups in brackets, documents after `<<`.
    fn show(list: &List) -> String {
        let pipelines: Vec<String> = list
            .iter()
            .map(|pipeline| pipeline.iter().map(command).collect::<Vec<_>>().join(" | "))
            .collect();
        pipelines.join("; ")
    }

    fn command(command: &Command) -> String {
        match command {
            Command::Group(list) => format!("({})", show(list)),
            Command::Simple(simple) => {
                let mut words: Vec<String> = simple
                    .words
                    .iter()
                    .map(|word| {
                        let made: String =
                            word.made_by.iter().map(|list| format!("{{{}}}", show(list))).collect();
                        word.text.clone() + &made
                    })
                    .collect();
                words.extend(simple.documents.iter().map(|body| format!("<<{body:?}")));
                words.join(" ")
            }
        }
    }

    #[test]
    fn a_line_is_pipelines_of_commands() {
        let check = |text: &str, expected: &str| assert_eq!(show(&parse(text)), expected, "{text}");
        check("", "");
        check("a b  c", "a b c");
        check("a && b || c; d & e\nf", "a; b; c; d; e; f");
        check("a | b |& c", "a | b | c");
        check("(a; b) | c", "(a; b) | c");
        check("a |\n  b | # c\n\nd\ne", "a | b | d; e");
        check("a <<X |\nx\nX\nb", "a <<\"x\\n\" | b");
        check("a 'b | c' \"d ; e\" f\\ g", "a b | c d ; e f g");
        check("a # b\nc#d", "a; c#d");
        check("a \\\n  b", "a b");
        check("a > /dev/null 2>&1 | b", "a | b");
        check("a &> log; b", "a; b");
        check("a \"$(b | c)\" `d`", "a {b | c} {d}");
        check("a <(b)", "a {b}");
        check("a < <(b)", "a {b}");
        check("case $x in a) b | c;; esac", "case $x in a; b | c; esac");
        check("cat <<EOF | b\nx; y\nEOF\nc", "cat | b <<\"x; y\\n\"; c");
        check("sh <<-E\n\tx\n\tE\ny", "sh <<\"x\\n\"; y");
        check("a <<< 'b c'", "a <<\"b c\"");
        check("f() { a; }", "{ a; }");
    }

    #[test]
    fn what_no_shell_would_take_is_read_to_the_end() {
        for text in [
            "'", "\"", "$(", "`", "((((", "))))", "<", "<<", "<<X", "a |", "| a", "&", "\\", "<(", "é'",
            "(a", "$(`",
        ] {
            parse(text);
        }
        parse(&"(".repeat(100_000));
        parse(&"$(".repeat(100_000));
        parse(&"`".repeat(10_001));
        parse(&"\"$(".repeat(10_000));
    }
}
