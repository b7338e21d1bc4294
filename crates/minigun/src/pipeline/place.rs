//! The head of a block: where it runs, and what happens when an attempt fails.

use std::hash::Hash;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::keep::{
    ByClone, ByFrame, ByWorkerClone, Keeping, Keeps, Kept, LetterFile, Letters, NoLetters, Once,
};
use super::letters::Post;
use super::port::Port;
use super::scope::{Program, Scope, Thread, Worker};
use crate::codec::Format;
use crate::failure::{Backoff, Last, Policy, StageResult};
use crate::gate::Rate;
use crate::plan::hooks::ForkHooks;
use crate::plan::{Executor, KeyOf, Placement, Settings, key_hash};
use crate::stage::letters::Dead;
use crate::wire::{Wire, WireFns};

/// The head of a block: where it runs (`P`), what is kept of an item while it is tried (`M`), and which of its workers an
/// item goes to (`K`).
#[must_use = "a block head does nothing until it is given to `Flow::on`"]
pub struct Block<P, M = Once, K = AnyWorker> {
    executor: Executor,
    policy: Policy,
    settings: Settings,
    hooks: ForkHooks,
    keeps: M,
    key: K,
    _place: PhantomData<fn() -> P>,
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

/// Blocks that run in processes of their own.
#[diagnostic::on_unimplemented(
    message = "this setting needs a process of its own: `{Self}` blocks cannot enforce it",
    note = "use `processes(n)` or `process_per_batch(max)`"
)]
pub trait ProcessBlock {}
impl ProcessBlock for Processes {}
impl ProcessBlock for PerBatch {}
impl ProcessBlock for Dynamic {}

/// An item goes to whichever worker is free.
pub struct AnyWorker(());
/// An item goes to the worker of its key.
pub struct ByKey<T>(KeyOf<T>);

/// Which worker of a block an item of type `T` goes to.
#[diagnostic::on_unimplemented(
    message = "this block's key is not that of a `{T}`",
    note = "the closure given to `by_key` takes a reference to the items that reach the block: `&{T}`"
)]
pub trait Assigns<T>: Sized {
    #[doc(hidden)]
    fn key(self) -> Option<KeyOf<T>> {
        None
    }
}
impl<T> Assigns<T> for AnyWorker {}
impl<T> Assigns<T> for ByKey<T> {
    fn key(self) -> Option<KeyOf<T>> {
        Some(self.0)
    }
}

/// Blocks whose workers serve many items, one after the other.
#[diagnostic::on_unimplemented(
    message = "`by_key` needs workers that serve many items: those of `{Self}` blocks do not",
    note = "use `threads(n)` or `processes(n)`"
)]
pub trait Pool {}
impl Pool for Threads {}
impl Pool for Processes {}
impl Pool for Dynamic {}

/// A block head that can stand in scope `S` for items of type `T`.
#[diagnostic::on_unimplemented(
    message = "a block of this kind cannot stand here: `{Self}` inside `{S}`",
    note = "process blocks belong to the pipeline itself; inside a block use `inline()` or `threads(n)`, or run a whole pipeline inside the closure",
    note = "`by_key` belongs to blocks of the pipeline itself, too: the threads of a block inside another take whatever comes"
)]
pub trait Runs<T, S = Program>: Sized {
    /// The scope inside the block.
    type Scope: Scope;
    #[doc(hidden)]
    fn head(self) -> Head<T>;
}

/// A block head without its types, and where its dead letters go.
#[doc(hidden)]
pub struct Head<T> {
    pub(crate) placement: Placement<T>,
    pub(crate) post: Option<Post<T>>,
}

macro_rules! runs_in_process {
    ($($place:ident $(<$key:ident>)? in $outer:ident is $scope:ident, kept $how:ident;)+) => { $(
        impl<T: Send + 'static, M: Keeps<T, $how> $(, $key: Assigns<T>)?> Runs<T, $outer>
            for Block<$place, M $(, $key)?>
        {
            type Scope = $scope;
            fn head(self) -> Head<T> {
                self.head_with(None)
            }
        }
    )+ };
}
runs_in_process! {
    Inline in Program is Thread, kept ByClone;
    Threads<K> in Program is Thread, kept ByClone;
    Inline in Thread is Thread, kept ByClone;
    Threads in Thread is Thread, kept ByClone;
    Inline in Worker is Worker, kept ByWorkerClone;
    Threads in Worker is Worker, kept ByWorkerClone;
}

