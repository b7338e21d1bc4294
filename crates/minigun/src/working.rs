//! Which item a thread is working at, and which attempt at it this is.

use std::fmt;
use std::sync::Arc;

use crate::journal::Journal;

/// The attempt in which the calling closure runs: which item of which stage, and the how-manieth.
///
/// In any closure of a stage it names the item of the *outermost* block that this thread is working at,
/// wherever the block runs; on threads nested in a block, the item of the block around them. Items are numbered
/// from 0 in the order in which they arrived at the block; `map` and other light steps, and inline blocks, belong
/// to the stage before them, so behind a source the number is that of the item it emitted.
///
/// `None` outside any attempt: in hooks and `_init` closures, in a producer's own closure (what it emits has a
/// number, what it does before has none), in what steps do with a remainder they kept until the end of the run,
/// and on threads that the program or a closure started itself.
///
/// # Side effects that can be repeated
///
/// A worker can die between a side effect and the arrival of its result; the item is then run again, and so is
/// the effect. Item, stage and run are the same in every attempt at an item, so they make a key under which the
/// outside world recognises a repetition: a file's name, an idempotency key of a web service, a `UNIQUE` column
/// with `INSERT OR IGNORE`:
///
/// ```
/// # use minigun::Pipeline;
/// # let folder = std::env::temp_dir().join(format!("minigun-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let p = Pipeline::new("orders");
/// # let to = folder.clone();
/// p.source("orders", ["tea", "milk"]).threads(2, |s| {
///     s.consumer("invoice", move |order| {
///         let Some(at) = minigun::attempt() else { return Err("outside any attempt".into()) };
///         std::fs::write(to.join(format!("invoice-{}", at.item)), order)?; // a repetition replaces it
///         Ok(())
///     })
/// });
/// p.run()?;
/// # assert_eq!(std::fs::read_to_string(folder.join("invoice-1"))?, "milk");
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A key made of numbers is stable within one run only: the next run of the program numbers its items anew. Where
/// effects must not repeat across runs either, use a key that the item itself carries.
pub fn attempt() -> Option<AttemptId> {
    Journal::top(Journal::attempt_id).flatten()
}

/// One attempt at one item, as [`attempt`] tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct AttemptId {
    /// The run: a random number, the same in all its threads and processes.
    pub run: u64,
    /// The outermost block, by the name under which the report shows it, or the stage outside any block.
    pub stage: Arc<str>,
    /// The item's number there: 0 for the first that arrived. The same in every attempt at it.
    pub item: u64,
    /// Which attempt at the item this is, from 1. Attempts that ended with the death of their worker count, so
    /// within a run no two attempts of a block at one item have the same number.
    pub attempt: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` item {}, attempt {}", self.stage, self.item, self.attempt)
    }
}

/// What a worker does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Working {
    /// No item: hooks and `_init` closures run, or nothing does.
    #[default]
    Nothing,
    /// An attempt at an item.
    Item { item: u64, attempt: u32 },
    /// At the end: what a step kept until then passes through the steps behind it.
    Rest,
}

impl Working {
    /// An attempt at an item that was tried so many times before.
    pub(crate) fn at(item: u64, tried: u32) -> Self {
        Working::Item { item, attempt: tried.saturating_add(1) }
    }
}
