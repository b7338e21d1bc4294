//! What the worker slots of one block share: work that comes back, deaths, and who is idle.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use minigun_os::Event;

use super::board::Claims;
use super::ledger::{Ledger, Parcel};
use super::slot::Door;
use crate::error::Error;
use crate::plan::Settings;
use crate::queue::Kept;
use crate::sync::Mutex;
use crate::timers;

/// One worker slot, as the others see it.
pub(crate) struct Desk<T> {
    /// Wakes the slot's thread.
    pub(crate) event: Arc<Event>,
    pub(crate) ledger: Mutex<Ledger<T>>,
    pub(crate) claims: Claims,
    /// Its worker has nothing to do.
    pub(crate) idle: AtomicBool,
    pub(crate) door: Mutex<Door>,
}

impl<T> Desk<T> {
    pub(crate) fn new(claims: Claims) -> std::io::Result<Self> {
        Ok(Desk {
            event: Arc::new(Event::new()?),
            ledger: Mutex::default(),
            claims,
            idle: AtomicBool::new(false),
            door: Mutex::default(),
        })
    }
}

/// The slots that take from one queue: those of a block, or one of them.
pub(crate) struct SlotCrew<T> {
    pub(crate) desks: Vec<Desk<T>>,
    /// The number of the first slot in its block.
    first: usize,
    returned: Mutex<Returned<T>>,
    deaths: Arc<Mutex<Deaths>>,
    /// How many of the slots may have a spare.
    spares: AtomicUsize,
}

struct Returned<T> {
    now: VecDeque<Parcel<T>>,
    later: BinaryHeap<Later<T>>,
    /// Items that were taken from the queue but did not fit into a frame.
    unencoded: VecDeque<Kept<T>>,
    /// What waits for another attempt is due at once.
    hurried: bool,
}

struct Later<T> {
    due: Instant,
    parcel: Parcel<T>,
}

impl<T> PartialEq for Later<T> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl<T> Eq for Later<T> {}
impl<T> PartialOrd for Later<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Later<T> {
    /// The earliest is the greatest, for the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

/// Work that came back.
pub(crate) enum Again<T> {
    Parcel(Parcel<T>),
    Unencoded(Kept<T>),
}

/// How often the workers of a block died lately, and of what.
#[derive(Default)]
pub(crate) struct Deaths {
    times: VecDeque<Instant>,
    /// Deaths in a row of workers that never became ready. They do not grow old: workers that take seconds
    /// to start and then die would otherwise be replaced for ever.
    unready: u32,
    causes: VecDeque<String>,
}

/// Causes of death told in an error.
const TOLD: usize = 5;

impl Deaths {
    fn tell(&mut self, cause: String) {
        self.causes.push_back(cause);
        if self.causes.len() > TOLD {
            self.causes.pop_front();
        }
    }
}

impl<T> SlotCrew<T> {
    /// `deaths` are those of the whole block, `first` is the number of the first of these slots in it.
    pub(crate) fn new(first: usize, desks: Vec<Desk<T>>, deaths: &Arc<Mutex<Deaths>>) -> Self {
        let returned = Returned {
            now: VecDeque::new(),
            later: BinaryHeap::new(),
            unencoded: VecDeque::new(),
            hurried: false,
        };
        let spares = AtomicUsize::new(0);
        SlotCrew { desks, first, returned: Mutex::new(returned), deaths: Arc::clone(deaths), spares }
    }

    /// So many of the slots may have a worker forked ahead.
    pub(crate) fn with_spares(mut self, count: usize) -> Self {
        self.spares = AtomicUsize::new(count);
        self
    }

    /// Whether this slot may have a worker forked ahead.
    pub(crate) fn may_spare(&self, slot: usize) -> bool {
        slot < self.spares.load(Ordering::Relaxed)
    }

    /// The system refused a process: no slot has a spare from now on.
    pub(crate) fn forgo_spares(&self) {
        if self.spares.swap(0, Ordering::Relaxed) > 0 {
            for desk in &self.desks {
                // It can refuse only if it was never made; then nobody waits on it.
                let _ = desk.event.set();
            }
        }
    }

    /// The numbers of the slots in their block.
    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.desks.len()
    }

    /// Items come back, to be sent at once to whoever is free.
    pub(crate) fn put_back(&self, parcels: impl IntoIterator<Item = Parcel<T>>) {
        self.returned.lock().now.extend(parcels);
        self.wake_idle(usize::MAX);
    }

    /// An item comes back, to be sent when it is due.
    pub(crate) fn put_off(&self, parcel: Parcel<T>, due: Instant) {
        self.returned.lock().later.push(Later { due, parcel });
        // Whoever sleeps computed its wait without this item.
        self.wake_idle(usize::MAX);
    }

    /// From now on nothing waits for its next attempt.
    pub(crate) fn hurry(&self) {
        self.returned.lock().hurried = true;
        self.wake();
    }

