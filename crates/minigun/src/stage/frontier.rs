//! The way back into a loop: what is sent there waits, encoded, until it goes round again.
//!
//! It never makes a sender wait: beyond what memory may hold, items go to a file.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::backlog::{Backlog, Records};
use super::edge::check_held;
use super::sink::{BoxSink, Cx, MakeSink, Sink};
use super::tx::Outlet;
use crate::apart::Place;
use crate::defaults;
use crate::error::Error;
use crate::failure::{Failure, FailureKind};
use crate::graph::StageId;
use crate::in_flight::{InFlight, Member, Outside};
use crate::queue::{Queue, Stopped};
use crate::shared::{Halt, Shared};
use crate::stats::StageStats;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::wire::{WireFns, codec_failure};

use crate::codec::Format;

/// How items are encoded while they wait.
pub(crate) const FORMAT: Format = Format::Tagged;

/// Items that were sent back and wait.
pub(crate) struct Frontier {
    pub(crate) name: Arc<str>,
    pub(crate) stage: StageId,
    state: Mutex<State>,
    changed: Condvar,
    head: Arc<dyn Head>,
    in_flight: Mutex<Option<Arc<InFlight>>>,
}

/// The queue at the head of the loop.
pub(crate) trait Head: Send + Sync {
    /// So many items wait to come here.
    fn waiting(&self, items: usize);
    /// Items that will not come here after all; they count as sent and taken.
    fn passed_by(&self, items: u64);
}

impl<T: Send> Head for Queue<T> {
    fn waiting(&self, items: usize) {
        self.set_behind(items);
    }

    fn passed_by(&self, items: u64) {
        Queue::passed_by(self, items);
    }
}

struct State {
    backlog: Backlog,
    /// By the senders' count.
    sent: u64,
    taken: u64,
    /// By a stop: nothing more goes round.
    abandoned: u64,
    closed: bool,
    halted: bool,
    over: bool,
}

/// What became of items that were sent back.
enum Sent {
    Waiting,
    Abandoned,
    Halted,
}

impl Frontier {
    pub(crate) fn new(name: &str, stage: StageId, head: Arc<dyn Head>) -> Arc<Self> {
        let backlog = Backlog::new(defaults::LOOP_MEMORY, defaults::LOOP_FILE);
        let state =
            State { backlog, sent: 0, taken: 0, abandoned: 0, closed: false, halted: false, over: false };
        Arc::new(Frontier {
            name: name.into(),
            stage,
            state: Mutex::new(state),
            changed: Condvar::new(),
            head,
            in_flight: Mutex::new(None),
        })
    }

    pub(crate) fn join(self: &Arc<Self>, in_flight: &Arc<InFlight>) {
        *self.in_flight.lock() = Some(Arc::clone(in_flight));
        let weak = Arc::downgrade(self);
        in_flight.join(weak);
    }

    pub(crate) fn in_flight(&self) -> Option<Arc<InFlight>> {
        self.in_flight.lock().clone()
    }

    fn send(&self, records: &mut Records) -> io::Result<Sent> {
        let items = records.len();
        let mut state = self.state.lock();
        if state.halted {
            return Ok(Sent::Halted);
        }
        state.sent += items as u64;
        if state.closed {
            state.abandoned += items as u64;
            records.truncate(0, 0);
            return Ok(Sent::Abandoned);
        }
        if let Some(in_flight) = &*self.in_flight.lock() {
            in_flight.enter(items);
        }
        state.backlog.push(records)?;
        self.tell(state);
        Ok(Sent::Waiting)
    }

    /// Under the lock: who is told later must not hear of what was earlier, or room would be kept for items that have
    /// long gone on, and whoever waits for it outside the loop would wait for ever.
    fn tell(&self, state: MutexGuard<'_, State>) {
        self.head.waiting(state.backlog.len());
        drop(state);
        self.changed.notify_all();
    }

    /// Takes at most `most` items, waiting until there is one; `None` when nothing more will come. Each must
    /// [`leave`](InFlight::leave) when it has gone on.
    ///
    /// # Errors
    /// A file could not be read.
    pub(crate) fn take(&self, most: usize) -> io::Result<Option<Records>> {
        let mut state = self.state.lock();
        while state.backlog.len() == 0 && !state.over && !state.halted {
            self.changed.wait(&mut state);
        }
        if state.halted || state.backlog.len() == 0 {
            return Ok(None);
        }
        let mut records = Records::default();
        state.backlog.take(most, &mut records)?;
        state.taken += records.len() as u64;
        self.tell(state);
        Ok(Some(records))
    }

    /// From now on nothing goes round. Gives how many items waited, which are abandoned.
    fn close(&self) -> usize {
        let mut state = self.state.lock();
        state.closed = true;
        let left = state.backlog.clear();
        state.abandoned += left as u64;
        self.tell(state);
        left
    }

    /// Items that no longer go round are accounted for at the head of the loop.
    fn give_up(&self, stats: &StageStats, items: usize) {
        self.head.passed_by(items as u64);
        stats.abandoned(items as u64);
    }

    /// Items sent back, by the senders' count; taken; and abandoned or left by a stop.
    pub(crate) fn counted(&self) -> (u64, u64, u64) {
        let state = self.state.lock();
        (state.sent, state.taken, state.abandoned + state.backlog.len() as u64)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Loop { stage: self.name.to_string(), source }
    }