macro_rules! runs_in_workers {
    ($($place:ident $(<$key:ident>)?;)+) => { $(
        impl<T: Wire, M: Keeps<T, ByFrame> $(, $key: Assigns<T>)?> Runs<T> for Block<$place, M $(, $key)?> {
            type Scope = Worker;
            fn head(self) -> Head<T> {
                self.head_with(Some(WireFns::new()))
            }
        }
    )+ };
}
runs_in_workers! {
    Processes<K>;
    PerBatch;
    Dynamic<K>;
}

impl<T: Wire> Runs<T> for Executor {
    type Scope = Worker;
    fn head(self) -> Head<T> {
        Runs::<T>::head(self.place())
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
///
/// While they are at work, the processes for the next items are forked ahead: at most `max` more, which wait, and run
/// nothing, no hook either, before they have their item. Each costs what a forked process costs that has done nothing:
/// some 100 KiB of memory of its own, and page tables (2 MiB for each GiB of the program's heap). Where
/// [`max_processes`](crate::Pipeline::max_processes) leaves no room beside `max`, or the system refused a process, there
/// are none. A process that has said goodbye is not waited for: it may take a moment to go, while the next is at work.
pub fn process_per_batch(max: usize) -> Block<PerBatch> {
    Block::new(Executor::ProcessPerBatch(max))
}

impl<P, M, K> Block<P, M, K> {
    fn head_with<T, H>(self, wire: Option<WireFns<T>>) -> Head<T>
    where
        M: Keeps<T, H>,
        K: Assigns<T>,
    {
        let Block { executor, policy, settings, hooks, keeps, key, .. } = self;
        let Keeping { copy: keep, post } = keeps.keeping();
        Head { placement: Placement { executor, policy, settings, hooks, keep, wire, key: key.key() }, post }
    }

    fn keeping<N>(self, keeps: N) -> Block<P, N, K> {
        let Block { executor, policy, settings, hooks, key, .. } = self;
        Block { executor, policy, settings, hooks, keeps, key, _place: PhantomData }
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

    /// What comes out of the block comes in the order in which its items went in, whatever its workers do:
    /// an item that takes long, is tried again or loses its worker holds back what is behind it, one that gives
    /// nothing or is set aside gives up its place. The outputs of one item stay together. Dead letters go out of
    /// order, as they arise.
    ///
    /// What waits is bounded: at most as many items as the block's [queue](Self::queue) holds are under way or wait
    /// for an earlier one, and none more is given to a worker while what came from worker processes and waits exceeds 8 MiB.
    ///
    /// Together with [`by_key`](Block::by_key) it is a mistake in the wiring: workers by key have a queue each.
    pub fn ordered(mut self) -> Self {
        self.settings.ordered = true;
        self
    }

    /// The block begins at most `per_second` items a second, all its workers together, and after a pause up to
    /// `burst` at once (at least 1). Who waits for that sleeps. Further attempts at an item are not counted: they have
    /// their [`Backoff`]. Once the run is stopped, what is still in the queue is no longer held back.
    ///
    /// A block inside another one counts by itself in each of that one's workers. A rate that is not above 0 is a
    /// mistake in the wiring. See [`Flow::rate`](crate::Flow::rate) for a step of its own.
    pub fn rate(mut self, per_second: f64, burst: u32) -> Self {
        self.settings.rate = Some(Rate { per_second, burst });
        self
    }

    /// The queue before the block holds at most `items`, those that wait for another attempt included.
    /// At least 1. Default: 1024, or more of small items that own no memory
    /// ([`queue_items`](crate::defaults::queue_items)).
    pub fn queue(mut self, items: usize) -> Self {
        self.settings.queue = Some(items.max(1));
        self.settings.said.queue = true;
        self
    }
}

impl<P> Block<P, Once> {
    fn new(executor: Executor) -> Self {
        let (policy, settings, hooks) = (Policy::default(), Settings::default(), ForkHooks::default());
        let (keeps, key) = (Once(()), AnyWorker(()));
        Block { executor, policy, settings, hooks, keeps, key, _place: PhantomData }
    }
}

impl<P, M> Block<P, M> {
    /// Items of one key all go to the same worker: to one that has the key's data at hand, or that must see them one after
    /// the other. If it dies, its replacement takes its place.
    ///
    /// ```
    /// # use minigun::{Pipeline, processes};
    /// # let p = Pipeline::new("accounts");
    /// let workers = p.collector("workers");
    /// let transfers = (0..100u32).map(|n| (n % 7, n)); // account and amount
    /// p.source("transfers", transfers).on(processes(3).by_key(|t: &(u32, u32)| t.0), |s| {
    ///     s.consumer("book", move |(account, _amount)| workers.push((account, std::process::id())))
    /// });
    /// let mut seen = p.run()?.take(workers);
    /// seen.sort();
    /// seen.dedup();
    /// assert_eq!(seen.len(), 7, "one worker for each account");
    /// # Ok::<(), minigun::Error>(())
    /// ```
    ///
    /// Every worker has a queue of its own, and together they hold what [`queue`](Block::queue) says (at least one item
    /// each). So no worker helps another out: when the queue of one is full, what sends to it waits. Items of one key
    /// come in the order in which they were sent, as long as none of them is tried again. Which worker a key goes to is
    /// the same in every run with as many workers.
    ///
    /// For an [`Executor`] that is `inline` one thread of the block's own serves all keys; `process_per_batch` is a mistake
    /// in the wiring, and so is [`ordered`](Block::ordered) on the same head. On a block inside another it does not
    /// compile; put it on the outer one, whose workers then see whole keys.
    pub fn by_key<T, K: Hash>(self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Block<P, M, ByKey<T>>
    where
        P: Pool,
    {
        let Block { executor, policy, settings, hooks, keeps, .. } = self;
        let key = ByKey(Arc::new(move |item: &T| key_hash(&key(item))) as KeyOf<T>);
        Block { executor, policy, settings, hooks, keeps, key, _place: PhantomData }
    }
}

impl<P, K> Block<P, Once, K> {
    /// Makes up to `attempts` attempts at each item (at least 1), waiting between them as `backoff` says,
    /// without holding up other items. On threads the item must be `Clone`.
    ///
    /// Attempts count errors, panics and items that cannot be decoded; deaths of worker processes are counted
    /// apart (see [`crash_attempts`](Self::crash_attempts)).
    pub fn retry(mut self, attempts: u32, backoff: Backoff) -> Block<P, Kept, K> {
        self.policy.attempts = attempts;
        self.settings.said.attempts = true;
        self.policy.backoff = backoff;
        self.keeping(Kept(()))
    }
}

impl<P, M: NoLetters, K> Block<P, M, K> {
    /// When an item's attempts are used up it goes to `port`, with why, and the run goes on. On threads the item
    /// must be `Clone`.
    ///
    /// Whatever ended it goes there: an error, a panic, a deadline, deaths of its workers, an item that cannot
    /// be encoded or decoded. A batch that reaches a block is one item and goes there whole, unless an inner
    /// block has a policy of its own. In a process block the program keeps each item until its result has
    /// arrived, so what arrives at the port is the item itself.
    pub fn dead_letter<T>(mut self, port: &Port<Dead<T>>) -> Block<P, Letters<T>, K> {
        self.policy.last = Last::DeadLetter;
        self.keeping(Letters(port.clone()))
    }

    /// When an item's attempts are used up it is written to a file, and the run goes on: one JSON object a line,
    /// appended, with stage, item number, attempts, error and the encoded item.
    /// [`Pipeline::replay`](crate::Pipeline::replay) feeds it back in. On threads the item must be `Clone`.
    ///
    /// The file is opened (made, if need be) when the run starts; one that cannot be is an
    /// [`Error::Letters`](crate::Error::Letters), as is one that cannot be written. Lines are whole, and safe on
    /// the disk when the run has ended.
    pub fn dead_letter_file(mut self, path: impl AsRef<Path>) -> Block<P, LetterFile, K> {
        self.policy.last = Last::DeadLetter;
        self.keeping(LetterFile(path.as_ref().to_path_buf()))
    }
}

// The bound stands on the methods: on the impl it would be a missing method, without the trait's explanation.
impl<P, M, K> Block<P, M, K> {
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
        self.settings.said.max_restarts = true;
        self
    }

    /// After this many workers died while running the same item, the block's last word (`stop`, `skip`)
    /// applies to it. Default: 3; at least 1.
    pub fn crash_attempts(mut self, deaths: u32) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.crash_attempts = deaths.max(1);
        self.settings.said.crash_attempts = true;
        self
    }

    /// An item may run for at most `limit` (an attempt; a batch is one item). Beyond that its worker gets SIGTERM,
    /// with its process group, and SIGKILL after a [grace](Self::grace); a new worker takes its place. Default: no
    /// deadline.
    ///
    /// The miss counts as one of the item's [`crash_attempts`](Self::crash_attempts); what else the worker had in
    /// flight is run elsewhere and charged nothing. A worker that stopped between two items (SIGSTOP) is replaced
    /// after the same time, or the [grace](Self::grace) if that is longer. For an [`Executor`] that is no process, a deadline is a mistake in the wiring.
    pub fn timeout(mut self, limit: Duration) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.timeout = Some(limit);
        self.settings.said.timeout = true;
        self
    }

    /// How long a worker that missed its deadline may take to end by itself, before SIGKILL. Default: 5 s.
    pub fn grace(mut self, grace: Duration) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.grace = grace;
        self.settings.said.grace = true;
        self
    }

