//! Matches patterns in which a `**` touches other characters, as the reference happens to read them.

use super::{Class, Glob, PatternError, Screen, bits, decode};

/// A pattern with a `**` that is no component of its own: `**x`, `a**`, `a**b/c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Odd {
    /// `**x`, which the reference takes for "any path that ends so".
    Suffix(Vec<u8>),
    States(States),
}

/// A machine that reads a path character by character and is in several states at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct States {
    states: Vec<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Char(u32),
    One,
    Class(Class),
    Many,
    /// Anything, separators too.
    All,
    /// Nothing, or anything that ends with a separator. Always followed by `Within`.
    Directories,
    /// Inside of what `Directories` has begun.
    Within,
}

impl Odd {
    pub(super) fn parse(pattern: &[u8]) -> Result<Self, PatternError> {
        if let Some(rest) = pattern.strip_prefix(b"**")
            && let Some(text) = Glob::parse(rest)?.literal()
        {
            return Ok(Self::Suffix(text.to_owned()));
        }
        let mut states = Vec::new();
        let mut rest = pattern;
        while let Some(byte) = rest.first() {
            match byte {
                b'*' if rest.get(1) == Some(&b'*') => {
                    rest = &rest[2..];
                    rest = rest.strip_prefix(b"/").unwrap_or(rest);
                    if rest.is_empty() {
                        states.push(State::All);
                    } else {
                        states.extend([State::Directories, State::Within]);
                    }
                }
                b'*' => {
                    rest = &rest[1..];
                    states.push(State::Many);
                }
                b'?' => {
                    rest = &rest[1..];
                    states.push(State::One);
                }
                b'[' => states.push(State::Class(Class::parse(&mut rest)?)),
                _ => {
                    if *byte == b'\\' {
                        rest = &rest[1..];
                    }
                    let (c, len) = decode(rest).ok_or(PatternError::OpenEscape)?;
                    rest = &rest[len..];
                    states.push(State::Char(c));
                }
            }
        }
        Ok(Self::States(States { states }))
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Suffix(text) => path.ends_with(text),
            Self::States(states) => states.matches(path),
        }
    }
}

impl Odd {
    /// What every path has that it can match.
    pub fn screen(&self) -> Screen {
        let text: Vec<u32> = match self {
            Self::Suffix(text) => text.iter().map(|byte| u32::from(*byte)).collect(),
            Self::States(machine) => {
                let chars = machine.states.iter().map(|state| match state {
                    State::Char(c) => *c,
                    _ => u32::MAX,
                });
                chars.collect()
            }
        };
        let ascii = |c: &u32| u8::try_from(*c).ok().filter(u8::is_ascii);
        Screen {
            occurring: bits(&text.iter().filter_map(ascii).collect::<Vec<u8>>()),
            first: 0,
            last: text.last().and_then(ascii).unwrap_or_default(),
        }
    }
}

impl States {
    fn matches(&self, path: &[u8]) -> bool {
        let end = self.states.len();
        if let Some(State::Char(wanted)) = self.states.first()
            && decode(path).is_none_or(|(c, _)| c != *wanted)
        {
            return false;
        }
        let mut now = vec![false; end + 1];
        let mut next = now.clone();
        self.enter(&mut now, 0);
        let mut rest = path;
        while let Some((c, len)) = decode(rest) {
            rest = &rest[len..];
            let separator = c == u32::from(b'/');
            for at in (0..end).filter(|at| now[*at]) {
                match &self.states[at] {
                    State::Char(wanted) if *wanted == c => self.enter(&mut next, at + 1),
                    State::One if !separator => self.enter(&mut next, at + 1),
                    State::Class(class) if !separator && class.has(c) => self.enter(&mut next, at + 1),
                    State::Many if !separator => self.enter(&mut next, at),
                    State::All => self.enter(&mut next, at),
                    State::Directories | State::Within => {
                        let within = at + usize::from(self.states[at] == State::Directories);
                        self.enter(&mut next, within);
                        if separator {
                            self.enter(&mut next, within + 1);
                        }
                    }
                    _ => {}
                }
            }
            if !next.contains(&true) {
                return false;
            }
            std::mem::swap(&mut now, &mut next);
            next.fill(false);
        }
        now[end]
    }

    /// Marks a state and those reached from it without a character.
    fn enter(&self, marked: &mut [bool], mut at: usize) {
        loop {
            if std::mem::replace(&mut marked[at], true) {
                return;
            }
            at += match self.states.get(at) {
                Some(State::Many | State::All) => 1,
                Some(State::Directories) => 2,
                _ => return,
            };
        }
    }
}
