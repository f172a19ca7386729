//! Extended header records (POSIX.1-2017, pax): read by their stated length, so that values may hold any byte.

use kiln_core::tree::Time;

/// One `key=value`.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// Splits the data of an extended header into its records.
pub(super) fn records(mut data: &[u8]) -> Result<Vec<Record<'_>>, &'static str> {
    let mut records = Vec::new();
    while !data.is_empty() {
        let space =
            data.iter().take(20).position(|b| *b == b' ').ok_or("a record does not begin with its length")?;
        let length = std::str::from_utf8(&data[..space])
            .ok()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse::<usize>().ok())
            .filter(|length| *length > space + 2 && *length <= data.len())
            .ok_or("a record's length is no number that fits")?;
        let (record, rest) = data.split_at(length);
        data = rest;
        let record =
            record[space + 1..].strip_suffix(b"\n").ok_or("a record does not end where its length says")?;
        let equals =
            record.iter().position(|b| *b == b'=').filter(|at| *at > 0).ok_or("a record has no `key=`")?;
        records.push((&record[..equals], &record[equals + 1..]));
    }
    Ok(records)
}

/// Appends one record.
pub(super) fn write_record(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    // The length counts its own digits; one more digit may be what makes it need one more.
    let mut length = rest + digits(rest);
    length = rest + digits(length);
    to.extend_from_slice(length.to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.max(1).ilog10() as usize + 1
}

/// A time as decimal seconds with an optional fraction, either possibly before 1970. Digits below the nanosecond are
/// dropped.
pub(super) fn time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let only_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !only_digits(whole) || !only_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanoseconds = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => Time { seconds: whole, nanoseconds },
        (true, 0) => Time { seconds: -whole, nanoseconds: 0 },
        (true, nanoseconds) => Time { seconds: -whole - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// The inverse of [`time`], without trailing zeros.
pub(super) fn write_time(time: Time) -> String {
    let (sign, whole, nanoseconds) = match (time.seconds, time.nanoseconds) {
        (seconds, 0) => ("", i128::from(seconds), 0),
        (seconds, part) if seconds < 0 => ("-", -(i128::from(seconds) + 1), 1_000_000_000 - part),
        (seconds, part) => ("", i128::from(seconds), part),
    };
    if nanoseconds == 0 {
        return whole.to_string();
    }
    let text = format!("{sign}{whole}.{nanoseconds:09}");
    text.trim_end_matches('0').to_owned()
}

/// A decimal number that fits.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_by_length_not_by_line() {
        let mut data = Vec::new();
        write_record(&mut data, b"SCHILY.xattr.a", b"one\ntwo=\0\xff");
        write_record(&mut data, b"path", b"x");
        let both = records(&data).unwrap();
        assert_eq!(both, [(&b"SCHILY.xattr.a"[..], &b"one\ntwo=\0\xff"[..]), (b"path", b"x")]);
    }

    #[test]
    fn a_records_length_counts_its_own_digits() {
        for length in 0..2000 {
            let mut data = Vec::new();
            write_record(&mut data, b"k", &vec![b'v'; length]);
            let parsed = records(&data).unwrap();
            assert_eq!(parsed[0].1.len(), length);
        }
    }

    #[test]
    fn broken_records_are_refused() {
        for data in
            [&b"5 a=b\n"[..], b"99 a=b\n", b"x a=b\n", b"6 a=b", b"6 =ab\n", b"6 abc\n", b"+6 a=b\n", b"3 \n"]
        {
            assert!(records(data).is_err(), "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn times_go_to_text_and_back() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("-1.5", -2, 500_000_000),
            ("-0.25", -1, 750_000_000),
            ("-7", -7, 0),
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
        ] {
            let parsed = time(text.as_bytes()).unwrap();
            assert_eq!((parsed.seconds, parsed.nanoseconds), (seconds, nanoseconds), "{text}");
            assert_eq!(write_time(parsed), text);
        }
        assert_eq!(time(b"1.1234567891").unwrap().nanoseconds, 123_456_789);
        for bad in [&b""[..], b".", b"-", b"1.x", b"1-", b"99999999999999999999"] {
            assert!(time(bad).is_none());
        }
    }
}
