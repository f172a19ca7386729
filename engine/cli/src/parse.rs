//! Small texts of the command line and what they mean.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::exit::CommandLine;

/// `NAME=VALUE`.
pub fn pair(text: &str, option: &str) -> Result<(String, String)> {
    let (name, value) =
        text.split_once('=').with_context(|| format!("`{option} {text}`: write NAME=VALUE"))?;
    ensure!(!name.is_empty(), "`{option} {text}`: the name before `=` is empty");
    Ok((name.to_owned(), value.to_owned()))
}

/// `NAME=VALUE`, or `NAME` for the value of kiln's own environment; `None` when that has no such variable.
pub fn pair_or_environment(text: &str, option: &str) -> Result<Option<(String, String)>> {
    ensure!(!text.is_empty() && !text.starts_with('='), "`{option} {text}`: the name is empty");
    Ok(match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(text).ok().map(|value| (text.to_owned(), value)),
    })
}

/// Comma-separated fields in the CSV form of Docker's options: a field may stand in double quotes, in which `""` is a
/// quote.
pub fn csv(text: &str) -> Result<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let field = fields.last_mut().expect("there is always a field");
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            ('"', true) => quoted = false,
            ('"', false) if field.is_empty() => quoted = true,
            (',', false) => fields.push(String::new()),
            (c, _) => field.push(c),
        }
    }
    ensure!(!quoted, "`{text}`: a double quote is not closed");
    Ok(fields)
}

/// Looks at something that the command line names.
///
/// # Errors
///
/// [`CommandLine`] when it is not there; another error when it may not be looked at.
pub fn named(path: &Path, what: &str) -> Result<Metadata> {
    std::fs::metadata(path).map_err(|error| {
        let shown = format!("{what} `{}`", path.display());
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                CommandLine(anyhow!("{shown} does not exist")).into()
            }
            _ => anyhow::Error::new(error).context(format!("could not read {shown}")),
        }
    })
}

/// True or false in the words that Docker's options take.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// A number of bytes with an optional unit of Docker's kind: `b`, `k`, `m`, `g`, `t`, each a power of 1024, with an
/// optional `b` or `ib` after it.
pub fn size(text: &str) -> Result<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => bail!("`{text}` is not a size; write a number with b, k, m, g or t, such as 128m"),
    };
    let number: f64 = number.parse().with_context(|| format!("`{text}` is not a size, such as 128m"))?;
    let bytes = number * (1u64 << shift) as f64;
    ensure!(bytes <= (u64::MAX / 2) as f64, "`{text}` is larger than any disk");
    Ok(bytes as u64)
}

/// A duration of Go's kind: numbers with `ms`, `s`, `m`, `h` or `d`, one after the other.
pub fn duration(text: &str) -> Result<Duration> {
    let wrong = || format!("`{text}` is not a duration; write something like 90s, 24h or 7d");
    let mut rest = text.trim();
    ensure!(!rest.is_empty(), wrong());
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').with_context(wrong)?;
        let number: f64 = rest[..digits].parse().with_context(wrong)?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => bail!(wrong()),
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).with_context(wrong)
}

/// Bytes for people, in powers of 1000 as `docker images` shows them.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.2} {}", UNITS[unit]),
        _ if value < 100.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("0", 0), ("12", 12), ("1k", 1024), ("1.5m", 1_572_864), ("2GiB", 2 << 30)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "m", "1x", "-1", "99999999999999t"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_add_up() {
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        for text in ["", "5", "h", "1y", "-1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn csv_knows_quotes() {
        assert_eq!(csv(r#"type=oci,"dest=a,b",x="#).unwrap(), ["type=oci", "dest=a,b", "x="]);
        assert!(csv("\"a").is_err());
    }

    #[test]
    fn sizes_are_shown_with_three_figures() {
        assert_eq!(
            [0, 999, 1000, 12_345, 123_456_789].map(human_size),
            ["0 B", "999 B", "1.00 kB", "12.3 kB", "123 MB"]
        );
    }
}