    /// Each worker is replaced after `items` items (at least 1), its `after` hooks run: for code that leaks.
    /// Default: never. `process_per_batch` is the case of 1.
    pub fn recycle_after(mut self, items: u64) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.recycle.items = Some(items.max(1));
        self
    }

    /// Each worker is replaced, its `after` hooks run, when more than `bytes` of memory are its own: what it made or
    /// changed since its fork, not what it shares with the program. It is looked at between items, at most
    /// every 50 ms. Default: never.
    ///
    /// Unlike [`memory_limit`](Self::memory_limit) it costs no item: the worker that leaks ends in order.
    pub fn recycle_above(mut self, bytes: u64) -> Self
    where
        P: ProcessBlock,
    {
        self.settings.recycle.memory = Some(bytes);
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

    /// Runs once in the program before workers can be forked, behind the pipeline's own
    /// [`before_fork`](crate::Pipeline::before_fork) and those of the blocks written before: close what this
    /// block's workers must not share. Several run in the order given. What it counts and collects is the
    /// program's. Not called where nothing is forked: the block runs on threads
    /// ([`or_threads`](Self::or_threads), an [`Executor`] that names no processes).
    ///
    /// An error or a panic fails the run before anything of it has started, with an [`Error::Hook`] that
    /// names the block.
    ///
    /// [`Error::Hook`]: crate::Error::Hook
    pub fn before_fork<R: StageResult>(mut self, f: impl Fn() -> R + Send + Sync + 'static) -> Self
    where
        P: ProcessBlock,
    {
        self.hooks.before.push(Arc::new(move || f().into_result()));
        self
    }

    /// Runs in each worker process of this block, behind the pipeline's own
    /// [`after_fork`](crate::Pipeline::after_fork), before the stages' `before` hooks, `_init` closures and
    /// the first item: open what each worker needs for itself. Several run in the order given. All a worker
    /// runs before its first item must be done within
    /// [`INIT_BOUND`](crate::defaults::INIT_BOUND).
    ///
    /// What it counts and collects is told to the program when the worker is ready. An error or a panic fails
    /// the run with an error that names hook and block. Not called where nothing is forked.
    pub fn after_fork<R: StageResult>(mut self, f: impl Fn() -> R + Send + Sync + 'static) -> Self
    where
        P: ProcessBlock,
    {
        self.hooks.after.push(Arc::new(move || f().into_result()));
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

#[cfg(all(test, target_os = "linux", not(minigun_no_fork)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use minigun_os::Board;

    use crate::{Executor, Pipeline};

    /// Each death is alone in its window: what could end the run is a row of them at the start.
    #[test]
    fn a_row_of_workers_that_die_in_their_init_is_ended_by_one_that_became_ready() {
        const ITEMS: u64 = 6;
        for place in ["processes:1", "process_per_batch:1"] {
            let mut block = place.parse::<Executor>().unwrap().place().recycle_after(1).max_restarts(2);
            block.settings.window = Duration::ZERO;
            // How many were begun, for all processes.
            let begun = Arc::new(Board::new(0, 1).unwrap());
            let pipeline = Pipeline::new("row");
            let out = pipeline
                .source("items", 0..ITEMS)
                .on(block, |s| {
                    let init = move || {
                        if begun.bytes()[0].fetch_add(1, Ordering::SeqCst) % 3 < 2 {
                            std::process::abort();
                        }
                    };
                    s.map_init("work", init, |(), n: u64| n)
                })
                .collect("out");
            let mut report = pipeline.run().unwrap();
            let mut came = report.take(out);
            came.sort_unstable();
            assert_eq!(
                came,
                Vec::from_iter(0..ITEMS),
                "{place}: what came back may be overtaken, and comes once"
            );
            let deaths = report.stage("work").unwrap().figures.deaths;
            assert!(deaths >= 2 * ITEMS, "{place}: two before each that served an item, not {deaths}");
        }
    }
}
