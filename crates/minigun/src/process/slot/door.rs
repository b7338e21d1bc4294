//! The short way to an idle worker: whoever brings it an item sends it there itself.
//!
//! A slot that goes to sleep leaves its door open if its worker has nothing to do. A thread that then puts an item into
//! the queue, and would have to call the slot, goes through the door: it encodes the item, writes the frame, and the slot
//! sleeps on until the result comes. On the way of a single item that is one thread less to be woken. Where items follow
//! each other closely the slot is better called, for there is a run of them by the time it is awake: so the door counts
//! only when the slot has slept for a while, and for one frame.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use minigun_os::{Event, Socket};

use super::feed::FRAME_LIMIT;
use super::{Slot, SlotBlock};
use crate::process::frame::{self, Kind};
use crate::process::link::Stage;
use crate::process::protocol;
use crate::queue::{Kept, Pop};
use crate::stats::{StageStats, WorkerState, WorkerStats};
use crate::wire::Encoded;

/// A slot must have slept so long; about what it takes to wake it, a few times over.
const REST: Duration = Duration::from_micros(50);

/// A slot's door, as those see it who bring items.
#[derive(Default)]
pub(crate) enum Door {
    #[default]
    Shut,
    Open(Way),
    /// Somebody is writing to the worker, and nobody else may; what is to be done afterwards.
    InUse(After),
    /// Somebody went through; what the worker's socket did not take of the frame is left to the slot.
    Used(Option<Rest>),
}

/// What the slot wants of whoever is in its door.
pub(crate) enum After {
    /// Nothing: it is awake, and looks.
    Nothing,
    /// It sleeps: the door is open again.
    Open(Way),
    /// It sleeps, and has more for the worker: it is to be called.
    Call,
}

/// What is left of a frame, from a place on, for the worker at this socket.
pub(crate) struct Rest {
    socket: Arc<Socket>,
    frame: Arc<Vec<u8>>,
    at: usize,
}

/// What is needed to send items to an idle worker.
pub(crate) struct Way {
    socket: Arc<Socket>,
    /// How many items it may get.
    credit: usize,
    since: Instant,
    stats: Arc<StageStats>,
    figures: Arc<WorkerStats>,
}

impl<T: Send + 'static> SlotBlock<T> {
    /// Items have arrived for which the slot with this event would be called. `true`: it need not be.
    pub(crate) fn send_directly(&self, event: &Arc<Event>) -> bool {
        let Some(desk) = self.crew.desks.iter().find(|desk| Arc::ptr_eq(&desk.event, event)) else {
            return false;
        };
        let mut door = desk.door.lock();
        let Door::Open(way) = &*door else { return false };
        if way.since.elapsed() < REST {
            return false;
        }
        let mut run = Vec::new();
        let first = match self.queue.take_instead(&mut run, way.credit, self.crew.desks.len(), event) {
            Pop::Run(first) => first,
            Pop::Again(kept) => {
                self.crew.put_aside([kept]);
                return false;
            }
            // Others were quicker, and the next arrival is told.
            Pop::Empty(None) => return true,
            Pop::Empty(_) | Pop::Rest | Pop::End => return false,
        };
        let mut ledger = desk.ledger.lock();
        let index = ledger.next();
        let mut out = ledger.take_spare();
        let start = frame::open(&mut out, Kind::Items, index);
        let head = protocol::begin_items(&mut out, first, 1);
        let blocks = out.len();
        // The first items, which are checked, do not come this way.
        // Nor do long ones: there is no need for a place apart.
        let (mut encoded, format) = (Encoded::default(), self.settings.format);
        let outcome =
            (self.wire.encode_run)(format, &run, &mut out, None, (FRAME_LIMIT, &mut 0), &mut encoded);
        let (blocks, count) = (blocks..out.len(), encoded.count);
        protocol::end_items(&mut out, head, count);
        if outcome.is_err() || (count as usize) < run.len() || frame::seal(&mut out, start).is_err() {
            drop(ledger);
            // The slot will find the same, and knows what to do then.
            let kept = run.into_iter().zip(first..);
            self.crew.put_aside(kept.map(|(item, number)| Kept { item, number, attempts: 0 }));
            return false;
        }
        let frame = Arc::new(out);
        desk.claims.offer(index, count as usize);
        ledger.add_new(&frame, first, count, blocks);
        drop(ledger);
        desk.idle.store(false, Ordering::SeqCst);
        way.stats.sent_bytes(frame.len() as u64);
        way.figures.is(WorkerState::Working);
        let socket = Arc::clone(&way.socket);
        // The worker may take the core in the midst of the write, and its slot then has its answer: nothing is locked.
        *door = Door::InUse(After::Nothing);
        drop(door);
        let rest = match socket.try_write(&frame) {
            Ok(written) => (written < frame.len()).then_some(Rest { socket, frame, at: written }),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Some(Rest { socket, frame, at: 0 })
            }
            // The slot is awake already, or will soon be: the worker is gone.
            Err(_) => None,
        };
        if count > 1 {
            // As behind any frame: who is idle may take over what waits behind the first.
            self.crew.wake_idle(1);
        }
        let is_sent = rest.is_none();
        let mut door = desk.door.lock();
        let (next, call) = match std::mem::take(&mut *door) {
            Door::InUse(After::Open(way)) if is_sent => (Door::Open(way), false),
            Door::InUse(After::Open(_) | After::Call) => (Door::Used(rest), true),
            _ => (Door::Used(rest), false),
        };
        *door = next;
        !call && is_sent
    }
}

