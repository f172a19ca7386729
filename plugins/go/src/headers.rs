//! Cuts a Go file after its imports: what decides which packages there are and what they need, and changes seldom.
//!
//! `go list` reads no further than that. Asked over files that were cut, it gives the same answer, and an edit below the
//! imports leaves the question as it was.

/// Where the part of a file that `go list` reads ends, counted in bytes: behind the last import, or the package clause where
/// nothing is imported. `None` when the text ends before that is certain, or is no Go.
pub(crate) fn end(text: &[u8]) -> Option<usize> {
    let mut scan = Scan { text, at: 0 };
    if scan.word()? != b"package" {
        return None;
    }
    scan.word()?;
    let mut end = scan.at;
    loop {
        let Some(next) = scan.significant() else {
            // A file may well end here, but then so may what was read of it.
            return None;
        };
        if next == b';' {
            scan.at += 1;
            continue;
        }
        if !is_word(next) || scan.word()? != b"import" {
            return Some(end);
        }
        if scan.significant()? == b'(' {
            scan.at += 1;
            while scan.significant()? != b')' {
                scan.import()?;
            }
            scan.at += 1;
        } else {
            scan.import()?;
        }
        end = scan.at;
    }
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl<'t> Scan<'t> {
    /// The next byte that is neither blank nor comment, which stays where it is.
    fn significant(&mut self) -> Option<u8> {
        loop {
            let rest = &self.text[self.at..];
            match rest {
                [] => return None,
                [b'/', b'/', ..] => self.at += rest.iter().position(|byte| *byte == b'\n')?,
                [b'/', b'*', body @ ..] => self.at += 4 + body.windows(2).position(|two| two == b"*/")?,
                [0xef, 0xbb, 0xbf, ..] if self.at == 0 => self.at = 3,
                [byte, ..] if byte.is_ascii_whitespace() => self.at += 1,
                [byte, ..] => return Some(*byte),
            }
        }
    }

    /// The next word; empty when there is something else.
    fn word(&mut self) -> Option<&'t [u8]> {
        self.significant()?;
        let rest = &self.text[self.at..];
        // A word that goes to the end may go on behind it.
        let length = rest.iter().position(|byte| !is_word(*byte))?;
        self.at += length;
        Some(&rest[..length])
    }

    /// `"path"`, with a name, `_` or `.` before it or not, and a semicolon behind it or not.
    fn import(&mut self) -> Option<()> {
        match self.significant()? {
            b';' => {
                self.at += 1;
                return Some(());
            }
            b'.' => self.at += 1,
            byte if is_word(byte) => {
                self.word()?;
            }
            _ => {}
        }
        let quote = self.significant()?;
        if quote != b'"' && quote != b'`' {
            return None;
        }
        let rest = &self.text[self.at + 1..];
        self.at += 2 + rest.iter().position(|byte| *byte == quote)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(end(text.as_bytes()).map(|end| &text[..end]), Some(expected));
    }

    #[test]
    fn what_comes_after_the_imports_is_cut() {
        check("package a\n\nfunc f() {}\n", "package a");
        check(
            "//go:build linux\n\npackage a // x\n\nimport \"fmt\"\n\nvar x = 1\n",
            "//go:build linux\n\npackage a // x\n\nimport \"fmt\"",
        );
        check(
            "package main; import ( m \"math\"; . `fmt`\n _ \"x\" /* ) */ )\nimport \"C\"\ntype t int",
            "package main; import ( m \"math\"; . `fmt`\n _ \"x\" /* ) */ )\nimport \"C\"",
        );
        check(
            "/* c\n*/ package é\n/*\n#cgo LDFLAGS: -lz\n*/\nimport \"C\"\nfunc f",
            "/* c\n*/ package é\n/*\n#cgo LDFLAGS: -lz\n*/\nimport \"C\"",
        );
        check("\u{feff}package a\nvar importer int\n", "\u{feff}package a");
    }

    #[test]
    fn what_is_not_certain_is_not_cut() {
        for text in [
            "",
            "package",
            "package a",
            "package a\n",
            "pack a\nvar x",
            "package a\nimport \"f",
            "package a\nimport (\n\"fmt\"\n",
            "package a\nimport x y\nvar",
            "package a\n/* ",
            "package a\nimp",
        ] {
            assert_eq!(end(text.as_bytes()), None, "{text:?}");
        }
    }
}
