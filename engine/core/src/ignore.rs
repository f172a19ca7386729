//! Decides what a `.dockerignore` or another list in its language leaves out. Knows paths, not files.

use std::collections::HashMap;

use crate::pattern::{Name, Part, PathPattern, PatternError, Screen, advance};
use crate::tree::TreePath;

/// A line may not be longer, in bytes.
pub const MAX_LINE: usize = 64 * 1024;

/// An ordered list of patterns. The last that matches a path, or a directory above it, decides.
///
/// A pattern that changes nothing about a directory, because what it says of it is so already, says nothing of what the
/// directory holds: after `**/*-a`, `!**/*-c` takes back a directory `x-a/x-c`, not a file `x-c/x-a`. BuildKit reads
/// the lists that way, and build contexts are cut to what it sends.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    /// Rules that can match in every directory, by the one name or the one extension they match; first to last.
    names: HashMap<Box<[u8]>, Vec<u32>>,
    extensions: HashMap<Box<[u8]>, Vec<u32>>,
    suffixes: Vec<(Screen, Box<[u8]>, u32)>,
    odd: Vec<(Screen, u32)>,
    /// Of the rules above, the last plain one and the last with `!`.
    anywhere: [Option<u32>; 2],
}

#[derive(Clone, Debug)]
struct Rule {
    /// Written with `!`.
    negated: bool,
    pattern: PathPattern,
}

/// A line that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{pattern}` is not a pattern: {why}")]
pub struct IgnoreError {
    /// Counted from 1; of a list that is no file, the position.
    pub line: usize,
    pub pattern: String,
    pub why: String,
}

impl Ignore {
    /// From the text of a `.dockerignore` file.
    pub fn parse(text: &[u8]) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut ignore = Self::default();
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            if line.len() > MAX_LINE {
                return Err(IgnoreError {
                    line: index + 1,
                    pattern: String::from_utf8_lossy(&line[..40]).into_owned() + "…",
                    why: format!("it has more than {MAX_LINE} bytes"),
                });
            }
            if !line.starts_with(b"#") {
                ignore.add(index + 1, line)?;
            }
        }
        Ok(ignore)
    }

    /// From patterns, `!` included.
    pub fn from_patterns(patterns: &[String]) -> Result<Self, IgnoreError> {
        let mut ignore = Self::default();
        for (index, pattern) in patterns.iter().enumerate() {
            ignore.add(index + 1, pattern.as_bytes())?;
        }
        Ok(ignore)
    }

    /// Of one pattern, in which a leading `!` is no negation.
    pub fn of_pattern(pattern: &[u8]) -> Result<Self, PatternError> {
        let mut ignore = Self::default();
        ignore.push(pattern, false)?;
        Ok(ignore)
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `path` is left out. For many paths of one tree use [`Ignore::top`].
    pub fn excludes(&self, path: &TreePath) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut sieve = Sieve::new(self);
        let mut above = TreePath::root();
        let mut verdict = Verdict::default();
        for name in path.components() {
            above = above.join(name);
            verdict = sieve.judge(&above);
        }
        verdict.matched
    }

    /// What the rules say in the root directory, before any of it was looked at.
    pub fn top(&self) -> Level<'_> {
        let active = self.rules.iter().enumerate();
        Level::new(self, None, active.filter(|(_, rule)| rule.steps()).map(|(rule, _)| (rule as u32, 0)))
    }

    fn add(&mut self, line: usize, text: &[u8]) -> Result<(), IgnoreError> {
        let text = trim(text);
        let error =
            |why: String| IgnoreError { line, pattern: String::from_utf8_lossy(text).into_owned(), why };
        let (negated, pattern) = match text.strip_prefix(b"!") {
            Some(rest) => (true, trim(rest)),
            None => (false, text),
        };
        if pattern.is_empty() {
            return match negated {
                true => Err(error("nothing follows the `!`".into())),
                false => Ok(()),
            };
        }
        self.push(pattern, negated).map_err(|why| error(why.to_string()))
    }

    fn push(&mut self, pattern: &[u8], negated: bool) -> Result<(), PatternError> {
        let pattern = PathPattern::parse(&clean(pattern))?;
        self.class(&pattern, negated);
        self.rules.push(Rule { negated, pattern });
        Ok(())
    }

    /// Notes a rule that can match in every directory where a look-up finds it.
    fn class(&mut self, pattern: &PathPattern, negated: bool) {
        let index = self.rules.len() as u32;
        match pattern {
            PathPattern::Odd(odd) => self.odd.push((odd.screen(), index)),
            PathPattern::Parts(parts) => match anywhere(parts) {
                None => return,
                Some(Anywhere::Name(name)) => self.names.entry(name.into()).or_default().push(index),
                Some(Anywhere::Suffix(suffix, screen)) => match extension(suffix) {
                    Some(rest) if rest.len() + 1 == suffix.len() => {
                        self.extensions.entry(rest.into()).or_default().push(index);
                    }
                    _ => self.suffixes.push((screen, suffix.into(), index)),
                },
            },
        }
        self.anywhere[usize::from(negated)] = Some(index);
    }

    fn negated(&self, rule: u32) -> bool {
        self.rules[rule as usize].negated
    }
}

