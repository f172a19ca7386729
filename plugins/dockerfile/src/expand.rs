//! Expands variables and removes quotes (§7). Knows nothing of instructions, nor where variables come from.

use crate::pattern::{BadEscape, Pattern};

/// How deep `${a:-${b:-…}}` may go.
const MAX_DEPTH: usize = 64;

/// The variables that a text may name.
pub trait Variables {
    /// The value, or `None` when unset.
    fn value(&self, name: &str) -> Option<&str>;

    /// Whether using the unset variable `name` is no mistake, such as an `ARG` without value.
    fn is_declared(&self, name: &str) -> bool;

    /// Whether `bytes` more may be made out of variables.
    fn spend(&self, bytes: usize) -> bool;
}

/// There is no variable at all.
pub struct NoVariables;

impl Variables for NoVariables {
    fn value(&self, _: &str) -> Option<&str> {
        None
    }

    fn is_declared(&self, _: &str) -> bool {
        true
    }

    fn spend(&self, _: usize) -> bool {
        true
    }
}

/// What is done to a text.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// Takes the meaning from the character after it.
    pub escape: char,
    /// `'` and `"` group and are removed; otherwise they are ordinary characters.
    pub quotes: bool,
    /// Quotes and escapes have their effect and stay in the text; unset variables stay as they are written. `<<` takes
    /// the blanks behind it along (§6.2).
    pub raw: bool,
}

impl Mode {
    /// For the arguments of instructions.
    pub fn arguments(escape: char) -> Self {
        Mode { escape, quotes: true, raw: false }
    }

    /// For the bodies of here-documents (§6.7).
    pub const HEREDOC: Mode = Mode { escape: '\\', quotes: false, raw: false };
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExpandError {
    #[error("the quote {0} is not closed")]
    OpenQuote(char),
    #[error("`${{` is not closed")]
    OpenBrace,
    #[error("`${{…/…/…}}` lacks its second `/`")]
    OpenPattern,
    #[error("`${{` is not followed by the name of a variable")]
    NoName,
    #[error("`{modifier}` is not known after `${{{name}`")]
    UnknownModifier { name: String, modifier: String },
    #[error("the pattern `{pattern}` has the unknown escape `\\{escape}`")]
    PatternEscape { pattern: String, escape: String },
    /// `${name:?message}`
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// [`Variables::spend`] refused.
    #[error("it becomes too long")]
    TooLong,
}

/// An expanded text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expanded {
    pub text: String,
    /// Names that were used and are neither set nor declared, in order, each once.
    pub undefined: Vec<String>,
}

/// Expands `text` to one word (§7.6).
///
/// # Errors
///
/// [`ExpandError`]: the first thing that is wrong.
pub fn word(text: &str, mode: Mode, variables: &dyn Variables) -> Result<Expanded, ExpandError> {
    // Most arguments hold nothing special.
    if !text.bytes().any(|byte| matches!(byte, b'$' | b'\'' | b'"') || char::from(byte) == mode.escape) {
        return Ok(Expanded { text: text.to_owned(), undefined: Vec::new() });
    }
    let mut lexer = Lexer { rest: text, mode, variables, undefined: Vec::new(), depth: 0 };
    let mut sink = Sink::default();
    lexer.until(None, mode.raw, &mut sink)?;
    Ok(Expanded { text: sink.text, undefined: lexer.undefined })
}

/// Expands `text` and splits it at white space that is neither quoted nor escaped, that from variables included.
///
/// # Errors
///
/// As [`word`].
pub fn words(
    text: &str,
    mode: Mode,
    variables: &dyn Variables,
) -> Result<(Vec<String>, Vec<String>), ExpandError> {
    let mut lexer = Lexer { rest: text, mode, variables, undefined: Vec::new(), depth: 0 };
    let mut sink = Sink { words: Some(Vec::new()), ..Sink::default() };
    lexer.until(None, mode.raw, &mut sink)?;
    sink.end_word();
    Ok((sink.words.unwrap_or_default(), lexer.undefined))
}

/// Collects one text, or words.
#[derive(Default)]
struct Sink {
    text: String,
    words: Option<Vec<String>>,
}

impl Sink {
    /// White space separates.
    fn split(&mut self, text: &str) {
        if self.words.is_none() {
            self.text.push_str(text);
            return;
        }
        for c in text.chars() {
            if c.is_whitespace() {
                self.end_word();
            } else {
                self.text.push(c);
            }
        }
    }

