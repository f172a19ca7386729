//! What the collector takes and what it leaves.

use super::*;
use crate::{BlobNote, EntryKind, Existing, PruneOptions};
use kiln_core::{BlobDigest, CacheKey};
use std::time::Duration;

fn again(space: &Space) -> Store {
    Store::open(space.store.root(), OwnerMapping::Root).unwrap()
}

/// Leaves only what is on disk: nothing of it is in use.
fn filled() -> Space {
    let space = space();
    let store = again(&space);
    let manifest = store.put_blob(b"manifest").unwrap();
    store.put_blob(b"config").unwrap();
    store.put_blob(b"stray").unwrap();
    store.set_image("example.org/app:1", &manifest).unwrap();
    let (_, _) = lay_out(&store, &tree(vec![("f", inline(&[1; 5000]))]));
    store.put_record(&CacheKey(Digest::of(b"k")), b"record", Existing::Keep).unwrap();
    let cancel = kiln_core::Cancel::new(None);
    let seed = &mut |_: &Path| Ok(());
    store.cache_mount(&Digest::of(b"c"), "c", crate::CacheSharing::Shared, &cancel, seed).unwrap();
    store.put_build_notes(&Digest::of(b"b"), b"notes").unwrap();
    space
}

fn needs(digest: &BlobDigest) -> Vec<BlobDigest> {
    match *digest == BlobDigest(Digest::of(b"manifest")) {
        true => vec![BlobDigest(Digest::of(b"config"))],
        false => Vec::new(),
    }
}

fn kinds(store: &Store) -> Vec<(EntryKind, u64)> {
    store.usage().unwrap().kinds.into_iter().map(|kind| (kind.kind, kind.entries)).collect()
}

#[test]
fn what_images_name_stays_and_the_cache_goes() {
    let space = filled();
    let pruned = space.store.prune(&PruneOptions::default(), &needs).unwrap();
    assert_eq!(pruned.entries, 4);
    assert!(pruned.disk_bytes >= 5000);
    assert_eq!(
        kinds(&space.store),
        [(EntryKind::Image, 1), (EntryKind::Blob, 2), (EntryKind::CacheMount, 1), (EntryKind::Notes, 1)]
    );
    let options = PruneOptions { all: true, ..PruneOptions::default() };
    space.store.prune(&options, &needs).unwrap();
    assert_eq!(kinds(&space.store), [(EntryKind::Image, 1), (EntryKind::Blob, 2)]);
    space.store.remove_image("example.org/app:1").unwrap();
    space.store.prune(&options, &needs).unwrap();
    assert_eq!(kinds(&space.store), []);
}

#[test]
fn an_image_named_while_the_collector_is_at_work_keeps_its_blobs() {
    let space = filled();
    let late = |digest: &BlobDigest| {
        // A build that ends just after the references were read.
        again(&space).set_image("example.org/late:1", &BlobDigest(Digest::of(b"stray"))).unwrap();
        needs(digest)
    };
    space.store.prune(&PruneOptions { all: true, ..PruneOptions::default() }, &late).unwrap();
    assert!(again(&space).has_blob(&BlobDigest(Digest::of(b"stray"))));
    assert_eq!(kinds(&space.store), [(EntryKind::Image, 2), (EntryKind::Blob, 3)]);
}

#[test]
fn blobs_may_come_and_go_while_the_collector_orders_directories() {
    let space = space();
    let blob = {
        let store = again(&space);
        let blob = store.put_blob(b"blob").unwrap();
        for at in 0..200u8 {
            let (layer, _) = lay_out(&store, &tree(vec![("f", inline(&[at; 10]))]));
            let note = BlobNote {
                blob,
                size: 4,
                diff_id: kiln_core::DiffId(blob.0),
                media_type: "application/octet-stream".into(),
            };
            store.note_blob(&layer, "settings", &note).unwrap();
        }
        store.blob_path(&blob)
    };
    let away = blob.with_extension("away");
    let over = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(ordering) {
                let _ = fs::rename(&blob, &away);
                let _ = fs::rename(&away, &blob);
            }
        });
        for _ in 0..20 {
            let options = PruneOptions { keep_bytes: Some(u64::MAX), ..PruneOptions::default() };
            let pruned = std::panic::catch_unwind(|| space.store.prune(&options, &needs));
            over.store(pruned.is_err(), ordering);
            assert_eq!(pruned.unwrap().unwrap().entries, 0);
        }
        over.store(true, ordering);
    });
}

#[test]
fn directories_that_vanish_while_they_are_measured_weigh_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    struct Late<'a>(&'a Path);
    impl crate::walk::Gather for Late<'_> {
        type State = ();
        fn directory(
            &mut self,
            dir: &std::os::fd::OwnedFd,
            job: crate::walk::Job<()>,
            more: &mut crate::walk::More<Self>,
        ) -> Result<(), crate::walk::WalkError> {
            if !job.path.is_root() {
                fs::remove_dir(self.0.join(job.path.as_os())).unwrap();
            }
            crate::walk::names(dir, &job.path, |name, _| {
                more.push(crate::walk::Job { path: job.path.join(name.to_bytes()), state: () });
                Ok(())
            })
        }
    }
    let opened = fs::File::open(dir.path()).unwrap();
    let walked = crate::walk::walk(std::os::fd::AsFd::as_fd(&opened), (), || Late(dir.path()));
    assert!(walked.is_ok_and(|gathered| gathered.len() == 1));
    assert!(!dir.path().join("d").exists());
}

