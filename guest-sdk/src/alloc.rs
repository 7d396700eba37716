//! The guest's allocator: dlmalloc over a static arena first, over `memory.grow` when that is used up.
//! Growing memory changes page protections in the host, which costs more than a small call; a call that fits
//! the arena never does. Not a bump allocator: what is freed is used again, so warm instances don't leak.
#![allow(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};

use dlmalloc::{Allocator, Dlmalloc};

/// One page of WebAssembly: with a 128 KiB stack and the data, a small guest stays within the 256 KiB that
/// the host keeps resident between calls.
const ARENA_BYTES: usize = 64 * 1024;
const PAGE_BYTES: usize = 64 * 1024;

#[cfg(target_feature = "atomics")]
compile_error!("the allocator is for guests of one thread");

#[global_allocator]
static GUEST: GuestAlloc = GuestAlloc(UnsafeCell::new(Dlmalloc::new_with_allocator(Memory {
    arena_given: Cell::new(false),
})));

struct GuestAlloc(UnsafeCell<Dlmalloc<Memory>>);

// SAFETY: a guest has one thread (checked above), and no method below calls back into the allocator, so
// the exclusive borrows of the cell never overlap.
unsafe impl Sync for GuestAlloc {}

// SAFETY: dlmalloc keeps the contract of `GlobalAlloc`; it gets each layout as it was allocated.
unsafe impl GlobalAlloc for GuestAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(ptr, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        unsafe { (*self.0.get()).realloc(ptr, layout.size(), layout.align(), new_size) }
    }
}

#[repr(C, align(16))]
struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

// SAFETY: only its address is taken, once, by `Memory::alloc`; dlmalloc owns the bytes from then on.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_BYTES]));

/// Where dlmalloc gets its segments.
struct Memory {
    arena_given: Cell<bool>,
}

// SAFETY: every segment is given once, is zeroed, and is never taken back.
unsafe impl Allocator for Memory {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if size <= ARENA_BYTES && !self.arena_given.replace(true) {
            return (ARENA.0.get().cast(), ARENA_BYTES, 0);
        }
        let pages = size.div_ceil(PAGE_BYTES);
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX {
            return (std::ptr::null_mut(), 0, 0);
        }
        let base = before * PAGE_BYTES;
        // The last page of the address space can't be used whole: its end would wrap to null.
        let bytes =
            if before + pages == 65_536 { pages * PAGE_BYTES - 16 } else { pages * PAGE_BYTES };
        (base as *mut u8, bytes, 0)
    }

    fn remap(&self, _ptr: *mut u8, _old: usize, _new: usize, _can_move: bool) -> *mut u8 {
        std::ptr::null_mut()
    }

    fn free_part(&self, _ptr: *mut u8, _old: usize, _new: usize) -> bool {
        false
    }

    fn free(&self, _ptr: *mut u8, _size: usize) -> bool {
        false
    }

    fn can_release_part(&self, _flags: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE_BYTES
    }
}
