//! Which instruction belongs to which component.

use std::collections::BTreeMap;

use crate::bindings::wit::instruction_types::Descriptor;
use crate::error::Refusal;

/// Keywords that a line-oriented build file keeps for itself.
const RESERVED: [&str; 3] = ["FROM", "ARG", "ONBUILD"];

/// Components are numbered in the order in which they define theirs.
#[derive(Default)]
pub(crate) struct Keywords {
    /// Names of the components.
    owners: Vec<String>,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    owner: usize,
    descriptor: Descriptor,
}

impl Keywords {
    /// Takes what the next component defines. `preferred` are keywords with the name of the component that is to have
    /// each, where several define it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Keyword`], [`Refusal::Reserved`], [`Refusal::KeywordTaken`].
    pub(crate) fn define(
        &mut self,
        name: &str,
        descriptors: Vec<Descriptor>,
        preferred: &[(String, String)],
    ) -> Result<(), Refusal> {
        let owner = self.owners.len();
        self.owners.push(name.to_owned());
        for descriptor in descriptors {
            let keyword = descriptor.keyword.clone();
            if !is_keyword(&keyword) {
                return Err(Refusal::Keyword(keyword));
            }
            if RESERVED.contains(&&*keyword) {
                return Err(Refusal::Reserved(keyword));
            }
            if let Some(taken) = self.entries.get(&keyword) {
                let has = &self.owners[taken.owner];
                let wanted = preferred.iter().find(|(of, _)| *of == keyword).map(|(_, name)| name);
                match wanted {
                    Some(wanted) if wanted == has => continue,
                    Some(wanted) if wanted == name => {}
                    _ => return Err(Refusal::KeywordTaken { keyword, owner: has.clone() }),
                }
            }
            self.entries.insert(keyword, Entry { owner, descriptor });
        }
        Ok(())
    }

    /// A preference for a component that does not have the keyword.
    pub(crate) fn unfulfilled(&self, preferred: &[(String, String)]) -> Option<(String, String)> {
        let has = |keyword: &str, name: &str| {
            self.entries.get(keyword).is_some_and(|entry| self.owners[entry.owner] == name)
        };
        preferred.iter().find(|(keyword, name)| !has(keyword, name)).cloned()
    }

    pub(crate) fn owner(&self, keyword: &str) -> Option<usize> {
        self.entries.get(keyword).map(|entry| entry.owner)
    }

    /// One for each keyword, sorted.
    pub(crate) fn known(&self) -> Vec<Descriptor> {
        self.entries.values().map(|entry| entry.descriptor.clone()).collect()
    }

    /// What to say about a keyword that nobody has.
    pub(crate) fn unknown(&self, keyword: &str) -> String {
        let near = nearest(keyword, self.entries.keys().map(String::as_str));
        let keyword: String = keyword.chars().take(LONGEST).collect();
        match near {
            Some(known) => format!("unknown instruction `{keyword}`; did you mean `{known}`?"),
            None => format!("unknown instruction `{keyword}`"),
        }
    }
}

/// Longer words are not shown whole, and nothing is near to them.
const LONGEST: usize = 64;

/// Of `known`, what somebody who wrote `word` most likely meant.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > LONGEST {
        return None;
    }
    let far = |known: &str| known.len().min(word.len()).saturating_sub(1).min(2);
    known
        .map(|known| (distance(word, known), known))
        .filter(|(distance, known)| *distance <= far(known))
        .min()
        .map(|(_, known)| known)
}

/// `[A-Z][A-Z0-9_]*`.
fn is_keyword(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Letters to be changed, added, taken away or swapped with their neighbour to get from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut best =
                (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::wit::instruction_types::{ArgumentForm, HeredocForm, Split};

    fn descriptors(keywords: &[&str]) -> Vec<Descriptor> {
        let descriptor = |keyword: &&str| Descriptor {
            keyword: (*keyword).to_owned(),
            summary: String::new(),
            usage: String::new(),
            form: ArgumentForm { split: Split::Whole, json: false, expand: false },
            heredocs: HeredocForm::Refused,
            flag_specs: Vec::new(),
            traits: Vec::new(),
        };
        keywords.iter().map(descriptor).collect()
    }

    fn built_in() -> Keywords {
        let mut keywords = Keywords::default();
        keywords.define("instructions", descriptors(&["RUN", "COPY"]), &[]).expect("keywords");
        keywords
    }

    fn prefer(name: &str) -> Vec<(String, String)> {
        vec![("RUN".to_owned(), name.to_owned())]
    }

    #[test]
    fn each_keyword_has_its_owner() {
        let mut keywords = built_in();
        keywords.define("apt", descriptors(&["APT"]), &[]).expect("keywords");
        assert_eq!(
            [keywords.owner("COPY"), keywords.owner("APT"), keywords.owner("X")],
            [Some(0), Some(1), None]
        );
        let known: Vec<_> = keywords.known().into_iter().map(|descriptor| descriptor.keyword).collect();
        assert_eq!(known, ["APT", "COPY", "RUN"]);
    }

    #[test]
    fn a_keyword_is_taken_over_only_when_the_user_says_so() {
        assert!(matches!(
            built_in().define("fast", descriptors(&["RUN"]), &[]),
            Err(Refusal::KeywordTaken { keyword, owner }) if keyword == "RUN" && owner == "instructions"
        ));
        let mut keywords = built_in();
        keywords.define("fast", descriptors(&["RUN"]), &prefer("fast")).expect("keywords");
        assert_eq!((keywords.owner("RUN"), keywords.unfulfilled(&prefer("fast"))), (Some(1), None));
        let mut keywords = built_in();
        keywords.define("fast", descriptors(&["RUN"]), &prefer("instructions")).expect("keywords");
        assert_eq!((keywords.owner("RUN"), keywords.unfulfilled(&prefer("instructions"))), (Some(0), None));
        assert_eq!(built_in().unfulfilled(&prefer("fast")), Some(("RUN".to_owned(), "fast".to_owned())));
    }

    #[test]
    fn keywords_that_cannot_be_are_refused() {
        for word in ["run", "", "1A", "A-B", "É"] {
            assert!(
                matches!(built_in().define("a", descriptors(&[word]), &[]), Err(Refusal::Keyword(_))),
                "{word}"
            );
        }
        for word in RESERVED {
            assert!(
                matches!(built_in().define("a", descriptors(&[word]), &[]), Err(Refusal::Reserved(_))),
                "{word}"
            );
        }
        assert!(matches!(
            built_in().define("twice", descriptors(&["A", "A"]), &[]),
            Err(Refusal::KeywordTaken { owner, .. }) if owner == "twice"
        ));
    }

    #[test]
    fn what_comes_near_is_suggested() {
        let told = |keyword| built_in().unknown(keyword);
        assert_eq!(told("CPOY"), "unknown instruction `CPOY`; did you mean `COPY`?");
        assert_eq!(told("RUNN"), "unknown instruction `RUNN`; did you mean `RUN`?");
        assert_eq!(told("XYZ"), "unknown instruction `XYZ`");
        assert_eq!(told(""), "unknown instruction ``");
    }

    #[test]
    fn a_swapped_or_missing_letter_is_one_step() {
        assert_eq!(distance("COPY", "COPY"), 0);
        assert_eq!(distance("CPOY", "COPY"), 1);
        assert_eq!(distance("COPPY", "COPY"), 1);
        assert_eq!(distance("RUN", "COPY"), 4);
        assert_eq!(distance("", "COPY"), 4);
    }
}
