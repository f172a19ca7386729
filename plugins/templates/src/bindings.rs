//! Writes what a plugin in C includes and links: functions and types of one world, and the world itself.

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

use crate::File;

/// The contract is not as the generator wants it.
#[derive(Debug, thiserror::Error)]
#[error("could not write bindings for the world `{world}`: {why}")]
pub struct BindingsError {
    world: String,
    why: String,
}

/// `plugin.h`, `plugin.c` and `plugin_component_type.o`, below `bindings/`.
pub(crate) fn c(contract: &str, world: &str) -> Result<Vec<File>, BindingsError> {
    let fail = |why: String| BindingsError { world: world.to_owned(), why };
    let mut resolve = Resolve::default();
    let package =
        resolve.push_str("kiln-plugin.wit", contract).map_err(|error| fail(format!("{error:#}")))?;
    let id = resolve.select_world(&[package], Some(world)).map_err(|error| fail(format!("{error:#}")))?;
    let options = wit_bindgen_c::Opts {
        rename_world: Some("plugin".to_owned()),
        // A tree that is lent has to be given back before the call ends, and nobody looks at one after it.
        autodrop_borrows: wit_bindgen_c::Enabled::Yes,
        ..Default::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, id, &mut files).map_err(|error| fail(format!("{error:#}")))?;
    let file = |(path, content): (&str, &[u8])| File {
        path: format!("bindings/{path}"),
        content: content.to_vec(),
        executable: false,
    };
    Ok(files.iter().map(file).collect())
}
