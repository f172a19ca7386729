//! From options, configuration and `kiln.toml` to the plugins that a build has.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use clap::Args;
use kiln_driver::{Driver, Grant, Origin, PluginSetup, PluginSource, PluginUse};

use crate::config::Config;
use crate::exit::CommandLine;
use crate::parse;
use crate::project::Project;

/// Options of `kiln build` about plugins.
#[derive(Debug, Default, Args)]
pub struct PluginArgs {
    /// Load a plugin, a WebAssembly component; may be repeated
    #[arg(long = "plugin", value_name = "[NAME=]FILE|oci://REF|builtin:NAME")]
    pub plugins: Vec<String>,

    /// Load a plugin that has to be a policy; may be repeated
    #[arg(long = "policy", value_name = "[NAME=]FILE|oci://REF")]
    pub policies: Vec<String>,

    /// Frontend to ask, by its name [default: as the build file says]
    #[arg(long, value_name = "NAME")]
    pub frontend: Option<String>,

    /// Give an instruction to a plugin, although another one defines it as well
    #[arg(long = "instruction", value_name = "KEYWORD=NAME")]
    pub instructions: Vec<String>,

    /// Set an option of a plugin, or of the frontend
    #[arg(long = "opt", value_name = "[PLUGIN.]NAME=VALUE")]
    pub options: Vec<String>,
}

impl PluginArgs {
    /// Options for whichever frontend is asked.
    ///
    /// # Errors
    ///
    /// [`CommandLine`].
    pub fn frontend_options(&self) -> Result<Vec<(String, String)>> {
        let options = self.options()?.into_iter().filter(|(plugin, _, _)| plugin.is_none());
        Ok(options.map(|(_, name, value)| (name, value)).collect())
    }

    /// Plugin or none, name, value.
    fn options(&self) -> Result<Vec<(Option<String>, String, String)>> {
        let read = |text: &String| {
            let (name, value) = parse::pair(text, "--opt")?;
            match name.split_once('.') {
                None => Ok((None, name, value)),
                Some((plugin, option)) if !plugin.is_empty() && !option.is_empty() => {
                    Ok((Some(plugin.to_owned()), option.to_owned(), value))
                }
                Some(_) => {
                    Err(anyhow!("`--opt {text}`: write PLUGIN.NAME=VALUE, or NAME=VALUE for the frontend"))
                }
            }
        };
        self.options.iter().map(|text| read(text).map_err(|error| CommandLine(error).into())).collect()
    }
}

/// From here on people hear what takes long about plugins.
pub fn tell(driver: &Driver) {
    driver.on_compiling(Arc::new(|name| tellln!("compiling plugin {name} (once)…")));
    driver.on_fetching(Arc::new(|name, bytes| {
        tellln!("fetching plugin {name} ({})…", parse::human_size(bytes));
    }));
}

/// Everything that was said. `allow` are the values of `--allow` that begin with `plugin.`.
///
/// # Errors
///
/// [`CommandLine`].
pub fn setup(config: &Config, project: &Project, args: &PluginArgs, allow: &[String]) -> Result<PluginSetup> {
    let mut setup = PluginSetup {
        uses: config.plugins.clone(),
        exemptions: config.exemptions.clone(),
        syntax_allow: config.syntax_allow.clone(),
        instructions: config.instructions.iter().map(|(a, b)| (a.clone(), b.clone())).collect(),
        ..PluginSetup::default()
    };
    for text in &args.plugins {
        setup.uses.push(plugin(text)?);
    }
    for text in &args.policies {
        setup.uses.push(PluginUse { as_policy: true, ..policy(text)? });
    }
    setup.uses.extend(project.plugins.iter().cloned());
    for text in allow {
        setup.grants.push(grant(text).map_err(CommandLine)?);
    }
    for (plugin, name, value) in args.options()? {
        if let Some(plugin) = plugin {
            setup.options.push((plugin, name, value));
        }
    }
    for text in &args.instructions {
        let (keyword, plugin) = parse::pair(text, "--instruction").map_err(CommandLine)?;
        let keyword = keyword.to_ascii_uppercase();
        setup.instructions.retain(|(known, _)| *known != keyword);
        setup.instructions.push((keyword, plugin));
    }
    if let Some(frontend) = &project.frontend
        && args.frontend.as_ref().is_none_or(|asked| asked == frontend)
    {
        setup.project_options = Some((frontend.clone(), project.options.clone()));
    }
    Ok(setup)
}