impl<T: Send + 'static> Slot<'_, T> {
    /// The slot is about to sleep. Whether it may write to its worker.
    pub(super) fn open_door(&mut self) -> bool {
        self.may_write();
        let Some(link) = &self.link else { return !self.in_use };
        let more = link.has_outgoing();
        let idle = link.stage == Stage::Ready && link.killed.is_none() && !more;
        // With a deadline the slot has to look when it is over.
        let plain = !self.block.fresh && !self.block.keeps_items && self.block.settings.timeout.is_none();
        let plain = plain && self.pace.is_of_small();
        let nothing_else = self.unchecked == 0 && !self.input_ended && self.block.crew.waiting() == 0;
        let open = idle && plain && nothing_else && self.desk.ledger.lock().live() == 0;
        let way = open.then(|| Way {
            socket: Arc::clone(link.socket()),
            credit: self.credit(),
            since: Instant::now(),
            stats: Arc::clone(&self.stats),
            figures: Arc::clone(self.figures),
        });
        let mut door = self.desk.door.lock();
        match (way, &*door) {
            (Some(way), Door::Shut) => *door = Door::Open(way),
            (Some(way), Door::InUse(_)) => *door = Door::InUse(After::Open(way)),
            (None, Door::InUse(_)) if more => *door = Door::InUse(After::Call),
            _ => {}
        }
        let came_out = self.in_use && !matches!(*door, Door::InUse(_));
        drop(door);
        if came_out {
            // Just now: it stays shut, and the next item calls the slot.
            self.shut_door();
        }
        !self.in_use
    }

    /// The slot is awake: nobody goes in any more. Whether somebody did.
    pub(super) fn shut_door(&mut self) -> bool {
        let mut door = self.desk.door.lock();
        self.in_use = matches!(*door, Door::InUse(_));
        if self.in_use {
            *door = Door::InUse(After::Nothing);
            return true;
        }
        let Door::Used(rest) = std::mem::take(&mut *door) else { return false };
        if let Some(link) = &mut self.link {
            let rest = rest.filter(|rest| Arc::ptr_eq(&rest.socket, link.socket()));
            link.was_sent(rest.map(|rest| (rest.frame, rest.at)));
        }
        true
    }

    /// Nobody is writing to the worker from the door.
    pub(super) fn may_write(&mut self) -> bool {
        if self.in_use {
            self.shut_door();
        }
        !self.in_use
    }
}
