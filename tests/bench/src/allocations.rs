//! Counts allocations on request. Otherwise, the cost is the check of a constant flag, so timings
//! are comparable with those of the system's allocator.

#![allow(unsafe_code, reason = "an allocator requires unsafe code")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

fn count() {
    if IS_COUNTING.load(Ordering::Relaxed) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: All functions forward to `System`, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: The caller upholds the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: The caller upholds the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: The caller upholds the same contract.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: The caller upholds the same contract.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Returns the number of allocations and reallocations of this process during `run`.
pub(crate) fn counted<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.load(Ordering::Relaxed);
    IS_COUNTING.store(true, Ordering::Relaxed);
    let value = run();
    IS_COUNTING.store(false, Ordering::Relaxed);
    (value, COUNT.load(Ordering::Relaxed) - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_while_it_runs() {
        // Other tests may run concurrently.
        let (boxes, count) = counted(|| (0..100).map(Box::new).collect::<Vec<_>>());
        assert!(count >= 101, "{count} allocations for {}", boxes.len());
    }
}
