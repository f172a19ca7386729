//! Times as documents spell them (RFC 3339).

use kiln_core::tree::Time;

/// In UTC, with as many digits of the second as there are, none for whole ones.
pub fn format_time(time: Time) -> String {
    let days = time.seconds.div_euclid(86_400);
    let second = time.seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let mut text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    if time.nanoseconds != 0 {
        text.push_str(format!(".{:09}", time.nanoseconds).trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The inverse of [`format_time`]; takes other offsets than UTC too.
pub fn parse_time(text: &str) -> Option<Time> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| {
        let digits = bytes.get(range)?;
        digits.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(digits).ok()?.parse::<i64>().ok()
    };
    let separator = |at: usize, expected: &[u8]| bytes.get(at).is_some_and(|b| expected.contains(b));
    let separators = [(4, &b"-"[..]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")];
    if !separators.iter().all(|(at, expected)| separator(*at, expected)) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // A leap second is counted as the next one.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = 19;
    let mut nanoseconds = 0;
    if separator(rest, b".") {
        let digits = bytes[rest + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let fraction = bytes[rest + 1..][..digits].iter().chain(std::iter::repeat(&b'0')).take(9);
        nanoseconds = fraction.fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        rest += 1 + digits;
    }
    let offset = match bytes.get(rest..)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(rest + 1..rest + 3)?, number(rest + 4..rest + 6)?);
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Time { seconds, nanoseconds })
}

/// Days since 1970 of a date in the Gregorian calendar. Years are counted from March, so that the leap day is the last
/// one; 400 of them always have 146,097 days.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

/// The inverse of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (text, seconds, nanoseconds) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2000-02-29T12:34:56.5Z", 951_827_696, 500_000_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000, 0),
            ("1969-12-31T23:59:59.000000001Z", -1, 1),
            ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
        ] {
            let time = Time { seconds, nanoseconds };
            assert_eq!(parse_time(text), Some(time), "{text}");
            assert_eq!(format_time(time), text);
        }
        for (text, seconds) in
            [("2024-03-01T00:00:00+02:00", 1_709_244_000), ("2024-12-31T23:59:59-01:30", 1_735_694_999)]
        {
            assert_eq!(parse_time(text), Some(Time { seconds, nanoseconds: 0 }), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_goes_to_text_and_back() {
        for day in -150_000..150_000 {
            let time = Time { seconds: day * 86_400, nanoseconds: 0 };
            assert_eq!(parse_time(&format_time(time)), Some(time));
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "yesterday",
            "2023-11-14",
            "2023-13-01T00:00:00Z",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13Z",
            "2023-11-14T22:13:20.Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
