//! Memory that a program asks for, counted.
//!
//! The system tells what is resident, which is more than what is in use: an allocator rounds up, and keeps what was freed for
//! what comes ([`keep_memory`](super::keep_memory)). A program whose allocator is [`Counted`] can tell the one from the other.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

static IS_ON: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// An allocator that counts what it gives out, once [`count_memory`] was called. Before, it costs a comparison.
#[derive(Debug)]
pub struct Counted<A>(pub A);

#[expect(unsafe_code, reason = "the trait of allocators is unsafe")]
// SAFETY: all is left to the allocator inside; counting allocates nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counted<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size(), 0);
        // SAFETY: the caller keeps the contract of the allocator inside, here and below.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size(), 0);
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size, layout.size());
        // SAFETY: as above.
        unsafe { self.0.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        grow(0, layout.size());
        // SAFETY: as above.
        unsafe { self.0.dealloc(memory, layout) }
    }
}

fn grow(more: usize, less: usize) {
    if IS_ON.load(Relaxed) {
        let by = more.cast_signed() as i64 - less.cast_signed() as i64;
        PEAK.fetch_max(LIVE.fetch_add(by, Relaxed) + by, Relaxed);
    }
}

/// Starts to count, from zero: what is there already is not part of it.
pub fn count_memory() {
    LIVE.store(0, Relaxed);
    PEAK.store(0, Relaxed);
    IS_ON.store(true, Relaxed);
}

/// Bytes in use beyond those when counting began; 0 where nothing is counted.
pub fn live_bytes() -> u64 {
    LIVE.load(Relaxed).try_into().unwrap_or(0)
}

/// The most of [`live_bytes`] since counting began, or since the last call.
pub fn take_peak_bytes() -> u64 {
    PEAK.swap(LIVE.load(Relaxed), Relaxed).try_into().unwrap_or(0)
}

/// Bytes that the allocator of the programs has of the system at most, in use and kept; nearly 0 in a program that has another.
#[expect(unsafe_code, reason = "the allocator is written in C")]
pub fn allocator_bytes() -> u64 {
    let mut peak = 0;
    // SAFETY: it writes to those of the places that are not null.
    unsafe {
        libmimalloc_sys::mi_process_info(
            null_mut(),
            null_mut(),
            null_mut(),
            null_mut(),
            null_mut(),
            null_mut(),
            &raw mut peak,
            null_mut(),
        );
    }
    peak as u64
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "calls an allocator")]
    fn what_is_given_out_is_counted() {
        let allocator = Counted(System);
        let layout = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: blocks are given back once, with their layouts.
        unsafe {
            let before = allocator.alloc(layout);
            assert_eq!((live_bytes(), take_peak_bytes()), (0, 0));
            count_memory();
            let block = allocator.alloc_zeroed(layout);
            let block = allocator.realloc(block, layout, 3000);
            allocator.dealloc(block, Layout::from_size_align(3000, 8).unwrap());
            let block = allocator.alloc(layout);
            assert_eq!((live_bytes(), take_peak_bytes()), (1000, 3000));
            allocator.dealloc(block, layout);
            // What was there before may go.
            allocator.dealloc(before, layout);
            assert_eq!((live_bytes(), take_peak_bytes(), take_peak_bytes()), (0, 1000, 0));
        }
    }
}
