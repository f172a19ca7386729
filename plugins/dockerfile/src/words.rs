//! Cuts argument text into words (§4.1, §4.3, §5.3) and fields (§11.5).

use std::ops::Range;

/// White space between keyword, flags and words that know no quotes.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// A part of a text without white space at its ends.
pub fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

/// Keyword and what follows it, trimmed.
pub fn keyword(line: &str) -> (Range<usize>, Range<usize>) {
    let all = trim(line, 0..line.len());
    let end = line[all.clone()].find(is_blank).map_or(all.end, |at| all.start + at);
    (all.start..end, trim(line, end..all.end))
}

/// Words between blanks; quotes mean nothing.
pub fn blanks(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text[range.clone()].char_indices() {
        match (is_blank(c), start) {
            (false, None) => start = Some(range.start + at),
            (true, Some(begin)) => {
                words.push(begin..range.start + at);
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|begin| begin..range.end));
    words
}

/// Words between white space that is neither quoted nor escaped. Quotes and escapes stay in the words (§5.3).
pub fn quoted(text: &str, range: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = text[range.clone()].char_indices();
    let mut end = range.end;
    while let Some((at, c)) = chars.next() {
        let at = range.start + at;
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|begin| begin..at));
            continue;
        }
        start.get_or_insert(at);
        if c == escape && quote != Some('\'') {
            // Nothing follows: dropped.
            if chars.next().is_none() {
                end = at;
            }
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && matches!(c, '"' | '\'') {
            quote = Some(c);
        }
    }
    words.extend(start.filter(|begin| *begin < end).map(|begin| begin..end));
    words
}

/// `--name=value` as it was written, and without quotes.
#[derive(Clone, Debug, PartialEq)]
pub struct FlagWord {
    pub text: String,
    pub range: Range<usize>,
}

impl FlagWord {
    /// Without `--`, up to `=`.
    pub fn name(&self) -> &str {
        let text = self.text.strip_prefix("--").unwrap_or(&self.text);
        text.split_once('=').map_or(text, |(name, _)| name)
    }

    /// After `=`, if there is one.
    pub fn value(&self) -> Option<&str> {
        self.text.split_once('=').map(|(_, value)| value)
    }

    /// Where the name stands, dashes included; the whole word when quotes make it uncertain.
    pub fn name_range(&self) -> Range<usize> {
        match self.text.len() == self.range.len() {
            true => self.range.start..(self.range.start + 2 + self.name().len()).min(self.range.end),
            false => self.range.clone(),
        }
    }

    /// Where the value stands; the whole word when quotes make it uncertain.
    pub fn value_range(&self) -> Range<usize> {
        let plain = self.text.len() == self.range.len();
        match self.value() {
            Some(value) if plain => self.range.end - value.len()..self.range.end,
            _ => self.range.clone(),
        }
    }
}

/// Takes the words that begin with `--` from the front (§4.3). Gives them, and what is left, trimmed.
pub fn flags(text: &str, range: Range<usize>, escape: char) -> (Vec<FlagWord>, Range<usize>) {
    let mut flags = Vec::new();
    let mut at = trim(text, range.clone()).start;
    while text[at..range.end].starts_with("--") {
        let mut word = String::new();
        let mut quote = None;
        let mut chars = text[at..range.end].char_indices();
        let mut end = range.end;
        while let Some((offset, c)) = chars.next() {
            if quote.is_none() && c.is_whitespace() {
                end = at + offset;
                break;
            }
            if c == escape {
                // A last one is dropped.
                word.extend(chars.next().map(|(_, c)| c));
            } else if quote == Some(c) {
                quote = None;
            } else if quote.is_none() && matches!(c, '"' | '\'') {
                quote = Some(c);
            } else {
                word.push(c);
            }
        }
        let rest = trim(text, end..range.end);
        if word == "--" {
            return (flags, rest);
        }
        flags.push(FlagWord { text: word, range: at..end });
        at = rest.start;
    }
    (flags, trim(text, at.min(range.end)..range.end))
}

