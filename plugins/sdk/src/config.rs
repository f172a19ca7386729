//! Changes a configuration as an instruction says.

use crate::wit::instruction_types::ConfigChange;
use crate::wit::types::{ImageConfig, Pair};

impl ImageConfig {
    /// Does what a change says. Looks through a list for what is there already, so whoever makes thousands of changes
    /// keeps an index.
    pub fn change(&mut self, change: ConfigChange) {
        match change {
            ConfigChange::User(user) => self.user = user,
            ConfigChange::WorkingDir(dir) => self.working_dir = dir,
            ConfigChange::Env(pair) => set(&mut self.env, pair),
            ConfigChange::Entrypoint(argv) => self.entrypoint = argv,
            ConfigChange::Cmd(argv) => self.cmd = argv,
            ConfigChange::ArgsEscaped(is_escaped) => self.args_escaped = is_escaped,
            ConfigChange::ExposedPort(port) => add(&mut self.exposed_ports, port),
            ConfigChange::Volume(path) => add(&mut self.volumes, path),
            ConfigChange::Label(pair) => set(&mut self.labels, pair),
            ConfigChange::StopSignal(signal) => self.stop_signal = signal,
            ConfigChange::Shell(argv) => self.shell = argv,
            ConfigChange::Healthcheck(check) => self.healthcheck = check,
            ConfigChange::OnBuild(line) => self.on_build.push(line),
            ConfigChange::Author(author) => self.author = author,
        }
    }
}

fn set(pairs: &mut Vec<Pair>, pair: Pair) {
    match pairs.iter_mut().find(|known| known.key == pair.key) {
        Some(known) => known.value = pair.value,
        None => pairs.push(pair),
    }
}

fn add(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_already_keeps_its_place() {
        let mut config = ImageConfig::default();
        let pair = |key: &str, value: &str| Pair { key: key.into(), value: value.into() };
        for change in [
            ConfigChange::Env(pair("a", "1")),
            ConfigChange::Env(pair("b", "2")),
            ConfigChange::Env(pair("a", "3")),
            ConfigChange::Label(pair("l", "1")),
            ConfigChange::ExposedPort("80/tcp".into()),
            ConfigChange::ExposedPort("53/udp".into()),
            ConfigChange::ExposedPort("80/tcp".into()),
            ConfigChange::Volume("/v".into()),
            ConfigChange::Volume("/v".into()),
            ConfigChange::OnBuild("RUN a".into()),
            ConfigChange::OnBuild("RUN a".into()),
            ConfigChange::Cmd(Some(vec!["sh".into()])),
            ConfigChange::Cmd(None),
        ] {
            config.change(change);
        }
        assert_eq!(config.env, [pair("a", "3"), pair("b", "2")]);
        assert_eq!(config.exposed_ports, ["80/tcp", "53/udp"]);
        assert_eq!((config.volumes.len(), config.on_build.len(), config.labels.len()), (1, 2, 1));
        assert_eq!(config.cmd, None);
    }
}
