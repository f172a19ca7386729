//! Matches the shell patterns of `${v#p}`, `${v%p}` and `${v/p/r}` (§7.4) in time linear in the value.
//!
//! A pattern knows `*` and `?`, neither of which matches a newline. It is run as a set of states, one bit each: bit n
//! says that n items have been matched.

use std::collections::BTreeMap;
use std::ops::Range;

/// A pattern, ready to be matched.
#[derive(Debug)]
pub struct Pattern {
    items: Vec<Item>,
    /// `stars[n]`: a `*` stands before item n, or at the end for `n == items.len()`.
    stars: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    Char(char),
    /// `?`
    Any,
}

/// `\x` where `x` is none of `*`, `?`, `\`, `/`, `}`; nothing when the pattern ends in `\`.
#[derive(Debug, PartialEq)]
pub struct BadEscape(pub Option<char>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// An escape that patterns do not know.
    pub fn read(text: &str) -> Result<Self, BadEscape> {
        let mut pattern = Pattern { items: Vec::new(), stars: vec![false] };
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let item = match c {
                '*' => {
                    pattern.stars[pattern.items.len()] = true;
                    continue;
                }
                '?' => Item::Any,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '/' | '}')) => Item::Char(c),
                    other => return Err(BadEscape(other)),
                },
                c => Item::Char(c),
            };
            pattern.items.push(item);
            pattern.stars.push(false);
        }
        Ok(pattern)
    }

    fn reversed(&self) -> Pattern {
        Pattern {
            items: self.items.iter().rev().copied().collect(),
            stars: self.stars.iter().rev().copied().collect(),
        }
    }

    /// `value` without the shortest or longest prefix that matches.
    pub fn trim_prefix<'v>(&self, value: &'v str, longest: bool) -> &'v str {
        let mut machine = Machine::new(self);
        let end = machine.prefix(value.char_indices().map(|(at, c)| (at + c.len_utf8(), c)), longest);
        end.map_or(value, |end| &value[end..])
    }

    /// `value` without the shortest or longest suffix that matches.
    pub fn trim_suffix<'v>(&self, value: &'v str, longest: bool) -> &'v str {
        let reversed = self.reversed();
        let mut machine = Machine::new(&reversed);
        let length = value.len();
        let taken = machine.prefix(value.char_indices().rev().map(|(at, c)| (length - at, c)), longest);
        taken.map_or(value, |taken| &value[..length - taken])
    }

    /// The leftmost matches, longest first, that do not overlap: all, or the first.
    ///
    /// As with Go's regular expressions, an empty match right behind another match does not count.
    pub fn find(&self, value: &str, all: bool) -> Vec<Range<usize>> {
        let starts = self.starts(value);
        let mut machine = Machine::new(self);
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        loop {
            if starts.contains_bit(at) {
                let rest = value[at..].char_indices().map(|(offset, c)| (offset + c.len_utf8(), c));
                let length = machine.prefix(rest, true).unwrap_or(0);
                let adjacent = length == 0 && found.last().is_some_and(|last| last.end == at);
                if !adjacent {
                    found.push(at..at + length);
                    if !all {
                        return found;
                    }
                }
                if length > 0 {
                    at += length;
                    continue;
                }
            }
            match value[at..].chars().next() {
                Some(c) => at += c.len_utf8(),
                None => return found,
            }
        }
    }

    /// The offsets at which some match begins: the pattern run backwards, begun anew everywhere.
    fn starts(&self, value: &str) -> Bits {
        let reversed = self.reversed();
        let mut machine = Machine::new(&reversed);
        let mut starts = Bits::new(value.len() + 1);
        machine.begin();
        if machine.accepts() {
            starts.set(value.len());
        }
        for (at, c) in value.char_indices().rev() {
            machine.step(c);
            machine.states.set(0);
            if machine.accepts() {
                starts.set(at);
            }
        }
        starts
    }
}

/// A set of small numbers.
struct Bits(Vec<u64>);

impl Bits {
    fn new(size: usize) -> Self {
        Bits(vec![0; size.div_ceil(64)])
    }

