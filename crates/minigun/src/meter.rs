//! Measuring time with few looks at the clock.
//!
//! A worker's [`Meter`] is told of every item that is over. Long items are timed one by one; of short ones it times
//! groups, and each gets its share; if a group takes far longer than usual, the rest is one item's. Time in which the worker waits is no time of its items: whoever waits on a
//! worker's behalf says so with [`wait`], and only that looks at the clock besides.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// Whether anything is counted and measured for statistics. Only the benchmark of what that costs is built without.
pub(crate) const STATISTICS: bool = !cfg!(minigun_no_statistics);

/// Where times are read.
#[derive(Clone)]
pub(crate) enum Clock {
    /// The system's clock, as nanoseconds since then.
    System(Instant),
    /// The program's own, for tests.
    Given(Arc<dyn Fn() -> Duration + Send + Sync>),
}

impl Default for Clock {
    fn default() -> Self {
        Clock::System(Instant::now())
    }
}

impl Clock {
    /// Items in a group at most. A clock of the program's own costs what the program wants, and must see every item.
    fn most(&self) -> u32 {
        match self {
            Clock::System(_) => MOST,
            Clock::Given(_) => 1,
        }
    }

    fn nanos(&self) -> u64 {
        match self {
            Clock::System(epoch) => epoch.elapsed().as_nanos() as u64,
            Clock::Given(now) => now().as_nanos() as u64,
        }
    }
}

/// What a worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Something to do.
    ForInput,
    /// Room for what it made.
    ForRoom,
}

/// What a worker does now, as others may read it; see [`WorkerState`](crate::WorkerState).
#[derive(Clone, Default)]
pub(crate) struct StateCell(Arc<AtomicU8>);

impl StateCell {
    pub(crate) fn set(&self, state: u8) -> u8 {
        self.0.swap(state, Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// States that waiting sets.
pub(crate) const WAITS_FOR_INPUT: u8 = 3;
/// See [`WAITS_FOR_INPUT`].
pub(crate) const WAITS_FOR_ROOM: u8 = 4;

/// The worker on this thread.
struct Here {
    clock: RefCell<Option<Clock>>,
    state: RefCell<Option<StateCell>>,
    for_input: Cell<u64>,
    for_room: Cell<u64>,
}

thread_local! {
    static HERE: Here = const { Here {
        clock: RefCell::new(None),
        state: RefCell::new(None),
        for_input: Cell::new(0),
        for_room: Cell::new(0),
    } };
}

/// As long as it lives, the worker on this thread waits, if there is one.
pub(crate) struct Wait(Option<Waited>);

struct Waited {
    what: Waits,
    begun: u64,
    /// What the worker did before.
    before: Option<u8>,
}

/// Begins to wait. Where several waits follow each other one of these is to span them all: it looks at the clock twice.
pub(crate) fn wait(what: Waits) -> Wait {
    if !STATISTICS {
        return Wait(None);
    }
    Wait(HERE.with(|here| {
        let begun = here.clock.borrow().as_ref().map(Clock::nanos)?;
        let state = match what {
            Waits::ForInput => WAITS_FOR_INPUT,
            Waits::ForRoom => WAITS_FOR_ROOM,
        };
        let before = here.state.borrow().as_ref().map(|cell| cell.set(state));
        Some(Waited { what, begun, before })
    }))
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(Waited { what, begun, before }) = self.0.take() else { return };
        HERE.with(|here| {
            let time = here.clock.borrow().as_ref().map_or(0, |clock| clock.nanos().saturating_sub(begun));
            let sum = match what {
                Waits::ForInput => &here.for_input,
                Waits::ForRoom => &here.for_room,
            };
            sum.set(sum.get() + time);
            if let (Some(before), Some(cell)) = (before, &*here.state.borrow()) {
                cell.set(before);
            }
        });
    }
}

/// What was measured of the items of one stage's block.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Timing {
    /// How many items took how long, in nanoseconds cut to [`PRECISION`] bits; not sorted.
    pub(crate) spans: Vec<(u64, u64)>,
    /// The longest, in nanoseconds.
    pub(crate) longest: u64,
    /// Time spent in the closures, in nanoseconds.
    pub(crate) busy: u64,
    /// Time spent waiting for something to do, in nanoseconds.
    pub(crate) for_input: u64,
    /// Time spent waiting for room, in nanoseconds.
    pub(crate) for_room: u64,
}

/// Bits of a time that are kept: as many as the histogram tells apart.
pub(crate) const PRECISION: u32 = 8;

/// Spans are put together when there are so many.
const MANY: usize = 256;

fn cut(nanos: u64) -> u64 {
    let bits = u64::BITS - nanos.leading_zeros();
    let low = bits.saturating_sub(PRECISION);
    (nanos >> low) << low
}

impl Timing {
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.busy == 0 && self.for_input == 0 && self.for_room == 0
    }

