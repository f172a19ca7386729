//! Durations in the notation of HEALTHCHECK, `1h30m`, `1.5s`, `500ms`: read, and written in normal form.

/// Nanoseconds. The notation reaches as far as 63 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Duration(pub(crate) i64);

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl Duration {
    pub(crate) const ZERO: Self = Self(0);
    pub(crate) const MILLISECOND: Self = Self(1_000_000);

    /// None for anything that is no duration, and for one of more than 292 years.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Some(Self::ZERO);
        }
        if rest.is_empty() {
            return None;
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let (whole, after) = digits(rest);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => digits(after),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return None;
            }
            let end =
                after.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let nanos = UNITS.iter().find(|(name, _)| *name == unit)?.1;
            let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
            total = total.checked_add(whole.checked_mul(nanos)?)?;
            total = total.checked_add(part(fraction, nanos))?;
            rest = after;
        }
        Some(Self(if negative { -total } else { total }))
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()))
}

/// What `0.<fraction>` of a unit is, cut off below the nanosecond.
fn part(fraction: &str, nanos: i64) -> i64 {
    let mut numerator: i128 = 0;
    let mut denominator: i128 = 1;
    // An hour has 13 digits of nanoseconds; what comes after cannot matter.
    for digit in fraction.bytes().take(18) {
        numerator = numerator * 10 + i128::from(digit - b'0');
        denominator *= 10;
    }
    (numerator * i128::from(nanos) / denominator) as i64
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if nanos < 1_000_000_000 {
            let (unit, name) = match nanos {
                0..1_000 => (1, "ns"),
                1_000..1_000_000 => (1_000, "µs"),
                _ => (1_000_000, "ms"),
            };
            return write!(f, "{}{name}", decimal(nanos, unit));
        }
        let (hours, rest) = (nanos / 3_600_000_000_000, nanos % 3_600_000_000_000);
        let (minutes, seconds) = (rest / 60_000_000_000, rest % 60_000_000_000);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(seconds, 1_000_000_000))
    }
}

fn decimal(value: u64, unit: u64) -> String {
    let (whole, part) = (value / unit, value % unit);
    if part == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{part:0width$}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_normal_form() {
        for (text, expected) in [
            ("0", "0s"),
            ("30s", "30s"),
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1.5h", "1h30m0s"),
            ("500ms", "500ms"),
            ("1.5s", "1.5s"),
            (".5s", "500ms"),
            ("1500us", "1.5ms"),
            ("1µs1ns", "1.001µs"),
            ("-1s", "-1s"),
            ("+2m", "2m0s"),
        ] {
            assert_eq!(Duration::parse(text).map(|it| it.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "-", "5", "s", "1x", "1s2", ".s", "1 s", "99999999999h"] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }
}