impl Rule {
    /// It is followed step by step from directory to directory, not looked up.
    fn steps(&self) -> bool {
        matches!(&self.pattern, PathPattern::Parts(parts) if anywhere(parts).is_none())
    }
}

enum Anywhere<'a> {
    Name(&'a [u8]),
    Suffix(&'a [u8], Screen),
}

fn anywhere(parts: &[Part]) -> Option<Anywhere<'_>> {
    let [Part::Any, Part::One(glob)] = parts else {
        return None;
    };
    let name = glob.literal().map(Anywhere::Name);
    name.or_else(|| glob.suffix().map(|suffix| Anywhere::Suffix(suffix, glob.screen())))
}

/// What follows the last dot of a name.
fn extension(name: &[u8]) -> Option<&[u8]> {
    name.iter().rposition(|b| *b == b'.').map(|dot| &name[dot + 1..])
}

/// Without white space of any alphabet around it, as frontends read these lines too.
fn trim(text: &[u8]) -> &[u8] {
    match std::str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => text.trim_ascii(),
    }
}

/// As Go's `path.Clean` does, and without one leading `/`.
fn clean(pattern: &[u8]) -> Vec<u8> {
    let rooted = pattern.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in pattern.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// What a list says of one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The last rule that matches is one without `!`: of an ignore list, the path is left out.
    pub matched: bool,
    /// Nothing below has another verdict.
    pub settled: bool,
}

/// What the rules still say inside one directory. Made for the root by [`Ignore::top`] and handed down by
/// [`Level::enter`], so that no path is matched from its beginning again.
#[derive(Clone, Debug)]
pub struct Level<'a> {
    ignore: &'a Ignore,
    /// The last rule that changed the verdict on the directory or one above. Only later ones can change it again.
    decided: Option<u32>,
    /// A rule speaks of what it matches alone, not of what that holds.
    exact: bool,
    /// Rules with a literal part next, by that part: rule and place in it.
    literal: HashMap<&'a [u8], Vec<(u32, usize)>>,
    other: Vec<Step>,
}

/// A rule that goes on in a directory.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// What a name has that this place, or of a `**` the one after it, can match.
    screen: Screen,
    rule: u32,
    place: u32,
    /// A `**`, which goes on below whatever the name.
    stays: bool,
}

impl Step {
    fn new(rule: u32, place: usize, parts: &[Part]) -> Self {
        let stays = parts[place] == Part::Any;
        let screen = match parts.get(place + usize::from(stays)) {
            Some(Part::One(glob)) => glob.screen(),
            Some(Part::Any) | None => Screen::default(),
        };
        Self { screen, rule, place: place as u32, stays }
    }
}

/// Whether to look into a directory.
pub enum Descend<'a> {
    Yes(Level<'a>),
    /// Everything below has the directory's own verdict.
    No,
}

impl<'a> Level<'a> {
    fn new(ignore: &'a Ignore, decided: Option<u32>, active: impl Iterator<Item = (u32, usize)>) -> Self {
        let mut level = Self { ignore, decided, exact: false, literal: HashMap::new(), other: Vec::new() };
        for (rule, place) in active.filter(|(rule, _)| Some(*rule) > decided) {
            let PathPattern::Parts(parts) = &ignore.rules[rule as usize].pattern else {
                continue;
            };
            match &parts[place] {
                Part::One(glob) if let Some(name) = glob.literal() => {
                    level.literal.entry(name).or_default().push((rule, place));
                }
                _ => level.other.push(Step::new(rule, place, parts)),
            }
        }
        level
    }

    /// Whether the entry `path` of this directory is matched.
    pub fn excludes(&self, path: &TreePath) -> bool {
        self.verdict_of(self.judge(path, None))
    }

    /// Goes into the directory `path`, an entry of this one.
    pub fn enter(&self, path: &TreePath) -> (bool, Descend<'a>) {
        let mut active = Vec::new();
        let decided = self.judge(path, Some(&mut |state| active.push(state)));
        active.sort_unstable();
        active.dedup();
        let inherited = if self.exact { None } else { decided };
        let mut level = Self::new(self.ignore, inherited, active.into_iter());
        level.exact = self.exact;
        let descend = match level.may_differ(self.verdict_of(inherited)) {
            true => Descend::Yes(level),
            false => Descend::No,
        };
        (self.verdict_of(decided), descend)
    }

    fn verdict_of(&self, rule: Option<u32>) -> bool {
        rule.is_some_and(|rule| !self.ignore.negated(rule))
    }

