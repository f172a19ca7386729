//! `Release`: what a suite consists of, and the digests of its lists.

use crate::control;

/// As far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Seconds since 1970.
    pub date: u64,
    /// Lists are there under their digest as well, and stay there while the suite changes.
    pub by_hash: bool,
    /// Path below the suite, and SHA-256 in hexadecimal.
    files: Vec<(String, String)>,
}

/// A list that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Below the suite's directory.
    pub path: String,
    /// `sha256:…`.
    pub checksum: String,
}

impl Release {
    /// # Errors
    ///
    /// Why a text is no `Release`, in words that go after its name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let paragraph = control::paragraphs(text).next().ok_or("it is empty")?;
        let date = control::field(paragraph, "Date").ok_or("it has no `Date`")?;
        let files = control::field(paragraph, "SHA256").ok_or("it has no SHA-256 digests")?;
        let files = files
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let (digest, _size, path) = (words.next()?, words.next()?, words.next()?);
                let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
                is_digest.then(|| (path.to_owned(), digest.to_ascii_lowercase()))
            })
            .collect();
        Ok(Self {
            date: seconds(date).ok_or_else(|| format!("its `Date` is `{date}`"))?,
            by_hash: control::field(paragraph, "Acquire-By-Hash") == Some("yes"),
            files,
        })
    }

    /// The packages of a component for an architecture, in the form that is smallest.
    pub fn packages(&self, component: &str, architecture: &str) -> Option<List> {
        let plain = format!("{component}/binary-{architecture}/Packages");
        [".xz", ".gz", ""].into_iter().find_map(|suffix| {
            let path = format!("{plain}{suffix}");
            let (_, digest) = self.files.iter().find(|(known, _)| *known == path)?;
            let fetched = match self.by_hash {
                true => format!("{component}/binary-{architecture}/by-hash/SHA256/{digest}"),
                false => path,
            };
            Some(List { path: fetched, checksum: format!("sha256:{digest}") })
        })
    }

    /// What else there is in place of a component or an architecture that is not.
    pub fn offers(&self) -> String {
        let mut offers: Vec<&str> = self
            .files
            .iter()
            .filter_map(|(path, _)| path.split_once("/Packages").map(|(directory, _)| directory))
            .filter(|directory| directory.matches('/').count() == 1)
            .collect();
        offers.sort_unstable();
        offers.dedup();
        offers.join(", ")
    }
}

/// `Sat, 12 Jul 2025 09:10:47 UTC` as seconds since 1970.
fn seconds(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let rest = date.split_once(", ").map_or(date, |(_, rest)| rest);
    let mut words = rest.split_whitespace();
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if hour > 23 || minute > 59 || second > 60 || !matches!(words.next(), Some("UTC" | "GMT" | "+0000")) {
        return None;
    }
    // Days of the years that count from March, so that the day that comes and goes is the last one.
    let (shifted, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + (153 * from_march + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_list_is_taken_by_its_digest() {
        let digest = |n: u8| format!("{n:064x}");
        let text = format!(
            "Suite: stable\nDate: Sat, 12 Jul 2025 09:10:47 UTC\nAcquire-By-Hash: yes\nMD5Sum:\n x 1 main/binary-amd64/Packages\nSHA256:\n {} 1 main/binary-amd64/Packages\n {} 1 main/binary-amd64/Packages.xz\n {} 2 main/binary-arm64/Packages.gz\n",
            digest(1),
            digest(2),
            digest(3)
        );
        let release = Release::parse(&text).unwrap();
        assert_eq!(release.date, 1_752_311_447);
        let list = release.packages("main", "amd64").unwrap();
        assert_eq!(list.checksum, format!("sha256:{}", digest(2)));
        assert_eq!(list.path, format!("main/binary-amd64/by-hash/SHA256/{}", digest(2)));
        assert_eq!(release.packages("contrib", "amd64"), None);
        assert_eq!(release.offers(), "main/binary-amd64, main/binary-arm64");
        let plain = Release::parse(&text.replace("Acquire-By-Hash: yes\n", "")).unwrap();
        assert_eq!(plain.packages("main", "arm64").unwrap().path, "main/binary-arm64/Packages.gz");
    }

    #[test]
    fn dates_are_read_and_nothing_else_is() {
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        assert_eq!(seconds("Tue, 29 Feb 2000 12:00:01 +0000"), Some(951_825_601));
        for bad in [
            "",
            "yesterday",
            "Sat, 12 Foo 2025 09:10:47 UTC",
            "Sat, 12 Jul 2025 09:10:47 CET",
            "Sat, 12 Jul 1 1:1:1 UTC",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
        assert!(Release::parse("Date: Sat, 12 Jul 2025 09:10:47 UTC\n").is_err());
        assert!(Release::parse("").is_err());
    }
}
