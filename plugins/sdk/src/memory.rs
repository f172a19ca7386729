//! An allocator for components that answer one question with many small values and then are gone.
//!
//! What is freed goes onto the shelf of its size and is given out again from there. Nothing is ever split or joined,
//! which makes it several times faster than an allocator for programs that run for days. A component uses it by
//!
//! ```ignore
//! #[cfg(target_family = "wasm")]
//! #[global_allocator]
//! static MEMORY: kiln_sdk::memory::Shelves = kiln_sdk::memory::Shelves::new();
//! ```

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

/// Every block is a multiple of this long and lies on one.
const UNIT: usize = 16;

/// Sizes up to here have a shelf each; above, four shelves serve each power of two.
const SMALL: usize = 1024;
const SMALL_SHELVES: usize = SMALL / UNIT;
const SHELVES: usize = SMALL_SHELVES + 22 * 4;

/// What is asked of the host at least, in bytes: each time costs a call of the kernel.
const LEAST_GROWTH: usize = 512 << 10;

/// The allocator.
#[derive(Debug)]
pub struct Shelves(UnsafeCell<State>);

// SAFETY: a component has one thread, and nothing in here calls what could come back.
unsafe impl Sync for Shelves {}

#[derive(Debug)]
struct State {
    free: [*mut Free; SHELVES],
    /// What was never given out: from `next` to `end`.
    next: usize,
    end: usize,
}

#[derive(Debug)]
struct Free {
    next: *mut Free,
}

impl Shelves {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(State { free: [null_mut(); SHELVES], next: 0, end: 0 }))
    }
}

impl Default for Shelves {
    fn default() -> Self {
        Self::new()
    }
}

/// The shelf of blocks for `size` bytes, and how long they are.
fn shelf(size: usize) -> (usize, usize) {
    if size <= SMALL {
        let shelf = size.max(1).div_ceil(UNIT) - 1;
        return (shelf, (shelf + 1) * UNIT);
    }
    let power = (size - 1).ilog2() as usize;
    let quarter = ((size - 1) >> (power - 2)) & 3;
    let shelf = SMALL_SHELVES + (power - SMALL.ilog2() as usize) * 4 + quarter;
    (shelf, (1 << power) + ((quarter + 1) << (power - 2)))
}

impl State {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        let (shelf, length) = shelf(size);
        if shelf >= SHELVES {
            return null_mut();
        }
        let free = self.free[shelf];
        if free.is_null() {
            return self.cut(length);
        }
        // SAFETY: what lies on a shelf is a block of its length that belongs to nobody and begins with a link.
        self.free[shelf] = unsafe { (*free).next };
        free.cast()
    }

    fn cut(&mut self, length: usize) -> *mut u8 {
        if self.end - self.next < length && !self.grow(length) {
            return null_mut();
        }
        let block = self.next;
        self.next += length;
        block as *mut u8
    }

    #[cold]
    fn grow(&mut self, length: usize) -> bool {
        let Some((begin, bytes)) = more(length.max(LEAST_GROWTH)).or_else(|| more(length)) else {
            return false;
        };
        if begin != self.end {
            self.next = begin;
        }
        self.end = begin + bytes;
        true
    }

    fn dealloc(&mut self, block: *mut u8, size: usize) {
        let (shelf, _) = shelf(size);
        let free = block.cast::<Free>();
        // SAFETY: the block was given out by `alloc` for a size of this shelf, so it is aligned and long enough.
        unsafe { free.write(Free { next: self.free[shelf] }) };
        self.free[shelf] = free;
    }

    /// Whether a block for `old` bytes is one for `new` bytes now. The block that was cut last can grow where it lies.
    fn resize(&mut self, block: *mut u8, old: usize, new: usize) -> bool {
        let ((old_shelf, old), (new_shelf, new)) = (shelf(old), shelf(new));
        if old_shelf == new_shelf {
            return true;
        }
        let is_last = block as usize + old == self.next;
        if !is_last || new < old || self.end - self.next < new - old {
            return false;
        }
        self.next += new - old;
        true
    }
}

