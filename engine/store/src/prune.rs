//! Takes away what nobody needs and nobody uses, while builds go on.
//!
//! Nothing is leased and nothing is locked for all: the name of each thing is locked exclusively, without waiting, for
//! as long as it takes to rename it into `tmp/`. What somebody uses is passed over.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kiln_core::{BlobDigest, LayerId};

use crate::fault::{At, FsError};
use crate::lock::{Mode, open_lock_file, try_lock};
use crate::store::Store;
use crate::tree_file;
use crate::usage::{EntryKind, Lock, UsageEntry, digest_of};

/// What may go.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Cache mounts, indexes of contexts and notes of builds as well.
    pub all: bool,
    /// Only until what may go takes no more than this, the longest unused first.
    pub keep_bytes: Option<u64>,
    /// Only what was not used for this long.
    pub keep_for: Option<Duration>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub entries: u64,
    /// Blocks on disk. Less is gained where files of a layer that stays are the same inodes.
    pub disk_bytes: u64,
}

/// Which blobs a document in the content store names.
type Needs<'a> = &'a dyn Fn(&BlobDigest) -> Vec<BlobDigest>;

/// What references name.
struct Named {
    /// The references as they were when `blobs` was gathered.
    images: Vec<(String, BlobDigest)>,
    /// Everything that they lead to.
    blobs: HashSet<BlobDigest>,
}

impl Store {
    /// Removes what no image needs and nobody uses, as far as `options` let it, and frees the disk.
    ///
    /// `needs` tells which blobs a document in the content store names; the documents and blobs of all references stay.
    /// So do layers that a remaining layer reads files from. Of what has to go, records go before the layers they name,
    /// and forms that can be made again before layers.
    pub fn prune(&self, options: &PruneOptions, needs: Needs<'_>) -> Result<Pruned, FsError> {
        let mut named = self.named_blobs(needs)?;
        let mut entries = self.entries()?;
        entries.retain(|entry| match entry.kind {
            EntryKind::Image | EntryKind::Temporary => false,
            EntryKind::CacheMount | EntryKind::Context | EntryKind::Notes => options.all,
            EntryKind::Blob => {
                !digest_of(&entry.path).is_some_and(|digest| named.blobs.contains(&BlobDigest(digest)))
            }
            _ => true,
        });
        let mut victims = self.choose(&entries, options);
        self.spare_what_is_read(&entries, &mut victims)?;
        let pruned = self.take_away(&entries, &victims, &mut named, needs)?;
        self.sweep().wait()?;
        Ok(pruned)
    }

    fn named_blobs(&self, needs: Needs<'_>) -> Result<Named, FsError> {
        let images = self.images()?;
        let mut blobs = HashSet::new();
        let mut open: Vec<BlobDigest> = images.iter().map(|(_, digest)| *digest).collect();
        while let Some(digest) = open.pop() {
            if blobs.insert(digest) {
                open.extend(needs(&digest));
            }
        }
        Ok(Named { images, blobs })
    }

    /// Indexes of the entries that are to go, in the order in which they go.
    fn choose(&self, entries: &[UsageEntry], options: &PruneOptions) -> Vec<usize> {
        let now = SystemTime::now();
        let old = |entry: &UsageEntry| match options.keep_for {
            Some(keep) => now.duration_since(entry.last_used).is_ok_and(|age| age >= keep),
            None => true,
        };
        let mut order: Vec<usize> = (0..entries.len()).filter(|at| old(&entries[*at])).collect();
        // Each looked at once: builds go on, and what a directory's rank depends on may change under a sort.
        let ranks: Vec<u8> = entries.iter().map(|entry| self.rank(entry)).collect();
        order.sort_by_key(|at| (ranks[*at], entries[*at].last_used));
        let records = order.iter().take_while(|at| entries[**at].kind == EntryKind::Record).count();
        let records: Vec<usize> = order.drain(..records).collect();
        if let Some(keep) = options.keep_bytes {
            let mut total: u64 = entries.iter().map(|entry| entry.disk_bytes).sum();
            let mut enough = 0;
            while enough < order.len() && (total > keep || is_rest(entries, &ranks, &order, enough)) {
                total = total.saturating_sub(entries[order[enough]].disk_bytes);
                enough += 1;
            }
            order.truncate(enough);
        }
        // A record older than the youngest layer that goes leads to nothing, likely; younger ones lead to what stays.
        let gone = |at: &&usize| !matches!(entries[**at].kind, EntryKind::Flat | EntryKind::Directory);
        let youngest = order.iter().filter(gone).map(|at| entries[*at].last_used).max();
        let records = records.into_iter().filter(|at| {
            options.keep_bytes.is_none()
                || youngest.is_some_and(|youngest| entries[*at].last_used <= youngest)
        });
        records.chain(order.iter().copied()).collect()
    }

