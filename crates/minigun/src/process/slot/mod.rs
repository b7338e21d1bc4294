//! One worker slot, seen from the program: a thread that feeds its worker, takes its results, and replaces it
//! when it dies.
//!
//! `feed` is the way out, `results` the way in, `door` a short way out, `death` the worker's end, `spares` the workers
//! before and behind it.
//!
//! The thread never waits for one thing alone: it polls the worker's socket and the event by which the queue
//! and the other slots call it.

mod death;
mod door;
mod feed;
mod results;
mod spares;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use minigun_os::{Interest, Watch, poll};

use super::Processes;
use super::arrival::Arrival;
use super::courtesy::Courtesy;
use super::crew::{Desk, SlotCrew};
use super::link::{Link, Stage};
use super::pace::Pace;
use super::zygote::WorkerProcess;
use crate::apart::Store;
use crate::error::Error;
use crate::failure::Policy;
use crate::graph::StageId;
use crate::journal::Entries;
use crate::meter::Meter;
use crate::plan::Settings;
use crate::queue::Queue;
use crate::shared::{Hurry, Shared};
use crate::stage::letters::{self, Letters};
use crate::stage::turns::Turns;
use crate::stats::{Backlog, StageStats, WorkerState, WorkerStats};
use crate::timers::{self, Look};
use crate::wire::WireFns;
use death::Leaving;
pub(crate) use door::Door;
use spares::Spares;

/// What the slots of one block know of it.
pub(crate) struct SlotBlock<T> {
    pub(crate) queue: Arc<Queue<T>>,
    pub(crate) crew: SlotCrew<T>,
    pub(crate) wire: WireFns<T>,
    pub(crate) policy: Policy,
    pub(crate) settings: Settings,
    pub(crate) name: Arc<str>,
    /// The stage on which the block's books are kept.
    pub(crate) stage: StageId,
    pub(crate) number: u32,
    /// Each worker serves one item.
    pub(crate) fresh: bool,
    /// Items are kept beside their encoding, for the dead letters.
    pub(crate) keeps_items: bool,
    /// Its workers stop for a debugger, and are given all the time they take.
    pub(crate) debugged: bool,
    /// Where its results are put into the order of their items.
    pub(crate) turns: Option<Arc<Turns<InTurn>>>,
}

/// The outputs of an item that wait for their turn.
pub(crate) struct InTurn {
    pub(crate) body: Vec<u8>,
    pub(crate) attempt: u32,
}

/// What came back waits here for another attempt.
impl<T: Send> Backlog for SlotBlock<T> {
    fn waiting(&self) -> usize {
        self.crew.waiting()
    }
}

impl<T: Send> Hurry for SlotBlock<T> {
    fn hurry(&self) {
        self.crew.hurry();
    }
}

impl<T: Send> Look for SlotBlock<T> {
    fn look(&self) {
        self.crew.wake();
    }
}

/// The thread of one slot.
pub(crate) struct Slot<'a, T> {
    block: &'a SlotBlock<T>,
    desk: &'a Desk<T>,
    index: usize,
    shared: &'a Arc<Shared>,
    processes: &'a Processes,
    stats: Arc<StageStats>,
    figures: &'a Arc<WorkerStats>,
    /// The present worker's begin was told.
    told: bool,
    /// Waiting for room behind the block is done by this thread.
    meter: Meter,
    /// So long it did, and its worker may say that it waited for input meanwhile; in nanoseconds.
    kept_waiting: u64,
    /// Where long runs of items are put.
    store: Option<Arc<Store>>,
    arrival: Arrival,
    letters: Option<Box<dyn Letters<T>>>,
    link: Option<Link>,
    spares: Spares,
    /// The worker whose stream has ended: how it ended is not known yet.
    leaving: Option<Leaving>,
    /// The queue has something that may be taken from then on.
    queue_due: Option<Instant>,
    /// The system refused a fork: the next is tried then.
    fork_due: Option<Instant>,
    pace: Pace,
    unchecked: u32,
    input_ended: bool,
    /// Only its worker called: what it sent comes first.
    answered: bool,
    /// Nothing is left of what the worker sent, as far as the last read tells.
    read_all: bool,
    /// When it last looked somebody was writing to the worker, from its door.
    in_use: bool,
    courtesy: Courtesy,
}

