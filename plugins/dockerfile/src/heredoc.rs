//! Finds here-document operators in a line and reads the bodies below it (§6).

use crate::expand::{self, Mode, NoVariables};
use crate::lines::Reader;

/// `<<NAME` as it stands in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// Delimiter without quotes.
    pub name: String,
    /// The whole word, `3<<-"EOF"`.
    pub written: String,
    /// `<<-`
    pub strip_tabs: bool,
    /// The delimiter has quotes, so the body is not expanded.
    pub literal: bool,
}

/// An operator with its body.
#[derive(Clone, Debug)]
pub struct Heredoc {
    pub operator: Operator,
    /// As it stands in the file.
    pub content: String,
    /// First line of the body; that of the delimiter if the body is empty.
    pub first_line: u32,
    /// The line with the delimiter.
    pub end_line: u32,
}

impl Heredoc {
    /// The body without tabs at the begin of lines if the operator is `<<-`.
    pub fn stripped(&self) -> String {
        if !self.operator.strip_tabs {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

const RAW: Mode = Mode { escape: '\\', quotes: true, raw: true };

/// The operators of a logical line, in order. A line that cannot be cut into words has none (§6.2).
pub fn operators(line: &str) -> Vec<Operator> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let Ok((words, _)) = expand::words(line, RAW, &NoVariables) else { return Vec::new() };
    words.iter().filter_map(|word| operator(word)).collect()
}

/// Reads a word as an operator, if the whole of it is one.
pub fn operator(word: &str) -> Option<Operator> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let strip_tabs = rest.starts_with('-');
    let delimiter =
        rest.strip_prefix('-').unwrap_or(rest).trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    if delimiter.is_empty() || delimiter.contains('<') {
        return None;
    }
    let (quoted, _) = expand::words(delimiter, RAW, &NoVariables).ok()?;
    let [quoted] = <[String; 1]>::try_from(quoted).ok()?;
    let (name, literal) = unquoted(&quoted);
    if name.is_empty() {
        return None;
    }
    Some(Operator { name, written: word.to_owned(), strip_tabs, literal })
}

/// The word without the quotes that group and without escapes, and whether it had such quotes. Between double quotes an
/// escape stays unless it stands before `"`, `$` or itself, as in all words (§7.5).
fn unquoted(word: &str) -> (String, bool) {
    let mut name = String::with_capacity(word.len());
    let mut open = None;
    let mut grouped = false;
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, open) {
            ('\'' | '"', None) => {
                open = Some(c);
                grouped = true;
            }
            (_, Some(quote)) if c == quote => open = None,
            ('\\', None) => name.extend(chars.next()),
            ('\\', Some('"')) => {
                name.push(chars.next_if(|after| matches!(after, '"' | '$' | '\\')).unwrap_or(c));
            }
            _ => name.push(c),
        }
    }
    (name, grouped)
}

/// Reads the body of `operator` from the lines that follow (§6.4, §6.5).
///
/// # Errors
///
/// The operator, when the text ends before its delimiter.
pub fn body(operator: Operator, reader: &mut Reader<'_>) -> Result<Heredoc, Operator> {
    let first_line = reader.line() + 1;
    let mut content = String::new();
    while let Some(line) = reader.take() {
        let candidate = if operator.strip_tabs { line.text().trim_start_matches('\t') } else { line.text() };
        if candidate == operator.name {
            return Ok(Heredoc { operator, content, first_line, end_line: line.number });
        }
        content.push_str(line.raw);
        if line.ended {
            content.push('\n');
        }
    }
    Err(operator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_6_2_words_that_are_operators() {
        for (line, names) in [
            ("RUN <<EOF", vec!["EOF"]),
            ("RUN cat <<A > x && <<-B cat 3<<C", vec!["A", "B", "C"]),
            ("RUN cat << EOF", vec!["EOF"]),
            ("RUN cat <<- EOF", vec![]),
            ("RUN cat <<<EOF", vec![]),
            ("RUN \"<<EOF\"", vec![]),
            ("RUN cat <<EOF>f", vec!["EOF>f"]),
            ("RUN cat <<", vec![]),
            ("RUN echo 'open <<EOF", vec![]),
            ("RUN a=$((1 << 2))", vec!["2))"]),
            ("COPY <<$X <<${Y:-z} /d/", vec!["$X", "${Y:-z}"]),
            ("RUN cat <<\"a b\" <<'c'", vec!["a b", "c"]),
            ("RUN cat<<EOF", vec![]),
            ("RUN ${} <<EOF", vec![]),
        ] {
            let found: Vec<_> = operators(line).into_iter().map(|operator| operator.name).collect();
            assert_eq!(found, names, "{line}");
        }
    }

    #[test]
    fn section_6_3_quotes_make_a_body_literal() {
        for (word, name, literal, strip_tabs) in [
            ("<<EOF", "EOF", false, false),
            ("<<'EOF'", "EOF", true, false),
            ("<<-\"EOF\"", "EOF", true, true),
            ("3<<E\"O\"F", "EOF", true, false),
            ("<<\"it's\"", "it's", true, false),
            ("<<\\EOF", "EOF", false, false),
            ("<<E\\\\\\$F", "E\\$F", false, false),
            ("<<\"E\\OF\\\"\"", "E\\OF\"", true, false),
            ("<<'E\\F'", "E\\F", true, false),
        ] {
            let operator = operator(word).unwrap();
            assert_eq!(
                (operator.name.as_str(), operator.literal, operator.strip_tabs),
                (name, literal, strip_tabs)
            );
        }
        assert_eq!(operator("<<''"), None);
        assert_eq!(operator("x<<EOF"), None);
    }

    #[test]
    fn section_6_4_bodies_end_at_the_exact_delimiter() {
        let text = "# kept\n\n EOF\nEOF \n\ta \\\r\n\tEOF\nEOF\nRUN x";
        let mut reader = Reader::new(text, 4);
        let plain = body(operator("<<EOF").unwrap(), &mut reader).unwrap();
        assert_eq!(plain.content, "# kept\n\n EOF\nEOF \n\ta \\\r\n\tEOF\n");
        assert_eq!((plain.first_line, plain.end_line), (4, 10));
        let mut reader = Reader::new(text, 4);
        let tabs = body(operator("<<-EOF").unwrap(), &mut reader).unwrap();
        assert_eq!(tabs.stripped(), "# kept\n\n EOF\nEOF \na \\\r\n");
        assert!(body(operator("<<X").unwrap(), &mut reader).is_err());
    }
}
