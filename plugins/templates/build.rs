//! Embeds the files of the templates, the sources of the SDK and the contract.

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the table, and the directory whose files it has.
const TABLES: [(&str, &str); 3] = [("TEMPLATES", "files"), ("SDK", "../sdk/src"), ("CONTRACT", "../../wit")];

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    let mut source = String::new();
    for (table, directory) in TABLES {
        let directory = here.join(directory);
        println!("cargo::rerun-if-changed={}", directory.display());
        let mut files = Vec::new();
        walk(&directory, &mut files)?;
        files.sort();
        writeln!(source, "static {table}: &[(&str, &str)] = &[")?;
        for file in files {
            let path = file.strip_prefix(&directory)?.to_str().ok_or("a path that is not UTF-8")?;
            let file = file.to_str().ok_or("a path that is not UTF-8")?;
            writeln!(source, "    ({path:?}, include_str!({file:?})),")?;
        }
        writeln!(source, "];")?;
    }
    let sdk_build = here.join("../sdk/build.rs");
    println!("cargo::rerun-if-changed={}", sdk_build.display());
    writeln!(source, "static SDK_BUILD: &str = include_str!({:?});", sdk_build.to_str().ok_or("not UTF-8")?)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("tables.rs"), source)?;
    Ok(())
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
