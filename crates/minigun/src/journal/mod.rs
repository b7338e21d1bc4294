//! What an attempt counts, collects and appends to locked files, held back until it commits.
//!
//! The journal of the attempt that runs on a thread is found through a thread-local, so that the `Copy`
//! handles captured by closures need no context.

mod step_cells;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::failure::FailedItem;
use crate::failure::Failure;
use crate::graph::StageId;
use crate::meter::Timing;
use crate::working::{AttemptId, Working};
use step_cells::Standing;
pub(crate) use step_cells::StepCells;

/// One worker's journal.
pub(crate) struct Journal {
    pipeline: u64,
    run: u64,
    /// Whose items its worker runs: the outermost block, or the stage outside any.
    stage: Arc<str>,
    /// What its worker does; of which item, if of one, says `item`.
    doing: Cell<Working>,
    item: Cell<u64>,
    /// What the number of an item lacks to that of the attempt at it: each attempt has a greater one than those before.
    ahead: Cell<u64>,
    steps: RefCell<Vec<Rc<StepCells>>>,
    counts: RefCell<BTreeMap<u32, Count>>,
    collected: RefCell<BTreeMap<u32, Box<dyn Values>>>,
    events: RefCell<Vec<Event>>,
    appended: RefCell<Vec<(Arc<Path>, u64)>>,
    /// As `appended`, of committed attempts.
    standing: RefCell<Vec<Appended>>,
    /// What was measured, whatever became of the attempts.
    times: RefCell<Vec<Timed>>,
    used: Cell<bool>,
}

/// A locked file, and the ids of records in it.
pub(crate) type Appended = (Arc<Path>, Vec<u64>);

fn add_appended(all: &mut Vec<Appended>, path: Arc<Path>, ids: impl IntoIterator<Item = u64>) {
    match all.iter_mut().find(|(other, _)| *other == path) {
        Some((_, all)) => all.extend(ids),
        None => all.push((path, ids.into_iter().collect())),
    }
}

/// A stage, and what was measured of its block's items.
pub(crate) type Timed = (StageId, Timing);

fn add_timed(all: &mut Vec<Timed>, stage: StageId, timing: Timing) {
    match all.iter_mut().find(|(other, _)| *other == stage) {
        Some((_, all)) => all.absorb(timing),
        None => all.push((stage, timing)),
    }
}

/// Something rare that happened to an item of a block inside the attempt.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Event {
    pub(crate) stage: StageId,
    pub(crate) what: Happened,
}

/// What happened.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Happened {
    Retried,
    /// It failed for good, and the attempt around it goes on.
    Failed(FailedItem),
}

#[derive(Default, Clone, Copy)]
struct Count {
    pending: u64,
    settled: u64,
}

/// Collected values of one collector, of a type only the collector knows.
pub(crate) trait Values: Any + Send {
    fn len(&self) -> usize;
    fn truncate(&mut self, len: usize);
    /// Appends the values of another one of the same type.
    fn absorb(&mut self, other: Box<dyn Any>);
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    /// For the way from a worker to the program.
    fn encode(&self) -> Result<Vec<u8>, Failure>;
}

/// A state of the journal to which an inner attempt can be undone.
pub(crate) struct Mark {
    steps: Vec<Standing>,
    counts: BTreeMap<u32, u64>,
    collected: BTreeMap<u32, usize>,
    events: usize,
    appended: usize,
}

/// What a journal has committed, on its way to the program's totals: `(stage, in, out, nothing came of)`, `(counter, n)`, per
/// collector its values, per locked file the records that stand.
#[derive(Default)]
pub(crate) struct Entries {
    pub(crate) steps: Vec<(StageId, u64, u64, u64)>,
    pub(crate) counts: Vec<(u32, u64)>,
    pub(crate) collected: Vec<(u32, Box<dyn Values>)>,
    pub(crate) events: Vec<Event>,
    pub(crate) appended: Vec<Appended>,
    pub(crate) times: Vec<Timed>,
}