/// `[NAME=]FILE`, `[NAME=]oci://REFERENCE` or `[NAME=]builtin:NAME`.
///
/// # Errors
///
/// [`CommandLine`] when there is no such file.
pub fn plugin(text: &str) -> Result<PluginUse> {
    let (name, source) = match text.split_once('=') {
        Some((name, source)) if !name.contains('/') => (Some(name.to_owned()), source),
        _ => (None, text),
    };
    let source = if let Some(reference) = source.strip_prefix("oci://") {
        PluginSource::Registry(reference.to_owned())
    } else if let Some(name) = source.strip_prefix("builtin:") {
        PluginSource::Builtin(name.to_owned())
    } else {
        parse::named(Path::new(source), "the plugin")?;
        PluginSource::File(source.into())
    };
    Ok(PluginUse { name, ..PluginUse::new(source, Origin::CommandLine) })
}

/// As [`plugin`]. What `docker buildx build` takes under the same name is refused: to build what it forbids would be worse.
fn policy(text: &str) -> Result<PluginUse> {
    let of_docker = ["filename=", "reset=", "disabled=", "strict=", "log-level="];
    if text.ends_with(".rego") || of_docker.iter().any(|field| text.starts_with(field)) {
        return Err(CommandLine(anyhow!(
            "`--policy {text}`: kiln evaluates no Rego policies, and would build what this one forbids; a policy of kiln is \
             a WebAssembly component"
        ))
        .into());
    }
    plugin(text)
}

/// `plugin.CAPABILITY[:SCOPE]=NAME`.
fn grant(text: &str) -> Result<(String, Grant)> {
    let usage = |why: String| {
        anyhow!(
            "`--allow {text}`: {why}; write plugin.CAPABILITY=NAME, such as plugin.solve=debian or \
             plugin.context:app/**=debian"
        )
    };
    let rest = text.strip_prefix("plugin.").ok_or_else(|| usage("it names no plugin".to_owned()))?;
    let (grant, plugin) = rest
        .rsplit_once('=')
        .filter(|(_, plugin)| !plugin.is_empty())
        .ok_or_else(|| usage("it names no plugin".to_owned()))?;
    let grant = grant.parse().map_err(|error: kiln_driver::GrantError| usage(error.to_string()))?;
    Ok((plugin.to_owned(), grant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_name_capability_scope_and_plugin() {
        let read = |text: &str| grant(text).map(|(plugin, grant)| format!("{plugin} {grant}"));
        for (text, means) in [
            ("plugin.solve=debian", "debian solve"),
            ("plugin.solve:files=debian", "debian solve:files"),
            ("plugin.context:a=b/**=go", "go context:a=b/**"),
        ] {
            assert_eq!(read(text).unwrap(), means);
        }
        for text in ["plugin.solve", "plugin.solve=", "plugin.fly=x", "plugin.=x", "network.host"] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`--allow {text}`")) && error.contains("plugin.solve=debian"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_option_is_one_of_a_plugin_or_of_the_frontend() {
        let args = |options: &[&str]| PluginArgs {
            options: options.iter().map(|text| (*text).to_owned()).collect(),
            ..PluginArgs::default()
        };
        let given = args(&["port=1", "apt.mirror=http://x/y.z"]);
        assert_eq!(given.frontend_options().unwrap(), [("port".to_owned(), "1".to_owned())]);
        let setup = setup(&Config::default(), &Project::default(), &given, &[]).unwrap();
        assert_eq!(setup.options, [("apt".to_owned(), "mirror".to_owned(), "http://x/y.z".to_owned())]);
        for wrong in ["port", "=1", ".a=1", "a.=1"] {
            assert!(args(&[wrong]).options().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_decides_about_instructions() {
        let mut config = Config::default();
        config.instructions.insert("RUN".to_owned(), "site".to_owned());
        let args = PluginArgs { instructions: vec!["run=mine".to_owned()], ..PluginArgs::default() };
        let setup = setup(&config, &Project::default(), &args, &[]).unwrap();
        assert_eq!(setup.instructions, [("RUN".to_owned(), "mine".to_owned())]);
    }
}
