//! Every default and limit, in one place.
#![doc = include_str!("defaults.md")]

use std::time::Duration;

/// Items a queue between two stages holds …
pub const QUEUE_ITEMS: usize = 1024;
/// … and small items that own no memory elsewhere: as many more as fit into so many bytes.
pub const QUEUE_BYTES: usize = 128 << 10;

/// How many items of type `T` a queue between two stages holds by default: [`QUEUE_ITEMS`], or as many as fit into
/// [`QUEUE_BYTES`] if those are more and nothing has to be dropped with them. Numbers and small records then pass in
/// longer runs, for no more memory. Before a process for each item it is always [`QUEUE_ITEMS`].
pub const fn queue_items<T>() -> usize {
    let size = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    let fit = QUEUE_BYTES / size;
    if std::mem::needs_drop::<T>() || fit < QUEUE_ITEMS { QUEUE_ITEMS } else { fit }
}

/// A sender's own lane into a queue holds no more than this many bytes of items (what they own elsewhere not counted) …
pub const LANE_BYTES: usize = 256 << 10;
/// … but this many items, however large, if the queue may hold as many.
pub const LANE_ITEMS: usize = 16;
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
/// A run of so many bytes in an item (bytes as serde knows them, or text) passes between the program and a worker
/// process through a slab of shared memory, if there is room in it.
pub const APART_BYTES: usize = 32 << 10;
/// The slab of one worker, for each of the two directions. What was never used of it takes no memory.
pub const SLAB_BYTES: usize = 128 << 20;
/// Frames to a worker are filled up to about this much work.
pub const FRAME_WORK: Duration = Duration::from_millis(1);
/// A finished result waits at most this long in a worker that is busy with a later item. Longer than a frame's work takes:
/// else half of the frames would be sent in two parts.
pub const RESULT_WAIT: Duration = Duration::from_millis(2);
/// The first items of each type at each border that are checked by a round trip …
pub const CHECKED_ITEMS: u32 = 8;
/// … of which a large one counts for one more with each so many bytes.
pub const CHECKED_BYTES: usize = 64 << 10;
/// Worker deaths within [`RESTART_WINDOW`] beyond which the run ends.
pub const MAX_RESTARTS: u32 = 100;
/// The window in which deaths are counted.
pub const RESTART_WINDOW: Duration = Duration::from_secs(10);
/// Deaths charged to one item before the block's policy decides about it.
pub const CRASH_ATTEMPTS: u32 = 3;
/// How long a new worker may take to say its engine's hello before it is replaced. The second in a row that
/// misses it condemns its fork server, and the standby takes over.
pub const HELLO_BOUND: Duration = Duration::from_secs(5);
/// How long the fork server may leave a request unanswered, and say nothing at all, before it is killed and
/// its standby takes over.
pub const ANSWER_BOUND: Duration = Duration::from_secs(5);
/// A fork that the system refused is tried again after this time.
pub const FORK_RETRY: Duration = Duration::from_millis(100);
/// How long `after_fork` hooks and `_init` closures of a new worker may take.
pub const INIT_BOUND: Duration = Duration::from_secs(60);
/// How long a worker may take to end by itself once told so.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long a run of the test kit ([`testing`](crate::testing)) may take before it is killed.
pub const TRIAL_BOUND: Duration = Duration::from_secs(60);
/// The first wait of [`Backoff::default`](crate::Backoff).
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest wait of [`Backoff::default`](crate::Backoff).
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// What waits to go round a loop is kept in memory up to about so many bytes at either end; the rest is in files.
pub const LOOP_MEMORY: usize = 1 << 20;
/// Such a file is left for the next when it has so many bytes.
pub const LOOP_FILE: u64 = 64 << 20;
/// So many items at once go round a loop again.
pub const LOOP_RUN: usize = 64;
/// Lines of a dead worker's standard error that are told with its death.
pub const LAST_WORDS_LINES: usize = 20;
/// The most that those lines may be together, in bytes.
pub const LAST_WORDS_BYTES: usize = 4 << 10;
/// Events that wait for an observer; what comes while there are so many is missed.
pub const HELD_EVENTS: usize = 4096;
/// Where there is no terminal, a line tells of the progress so often.
pub const PROGRESS_LINES: Duration = Duration::from_secs(5);
/// On a terminal, progress is drawn so often.
pub const PROGRESS_DRAWN: Duration = Duration::from_millis(125);
/// Failures of one stage whose text is kept for the report.
pub const KEPT_FAILURES: usize = 10;