    fn rank(&self, entry: &UsageEntry) -> u8 {
        match entry.kind {
            EntryKind::Record => 0,
            EntryKind::Flat => 1,
            EntryKind::Directory if self.has_noted_blob(&entry.path) => 1,
            _ => 2,
        }
    }

    /// Whether the bytes of a layer's directory are in a blob as well.
    fn has_noted_blob(&self, directory: &Path) -> bool {
        let owner = directory.parent().unwrap_or(directory);
        let Ok(listing) = fs::read_dir(owner) else { return false };
        listing
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"blob-"))
            .filter_map(|entry| crate::layer::noted_blob(&fs::read(entry.path()).ok()?))
            .any(|blob| self.blob_path(&blob).exists())
    }

    /// A layer that stays and has no bytes of its own keeps those it reads from.
    fn spare_what_is_read(&self, entries: &[UsageEntry], victims: &mut Vec<usize>) -> Result<(), FsError> {
        let layers: HashMap<LayerId, Vec<usize>> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| matches!(entry.kind, EntryKind::Tree | EntryKind::Directory))
            .filter_map(|(at, entry)| Some((layer_of(entry)?, at)))
            .fold(HashMap::new(), |mut map: HashMap<_, Vec<usize>>, (layer, at)| {
                map.entry(layer).or_default().push(at);
                map
            });
        let mut going: HashSet<usize> = victims.iter().copied().collect();
        let mut open: Vec<LayerId> = layers.keys().copied().collect();
        while let Some(layer) = open.pop() {
            let forms = &layers[&layer];
            let tree_stays =
                forms.iter().any(|at| entries[*at].kind == EntryKind::Tree && !going.contains(at));
            if !tree_stays {
                continue;
            }
            let path = self.layer_path(&layer).join("tree");
            let Ok(bytes) = fs::read(&path) else { continue };
            for read in tree_file::layers_read(&bytes).unwrap_or_default() {
                let forms = layers.get(&read).into_iter().flatten();
                let spared = forms.filter(|at| going.remove(at)).count();
                if spared > 0 {
                    // It stays now, and with it what it reads from.
                    open.push(read);
                }
            }
        }
        victims.retain(|at| going.contains(at));
        Ok(())
    }

    fn take_away(
        &self,
        entries: &[UsageEntry],
        victims: &[usize],
        named: &mut Named,
        needs: Needs<'_>,
    ) -> Result<Pruned, FsError> {
        let uses = self.0.uses.for_collector()?;
        let locks = self.0.root.join("locks");
        let claims = open_lock_file(&locks)?;
        let mut pruned = Pruned::default();
        for entry in victims.iter().map(|at| &entries[*at]) {
            let (file, offset) = match entry.lock {
                Some(Lock::Uses(offset)) => (&uses, Some(offset)),
                Some(Lock::Claims(offset)) => (&claims, Some(offset)),
                None => (&uses, None),
            };
            let free = loop {
                if let Some(offset) = offset
                    && !try_lock(file, offset, Mode::Exclusive).at("lock the name of", &entry.path)?
                {
                    break false;
                }
                // A build that has ended since the references were read let go of its blobs after it had named its
                // image. So a blob is free only if, with its lock in hand, they are still those.
                if entry.kind != EntryKind::Blob || self.images()? == named.images {
                    break true;
                }
                unlock(file, offset, entry)?;
                // Without the lock: reading documents takes a shared one on each.
                *named = self.named_blobs(needs)?;
                if digest_of(&entry.path).is_some_and(|digest| named.blobs.contains(&BlobDigest(digest))) {
                    break false;
                }
            };
            if !free {
                continue;
            }
            let taken = self.discard(&entry.path);
            unlock(file, offset, entry)?;
            taken?;
            pruned.entries += 1;
            pruned.disk_bytes += entry.disk_bytes;
        }
        Ok(pruned)
    }
}

fn unlock(file: &fs::File, offset: Option<u64>, entry: &UsageEntry) -> Result<(), FsError> {
    if let Some(offset) = offset {
        try_lock(file, offset, Mode::Unlocked).at("unlock the name of", &entry.path)?;
    }
    Ok(())
}

/// Whether what comes next is the tree of a layer whose only bytes have just gone.
fn is_rest(entries: &[UsageEntry], ranks: &[u8], order: &[usize], next: usize) -> bool {
    let Some(before) = next.checked_sub(1).map(|before| order[before]) else { return false };
    entries[before].kind == EntryKind::Directory
        && ranks[before] == 2
        && entries[before].path.parent() == Some(entries[order[next]].path.as_path())
}

fn layer_of(entry: &UsageEntry) -> Option<LayerId> {
    match entry.kind {
        EntryKind::Tree => digest_of(&entry.path),
        EntryKind::Directory => digest_of(entry.path.parent()?),
        _ => None,
    }
    .map(LayerId)
}
