//! JSON arrays of strings (§5.2), with the reason when a text is none.
//!
//! The frontend finds such arrays by itself; HEALTHCHECK has one behind its type word, and a text that was meant to be
//! one deserves to be told what is wrong with it.

/// Arrays and objects within one another; deeper ones are no JSON.
const MAX_DEPTH: usize = 64;

#[derive(Debug, PartialEq)]
pub(crate) enum NotStrings {
    /// Not JSON, or no array: what is wrong, to be put behind "…, but".
    NotAnArray(&'static str),
    /// An array with an element that is no string.
    OtherElement,
}

/// The elements of `text`, which must be one array and nothing else.
pub(crate) fn strings(text: &str) -> Result<Vec<String>, NotStrings> {
    let mut reader = Reader { rest: text };
    reader.blanks();
    if !reader.eat('[') {
        return Err(NotStrings::NotAnArray("it does not begin with `[`"));
    }
    let mut found = Vec::new();
    let mut only_strings = true;
    reader
        .elements(']', |reader| {
            if reader.rest.starts_with('"') {
                found.push(reader.string()?);
            } else {
                only_strings = false;
                reader.value(MAX_DEPTH)?;
            }
            Ok(())
        })
        .map_err(NotStrings::NotAnArray)?;
    reader.blanks();
    if !reader.rest.is_empty() {
        return Err(NotStrings::NotAnArray("something follows the closing `]`"));
    }
    if only_strings { Ok(found) } else { Err(NotStrings::OtherElement) }
}

struct Reader<'a> {
    rest: &'a str,
}

type Read<T> = Result<T, &'static str>;

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    /// What stands between an opening bracket, already read, and `close`.
    fn elements(&mut self, close: char, mut one: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.blanks();
        if self.eat(close) {
            return Ok(());
        }
        loop {
            self.blanks();
            if self.rest.starts_with(close) {
                return Err("a comma stands before the closing bracket");
            }
            one(self)?;
            self.blanks();
            if self.eat(close) {
                return Ok(());
            }
            if self.rest.is_empty() {
                return Err("the closing bracket is missing");
            }
            if !self.eat(',') {
                return Err("a comma is missing between two elements");
            }
        }
    }

    fn value(&mut self, depth: usize) -> Read<()> {
        if depth == 0 {
            return Err("its brackets are nested too deeply");
        }
        self.blanks();
        match self.rest.chars().next() {
            Some('"') => self.string().map(|_| ()),
            Some('[') => {
                self.next();
                self.elements(']', |reader| reader.value(depth - 1))
            }
            Some('{') => {
                self.next();
                self.elements('}', |reader| {
                    reader.string()?;
                    reader.blanks();
                    if !reader.eat(':') {
                        return Err("a member of an object lacks its `:`");
                    }
                    reader.value(depth - 1)
                })
            }
            Some('\'') => Err("JSON strings take double quotes, not single ones"),
            Some('-' | '0'..='9') => self.number(),
            _ => {
                for word in ["true", "false", "null"] {
                    if let Some(rest) = self.rest.strip_prefix(word) {
                        self.rest = rest;
                        return Ok(());
                    }
                }
                Err("an element is not in double quotes")
            }
        }
    }

    fn number(&mut self) -> Read<()> {
        const BAD: &str = "a number is malformed";
        self.eat('-');
        let whole = self.digits();
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
            return Err(BAD);
        }
        if self.eat('.') && self.digits().is_empty() {
            return Err(BAD);
        }
        if self.eat('e') || self.eat('E') {
            let _ = self.eat('+') || self.eat('-');
            if self.digits().is_empty() {
                return Err(BAD);
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> &'a str {
        let end = self.rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    fn string(&mut self) -> Read<String> {
        if !self.eat('"') {
            return Err("a string is not in double quotes");
        }
        let mut out = String::new();
        loop {
            match self.next() {
                None => return Err("a string is not closed"),
                Some('"') => return Ok(out),
                Some('\\') => out.push(self.escaped()?),
                Some(letter) if (letter as u32) < 0x20 => return Err("a string holds a control character"),
                Some(letter) => out.push(letter),
            }
        }
    }

    /// What follows a backslash. Halves of surrogate pairs that stand alone become U+FFFD.
    fn escaped(&mut self) -> Read<char> {
        Ok(match self.next() {
            Some(letter @ ('"' | '\\' | '/')) => letter,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let high = self.hex4()?;
                if (0xd800..0xdc00).contains(&high) && self.rest.starts_with("\\u") {
                    let before = self.rest;
                    self.rest = &self.rest[2..];
                    let low = self.hex4()?;
                    if (0xdc00..0xe000).contains(&low) {
                        let joined = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        return Ok(char::from_u32(joined).unwrap_or('\u{fffd}'));
                    }
                    self.rest = before;
                }
                char::from_u32(high).unwrap_or('\u{fffd}')
            }
            _ => return Err("a backslash in a JSON string must be doubled"),
        })
    }

    fn hex4(&mut self) -> Read<u32> {
        const BAD: &str = "`\\u` takes four hexadecimal digits";
        let digits =
            self.rest.get(..4).filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit())).ok_or(BAD)?;
        self.rest = &self.rest[4..];
        u32::from_str_radix(digits, 16).map_err(|_| BAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_with_their_escapes() {
        assert_eq!(strings("[]"), Ok(vec![]));
        assert_eq!(strings(" [ \"a\" , \"b c\" ] "), Ok(vec!["a".into(), "b c".into()]));
        assert_eq!(
            strings(r#"["\"\\\/\n\u00e9\ud83d\ude00\ud800x"]"#),
            Ok(vec!["\"\\/\né\u{1f600}\u{fffd}x".into()])
        );
    }

    #[test]
    fn other_elements_are_told_apart_from_other_text() {
        for text in ["[1]", "[\"a\", null]", "[{\"a\": [true, -1.5e3]}]", "[[\"a\"]]"] {
            assert_eq!(strings(text), Err(NotStrings::OtherElement), "{text}");
        }
        for (text, reason) in [
            ("sh -c x", "it does not begin with `[`"),
            ("['./hello']", "JSON strings take double quotes, not single ones"),
            (r#"["a" "b"]"#, "a comma is missing between two elements"),
            (r#"["a",]"#, "a comma stands before the closing bracket"),
            (r#"["a"] && b"#, "something follows the closing `]`"),
            (r#"[ "a""#, "the closing bracket is missing"),
            (r#"["C:\dir"]"#, "a backslash in a JSON string must be doubled"),
            ("[ -f x ]", "a number is malformed"),
            ("[\"a", "a string is not closed"),
            ("[01]", "a number is malformed"),
            ("[\"\\u00é\"]", "`\\u` takes four hexadecimal digits"),
        ] {
            assert_eq!(strings(text), Err(NotStrings::NotAnArray(reason)), "{text}");
        }
        assert_eq!(
            strings(&"[".repeat(100_000)),
            Err(NotStrings::NotAnArray("its brackets are nested too deeply"))
        );
    }
}
