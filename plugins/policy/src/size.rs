//! Sizes as people write them: `200MB`, `1.5GiB`, `4096`.

/// Units of 1000 and of 1024, as their names say; letters in any case.
const UNITS: [(&str, u64); 13] = [
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// Bytes; `None` for what is no size.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let digits = text.trim_start().find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.trim().split_at(digits.unwrap_or(text.trim().len()));
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(*factor),
        Some((whole, part)) => {
            if part.is_empty() || part.len() > 9 || *factor == 1 {
                return None;
            }
            let whole = whole.parse::<u64>().ok()?.checked_mul(*factor)?;
            let part =
                part.parse::<u64>().ok()? as u128 * u128::from(*factor) / 10_u128.pow(part.len() as u32);
            whole.checked_add(u64::try_from(part).ok()?)
        }
    }
}

/// For messages: three digits and a unit of 1000.
pub(crate) fn show(bytes: u64) -> String {
    let mut unit = "bytes";
    let mut divisor = 1;
    for (name, factor) in [("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)] {
        if bytes >= factor {
            (unit, divisor) = (name, factor);
        }
    }
    if divisor == 1 {
        return format!("{bytes} {unit}");
    }
    let value = bytes as f64 / divisor as f64;
    match value {
        value if value < 10.0 => format!("{value:.2} {unit}"),
        value if value < 100.0 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        let check = |text, expected| assert_eq!(parse(text), expected, "{text}");
        check("0", Some(0));
        check("4096", Some(4096));
        check("200MB", Some(200_000_000));
        check("200 mb", Some(200_000_000));
        check("1.5GiB", Some(3 << 29));
        check("0.25k", Some(250));
        check("1.5", None);
        check("", None);
        check("MB", None);
        check("-1", None);
        check("1.2.3MB", None);
        check("200 apples", None);
        check("99999999999999999999", None);
        check("99999999999TB", None);
        assert_eq!(show(999), "999 bytes");
        assert_eq!(show(1_230), "1.23 kB");
        assert_eq!(show(204_800_000), "205 MB");
    }
}
