//! Reads the parser directives at the top of a file (§3) and the options of `check` (§3.4, §21.2).

use crate::lines::Physical;

/// What the directives of a file said.
#[derive(Clone, Debug, Default)]
pub struct Directives {
    /// The escape character, if one was given.
    pub escape: Option<char>,
    /// Value of `check` and the line it is on.
    pub check: Option<(String, u32)>,
    seen: Vec<String>,
    done: bool,
}

/// What is wrong with a directive.
#[derive(Clone, Debug, PartialEq)]
pub enum DirectiveError {
    Repeated(String),
    BadEscape(String),
}

impl Directives {
    /// Looks at the next line of the file. True if it was a directive; after the first that is not, all are not.
    ///
    /// # Errors
    ///
    /// The line is a directive, but wrong.
    pub fn take(&mut self, line: &Physical<'_>) -> Result<bool, DirectiveError> {
        if self.done {
            return Ok(false);
        }
        let Some((key, value)) = split(line.text()) else {
            self.done = true;
            return Ok(false);
        };
        if self.seen.contains(&key) {
            return Err(DirectiveError::Repeated(key));
        }
        match key.as_str() {
            "escape" => {
                self.escape = match value {
                    "\\" => Some('\\'),
                    "`" => Some('`'),
                    _ => return Err(DirectiveError::BadEscape(value.to_owned())),
                }
            }
            "check" => self.check = Some((value.to_owned(), line.number)),
            // The host has read it, and asks this frontend.
            "syntax" => {}
            _ => {
                self.done = true;
                return Ok(false);
            }
        }
        self.seen.push(key);
        Ok(true)
    }
}

/// `# key = value`, the key in lower case.
fn split(line: &str) -> Option<(String, &str)> {
    pair(line.trim_start().strip_prefix('#')?)
}

/// `key = value`, the key in lower case.
fn pair(text: &str) -> Option<(String, &str)> {
    let (key, value) = text.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let well_formed =
        key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    (well_formed && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

/// Which rules something applies to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub all: bool,
    /// In lower case.
    pub names: Vec<String>,
}

impl Rules {
    /// Whether `rule` is meant, in any case.
    pub fn contains(&self, rule: &str) -> bool {
        self.all || self.names.iter().any(|name| name.eq_ignore_ascii_case(rule))
    }

    fn read(list: &str) -> Self {
        let mut rules = Rules::default();
        for name in list.split(',').map(str::trim) {
            if name == "all" {
                rules.all = true;
            } else if !name.is_empty() {
                rules.names.push(name.to_ascii_lowercase());
            }
        }
        rules
    }
}

/// Options of the `check` directive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckOptions {
    pub skip: Rules,
    /// Findings fail the build.
    pub error: bool,
    pub experimental: Rules,
}

impl CheckOptions {
    /// Reads `skip=…;error=…;experimental=…`. What follows the first blank is not looked at.
    ///
    /// # Errors
    ///
    /// A sentence about what is malformed.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut options = CheckOptions::default();
        let text = text.split(' ').next().unwrap_or_default();
        if text.is_empty() {
            return Ok(options);
        }
        for item in text.splitn(3, ';') {
            let Some((key, value)) = item.split_once('=') else {
                return Err(format!("`{item}` is not of the form `key=value`"));
            };
            match key.trim() {
                "skip" => options.skip = Rules::read(value),
                "experimental" => options.experimental = Rules::read(value),
                "error" => {
                    options.error = crate::arguments::boolean(value.trim())
                        .ok_or_else(|| format!("`{value}` is neither true nor false"))?;
                }
                other => {
                    return Err(format!(
                        "there is no option `{other}`: it is `skip`, `error` or `experimental`"
                    ));
                }
            }
        }
        Ok(options)
    }

    /// Options of a comment above an instruction, `check=skip=Rule` (§21.3).
    ///
    /// # Errors
    ///
    /// As [`CheckOptions::read`].
    pub fn from_comment(comment: &str) -> Option<Result<Self, String>> {
        let (key, value) = comment.split_once('=')?;
        key.trim().eq_ignore_ascii_case("check").then(|| CheckOptions::read(value.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Reader;

    fn read(text: &str) -> Result<(Directives, usize), DirectiveError> {
        let mut directives = Directives::default();
        let mut reader = Reader::new(text, 1);
        let mut count = 0;
        while let Some(line) = reader.take() {
            count += usize::from(directives.take(&line)?);
        }
        Ok((directives, count))
    }

    #[test]
    fn directives_end_at_the_first_other_line() {
        for (text, escape, count) in [
            ("# escape=`\nFROM a", Some('`'), 1),
            ("#ESCAPE = ` \r\nFROM a", Some('`'), 1),
            ("  # syntax=x\n# escape=\\\n", Some('\\'), 2),
            ("# hello\n# escape=`", None, 0),
            ("\n# escape=`", None, 0),
            ("# unknown=1\n# escape=`", None, 0),
            ("FROM a\n# escape=`", None, 0),
            ("# escape=\n# escape=`", None, 0),
        ] {
            let (directives, taken) = read(text).unwrap();
            assert_eq!((directives.escape, taken), (escape, count), "{text:?}");
        }
    }

    #[test]
    fn wrong_directives_are_errors() {
        assert_eq!(read("# escape=x").unwrap_err(), DirectiveError::BadEscape("x".to_owned()));
        assert_eq!(
            read("# escape=`\n# Escape=`").unwrap_err(),
            DirectiveError::Repeated("escape".to_owned())
        );
    }

    #[test]
    fn check_options_are_read() {
        let options =
            CheckOptions::read("skip=JSONArgsRecommended,UndefinedVar;error=true ignored;x").unwrap();
        assert!(
            options.error
                && options.skip.contains("undefinedvar")
                && !options.skip.contains("StageNameCasing")
        );
        assert!(CheckOptions::read("skip=all").unwrap().skip.contains("Anything"));
        assert!(CheckOptions::read("error=maybe").is_err());
        assert!(CheckOptions::read("skip").is_err());
        assert!(CheckOptions::read("fix=true").is_err());
        assert!(CheckOptions::from_comment("this is a comment").is_none());
        assert!(CheckOptions::from_comment("check=skip=A").unwrap().unwrap().skip.contains("a"));
    }
}