    /// Every slot looks again for what it could do.
    pub(crate) fn wake(&self) {
        for desk in &self.desks {
            // It can refuse only if it was never made; then nobody waits on it.
            let _ = desk.event.set();
        }
    }

    /// Items that did not fit come back.
    pub(crate) fn put_aside(&self, items: impl IntoIterator<Item = Kept<T>>) {
        self.returned.lock().unencoded.extend(items);
        self.wake_idle(usize::MAX);
    }

    /// The next item that came back and is due.
    pub(crate) fn again(&self) -> Option<Again<T>> {
        let mut returned = self.returned.lock();
        if let Some(parcel) = returned.now.pop_front() {
            return Some(Again::Parcel(parcel));
        }
        if returned.later.peek().is_some_and(|later| returned.hurried || later.due <= timers::now()) {
            return returned.later.pop().map(|later| Again::Parcel(later.parcel));
        }
        returned.unencoded.pop_front().map(Again::Unencoded)
    }

    /// When the next item that came back is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let returned = self.returned.lock();
        let due = returned.later.peek()?.due;
        Some(if returned.hurried { due.min(timers::now()) } else { due })
    }

    /// Whether something came back that can be sent at once.
    pub(crate) fn has_returned(&self) -> bool {
        let returned = self.returned.lock();
        !(returned.now.is_empty() && returned.unencoded.is_empty())
    }

    /// Items that wait here for another attempt.
    pub(crate) fn waiting(&self) -> usize {
        let returned = self.returned.lock();
        returned.now.len() + returned.later.len() + returned.unencoded.len()
    }

    /// Everything that came back; nothing will be done about it.
    pub(crate) fn abandon(&self) -> u64 {
        let mut returned = self.returned.lock();
        let count = returned.now.len() + returned.later.len() + returned.unencoded.len();
        returned.now.clear();
        returned.later.clear();
        returned.unencoded.clear();
        count as u64
    }

    pub(crate) fn wake_idle(&self, most: usize) {
        // A slot that was called is idle no more: the next call is for another.
        for desk in self.desks.iter().filter(|desk| desk.idle.swap(false, Ordering::SeqCst)).take(most) {
            // It can refuse only if it was never made; then nobody waits on it.
            let _ = desk.event.set();
        }
    }

    /// Takes back at most `most` items that another slot's worker has not begun: half of the longest row from
    /// which there is something to be had.
    pub(crate) fn steal(&self, thief: usize, most: usize) -> Vec<Parcel<T>> {
        let others = self.numbers().zip(&self.desks).filter(|(slot, _)| *slot != thief);
        let rows = others.map(|(_, desk)| (desk.ledger.lock().live(), desk));
        let mut rows: Vec<_> = rows.filter(|(row, _)| *row > 1).collect();
        rows.sort_by_key(|(row, _)| Reverse(*row));
        let stolen = rows.into_iter().map(|(row, desk)| {
            let mut ledger = desk.ledger.lock();
            ledger.take_back(row.div_ceil(2).min(most), |index| desk.claims.revoke(index))
        });
        stolen.into_iter().find(|stolen| !stolen.is_empty()).unwrap_or_default()
    }

    /// A worker became ready.
    pub(crate) fn started(&self) {
        self.deaths.lock().unready = 0;
    }

    /// A worker died, which is no limit's business: it is told if a later death ends the run.
    pub(crate) fn lost(&self, cause: String) {
        self.deaths.lock().tell(cause);
    }

    /// A worker died, before it became ready or later. An error if too many did within the window.
    pub(crate) fn died(
        &self,
        was_ready: bool,
        cause: String,
        limits: &Settings,
        stage: &str,
    ) -> Result<(), Error> {
        let (limit, window) = (limits.max_restarts, limits.window);
        let mut deaths = self.deaths.lock();
        let now = Instant::now();
        deaths.unready = if was_ready { 0 } else { deaths.unready.saturating_add(1) };
        while deaths.times.front().is_some_and(|time| now.duration_since(*time) > window) {
            deaths.times.pop_front();
        }
        deaths.times.push_back(now);
        deaths.tell(cause);
        let count = (deaths.times.len() as u32).max(deaths.unready);
        if count <= limit {
            return Ok(());
        }
        Err(Error::Dying {
            stage: stage.to_string(),
            deaths: count,
            seconds: window.as_secs(),
            causes: deaths.causes.iter().cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn deaths_grow_old_unless_no_worker_ever_became_ready() {
        let limits = Settings { max_restarts: 2, window: Duration::ZERO, ..Settings::default() };
        let crew = SlotCrew::<()>::new(0, Vec::new(), &Arc::default());
        let died = |was_ready| {
            std::thread::yield_now(); // an instant later
            crew.died(was_ready, "cause".to_string(), &limits, "stage").is_ok()
        };
        assert!((0..10).all(|_| died(true)), "each was alone in its window");
        assert!(died(false) && died(false));
        assert!(!died(false), "the third in a row");
        crew.started();
        assert!(died(false), "one became ready in between");
    }
}
