//! Loads native code that wasmtime compiled earlier. The only `unsafe` of this room.
//!
//! Such code is trusted like the program itself: wasmtime checks that it was made by the same version for a compatible
//! configuration and processor, and believes the rest. So it comes from two places alone: bytes that were linked into
//! this program, and files that only this user can have written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Bytes that came with the program. Copied, because code wants pages of its own.
///
/// # Errors
///
/// When they were made for another processor or by another wasmtime.
pub(crate) fn embedded(engine: &Engine, code: &'static [u8]) -> wasmtime::Result<Component> {
    // SAFETY: by the contract of `Builtin::aot` these are bytes that `compile` returned and that were linked into the
    // program; wasmtime refuses those of another version or configuration.
    unsafe { Component::deserialize(engine, code) }
}

/// A file of the compile cache, mapped. It lies in a directory of this user that is closed to others.
///
/// # Errors
///
/// When it is not there or not this user's own file, or wasmtime does not take it.
pub(crate) fn cached(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    let metadata = fs::symlink_metadata(path)?;
    let others_may_write = metadata.mode() & 0o022 != 0;
    if !metadata.is_file() || others_may_write || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(wasmtime::Error::msg("others could have written the cached code"));
    }
    // SAFETY: only this user can have put a file into the directory, and kiln puts nothing there but what wasmtime
    // compiled, whole, by rename; it never changes a file in place.
    unsafe { Component::deserialize_file(engine, path) }
}