// SAFETY: blocks are disjoint, at least as long as asked for and aligned to a unit. What asks for more alignment than that
// gets room to spare and is not taken back.
unsafe impl GlobalAlloc for Shelves {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see `Sync`; the reference ends with this call.
        let state = unsafe { &mut *self.0.get() };
        if layout.align() <= UNIT {
            return state.alloc(layout.size());
        }
        let Some(size) = layout.size().checked_add(layout.align()) else { return null_mut() };
        let block = state.alloc(size);
        if block.is_null() { block } else { block.wrapping_add(block.align_offset(layout.align())) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.align() <= UNIT {
            // SAFETY: see `Sync`; the reference ends with this call.
            unsafe { &mut *self.0.get() }.dealloc(block, layout.size());
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: see `Sync`; the reference ends with this statement.
        if layout.align() <= UNIT && unsafe { &mut *self.0.get() }.resize(block, layout.size(), size) {
            return block;
        }
        // SAFETY: the caller vouches for the alignment and for a size that is not too large.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks have that many bytes, and a new block is none that was given out.
            unsafe {
                block.copy_to_nonoverlapping(new, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

/// More memory, of at least so many bytes: where it begins, on a page, and how much it is.
#[cfg(target_family = "wasm")]
fn more(bytes: usize) -> Option<(usize, usize)> {
    const PAGE: usize = 64 << 10;
    let pages = bytes.div_ceil(PAGE);
    let before = core::arch::wasm32::memory_grow(0, pages);
    // The host says no with a number of pages that cannot be.
    (before != usize::MAX).then_some((before * PAGE, pages * PAGE))
}

/// Natively, for tests: what the system gives, kept for good.
#[cfg(not(target_family = "wasm"))]
fn more(bytes: usize) -> Option<(usize, usize)> {
    let blocks: Box<[u128]> = vec![0; bytes.div_ceil(UNIT)].into_boxed_slice();
    let length = blocks.len() * UNIT;
    Some((Box::leak(blocks).as_mut_ptr() as usize, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_long_enough_and_hardly_longer() {
        let mut last = 0;
        for size in 0..100_000 {
            let (shelf, length) = shelf(size);
            assert!(shelf < SHELVES && length >= size.max(1) && length % UNIT == 0, "{size}");
            assert!(length <= size.max(1) + (size / 4).max(UNIT), "{size} {length}");
            assert!(shelf >= last);
            last = shelf;
        }
        assert_eq!(shelf(SMALL + 1).0, SMALL_SHELVES);
        assert!(shelf(isize::MAX as usize & 0x7fff_ffff).0 < SHELVES);
    }

    /// Random requests, each block filled with its own byte and looked at before it goes.
    #[test]
    fn blocks_keep_what_is_written_into_them() {
        let memory = Shelves::new();
        let mut seed = 5_u32;
        let mut next = move |n: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % n
        };
        let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for turn in 0..50_000_u32 {
            let size = match next(10) {
                0 => next(70_000),
                1 => next(3_000),
                _ => next(100),
            } as usize;
            let fill = turn as u8;
            match next(3) {
                0 if !held.is_empty() => {
                    let (block, layout, byte) = held.swap_remove(next(held.len() as u32) as usize);
                    // SAFETY: the block was given out with this layout and is whole.
                    unsafe {
                        let bytes = core::slice::from_raw_parts(block, layout.size());
                        assert!(bytes.iter().all(|it| *it == byte));
                        memory.dealloc(block, layout);
                    }
                }
                1 if !held.is_empty() => {
                    let at = next(held.len() as u32) as usize;
                    let (block, layout, byte) = held[at];
                    let new = size.max(1);
                    // SAFETY: as above; of the new block, as much as the old one had is written.
                    unsafe {
                        let block = memory.realloc(block, layout, new);
                        let kept = core::slice::from_raw_parts(block, layout.size().min(new));
                        assert!(kept.iter().all(|it| *it == byte));
                        block.write_bytes(fill, new);
                        held[at] = (block, Layout::from_size_align(new, layout.align()).unwrap(), fill);
                    }
                }
                _ => {
                    let align = if next(50) == 0 { 64 } else { 1 << next(5) };
                    let layout = Layout::from_size_align(size.max(1), align).unwrap();
                    // SAFETY: the layout has a size.
                    unsafe {
                        let block = memory.alloc(layout);
                        assert!(!block.is_null() && block.align_offset(align) == 0);
                        block.write_bytes(fill, layout.size());
                        held.push((block, layout, fill));
                    }
                }
            }
        }
    }
}
