//! Lists of names and of named values that know by hash where a name is: a file of thousands of variables, labels and
//! ports costs the same for each of them.

use kiln_sdk::wit::types::Pair;

/// Named values in order of definition. A new value of an old name takes the old place.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pairs: Vec<Pair>,
    index: Index,
}

impl Environment {
    /// Values of one name become one, the last, in the place of the first.
    pub fn of(pairs: Vec<Pair>) -> Self {
        let mut environment = Environment::default();
        for pair in pairs {
            environment.set(pair);
        }
        environment
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.place(name).map(|at| self.pairs[at].value.as_str())
    }

    pub fn set(&mut self, pair: Pair) {
        match self.place(&pair.key) {
            Some(at) => self.pairs[at].value = pair.value,
            None => {
                self.pairs.push(pair);
                self.index.note(self.pairs.len() - 1, |at| &self.pairs[at].key);
            }
        }
    }

    /// [`Environment::set`] for what belongs to somebody else.
    pub fn set_to(&mut self, name: &str, value: &str) {
        match self.place(name) {
            Some(at) => value.clone_into(&mut self.pairs[at].value),
            None => self.set(Pair { key: name.to_owned(), value: value.to_owned() }),
        }
    }

    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Names and values together.
    pub fn bytes(&self) -> usize {
        self.pairs.iter().map(|pair| pair.key.len() + pair.value.len()).sum()
    }

    pub fn into_pairs(self) -> Vec<Pair> {
        self.pairs
    }

    /// Gives the pairs away without a copy; they have to come back through [`Environment::take_back`].
    pub fn lend(&mut self) -> Vec<Pair> {
        std::mem::take(&mut self.pairs)
    }

    pub fn take_back(&mut self, pairs: Vec<Pair>) {
        self.pairs = pairs;
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|pair| pair.key.as_str())
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.index.find(name, |at| &self.pairs[at].key)
    }
}

/// Names in the order in which they were first added.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Vec<String>,
    index: Index,
}

impl Names {
    pub fn of(names: Vec<String>) -> Self {
        let mut all = Names::default();
        for name in names {
            all.add(&name);
        }
        all
    }

    pub fn contains(&self, name: &str) -> bool {
        self.index.find(name, |at| &self.names[at]).is_some()
    }

    pub fn add(&mut self, name: &str) {
        if !self.contains(name) {
            self.names.push(name.to_owned());
            self.index.note(self.names.len() - 1, |at| &self.names[at]);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub fn into_vec(self) -> Vec<String> {
        self.names
    }

    /// Gives the names away without a copy; they have to come back through [`Names::take_back`].
    pub fn lend(&mut self) -> Vec<String> {
        std::mem::take(&mut self.names)
    }

    pub fn take_back(&mut self, names: Vec<String>) {
        self.names = names;
    }
}

/// Where names are in a list, found by their hash. Holds no name itself.
#[derive(Clone, Debug, Default)]
struct Index {
    /// A place plus one, or 0 for none. As many as a power of two, at most three quarters of them taken.
    slots: Vec<u32>,
}

impl Index {
    fn find<'n>(&self, name: &str, named: impl Fn(usize) -> &'n String) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.first(name);
        while let Some(at) = self.slots[slot].checked_sub(1) {
            if named(at as usize) == name {
                return Some(at as usize);
            }
            slot = (slot + 1) % self.slots.len();
        }
        None
    }

    /// Takes up the name at `at`, the last of the list, which is not there yet.
    fn note<'n>(&mut self, at: usize, named: impl Fn(usize) -> &'n String) {
        if (at + 1) * 4 > self.slots.len() * 3 {
            self.slots = vec![0; (self.slots.len() * 2).max(16)];
            for earlier in 0..at {
                self.put(earlier, named(earlier));
            }
        }
        self.put(at, named(at));
    }

    fn put(&mut self, at: usize, name: &str) {
        let mut slot = self.first(name);
        while self.slots[slot] != 0 {
            slot = (slot + 1) % self.slots.len();
        }
        self.slots[slot] = at as u32 + 1;
    }

    /// The slot at which to begin.
    fn first(&self, name: &str) -> usize {
        // FNV-1a, and its upper half folded in: numbered names differ in their last bytes only.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash ^ (hash >> 32)) as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_keeps_places() {
        let mut environment = Environment::default();
        environment.set_to("a", "1");
        environment.set_to("b", "2");
        environment.set_to("a", "3");
        let pairs = environment.lend();
        assert_eq!(pairs.iter().map(|pair| pair.value.as_str()).collect::<Vec<_>>(), ["3", "2"]);
        environment.take_back(pairs);
        assert_eq!((environment.value("b"), environment.value("c")), (Some("2"), None));
    }

    #[test]
    fn thousands_of_names_are_found_again() {
        let mut names = Names::default();
        let name = |number: usize| format!("NAME_{number}");
        for number in (0..3_000).chain(0..3_000) {
            names.add(&name(number));
        }
        assert!((0..3_000).all(|number| names.contains(&name(number))));
        assert!(!names.contains(&name(3_000)) && !names.contains(""));
        assert!(names.into_vec().into_iter().eq((0..3_000).map(name)));
    }
}
