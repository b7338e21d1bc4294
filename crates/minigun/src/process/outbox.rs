//! Results on their way back: gathered into frames, never held back by a later item.
//!
//! A worker sends what it has before it waits. While it is busy with an item, results of earlier items would
//! have to wait for it; so the first time that can happen, a second thread is started that sends what has
//! waited for [`RESULT_WAIT`]. It never runs user code.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use minigun_os::{BiasedGuest, BiasedOwner, Socket, biased};

use super::frame::{self, FrameError, HEADER, Kind};
use super::protocol::{self, ItemOutcome, Work};
use crate::defaults::{FRAME_BYTES, FRAME_WORK, RESULT_WAIT};
use crate::failure::Failure;
use crate::graph::StageId;
use crate::journal::{Entries, Journal};
use crate::meter::Meter;
use crate::stage::exit::WireOut;
use crate::sync::{Condvar, Mutex};

/// A worker's results that were not sent yet.
pub(crate) struct Outbox {
    waiting: BiasedOwner<Waiting>,
    /// For the sender, which is not there yet.
    guest: Option<BiasedGuest<Waiting>>,
    bell: Arc<Bell>,
}

/// Calls the sender when it is parked, and tells it, without the lock, how long results have waited.
struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
    epoch: Instant,
    /// Since when results wait while an item runs, in nanoseconds from the epoch; 0 if none do.
    since: AtomicU64,
    /// Some did since the sender last looked.
    stirred: AtomicBool,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Bell {
            rung: Mutex::default(),
            wake: Condvar::default(),
            epoch: Instant::now(),
            since: AtomicU64::new(0),
            stirred: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

struct Waiting {
    socket: Arc<Socket>,
    /// An open frame; empty if nothing waits.
    frame: Vec<u8>,
    /// Long runs that are not in it, in bytes.
    apart: usize,
    run: Run,
    entries: Entries,
    work: Work,
    /// Everything below was dealt with; `told` of it was sent.
    passed: u64,
    told: u64,
    bell: Arc<Bell>,
    /// Results wait while an item runs: the sender is to look after them.
    at_risk: bool,
    /// The sender waits to be called.
    parked: bool,
    /// The other thread could not send: the worker must end.
    broken: bool,
}

/// The run of results at the end of the frame.
#[derive(Default)]
struct Run {
    start: usize,
    count: u32,
    /// The index that goes on with it.
    next: u64,
}

impl Waiting {
    #[inline]
    fn size(&self) -> usize {
        self.frame.len() + self.apart
    }

    /// Adds the result of an item that was done.
    #[inline]
    fn done(&mut self, index: u64, out: &WireOut) -> Result<(), FrameError> {
        if self.run.count == 0 || self.run.next != index {
            self.end_run()?;
            self.run.start = protocol::begin_results(&mut self.frame, index, ItemOutcome::Done);
        }
        self.apart += out.take(&mut self.frame);
        self.frame.extend_from_slice(&protocol::NO_MORE.to_le_bytes());
        self.run.count += 1;
        self.run.next = index + 1;
        Ok(())
    }

    fn failed(&mut self, index: u64, failure: &Failure) -> Result<(), FrameError> {
        self.end_run()?;
        let start = protocol::begin_results(&mut self.frame, index, ItemOutcome::Failed);
        self.frame.extend_from_slice(&protocol::encode_failure(failure));
        protocol::end_results(&mut self.frame, start, 1)
    }

    #[inline]
    fn end_run(&mut self) -> Result<(), FrameError> {
        match std::mem::take(&mut self.run.count) {
            0 => Ok(()),
            count => protocol::end_results(&mut self.frame, self.run.start, count),
        }
    }
}

impl Outbox {
    pub(crate) fn new(socket: &Arc<Socket>) -> Self {
        let bell = Bell::new();
        let (waiting, guest) = biased(Waiting {
            socket: Arc::clone(socket),
            bell: Arc::clone(&bell),
            frame: Vec::new(),
            apart: 0,
            run: Run::default(),
            entries: Entries::default(),
            work: Work::default(),
            passed: 0,
            told: 0,
            at_risk: false,
            parked: false,
            broken: false,
        });
        Outbox { waiting, guest: Some(guest), bell }
    }

    /// Adds an item's result with what its attempt held back and recorded; `busy` if another item follows at once.
    #[inline]
    pub(crate) fn add(
        &mut self,
        index: u64,
        outcome: Result<(), Failure>,
        out: &WireOut,
        journal: &Journal,
        busy: bool,
    ) -> Result<(), Lost> {
        let mut waiting = self.waiting.lock();
        if !waiting.frame.is_empty() && waiting.size() + out.len() > FRAME_BYTES {
            waiting.send()?;
        }
        if waiting.frame.is_empty() {
            frame::open(&mut waiting.frame, Kind::Results, 0);
        }
        journal.take_into(&mut waiting.entries);
        match outcome {
            Ok(()) => waiting.done(index, out)?,
            Err(failure) => waiting.failed(index, &failure)?,
        }
        waiting.passed = index + 1;
        if waiting.is_well(busy) {
            return Ok(());
        }
        drop(waiting);
        self.look_after(busy)
    }

    /// Adds what was measured of the stage's items.
    pub(crate) fn timed(&mut self, stage: StageId, meter: &mut Meter) {
        let timing = meter.take();
        let mut waiting = self.waiting.lock();
        waiting.work.nanos += timing.busy;
        waiting.work.items += timing.items();
        waiting.entries.timed(stage, timing);
    }

    /// Everything below `index` has been dealt with, without a result; `busy` if another item follows at once.
    pub(crate) fn passed(&mut self, index: u64, busy: bool) -> Result<(), Lost> {
        let mut waiting = self.waiting.lock();
        waiting.passed = index;
        if waiting.is_well(busy) {
            return Ok(());
        }
        drop(waiting);
        self.look_after(busy)
    }

    #[cold]
    fn look_after(&mut self, busy: bool) -> Result<(), Lost> {
        let mut waiting = self.waiting.lock();
        if waiting.broken {
            return Err(Lost::Io);
        }
        if waiting.size() > FRAME_BYTES {
            return waiting.send();
        }
        if busy && !waiting.at_risk && !waiting.frame.is_empty() {
            waiting.at_risk = true;
            self.bell.stirred.store(true, Ordering::Relaxed);
            self.bell.since.store(self.bell.now().max(1), Ordering::Relaxed);
            if let Some(guest) = self.guest.take() {
                let bell = Arc::clone(&self.bell);
                // Without the thread results only come later, so its failure to start is no failure.
                drop(thread::Builder::new().name("mg:results".into()).spawn(move || watch(guest, &bell)));
            } else if std::mem::take(&mut waiting.parked) {
                drop(waiting);
                *self.bell.rung.lock() = true;
                self.bell.wake.notify_one();
            }
        }
        Ok(())
    }

    /// Sends what waits, if that is worth a frame of its own: the worker goes on with the next at once.
    pub(crate) fn flush_full(&mut self) -> Result<(), Lost> {
        let mut waiting = self.waiting.lock();
        let long = waiting.work.nanos * 4 >= FRAME_WORK.as_nanos() as u64;
        if long || waiting.size() * 2 >= FRAME_BYTES { waiting.send() } else { Ok(()) }
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) -> Result<(), Lost> {
        self.waiting.lock().send()
    }
}

impl Waiting {
    /// Whether there is nothing to look after.
    #[inline]
    fn is_well(&self, busy: bool) -> bool {
        let cared_for = !busy || self.at_risk || self.frame.is_empty();
        cared_for && !self.broken && self.size() <= FRAME_BYTES
    }

    fn send(&mut self) -> Result<(), Lost> {
        if std::mem::take(&mut self.at_risk) {
            self.bell.since.store(0, Ordering::Relaxed);
        }
        if self.frame.is_empty() && self.passed == self.told {
            return Ok(());
        }
        if self.frame.is_empty() {
            frame::open(&mut self.frame, Kind::Results, 0);
        }
        self.end_run()?;
        let mut out = std::mem::take(&mut self.frame);
        let at = out.len();
        protocol::encode_journal(std::mem::take(&mut self.entries), std::mem::take(&mut self.work), &mut out)
            .map_err(|_| Lost::Journal)?;
        let length = (out.len() - at) as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out[8..HEADER].copy_from_slice(&self.passed.to_le_bytes());
        frame::seal(&mut out, 0)?;
        self.socket.write_all(&out)?;
        self.told = self.passed;
        self.apart = 0;
        out.clear();
        if out.capacity() <= 4 * FRAME_BYTES {
            self.frame = out;
        }
        Ok(())
    }
}

/// The sender's life: it sends what has waited long enough, and sleeps until that may be so. A worker that is quick
/// sends its results itself before, and is neither called nor held up: only one that sat idle has to call.
fn watch(mut waiting: BiasedGuest<Waiting>, bell: &Bell) {
    let (bound, mut look_in) = (RESULT_WAIT.as_nanos() as u64, RESULT_WAIT);
    loop {
        let _ = bell.wake.wait_for(&mut bell.rung.lock(), look_in);
        look_in = RESULT_WAIT;
        let since = bell.since.load(Ordering::Relaxed);
        let waited = bell.now().saturating_sub(since);
        let stirred = bell.stirred.swap(false, Ordering::Relaxed);
        if since > 0 && waited < bound {
            look_in = Duration::from_nanos(bound - waited);
            continue;
        }
        if since == 0 && stirred {
            continue;
        }
        // A worker that is inside goes from one item to the next: none of its results waits behind a long one yet.
        let Some(mut waiting) = waiting.try_lock() else {
            look_in = RESULT_WAIT / 8;
            continue;
        };
        if waiting.at_risk && bell.since.load(Ordering::Relaxed) == since {
            if waiting.send().is_err() {
                waiting.broken = true;
                return;
            }
        } else if !waiting.at_risk {
            waiting.parked = true;
            drop(waiting);
            let mut rung = bell.rung.lock();
            while !std::mem::take(&mut *rung) {
                bell.wake.wait(&mut rung);
            }
        }
    }
}

/// Why a worker can only leave: there is nobody to tell.
pub(crate) enum Lost {
    Io,
    Frame,
    Journal,
}

impl From<io::Error> for Lost {
    fn from(_: io::Error) -> Self {
        Lost::Io
    }
}

impl From<FrameError> for Lost {
    fn from(_: FrameError) -> Self {
        Lost::Frame
    }
}