    fn set(&mut self, bit: usize) {
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    fn contains_bit(&self, bit: usize) -> bool {
        self.0[bit / 64] >> (bit % 64) & 1 == 1
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

struct Machine {
    count: usize,
    states: Bits,
    /// Bit n+1 for each item n that the character matches; `?` is in each.
    by_char: BTreeMap<char, Bits>,
    any: Bits,
    /// States that a character other than a newline does not leave.
    stars: Bits,
}

impl Machine {
    fn new(pattern: &Pattern) -> Self {
        let count = pattern.items.len();
        let mut any = Bits::new(count + 1);
        let mut stars = Bits::new(count + 1);
        let mut by_char = BTreeMap::new();
        for (index, item) in pattern.items.iter().enumerate() {
            match item {
                Item::Any => any.set(index + 1),
                Item::Char(c) => by_char.entry(*c).or_insert_with(|| Bits::new(count + 1)).set(index + 1),
            }
        }
        for (index, star) in pattern.stars.iter().enumerate() {
            if *star {
                stars.set(index);
            }
        }
        Machine { count, states: Bits::new(count + 1), by_char, any, stars }
    }

    fn begin(&mut self) {
        self.states.0.fill(0);
        self.states.set(0);
    }

    fn accepts(&self) -> bool {
        self.states.contains_bit(self.count)
    }

    fn step(&mut self, c: char) {
        let literal = self.by_char.get(&c);
        let line = c != '\n';
        let mut carry = 0;
        for word in 0..self.states.0.len() {
            let now = self.states.0[word];
            let shifted = now << 1 | carry;
            carry = now >> 63;
            let mut matching = literal.map_or(0, |bits| bits.0[word]);
            let mut staying = 0;
            if line {
                matching |= self.any.0[word];
                staying = now & self.stars.0[word];
            }
            self.states.0[word] = shifted & matching | staying;
        }
    }

    /// How much of the text, as its own offsets say, the shortest or longest match from its begin takes.
    fn prefix(&mut self, text: impl Iterator<Item = (usize, char)>, longest: bool) -> Option<usize> {
        self.begin();
        let mut found = self.accepts().then_some(0);
        for (end, c) in text {
            if found.is_some() && !longest || self.states.is_empty() {
                break;
            }
            self.step(c);
            if self.accepts() {
                found = Some(end);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::read(text).unwrap()
    }

    #[test]
    fn prefixes_and_suffixes() {
        for (p, value, short, long) in [
            ("a", "abc", "bc", "bc"),
            ("*b", "abab", "ab", ""),
            ("?", "éa", "a", "a"),
            ("*", "abc", "abc", ""),
            ("x", "abc", "abc", "abc"),
            ("", "abc", "abc", "abc"),
            ("*", "a\nb", "a\nb", "\nb"),
            ("\\*", "*a", "a", "a"),
            ("*.", "a.b.c", "b.c", "c"),
            ("[a]", "[a]b", "b", "b"),
        ] {
            assert_eq!(pattern(p).trim_prefix(value, false), short, "{value}#{p}");
            assert_eq!(pattern(p).trim_prefix(value, true), long, "{value}##{p}");
        }
        for (p, value, short, long) in [
            (".*", "a.b.c", "a.b", "a"),
            ("c", "abc", "ab", "ab"),
            ("/*", "a/b/c", "a/b", "a"),
            ("*", "abc", "abc", ""),
            ("é?", "aéb", "a", "a"),
        ] {
            assert_eq!(pattern(p).trim_suffix(value, false), short, "{value}%{p}");
            assert_eq!(pattern(p).trim_suffix(value, true), long, "{value}%%{p}");
        }
    }

    #[test]
    fn matches_are_leftmost_longest() {
        type Places = &'static [(usize, usize)];
        let cases: [(&str, &str, Places); 8] = [
            ("a", "banana", &[(1, 2), (3, 4), (5, 6)]),
            ("a*n", "banana", &[(1, 5)]),
            ("?", "é\na", &[(0, 2), (3, 4)]),
            ("*", "abc", &[(0, 3)]),
            ("*", "", &[(0, 0)]),
            ("", "ab", &[(0, 0), (1, 1), (2, 2)]),
            ("aa", "aaaaa", &[(0, 2), (2, 4)]),
            ("x*", "aXxbx\nx", &[(2, 5), (6, 7)]),
        ];
        for (p, value, expected) in cases {
            let find = |all| pattern(p).find(value, all).into_iter().map(|range| (range.start, range.end));
            assert_eq!(find(true).collect::<Vec<_>>(), expected, "{value}//{p}");
            assert_eq!(find(false).collect::<Vec<_>>(), expected[..1], "{value}/{p}");
        }
        assert_eq!(pattern("z").find("abc", true), []);
    }

    #[test]
    fn unknown_escapes_are_refused() {
        assert_eq!(Pattern::read("\\n").unwrap_err(), BadEscape(Some('n')));
        assert_eq!(Pattern::read("a\\").unwrap_err(), BadEscape(None));
        assert_eq!(pattern("\\/\\}\\\\").trim_prefix("/}\\a", true), "a");
    }

    #[test]
    fn hostile_patterns_take_linear_time() {
        let value = "a".repeat(60_000);
        let hostile = pattern(&"*a".repeat(200));
        assert_eq!(hostile.trim_prefix(&value, true), "");
        assert_eq!(pattern("*a*a*b").find(&value, true), []);
    }
}
