//! Reads ignore files and says which paths they exclude (§19.2–§19.4).

/// Longest line, as in the reference.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// An ignore file, read.
#[derive(Clone, Debug, PartialEq)]
pub struct IgnoreFile {
    /// As people know it.
    pub name: String,
    /// Cleaned, `!` included.
    pub patterns: Vec<String>,
}

/// What is wrong with a line of an ignore file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IgnoreError {
    #[error("line {line}: `!` stands alone")]
    LoneNegation { line: usize },
    #[error("line {line}: the pattern `{pattern}` is malformed")]
    Malformed { line: usize, pattern: String },
    #[error("line {line} is longer than {MAX_LINE_BYTES} bytes")]
    TooLong { line: usize },
}

impl IgnoreFile {
    /// Reads the text of an ignore file.
    ///
    /// # Errors
    ///
    /// The first line that is wrong.
    pub fn read(name: &str, text: &str) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.split('\n').enumerate() {
            let number = index + 1;
            if line.len() > MAX_LINE_BYTES {
                return Err(IgnoreError::TooLong { line: number });
            }
            let trimmed = line.trim();
            if line.starts_with('#') || trimmed.is_empty() {
                continue;
            }
            let (negation, pattern) = match trimmed.strip_prefix('!') {
                Some(pattern) => ("!", pattern.trim()),
                None => ("", trimmed),
            };
            if pattern.is_empty() {
                return Err(IgnoreError::LoneNegation { line: number });
            }
            let cleaned = clean(pattern);
            let pattern = cleaned.strip_prefix('/').unwrap_or(&cleaned);
            if Glob::read(pattern).is_none() {
                return Err(IgnoreError::Malformed { line: number, pattern: pattern.to_owned() });
            }
            patterns.push(format!("{negation}{pattern}"));
        }
        Ok(IgnoreFile { name: name.to_owned(), patterns })
    }

    /// Whether a COPY of `path` finds nothing because of this file (§21.6, `CopyIgnoredFile`).
    ///
    /// Not judged when anything is included again: then the answer depends on what lies below the path.
    pub fn hides(&self, path: &str) -> bool {
        if self.patterns.iter().any(|pattern| pattern.starts_with('!')) {
            return false;
        }
        let cleaned = clean(path.trim_start_matches('/'));
        let mut path = cleaned.as_str();
        while let Some(rest) = path.strip_prefix("../") {
            path = rest;
        }
        if matches!(path, "" | "." | ".." | "/") {
            return self.patterns.iter().any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"));
        }
        self.patterns
            .iter()
            .filter_map(|pattern| Glob::read(pattern))
            .any(|glob| glob.matches_or_parent(path))
    }
}

/// The shortest spelling of a path: no empty elements, no `.`, `..` resolved by its text.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Run,
    /// `**` at the end, or before plain text alone: anything at all.
    Deep,
    /// `**` or `**/` before something: the token behind the next one may begin here.
    Directories,
    /// Always behind `Directories`: anything up to a slash.
    InDirectory,
    Class(Vec<(char, char)>, bool),
}

/// A pattern of an ignore file.
#[derive(Debug)]
struct Glob(Vec<Token>);

