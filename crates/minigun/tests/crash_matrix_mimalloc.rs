//! The crash matrix once more, with an allocator that has locks and threads' heaps of its own to meet a fork with.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;
mod matrix;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

matrix::rows!(#[ignore = "the same matrix again: run by `.ci/run kills`"]);
