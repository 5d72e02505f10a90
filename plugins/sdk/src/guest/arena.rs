//! An allocator for an instance that lives for one call.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32;
use core::cell::{Cell, UnsafeCell};
use core::ptr;

/// Part of the memory an instance starts with, so that a usual call never grows it: growing is the
/// dearest thing a short call can do to its host. Pages that a call does not touch cost nothing.
const START: usize = 192 << 10;
const PAGE: usize = 64 << 10;

/// A bump allocator: through its own bytes first, then through fresh pages. Only the newest
/// allocation can be given back or grown in place; everything else is freed with the instance.
pub struct Arena {
    start: UnsafeCell<Start>,
    /// The first free address; 0 before the first allocation.
    next: Cell<usize>,
    /// The first address past the free memory.
    end: Cell<usize>,
}

#[repr(align(16))]
struct Start(#[expect(dead_code, reason = "reached through its address")] [u8; START]);

// SAFETY: wasm32-unknown-unknown without atomics has one thread.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena with nothing allocated.
    #[expect(clippy::new_without_default, reason = "it is a static, so it must be const")]
    pub const fn new() -> Self {
        Self { start: UnsafeCell::new(Start([0; START])), next: Cell::new(0), end: Cell::new(0) }
    }

    /// Makes room for `size` bytes from an address of this alignment, and tells that address.
    fn reserve(&self, align: usize, size: usize) -> Option<usize> {
        if self.next.get() == 0 {
            let start = self.start.get().addr();
            self.next.set(start);
            self.end.set(start.checked_add(START)?);
        }
        let aligned =
            |address: usize| Some(address.checked_add(align.wrapping_sub(1))? & !align.wrapping_sub(1));
        let mut at = aligned(self.next.get())?;
        let mut after = at.checked_add(size)?;
        if after > self.end.get() {
            // As much again as is missing from the current end: new pages usually follow it.
            let pages = size.checked_add(align)?.div_ceil(PAGE);
            let grown = wasm32::memory_grow::<0>(pages);
            if grown == usize::MAX {
                return None;
            }
            let fresh = grown.checked_mul(PAGE)?;
            if fresh != self.end.get() {
                at = aligned(fresh)?;
                after = at.checked_add(size)?;
            }
            self.end.set(fresh.checked_add(pages.checked_mul(PAGE)?)?);
        }
        self.next.set(after);
        Some(at)
    }

    fn is_newest(&self, at: *mut u8, size: usize) -> bool {
        at.addr().wrapping_add(size) == self.next.get()
    }
}

// SAFETY: every address handed out lies in the arena or in pages this allocator has grown, is aligned,
// and is not handed out again before it was given back as the newest allocation.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.reserve(layout.align(), layout.size()).map_or(ptr::null_mut(), ptr::with_exposed_provenance_mut)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if self.is_newest(at, layout.size()) {
            self.next.set(at.addr());
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let newest = self.is_newest(at, layout.size());
        if size <= layout.size() {
            if newest {
                self.next.set(at.addr().wrapping_add(size));
            }
            return at;
        }
        if newest {
            // Growing in place: reserve the difference, which follows directly unless new pages do not.
            let before = self.next.get();
            let more = size.wrapping_sub(layout.size());
            match self.reserve(1, more) {
                Some(follows) if follows == before => return at,
                Some(elsewhere) => self.next.set(elsewhere),
                None => return ptr::null_mut(),
            }
        }
        let Some(new) = self.reserve(layout.align(), size) else { return ptr::null_mut() };
        let new = ptr::with_exposed_provenance_mut::<u8>(new);
        // SAFETY: both ranges are allocated, at least `layout.size()` long, and apart.
        unsafe { ptr::copy_nonoverlapping(at, new, layout.size()) };
        new
    }
}
