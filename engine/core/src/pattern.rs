//! Matches names and paths against wildcards: Go's `filepath.Match` for one component, and the `**` of
//! `.dockerignore` for whole paths. Works on bytes, and takes time in proportion to pattern times path at worst.

mod odd;

pub use odd::Odd;

/// Wildcards for one path component.
///
/// `*` any run, `?` one character, `[a-z]` and `[^a-z]` classes, `\c` that character. Characters are those of UTF-8;
/// a byte that is none counts as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    screen: Screen,
}

/// What every name has that a pattern can match. Of hundreds of patterns nearly all are done with by a look at this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Those of ASCII that occur in the name, one bit each.
    occurring: u128,
    /// What the name begins and ends with; zero for anything.
    first: u8,
    last: u8,
}

/// A path component to be matched against many patterns.
#[derive(Clone, Copy, Debug)]
pub struct Name<'n> {
    pub bytes: &'n [u8],
    screen: Screen,
}

impl<'n> Name<'n> {
    pub fn of(bytes: &'n [u8]) -> Self {
        let screen = Screen {
            occurring: bits(bytes),
            first: bytes.first().copied().unwrap_or_default(),
            last: bytes.last().copied().unwrap_or_default(),
        };
        Self { bytes, screen }
    }

    /// No is final.
    #[inline]
    pub fn may_pass(&self, screen: &Screen) -> bool {
        screen.occurring & !self.screen.occurring == 0
            && (screen.first == 0 || screen.first == self.screen.first)
            && (screen.last == 0 || screen.last == self.screen.last)
    }
}

fn bits(bytes: &[u8]) -> u128 {
    bytes.iter().filter(|byte| byte.is_ascii()).fold(0, |bits, byte| bits | 1 << byte)
}

