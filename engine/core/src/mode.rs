//! Reads what `chmod` reads, octal or symbolic, and applies it. There is no umask.

/// A change of permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeChange(Change);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Octal(u32),
    Symbolic(Vec<Step>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// Bits that belong to those named before the operator.
    who: u32,
    operator: u8,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// For everybody; `who` chooses. `x_if_any` is `X`.
    Bits { bits: u32, x_if_any: bool },
    /// What the user, the group (shift 6, 3) or the others (0) may do.
    Copy { shift: u32 },
}

/// A text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mode; write octal digits up to `7777`, or changes such as `u=rwX,go=rX`")]
pub struct ModeError(pub String);

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;

impl ModeChange {
    pub fn parse(text: &str) -> Result<Self, ModeError> {
        let error = || ModeError(text.to_owned());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let octal = u32::from_str_radix(text, 8).ok();
            let octal = octal.filter(|mode| *mode <= 0o7777).ok_or_else(error)?;
            return Ok(Self(Change::Octal(octal)));
        }
        let mut steps = Vec::new();
        for clause in text.split(',') {
            clause_steps(clause.as_bytes(), &mut steps).ok_or_else(error)?;
        }
        Ok(Self(Change::Symbolic(steps)))
    }

    /// The mode itself, if it was given in octal.
    pub fn octal(&self) -> Option<u32> {
        match self.0 {
            Change::Octal(mode) => Some(mode),
            Change::Symbolic(_) => None,
        }
    }

    /// What becomes of permission bits.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let steps = match &self.0 {
            Change::Octal(mode) => return *mode,
            Change::Symbolic(steps) => steps,
        };
        steps.iter().fold(mode, |mode, step| {
            let bits = match step.what {
                What::Bits { bits, x_if_any } => {
                    let x = x_if_any && (is_directory || mode & 0o111 != 0);
                    bits | if x { 0o111 } else { 0 }
                }
                What::Copy { shift } => (mode >> shift & 7) * 0o111,
            };
            match step.operator {
                b'+' => mode | bits & step.who,
                b'-' => mode & !(bits & step.who),
                _ => mode & !step.who | bits & step.who,
            }
        })
    }
}

/// `None` when it is no clause: `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`.
fn clause_steps(clause: &[u8], steps: &mut Vec<Step>) -> Option<()> {
    let operator = clause.iter().position(|b| b"+-=".contains(b))?;
    let (named, mut rest) = clause.split_at(operator);
    let mut who = 0;
    for name in named {
        who |= match name {
            b'u' => USER,
            b'g' => GROUP,
            b'o' => OTHER,
            b'a' => 0o7777,
            _ => return None,
        };
    }
    if named.is_empty() {
        who = 0o7777;
    }
    while let Some((operator, after)) = rest.split_first() {
        let end = after.iter().position(|b| b"+-=".contains(b));
        let (what, next) = after.split_at(end.unwrap_or(after.len()));
        rest = next;
        let what = match what {
            b"u" => What::Copy { shift: 6 },
            b"g" => What::Copy { shift: 3 },
            b"o" => What::Copy { shift: 0 },
            letters => {
                let mut bits = 0;
                let mut x_if_any = false;
                for letter in letters {
                    match letter {
                        b'r' => bits |= 0o444,
                        b'w' => bits |= 0o222,
                        b'x' => bits |= 0o111,
                        b'X' => x_if_any = true,
                        b's' => bits |= 0o6000,
                        b't' => bits |= 0o1000,
                        _ => return None,
                    }
                }
                What::Bits { bits, x_if_any }
            }
        };
        steps.push(Step { who, operator: *operator, what });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_come_out_as_chmod_makes_them() {
        for (change, from, file, directory) in [
            ("755", 0o600, 0o755, 0o755),
            ("0", 0o600, 0, 0),
            ("04755", 0o600, 0o4755, 0o4755),
            ("u=rwX,go=rX", 0o600, 0o644, 0o755),
            ("u=rwX,go=rX", 0o700, 0o755, 0o755),
            ("+x", 0o644, 0o755, 0o755),
            ("a-w", 0o666, 0o444, 0o444),
            ("g=u", 0o740, 0o770, 0o770),
            ("go=", 0o777, 0o700, 0o700),
            ("u+s,o+t", 0o755, 0o5755, 0o5755),
            ("g+s", 0o755, 0o2755, 0o2755),
            ("u+w-x", 0o555, 0o655, 0o655),
            ("o+u", 0o750, 0o757, 0o757),
            ("=", 0o777, 0, 0),
        ] {
            let parsed = ModeChange::parse(change).unwrap();
            assert_eq!(parsed.apply(from, false), file, "{change}");
            assert_eq!(parsed.apply(from, true), directory, "{change}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "8", "77777", "u", "rwx", "u=q", "u=rw,", "z+x", "u+ug", "+x ", "0x1"] {
            assert!(ModeChange::parse(text).is_err(), "{text}");
        }
    }
}
