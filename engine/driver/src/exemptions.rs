//! Exemptions from rules of policies, as the site's configuration lists them.

use std::fmt;

/// One rule that does not count for a while, with who answers for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// Code of a finding, `<plugin>/<code>` or the code alone.
    pub rule: String,
    /// What it is for; empty for everything.
    pub scope: String,
    pub owner: String,
    pub reason: String,
    /// The last day on which it counts, in UTC.
    pub expires: Date,
}

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}
