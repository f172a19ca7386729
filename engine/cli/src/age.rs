//! How long ago something was, for people.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2 hours ago` for a time such as `2024-05-01T12:00:00Z`; a text that is none is given back.
pub fn ago(created: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    match seconds(created) {
        Some(then) => since(i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(then)),
        None => created.to_owned(),
    }
}

/// As `docker images` rounds them.
fn since(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let days = hours / 24;
    match seconds {
        ..0 => "in the future".to_owned(),
        0 => "less than a second ago".to_owned(),
        1 => "1 second ago".to_owned(),
        2..60 => format!("{seconds} seconds ago"),
        _ if minutes == 1 => "about a minute ago".to_owned(),
        _ if minutes < 46 => format!("{minutes} minutes ago"),
        _ if hours <= 1 => "about an hour ago".to_owned(),
        _ if hours < 48 => format!("{hours} hours ago"),
        _ if days < 14 => format!("{days} days ago"),
        _ if days < 60 => format!("{} weeks ago", days / 7),
        _ if days < 730 => format!("{} months ago", days / 30),
        _ => format!("{} years ago", days / 365),
    }
}

/// Seconds since 1970 of `YYYY-MM-DDTHH:MM:SS[.f](Z|±HH:MM)`.
fn seconds(text: &str) -> Option<i64> {
    let (date, clock) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone = clock.find(['Z', '+', '-'])?;
    let (clock, zone) = clock.split_at(zone);
    let clock = clock.split('.').next()?;
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let offset = match zone.strip_prefix(['+', '-']) {
        None => 0,
        Some(ahead) => {
            let (hours, minutes) = ahead.split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(0..=9999).contains(&year) {
        return None;
    }
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    Some(days * 86_400 + hour * 3600 + (minute - offset) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_zone() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56.123456789Z", 951_827_696),
            ("2024-03-01T00:00:00+02:00", 1709244000),
            ("2024-12-31T23:59:59-01:30", 1735694999),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "yesterday", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00Z"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn ages_are_rounded_as_people_do() {
        for (seconds, text) in [
            (0, "less than a second ago"),
            (59, "59 seconds ago"),
            (61, "about a minute ago"),
            (600, "10 minutes ago"),
            (3_500, "about an hour ago"),
            (7_200, "2 hours ago"),
            (86_400 * 3, "3 days ago"),
            (86_400 * 20, "2 weeks ago"),
            (86_400 * 100, "3 months ago"),
            (86_400 * 365 * 3, "3 years ago"),
            (-5, "in the future"),
        ] {
            assert_eq!(since(seconds), text);
        }
    }
}
