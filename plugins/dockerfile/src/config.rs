//! The configuration of a stage while its lines are evaluated, in a shape in which a change costs the same however many
//! came before.

use kiln_sdk::wit::instruction_types::ConfigChange;
use kiln_sdk::wit::types::{ImageConfig, Pair};

use crate::names::{Environment, Names};

/// An image configuration whose long lists are searched by hash.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// Without the lists below.
    rest: ImageConfig,
    env: Environment,
    labels: Environment,
    exposed_ports: Names,
    volumes: Names,
}

impl Configuration {
    pub fn of(mut config: ImageConfig) -> Self {
        Configuration {
            env: Environment::of(std::mem::take(&mut config.env)),
            labels: Environment::of(std::mem::take(&mut config.labels)),
            exposed_ports: Names::of(std::mem::take(&mut config.exposed_ports)),
            volumes: Names::of(std::mem::take(&mut config.volumes)),
            rest: config,
        }
    }

    pub fn into_whole(self) -> ImageConfig {
        ImageConfig {
            env: self.env.into_pairs(),
            labels: self.labels.into_pairs(),
            exposed_ports: self.exposed_ports.into_vec(),
            volumes: self.volumes.into_vec(),
            ..self.rest
        }
    }

    /// Gives all of it away without a copy; it has to come back through [`Configuration::take_back`].
    pub fn lend(&mut self) -> ImageConfig {
        ImageConfig {
            env: self.env.lend(),
            labels: self.labels.lend(),
            exposed_ports: self.exposed_ports.lend(),
            volumes: self.volumes.lend(),
            ..std::mem::take(&mut self.rest)
        }
    }

    pub fn take_back(&mut self, mut config: ImageConfig) {
        self.env.take_back(std::mem::take(&mut config.env));
        self.labels.take_back(std::mem::take(&mut config.labels));
        self.exposed_ports.take_back(std::mem::take(&mut config.exposed_ports));
        self.volumes.take_back(std::mem::take(&mut config.volumes));
        self.rest = config;
    }

    pub fn change(&mut self, change: ConfigChange) {
        match change {
            ConfigChange::Env(pair) => self.env.set(pair),
            ConfigChange::Label(pair) => self.labels.set(pair),
            ConfigChange::ExposedPort(port) => self.exposed_ports.add(&port),
            ConfigChange::Volume(path) => self.volumes.add(&path),
            other => self.rest.change(other),
        }
    }

    /// Takes `config` in place of this one. Gives the variables that are new or different.
    pub fn replace(&mut self, config: ImageConfig) -> Vec<Pair> {
        let old = std::mem::replace(self, Configuration::of(config));
        let changed = |pair: &&Pair| old.env.value(&pair.key) != Some(pair.value.as_str());
        self.env.pairs().iter().filter(changed).cloned().collect()
    }

    /// The variables of the image.
    pub fn env(&self) -> &Environment {
        &self.env
    }

    pub fn user(&self) -> &str {
        &self.rest.user
    }

    pub fn working_dir(&self) -> &str {
        &self.rest.working_dir
    }

    pub fn shell(&self) -> &[String] {
        &self.rest.shell
    }

    pub fn take_triggers(&mut self) -> Vec<String> {
        std::mem::take(&mut self.rest.on_build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> Pair {
        Pair { key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn changes_say_what_they_say_of_a_plain_configuration() {
        let mut plain = ImageConfig {
            env: vec![pair("a", "1"), pair("b", "2")],
            labels: vec![pair("l", "1")],
            exposed_ports: vec!["80/tcp".to_owned()],
            ..ImageConfig::default()
        };
        let mut config = Configuration::of(plain.clone());
        for change in [
            ConfigChange::Env(pair("a", "4")),
            ConfigChange::Env(pair("c", "3")),
            ConfigChange::Label(pair("l", "2")),
            ConfigChange::ExposedPort("80/tcp".to_owned()),
            ConfigChange::ExposedPort("90/tcp".to_owned()),
            ConfigChange::Volume("/v".to_owned()),
            ConfigChange::User("u".to_owned()),
            ConfigChange::OnBuild("RUN a".to_owned()),
        ] {
            plain.change(change.clone());
            config.change(change);
        }
        let lent = config.lend();
        assert_eq!(lent, plain);
        config.take_back(lent);
        assert_eq!((config.env().value("c"), config.user()), (Some("3"), "u"));
        assert_eq!(config.into_whole(), plain);
    }

    #[test]
    fn variables_that_a_new_configuration_changes_are_told() {
        let mut config = Configuration::of(ImageConfig {
            env: vec![pair("a", "1"), pair("b", "2")],
            ..ImageConfig::default()
        });
        let new = ImageConfig { env: vec![pair("b", "2"), pair("a", "5")], ..ImageConfig::default() };
        assert_eq!(config.replace(new.clone()), [pair("a", "5")]);
        assert_eq!(config.into_whole(), new);
    }
}