impl Glob {
    /// Nothing for a malformed pattern.
    fn read(pattern: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() {
                        Token::Deep
                    } else {
                        tokens.push(Token::Directories);
                        Token::InDirectory
                    }
                }
                '*' => Token::Run,
                '?' => Token::One,
                '\\' => Token::Char(chars.next()?),
                '[' => {
                    let negated = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let bound =
                            |first: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match first {
                                '\\' => chars.next(),
                                c => Some(c),
                            };
                        let first = match chars.next()? {
                            ']' if !ranges.is_empty() => break,
                            c => bound(c, &mut chars)?,
                        };
                        let mut last = first;
                        if chars.next_if_eq(&'-').is_some() {
                            let c = chars.next().filter(|c| *c != ']')?;
                            last = bound(c, &mut chars)?;
                        }
                        ranges.push((first, last));
                    }
                    Token::Class(ranges, negated)
                }
                c => Token::Char(c),
            };
            tokens.push(token);
        }
        // Before nothing but plain text it takes anything, as the reference happens to read it (§19.3).
        let is_suffix = pattern.starts_with("**") && !pattern.starts_with("**/");
        if let [Token::Directories, Token::InDirectory, rest @ ..] = tokens.as_slice()
            && is_suffix
            && rest.iter().all(|token| matches!(token, Token::Char(_)))
        {
            drop(tokens.splice(..2, [Token::Deep]));
        }
        Some(Glob(tokens))
    }

    /// The pattern matches the path or a directory above it.
    fn matches_or_parent(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.into_iter().any(|end| self.matches(&path[..end]))
    }

    /// Runs the tokens as a set of states, so that no pattern takes more than length times length.
    fn matches(&self, path: &str) -> bool {
        let tokens = &self.0;
        let mut states = vec![false; tokens.len() + 1];
        states[0] = true;
        let skip = |states: &mut Vec<bool>| {
            for index in 0..tokens.len() {
                match tokens[index] {
                    Token::Run | Token::Deep if states[index] => states[index + 1] = true,
                    Token::Directories if states[index] => {
                        states[index + 1] = true;
                        states[index + 2] = true;
                    }
                    _ => {}
                }
            }
        };
        skip(&mut states);
        for c in path.chars() {
            let mut next = vec![false; tokens.len() + 1];
            for (index, token) in tokens.iter().enumerate().filter(|(index, _)| states[*index]) {
                match token {
                    Token::Char(wanted) => next[index + 1] |= *wanted == c,
                    Token::One => next[index + 1] |= c != '/',
                    Token::Run => next[index] |= c != '/',
                    Token::Deep => next[index] = true,
                    Token::Directories => {}
                    Token::InDirectory => {
                        next[index] = true;
                        next[index + 1] |= c == '/';
                    }
                    Token::Class(ranges, negated) => {
                        let inside = ranges.iter().any(|(first, last)| (*first..=*last).contains(&c));
                        next[index + 1] |= inside != *negated && c != '/';
                    }
                }
            }
            states = next;
            skip(&mut states);
        }
        states[tokens.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(text: &str) -> Vec<String> {
        IgnoreFile::read("f", text).unwrap().patterns
    }

    fn hides(text: &str, path: &str) -> bool {
        IgnoreFile::read("f", text).unwrap().hides(path)
    }

    #[test]
    fn section_19_2_lines_are_cleaned() {
        let text = "\u{feff}# no\n  #yes\r\n\n a//b/ \n/c/./d\n! x/../y\n\\#z\n.\n/\n";
        assert_eq!(patterns(text), ["#yes", "a/b", "c/d", "!y", "\\#z", ".", ""]);
        assert_eq!(IgnoreFile::read("f", "a\n ! "), Err(IgnoreError::LoneNegation { line: 2 }));
        for bad in ["[a", "a\\", "[]", "[a-]"] {
            assert!(
                matches!(IgnoreFile::read("f", bad), Err(IgnoreError::Malformed { line: 1, .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn section_19_3_patterns() {
        for (pattern, path, hidden) in [
            ("foo", "foo", true),
            ("foo", "foo/a/b", true),
            ("foo", "/foo", true),
            ("foo", "../foo", true),
            ("foo", "a/foo", false),
            ("*/foo", "a/foo", true),
            ("*/foo", "a/b/foo", false),
            ("**/foo", "foo", true),
            ("**/foo", "a/b/foo", true),
            ("**/foo", "afoo", false),
            ("a/**", "a", false),
            ("a/**", "a/x/y", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("**x", "a/bx", true),
            ("**x*", "bx", false),
            ("**x*", "b/xy", true),
            ("a**", "abc/d", true),
            ("a**b", "axb", false),
            ("a**b", "ax/b", true),
            ("*.md", "README.md", true),
            ("*.md", "d/x.md", false),
            ("[a-c]?", "b1", true),
            ("[^a-c]?", "b1", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("/d/", "d/x", true),
            (".", "a", false),
            ("*\n!a", "a", false),
            ("*", ".", true),
            ("a", ".", false),
            ("**", "/", true),
        ] {
            assert_eq!(hides(pattern, path), hidden, "{pattern} {path}");
        }
    }

    #[test]
    fn hostile_patterns_take_bounded_time() {
        assert!(!hides(&"**a".repeat(100), &"a/".repeat(40)[..79].replace('a', "b")));
    }
}
