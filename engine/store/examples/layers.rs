//! Measures what steps and layers cost the store: `layers <directory> [files]`.
//!
//! The directory is filled and left behind. Give one on tmpfs: see docs/reference/store.md.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_core::seams::EntrySink as _;
use kiln_core::tree::{Content, File, Place};
use kiln_core::{Digest, Entry, FileDigest, Kind, LayerId, Tree, TreePath};
use kiln_store::{OwnerMapping, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let root = PathBuf::from(args.next().ok_or("give a directory")?);
    let files: usize = match args.next() {
        Some(count) => count.to_string_lossy().parse()?,
        None => 50_000,
    };
    let store = Store::open(&root, OwnerMapping::Root)?;

    let mut best = [Duration::MAX; 3];
    for round in 0..200 {
        let start = Instant::now();
        let step = store.begin_step()?;
        let begun = start.elapsed();
        fs::write(step.upper().join("file"), format!("{round} {:?}", std::time::SystemTime::now()))?;
        let start = Instant::now();
        step.commit(&[])?;
        let committed = start.elapsed();
        let start = Instant::now();
        store.begin_step()?.commit(&[])?;
        for (best, took) in best.iter_mut().zip([begun, committed, start.elapsed()]) {
            *best = took.min(*best);
        }
    }
    println!(
        "a step: begun in {:.1?}, committed in {:.1?}; one that did nothing {:.1?}",
        best[0], best[1], best[2]
    );

    let mut entries = Vec::new();
    for at in 0..files {
        let directory = TreePath::parse(format!("{}/{}", at / 1000, at / 12 % 84))?;
        for parent in [directory.parent().unwrap_or_default(), directory.clone()] {
            entries.push((parent, Entry::directory()));
        }
        let bytes: Arc<[u8]> = vec![at as u8; 100 + at * 37 % 16_000].into();
        let content = Content { digest: Some(FileDigest::of(&bytes)), place: Place::Inline(bytes.clone()) };
        let kind = Kind::File(File { size: bytes.len() as u64, content });
        entries
            .push((directory.join(format!("file-{at}")), Entry { kind, mode: 0o644, ..Entry::directory() }));
    }
    let tree = Tree::new(entries);
    let nowhere = |_: &Place, _: &TreePath| Err(std::io::Error::other("nothing lies outside"));

    let start = Instant::now();
    for directory in [false, true] {
        let start = Instant::now();
        let layer = LayerId(Digest::of(&[u8::from(directory)]));
        let mut unpacking = store.unpack(layer, directory)?;
        for (path, entry) in tree.entries() {
            let bytes = match &entry.kind {
                Kind::File(File { content: Content { place: Place::Inline(bytes), .. }, .. }) => &bytes[..],
                _ => &[],
            };
            unpacking.entry(path.clone(), entry.clone(), &mut &*bytes)?;
        }
        unpacking.finish()?;
        println!(
            "unpacked {} entries, with a directory: {directory}, in {:.1?}",
            tree.len(),
            start.elapsed()
        );
    }
    println!("both in {:.1?}", start.elapsed());

    let from = LayerId(Digest::of(&[1]));
    let mut elsewhere = tree;
    for (path, entry) in elsewhere.entries_mut() {
        entry.uid += 1;
        if let Kind::File(file) = &mut entry.kind {
            file.content.place = Place::Layer { layer: from, path: path.clone() };
        }
    }
    for same in [false, true] {
        if same {
            elsewhere.entries_mut().for_each(|(_, entry)| entry.uid -= 1);
        }
        let layer = elsewhere.layer_id();
        let start = Instant::now();
        store.put_tree(&layer, elsewhere.clone())?;
        let written = start.elapsed();
        store.lay_out(&layer, &elsewhere, &nowhere)?;
        println!(
            "its tree written after {written:.1?}, laid out (links: {same}) after {:.1?}",
            start.elapsed()
        );
    }

    let step = store.begin_step()?;
    let directory = store.directory(&from)?.ok_or("it was unpacked")?;
    for (path, entry) in elsewhere.entries() {
        let to = step.upper().join(path.as_os());
        match entry.is_directory() {
            true => fs::create_dir(to)?,
            false => drop(fs::copy(directory.path().join(path.as_os()), to)?),
        }
    }
    let start = Instant::now();
    step.commit(&[])?;
    println!("committed as a step in {:.1?}", start.elapsed());

    let start = Instant::now();
    let again = Store::open(&root, OwnerMapping::Root)?;
    let tree = again.tree(&from)?.ok_or("it was unpacked")?;
    println!("tree of {} entries read in {:.1?}", tree.len(), start.elapsed());
    Ok(())
}
