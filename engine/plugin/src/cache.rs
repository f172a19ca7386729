//! Remembers compiled components by the digest of what they were compiled from.
//!
//! `<dir>/<E>/<sha256>.cwasm`, where `E` names wasmtime's version, the processor and the configuration. A cache cannot
//! fail: whatever is wrong with it, the component is compiled again. After the code come 32 bytes, its BLAKE3 digest:
//! wasmtime believes what it loads, and one wrong bit would end the process, in every build until somebody finds out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use kiln_core::{Digest, FileDigest};
use rustix::fs::{FlockOperation, flock};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::aot;
use crate::engine::{CompileError, compatibility};

/// Compiling for longer than this is told to the person who waits.
const LONG: Duration = Duration::from_millis(300);

/// Hears the name of a plugin whose compilation takes long.
pub type Compiling = dyn Fn(&str) + Send + Sync;

#[derive(Clone)]
pub(crate) struct Cache {
    dir: PathBuf,
    compiling: Option<Arc<Compiling>>,
}

impl Cache {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), compiling: None }
    }

    pub(crate) fn on_compiling(&mut self, hear: Arc<Compiling>) {
        self.compiling = Some(hear);
    }

    /// The component, from the cache or compiled now. Of several processes that want it at once, one compiles.
    ///
    /// # Errors
    ///
    /// When it cannot be compiled.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        name: &str,
        digest: &Digest,
        wasm: &[u8],
    ) -> Result<Component, CompileError> {
        let Ok(shelf) = self.shelf(engine) else {
            return self.compile(engine, name, wasm);
        };
        let path = shelf.join(format!("{}.cwasm", digest.hex()));
        if let Some(component) = take(engine, &path) {
            return Ok(component);
        }
        // Held until the file is there; gone with this process in any case.
        let _lock = lock(&shelf.join(format!("{}.lock", digest.hex())));
        if let Some(component) = take(engine, &path) {
            return Ok(component);
        }
        let component = self.compile(engine, name, wasm)?;
        if let Ok(code) = component.serialize() {
            // Without it the next process compiles again.
            let _ = put(&path, &code);
        }
        Ok(component)
    }

    /// Where this configuration's code lies: a directory of this user, closed to others.
    fn shelf(&self, engine: &Engine) -> io::Result<PathBuf> {
        let shelf = self.dir.join(compatibility(engine));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&shelf)?;
        let own = rustix::process::geteuid().as_raw();
        let metadata = fs::metadata(&shelf)?;
        if metadata.uid() != own || metadata.mode() & 0o077 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(shelf)
    }

    fn compile(&self, engine: &Engine, name: &str, wasm: &[u8]) -> Result<Component, CompileError> {
        let compile = || Component::from_binary(engine, wasm);
        let compiled = match &self.compiling {
            None => compile(),
            Some(hear) => thread::scope(|scope| {
                let (done, wait) = mpsc::channel::<()>();
                scope.spawn(move || {
                    if wait.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
                        hear(name);
                    }
                });
                let compiled = compile();
                drop(done);
                compiled
            }),
        };
        compiled.map_err(|error| CompileError::from_wasmtime(&error))
    }
}

/// A file that does not load is of no use to anybody.
fn take(engine: &Engine, path: &Path) -> Option<Component> {
    let loaded = if is_whole(path) { aot::cached(engine, path).ok() } else { None };
    if loaded.is_none() {
        let _ = fs::remove_file(path);
    }
    loaded
}

/// Whether a file holds what was written. The digest lies behind the code, where wasmtime does not look.
fn is_whole(path: &Path) -> bool {
    let Ok(bytes) = fs::read(path) else { return false };
    bytes.split_last_chunk().is_some_and(|(code, sum)| FileDigest::of(code) == FileDigest(*sum))
}

/// Without a lock two processes compile the same; nothing worse.
fn lock(path: &Path) -> Option<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).ok()?;
    flock(&file, FlockOperation::LockExclusive).ok()?;
    Some(file)
}

fn put(path: &Path, code: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(code)?;
        file.write_all(&FileDigest::of(code).0)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}