    /// A file failed, which ends the run.
    pub(crate) fn fail(&self, run: &Shared, source: io::Error) {
        run.fail(self.failed(source));
    }

    /// The sink that sends items back.
    pub(crate) fn sink<T: 'static>(self: &Arc<Self>, fns: WireFns<T>) -> MakeSink<T> {
        let frontier = Arc::clone(self);
        Arc::new(move |cx| Ok(frontier.open(fns, cx)))
    }

    fn open<T: 'static>(self: &Arc<Self>, fns: WireFns<T>, cx: &mut Cx) -> BoxSink<T> {
        let outside = match (self.in_flight(), &cx.within) {
            (Some(ours), Some(theirs)) if Arc::ptr_eq(&ours, theirs) => None,
            (ours, _) => ours.map(|ours| ours.from_outside()),
        };
        let held = Rc::new(Held {
            frontier: Arc::clone(self),
            records: RefCell::default(),
            ends: RefCell::default(),
            run: Arc::clone(&cx.run),
            _outside: outside,
        });
        cx.tx.add(Rc::clone(&held) as Rc<dyn Outlet>);
        Box::new(FrontierSink { held, fns, unchecked: Cell::new(defaults::CHECKED_ITEMS) })
    }
}

impl Member for Frontier {
    fn over(&self) {
        let mut state = self.state.lock();
        state.over = true;
        drop(state);
        self.changed.notify_all();
    }
}

impl Halt for Frontier {
    fn halt(&self) {
        let mut state = self.state.lock();
        state.halted = true;
        drop(state);
        self.changed.notify_all();
    }
}

/// When the run is asked to stop, nothing goes round any more.
pub(crate) struct CloseFrontier(pub(crate) Arc<Frontier>, pub(crate) Arc<StageStats>);

impl Halt for CloseFrontier {
    fn halt(&self) {
        let left = self.0.close();
        self.0.give_up(&self.1, left);
        if let Some(in_flight) = self.0.in_flight() {
            in_flight.leave(left);
        }
    }
}

/// What one worker sends back, until its attempt commits.
struct Held {
    frontier: Arc<Frontier>,
    records: RefCell<Records>,
    /// Where each ends.
    ends: RefCell<Vec<usize>>,
    run: Arc<Shared>,
    _outside: Option<Outside>,
}

struct FrontierSink<T> {
    held: Rc<Held>,
    fns: WireFns<T>,
    unchecked: Cell<u32>,
}

impl<T> Sink<T> for FrontierSink<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        let (mut records, mut ends) = (self.held.records.borrow_mut(), self.held.ends.borrow_mut());
        check_held(ends.len())?;
        records.add(|out| {
            let mut unchecked = self.unchecked.get();
            (self.fns.encode)(FORMAT, &item, out, Place::Nowhere, &mut unchecked).map_err(codec_failure)?;
            self.unchecked.set(unchecked);
            if out.len() > defaults::LARGEST_ITEM {
                let text = format!(
                    "what one item sends back exceeds {} bytes, the most it may; let it send fewer or smaller ones",
                    defaults::LARGEST_ITEM
                );
                return Err(Failure::new(FailureKind::Codec, text));
            }
            Ok(())
        })?;
        ends.push(records.bytes());
        Ok(())
    }
}

impl Outlet for Held {
    fn mark(&self) -> usize {
        self.ends.borrow().len()
    }

    fn undo(&self, mark: usize) {
        let mut ends = self.ends.borrow_mut();
        ends.truncate(mark);
        self.records.borrow_mut().truncate(ends.len(), ends.last().copied().unwrap_or_default());
    }

    fn publish(&self) -> Result<(), Stopped> {
        let mut records = self.records.borrow_mut();
        let items = records.len();
        if items == 0 {
            return Ok(());
        }
        self.ends.borrow_mut().clear();
        match self.frontier.send(&mut records) {
            Ok(Sent::Waiting) => Ok(()),
            Ok(Sent::Abandoned) => {
                self.frontier.give_up(&self.run.stats(self.frontier.stage), items);
                Ok(())
            }
            Ok(Sent::Halted) => Err(Stopped),
            Err(source) => {
                self.frontier.fail(&self.run, source);
                Err(Stopped)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// A head that takes its time to hear.
    #[derive(Default)]
    struct Slow(AtomicUsize);

    impl Head for Slow {
        fn waiting(&self, items: usize) {
            (0..items % 4).for_each(|_| thread::yield_now());
            self.0.store(items, Ordering::SeqCst);
        }

        fn passed_by(&self, _: u64) {}
    }

    #[test]
    fn the_head_of_the_loop_hears_last_of_what_waits_at_last() {
        for _ in 0..200 {
            let head = Arc::new(Slow::default());
            let frontier = Frontier::new("loop", StageId(0), Arc::clone(&head) as _);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..10 {
                            let mut records = Records::default();
                            let add = |out: &mut Vec<u8>| {
                                out.push(7);
                                Ok::<_, ()>(())
                            };
                            records.add(add).unwrap();
                            assert!(matches!(frontier.send(&mut records), Ok(Sent::Waiting)));
                        }
                    });
                }
                scope.spawn(|| (0..30).for_each(|_| drop(frontier.take(1).unwrap().unwrap())));
            });
            assert_eq!(head.0.load(Ordering::SeqCst), 0, "nothing waits");
        }
    }
}
