//! Worker processes: the fork server, the frames, the ledger of what is in flight.
//!
//! | file | what |
//! |---|---|
//! | `zygote/` | the fork server, from which every worker is forked |
//! | `frame`, `protocol` | bytes on a worker's socket, and what they say |
//! | `board` | shared memory in which a worker claims the item it runs |
//! | `ledger` | what is in flight to one worker |
//! | `worker`, `outbox` | the worker's loop, and its results on their way back |
//! | `fuzz` | what arrives on a socket, for the fuzz targets |
//! | `limits`, `term` | what a worker may use, and its stop for a debugger; how long it serves |
//! | `stderr`, `speaker`, `cause` | what workers print, and who is told; why one died |
//! | `slot`, `crew`, `link`, `pace`, `arrival` | the program's side of one worker, and what slots share |
//! | `courtesy` | giving way to others before calling somebody |

mod arrival;
mod board;
mod cause;
mod courtesy;
mod crew;
mod frame;
#[cfg(fuzzing)]
pub mod fuzz;
mod ledger;
mod limits;
mod link;
mod outbox;
mod pace;
mod protocol;
mod slot;
mod speaker;
mod stderr;
mod term;
mod worker;
mod zygote;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use minigun_os::{PipeWriter, child};

use crate::defaults::{ANSWER_BOUND, GRACE};
use crate::error::Error;
use crate::graph::StageId;
use crate::journal;
use crate::limits::Limits;
use crate::meter::{self, Waits};
use crate::plan::hooks::ForkHook;
use crate::shared::{Halt, Shared};

pub(crate) use arrival::Arrival;
use board::Board;
use cause::OomWatch;
pub(crate) use crew::{Desk, SlotCrew};
pub(crate) use limits::is_debugged;
pub(crate) use slot::{InTurn, Slot, SlotBlock, Ways};
use speaker::Speaker;
use stderr::{Ears, Listener};
pub(crate) use worker::{Serve, WorkerProgram};
use zygote::{Seat, WorkerProcess, ZygoteError, Zygotes, remedy};

/// What worker processes a run needs: gathered before anything starts.
pub(crate) struct Plan {
    shared: Arc<Shared>,
    programs: Vec<(Arc<dyn Serve>, usize)>,
    /// The stage and the place for which each slot works.
    slots: Vec<(StageId, usize)>,
    before_fork: Vec<ForkHook>,
    board: Arc<OnceLock<Arc<Board>>>,
}

/// A block's place in the plan.
#[derive(Clone)]
pub(crate) struct Berth {
    /// The block's number at the fork server.
    pub(crate) number: u32,
    first: usize,
    board: Arc<OnceLock<Arc<Board>>>,
}

impl Berth {
    /// The claims of one of the block's slots; there once the fork server is.
    pub(crate) fn claims(&self, slot: usize) -> Option<board::Claims> {
        Some(self.board.get()?.slot(self.first + slot))
    }
}

