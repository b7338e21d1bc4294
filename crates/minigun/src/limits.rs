//! What a pipeline allows its blocks, and what a run warns of.

use std::fmt;

/// What kind of workers a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// None of its own: it runs in the worker of the stage before.
    Caller,
    Threads,
    Processes,
}

/// The most workers that one block may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) threads: Option<usize>,
    pub(crate) processes: Option<usize>,
}

impl Limits {
    /// How many workers a block gets that asks for so many.
    pub(crate) fn hold(&self, kind: Kind, asked: usize) -> usize {
        let limit = match kind {
            Kind::Caller => None,
            Kind::Threads => self.threads,
            Kind::Processes => self.processes,
        };
        limit.map_or(asked, |limit| asked.min(limit))
    }
}

/// Something about a run that its owner should know, though the run can do its work.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub enum Warning {
    /// A block asked for more workers than the pipeline allows
    /// ([`max_threads`](crate::Pipeline::max_threads), [`max_processes`](crate::Pipeline::max_processes)).
    Held {
        /// The block's steps.
        block: String,
        /// Where it was to run: `threads`, `processes`, `process_per_batch`.
        place: &'static str,
        /// The workers it asked for.
        asked: usize,
        /// The workers it was given.
        held_to: usize,
    },
    /// The program was built with `panic = "abort"`: a panic of a closure that runs in the program ends the
    /// program, no policy can catch it. In a worker process it is a death, charged to its item.
    PanicAborts,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Held { block, place, asked, held_to } => {
                write!(
                    f,
                    "the block of `{block}` asked for {place}:{asked} and was held to {held_to} by the pipeline"
                )
            }
            Warning::PanicAborts => f.write_str(
                "built with panic = \"abort\": a panic in the program ends it, in a worker process it is a death",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_only_its_own_kind() {
        let limits = Limits { threads: Some(2), processes: None };
        assert_eq!(limits.hold(Kind::Threads, 8), 2);
        assert_eq!(limits.hold(Kind::Threads, 1), 1);
        assert_eq!((limits.hold(Kind::Processes, 8), limits.hold(Kind::Caller, 1)), (8, 1));
    }
}
