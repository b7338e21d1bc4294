//! The head of a block: where it runs, and what happens when an attempt fails.

use std::marker::PhantomData;
use std::time::Duration;

use super::scope::{Program, Scope, Thread, Worker};
use crate::codec::Format;
use crate::failure::{Backoff, Last, Policy};
use crate::plan::{Executor, Placement, Settings};
use crate::stage::Keep;
use crate::wire::{Wire, WireFns};

/// The head of a block: where it runs (`P`) and what is kept of an item while it is tried (`M`).
#[must_use = "a block head does nothing until it is given to `Flow::on`"]
pub struct Block<P, M = Once> {
    executor: Executor,
    policy: Policy,
    settings: Settings,
    _kinds: PhantomData<fn() -> (P, M)>,
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

    /// Each worker may map this many bytes of address space beyond what it inherits from the program
    /// (`RLIMIT_AS`). Default: no limit.
    ///
    /// Address space is more than what is used of it: stacks of threads (2 MiB each) and what the allocator
    /// reserves count too, so leave some tens of MiB of room. What does not fit is refused; most programs then
    /// abort, and the item is charged with a death that names the limit. Where [`or_threads`](Self::or_threads)
    /// steps in there is no limit.
    pub fn memory_limit(mut self, bytes: u64) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.limits.memory = Some(bytes);
        self
    }

    /// Each worker may use this much processor time in its life, all its threads and items together, rounded up to
    /// whole seconds (`RLIMIT_CPU`). At the limit it is killed, and the item it runs is charged with a death
    /// that names the limit. Default: no limit. Where [`or_threads`](Self::or_threads) steps in there is none.
    ///
    /// Mostly of use in [`process_per_batch`], where a worker's life is that of its item.
    pub fn cpu_limit(mut self, time: Duration) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.limits.cpu = Some(time);
        self
    }

    /// Adds to the niceness of each worker: more leaves more of the machine to others, up to 19. Less than 0
    /// needs a privilege; without it the run ends with [`Error::Init`](crate::Error::Init). Default: that of
    /// the program. Where [`or_threads`](Self::or_threads) steps in nothing is added.
    pub fn nice(mut self, add: i32) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.limits.nice = Some(add);
        self
    }

    /// Where worker processes are not to be had, the block runs on as many threads instead of failing the
    /// pipeline with [`Error::Unsupported`](crate::Error::Unsupported).
    pub fn or_threads(mut self) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.or_threads = true;
        self
    }
}

impl Executor {
    /// A block head for this executor, to which policies can be added.
    pub fn place(self) -> Block<Dynamic> {
        Block::new(self)
    }
}

impl From<Executor> for Block<Dynamic> {
    fn from(executor: Executor) -> Self {
        executor.place()
    }
}