/// The table of this module's documentation: name, value, meaning.
#[cfg(test)]
fn table() -> String {
    let seconds = |time: Duration| match time.as_millis() {
        ms if ms < 1000 => format!("{ms} ms"),
        _ => format!("{} s", time.as_secs()),
    };
    let bytes = |n: usize| match n {
        n if n >= 1 << 30 => format!("{} GiB", n >> 30),
        n if n >= 1 << 20 => format!("{} MiB", n >> 20),
        n => format!("{} KiB", n >> 10),
    };
    let rows = [
        (
            "queue before a stage",
            format!(
                "{QUEUE_ITEMS} items; of such that own no memory, {} if those are more",
                bytes(QUEUE_BYTES)
            ),
            "`Block::queue`",
        ),
        (
            "of which one sender's lane holds",
            format!("{LANE_ITEMS} items, or {} of them", bytes(LANE_BYTES)),
            "fixed",
        ),
        ("outputs held back by one attempt on a thread", format!("{HELD_ITEMS} items"), "fixed"),
        ("in flight to one worker", format!("{WINDOW_ITEMS} items, {}", bytes(HELD_BYTES)), "fixed"),
        ("a frame is filled to", format!("{}, {}", bytes(FRAME_BYTES), seconds(FRAME_WORK)), "fixed"),
        (
            "a run of bytes or text that travels by shared memory",
            format!("from {}", bytes(APART_BYTES)),
            "fixed",
        ),
        ("that memory, for one worker and direction, at most", bytes(SLAB_BYTES), "fixed"),
        ("largest frame", bytes(LARGEST_FRAME), "fixed"),
        ("largest encoded item, and all outputs of one", bytes(LARGEST_ITEM), "fixed"),
        ("a ready result waits for a busy worker at most", seconds(RESULT_WAIT), "fixed"),
        (
            "items checked by a round trip, per border and worker",
            format!("{CHECKED_ITEMS}; a large one counts once more for each {}", bytes(CHECKED_BYTES)),
            "fixed",
        ),
        (
            "worker deaths in the window before the run ends",
            MAX_RESTARTS.to_string(),
            "`Block::max_restarts`",
        ),
        ("that window", seconds(RESTART_WINDOW), "fixed"),
        (
            "deaths charged to one item before its policy",
            CRASH_ATTEMPTS.to_string(),
            "`Block::crash_attempts`",
        ),
        ("attempts at an item", "1".to_string(), "`Block::retry`"),
        (
            "first wait, longest wait of `Backoff::default()`",
            format!("{}, {}", seconds(BACKOFF_FIRST), seconds(BACKOFF_MAX)),
            "`Backoff::exponential`",
        ),
        ("a new worker's hello", seconds(HELLO_BOUND), "fixed"),
        ("the fork server's answer to a request, if it says nothing else", seconds(ANSWER_BOUND), "fixed"),
        ("a refused fork is tried again after", seconds(FORK_RETRY), "fixed"),
        ("`after_fork` hooks and `_init` closures of a worker", seconds(INIT_BOUND), "fixed"),
        ("how long an item may run", "no limit".to_string(), "`Block::timeout`"),
        ("from SIGTERM to SIGKILL for a worker whose item ran too long", seconds(GRACE), "`Block::grace`"),
        ("items after which a worker is replaced", "no limit".to_string(), "`Block::recycle_after`"),
        (
            "memory of its own above which a worker is replaced",
            "no limit".to_string(),
            "`Block::recycle_above`",
        ),
        ("grace for a worker to end, and for threads in user code after a stop", seconds(GRACE), "fixed"),
        ("a run of the test kit", seconds(TRIAL_BOUND), "`testing::Trial::within`"),
        (
            "a dead worker's last lines on standard error",
            format!("{LAST_WORDS_LINES} lines, {}", bytes(LAST_WORDS_BYTES)),
            "fixed",
        ),
        ("waiting to go round a loop, in memory", format!("{} at either end", bytes(LOOP_MEMORY)), "fixed"),
        ("events that wait for a slow observer", HELD_EVENTS.to_string(), "fixed"),
        (
            "progress: a line, a drawing on a terminal",
            format!("every {}, every {}", seconds(PROGRESS_LINES), seconds(PROGRESS_DRAWN)),
            "`Pipeline::progress`, `MINIGUN_PROGRESS`",
        ),
        ("failed items kept in the report, per stage", KEPT_FAILURES.to_string(), "fixed"),
    ];
    let mut table = String::from("| what | default | set by |\n|---|---|---|\n");
    for (what, default, set_by) in rows {
        table.push_str(&format!("| {what} | {default} | {set_by} |\n"));
    }
    table
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documented_table_is_made_from_the_constants() {
        let documented = include_str!("defaults.md");
        assert_eq!(documented, super::table(), "defaults.md should be:\n{}", super::table());
    }
}