    /// White space stays.
    fn keep(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn end_word(&mut self) {
        if let Some(words) = &mut self.words
            && !self.text.is_empty()
        {
            words.push(std::mem::take(&mut self.text));
        }
    }
}

struct Lexer<'t> {
    rest: &'t str,
    mode: Mode,
    variables: &'t dyn Variables,
    undefined: Vec<String>,
    depth: usize,
}

impl<'t> Lexer<'t> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Takes a character as text.
    fn take(&mut self, c: char) -> &'t str {
        let (taken, rest) = self.rest.split_at(c.len_utf8());
        self.rest = rest;
        taken
    }

    /// Expands up to `stop`, which is taken, or to the end. With `raw` escapes stay in the text: patterns need them.
    fn until(&mut self, stop: Option<char>, raw: bool, sink: &mut Sink) -> Result<(), ExpandError> {
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.next();
                return Ok(());
            }
            match c {
                '$' => {
                    let value = self.dollar(raw)?;
                    sink.split(&value);
                }
                '\'' | '"' if self.mode.quotes => {
                    let mut quoted = String::new();
                    if c == '"' {
                        self.double_quoted(raw, &mut quoted)?
                    } else {
                        self.single_quoted(&mut quoted)?
                    }
                    sink.keep(&quoted);
                }
                '<' if self.mode.raw && self.rest.starts_with("<<") => {
                    let end = self.rest[2..].trim_start_matches([' ', '\t', '\r', '\n']);
                    let (taken, rest) = self.rest.split_at(self.rest.len() - end.len());
                    sink.keep(taken);
                    self.rest = rest;
                }
                _ if c == self.mode.escape => {
                    let escape = self.take(c);
                    if raw {
                        sink.keep(escape);
                    }
                    // An escape at the end escapes nothing and is dropped.
                    if let Some(c) = self.peek() {
                        let escaped = self.take(c);
                        sink.keep(escaped);
                    }
                }
                _ => {
                    let plain = self.take(c);
                    sink.split(plain);
                }
            }
        }
        if stop.is_some() { Err(ExpandError::OpenBrace) } else { Ok(()) }
    }

    fn single_quoted(&mut self, into: &mut String) -> Result<(), ExpandError> {
        let Some(length) = self.rest[1..].find('\'') else { return Err(ExpandError::OpenQuote('\'')) };
        let edge = usize::from(!self.mode.raw);
        into.push_str(&self.rest[edge..length + 2 - edge]);
        self.rest = &self.rest[length + 2..];
        Ok(())
    }

    fn double_quoted(&mut self, raw: bool, into: &mut String) -> Result<(), ExpandError> {
        self.next();
        if self.mode.raw {
            into.push('"');
        }
        loop {
            match self.peek() {
                None => return Err(ExpandError::OpenQuote('"')),
                Some('"') => {
                    self.next();
                    if self.mode.raw {
                        into.push('"');
                    }
                    return Ok(());
                }
                Some('$') => into.push_str(&self.dollar(raw)?),
                Some(c) if c == self.mode.escape => {
                    self.next();
                    if raw {
                        into.push(c);
                    }
                    match self.peek() {
                        Some(escaped) if escaped == '"' || escaped == '$' || escaped == self.mode.escape => {
                            self.next();
                            into.push(escaped);
                        }
                        // Before anything else it is an ordinary character, which a pattern has to see escaped.
                        _ => into.push(c),
                    }
                }
                Some(c) => {
                    self.next();
                    into.push(c);
                }
            }
        }
    }

    /// At `$`.
    fn dollar(&mut self, raw: bool) -> Result<String, ExpandError> {
        let written = self.rest;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return self.value_or_written(name, written);
        }
        self.next();
        if self.depth == MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        self.depth += 1;
        let value = self.braced(raw, written)?;
        self.depth -= 1;
        Ok(value)
    }

    fn value_or_written(&mut self, name: &str, written: &'t str) -> Result<String, ExpandError> {
        match self.value(name) {
            Some(value) => self.grown(value),
            None if self.mode.raw => Ok(written[..written.len() - self.rest.len()].to_owned()),
            None => Ok(String::new()),
        }
    }

    /// The value of a variable, or a part of it, as text of its own.
    fn grown(&self, value: &str) -> Result<String, ExpandError> {
        if self.variables.spend(value.len()) { Ok(value.to_owned()) } else { Err(ExpandError::TooLong) }
    }

    /// After `${`.
    fn braced(&mut self, raw: bool, written: &'t str) -> Result<String, ExpandError> {
        match self.peek() {
            None => return Err(ExpandError::OpenBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::NoName),
            Some(_) => {}
        }
        let name = self.name();
        let Some(mut modifier) = self.next() else { return Err(ExpandError::OpenBrace) };
        let mut empty_is_unset = false;
        match modifier {
            '}' => return self.value_or_written(name, written),
            '/' => return self.replaced(name, written),
            ':' => {
                empty_is_unset = true;
                modifier = self.next().ok_or(ExpandError::OpenBrace)?;
            }
            _ => {}
        }
        let is_pattern = matches!(modifier, '#' | '%');
        if !matches!(modifier, '-' | '+' | '?' | '#' | '%') || (empty_is_unset && is_pattern) {
            let colon = if empty_is_unset { ":" } else { "" };
            return Err(ExpandError::UnknownModifier {
                name: name.to_owned(),
                modifier: format!("{colon}{modifier}"),
            });
        }
        let mut sink = Sink::default();
        self.until(Some('}'), raw || is_pattern, &mut sink)?;
        let word = sink.text;
        let value = self.value(name);
        if value.is_none() && self.mode.raw {
            return Ok(written[..written.len() - self.rest.len()].to_owned());
        }
        let usable = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, usable) {
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            ('?', None) => {
                let message = match (word.is_empty(), value) {
                    (false, _) => word,
                    (true, None) => "is not allowed to be unset".to_owned(),
                    (true, Some(_)) => "is not allowed to be empty".to_owned(),
                };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
            ('#' | '%', _) => {
                let value = value.unwrap_or_default();
                let (longest, pattern) = match word.strip_prefix(modifier) {
                    Some(pattern) => (true, pattern),
                    None => (false, word.as_str()),
                };
                let pattern = read_pattern(pattern)?;
                let trimmed = match modifier {
                    '#' => pattern.trim_prefix(value, longest),
                    _ => pattern.trim_suffix(value, longest),
                };
                self.grown(trimmed)
            }
            (_, value) => self.grown(value.unwrap_or_default()),
        }
    }

    /// After `${name/`.
    fn replaced(&mut self, name: &str, written: &'t str) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let mut pattern = Sink::default();
        self.until(Some('/'), true, &mut pattern).map_err(|error| match error {
            ExpandError::OpenBrace if self.rest.is_empty() => ExpandError::OpenPattern,
            error => error,
        })?;
        let mut replacement = Sink::default();
        self.until(Some('}'), true, &mut replacement)?;
        let value = self.value(name);
        if value.is_none() && self.mode.raw {
            return Ok(written[..written.len() - self.rest.len()].to_owned());
        }
        let value = value.unwrap_or_default();
        if !self.variables.spend(value.len()) {
            return Err(ExpandError::TooLong);
        }
        let found = read_pattern(&pattern.text)?.find(value, all);
        let mut result = String::with_capacity(value.len());
        let mut at = 0;
        for range in found {
            if !self.variables.spend(range.len() + replacement.text.len()) {
                return Err(ExpandError::TooLong);
            }
            result.push_str(&value[at..range.start]);
            if all {
                push_template(&replacement.text, &value[range.clone()], &mut result);
            } else {
                result.push_str(&replacement.text);
            }
            at = range.end;
        }
        result.push_str(&value[at..]);
        Ok(result)
    }

    /// The name of a variable, or nothing when none stands here (§7.2).
    fn name(&mut self) -> &'t str {
        let end = match self.peek() {
            Some(c) if c.is_numeric() => self.rest.find(|c: char| !c.is_numeric()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => Some(1),
            _ => self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_')),
        };
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name
    }

    fn value(&mut self, name: &str) -> Option<&'t str> {
        let variables = self.variables;
        let value = variables.value(name);
        if value.is_none()
            && !variables.is_declared(name)
            && !self.undefined.iter().any(|known| known == name)
        {
            self.undefined.push(name.to_owned());
        }
        value
    }
}

fn read_pattern(text: &str) -> Result<Pattern, ExpandError> {
    Pattern::read(text).map_err(|BadEscape(escape)| ExpandError::PatternEscape {
        pattern: text.to_owned(),
        escape: escape.map(String::from).unwrap_or_default(),
    })
}

/// Where all matches are replaced, the reference takes the text for a template of regular expressions: `$0` is the
/// match, `$$` a dollar sign, and any other `$name` a group that does not exist.
fn push_template(template: &str, matched: &str, into: &mut String) {
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        into.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            into.push('$');
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{');
        let start = braced.unwrap_or(rest);
        let end = start.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(start.len());
        let closed = braced.is_none() || start[end..].starts_with('}');
        if end == 0 || !closed {
            into.push('$');
            continue;
        }
        if start[..end].parse() == Ok(0_u32) {
            into.push_str(matched);
        }
        rest = &start[end + usize::from(braced.is_some())..];
    }
    into.push_str(rest);
}

#[cfg(test)]
mod tests;