impl Entries {
    /// Adds what was measured of a stage's items.
    pub(crate) fn timed(&mut self, stage: StageId, timing: Timing) {
        if !timing.is_empty() {
            add_timed(&mut self.times, stage, timing);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.iter().all(|(_, ins, outs, nones)| (*ins, *outs, *nones) == (0, 0, 0))
            && self.times.is_empty()
            && self.counts.is_empty()
            && self.collected.is_empty()
            && self.events.is_empty()
            && self.appended.is_empty()
    }
}

impl Journal {
    pub(crate) fn new(pipeline: u64, run: u64, stage: Arc<str>) -> Self {
        Journal {
            pipeline,
            run,
            stage,
            doing: Cell::default(),
            item: Cell::default(),
            ahead: Cell::new(1),
            steps: RefCell::default(),
            counts: RefCell::default(),
            collected: RefCell::default(),
            events: RefCell::default(),
            appended: RefCell::default(),
            standing: RefCell::default(),
            times: RefCell::default(),
            used: Cell::new(false),
        }
    }

    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    pub(crate) fn stage(&self) -> &Arc<str> {
        &self.stage
    }

    pub(crate) fn working(&self) -> Working {
        match self.doing.get() {
            Working::Item { attempt, .. } => Working::Item { item: self.item.get(), attempt },
            other => other,
        }
    }

    /// Says what the worker does from now on.
    #[inline]
    pub(crate) fn works_at(&self, working: Working) {
        let attempt = self.attempt();
        self.doing.set(working);
        if let Working::Item { item, .. } = working {
            self.item.set(item);
            self.ahead.set(attempt.wrapping_sub(item));
        }
    }

    /// The number of the item at which the worker works, or worked last.
    #[inline]
    pub(crate) fn item(&self) -> u64 {
        self.item.get()
    }

    /// The attempt at the last item succeeded, and what it recorded was [kept](Self::keep); the one at this, the next, begins.
    #[inline]
    pub(crate) fn is_at(&self, item: u64) {
        self.item.set(item);
    }

    /// What `f` does is done before the attempt at the item that comes next.
    #[inline]
    pub(crate) fn aside<R>(&self, f: impl FnOnce() -> R) -> R {
        let doing = self.doing.replace(Working::Nothing);
        let outcome = f();
        self.doing.set(doing);
        outcome
    }

    pub(crate) fn attempt_id(&self) -> Option<AttemptId> {
        match self.working() {
            Working::Item { item, attempt } => {
                Some(AttemptId { run: self.run, stage: Arc::clone(&self.stage), item, attempt })
            }
            Working::Nothing | Working::Rest => None,
        }
    }

    pub(crate) fn step(&self, stage: StageId) -> Rc<StepCells> {
        let mut steps = self.steps.borrow_mut();
        // A worker that builds its sinks again after a panic goes on with the same cells.
        if let Some(cells) = steps.iter().find(|cells| cells.stage == stage) {
            return Rc::clone(cells);
        }
        let cells = Rc::new(StepCells::new(stage));
        steps.push(Rc::clone(&cells));
        cells
    }

    pub(crate) fn count(&self, counter: u32, n: u64) {
        self.used.set(true);
        self.counts.borrow_mut().entry(counter).or_default().pending += n;
    }

    /// Adds collected values to what the running attempt holds back.
    pub(crate) fn collect(&self, collector: u32, values: Box<dyn Values>) {
        self.used.set(true);
        match self.collected.borrow_mut().entry(collector) {
            Entry::Vacant(entry) => drop(entry.insert(values)),
            Entry::Occupied(mut entry) => entry.get_mut().absorb(values.into_any()),
        }
    }

    pub(crate) fn event(&self, stage: StageId, what: Happened) {
        self.used.set(true);
        self.events.borrow_mut().push(Event { stage, what });
    }

    /// Adds what was measured of a stage's items: that stands, whatever becomes of the attempt.
    pub(crate) fn timed(&self, stage: StageId, timing: Timing) {
        add_timed(&mut self.times.borrow_mut(), stage, timing);
    }