    /// Some rule that can still match below says the opposite of `matched`.
    fn may_differ(&self, matched: bool) -> bool {
        let opposite = |rule: &u32| self.ignore.negated(*rule) == matched;
        self.ignore.anywhere[usize::from(matched)] > self.decided
            || self.other.iter().any(|step| opposite(&step.rule))
            || self.literal.values().flatten().any(|(rule, _)| opposite(rule))
    }

    /// The last rule that changes the verdict on `path` or a directory above it. Tells `to`, if something may lie below,
    /// which rules go on there.
    fn judge(&self, path: &TreePath, mut to: Option<&mut dyn FnMut((u32, usize))>) -> Option<u32> {
        let ignore = self.ignore;
        let name = Name::of(path.name());
        let mut hits = Vec::new();
        if ignore.anywhere[0].max(ignore.anywhere[1]) > self.decided {
            hits.extend(ignore.names.get(name.bytes).into_iter().flatten());
            if let Some(extension) = extension(name.bytes) {
                hits.extend(ignore.extensions.get(extension).into_iter().flatten());
            }
            for (screen, suffix, rule) in &ignore.suffixes {
                if name.may_pass(screen) && Some(*rule) > self.decided && name.bytes.ends_with(suffix) {
                    hits.push(*rule);
                }
            }
            let whole = if ignore.odd.is_empty() { name } else { Name::of(path.as_bytes()) };
            for (screen, rule) in &ignore.odd {
                let pattern = &ignore.rules[*rule as usize].pattern;
                if whole.may_pass(screen) && Some(*rule) > self.decided && pattern.matches(whole.bytes) {
                    hits.push(*rule);
                }
            }
        }
        let literal = if self.literal.is_empty() { None } else { self.literal.get(name.bytes) };
        let holds = to.is_some();
        let mut step = |rule: u32, place: usize| {
            let mut goes_on = |next| {
                if let Some(to) = &mut to {
                    to((rule, next));
                }
            };
            if let PathPattern::Parts(parts) = &ignore.rules[rule as usize].pattern
                && advance(parts, place, &name, &mut goes_on)
            {
                hits.push(rule);
            }
        };
        for (rule, place) in literal.into_iter().flatten() {
            step(*rule, *place);
        }
        for other in &self.other {
            if name.may_pass(&other.screen) || other.stays && holds {
                step(other.rule, other.place as usize);
            }
        }
        hits.sort_unstable();
        let mut decided = self.decided;
        for rule in hits {
            if Some(rule) > decided && ignore.negated(rule) == self.verdict_of(decided) {
                decided = Some(rule);
            }
        }
        decided
    }
}

/// Judges the paths of one tree in order, each directory before what it holds, and keeps the levels on the way.
#[derive(Debug)]
pub struct Sieve<'a> {
    /// The root's first, then one for each directory on the way to the last path.
    levels: Vec<State<'a>>,
}

#[derive(Debug)]
enum State<'a> {
    Open(Level<'a>),
    Settled(bool),
}

impl<'a> Sieve<'a> {
    pub fn new(ignore: &'a Ignore) -> Self {
        Self::from_top(ignore.top())
    }

    /// One in which a rule speaks of what it matches alone, not of what that holds: for finding, not for leaving out.
    pub fn exact(ignore: &'a Ignore) -> Self {
        let mut top = ignore.top();
        top.exact = true;
        Self::from_top(top)
    }

    fn from_top(top: Level<'a>) -> Self {
        Self {
            levels: vec![match top.may_differ(false) {
                true => State::Open(top),
                false => State::Settled(false),
            }],
        }
    }

    /// `path` lies in a directory that was judged before, and no path was judged in between that lies outside of it.
    pub fn judge(&mut self, path: &TreePath) -> Verdict {
        let depth = path.as_bytes().iter().filter(|b| **b == b'/').count();
        self.levels.truncate(depth + 1);
        let (matched, below) = match self.levels.last() {
            None => (false, State::Settled(false)),
            Some(State::Settled(matched)) => (*matched, State::Settled(*matched)),
            Some(State::Open(level)) => match level.enter(path) {
                (matched, Descend::No) => (matched, State::Settled(matched && !level.exact)),
                (matched, Descend::Yes(below)) => (matched, State::Open(below)),
            },
        };
        let settled = matches!(below, State::Settled(_));
        self.levels.push(below);
        Verdict { matched, settled }
    }

    /// As [`Sieve::judge`], of something that holds nothing.
    pub fn matches_file(&mut self, path: &TreePath) -> bool {
        let depth = path.as_bytes().iter().filter(|b| **b == b'/').count();
        self.levels.truncate(depth + 1);
        match self.levels.last() {
            None => false,
            Some(State::Settled(matched)) => *matched,
            Some(State::Open(level)) => level.excludes(path),
        }
    }
}

#[cfg(test)]
mod tests;
