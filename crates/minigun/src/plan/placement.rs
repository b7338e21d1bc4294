//! Where a block is to run and under which policy, without the types of its head.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::BlockDef;
use super::config::Said;
use super::hooks::ForkHooks;
use super::key::KeyOf;
use crate::codec::Format;
use crate::defaults;
use crate::error::Error;
use crate::failure::Policy;
use crate::gate::{Gate, Rate};
use crate::graph::{PointId, StageId};
use crate::limits::{Kind, Limits};
use crate::queue::Queue;
use crate::stage::Keep;
use crate::stage::letters::MakeLetters;
use crate::stage::sink::MakeSink;
use crate::wire::WireFns;

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
            Some((name, count)) => (name.trim(), Some(count.trim())),
            None => (text.trim(), None),
        };
        let with: fn(usize) -> Executor = match (name, count) {
            ("inline", None) => return Ok(Executor::Inline),
            ("inline", Some(_)) => return Err(wrong("`inline` takes no number of workers".to_string())),
            ("threads", _) => Executor::Threads,
            ("processes", _) => Executor::Processes,
            ("process_per_batch", _) => Executor::ProcessPerBatch,
            _ => return Err(wrong(EXECUTORS.to_string())),
        };
        match count.map(str::parse::<NonZeroUsize>) {
            None => Ok(with(cores())),
            Some(Ok(workers)) => Ok(with(workers.get())),
            Some(Err(_)) => {
                let count = count.unwrap_or_default();
                Err(wrong(format!("`{count}` is not a number of workers (at least 1)")))
            }
        }
    }
}

impl fmt::Display for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Executor::Inline => f.write_str(self.name()),
            _ => write!(f, "{}:{}", self.name(), self.workers()),
        }
    }
}

impl Executor {
    /// Its items run in processes of their own.
    pub(crate) fn is_process(self) -> bool {
        matches!(self, Executor::Processes(_) | Executor::ProcessPerBatch(_))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Executor::Inline => "inline",
            Executor::Threads(_) => "threads",
            Executor::Processes(_) => "processes",
            Executor::ProcessPerBatch(_) => "process_per_batch",
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Executor::Inline => Kind::Caller,
            Executor::Threads(_) => Kind::Threads,
            Executor::Processes(_) | Executor::ProcessPerBatch(_) => Kind::Processes,
        }
    }

    /// The workers it gets under a pipeline's limits.
    pub(crate) fn held_to(self, limits: &Limits) -> usize {
        limits.hold(self.kind(), self.workers())
    }

    /// How many workers it may have forked ahead, so that with those at work they are no more than the limit.
    pub(crate) fn spares(self, limits: &Limits) -> usize {
        match self {
            Executor::ProcessPerBatch(_) => {
                let workers = self.held_to(limits);
                limits.hold(self.kind(), workers.saturating_mul(2)).saturating_sub(workers)
            }
            _ => 0,
        }
    }

    pub(crate) fn workers(self) -> usize {
        match self {
            Executor::Inline => 1,
            Executor::Threads(n) | Executor::Processes(n) | Executor::ProcessPerBatch(n) => n,
        }
    }
}

/// The number of cores this program may use: those of the machine, less what its affinity and, on Linux, its
/// control group's quota leave it; at least 1. An [`Executor`] read from text without a number has so many
/// workers (`"processes".parse()`); `threads(cores())` says the same in code.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// What a block's head says besides place and policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Items in the queue before it; by default as many as suit its items.
    pub(crate) queue: Option<usize>,
    pub(crate) format: Format,
    pub(crate) max_restarts: u32,
    pub(crate) window: Duration,
    pub(crate) crash_attempts: u32,
    pub(crate) or_threads: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) recycle: Recycle,
    pub(crate) limits: WorkerLimits,
    /// Items leave in the order in which they came.
    pub(crate) ordered: bool,
    pub(crate) rate: Option<Rate>,
    pub(crate) said: Said,
}

/// When a worker process is replaced by a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recycle {
    /// After this many items.
    pub(crate) items: Option<u64>,
    /// When this many bytes of memory are its own.
    pub(crate) memory: Option<u64>,
}

/// What each worker process of a block may use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerLimits {
    /// Bytes of address space beyond what it inherits.
    pub(crate) memory: Option<u64>,
    pub(crate) cpu: Option<Duration>,
    /// Added to its niceness.
    pub(crate) nice: Option<i32>,
}

impl Settings {
    /// How many items of type `T` the queue before the block holds.
    pub(crate) fn queue_of<T>(&self) -> usize {
        self.queue.unwrap_or_else(defaults::queue_items::<T>)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            queue: None,
            format: Format::default(),
            max_restarts: defaults::MAX_RESTARTS,
            window: defaults::RESTART_WINDOW,
            crash_attempts: defaults::CRASH_ATTEMPTS,
            or_threads: false,
            timeout: None,
            grace: defaults::GRACE,
            recycle: Recycle::default(),
            limits: WorkerLimits::default(),
            ordered: false,
            rate: None,
            said: Said::default(),
        }
    }
}

impl Settings {
    /// The queue in front of the block's workers; taken items may come back where it `returns`.
    pub(crate) fn make_queue<T>(&self, returns: bool) -> Queue<T> {
        let limit = self.queue_of::<T>();
        Queue::gated(limit, returns, Gate::of(self.rate, self.ordered.then_some(limit)))
    }

    /// The queues of workers that have one each, which together hold what the one would, and keep its rate together.
    pub(crate) fn make_lanes<T>(&self, count: usize, returns: bool) -> Vec<Queue<T>> {
        Queue::lanes(count, self.queue_of::<T>(), returns, Gate::of(self.rate, None).as_ref())
    }

    /// The settings made that only a process of its own can enforce.
    pub(crate) fn need_process(&self) -> impl Iterator<Item = &'static str> {
        let WorkerLimits { memory, cpu, nice } = self.limits;
        let made = [
            self.timeout.map(|_| "timeout"),
            memory.map(|_| "memory_limit"),
            cpu.map(|_| "cpu_limit"),
            nice.map(|_| "nice"),
        ];
        made.into_iter().flatten()
    }
}

/// A block head without its types, as the engine takes it.
pub(crate) struct Placement<T> {
    pub(crate) executor: Executor,
    pub(crate) policy: Policy,
    pub(crate) settings: Settings,
    pub(crate) hooks: ForkHooks,
    pub(crate) keep: Option<Keep<T>>,
    pub(crate) wire: Option<WireFns<T>>,
    /// Items of one key all go to the same worker.
    pub(crate) key: Option<KeyOf<T>>,
}

/// A block, ready to be placed.
pub(crate) struct Placed<T> {
    pub(crate) def: Arc<BlockDef>,
    pub(crate) head: MakeSink<T>,
    pub(crate) placement: Placement<T>,
    /// The point behind its queue.
    pub(crate) behind: PointId,
    /// The stage on which the block's books are kept.
    pub(crate) stage: StageId,
    pub(crate) name: Arc<str>,
    /// The stages inside.
    pub(crate) stages: Vec<String>,
    /// Where its items go that failed for good.
    pub(crate) letters: Option<MakeLetters<T>>,
    /// It stands inside another block.
    pub(crate) nested: bool,
}

/// The policy of a stage outside any block.
pub(crate) fn default_policy() -> Policy {
    Policy { attempts: 1, ..Policy::default() }
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