    /// The running attempt appended a record.
    pub(crate) fn append(&self, file: &Arc<Path>, id: u64) {
        self.used.set(true);
        self.appended.borrow_mut().push((Arc::clone(file), id));
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            appended: self.appended.borrow().len(),
            events: self.events.borrow().len(),
            steps: self.steps.borrow().iter().map(|cells| cells.now()).collect(),
            counts: self.counts.borrow().iter().map(|(k, c)| (*k, c.pending)).collect(),
            collected: self.collected.borrow().iter().map(|(k, v)| (*k, v.len())).collect(),
        }
    }

    pub(crate) fn undo_to(&self, mark: &Mark) {
        // Of a step made since then nothing is committed.
        let before = mark.steps.iter().copied().chain(std::iter::repeat(Standing::default()));
        self.steps.borrow().iter().zip(before).for_each(|(cells, before)| cells.set(before));
        for (key, count) in self.counts.borrow_mut().iter_mut() {
            count.pending = mark.counts.get(key).copied().unwrap_or(0);
        }
        for (key, values) in self.collected.borrow_mut().iter_mut() {
            values.truncate(mark.collected.get(key).copied().unwrap_or(0));
        }
        self.events.borrow_mut().truncate(mark.events);
        self.appended.borrow_mut().truncate(mark.appended);
    }

    pub(crate) fn undo(&self) {
        let attempt = self.attempt();
        self.next_attempt();
        self.steps.borrow().iter().for_each(|cells| cells.undo(attempt));
        if self.used.get() {
            self.counts.borrow_mut().values_mut().for_each(|count| count.pending = 0);
            self.collected.borrow_mut().clear();
            self.events.borrow_mut().clear();
            self.appended.borrow_mut().clear();
        }
    }

    /// The running attempt succeeded. Collected values stay until the next [`take`](Self::take), which
    /// must come before the next attempt when any were collected ([`has_values`](Self::has_values)).
    #[inline]
    pub(crate) fn commit(&self) {
        self.keep();
        self.next_attempt();
    }

    /// As [`commit`](Self::commit), before [`is_at`](Self::is_at).
    #[inline]
    pub(crate) fn keep(&self) {
        if self.used.get() {
            self.keep_used();
        }
    }

    fn next_attempt(&self) {
        self.ahead.set(self.ahead.get().wrapping_add(1));
    }

    /// The number of the attempt that runs, or ran last.
    #[inline]
    pub(crate) fn attempt(&self) -> u64 {
        self.item.get().wrapping_add(self.ahead.get())
    }

    #[cold]
    fn keep_used(&self) {
        for count in self.counts.borrow_mut().values_mut() {
            count.settled += std::mem::take(&mut count.pending);
        }
        let mut standing = self.standing.borrow_mut();
        for (path, id) in self.appended.borrow_mut().drain(..) {
            add_appended(&mut standing, path, [id]);
        }
    }