/// Fields of a comma separated value, `"…"` around one that holds commas (§11.5), with their place in the value.
///
/// # Errors
///
/// Where a quote stands within a plain field, or something behind a quoted one, or a quote is not closed.
pub fn fields(value: &str) -> Result<Vec<(String, Range<usize>)>, usize> {
    let mut fields = Vec::new();
    if value.is_empty() {
        return Ok(fields);
    }
    let mut at = 0;
    loop {
        let start = at;
        let mut field = String::new();
        if value[at..].starts_with('"') {
            at += 1;
            loop {
                let Some(length) = value[at..].find('"') else { return Err(start) };
                field.push_str(&value[at..at + length]);
                at += length + 1;
                if !value[at..].starts_with('"') {
                    break;
                }
                field.push('"');
                at += 1;
            }
            if !(value[at..].is_empty() || value[at..].starts_with(',')) {
                return Err(at);
            }
        } else {
            at += value[at..].find(',').unwrap_or(value.len() - at);
            field.push_str(&value[start..at]);
            if let Some(quote) = field.find('"') {
                return Err(start + quote);
            }
        }
        fields.push((field, start..at));
        if at == value.len() {
            return Ok(fields);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(text: &str, ranges: Vec<Range<usize>>) -> Vec<&str> {
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn section_4_1_keyword_and_rest() {
        for (line, name, rest) in [
            ("RUN echo  a ", "RUN", "echo  a"),
            ("run\t\x0b a", "run", "a"),
            ("FROM", "FROM", ""),
            ("  ", "", ""),
            ("RUN\u{a0}x y", "RUN\u{a0}x", "y"),
        ] {
            let (name_range, rest_range) = keyword(line);
            assert_eq!((&line[name_range], &line[rest_range]), (name, rest), "{line:?}");
        }
    }

    #[test]
    fn section_4_3_flags() {
        for (text, expected, rest) in [
            ("--a=b c --d", vec!["--a=b"], "c --d"),
            (
                "--mount='type=bind,target=/a b' --x\\ y z",
                vec!["--mount=type=bind,target=/a b", "--x y"],
                "z",
            ),
            ("--a -- --help", vec!["--a"], "--help"),
            ("--", vec![], ""),
            ("-- ", vec![], ""),
            ("-x", vec![], "-x"),
            ("--a=\"x\\\"y\"", vec!["--a=x\"y"], ""),
            ("--a='open b", vec!["--a=open b"], ""),
            ("--a\\", vec!["--a"], ""),
        ] {
            let (words, range) = flags(text, 0..text.len(), '\\');
            assert_eq!(words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), expected, "{text}");
            assert_eq!(&text[range], rest, "{text}");
        }
    }

    #[test]
    fn flag_words_have_parts() {
        let (words, _) = flags("--from=a=b x", 0..12, '\\');
        assert_eq!((words[0].name(), words[0].value()), ("from", Some("a=b")));
        assert_eq!((words[0].name_range(), words[0].value_range()), (0..6, 7..10));
        let (words, _) = flags("--'a é' x", 0..10, '\\');
        assert_eq!((words[0].name_range(), words[0].value_range()), (0..8, 0..8));
    }

    #[test]
    fn section_5_3_quoted_words() {
        for (text, expected) in [
            ("a=1  b='x y' c=\"d \\\" e\"", vec!["a=1", "b='x y'", "c=\"d \\\" e\""]),
            ("a\\ b c", vec!["a\\ b", "c"]),
            ("'a\\' b", vec!["'a\\'", "b"]),
            ("a='open to the end ", vec!["a='open to the end "]),
            ("a \\", vec!["a"]),
            ("a\\", vec!["a"]),
            ("\"\" x", vec!["\"\"", "x"]),
            ("", vec![]),
        ] {
            assert_eq!(slices(text, quoted(text, 0..text.len(), '\\')), expected, "{text}");
        }
    }

    #[test]
    fn blanks_know_no_quotes() {
        let text = "\"a b\" c\td";
        assert_eq!(slices(text, blanks(text, 0..text.len())), ["\"a", "b\"", "c", "d"]);
    }

    #[test]
    fn section_11_5_fields() {
        let read =
            |text| fields(text).map(|fields| fields.into_iter().map(|(field, _)| field).collect::<Vec<_>>());
        assert_eq!(read("type=bind,\"target=/a,b\",ro").unwrap(), ["type=bind", "target=/a,b", "ro"]);
        assert_eq!(read("\"a\"\"b\"").unwrap(), ["a\"b"]);
        assert_eq!(read("a,").unwrap(), ["a", ""]);
        assert_eq!(read("").unwrap(), Vec::<String>::new());
        assert_eq!(read("a=\"b\""), Err(2));
        assert_eq!(read("\"a\"b"), Err(3));
        assert_eq!(read("\"a"), Err(0));
    }

    #[test]
    fn no_text_makes_the_cutters_panic() {
        let parts = ["--", "a", "=", "'", "\"", "\\", " ", "\u{a0}", "é", ",", "\t"];
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..state % 16 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                text.push_str(parts[(state >> 33) as usize % parts.len()]);
            }
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (_, rest) = keyword(&text);
            let (words, rest) = flags(&text, rest, '\\');
            for word in &words {
                assert!(word.value_range().end <= text.len() && word.name_range().end <= text.len());
                let _ = fields(word.value().unwrap_or_default());
            }
            for word in quoted(&text, rest.clone(), '\\').into_iter().chain(blanks(&text, rest)) {
                assert!(!text[word].is_empty());
            }
        }
    }
}
