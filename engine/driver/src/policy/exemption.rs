//! What a rule does not apply to, for how long, and who answers for it.

use std::fmt;

use kiln_core::pattern::PathPattern;

/// One rule that does not count for a while, with who answers for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// Code of a finding, `<plugin>/<code>` or the code alone.
    pub rule: String,
    /// A pattern of what it is for; empty for everything.
    pub scope: String,
    pub owner: String,
    pub reason: String,
    /// The last day on which it counts, in UTC.
    pub expires: Date,
}

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl Date {
    /// Of a time in seconds since 1970, in UTC.
    pub(crate) fn of(seconds: u64) -> Self {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let text = kiln_oci::document::format_time(kiln_core::tree::Time { seconds, nanoseconds: 0 });
        let mut parts = text.splitn(3, '-');
        let mut part = |digits: usize| -> u16 {
            parts.next().and_then(|part| part.get(..digits)?.parse().ok()).unwrap_or_default()
        };
        let (year, month, day) = (part(4), part(2), part(2));
        Self { year, month: u8::try_from(month).unwrap_or(0), day: u8::try_from(day).unwrap_or(0) }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Why an exemption is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExemptionError {
    #[error("its `{0}` is empty")]
    Empty(&'static str),
    #[error("its `scope = \"{scope}\"` is no pattern: {why}")]
    Scope { scope: String, why: String },
}

/// An exemption that can be matched.
#[derive(Clone, Debug)]
pub(crate) struct Scoped {
    pub(crate) exemption: Exemption,
    /// `None` for everything.
    pattern: Option<PathPattern>,
}

impl Scoped {
    /// # Errors
    ///
    /// When something is missing, or the scope is no pattern.
    pub(crate) fn new(exemption: Exemption) -> Result<Self, ExemptionError> {
        let said = [("rule", &exemption.rule), ("owner", &exemption.owner), ("reason", &exemption.reason)];
        for (name, text) in said {
            if text.trim().is_empty() {
                return Err(ExemptionError::Empty(name));
            }
        }
        let pattern = match relative(&exemption.scope) {
            "" => None,
            scope => Some(PathPattern::parse(scope.as_bytes()).map_err(|error| ExemptionError::Scope {
                scope: exemption.scope.clone(),
                why: error.to_string(),
            })?),
        };
        Ok(Self { exemption, pattern })
    }

    /// Whether it is about a finding with this code, on one of these things.
    pub(crate) fn is_about(&self, code: &str, things: &[String]) -> bool {
        let alone = code.split_once('/').map_or(code, |(_, alone)| alone);
        (self.exemption.rule == code || self.exemption.rule == alone)
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| things.iter().any(|thing| pattern.matches(relative(thing).as_bytes())))
    }

    pub(crate) fn is_over(&self, today: Date) -> bool {
        self.exemption.expires < today
    }
}

/// Paths are written with a slash before them or without.
fn relative(text: &str) -> &str {
    text.strip_prefix('/').unwrap_or(text)
}

/// What a message puts between the first two backquotes: by convention, what it is about.
pub(crate) fn quoted(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once('`')?;
    let (quoted, _) = rest.split_once('`')?;
    (!quoted.is_empty()).then_some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Date = Date { year: 2027, month: 1, day: 31 };

    fn exemption(scope: &str) -> Scoped {
        let word = || "x".to_owned();
        let rule = "p/c".to_owned();
        Scoped::new(Exemption { rule, scope: scope.to_owned(), owner: word(), reason: word(), expires: LAST })
            .unwrap()
    }

    #[test]
    fn a_scope_is_matched_with_whole_names() {
        let about = |scope: &str, thing: &str| exemption(scope).is_about("p/c", &[thing.to_owned()]);
        assert!(about("docker.io/library/*", "docker.io/library/alpine:3"));
        assert!(!about("docker.io/*", "docker.io/library/alpine:3"));
        assert!(about("docker.io/**", "docker.io/library/alpine:3"));
        assert!(about("/usr/bin/sudo", "/usr/bin/sudo"));
        assert!(about("usr/bin/*", "/usr/bin/sudo"));
        assert!(!about("/usr/bin", "/usr/bin/sudo"));
        assert!(about("https://example.com/**", "https://example.com/a/b"));
    }

    #[test]
    fn an_exemption_without_a_scope_is_about_everything_under_its_rule() {
        assert!(exemption("").is_about("p/c", &[]));
        assert!(!exemption("**").is_about("p/other", &["x".to_owned()]));
        let mut short = exemption("");
        short.exemption.rule = "c".to_owned();
        assert!(short.is_about("p/c", &[]) && !short.is_about("p/d", &[]));
    }

    #[test]
    fn an_exemption_holds_through_its_last_day() {
        let day = |seconds: u64| Date::of(seconds);
        assert_eq!(day(1_801_353_600), LAST);
        assert!(!exemption("x").is_over(day(1_801_353_600 + 86_399)));
        assert!(exemption("x").is_over(day(1_801_353_600 + 86_400)));
    }

    #[test]
    fn a_scope_that_is_no_pattern_is_refused() {
        let word = || "x".to_owned();
        let wrong =
            Exemption { rule: word(), scope: "a[".to_owned(), owner: word(), reason: word(), expires: LAST };
        assert!(Scoped::new(wrong).is_err());
        let silent =
            Exemption { rule: word(), scope: word(), owner: " ".to_owned(), reason: word(), expires: LAST };
        assert_eq!(Scoped::new(silent).unwrap_err(), ExemptionError::Empty("owner"));
    }

    #[test]
    fn a_message_says_first_what_it_is_about() {
        assert_eq!(quoted("the file `/usr/bin/x` of `root`"), Some("/usr/bin/x"));
        assert_eq!(quoted("no quotes"), None);
        assert_eq!(quoted("only ` one"), None);
    }
}