    /// Whether anything was ever counted, collected or appended here.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.used.get()
    }

    /// Whether the last commit collected values that must be taken before the next attempt.
    #[inline]
    pub(crate) fn has_values(&self) -> bool {
        self.used.get() && !(self.collected.borrow().is_empty() && self.events.borrow().is_empty())
    }

    /// Whether everything collected can travel to the program.
    #[inline]
    pub(crate) fn check_values(&self) -> Result<(), Failure> {
        if self.used.get() { self.check_collected() } else { Ok(()) }
    }

    #[cold]
    fn check_collected(&self) -> Result<(), Failure> {
        self.collected.borrow().values().try_for_each(|values| values.encode().map(drop))
    }

    /// Takes what was committed. Never within an attempt.
    pub(crate) fn take(&self) -> Entries {
        let mut entries = Entries::default();
        self.take_into(&mut entries);
        entries
    }

    /// Adds what was committed to entries that earlier calls filled.
    #[inline]
    pub(crate) fn take_into(&self, entries: &mut Entries) {
        for (at, cells) in self.steps.borrow().iter().enumerate() {
            let (ins, outs, nones) = cells.take();
            match entries.steps.get_mut(at) {
                // The usual case: the same journal filled the entries before.
                Some((stage, all_ins, all_outs, all_nones)) if *stage == cells.stage => {
                    *all_ins += ins;
                    *all_outs += outs;
                    *all_nones += nones;
                }
                _ => entries.steps.push((cells.stage, ins, outs, nones)),
            }
        }
        if self.used.get() || !self.times.borrow().is_empty() {
            self.take_rest(entries);
        }
    }

    /// What few attempts have.
    #[cold]
    fn take_rest(&self, entries: &mut Entries) {
        for (stage, timing) in self.times.borrow_mut().drain(..) {
            entries.timed(stage, timing);
        }
        if self.used.get() {
            for (key, count) in self.counts.borrow_mut().iter_mut() {
                let settled = std::mem::take(&mut count.settled);
                match entries.counts.iter_mut().find(|(counter, _)| counter == key) {
                    Some((_, all)) => *all += settled,
                    None if settled != 0 => entries.counts.push((*key, settled)),
                    None => {}
                }
            }
            entries.collected.extend(std::mem::take(&mut *self.collected.borrow_mut()));
            entries.events.append(&mut self.events.borrow_mut());
            for (path, ids) in self.standing.borrow_mut().drain(..) {
                add_appended(&mut entries.appended, path, ids);
            }
        }
    }

    /// An inner worker's committed entries become part of this attempt.
    pub(crate) fn absorb(&self, entries: Entries) {
        for (stage, timing) in entries.times {
            self.timed(stage, timing);
        }
        for (stage, ins, outs, nones) in entries.steps {
            self.step(stage).add_all(self.attempt(), ins, outs, nones);
        }
        for (counter, n) in entries.counts {
            self.count(counter, n);
        }
        for (collector, values) in entries.collected {
            self.collect(collector, values);
        }
        for event in entries.events {
            self.event(event.stage, event.what);
        }
        for (path, ids) in entries.appended {
            ids.into_iter().for_each(|id| self.append(&path, id));
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Vec<Rc<Journal>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` outside of every attempt: what handles record meanwhile counts at once.
pub(crate) fn outside<R>(f: impl FnOnce() -> R) -> R {
    struct Back(Vec<Rc<Journal>>);
    impl Drop for Back {
        fn drop(&mut self) {
            CURRENT.with(|current| current.replace(std::mem::take(&mut self.0)));
        }
    }
    let _back = Back(CURRENT.with(RefCell::take));
    f()
}

/// While it lives, handles used on this thread record in the given journal.
pub(crate) struct Entered(());

impl Journal {
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        CURRENT.with(|current| current.borrow_mut().push(Rc::clone(self)));
        Entered(())
    }

    /// Runs `f` with the journal of what this thread does now, if it works for a pipeline.
    pub(crate) fn top<R>(f: impl FnOnce(&Journal) -> R) -> Option<R> {
        // At its very end a thread has no journal any more.
        CURRENT.try_with(|current| current.borrow().last().map(|journal| f(journal))).ok().flatten()
    }

    /// Runs `f` with the journal in which this thread records for a pipeline, if there is one.
    pub(crate) fn with_current<R>(pipeline: u64, f: impl FnOnce(&Journal) -> R) -> Option<R> {
        CURRENT.with(|current| {
            let current = current.borrow();
            current.iter().rev().find(|journal| journal.pipeline == pipeline).map(|journal| f(journal))
        })
    }
}

/// In a forked child: lets go of the journals of before the fork. They are copies that nobody reads: what was
/// recorded there would be lost without a word.
pub(crate) fn leave_behind() {
    // Forgotten, not dropped: the destructors of collected values are the program's to run.
    std::mem::forget(CURRENT.take());
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.borrow_mut().pop());
    }
}
