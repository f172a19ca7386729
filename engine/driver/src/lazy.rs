//! Trees whose layers are fetched and unpacked when somebody looks at them, by a thread of the build that has them.

use std::collections::HashSet;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use kiln_core::seams::{FileInfo, HostError, TreeView};
use kiln_core::{LayerId, Stack};

use crate::error::BuildError;
use crate::forms::lock;
use crate::session::Session;
use crate::views::View;

type Job = Box<dyn FnOnce(&Session<'_>) + Send>;

enum Errand {
    Do(Job),
    /// Nobody looks any more.
    Close,
}

/// Where views hand in what only the build itself can do. A clone is the same desk.
#[derive(Clone)]
pub(crate) struct Desk(Sender<Errand>);

impl Session<'_> {
    /// Does `work` while another thread serves the trees that it opens. What is open after that can be read no further.
    pub(crate) fn with_desk<R>(&self, work: impl FnOnce(&Desk) -> R) -> R {
        std::thread::scope(|scope| {
            let (errands, waiting) = mpsc::channel();
            scope.spawn(move || {
                while let Ok(Errand::Do(job)) = waiting.recv() {
                    job(self);
                }
            });
            let open = Open(Desk(errands));
            work(&open.0)
        })
    }
}

/// A desk that closes however the work ends: views that are still about would keep it open.
struct Open(Desk);

impl Drop for Open {
    fn drop(&mut self) {
        // It may be gone already, if a job failed badly.
        let _ = self.0.0.send(Errand::Close);
    }
}

impl Desk {
    /// Has `job` done, and waits for what comes of it.
    fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Session<'_>) -> Result<R, BuildError> + Send + 'static,
    ) -> Result<R, HostError> {
        let closed = || HostError::new("unavailable", "the call in which this tree was opened is over");
        let (answer, answered) = mpsc::channel();
        let job = move |session: &Session<'_>| {
            // Nobody listens any more when the component has been stopped.
            let _ = answer.send(job(session));
        };
        self.0.send(Errand::Do(Box::new(job))).map_err(|_| closed())?;
        answered.recv().map_err(|_| closed())?.map_err(BuildError::into_host)
    }

    /// A stack as plugins see it. Nothing is read before somebody looks.
    pub(crate) fn open(&self, stack: Stack) -> Arc<dyn TreeView> {
        Arc::new(LazyView { desk: self.clone(), stack, view: Mutex::default() })
    }

    /// Makes the files of a layer readable.
    pub(crate) fn fetch(&self, layer: LayerId) -> Result<(), HostError> {
        self.ask(move |session| session.forms.directory(&layer).map(drop))
    }
}

/// Layers that have been made readable already.
#[derive(Default)]
pub(crate) struct Fetched(Mutex<HashSet<LayerId>>);

impl Fetched {
    /// Makes a layer readable, if that is still to be done.
    pub(crate) fn ensure(&self, layer: &LayerId, desk: &Desk) -> Result<(), HostError> {
        if !lock(&self.0).contains(layer) {
            desk.fetch(*layer)?;
            lock(&self.0).insert(*layer);
        }
        Ok(())
    }
}

struct LazyView {
    desk: Desk,
    stack: Stack,
    view: Mutex<Option<Arc<View>>>,
}

impl LazyView {
    fn view(&self) -> Result<Arc<View>, HostError> {
        let mut view = lock(&self.view);
        if let Some(view) = &*view {
            return Ok(view.clone());
        }
        let (stack, desk) = (self.stack.clone(), self.desk.clone());
        let opened = self.desk.ask(move |session| {
            Ok(Arc::new(View::new(session.merged(&stack)?, &session.forms).fetching(desk)))
        })?;
        *view = Some(opened.clone());
        Ok(opened)
    }
}

impl TreeView for LazyView {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        self.view()?.read(path, offset, max)
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        self.view()?.stat(path)
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        self.view()?.real_path(path)
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        self.view()?.children(path)
    }

    fn glob(&self, patterns: &[String], limit: usize) -> Result<Vec<FileInfo>, HostError> {
        self.view()?.glob(patterns, limit)
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        self.view()?.hash(path)
    }
}
