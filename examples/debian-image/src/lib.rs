//! Composes images of Debian packages, without running anything: a frontend for kiln.
//!
//! The file says which packages of which suites; [`compose`] fetches what the suites consist of and writes down how the
//! image is made, [`layout`] does the second half once the packages are unpacked.

use kiln_sdk::plugin::{Check, Derive, Detect, Frontend, Plugin};
use kiln_sdk::wit::contexts;
use kiln_sdk::wit::derive::Derivation;
use kiln_sdk::wit::describe::{OptionKind, OptionSpec, PluginInfo};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult, Confidence, Detection};
use kiln_sdk::wit::trees::Tree;

use place::Text;
use recipe::Recipe;

mod compose;
pub mod control;
pub mod index;
mod layout;
pub mod place;
mod read;
pub mod recipe;
pub mod relation;
pub mod release;
pub mod resolve;
mod status;
pub mod version;

/// The component.
pub struct DebianImage;

kiln_sdk::export_composing_frontend!(DebianImage);

/// What the file is called unless the user says otherwise.
const FILE: &str = "debian.toml";

impl Plugin for DebianImage {
    fn describe() -> PluginInfo {
        let mut info = PluginInfo::new(
            "debian-image",
            env!("CARGO_PKG_VERSION"),
            "composes images of Debian packages",
        )
        .license("Apache-2.0")
        .example(
            "A shell, and what it needs",
            "packages = [\"bash\", \"coreutils\"]\n\n[[source]]\nsuite = \"bookworm\"\nrelease = \"any\"\n",
        );
        info.options.push(OptionSpec {
            name: "mirror".into(),
            summary: "where sources lie that name no mirror of their own".into(),
            kind: OptionKind::Text,
            preset: String::new(),
            choices: Vec::new(),
            sensitive: false,
            required: false,
        });
        info
    }
}

/// Name and text of the file.
fn file(request: &BuildRequest) -> Result<(String, String), Vec<Diagnostic>> {
    if !request.target.is_empty() {
        let message = format!("there is no target `{}`: the file describes one image", request.target);
        return Err(vec![Diagnostic::error("debian-target", message)]);
    }
    let name = if request.file.is_empty() { FILE } else { &request.file };
    let text = contexts::open_build_file().and_then(|tree| tree.read_text(name));
    let failed = |error: kiln_sdk::wit::types::HostError| {
        let help = format!("`-f FILE` names it; it is `{FILE}` otherwise");
        vec![Diagnostic::error("debian-file", error.message).help(help)]
    };
    Ok((name.to_owned(), text.map_err(failed)?))
}

impl Frontend for DebianImage {
    fn build(request: BuildRequest) -> Result<BuildResult, BuildFailure> {
        let (name, text) = file(&request)?;
        let file = Text { name: &name, text: &text };
        compose::build(&request, &Recipe::parse(file)?, file)
    }
}

impl Check for DebianImage {
    fn check(request: BuildRequest) -> Vec<Diagnostic> {
        match file(&request) {
            Ok((name, text)) => Recipe::parse(Text { name: &name, text: &text }).err().unwrap_or_default(),
            Err(found) => found,
        }
    }
}

impl Detect for DebianImage {
    fn detect(context: &Tree) -> Detection {
        match context.stat(FILE) {
            Ok(_) => Detection { confidence: Confidence::Certain, reason: format!("{FILE} found") },
            Err(_) => Detection::no(),
        }
    }
}

impl Derive for DebianImage {
    fn derive(task: String, inputs: Vec<Tree>) -> Result<Derivation, Vec<Diagnostic>> {
        layout::derive(&task, &inputs)
    }
}
