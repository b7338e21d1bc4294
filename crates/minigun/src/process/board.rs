//! The board: shared memory in which a worker claims each item before it runs it.
//!
//! One byte for every item in flight. The program offers; the worker claims by moving `OFFERED` to `RUNNING`,
//! so the program can take an item back by moving `OFFERED` to `REVOKED`: whoever moves first has it. When
//! a worker died, its `RUNNING` byte names the item that killed it. Beside the bytes each worker has four words: when
//! it began the item it runs, its process number, how many runs of its slab the program has read, and how long its item
//! is likely to take. The slabs are handed out here as well.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use minigun_os::{Pid, Slab};

use crate::defaults::{SLAB_BYTES, WINDOW_ITEMS};
use crate::sync::Mutex;

const OFFERED: u8 = 1;
const RUNNING: u8 = 2;
const DONE: u8 = 3;
const REVOKED: u8 = 4;

/// Words of one worker.
const WORDS: usize = 4;
/// The program reads no more runs.
const CLOSED: u64 = u64::MAX;

/// The claims of every worker slot of a run.
pub(crate) struct Board {
    memory: minigun_os::Board,
    /// Times on the board are nanoseconds since then; a clock that all processes of one machine share.
    epoch: Instant,
    /// Of each slot, until it is asked for; none if the system refused them.
    slabs: Vec<Mutex<Option<Slabs>>>,
}

/// The memory through which long runs of bytes pass between the program and one worker.
pub(crate) struct Slabs {
    /// The program writes.
    pub(crate) items: Slab,
    /// The worker writes.
    pub(crate) results: Slab,
}

/// One worker slot's part of the board. Item `index` has the byte `index % WINDOW_ITEMS`, which is free again
/// once everything up to that item has been dealt with.
#[derive(Clone)]
pub(crate) struct Claims {
    board: Arc<Board>,
    slot: usize,
    range: Range<usize>,
}

impl Board {
    /// A board for `slots` workers; made before the fork, so that all processes share it.
    pub(crate) fn new(slots: usize) -> std::io::Result<Arc<Self>> {
        let memory = minigun_os::Board::new(slots * WORDS, slots * WINDOW_ITEMS)?;
        let all = Slab::make(slots, SLAB_BYTES).and_then(|items| Ok((items, Slab::make(slots, SLAB_BYTES)?)));
        // Refused, everything goes by the sockets.
        let slabs = all.map_or(Vec::new(), |(items, results)| {
            let both = items.into_iter().zip(results);
            both.map(|(items, results)| Mutex::new(Some(Slabs { items, results }))).collect()
        });
        Ok(Arc::new(Board { memory, epoch: Instant::now(), slabs }))
    }

    /// In a fork server, and so in all its workers: what the program keeps in the slabs of items is out of reach of stray
    /// pointers. Refused, it is not, as the heap is not.
    pub(crate) fn seal_items(&self) {
        if let Some(slabs) = self.slabs.first()
            && let Some(slabs) = &mut *slabs.lock()
        {
            let _ = slabs.items.seal();
        }
    }

    pub(crate) fn slot(self: &Arc<Self>, slot: usize) -> Claims {
        Claims { board: Arc::clone(self), slot, range: slot * WINDOW_ITEMS..(slot + 1) * WINDOW_ITEMS }
    }
}

impl Claims {
    #[inline]
    fn byte(&self, index: u64) -> &AtomicU8 {
        &self.board.memory.bytes()[self.range.clone()][index as usize % WINDOW_ITEMS]
    }

    #[inline]
    fn word(&self) -> &AtomicU64 {
        &self.board.memory.words()[self.slot * WORDS]
    }

    fn number(&self) -> &AtomicU64 {
        &self.board.memory.words()[self.slot * WORDS + 1]
    }

