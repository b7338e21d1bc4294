//! Worker processes: the fork server, the frames, the ledger of what is in flight.
//!
//! | file | what |
//! |---|---|
//! | `zygote/` | the fork server, from which every worker is forked |
//! | `frame`, `protocol` | bytes on a worker's socket, and what they say |
//! | `board` | shared memory in which a worker claims the item it runs |
//! | `ledger` | what is in flight to one worker |
//! | `worker`, `outbox` | the worker's loop, and its results on their way back |
//! | `slot`, `crew`, `link`, `pace`, `arrival` | the program's side of one worker, and what slots share |

mod arrival;
mod board;
mod crew;
mod frame;
mod ledger;
mod link;
mod outbox;
mod pace;
mod protocol;
mod slot;
mod worker;
mod zygote;

use std::io;
use std::sync::{Arc, OnceLock};

use crate::defaults::{ANSWER_BOUND, GRACE};
use crate::error::Error;
use crate::plan::hooks::ForkHook;
use crate::shared::{Halt, Shared};

pub(crate) use arrival::Arrival;
use board::Board;
pub(crate) use crew::{Desk, SlotCrew};
pub(crate) use slot::{Slot, SlotBlock};
pub(crate) use worker::{Serve, WorkerProgram};
use zygote::{Seat, WorkerProcess, ZygoteError, Zygotes, remedy};

/// What worker processes a run needs: gathered before anything starts.
pub(crate) struct Plan {
    shared: Arc<Shared>,
    programs: Vec<(Arc<dyn Serve>, usize)>,
    slots: usize,
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
        Plan { shared: Arc::clone(shared), programs: Vec::new(), slots: 0, board: Arc::default() }
    }

    /// A block needs `slots` workers that run `program`.
    pub(crate) fn add(&mut self, program: Arc<dyn Serve>, slots: usize) -> Berth {
        let berth =
            Berth { number: self.programs.len() as u32, first: self.slots, board: Arc::clone(&self.board) };
        self.programs.push((program, self.slots));
        self.slots += slots;
        berth
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// Forks the fork server, and its standby.
    pub(crate) fn fork(self, after_fork: Vec<ForkHook>) -> Result<Processes, Error> {
        let name = self.shared.name().to_string();
        let failed = |cause: &dyn std::fmt::Display| Error::Zygote {
            pipeline: name.clone(),
            cause: cause.to_string(),
        };
        let board = Board::new(self.slots).map_err(|error| refused(&self.shared, "mmap", &error))?;
        let board = Arc::clone(self.board.get_or_init(|| board));
        let (programs, shared) = (self.programs, Arc::clone(&self.shared));
        let main = move |seat: Seat| match programs.get(seat.block as usize) {
            Some((program, first)) => {
                let claims = board.slot(first + seat.slot as usize);
                program.serve(seat.socket, &claims, &shared, &after_fork)
            }
            None => NO_PROGRAM,
        };
        let main: zygote::WorkerMain = Box::new(main);
        let zygotes = Zygotes::birth(&name, &main, ANSWER_BOUND).map_err(|error| failed(&error))?;
        Ok(Processes { zygotes })
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
}

impl Processes {
    fn spawn(&self, block: u32, slot: u32, title: &str) -> Result<WorkerProcess, ZygoteError> {
        self.zygotes.spawn(block, slot, title)
    }

    /// Every worker and both fork servers are gone when this returns.
    pub(crate) fn close(&self, shared: &Shared) -> Result<(), Error> {
        self.zygotes
            .close(GRACE)
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
