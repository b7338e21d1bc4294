//! Pipelines whose steps run on threads, in worker processes, or in a fresh process for every batch, without
//! losing an item.
//!
//! ```
//! use minigun::Pipeline;
//!
//! let p = Pipeline::new("tour");
//! let words = p
//!     .source("lines", ["a b", "c d e"].map(String::from))
//!     .processes(2, |s| s.flat_map("split", |line| line.split(' ').map(str::to_owned).collect::<Vec<_>>()))
//!     .collect("words");
//! let mut report = p.run()?;
//! assert_eq!(report.take(words).len(), 5);
//! # Ok::<(), minigun::Error>(())
//! ```
//!
//! # A tour
//!
//! * [`Pipeline`] makes sources ([`source`](Pipeline::source), [`producer`](Pipeline::producer),
//!   [`lines`](Pipeline::lines), [`channel`](Pipeline::channel)), ports ([`inlet`](Pipeline::inlet)), handles
//!   ([`counter`](Pipeline::counter), [`collector`](Pipeline::collector)), [locked files](LockedFile) and hooks, and is
//!   [`run`](Pipeline::run).
//! * [`Flow`] is the typed end of what has been written so far; every step takes it and returns the next. Flows
//!   are cloned (every clone gets every item), split ([`partition`](Flow::partition), [`round_robin`](Flow::round_robin), …),
//!   [`merge`]d, led in loops ([`feedback`](Flow::feedback)), and ended by a consumer, a [`Collected`], a
//!   [`Folded`] or a [`Receiver`].
//! * [`Flow::on`] runs steps where a [`Block`] head says: [`inline`], [`threads`], [`processes`],
//!   [`process_per_batch`], or an [`Executor`] value. Policies stand on the head: [`retry`](Block::retry),
//!   [`skip`](Block::skip), [`stop`](Block::stop).
//! * [`Pipeline::start`] gives a [`Running`]: join it, [`stop`](Running::stop) it, [`kill`](Running::kill) it,
//!   read its figures, from other threads by a [`Handle`]. [`Pipeline::handle_signals`] stops it by Ctrl-C,
//!   [`exit_code`] tells so, and [`Pipeline::on_failure`] hears of every item that failed for good.
//! * [`Report`] tells what every stage did, and holds the values that handles stand for. [`Error`] and
//!   [`Mistake`] say what went wrong and what to do about it.
//! * [`Shared`] is a large data set that every worker process reads without a copy, and that makes no fork slower.
//! * [`Pipeline::progress`] shows how far a run is, [`Pipeline::observe`] tells of what happens in it as [`Event`]s, and
//!   [`Running::stats`] has the figures of its stages and workers at any moment.
//! * [`attempt`] tells a closure which item it works at, so that side effects can be repeated without harm.
//! * [`guide`] has pages on whole matters: what happens when something fails, which way items take, the words of the Ruby
//!   gem beside ours.
//! * [`Config`] and [`Pipeline::executor`] leave places and sizes to the time of the run; [`Pipeline::drawing`] shows
//!   what was built.
//! * [`Format`] is the codec of a process block; [`defaults`] has every default and limit.
//!
//! # What a fork means
//!
//! `run` forks a fork server before it starts a thread of its own; every worker is forked by that server. So a
//! worker sees what the program had in memory when `run` began, copy-on-write, and what it changes there the
//! program never sees. Emitted items, counters and collectors come back, with the commit of their item. All
//! workers of one server start with the same state of random generators seeded before the run: seed those in
//! an `_init` closure. The program's threads do not exist in a worker; a lock that one of them held at the fork
//! stays locked there, so workers should use what they made themselves.
//!
//! Standard error of a worker is a pipe (`isatty(2)` is false there): the program shows what comes, line by line, and
//! tells the last of it when the worker dies. A panic in a worker carries its place, and its backtrace if
//! `RUST_BACKTRACE` asks for one.
//!
//! # Debugging a worker
//!
//! With `MINIGUN_DEBUG_WORKER=parse` in the environment, where `parse` is a block or a stage in it, or `all`, each such
//! worker prints one line with its process number and stops itself before it does anything. Attach (`gdb -p …`,
//! `lldb -p …`), and let it go on with `kill -CONT …`. The run waits for such workers however long they take.
//!
//! # How the crate is laid out
//!
//! From the top: `pipeline` is the builder, `run` a run from start to report, `exec` where blocks run, `process`
//! the worker processes, `plan` what was decided about each block, `stage` what a step does with an item and the
//! transaction around it, `graph` the wiring as plain data. The system calls are in `minigun-os`; this crate has
//! no `unsafe` code.
#![forbid(unsafe_code)]

mod apart;
mod codec;
pub mod defaults;
mod error;
mod events;
mod exec;
mod failure;
mod gate;
mod graph;
pub mod guide;
#[cfg(feature = "hud")]
pub mod hud;
mod in_flight;
mod journal;
mod limits;
mod locked;
mod meter;
#[cfg(feature = "metrics")]
pub mod metrics;
mod observe;
mod panics;
mod pipeline;
mod plan;
mod process;
mod queue;
mod report;
mod run;
mod shared;
mod shared_data;
mod stage;
mod stats;
mod sync;
pub mod testing;
mod timers;
mod wire;
mod working;

pub use codec::{Codec, CodecError, Compact, Format, Tagged, UnknownFormat};
pub use error::Error;
pub use events::{Event, Observing, WorkerId};
pub use failure::{Backoff, FailedItem, Failure, FailureKind, Fate, StageResult, StopCause};
pub use graph::{Drawing, Mistake};
pub use limits::Warning;
pub use locked::{Committed, LockedFile, Record, Records};
pub use observe::progress::{Progress, UnknownProgress};
pub use observe::screen::aside;
pub use pipeline::Pipeline;
pub use pipeline::block::Tail;
pub use pipeline::ends::{Collected, Folded, Receiver};
pub use pipeline::fan::{Flows, merge};
pub use pipeline::flow::{Done, Flow, Segment};
pub use pipeline::keep::{Keeps, Kept, LetterFile, Letters, NoLetters, Once};
pub use pipeline::place::{
    AnyWorker, Assigns, Block, ByKey, Dynamic, Inline, PerBatch, Pool, ProcessBlock, Processes, Runs,
    Threads, inline, process_per_batch, processes, threads,
};
pub use pipeline::port::{Port, Ports};
pub use pipeline::scope;
pub use pipeline::source::Sender;
pub use plan::config::Config;
pub use plan::{Executor, cores};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use process::fuzz;
pub use report::{Limiting, Outcome, Report, StageReport};
pub use run::exit::exit_code;
pub use run::handle::Handle;
pub use run::running::Running;
pub use shared_data::{Shared, SharedBytes, SharedError, SharedWriter};
pub use stage::batcher::Batches;
pub use stage::handles::{Collector, Counter};
pub use stage::letters::Dead;
pub use stage::output::{Output, Stopped};
pub use stats::{Deaths, Latency, QueueFigures, StageFigures, WorkerFigures, WorkerState};
pub use wire::Wire;
pub use working::{AttemptId, attempt};

/// The README's program is compiled and run by `cargo test`.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
