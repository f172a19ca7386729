//! Relations between packages: `a (>= 1) | b, c:any` (deb-control(5)).

use std::cmp::Ordering;
use std::fmt;

use crate::version;

/// How a version has to stand to the one that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

impl Operator {
    fn text(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

/// One package, in some versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    pub name: &'a str,
    /// `any`, or an architecture.
    pub qualifier: Option<&'a str>,
    pub version: Option<(Operator, &'a str)>,
}

impl Relation<'_> {
    pub fn holds_for(&self, candidate: &str) -> bool {
        let Some((operator, wanted)) = self.version else { return true };
        let order = version::compare(candidate, wanted);
        match operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match self.version {
            Some((operator, version)) => write!(f, " ({} {version})", operator.text()),
            None => Ok(()),
        }
    }
}

/// Relations of which one is enough.
pub type Clause<'a> = Vec<Relation<'a>>;

/// Reads a whole field.
///
/// # Errors
///
/// The part that makes no sense.
pub fn parse(field: &str) -> Result<Vec<Clause<'_>>, &str> {
    let clauses = field.split(',').map(str::trim).filter(|clause| !clause.is_empty());
    clauses.map(|clause| clause.split('|').map(|one| relation(one.trim())).collect()).collect()
}

fn relation(text: &str) -> Result<Relation<'_>, &str> {
    let (named, version) = match text.split_once('(') {
        None => (text, None),
        Some((named, rest)) => {
            let inner = rest.trim_end().strip_suffix(')').ok_or(text)?.trim();
            (named, Some(constraint(inner).ok_or(text)?))
        }
    };
    let named = named.trim();
    let (name, qualifier) = match named.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (named, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    match !name.is_empty() && name.chars().all(plain) {
        true => Ok(Relation { name, qualifier, version }),
        false => Err(text),
    }
}

fn constraint(text: &str) -> Option<(Operator, &str)> {
    // `<` and `>` mean `<=` and `>=`, as they did before there were `<<` and `>>`.
    let operators = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
    ];
    let (sign, operator) = operators.into_iter().find(|(sign, _)| text.starts_with(sign))?;
    let wanted = text[sign.len()..].trim();
    (!wanted.is_empty()).then_some((operator, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_and_written_alike() {
        let text = "libc6 (>= 2.34), foo | bar:any (<< 1~), baz:amd64";
        let clauses = parse(text).unwrap();
        let written: Vec<String> = clauses
            .iter()
            .map(|clause| clause.iter().map(Relation::to_string).collect::<Vec<_>>().join(" | "))
            .collect();
        assert_eq!(written.join(", "), text);
        assert_eq!(parse("a(>2)").unwrap()[0][0].version, Some((Operator::LaterOrEqual, "2")));
        assert_eq!(parse(" a , ").unwrap().len(), 1);
        for bad in ["a (1)", "a (>= 1", "| a", "a b", "(>= 1)"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_relation_holds_for_versions_on_its_side() {
        let holds = |text: &str, version: &str| parse(text).unwrap()[0][0].holds_for(version);
        assert!(holds("a", "0"));
        assert!(holds("a (>= 1.2)", "1.10") && !holds("a (>= 1.2)", "1.2~rc1"));
        assert!(holds("a (<< 2)", "2~") && !holds("a (<< 2)", "2"));
        assert!(holds("a (= 1-1)", "1-01") && !holds("a (>> 1)", "1"));
    }
}
