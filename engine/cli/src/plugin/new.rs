//! `kiln plugin new`: writes a project that becomes a plugin.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use kiln_templates::{Kind, Language, Name, Project};

use crate::exit::{CommandLine, Exit};
use crate::table;

#[derive(Debug, Args)]
pub struct NewArgs {
    /// What the plugin is asked for
    #[arg(long, value_enum)]
    pub kind: KindArg,
    /// What it is written in
    #[arg(long, value_enum, default_value = "rust")]
    pub lang: LanguageArg,
    /// What it is called [default: the directory's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Use the SDK for Rust in this directory instead of a copy of it
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<String>,
    /// Directory to write; made when it is not there
    #[arg(value_name = "DIR")]
    pub directory: std::path::PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    Frontend,
    Instruction,
    Policy,
    Transform,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LanguageArg {
    Rust,
    C,
    #[value(alias = "py")]
    Python,
    #[value(alias = "javascript")]
    Js,
}

pub fn run(args: &NewArgs) -> Result<Exit> {
    let language = match args.lang {
        LanguageArg::Rust => Language::Rust,
        LanguageArg::C => Language::C,
        LanguageArg::Python => Language::Python,
        LanguageArg::Js => Language::JavaScript,
    };
    let kind = match args.kind {
        KindArg::Frontend => Kind::Frontend,
        KindArg::Instruction => Kind::Instruction,
        KindArg::Policy => Kind::Policy,
        KindArg::Transform => Kind::Transform,
    };
    if let Some(sdk) = &args.sdk {
        check_sdk(sdk, language)?;
    }
    let name = name(args)?;
    let sdk =
        match &args.sdk {
            // The manifest has it relative to itself otherwise.
            Some(sdk) => {
                let sdk = fs::canonicalize(sdk).with_context(|| format!("could not find the SDK `{sdk}`"))?;
                let sdk = sdk.into_os_string().into_string();
                Some(sdk.map_err(|_| {
                    CommandLine(anyhow!("the directory of the SDK has a name that is not UTF-8"))
                })?)
            }
            None => None,
        };
    let project = Project { kind, language, name: &name, sdk: sdk.as_deref() };
    let files = project.files()?;
    let directory = &args.directory;
    is_free(directory)?;
    for file in &files {
        let path = directory.join(&file.path);
        write(&path, &file.content, file.executable)
            .with_context(|| format!("could not write `{}`", path.display()))?;
    }
    table::put(&format!(
        "{}: {} {} called {name}, {} files\n\nbuild it:\n    cd {}\n    {}\n    kiln plugin check {}\n",
        directory.display(),
        if kind == Kind::Instruction { "an" } else { "a" },
        kind.word(),
        files.len(),
        directory.display(),
        language.build_command(),
        language.component(&name),
    ))?;
    Ok(Exit::Built)
}

fn check_sdk(sdk: &str, language: Language) -> Result<(), CommandLine> {
    if language != Language::Rust {
        return Err(anyhow!("`--sdk` is for plugins in Rust").into());
    }
    if !Path::new(sdk).join("Cargo.toml").is_file() {
        return Err(anyhow!("`--sdk {sdk}`: there is no Cargo.toml in that directory").into());
    }
    Ok(())
}

fn name(args: &NewArgs) -> Result<Name, CommandLine> {
    if let Some(name) = &args.name {
        return name.parse().map_err(|error| anyhow::Error::from(error).into());
    }
    // `.` has no last part of its own.
    let named = args
        .directory
        .file_name()
        .map(|name| name.to_owned())
        .or_else(|| fs::canonicalize(&args.directory).ok()?.file_name().map(|name| name.to_owned()));
    named.and_then(|name| Name::near(&name.to_string_lossy())).ok_or_else(|| {
        anyhow!("`{}` gives no name for a plugin; say one with `--name`", args.directory.display()).into()
    })
}

/// Nothing that somebody wrote is written over: the directory is not there yet, or empty.
fn is_free(directory: &Path) -> Result<()> {
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => {
                let refusal = anyhow!("`{}` is not empty; give a new directory", directory.display());
                Err(CommandLine(refusal).into())
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(CommandLine(anyhow!("`{}` is not a directory", directory.display())).into())
        }
        Err(error) => Err(error).with_context(|| format!("could not read `{}`", directory.display())),
    }
}

fn write(path: &Path, content: &[u8], executable: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content)?;
    if executable {
        let mode = fs::metadata(path)?.permissions().mode();
        // Whoever may read it may run it.
        fs::set_permissions(path, fs::Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
    }
    Ok(())
}
