//! Recognises a JSON array of strings, the exec form of an instruction (§5.2).

use std::ops::Range;

/// Deeper nesting is not JSON to us, as to the reference.
const MAX_DEPTH: usize = 10_000;

/// One string of an array.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    pub value: String,
    /// Of the text, quotes included.
    pub range: Range<usize>,
}

/// What a text is when read as JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// The whole text is an array of strings.
    Strings(Vec<Element>),
    /// The whole text is an array, but this element is no string.
    NotStrings(Range<usize>),
    /// Anything else.
    NotArray,
}

/// Reads `text`, leading white space allowed. Ranges count from the begin of `text`.
pub fn read(text: &str) -> Array {
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with('[') {
        return Array::NotArray;
    }
    let mut reader = Reader { bytes: text.as_bytes(), at: start + 1 };
    reader.array().unwrap_or(Array::NotArray)
}

struct Reader<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Reader<'_> {
    /// After `[`. Nothing when this is not JSON.
    fn array(&mut self) -> Option<Array> {
        let mut strings = Vec::new();
        let mut other = None;
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.blanks();
                let start = self.at;
                if self.peek() == Some(b'"') {
                    let value = self.string()?;
                    strings.push(Element { value, range: start..self.at });
                } else {
                    self.value()?;
                    other.get_or_insert(start..self.at);
                }
                self.blanks();
                match self.next()? {
                    b',' => {}
                    b']' => break,
                    _ => return None,
                }
            }
        }
        self.blanks();
        if self.at != self.bytes.len() {
            return None;
        }
        Some(other.map_or(Array::Strings(strings), Array::NotStrings))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Any value, without keeping it. A stack of brackets instead of recursion: the text is a stranger's.
    fn value(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            self.blanks();
            match self.peek()? {
                bracket @ (b'[' | b'{') => {
                    self.at += 1;
                    if open.len() == MAX_DEPTH {
                        return None;
                    }
                    self.blanks();
                    let close = if bracket == b'[' { b']' } else { b'}' };
                    if self.peek() == Some(close) {
                        self.at += 1;
                    } else {
                        open.push(close);
                        if close == b'}' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => drop(self.string()?),
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => self.number()?,
            }
            // A value is complete: close what it completes.
            loop {
                let Some(&close) = open.last() else { return Some(()) };
                self.blanks();
                let byte = self.next()?;
                if byte == b',' {
                    if close == b'}' {
                        self.key()?;
                    }
                    break;
                }
                if byte != close {
                    return None;
                }
                open.pop();
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        self.blanks();
        if self.peek()? != b'"' {
            return None;
        }
        self.string()?;
        self.blanks();
        (self.next()? == b':').then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => drop(self.digits()),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return None;
            }
        }
        Some(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    /// At the opening quote.
    fn string(&mut self) -> Option<String> {
        self.at += 1;
        let mut value = Vec::new();
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' => match self.next()? {
                    plain @ (b'"' | b'\\' | b'/') => value.push(plain),
                    b'b' => value.push(8),
                    b'f' => value.push(12),
                    b'n' => value.push(b'\n'),
                    b'r' => value.push(b'\r'),
                    b't' => value.push(b'\t'),
                    b'u' => {
                        let character = self.escaped()?;
                        value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    _ => return None,
                },
                // Control characters have to be escaped.
                0..=0x1f => return None,
                byte => value.push(byte),
            }
        }
        String::from_utf8(value).ok()
    }

    /// After `\u`. Half a pair of surrogates is the replacement character.
    fn escaped(&mut self) -> Option<char> {
        let first = self.four()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first);
        }
        if first < 0xdc00 && self.bytes[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.four()?;
            if (0xdc00..0xe000).contains(&second) {
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
            self.at = before;
        }
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn four(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        let mut value = 0;
        for &digit in digits {
            value = value * 16 + char::from(digit).to_digit(16)?;
        }
        self.at += 4;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<String> {
        match read(text) {
            Array::Strings(elements) => elements.into_iter().map(|element| element.value).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn arrays_of_strings_are_read() {
        assert_eq!(strings("[]"), Vec::<String>::new());
        assert_eq!(strings(" [ ] "), Vec::<String>::new());
        assert_eq!(strings(r#"["a","b c" , "\n\u00e9\ud83d\ude00\ud800"]"#), ["a", "b c", "\né😀\u{fffd}"]);
    }

    #[test]
    fn other_texts_fall_back() {
        for text in [
            "",
            "x",
            "['./hello']",
            r#"["a" "b"]"#,
            r#"["a",]"#,
            r#"["a"] && b"#,
            r#"[ "a""#,
            "[ -f x ] && y",
            "[,]",
            "[\"\t\"]",
            r#"["\x"]"#,
            r#"["\u12"]"#,
            "[01]",
            "[1.]",
            "[-]",
            "[{]",
            "[{\"a\"}]",
            "[tru]",
            "[[1]",
            r#"["C:\Windows"]"#,
        ] {
            assert_eq!(read(text), Array::NotArray, "{text}");
        }
    }

    #[test]
    fn arrays_of_other_things_are_told_apart() {
        for (text, range) in [
            ("[1]", 1..2),
            (r#"["a", -1.5e+3]"#, 6..13),
            (r#"[{"a":[null,true,{}], "b":{"c":false}}]"#, 1..38),
            ("[ [ ] ]", 2..5),
        ] {
            assert_eq!(read(text), Array::NotStrings(range), "{text}");
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        assert_eq!(read(&"[".repeat(1_000_000)), Array::NotArray);
    }
}
