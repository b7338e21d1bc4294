//! minigun
#![forbid(unsafe_code)]

mod codec;
pub mod defaults;
mod error;
mod exec;
mod failure;
mod graph;
mod pipeline;
mod process;
mod queue;
mod run;
mod stage;
mod stats;
mod sync;
mod wire;

pub use codec::{Codec, CodecError, Compact, Format, Tagged, UnknownFormat};
pub use error::Error;
pub use failure::{Backoff, Failure, FailureKind, StageResult};
pub use graph::Mistake;
pub use pipeline::Pipeline;
pub use pipeline::block::Tail;
pub use pipeline::ends::{Collected, Folded, Receiver};
pub use pipeline::fan::merge;
pub use pipeline::flow::{Done, Flow, Segment};
pub use pipeline::place::{
    Block, Dynamic, Executor, Inline, Keeps, Kept, Once, PerBatch, ProcessBlock, Processes, Runs, Threads,
    inline, process_per_batch, processes, threads,
};
pub use pipeline::port::{Flows, Port, Ports};
pub use pipeline::scope;
pub use pipeline::source::Sender;
pub use run::report::{Outcome, Report, StageReport};
pub use run::running::Running;
pub use stage::handles::{Collector, Counter};
pub use stage::output::{Output, Stopped};
pub use stats::{FailedItem, StageFigures};
pub use wire::Wire;
