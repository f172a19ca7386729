//! Makes a component of a core module that carries a description of its world, as C and other compilers write it.

use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::error::Refusal;
use crate::shape;

/// Custom sections in which generated bindings say what a module is meant to be.
const WORLD_SECTION: &str = "component-type";

/// A module cannot be made a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    #[error("the file is a component already")]
    Component,
    #[error(transparent)]
    Refused(Refusal),
    #[error(
        "the module does not say which world it is of (it has no custom section `{WORLD_SECTION}`); link the object \
         file `…_component_type.o` that was written with the bindings"
    )]
    NoWorld,
    #[error(
        "the module calls the system ({}); kiln offers no WASI: build it as a reactor that calls nothing of libc that \
         needs a system", .functions.join(", ")
    )]
    Wasi { functions: Vec<String> },
    #[error("the module does not fit the world that it names: {0}")]
    Unfit(String),
    #[error("the module is broken: {0}")]
    Broken(String),
}

/// Wraps `module`, a core WebAssembly module with a custom section `component-type…`, into a component. The same module
/// gives the same bytes.
///
/// # Errors
///
/// When `module` is something else, imports WASI, or lacks what its world wants.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    match shape::read(module) {
        Err(Refusal::CoreModule) => {}
        Ok(_) => return Err(ComponentizeError::Component),
        Err(refusal) => return Err(ComponentizeError::Refused(refusal)),
    }
    let mut has_world = false;
    let mut functions = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(broken)? {
            Payload::CustomSection(section) => has_world |= section.name().starts_with(WORLD_SECTION),
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(broken)?;
                    if import.module.starts_with("wasi") {
                        functions.push(format!("`{}`", import.name));
                    }
                }
            }
            _ => {}
        }
    }
    if !has_world {
        return Err(ComponentizeError::NoWorld);
    }
    if !functions.is_empty() {
        return Err(ComponentizeError::Wasi { functions });
    }
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| ComponentizeError::Unfit(format!("{error:#}")))
}

fn broken(error: wasmparser::BinaryReaderError) -> ComponentizeError {
    ComponentizeError::Broken(error.to_string())
}
