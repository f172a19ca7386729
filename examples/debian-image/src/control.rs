//! Paragraphs of fields, the form of `Packages`, `Release` and `/var/lib/dpkg/status` (deb822(5)).

/// The paragraphs of a text, without the empty lines between them.
pub fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(|paragraph| paragraph.trim_matches('\n')).filter(|paragraph| !paragraph.is_empty())
}

/// The fields of a paragraph in order: name, and value with the lines that continue it as they are written.
pub fn fields(paragraph: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = paragraph;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let mut end = 0;
            loop {
                end += rest[end..].find('\n').unwrap_or(rest.len() - end);
                // The next line belongs to the field if it begins with a blank.
                match &rest.as_bytes()[end..] {
                    [b'\n', b' ' | b'\t', ..] => end += 1,
                    _ => break,
                }
            }
            let field = &rest[..end];
            rest = rest[end..].strip_prefix('\n').unwrap_or("");
            if let Some((name, value)) = field.split_once(':') {
                return Some((name, value.trim_start_matches([' ', '\t'])));
            }
        }
        None
    })
}

/// The value of one field, the case of its name aside.
pub fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    fields(paragraph).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "Package: a\nDescription: short\n long\n .\n more\nEmpty:\nVersion: 1:2\n\n\nPackage: b\n";

    #[test]
    fn a_field_goes_on_while_lines_begin_with_a_blank() {
        let all: Vec<&str> = paragraphs(TEXT).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(field(all[0], "Description"), Some("short\n long\n .\n more"));
        assert_eq!(field(all[0], "version"), Some("1:2"));
        assert_eq!(field(all[0], "Empty"), Some(""));
        assert_eq!(field(all[1], "Package"), Some("b"));
        assert_eq!(field(all[1], "Version"), None);
        let names: Vec<&str> = fields(all[0]).map(|(name, _)| name).collect();
        assert_eq!(names, ["Package", "Description", "Empty", "Version"]);
    }
}
