//! How long ago something was, for people.

use std::time::{SystemTime, UNIX_EPOCH};

use kiln_driver::parse_time;

/// `2 hours ago` for a time such as `2024-05-01T12:00:00Z`; a text that is none is given back.
pub fn ago(created: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    match parse_time(created) {
        Some(then) => since(i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(then.seconds)),
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

#[cfg(test)]
mod tests {
    use super::*;

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
