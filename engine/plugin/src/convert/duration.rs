//! Durations as Go writes them: `1h30m`, `1.5s`, `100ms`. Exact to the nanosecond.

use super::Fault;

/// The longest that Go's own type holds.
const MAX_NS: u64 = i64::MAX as u64;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds; 0 for the empty text, which means "not set".
///
/// # Errors
///
/// When it is no duration, negative, or longer than 292 years.
pub(crate) fn read(text: &str) -> Result<u64, Fault> {
    let wrong = || Fault::new(format!("`{text}` is not a duration such as `1m30s`"));
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return if text.is_empty() { Ok(0) } else { Err(wrong()) };
    }
    if rest == "0" {
        return Ok(0);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(wrong());
        }
        let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let value: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        let mut part = value.checked_mul(*scale).ok_or_else(wrong)?;
        let mut place = *scale;
        for digit in fraction.bytes() {
            place /= 10;
            part = part.checked_add(u64::from(digit - b'0') * place).ok_or_else(wrong)?;
        }
        total = total.checked_add(part).filter(|total| *total <= MAX_NS).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(total)
}

/// In Go's normal form; empty for 0.
pub(crate) fn write(ns: u64) -> String {
    match ns {
        0 => String::new(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(ns, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(ns, 1_000_000)),
        _ => {
            let seconds = decimal(ns % 60_000_000_000, 1_000_000_000);
            let minutes = ns / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value / scale` without trailing zeros.
fn decimal(value: u64, scale: u64) -> String {
    let fraction = value % scale;
    if fraction == 0 {
        return (value / scale).to_string();
    }
    let places = scale.ilog10() as usize;
    let digits = format!("{fraction:0places$}");
    format!("{}.{}", value / scale, digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for (text, ns) in [
            ("", 0),
            ("1ns", 1),
            ("1.5µs", 1_500),
            ("100ms", 100_000_000),
            ("1s", 1_000_000_000),
            ("1.000000001s", 1_000_000_001),
            ("1m30s", 90_000_000_000),
            ("1h0m0s", 3_600_000_000_000),
            ("26h3m4.5s", 93_784_500_000_000),
        ] {
            assert_eq!(read(text), Ok(ns), "{text}");
            assert_eq!(write(ns), text);
        }
    }

    #[test]
    fn other_spellings_mean_the_same() {
        for (text, ns) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("3us", 3_000),
        ] {
            assert_eq!(read(text), Ok(ns), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["1", "s", "1x", "-1s", "1s2", "+", ".s", "1 s", "400000000h"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
