//! Writes the lines of an image's history as §17.4 wants them, in the notation of the reference builder's language.

use kiln_sdk::wit::graph::{HistoryEntry, OpIndex};
use kiln_sdk::wit::instruction_types::{ConfigChange, Outcome};

/// Who made the entry.
const COMMENT: &str = "kiln.dockerfile.v0";

pub(crate) fn entry(created_by: String, layer: Option<OpIndex>) -> HistoryEntry {
    HistoryEntry { created_by, comment: COMMENT.into(), layer }
}

/// Another configuration and no layer.
pub(crate) fn configured(changes: Vec<ConfigChange>, created_by: String) -> Outcome {
    Outcome { changes, history: vec![entry(created_by, None)], ..Outcome::default() }
}

/// `[a b]`.
pub(crate) fn bracketed<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    format!("[{}]", words.join(" "))
}

/// `["a" "b"]`, with Go's escapes.
pub(crate) fn quoted<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word.as_ref())).collect();
    format!("[{}]", words.join(" "))
}

fn quote(word: &str) -> String {
    let mut out = String::with_capacity(word.len() + 2);
    out.push('"');
    for letter in word.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            _ if prints(letter) => out.push(letter),
            '\0'..='\u{7f}' => out.push_str(&format!("\\x{:02x}", letter as u32)),
            '\u{80}'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", letter as u32)),
            _ => out.push_str(&format!("\\U{:08x}", letter as u32)),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, numbers, punctuation, symbols and the ASCII space; not other spaces, format and private characters.
fn prints(letter: char) -> bool {
    !(letter.is_control()
        || letter.is_whitespace() && letter != ' '
        || matches!(letter,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}'
            | '\u{e0001}'..='\u{e007f}' | '\u{f0000}'..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_like_the_reference_writes_them() {
        assert_eq!(bracketed(&["/a", "/b"]), "[/a /b]");
        assert_eq!(quoted::<&str>(&[]), "[]");
        assert_eq!(quoted(&["a b", "say \"x\\y\"\n"]), r#"["a b" "say \"x\\y\"\n"]"#);
        assert_eq!(
            quoted(&["é\u{1}\u{7f}\u{a0}\u{1f600}\u{f0000}"]),
            "[\"é\\x01\\x7f\\u00a0\u{1f600}\\U000f0000\"]"
        );
    }
}