impl Plan {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Plan {
            shared: Arc::clone(shared),
            programs: Vec::new(),
            slots: Vec::new(),
            before_fork: Vec::new(),
            board: Arc::default(),
        }
    }

    /// A stage's block needs `slots` workers that run `program`, and these hooks run before they can be forked.
    pub(crate) fn add(
        &mut self,
        program: Arc<dyn Serve>,
        (stage, slots): (StageId, usize),
        before_fork: Vec<ForkHook>,
    ) -> Berth {
        self.before_fork.extend(before_fork);
        let (number, first) = (self.programs.len() as u32, self.slots.len());
        self.programs.push((program, first));
        self.slots.extend((0..slots).map(|place| (stage, place)));
        Berth { number, first, board: Arc::clone(&self.board) }
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.shared.limits()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// The hooks of the blocks that run before the fork, in the order of the blocks.
    pub(crate) fn before_fork(&self) -> &[ForkHook] {
        &self.before_fork
    }

    /// Forks the fork server, and its standby.
    pub(crate) fn fork(self, after_fork: Vec<ForkHook>) -> Result<Processes, Error> {
        let name = self.shared.name().to_string();
        let failed = |cause: &dyn std::fmt::Display| Error::Zygote {
            pipeline: name.clone(),
            cause: cause.to_string(),
        };
        let board = Board::new(self.slots.len()).map_err(|error| refused(&self.shared, "mmap", &error))?;
        let board = Arc::clone(self.board.get_or_init(|| board));
        self.shared.share_stop().map_err(|error| refused(&self.shared, "mmap", &error))?;
        let ears = Ears::new(self.slots.len()).map_err(|error| refused(&self.shared, "pipe", &error));
        let (mut ears, writers) = ears?;
        ears.know(self.slots.iter().enumerate().map(|(slot, (stage, place))| Speaker {
            run: Arc::clone(&self.shared),
            stage: *stage,
            place: *place,
            claims: board.slot(slot),
        }));
        let writers = Arc::new(writers);
        let firsts = self.programs.iter().map(|(_, first)| *first).collect();
        let (programs, shared, pipes) = (self.programs, Arc::clone(&self.shared), Arc::clone(&writers));
        let theirs = Arc::clone(&board);
        let main = move |seat: Seat| match programs.get(seat.block as usize) {
            Some((program, first)) => {
                let slot = first + seat.slot as usize;
                if let Some(pipe) = pipes.get(slot) {
                    // Refused, it prints past the engine.
                    let _ = child::redirect_stderr(pipe);
                }
                let claims = board.slot(slot);
                program.serve(seat.socket, &claims, &shared, &after_fork)
            }
            None => NO_PROGRAM,
        };
        let oom = OomWatch::new();
        let main: zygote::WorkerMain = Box::new(main);
        let inside = || {
            writers.iter().for_each(PipeWriter::keep_in_children);
            theirs.seal_items();
            // Thread-locals with destructors are registered with the loader at their first use: here, for all workers.
            journal::leave_behind();
            drop(meter::wait(Waits::ForInput));
        };
        let zygotes = Zygotes::birth(&name, &main, &inside, ANSWER_BOUND).map_err(|error| failed(&error))?;
        let stderr = Listener::start(ears, &self.shared)
            .map_err(|error| failed(&format!("starting the thread for standard error: {error}")))?;
        Ok(Processes { zygotes, stderr, oom, firsts })
    }
}

/// Exit code of a worker that was asked for a block that does not exist.
const NO_PROGRAM: i32 = 3;

/// Whether worker processes are to be had here, else the refused call.
pub(crate) fn supported() -> io::Result<()> {
    minigun_os::supported()
}

/// The error of a run for which a call was refused that its worker processes need.
pub(crate) fn refused(shared: &Shared, call: &str, error: &io::Error) -> Error {
    let cause = format!("{call}: {error}{}", remedy(error));
    Error::Zygote { pipeline: shared.name().to_string(), cause }
}

/// The worker processes of a run.
pub(crate) struct Processes {
    zygotes: Zygotes,
    stderr: Listener,
    pub(crate) oom: OomWatch,
    /// Each block's first slot.
    firsts: Vec<usize>,
}

impl Processes {
    fn spawn(&self, block: u32, slot: u32, title: &str) -> Result<WorkerProcess, ZygoteError> {
        self.zygotes.spawn(block, slot, title)
    }

    /// A slot's worker has ended: the end of what it printed to standard error.
    fn last_words(&self, block: u32, slot: usize) -> String {
        self.firsts.get(block as usize).map_or(String::new(), |first| self.stderr.last_words(first + slot))
    }

    /// Every worker and both fork servers are gone when this returns, and what they printed is shown; workers
    /// have some time to leave.
    pub(crate) fn close(&self, shared: &Shared) -> Result<(), Error> {
        let closed = self.close_within(GRACE, shared);
        self.stderr.close();
        closed
    }

    /// Workers are killed. From any thread; what they printed is shown by [`close`](Self::close).
    pub(crate) fn kill(&self, shared: &Shared) -> Result<(), Error> {
        self.close_within(Duration::ZERO, shared)
    }

    fn close_within(&self, grace: Duration, shared: &Shared) -> Result<(), Error> {
        self.zygotes
            .close(grace)
            .map_err(|error| Error::Zygote { pipeline: shared.name().to_string(), cause: error.to_string() })
    }
}

/// Wakes a slot when the run is halted.
impl Halt for minigun_os::Event {
    fn halt(&self) {
        // It can refuse only if it was never made; then nobody waits on it.
        let _ = self.set();
    }
}
