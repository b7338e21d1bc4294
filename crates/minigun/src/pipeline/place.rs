//! The head of a block: where it runs, and what happens when an attempt fails.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use super::scope::{Program, Scope, Thread, Worker};
use crate::codec::Format;
use crate::defaults;
use crate::error::Error;
use crate::failure::{Backoff, Last, Policy};
use crate::wire::{Wire, WireFns};

/// Where a block runs, as a plain value: from configuration, from text (`"processes:4".parse()`), or written
/// out. Its items must be able to travel to a process, whichever kind it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Executor {
    /// On the thread of the stage before.
    Inline,
    /// On this many threads.
    Threads(usize),
    /// In this many persistent worker processes.
    Processes(usize),
    /// In a fresh process for every item, at most this many at once.
    ProcessPerBatch(usize),
}

/// The names an [`Executor`] is parsed from.
const EXECUTORS: &str = "known are `inline`, `threads`, `processes` and `process_per_batch`, the last three with \
    a number of workers as in `threads:4` (without one: as many as the machine has cores)";

impl FromStr for Executor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |hint: String| Error::Executor { text: text.to_string(), hint };
        let (name, count) = match text.trim().split_once(':') {
            Some((name, count)) => {
                let number = count.trim().parse::<NonZeroUsize>().map_err(|_| {
                    wrong(format!("`{}` is not a number of workers (at least 1)", count.trim()))
                })?;
                (name.trim(), Some(number.get()))
            }
            None => (text.trim(), None),
        };
        let workers = || count.unwrap_or_else(cores);
        match name {
            "inline" if count.is_none() => Ok(Executor::Inline),
            "inline" => Err(wrong("`inline` takes no number of workers".to_string())),
            "threads" => Ok(Executor::Threads(workers())),
            "processes" => Ok(Executor::Processes(workers())),
            "process_per_batch" => Ok(Executor::ProcessPerBatch(workers())),
            _ => Err(wrong(EXECUTORS.to_string())),
        }
    }
}

impl fmt::Display for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Executor::Inline => f.write_str("inline"),
            Executor::Threads(n) => write!(f, "threads:{n}"),
            Executor::Processes(n) => write!(f, "processes:{n}"),
            Executor::ProcessPerBatch(n) => write!(f, "process_per_batch:{n}"),
        }
    }
}

impl Executor {
    /// A block head for this executor, to which policies can be added.
    pub fn place(self) -> Block<Dynamic> {
        Block::new(self)
    }

    pub(crate) fn workers(self) -> usize {
        match self {
            Executor::Inline => 1,
            Executor::Threads(n) | Executor::Processes(n) | Executor::ProcessPerBatch(n) => n,
        }
    }
}

/// The number of cores this program may use; at least 1.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The head of a block: where it runs (`P`) and what is kept of an item while it is tried (`M`).
#[must_use = "a block head does nothing until it is given to `Flow::on`"]
pub struct Block<P, M = Once> {
    executor: Executor,
    policy: Policy,
    settings: Settings,
    _kinds: PhantomData<fn() -> (P, M)>,
}

/// What a block's head says besides place and policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) queue: usize,
    pub(crate) format: Format,
    pub(crate) max_restarts: u32,
    pub(crate) window: Duration,
    pub(crate) crash_attempts: u32,
    pub(crate) or_threads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            queue: defaults::QUEUE_ITEMS,
            format: Format::default(),
            max_restarts: defaults::MAX_RESTARTS,
            window: defaults::RESTART_WINDOW,
            crash_attempts: defaults::CRASH_ATTEMPTS,
            or_threads: false,
        }
    }
}

/// The block runs on the thread before it.
pub enum Inline {}
/// The block runs on threads.
pub enum Threads {}
/// The block runs in persistent worker processes.
pub enum Processes {}
/// The block runs in a fresh process for every item.
pub enum PerBatch {}
/// The block runs where a value says.
pub enum Dynamic {}

/// An item is handed over for good.
pub enum Once {}
/// An item is kept for another attempt.
pub enum Kept {}