    /// How many items were timed.
    pub(crate) fn items(&self) -> u64 {
        self.spans.iter().map(|(_, items)| items).sum()
    }

    /// The time spent waiting for room, and nothing else.
    pub(crate) fn only_room(&self) -> Timing {
        Timing { for_room: self.for_room, ..Timing::default() }
    }

    fn clear(&mut self) {
        self.spans.clear();
        *self = Timing { spans: std::mem::take(&mut self.spans), ..Timing::default() };
    }

    /// So many items took this time together, where `usual` is what one takes. What is far more is one's doing.
    fn add(&mut self, items: u64, nanos: u64, usual: u64) {
        self.busy += nanos;
        let others = usual.saturating_mul(items.saturating_sub(1));
        if items > 1 && nanos > FAR_MORE * (others + usual).max(GROUP) {
            self.span(items - 1, usual);
            self.span(1, nanos - others);
        } else if let Some(each) = nanos.checked_div(items) {
            self.span(items, each);
        }
    }

    fn span(&mut self, items: u64, each: u64) {
        self.longest = self.longest.max(each);
        self.push(cut(each), items);
    }

    fn push(&mut self, each: u64, items: u64) {
        match self.spans.last_mut() {
            Some((last, count)) if *last == each => *count += items,
            _ => self.spans.push((each, items)),
        }
        if self.spans.len() >= MANY && self.spans.len() == self.spans.capacity() {
            // There are only so many different ones.
            self.spans.sort_unstable();
            self.spans.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                kept.1 += if same { next.1 } else { 0 };
                same
            });
        }
    }

    pub(crate) fn absorb(&mut self, other: Timing) {
        self.longest = self.longest.max(other.longest);
        self.busy += other.busy;
        self.for_input += other.for_input;
        self.for_room += other.for_room;
        for (each, items) in other.spans {
            self.push(each, items);
        }
    }
}

/// A group of short items takes about this long, and an item of this length is a group of its own: what a look at
/// the clock costs is little of it.
const GROUP: u64 = 20_000;

/// Items in a group at most.
const MOST: u32 = 1024;

/// A group that takes so many times as long as usual has one long item among the short ones.
const FAR_MORE: u64 = 4;

/// What is measured is told to the run after this time at the latest, when a look at the clock finds it so.
const TELL: u64 = 1_000_000;

/// Times what one worker does.
pub(crate) struct Meter {
    clock: Clock,
    /// Up to here the time is accounted for.
    looked: u64,
    told: u64,
    /// Items since then, and how many make a group.
    items: u32,
    group: u32,
    most: u32,
    /// What an item of the last group took.
    usual: u64,
    timing: Timing,
}

impl Meter {
    /// For the worker on this thread, whose time begins now.
    pub(crate) fn new(clock: &Clock, state: Option<StateCell>) -> Meter {
        HERE.with(|here| {
            here.clock.replace(Some(clock.clone()));
            here.state.replace(state);
            here.for_input.set(0);
            here.for_room.set(0);
        });
        let now = clock.nanos();
        Meter {
            clock: clock.clone(),
            looked: now,
            told: now,
            items: 0,
            group: 1,
            most: clock.most(),
            usual: 0,
            timing: Timing::default(),
        }
    }