#[test]
fn what_was_used_lately_stays_if_that_is_asked() {
    let space = filled();
    let options = PruneOptions { keep_for: Some(Duration::from_secs(60)), ..PruneOptions::default() };
    assert_eq!(space.store.prune(&options, &needs).unwrap().entries, 0);
}

#[test]
fn what_a_store_has_in_use_stays() {
    let space = filled();
    let user = again(&space);
    let tree = tree(vec![("f", inline(&[1; 5000]))]);
    let held = user.directory(&tree.layer_id()).unwrap().unwrap();
    let stray = user.open_blob(&BlobDigest(Digest::of(b"stray"))).unwrap();
    space.store.prune(&PruneOptions { all: true, ..PruneOptions::default() }, &needs).unwrap();
    assert!(held.path().join("f").exists());
    assert!(user.has_blob(&BlobDigest(Digest::of(b"stray"))));
    drop((held, stray, user));
    space.store.prune(&PruneOptions::default(), &needs).unwrap();
    assert!(space.store.tree(&tree.layer_id()).unwrap().is_none());
}

#[test]
fn as_much_stays_as_may_and_of_that_what_was_used_last() {
    let space = space();
    let mut layers = Vec::new();
    for at in 0..4u8 {
        let store = again(&space);
        let (layer, _) = lay_out(&store, &tree(vec![("f", inline(&[at; 1 << 20]))]));
        let past = std::time::SystemTime::now() - Duration::from_secs(1000 - u64::from(at) * 100);
        let key = CacheKey(layer.0);
        store.put_record(&key, b"leads to it", Existing::Keep).unwrap();
        for used in [
            store.layer_path(&layer),
            store.root().join(format!("records/{}/{}", &key.hex()[..2], key.hex())),
        ] {
            fs::File::open(used).unwrap().set_modified(past).unwrap();
        }
        layers.push(layer);
    }
    let options = PruneOptions { keep_bytes: Some(5 << 19), ..PruneOptions::default() };
    space.store.prune(&options, &needs).unwrap();
    for (at, layer) in layers.iter().enumerate() {
        let stays = at >= 2;
        assert_eq!(space.store.tree(layer).unwrap().is_some(), stays, "layer {at}");
        assert_eq!(space.store.record(&CacheKey(layer.0)).unwrap().is_some(), stays, "record {at}");
    }
}

#[test]
fn a_layer_that_is_read_from_stays_for_as_long_as_its_reader() {
    let space = space();
    let bytes = vec![1; 1000];
    let (base, reader) = {
        let store = again(&space);
        let (base, _) = lay_out(&store, &tree(vec![("f", inline(&bytes))]));
        let place = Place::Layer { layer: base, path: path("f") };
        let reader = put(&store, &tree(vec![("g", file_at(&bytes, place))]));
        let past = std::time::SystemTime::now() - Duration::from_secs(1000);
        fs::File::open(store.layer_path(&base)).unwrap().set_modified(past).unwrap();
        (base, reader)
    };
    let options = PruneOptions { keep_for: Some(Duration::from_secs(500)), ..PruneOptions::default() };
    space.store.prune(&options, &needs).unwrap();
    let store = again(&space);
    assert!(store.directory(&base).unwrap().is_some());
    let tree = store.tree(&reader).unwrap().unwrap();
    store.lay_out(&reader, &tree, &nothing_outside).unwrap();
    drop(store);
    // It owns its bytes now.
    let past = std::time::SystemTime::now() - Duration::from_secs(1000);
    fs::File::open(space.store.layer_path(&base)).unwrap().set_modified(past).unwrap();
    space.store.prune(&options, &needs).unwrap();
    assert!(again(&space).tree(&base).unwrap().is_none());
    assert!(again(&space).directory(&reader).unwrap().is_some());
}

#[test]
fn a_sweep_deletes_what_nobody_owns() {
    let space = space();
    let step = space.store.begin_step().unwrap();
    let dropped = again(&space).begin_step().unwrap();
    fs::write(dropped.upper().join("f"), "").unwrap();
    let left = dropped.upper().to_owned();
    drop(dropped);
    assert!(left.exists());
    assert_eq!(space.store.sweep().wait().unwrap(), 1);
    assert!(!left.exists() && step.upper().exists());
    assert!(space.store.sweep().wait_at_most(Duration::from_secs(10)));
}

#[test]
fn a_flush_makes_what_was_published_trusted_after_another_boot() {
    let space = space();
    space.store.flush().wait().unwrap();
    assert!(space.store.root().join("durable").exists());
    assert_eq!(fs::read_dir(space.store.root().join("tmp")).unwrap().count(), 0);
}
