//! Keeps the two lists of a configuration that grow line by line out of what travels to plugins and back.
//!
//! A file of thousands of ENV and LABEL lines would otherwise be copied as a whole for each of them. An instruction whose
//! descriptor has the trait [`ADDS_ONLY`] gets the lists empty, and what it returns in them is added.

use kiln_sdk::wit::types::{ImageConfig, Pair};

use crate::scope::Environment;

/// `stage.config` comes without `env` and `labels`, and what the outcome's configuration has there is set over what is
/// there already.
pub const ADDS_ONLY: &str = "adds-only";

/// `env` and `labels` of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    env: Environment,
    labels: Environment,
}

impl Lists {
    /// Takes the lists out of `config`.
    pub fn of(config: &mut ImageConfig) -> Self {
        let mut lists = Lists::default();
        lists.replace(config);
        lists
    }

    /// Puts the lists into `config` for as long as a plugin looks at it, without a copy.
    pub fn lend(&mut self, config: &mut ImageConfig) {
        config.env = self.env.lend();
        config.labels = self.labels.lend();
    }

    /// Ends [`Lists::lend`].
    pub fn take_back(&mut self, config: &mut ImageConfig) {
        self.env.take_back(std::mem::take(&mut config.env));
        self.labels.take_back(std::mem::take(&mut config.labels));
    }

    /// Puts the lists into `config` for good.
    pub fn give(mut self, config: &mut ImageConfig) {
        self.lend(config);
    }

    /// Sets what `config` has in its lists, and empties them. Gives the variables.
    pub fn add(&mut self, config: &mut ImageConfig) -> Vec<Pair> {
        for pair in std::mem::take(&mut config.labels) {
            self.labels.set(&pair.key, &pair.value);
        }
        let added = std::mem::take(&mut config.env);
        for pair in &added {
            self.env.set(&pair.key, &pair.value);
        }
        added
    }

    /// Takes the lists of `config` in place of these. Gives the variables that are new or different.
    pub fn replace(&mut self, config: &mut ImageConfig) -> Vec<Pair> {
        let old = std::mem::take(self);
        let added = self.add(config);
        added.into_iter().filter(|pair| old.env.value(&pair.key) != Some(pair.value.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> Pair {
        Pair { key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn lists_come_back_in_order_with_new_values_in_old_places() {
        let env = vec![pair("a", "1"), pair("b", "2")];
        let mut config = ImageConfig { env, labels: vec![pair("l", "1")], ..ImageConfig::default() };
        let mut lists = Lists::of(&mut config);
        assert!(config.env.is_empty() && config.labels.is_empty());
        let mut answer = ImageConfig { env: vec![pair("c", "3"), pair("a", "4")], ..ImageConfig::default() };
        assert_eq!(lists.add(&mut answer).len(), 2);
        lists.lend(&mut config);
        assert_eq!(config.env, [pair("a", "4"), pair("b", "2"), pair("c", "3")]);
        lists.take_back(&mut config);
        let mut whole = ImageConfig { env: vec![pair("b", "2"), pair("a", "5")], ..ImageConfig::default() };
        assert_eq!(lists.replace(&mut whole), [pair("a", "5")]);
        lists.give(&mut config);
        assert_eq!((config.env.len(), config.labels.len()), (2, 0));
    }
}
