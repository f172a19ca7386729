//! Ages as people write them: `90d`, `12w`, `48h`, `1y`.

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Seconds; `None` for what is no age.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = text.chars().last()?;
    let number: u64 = text[..text.len() - unit.len_utf8()].trim_end().parse().ok()?;
    let seconds = match unit {
        'h' => HOUR,
        'd' => DAY,
        'w' => 7 * DAY,
        'y' => 365 * DAY,
        _ => return None,
    };
    number.checked_mul(seconds).filter(|age| *age > 0)
}

/// For messages.
pub(crate) fn show(seconds: u64) -> String {
    match seconds {
        seconds if seconds >= 2 * DAY => format!("{} days", seconds / DAY),
        seconds => format!("{} hours", seconds / HOUR),
    }
}

/// How much older than `limit` something is that was made at `created`, both in seconds; `None` when it is not.
pub(crate) fn over(today: u64, created: u64, limit: u64) -> Option<u64> {
    let age = today.saturating_sub(created);
    (age > limit).then_some(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        let check = |text, expected| assert_eq!(parse(text), expected, "{text}");
        check("90d", Some(90 * DAY));
        check("2w", Some(14 * DAY));
        check("48 h", Some(2 * DAY));
        check("1y", Some(365 * DAY));
        check("0d", None);
        check("90", None);
        check("d", None);
        check("", None);
        check("9é", None);
        check("99999999999999999999d", None);
        assert_eq!(show(90 * DAY + HOUR), "90 days");
        assert_eq!(show(DAY), "24 hours");
        assert_eq!(over(100 * DAY, 10 * DAY, 90 * DAY), None);
        assert_eq!(over(101 * DAY, 10 * DAY, 90 * DAY), Some(91 * DAY));
        assert_eq!(over(0, 10 * DAY, DAY), None, "made after today began");
    }
}
