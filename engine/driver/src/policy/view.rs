//! The tree of an image as policies see it: what it holds is known, and bytes are brought when one of them is read.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use kiln_core::merged::{ContentReader, Merged, MergedView};
use kiln_core::seams::{FileInfo, HostError, TreeView};
use kiln_core::tree::{Content, Place};
use kiln_core::{FileDigest, LayerId};
use kiln_store::Store;

use crate::context::{LocalContext, read_stored};
use crate::forms::{Forms, lock, one_line};

/// A layer whose files are wanted, and who waits for them.
struct Wanted {
    layer: LayerId,
    ready: Sender<Result<(), String>>,
}

/// Where views ask for files. Layers are unpacked where the build is, which outlives no component that looks.
#[derive(Clone)]
pub(super) struct Counter {
    wanted: Sender<Wanted>,
    store: Store,
    contexts: Vec<Arc<LocalContext>>,
}

/// Runs `work`, and unpacks meanwhile the layers that views made at its counter want to read.
pub(super) fn with_files<R: Send>(forms: &Forms<'_>, work: impl FnOnce(Counter) -> R + Send) -> R {
    let (wanted, asked) = channel();
    let counter = Counter { wanted, store: forms.store.clone(), contexts: forms.contexts() };
    std::thread::scope(|scope| {
        scope.spawn(|| serve(forms, asked));
        work(counter)
    })
}

/// Ends when the last view is gone.
fn serve(forms: &Forms<'_>, asked: Receiver<Wanted>) {
    for Wanted { layer, ready } in asked {
        let unpacked = forms.directory(&layer).map(drop).map_err(|error| one_line(&error));
        // Nobody waits any more when the component was stopped.
        let _ = ready.send(unpacked);
    }
}

impl Counter {
    pub(super) fn view(&self, merged: Merged) -> Arc<dyn TreeView> {
        let Self { wanted, store, contexts } = self.clone();
        Arc::new(LazyView { merged, wanted: Mutex::new(wanted), store, contexts })
    }
}

struct LazyView {
    merged: Merged,
    wanted: Mutex<Sender<Wanted>>,
    store: Store,
    contexts: Vec<Arc<LocalContext>>,
}

impl LazyView {
    fn view(&self) -> MergedView<'_> {
        MergedView::new(&self.merged, self)
    }

    fn bring(&self, layer: LayerId) -> Result<(), HostError> {
        let gone = || HostError::new("cancelled", "the build is over");
        let (ready, answer) = channel();
        lock(&self.wanted).send(Wanted { layer, ready }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?.map_err(|why| HostError::new("other", why))
    }
}

impl ContentReader for LazyView {
    fn read(&self, content: &Content, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        let read = match &content.place {
            Place::Context { context, .. } => self.contexts[*context as usize].read(content, offset, max),
            Place::Layer { layer, .. } => {
                self.bring(*layer)?;
                read_stored(&self.store, content, offset, max)
            }
            _ => read_stored(&self.store, content, offset, max),
        };
        read.map_err(|error| HostError::new("other", error.to_string()))
    }

    fn digest(&self, _: &Content) -> Result<FileDigest, HostError> {
        Err(HostError::new("other", "the file has no digest"))
    }
}

impl TreeView for LazyView {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        self.view().read(path, offset, max)
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        self.view().stat(path)
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        self.view().real_path(path)
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        self.view().children(path)
    }

    fn glob(&self, patterns: &[String], limit: usize) -> Result<Vec<FileInfo>, HostError> {
        self.view().glob(patterns, limit)
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        self.view().hash(path)
    }
}