impl Screen {
    fn of(tokens: &[Token]) -> Self {
        let mut screen = Self::default();
        for token in tokens {
            if let Token::Bytes(bytes) = token {
                screen.occurring |= bits(bytes);
            }
        }
        if let Some(Token::Bytes(bytes)) = tokens.first() {
            screen.first = bytes.first().copied().unwrap_or_default();
        }
        if let Some(Token::Bytes(bytes)) = tokens.last() {
            screen.last = bytes.last().copied().unwrap_or_default();
        }
        screen
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Bytes(Vec<u8>),
    One,
    Many,
    Class(Class),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    negated: bool,
    ranges: Vec<(u32, u32)>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a `[` is not closed")]
    OpenClass,
    #[error("a class `[…]` is empty, or has a `-` without a character on each side")]
    BadClass,
    #[error("it ends in a lone `\\`")]
    OpenEscape,
}

/// Whether a component is a pattern: it has a `*`, `?` or `[` that no `\` precedes.
pub fn has_wildcard(component: &[u8]) -> bool {
    let mut bytes = component.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

impl Glob {
    pub fn parse(pattern: &[u8]) -> Result<Self, PatternError> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some(byte) = rest.first() {
            match byte {
                b'*' => {
                    rest = &rest[1..];
                    if tokens.last() != Some(&Token::Many) {
                        tokens.push(Token::Many);
                    }
                }
                b'?' => {
                    rest = &rest[1..];
                    tokens.push(Token::One);
                }
                b'[' => tokens.push(Token::Class(Class::parse(&mut rest)?)),
                _ => {
                    let byte = match byte {
                        b'\\' => *rest.get(1).ok_or(PatternError::OpenEscape)?,
                        byte => *byte,
                    };
                    rest = &rest[1 + usize::from(rest[0] == b'\\')..];
                    match tokens.last_mut() {
                        Some(Token::Bytes(bytes)) => bytes.push(byte),
                        _ => tokens.push(Token::Bytes(vec![byte])),
                    }
                }
            }
        }
        Ok(Self { screen: Screen::of(&tokens), tokens })
    }

    pub fn screen(&self) -> Screen {
        self.screen
    }

    /// [`Glob::matches`] for a name that is matched against many.
    pub fn fits(&self, name: &Name<'_>) -> bool {
        name.may_pass(&self.screen) && self.matches(name.bytes)
    }

    /// The one name it matches, if it is only one.
    pub fn literal(&self) -> Option<&[u8]> {
        match &self.tokens[..] {
            [] => Some(b""),
            [Token::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// What the names end in that it matches, if it says nothing else: `.md` for `*.md`.
    pub fn suffix(&self) -> Option<&[u8]> {
        match &self.tokens[..] {
            [Token::Many] => Some(b""),
            [Token::Many, Token::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // Where to go on when what follows the last `*` does not fit: earlier ones need no second look.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let rest = &name[at..];
            let step = match self.tokens.get(token) {
                None if rest.is_empty() => return true,
                None => None,
                Some(Token::Many) if token + 1 == self.tokens.len() => return true,
                Some(Token::Many) => {
                    retry = Some((token + 1, at));
                    Some(0)
                }
                Some(Token::Bytes(bytes)) => rest.starts_with(bytes).then_some(bytes.len()),
                Some(Token::One) => decode(rest).map(|(_, len)| len),
                Some(Token::Class(class)) => decode(rest).filter(|(c, _)| class.has(*c)).map(|(_, len)| len),
            };
            match (step, retry) {
                (Some(len), _) => {
                    token += 1;
                    at += len;
                }
                (None, Some((after, from))) => {
                    let Some((_, len)) = decode(&name[from..]) else {
                        return false;
                    };
                    retry = Some((after, from + len));
                    (token, at) = (after, from + len);
                }
                (None, None) => return false,
            }
        }
    }
}

impl Class {
    /// Takes the class off the front of `rest`.
    fn parse(rest: &mut &[u8]) -> Result<Self, PatternError> {
        *rest = &rest[1..];
        let negated = rest.first() == Some(&b'^');
        if negated {
            *rest = &rest[1..];
        }
        let mut ranges = Vec::new();
        loop {
            match rest.first() {
                None => return Err(PatternError::OpenClass),
                Some(b']') if !ranges.is_empty() => break,
                Some(_) => {}
            }
            let low = Self::end_of_range(rest)?;
            let high = if rest.first() == Some(&b'-') {
                *rest = &rest[1..];
                Self::end_of_range(rest)?
            } else {
                low
            };
            ranges.push((low, high));
        }
        *rest = &rest[1..];
        Ok(Self { negated, ranges })
    }

    fn end_of_range(rest: &mut &[u8]) -> Result<u32, PatternError> {
        match rest.first() {
            None => return Err(PatternError::OpenClass),
            Some(b'-' | b']') => return Err(PatternError::BadClass),
            Some(b'\\') => *rest = &rest[1..],
            Some(_) => {}
        }
        let (c, len) = decode(rest).ok_or(PatternError::OpenClass)?;
        *rest = &rest[len..];
        Ok(c)
    }

    fn has(&self, c: u32) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

/// The first character and its length. A byte that begins none stands for itself, beyond all characters.
fn decode(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    let len = match first {
        0..=0x7f => return Some((u32::from(first), 1)),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    };
    let whole = bytes.get(..len).and_then(|b| std::str::from_utf8(b).ok());
    match whole.and_then(|text| text.chars().next()) {
        Some(c) => Some((u32::from(c), len)),
        None => Some((0x11_0000 + u32::from(first), 1)),
    }
}

/// A pattern for whole paths, in which `**` stands for any number of directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// Every `**` is a component of its own.
    Parts(Vec<Part>),
    /// A `**` stands next to other characters, which makes it reach across separators in odd ways.
    Odd(Odd),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// `**`: any number of components, also none; at least one where it is the last part.
    Any,
    One(Glob),
}

impl PathPattern {
    /// `pattern` is a clean relative path.
    pub fn parse(pattern: &[u8]) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        let mut odd = false;
        for part in pattern.split(|b| *b == b'/') {
            if part == b"**" {
                if parts.last() != Some(&Part::Any) {
                    parts.push(Part::Any);
                }
            } else {
                odd |= has_double_star(part);
                parts.push(Part::One(Glob::parse(part)?));
            }
        }
        Ok(if odd { Self::Odd(Odd::parse(pattern)?) } else { Self::Parts(parts) })
    }

    /// Whether it matches all of `path`, a relative path.
    pub fn matches(&self, path: &[u8]) -> bool {
        let parts = match self {
            Self::Odd(odd) => return odd.matches(path),
            Self::Parts(parts) => parts,
        };
        let mut places = vec![0];
        let mut whole = false;
        for name in path.split(|b| *b == b'/') {
            let mut further = Vec::new();
            whole = false;
            let name = Name::of(name);
            for place in places {
                whole |= advance(parts, place, &name, &mut |next| further.push(next));
            }
            further.sort_unstable();
            further.dedup();
            places = further;
        }
        whole
    }
}

/// One step of matching: `place` is how many of `parts` lie behind. Reports the places that `name` leads to, and
/// returns whether the pattern matches what ends with `name`.
pub fn advance(parts: &[Part], place: usize, name: &Name<'_>, to: &mut dyn FnMut(usize)) -> bool {
    match &parts[place] {
        Part::Any => {
            to(place);
            place + 1 == parts.len() || advance(parts, place + 1, name, to)
        }
        Part::One(glob) if !glob.fits(name) => false,
        Part::One(_) => {
            if place + 1 < parts.len() {
                to(place + 1);
            }
            place + 1 == parts.len()
        }
    }
}

fn has_double_star(part: &[u8]) -> bool {
    let mut rest = part;
    while let Some(byte) = rest.first() {
        match byte {
            b'\\' => rest = &rest[1.min(rest.len() - 1)..],
            b'*' if rest.get(1) == Some(&b'*') => return true,
            _ => {}
        }
        rest = &rest[1..];
    }
    false
}

#[cfg(test)]
mod tests;