    /// An attempt at an item is over; `true` if it is time to tell the run what was measured.
    #[inline]
    pub(crate) fn item(&mut self) -> bool {
        self.items(1)
    }

    /// As [`item`](Self::item), of so many.
    #[inline]
    pub(crate) fn items(&mut self, items: u32) -> bool {
        self.items += if STATISTICS { items } else { 0 };
        self.items >= self.group && self.look()
    }

    /// After how many more items it looks at the clock, at least one.
    pub(crate) fn left(&self) -> u32 {
        if STATISTICS { self.group.saturating_sub(self.items).max(1) } else { u32::MAX }
    }

    /// Looks at the clock; `true` as [`item`](Self::item).
    fn look(&mut self) -> bool {
        if !STATISTICS {
            return false;
        }
        let now = self.clock.nanos();
        let (for_input, for_room) = HERE.with(|here| (here.for_input.take(), here.for_room.take()));
        let busy = now.saturating_sub(self.looked).saturating_sub(for_input + for_room);
        self.looked = now;
        self.timing.for_input += for_input;
        self.timing.for_room += for_room;
        self.timing.add(u64::from(self.items), busy, self.usual);
        if self.items > 0 {
            self.usual = busy / u64::from(self.items);
            self.group = next_group(self.group, self.usual, self.most);
        }
        self.items = 0;
        now.saturating_sub(self.told) >= TELL
    }

    /// Tells what was measured since the last call, up to now.
    pub(crate) fn tell(&mut self, tell: impl FnOnce(&Timing)) {
        self.look();
        self.told = self.looked;
        if !self.timing.is_empty() {
            tell(&self.timing);
            self.timing.clear();
        }
    }

    /// As [`tell`](Self::tell).
    pub(crate) fn take(&mut self) -> Timing {
        self.look();
        self.told = self.looked;
        std::mem::take(&mut self.timing)
    }
}

/// Quick to become small, slow to become large.
fn next_group(group: u32, each: u64, most: u32) -> u32 {
    ((GROUP / each.max(1)).clamp(1, u64::from(most)) as u32).min(group.saturating_mul(2))
}

/// Times calls inside another worker's items, each n-th of them where they are short.
pub(crate) struct Sampler {
    clock: Clock,
    /// Calls since the last one that was timed, and from one to the next.
    calls: u32,
    every: u32,
    most: u32,
    /// What the last one took.
    usual: u64,
}

impl Sampler {
    pub(crate) fn new(clock: &Clock) -> Sampler {
        Sampler { clock: clock.clone(), calls: 0, every: 1, most: clock.most(), usual: 0 }
    }

    /// Runs `call`; what was measured goes to `tell`. The last few short calls of a worker may go uncounted.
    #[inline]
    pub(crate) fn call<R>(&mut self, call: impl FnOnce() -> R, tell: impl FnOnce(Timing)) -> R {
        self.calls += u32::from(STATISTICS);
        if self.calls < self.every {
            return call();
        }
        let waited = || HERE.with(|here| here.for_input.get() + here.for_room.get());
        let (begun, before) = (self.clock.nanos(), waited());
        let outcome = call();
        let time = self.clock.nanos().saturating_sub(begun);
        let each = time.saturating_sub(waited().saturating_sub(before));
        let mut timing = Timing::default();
        // The calls that were not timed took what is usual.
        timing.add(1, each, 0);
        timing.add(u64::from(self.calls) - 1, self.usual * (u64::from(self.calls) - 1), self.usual);
        tell(timing);
        self.calls = 0;
        self.usual = each;
        self.every = next_group(self.every, each, self.most);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// A clock that only its owner moves, and how often it was read.
    fn clock() -> (Clock, Arc<AtomicU64>, Arc<AtomicU64>) {
        let (now, reads) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (theirs, count) = (Arc::clone(&now), Arc::clone(&reads));
        let read = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Duration::from_nanos(theirs.load(Ordering::Relaxed))
        };
        (Clock::Given(Arc::new(read)), now, reads)
    }

