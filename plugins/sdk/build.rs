//! Encodes each world of the contract the way the component linker wants to find it in an object file.
//!
//! `wit_bindgen::generate!` ties the encoding of a world to bindings of its own. The SDK has one set of bindings for
//! all worlds, so that types are shared, and puts the encoding beside the exports that a plugin picks.

use std::{env, error::Error, fs, path::Path};

use wit_component::{StringEncoding, metadata};
use wit_parser::Resolve;

/// Combinations that `worlds.wit` has no name for.
const OWN_WORLDS: &str = "
    package kiln:sdk;

    world checking-frontend-plugin {
        include kiln:plugin/frontend-plugin@0.1.0;
        export kiln:plugin/frontend-check@0.1.0;
        export kiln:plugin/frontend-outline@0.1.0;
    }

    world detecting-frontend-plugin {
        include kiln:plugin/frontend-plugin@0.1.0;
        export kiln:plugin/frontend-check@0.1.0;
        export kiln:plugin/frontend-outline@0.1.0;
        export kiln:plugin/frontend-detect@0.1.0;
    }

    world composing-frontend-plugin {
        include kiln:plugin/frontend-plugin@0.1.0;
        export kiln:plugin/frontend-check@0.1.0;
        export kiln:plugin/frontend-detect@0.1.0;
        export kiln:plugin/derive@0.1.0;
    }

    world ejecting-frontend-plugin {
        include kiln:plugin/frontend-plugin@0.1.0;
        export kiln:plugin/frontend-check@0.1.0;
        export kiln:plugin/frontend-outline@0.1.0;
        export kiln:plugin/frontend-detect@0.1.0;
        export kiln:plugin/frontend-eject@0.1.0;
    }

    world deriving-frontend-plugin {
        include kiln:plugin/frontend-plugin@0.1.0;
        export kiln:plugin/derive@0.1.0;
    }
";

fn main() -> Result<(), Box<dyn Error>> {
    let contract = Path::new("../../wit");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", contract.display());
    let out = env::var("OUT_DIR")?;

    let mut resolve = Resolve::default();
    resolve.push_dir(contract)?;
    resolve.push_str("worlds of the SDK", OWN_WORLDS)?;
    for (id, world) in resolve.worlds.iter() {
        let bytes = metadata::encode(&resolve, id, StringEncoding::UTF8, None)?;
        fs::write(Path::new(&out).join(format!("{}.world", world.name)), bytes)?;
    }
    Ok(())
}
