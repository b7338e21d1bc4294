//! Every default and limit, in one place.
#![doc = include_str!("defaults.md")]

use std::time::Duration;

/// Items a queue between two stages holds.
pub const QUEUE_ITEMS: usize = 1024;
/// Outputs of one attempt that may be held back in a thread until it succeeds.
pub const HELD_ITEMS: usize = 1 << 20;
/// Encoded bytes in flight to one worker process; a larger single item travels alone.
pub const HELD_BYTES: usize = 8 << 20;
/// Items in flight to one worker process.
pub const WINDOW_ITEMS: usize = 4096;
/// The largest frame to or from a worker process, in bytes.
pub const LARGEST_FRAME: usize = 1 << 30;
/// The most that one item may be, encoded, and the most that its outputs may be together, in bytes.
pub const LARGEST_ITEM: usize = LARGEST_FRAME - (1 << 20);
/// Frames to a worker are filled up to about this many bytes.
pub const FRAME_BYTES: usize = 64 << 10;
/// Frames to a worker are filled up to about this much work.
pub const FRAME_WORK: Duration = Duration::from_millis(1);
/// A finished result waits at most this long in a worker that is busy with a later item.
pub const RESULT_WAIT: Duration = Duration::from_millis(1);
/// The first items of each type at each border that are checked by a round trip.
pub const CHECKED_ITEMS: u32 = 8;
/// Worker deaths within [`RESTART_WINDOW`] beyond which the run ends.
pub const MAX_RESTARTS: u32 = 100;
/// The window in which deaths are counted.
pub const RESTART_WINDOW: Duration = Duration::from_secs(10);
/// Deaths charged to one item before the block's policy decides about it.
pub const CRASH_ATTEMPTS: u32 = 3;
/// How long a new worker may take to say its engine's hello before it is replaced.
pub const HELLO_BOUND: Duration = Duration::from_secs(5);
/// How long `after_fork` hooks and `_init` closures of a new worker may take.
pub const INIT_BOUND: Duration = Duration::from_secs(60);
/// How long a worker may take to end by itself once told so.
pub const GRACE: Duration = Duration::from_secs(5);
/// The first wait of [`Backoff::default`](crate::Backoff).
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest wait of [`Backoff::default`](crate::Backoff).
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Failures of one stage whose text is kept for the report.
pub const KEPT_FAILURES: usize = 10;