/// In a process block the encoded item is kept anyway.
pub enum ByFrame {}
/// On threads an item is kept as a clone.
pub enum ByClone {}

/// Whether a block can keep its items in the way its policy asks.
#[diagnostic::on_unimplemented(
    message = "this block cannot keep a `{T}` for another attempt",
    label = "policy and item do not fit",
    note = "on threads `{T}` must be `Clone` to be tried again (in process blocks the kept frame serves)"
)]
pub trait Keeps<T, How> {
    #[doc(hidden)]
    fn keeper() -> Option<Keep<T>> {
        None
    }
}
impl<T, H> Keeps<T, H> for Once {}
#[diagnostic::do_not_recommend]
impl<T: Clone> Keeps<T, ByClone> for Kept {
    fn keeper() -> Option<Keep<T>> {
        Some(|item| Some(item.clone()))
    }
}
impl<T: Wire> Keeps<T, ByFrame> for Kept {
    /// Only used where the block runs on threads after all: an item that need not be `Clone` is copied by
    /// its encoding.
    fn keeper() -> Option<Keep<T>> {
        Some(|item| {
            let mut bytes = Vec::new();
            Format::default().encode(item, &mut bytes).ok()?;
            Format::default().decode(&bytes).ok()
        })
    }
}

/// Copies an item for another attempt; `None` if it cannot be copied.
pub(crate) type Keep<T> = fn(&T) -> Option<T>;

/// Blocks that run in processes of their own.
#[diagnostic::on_unimplemented(
    message = "this setting needs a process of its own: `{Self}` blocks cannot enforce it",
    note = "use `processes(n)` or `process_per_batch(max)`"
)]
pub trait ProcessBlock {}
impl ProcessBlock for Processes {}
impl ProcessBlock for PerBatch {}
impl ProcessBlock for Dynamic {}

/// A block head that can stand in scope `S` for items of type `T`.
#[diagnostic::on_unimplemented(
    message = "a block of this kind cannot stand here: `{Self}` inside `{S}`",
    note = "process blocks belong to the pipeline itself; inside a block use `inline()` or `threads(n)`, or run a whole pipeline inside the closure"
)]
pub trait Runs<T, S = Program>: Sized {
    /// The scope inside the block.
    type Scope: Scope;
    #[doc(hidden)]
    fn placement(self) -> Placement<T>;
}

/// A block head without its types, as the engine takes it.
#[doc(hidden)]
pub struct Placement<T> {
    pub(crate) executor: Executor,
    pub(crate) policy: Policy,
    pub(crate) settings: Settings,
    pub(crate) keep: Option<Keep<T>>,
    pub(crate) wire: Option<WireFns<T>>,
}

macro_rules! runs_in_process {
    ($($place:ident in $outer:ident is $scope:ident;)+) => { $(
        impl<T: Send + 'static, M: Keeps<T, ByClone>> Runs<T, $outer> for Block<$place, M> {
            type Scope = $scope;
            fn placement(self) -> Placement<T> {
                self.placed(M::keeper(), None)
            }
        }
    )+ };
}
runs_in_process! {
    Inline in Program is Thread;
    Threads in Program is Thread;
    Inline in Thread is Thread;
    Threads in Thread is Thread;
    Inline in Worker is Worker;
    Threads in Worker is Worker;
}

macro_rules! runs_in_workers {
    ($($place:ident)+) => { $(
        impl<T: Wire, M: Keeps<T, ByFrame>> Runs<T> for Block<$place, M> {
            type Scope = Worker;
            fn placement(self) -> Placement<T> {
                self.placed(M::keeper(), Some(WireFns::new()))
            }
        }
    )+ };
}
runs_in_workers!(Processes PerBatch Dynamic);

impl<T: Wire> Runs<T> for Executor {
    type Scope = Worker;
    fn placement(self) -> Placement<T> {
        Runs::<T>::placement(self.place())
    }
}

/// On the thread of the stage before: cheap steps, debugging, deterministic tests.
pub fn inline() -> Block<Inline> {
    Block::new(Executor::Inline)
}

/// On `n` threads.
pub fn threads(n: usize) -> Block<Threads> {
    Block::new(Executor::Threads(n))
}

