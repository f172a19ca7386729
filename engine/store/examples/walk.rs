//! Measures what the store makes of a large context: `walk <directory> [files]`.
//!
//! An empty or missing directory is first filled with that many files. Give one on tmpfs: see docs/reference/store.md.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use kiln_core::ignore::Ignore;
use kiln_core::{Kind, TreePath};
use kiln_store::{OwnerMapping, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let root = PathBuf::from(args.next().ok_or("give a directory")?);
    let files: usize = match args.next() {
        Some(count) => count.to_string_lossy().parse()?,
        None => 50_000,
    };
    let context = root.join("context");
    if !context.exists() {
        for at in 0..files {
            let directory = context.join(format!("{}/{}", at / 1000, at / 12 % 84));
            fs::create_dir_all(&directory)?;
            fs::write(directory.join(format!("source-{at}.rs")), vec![b'x'; 100 + at * 37 % 16_000])?;
        }
    }
    let ignore = Ignore::parse(b"target\n**/*.o\n!keep.o\n")?;
    for round in ["first", "second", "third"] {
        let start = Instant::now();
        let store = Store::open(&root.join("store"), OwnerMapping::Root)?;
        let opened = start.elapsed();
        let index = store.context(&context)?;
        let tree = index.walk(0, &ignore)?;
        let walked = start.elapsed();
        let unknown: Vec<TreePath> = tree
            .entries()
            .iter()
            .filter(|(_, entry)| matches!(&entry.kind, Kind::File(file) if file.content.digest.is_none()))
            .map(|(path, _)| path.clone())
            .collect();
        let named = index.name_all(&unknown)?;
        let hashed = start.elapsed();
        index.save()?;
        println!(
            "{round}: opened {opened:.1?}, {} entries walked after {walked:.1?}, {} files read after {hashed:.1?}, \
             all {:.1?}",
            tree.len(),
            named.len(),
            start.elapsed()
        );
    }
    let status = fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
