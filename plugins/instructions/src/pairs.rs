//! The `key=value` words of ENV and LABEL (§5.4).

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{Argument, Statement};
use kiln_sdk::wit::types::Pair;

use crate::findings::{Findings, check};
use crate::statement::{at_least_one, comment_in_text};

/// Errors that need no expansion, and comments that are none.
pub(crate) fn validate(statement: &Statement, findings: &mut Findings) {
    judge(statement, findings);
    if is_legacy(statement) {
        comment_in_text(statement, "the value", findings);
    }
}

/// The pairs of the line, in order. None together with an error.
pub(crate) fn read(statement: &Statement, findings: &mut Findings) -> Option<Vec<Pair>> {
    if !judge(statement, findings) {
        return None;
    }
    let keyword = statement.keyword.to_ascii_uppercase();
    if is_legacy(statement) {
        let pair = &statement.arguments[0];
        let mut warning =
            check("LegacyKeyValueFormat", format!("{keyword} without `=` between key and value"));
        warning = warning.at(&statement.at);
        let value = pair.original.trim().split_once([' ', '\t']).map_or("", |(_, value)| value.trim());
        let bare = !value.contains(|letter: char| letter.is_whitespace() || "\"'\\`".contains(letter));
        warning = match bare {
            true => warning
                .help(format!("write `{keyword} {}={value}`", pair.key))
                .fix(&pair.at, format!("{}={value}", pair.key)),
            false => warning.help(format!("write `{keyword} {}=\"…\"`", pair.key)),
        };
        findings.push(warning);
    }
    let mut pairs = Vec::new();
    for pair in &statement.arguments {
        if pair.key.is_empty() {
            let message = format!("the name in `{}` expands to nothing", pair.original);
            findings.push(Diagnostic::error("blank-key", message).at(&pair.at));
            return None;
        }
        pairs.push(Pair { key: pair.key.clone(), value: pair.value.clone() });
    }
    Some(pairs)
}

/// ` k=v k2=v2`.
pub(crate) fn written(pairs: &[Pair]) -> String {
    pairs.iter().flat_map(|pair| [" ", &pair.key, "=", &pair.value]).collect()
}

fn judge(statement: &Statement, findings: &mut Findings) -> bool {
    let keyword = statement.keyword.to_ascii_uppercase();
    if !at_least_one(statement, "`key=value`", findings) {
        return false;
    }
    if is_legacy(statement) {
        let pair = &statement.arguments[0];
        let text = pair.original.trim();
        if !text.contains(char::is_whitespace) {
            let message = format!("{keyword} needs a value for `{text}`");
            let help = format!("write `{keyword} {text}=value`");
            findings.push(Diagnostic::error("pair-without-value", message).at(&pair.at).help(help));
            return false;
        }
        return true;
    }
    let mut good = true;
    for pair in &statement.arguments {
        let text = pair.original.as_str();
        let error = if text.starts_with('=') {
            Diagnostic::error("blank-key", format!("`{text}` has no name before its `=`"))
        } else if !text.contains('=') {
            let help = match text.starts_with('#') {
                true => "`#` does not start a comment here: put the comment on a line of its own".into(),
                false => format!(
                    "write `{text}=value`, or put the value before it in quotes if `{text}` belongs to it"
                ),
            };
            Diagnostic::error("pair-without-equals", format!("`{text}` has no `=`")).help(help)
        } else {
            continue;
        };
        findings.push(error.at(&pair.at));
        good = false;
        // One comment is one mistake, however many words it has.
        if text.starts_with('#') {
            break;
        }
    }
    good
}

/// One pair, and no `=` in its first word: `ENV key some value`.
fn is_legacy(statement: &Statement) -> bool {
    matches!(statement.arguments.as_slice(), [pair] if !first_word(pair).contains('='))
}

/// Up to white space that no quote and no escape protects. Either escape character will do: the other one before a
/// blank is too rare a name to matter.
fn first_word(pair: &Argument) -> &str {
    let text = pair.original.trim_start();
    // Nearly always there is a plain name before an equals sign.
    let plain = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte)).count();
    if text.as_bytes().get(plain) == Some(&b'=') {
        return text;
    }
    let mut quote = None;
    let mut escaped = false;
    for (i, letter) in text.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some('\'') if letter != '\'' => {}
            _ if letter == '\\' || letter == '`' => escaped = true,
            Some(open) if letter == open => quote = None,
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None if letter.is_whitespace() => return &text[..i],
            _ => {}
        }
    }
    text
}