    /// The worker's number among all of the run.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// By the worker: it is this process. By the program, before it forks one: it is none yet.
    pub(crate) fn is_process(&self, pid: Option<Pid>) {
        self.number().store(pid.map_or(0, |pid| pid.get().into()), Ordering::Relaxed);
    }

    /// The worker's process number, from its first words on until the next is forked.
    pub(crate) fn pid(&self) -> Option<u32> {
        u32::try_from(self.number().load(Ordering::Relaxed)).ok().filter(|pid| *pid != 0)
    }

    fn runs(&self) -> &AtomicU64 {
        &self.board.memory.words()[self.slot * WORDS + 2]
    }

    /// The slot's slabs, once in each process; `None` if there are none.
    pub(crate) fn slabs(&self) -> Option<Slabs> {
        self.board.slabs.get(self.slot)?.lock().take()
    }

    /// By the program: it has read so many runs of results, of all workers that were here.
    pub(crate) fn has_read(&self, runs: u64) {
        if self.runs().load(Ordering::Relaxed) != CLOSED {
            self.runs().store(runs, Ordering::Release);
        }
    }

    /// By the program: no worker is to write to the slab any more, for another may not be dead yet.
    pub(crate) fn close(&self) {
        self.runs().store(CLOSED, Ordering::Release);
    }

    /// By the worker: how many runs the program has read; `None` if it reads no more.
    pub(crate) fn runs_read(&self) -> Option<u64> {
        Some(self.runs().load(Ordering::Acquire)).filter(|runs| *runs != CLOSED)
    }

    /// By the program: how long the next worker's item is likely to take.
    pub(crate) fn expect(&self, time: Duration) {
        self.board.memory.words()[self.slot * WORDS + 3]
            .store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// By the worker: how long its item is likely to take.
    pub(crate) fn expected(&self) -> Duration {
        Duration::from_nanos(self.board.memory.words()[self.slot * WORDS + 3].load(Ordering::Relaxed))
    }

    /// By the worker: it begins an item now.
    #[inline]
    pub(crate) fn begin(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.board.epoch).as_nanos() as u64;
        self.word().store(nanos.max(1), Ordering::Relaxed);
    }

    /// By the worker: it runs no item. By the program, before it forks a worker: the last one's word is gone.
    #[inline]
    pub(crate) fn rest(&self) {
        self.word().store(0, Ordering::Relaxed);
    }

    /// By the program: when the worker began the item it runs, if it runs one.
    pub(crate) fn begun(&self) -> Option<Instant> {
        match self.word().load(Ordering::Relaxed) {
            0 => None,
            nanos => self.board.epoch.checked_add(Duration::from_nanos(nanos)),
        }
    }

    /// By the program: so many items are on their way.
    pub(crate) fn offer(&self, index: u64, count: usize) {
        let bytes = &self.board.memory.bytes()[self.range.clone()];
        let (end, start) = bytes.split_at(index as usize % WINDOW_ITEMS);
        for byte in start.iter().chain(end).take(count) {
            byte.store(OFFERED, Ordering::Release);
        }
    }

    /// By the program: takes an item back; `false` if the worker has it.
    pub(crate) fn revoke(&self, index: u64) -> bool {
        self.byte(index).compare_exchange(OFFERED, REVOKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// By the worker: begins an item; `false` if it was taken back.
    #[inline]
    pub(crate) fn claim(&self, index: u64) -> bool {
        self.byte(index).compare_exchange(OFFERED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// By the worker: the item was run; what is left is to send its result.
    #[inline]
    pub(crate) fn done(&self, index: u64) {
        self.byte(index).store(DONE, Ordering::Release);
    }

    /// By the program, when the worker is dead: whether it had run this item.
    pub(crate) fn is_done(&self, index: u64) -> bool {
        self.byte(index).load(Ordering::Acquire) == DONE
    }

    /// By the program, when the worker is dead: whether it died running this item.
    pub(crate) fn is_running(&self, index: u64) -> bool {
        self.byte(index).load(Ordering::Acquire) == RUNNING
    }
}
