//! Loads native code that wasmtime compiled earlier. The only `unsafe` of this room.
//!
//! Such code is trusted like the program itself: wasmtime checks that it was made by the same version for a compatible
//! configuration and processor, and believes the rest. So it comes from two places alone: bytes that were linked into
//! this program, and files that only this user can have written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::mm::{MprotectFlags, mprotect};
use wasmtime::component::Component;
use wasmtime::{Config, CustomCodeMemory, Engine};

/// Makes code executable where it lies, so that what was linked into the program is not copied: copying the built-in
/// components took 3 ms of each start, more than everything else together.
struct InPlace;

impl CustomCodeMemory for InPlace {
    fn required_alignment(&self) -> usize {
        rustix::param::page_size()
    }

    fn publish_executable(&self, start: *const u8, len: usize) -> wasmtime::Result<()> {
        let flags = MprotectFlags::READ | MprotectFlags::EXEC;
        // SAFETY: wasmtime hands over whole pages of code that it owns or was given for good, and that nobody writes.
        unsafe { mprotect(start.cast_mut().cast(), len, flags)? };
        Ok(())
    }

    /// Pages of the program stay as they are: another engine may run the same ones. All others are unmapped next.
    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}

pub(crate) fn configure(config: &mut Config) {
    config.with_custom_code_memory(Some(Arc::new(InPlace)));
}

/// Bytes that came with the program. Used in place when they begin on a page, and then once for the whole process:
/// wasmtime finds code by its address.
///
/// # Errors
///
/// When they were made for another processor or by another wasmtime.
pub(crate) fn embedded(engine: &Engine, code: &'static [u8]) -> wasmtime::Result<Component> {
    static IN_PLACE: Mutex<BTreeMap<usize, Component>> = Mutex::new(BTreeMap::new());
    let address = code.as_ptr().addr();
    if !address.is_multiple_of(rustix::param::page_size()) {
        // SAFETY: by the contract of `Builtin::aot` these are bytes that `compile` returned; wasmtime refuses those of
        // another version or configuration.
        return unsafe { Component::deserialize(engine, code) };
    }
    let mut loaded = IN_PLACE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(component) = loaded.get(&address) {
        return Ok(component.clone());
    }
    // SAFETY: as above; and what was linked into the program stays there unchanged for as long as it runs.
    let component = unsafe { Component::deserialize_raw(engine, NonNull::from(code))? };
    loaded.insert(address, component.clone());
    Ok(component)
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