/// The slot cannot go on; the run has been failed.
struct Failed;

/// How a slot's items go to its worker and what came of them goes on.
pub(crate) struct Ways<T> {
    /// Where long runs of the items stand, if there is such a place.
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) arrival: Arrival,
    pub(crate) letters: Option<Box<dyn Letters<T>>>,
}

type Step<R = ()> = Result<R, Failed>;

impl<'a, T: Send + 'static> Slot<'a, T> {
    pub(crate) fn new(
        block: &'a SlotBlock<T>,
        desk: (usize, &'a Desk<T>),
        shared: &'a Arc<Shared>,
        processes: &'a Processes,
        (stats, figures): (Arc<StageStats>, &'a Arc<WorkerStats>),
        Ways { store, arrival, letters }: Ways<T>,
    ) -> Self {
        let meter = Meter::new(shared.clock(), Some(figures.state()));
        Slot {
            block,
            desk: desk.1,
            index: desk.0,
            shared,
            processes,
            stats,
            figures,
            told: false,
            meter,
            kept_waiting: 0,
            store,
            arrival,
            letters,
            link: None,
            spares: Spares::default(),
            leaving: None,
            queue_due: None,
            fork_due: None,
            pace: Pace::default(),
            unchecked: crate::defaults::CHECKED_ITEMS,
            input_ended: false,
            answered: false,
            read_all: false,
            in_use: false,
            courtesy: Courtesy::default(),
        }
    }

    /// Serves until the block has nothing more to do, or the run is halted.
    pub(crate) fn drive(mut self) {
        let served = self.serve();
        if let Some(link) = self.last_link()
            && (served.is_err() || self.shared.is_halted())
        {
            link.kill();
            if link.stage != Stage::Gone {
                self.stats.goodbye_lost();
            }
        }
        self.spares.dismiss(self.shared.is_halted());
        let left = self.desk.ledger.lock().clear().len() as u64 + self.block.crew.abandon();
        self.stats.abandoned(left);
        self.block.queue.done(left as usize);
        if let Err(failure) = letters::finish(&mut self.letters) {
            self.shared.fail(Error::Hook { hook: "after", cause: failure.to_string() });
        }
        drop(self.letters.take());
        self.retired();
        self.waited();
        if let Some(store) = &self.store {
            store.clear();
        }
        self.arrival.shelf().clear();
        self.arrival.finish(self.shared);
    }

    fn serve(&mut self) -> Step {
        if !self.block.fresh {
            self.fork()?;
        }
        while !self.shared.is_halted() {
            self.fork_again()?;
            let answered = std::mem::take(&mut self.answered);
            let fed = !answered && self.feed()?;
            let wrote = self.may_write() && self.link.as_mut().is_some_and(Link::write);
            self.fork_ahead()?;
            let took = self.receive()? || self.left()?;
            if took {
                self.waited();
            }
            let alone = self.link.is_none() && self.leaving.is_none() && self.spares.are_gone();
            if self.input_ended && alone {
                return Ok(());
            }
            if !(answered || fed || wrote || took) {
                self.wait()?;
            }
        }
        Ok(())
    }

    /// Of what this thread does only its waiting for room is the block's.
    fn waited(&mut self) {
        self.meter.tell(|timing| {
            self.kept_waiting += timing.for_room;
            self.stats.timed(&timing.only_room());
        });
    }

    /// A worker has nothing to do while this thread waits for room, and should not be told to wait for input then.
    fn settle_waits(&mut self, entries: &mut Entries) {
        let timings = entries.times.iter_mut().filter(|(stage, _)| *stage == self.block.stage);
        for (_, timing) in timings {
            let not_for_input = timing.for_input.min(self.kept_waiting);
            timing.for_input -= not_for_input;
            self.kept_waiting -= not_for_input;
        }
    }

    /// The worker's begin is told, with its first words or when it dies before them.
    fn began(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            self.figures.runs_in(self.desk.claims.pid());
            self.shared.worker_began(self.block.stage, self.figures);
        }
    }

    /// A worker whose begin was told has ended, as it should or with the run.
    fn retired(&mut self) {
        if std::mem::take(&mut self.told) {
            self.shared.worker_retired(self.block.stage, self.figures);
        }
        self.figures.is(WorkerState::Ended);
    }

    /// What the worker does, as it is seen from here.
    fn shows_work(&self) {
        let idle = self.desk.ledger.lock().live() == 0;
        self.figures.is(if idle { WorkerState::WaitingForInput } else { WorkerState::Working });
    }

    fn fail<R>(&self, error: Error) -> Step<R> {
        self.shared.fail(error);
        Err(Failed)
    }

    fn zygote_error(&self, cause: impl std::fmt::Display) -> Error {
        Error::Zygote { pipeline: self.shared.name().to_string(), cause: cause.to_string() }
    }

    fn fork(&mut self) -> Step {
        self.desk.claims.rest();
        self.desk.claims.is_process(None);
        let link = match self.spares.take() {
            Some(spare) => spare,
            None => Link::new(self.process()?, self.block.debugged, self.block.fresh),
        };
        // Of one that was forked ahead it is known.
        self.figures.runs_in(link.pid());
        self.figures.is(WorkerState::Starting);
        self.link = Some(link);
        Ok(())
    }

    /// A new process for this slot.
    fn process(&self) -> Step<WorkerProcess> {
        let title = format!("mg:{}/{}", self.block.name, self.index);
        self.desk.claims.expect(self.pace.time());
        match self.processes.spawn(self.block.number, self.index as u32, &title) {
            Ok(process) => {
                process.on_end(&self.desk.event);
                self.stats.forked();
                Ok(process)
            }
            Err(error) => self.fail(self.zygote_error(error)),
        }
    }

    /// The worker of now, or the one that is leaving.
    fn last_link(&self) -> Option<&Link> {
        self.link.as_ref().or(self.leaving.as_ref().map(|leaving| &leaving.link))
    }

    /// Waits for the worker, the queue, another slot, or the next deadline.
    fn wait(&mut self) -> Step {
        let deadline = self.next_look(Instant::now());
        // Only who could take what is due waits for it.
        let free = !self.input_ended && self.credit() > 0;
        let due = if free { [self.block.crew.next_due(), self.queue_due] } else { [None; 2] };
        let due = due.into_iter().flatten().min();
        // Where a test has the time in its hands, its event says when to look again.
        let (due, _waits) = match (due, timers::here()) {
            (Some(due), Some(timers)) if timers::now() < due => (None, Some(timers.waits(due))),
            (Some(_), Some(_)) => (Some(Instant::now()), None),
            (due, _) => (due, None),
        };
        let until = [deadline, due, self.fork_due].into_iter().flatten().min();
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let may_write = self.open_door();
        let (polled, called) = {
            let mut watches = vec![Watch::new(&*self.desk.event, Interest::Read)];
            if let Some(link) = &self.link {
                let writes = may_write && link.has_outgoing();
                let interest = if writes { Interest::Both } else { Interest::Read };
                watches.push(Watch::new(&**link.socket(), interest));
            } else if let Some(parting) = &self.spares.parting {
                parting.call_at_end(&self.desk.event);
                watches.push(Watch::new(&**parting.socket(), Interest::Read));
            }
            let polled = poll(&mut watches, timeout);
            let called = watches[0].is_ready();
            self.answered = !called && self.link.is_some() && watches[1].readable();
            (polled, called)
        };
        self.read_all = false;
        if self.shut_door() && self.answered {
            self.courtesy.give_way();
        }
        let cleared = if called { self.desk.event.clear().map(drop) } else { Ok(()) };
        self.desk.idle.store(false, Ordering::SeqCst);
        match polled.and_then(|ready| cleared.map(|()| ready)) {
            // With something to read it may have done what it owes: this thread was late, not the worker.
            // The item may have been done in the very moment: what counts is what the board says now.
            Ok(0) if self.deadline().is_some_and(|deadline| deadline <= Instant::now()) => self.overdue(),
            Ok(_) => Ok(()),
            Err(source) => self.fail(self.zygote_error(format_args!("poll: {source}"))),
        }
    }
}
