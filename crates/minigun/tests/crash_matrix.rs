//! Every way in which a worker can fail, at every moment of its life, in every kind of process block: each cell of
//! the table ends as it says, and leaves nothing behind.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;
mod matrix;

matrix::rows!();
