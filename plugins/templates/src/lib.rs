//! Knows what a new plugin looks like in each language. Writes no file: it says what is to be in which.
//!
//! The files lie in `files/`, one directory for each language, in it one for each kind of plugin and `common`; what is
//! the same in every language lies in `files/shared`. Text in double braces is replaced. What else a project needs is
//! made here: the contract in one file, the SDK for Rust, bindings for C.
#![forbid(unsafe_code)]

mod bindings;
mod name;

use std::fmt;

pub use bindings::BindingsError;
pub use name::{Name, NameError};

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// What a plugin is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Frontend,
    Instruction,
    Policy,
    Transform,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Frontend, Self::Instruction, Self::Policy, Self::Transform];

    pub fn word(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Instruction => "instruction",
            Self::Policy => "policy",
            Self::Transform => "transform",
        }
    }

    /// The world of the contract that a plugin from the template is of.
    fn world(self) -> &'static str {
        match self {
            Self::Frontend => "reading-frontend-plugin",
            Self::Instruction => "instruction-plugin",
            Self::Policy => "exec-image-policy-plugin",
            Self::Transform => "transform-plugin",
        }
    }
}

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    C,
    Python,
    JavaScript,
}

impl Language {
    pub const ALL: [Self; 4] = [Self::Rust, Self::C, Self::Python, Self::JavaScript];

    pub fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Python => "python",
            Self::JavaScript => "js",
        }
    }

    /// What has to be typed in the project's directory.
    pub fn build_command(self) -> &'static str {
        match self {
            Self::Rust => "cargo build --release --target wasm32-unknown-unknown",
            Self::C => "make",
            Self::Python | Self::JavaScript => "./build",
        }
    }

    /// Where the component is then, from the project's directory.
    pub fn component(self, name: &Name) -> String {
        match self {
            Self::Rust => format!("target/wasm32-unknown-unknown/release/{}.wasm", name.snake()),
            Self::C | Self::Python | Self::JavaScript => format!("{name}.wasm"),
        }
    }
}

/// A plugin to be.
#[derive(Clone, Debug)]
pub struct Project<'a> {
    pub kind: Kind,
    pub language: Language,
    pub name: &'a Name,
    /// Directory of the SDK for Rust, when the project is not to have a copy of it.
    pub sdk: Option<&'a str>,
}

/// One file of a project.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Relative, with `/`.
    pub path: String,
    pub content: Vec<u8>,
    pub executable: bool,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.path, self.content.len())
    }
}

impl Project<'_> {
    /// Every file, sorted by path.
    ///
    /// # Errors
    ///
    /// When there can be no bindings for the contract, which would be a mistake in it.
    pub fn files(&self) -> Result<Vec<File>, BindingsError> {
        let mut files = Vec::new();
        let (language, kind) = (self.language.word(), self.kind.word());
        let mut directories = vec![format!("{language}/common/")];
        // Hooks of these kinds are lent trees, which the smaller tool for JavaScript does not give back in time.
        if self.language == Language::JavaScript && matches!(self.kind, Kind::Policy | Kind::Transform) {
            directories.push(format!("{language}/lent/"));
        }
        directories.extend([format!("{language}/{kind}/"), format!("shared/{kind}/")]);
        for directory in directories {
            for (path, text) in TEMPLATES {
                if let Some(path) = path.strip_prefix(&directory)
                    && path != ABOUT
                {
                    let file = file(unhidden(path), self.filled(text));
                    // The more special one counts.
                    files.retain(|known: &File| known.path != file.path);
                    files.push(file);
                }
            }
        }
        if !(self.language == Language::Rust && self.sdk.is_some()) {
            files.push(file("wit/kiln-plugin.wit", contract()));
        }
        match (self.language, self.sdk) {
            (Language::Rust, None) => {
                files.push(file("vendor/kiln-sdk/build.rs", SDK_BUILD.to_owned()));
                files
                    .extend(SDK.iter().map(|(path, text)| {
                        file(&format!("vendor/kiln-sdk/src/{path}"), (*text).to_owned())
                    }));
            }
            (Language::Rust, Some(_)) => files.retain(|file| !file.path.starts_with("vendor/")),
            (Language::C, _) => files.extend(bindings::c(&contract(), self.kind.world())?),
            (Language::Python | Language::JavaScript, _) => {}
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// A template with this project's words in it.
    fn filled(&self, text: &str) -> String {
        let about = format!("shared/{}/{ABOUT}", self.kind.word());
        let about = TEMPLATES.iter().find(|(path, _)| *path == about).map_or("", |(_, text)| *text);
        text.replace("{{about}}", about.trim_end())
            .replace("{{name}}", self.name.as_str())
            .replace("{{snake}}", &self.name.snake())
            .replace("{{KEYWORD}}", &self.name.keyword())
            .replace("{{kind}}", self.kind.word())
            .replace("{{world}}", self.kind.world())
            .replace("{{wasm}}", &self.language.component(self.name))
            .replace("{{sdk}}", self.sdk.unwrap_or("vendor/kiln-sdk"))
    }
}

/// Says in each language's README what a kind of plugin does; becomes no file of its own.
const ABOUT: &str = "about.md";

/// Names under which files would mean something to the tools that look at this repository.
fn unhidden(path: &str) -> &str {
    match path {
        "gitignore" => ".gitignore",
        "cargo/config.toml" => ".cargo/config.toml",
        path => path,
    }
}

fn file(path: &str, text: String) -> File {
    File { path: path.to_owned(), executable: text.starts_with("#!"), content: text.into_bytes() }
}

/// The contract in one file: some tools cannot read a directory.
pub fn contract() -> String {
    const PACKAGE: &str = "package kiln:plugin@0.1.0;\n";
    let mut text = PACKAGE.to_owned();
    for (_, interface) in CONTRACT {
        text.push('\n');
        text.push_str(interface.strip_prefix(PACKAGE).unwrap_or(interface).trim_start());
    }
    text
}

#[cfg(test)]
mod tests;
