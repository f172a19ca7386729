//! Image configurations, in both directions.

use kiln_core::{Healthcheck, ImageConfig};

use super::{Fault, duration, pairs, text, texts, told_pairs};
use crate::bindings::wit::types as wit;

/// # Errors
///
/// For a duration that is none, a name that is empty, a string that is too long.
pub(crate) fn read(config: wit::ImageConfig) -> Result<ImageConfig, Fault> {
    let optional = |field, list: Option<Vec<String>>| list.map(|list| texts(field, list)).transpose();
    Ok(ImageConfig {
        user: text("user", config.user)?,
        working_dir: text("working directory", config.working_dir)?,
        env: pairs("environment", config.env)?,
        entrypoint: optional("entrypoint", config.entrypoint)?,
        cmd: optional("command", config.cmd)?,
        exposed_ports: texts("exposed port", config.exposed_ports)?,
        volumes: texts("volume", config.volumes)?,
        labels: pairs("labels", config.labels)?,
        stop_signal: text("stop signal", config.stop_signal)?,
        shell: texts("shell", config.shell)?,
        healthcheck: config.healthcheck.map(read_healthcheck).transpose()?,
        on_build: texts("trigger", config.on_build)?,
        args_escaped: config.args_escaped,
        author: text("author", config.author)?,
        other_json: text("rest of the configuration", config.other_json)?,
    })
}

fn read_healthcheck(check: wit::Healthcheck) -> Result<Healthcheck, Fault> {
    let at = |name: &'static str| move |fault: Fault| fault.at(format!("health check, {name}"));
    Ok(Healthcheck {
        test: texts("health check", check.test)?,
        interval_ns: duration::read(&check.interval).map_err(at("interval"))?,
        timeout_ns: duration::read(&check.timeout).map_err(at("timeout"))?,
        start_period_ns: duration::read(&check.start_period).map_err(at("start period"))?,
        start_interval_ns: duration::read(&check.start_interval).map_err(at("start interval"))?,
        retries: check.retries,
    })
}

pub(crate) fn tell(config: ImageConfig) -> wit::ImageConfig {
    wit::ImageConfig {
        user: config.user,
        working_dir: config.working_dir,
        env: told_pairs(&config.env),
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        exposed_ports: config.exposed_ports,
        volumes: config.volumes,
        labels: told_pairs(&config.labels),
        stop_signal: config.stop_signal,
        shell: config.shell,
        healthcheck: config.healthcheck.map(|check| wit::Healthcheck {
            test: check.test,
            interval: duration::write(check.interval_ns),
            timeout: duration::write(check.timeout_ns),
            start_period: duration::write(check.start_period_ns),
            start_interval: duration::write(check.start_interval_ns),
            retries: check.retries,
        }),
        on_build: config.on_build,
        args_escaped: config.args_escaped,
        author: config.author,
        other_json: config.other_json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_goes_out_and_comes_back_the_same() {
        let config = ImageConfig {
            user: "app".to_owned(),
            env: vec![("PATH".to_owned(), "/bin".to_owned()), ("EMPTY".to_owned(), String::new())],
            cmd: Some(Vec::new()),
            labels: vec![("a".to_owned(), "b".to_owned())],
            healthcheck: Some(Healthcheck {
                test: vec!["CMD".to_owned(), "true".to_owned()],
                interval_ns: 1_500_000_001,
                retries: 3,
                ..Healthcheck::default()
            }),
            other_json: r#"{"config":{"Domainname":"x"}}"#.to_owned(),
            ..ImageConfig::default()
        };
        assert_eq!(read(tell(config.clone())), Ok(config));
    }
}