    #[test]
    fn long_items_are_timed_one_by_one() {
        let (clock, now, _) = clock();
        let mut meter = Meter::new(&clock, None);
        for ms in [10, 20, 30] {
            now.fetch_add(ms * 1_000_000, Ordering::Relaxed);
            assert!(meter.item(), "it is long enough to be told");
        }
        let timing = meter.take();
        assert_eq!((timing.busy, timing.longest), (60_000_000, 30_000_000));
        assert_eq!(timing.spans, [10, 20, 30].map(|ms| (cut(ms * 1_000_000), 1)));
    }

    #[test]
    fn short_items_are_timed_in_groups_and_all_are_counted() {
        let (clock, now, reads) = clock();
        let mut meter = Meter { most: MOST, ..Meter::new(&clock, None) };
        for _ in 0..100_000 {
            now.fetch_add(100, Ordering::Relaxed);
            meter.item();
        }
        let timing = meter.take();
        assert_eq!(timing.busy, 10_000_000);
        assert_eq!(timing.spans, [(100, 100_000)]);
        assert!(reads.load(Ordering::Relaxed) < 1000, "{reads:?} looks at the clock");
    }

    #[test]
    fn a_long_item_among_short_ones_is_found() {
        let (clock, now, _) = clock();
        let mut meter = Meter { most: MOST, ..Meter::new(&clock, None) };
        for n in 0..10_000 {
            now.fetch_add(if n == 5_000 { 1_000_000_000 } else { 100 }, Ordering::Relaxed);
            meter.item();
        }
        let timing = meter.take();
        assert_eq!((timing.longest, timing.busy), (1_000_000_000, 1_000_999_900));
        let mut spans = timing.spans;
        spans.sort_unstable();
        assert_eq!(spans.iter().map(|(_, items)| items).sum::<u64>(), 10_000);
        assert_eq!(spans.pop(), Some((cut(1_000_000_000), 1)));
        assert!(spans.iter().all(|(each, _)| *each == 100), "{spans:?}");
    }

    #[test]
    fn calls_inside_an_item_are_sampled_where_they_are_short() {
        let (clock, now, reads) = clock();
        let mut sampler = Sampler { most: MOST, ..Sampler::new(&clock) };
        let mut all = Timing::default();
        for _ in 0..10_000 {
            sampler.call(|| now.fetch_add(100, Ordering::Relaxed), |timing| all.absorb(timing));
        }
        let timed: u64 = all.spans.iter().map(|(_, items)| items).sum();
        assert!((9_800..=10_000).contains(&timed), "{timed}");
        assert!(reads.load(Ordering::Relaxed) < 250, "{reads:?} looks at the clock");
    }

    #[test]
    fn time_spent_waiting_is_no_time_of_the_items() {
        let (clock, now, _) = clock();
        let state = StateCell::default();
        let mut meter = Meter::new(&clock, Some(state.clone()));
        let wait = |what, nanos| {
            let _wait = super::wait(what);
            now.fetch_add(nanos, Ordering::Relaxed);
            state.get()
        };
        assert_eq!(wait(Waits::ForInput, 5_000_000), WAITS_FOR_INPUT);
        now.fetch_add(1_000_000, Ordering::Relaxed);
        assert_eq!(wait(Waits::ForRoom, 7_000_000), WAITS_FOR_ROOM);
        meter.item();
        let timing = meter.take();
        assert_eq!((timing.busy, timing.for_input, timing.for_room), (1_000_000, 5_000_000, 7_000_000));
        assert_eq!(state.get(), 0, "as before");
    }

    #[test]
    fn however_much_is_measured_it_takes_little_memory() {
        let mut timing = Timing::default();
        for n in 0..1_000_000_u64 {
            timing.add(1, n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24, 0);
        }
        assert!(timing.spans.len() < 16_000, "{}", timing.spans.len());
        assert_eq!(timing.spans.iter().map(|(_, items)| items).sum::<u64>(), 1_000_000);
    }
}