/// In `n` persistent worker processes, each serving many items.
pub fn processes(n: usize) -> Block<Processes> {
    Block::new(Executor::Processes(n))
}

/// In a fresh process for every item that arrives (usually a batch), at most `max` at once.
pub fn process_per_batch(max: usize) -> Block<PerBatch> {
    Block::new(Executor::ProcessPerBatch(max))
}

impl<P, M> Block<P, M> {
    fn placed<T>(self, keep: Option<Keep<T>>, wire: Option<WireFns<T>>) -> Placement<T> {
        Placement { executor: self.executor, policy: self.policy, settings: self.settings, keep, wire }
    }

    fn with<N>(self) -> Block<P, N> {
        Block { executor: self.executor, policy: self.policy, settings: self.settings, _kinds: PhantomData }
    }

    /// When an item's attempts are used up it is set aside: counted, its error kept for the report.
    pub fn skip(mut self) -> Self {
        self.policy.last = Last::Skip;
        self
    }

    /// When an item's attempts are used up the run ends and returns the error. This is the default.
    pub fn stop(mut self) -> Self {
        self.policy.last = Last::Stop;
        self
    }

    /// The queue before the block holds at most `items`, those that wait for another attempt included.
    /// Default: 1024. At least 1.
    pub fn queue(mut self, items: usize) -> Self {
        self.settings.queue = items.max(1);
        self
    }
}

impl<P> Block<P, Once> {
    fn new(executor: Executor) -> Self {
        Block { executor, policy: Policy::default(), settings: Settings::default(), _kinds: PhantomData }
    }

    /// Makes up to `attempts` attempts at each item (at least 1), waiting between them as `backoff` says,
    /// without holding up other items. On threads the item must be `Clone`.
    ///
    /// Attempts count errors, panics and items that cannot be decoded; deaths of worker processes are counted
    /// apart (see [`crash_attempts`](Self::crash_attempts)).
    pub fn retry(mut self, attempts: u32, backoff: Backoff) -> Block<P, Kept> {
        self.policy.attempts = attempts;
        self.policy.backoff = backoff;
        self.with()
    }
}

// The bound stands on the methods: on the impl it would be a missing method, without the trait's explanation.
impl<P, M> Block<P, M> {
    /// How items are encoded on their way to the workers and back. Default: [`Format::Tagged`].
    pub fn codec(mut self, format: Format) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.format = format;
        self
    }

    /// More than `deaths` of this block's workers within 10 s end the run with their causes. Default: 100.
    pub fn max_restarts(mut self, deaths: u32) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.max_restarts = deaths;
        self
    }

    /// After this many workers died while running the same item, the block's last word (`stop`, `skip`)
    /// applies to it. Default: 3; at least 1.
    pub fn crash_attempts(mut self, deaths: u32) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.crash_attempts = deaths.max(1);
        self
    }

    /// Where worker processes are not to be had, the block runs on as many threads instead of failing the
    /// pipeline with [`Error::Unsupported`].
    pub fn or_threads(mut self) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.or_threads = true;
        self
    }
}

impl From<Executor> for Block<Dynamic> {
    fn from(executor: Executor) -> Self {
        executor.place()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executors_are_read_back_from_their_text() {
        for executor in
            [Executor::Inline, Executor::Threads(3), Executor::Processes(4), Executor::ProcessPerBatch(1)]
        {
            assert_eq!(executor.to_string().parse::<Executor>().unwrap(), executor);
        }
        assert_eq!("threads".parse::<Executor>().unwrap(), Executor::Threads(cores()));
    }

    #[test]
    fn an_unknown_executor_is_an_error_that_lists_the_known_ones() {
        let error = "proceses:4".parse::<Executor>().unwrap_err().to_string();
        for known in ["inline", "threads", "processes", "process_per_batch"] {
            assert!(error.contains(known), "{error}");
        }
        assert!("threads:0".parse::<Executor>().is_err());
        assert!("threads:many".parse::<Executor>().is_err());
        assert!("inline:2".parse::<Executor>().is_err());
    }
}
