//! Results on their way back: gathered into frames, never held back by a later item.
//!
//! A worker sends what it has before it waits. While it is busy with an item, results of earlier items would
//! have to wait for it; so the first time that can happen, a second thread is started that sends what has
//! waited for [`RESULT_WAIT`]. It never runs user code.

use std::io;
use std::sync::Arc;
use std::thread;

use minigun_os::Socket;

use super::frame::{self, FrameError, HEADER, Kind};
use super::protocol::{self, ItemOutcome, Work};
use crate::defaults::{FRAME_BYTES, RESULT_WAIT};
use crate::failure::Failure;
use crate::graph::StageId;
use crate::journal::{Entries, Journal};
use crate::meter::Meter;
use crate::stage::exit::WireOut;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// A worker's results that were not sent yet.
pub(crate) struct Outbox {
    shared: Arc<Shared>,
    has_sender: bool,
}

struct Shared {
    socket: Arc<Socket>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// An open frame; empty if nothing waits.
    frame: Vec<u8>,
    /// Long runs that are not in it, in bytes.
    apart: usize,
    entries: Entries,
    work: Work,
    /// Everything below was dealt with; `told` of it was sent.
    passed: u64,
    told: u64,
    /// Results wait while an item runs: the sender is to look after them.
    at_risk: bool,
    /// They did so since the sender last looked.
    stirred: bool,
    /// The sender waits to be called.
    parked: bool,
    /// The other thread could not send: the worker must end.
    broken: bool,
}

impl Waiting {
    fn size(&self) -> usize {
        self.frame.len() + self.apart
    }
}

impl Outbox {
    pub(crate) fn new(socket: &Arc<Socket>) -> Self {
        let shared = Shared { socket: Arc::clone(socket), waiting: Mutex::default(), wake: Condvar::new() };
        Outbox { shared: Arc::new(shared), has_sender: false }
    }

    /// Adds an item's result with what its attempt held back and recorded; `busy` if another item follows at once.
    pub(crate) fn add(
        &mut self,
        index: u64,
        outcome: Result<(), Failure>,
        out: &WireOut,
        journal: &Journal,
        busy: bool,
    ) -> Result<(), Lost> {
        let mut waiting = self.shared.waiting.lock();
        let size = out.len();
        if !waiting.frame.is_empty() && waiting.size() + size > FRAME_BYTES {
            self.shared.send(&mut waiting)?;
        }
        if waiting.frame.is_empty() {
            frame::open(&mut waiting.frame, Kind::Results, 0);
        }
        journal.take_into(&mut waiting.entries);
        let code = if outcome.is_ok() { ItemOutcome::Done } else { ItemOutcome::Failed };
        waiting.frame.extend_from_slice(&index.to_le_bytes());
        waiting.frame.push(code as u8);
        let before = waiting.frame.len();
        protocol::block(&mut waiting.frame, |bytes| match outcome {
            Ok(()) => out.take(bytes),
            Err(failure) => bytes.extend_from_slice(&protocol::encode_failure(&failure)),
        })?;
        waiting.apart += size.saturating_sub(waiting.frame.len() - before);
        waiting.passed = index + 1;
        Self::look_after(&self.shared, &mut self.has_sender, waiting, busy)
    }

    /// Adds what was measured of the stage's items.
    pub(crate) fn timed(&mut self, stage: StageId, meter: &mut Meter) {
        let timing = meter.take();
        let mut waiting = self.shared.waiting.lock();
        waiting.work.nanos += timing.busy;
        waiting.work.items += timing.items();
        waiting.entries.timed(stage, timing);
    }

    /// Everything below `index` has been dealt with, without a result; `busy` if another item follows at once.
    pub(crate) fn passed(&mut self, index: u64, busy: bool) -> Result<(), Lost> {
        let mut waiting = self.shared.waiting.lock();
        waiting.passed = index;
        Self::look_after(&self.shared, &mut self.has_sender, waiting, busy)
    }

    fn look_after(
        shared: &Arc<Shared>,
        has_sender: &mut bool,
        mut waiting: MutexGuard<'_, Waiting>,
        busy: bool,
    ) -> Result<(), Lost> {
        if waiting.broken {
            return Err(Lost::Io);
        }
        if waiting.size() > FRAME_BYTES {
            return shared.send(&mut waiting);
        }
        if busy && !waiting.at_risk && !waiting.frame.is_empty() {
            waiting.at_risk = true;
            waiting.stirred = true;
            if !*has_sender {
                let shared = Arc::clone(shared);
                // Without the thread results only come later, so its failure to start is no failure.
                drop(thread::Builder::new().name("mg:results".into()).spawn(move || shared.watch()));
                *has_sender = true;
            } else if waiting.parked {
                waiting.parked = false;
                shared.wake.notify_one();
            }
        }
        Ok(())
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) -> Result<(), Lost> {
        let mut waiting = self.shared.waiting.lock();
        self.shared.send(&mut waiting)
    }
}

impl Shared {
    fn send(&self, waiting: &mut Waiting) -> Result<(), Lost> {
        waiting.at_risk = false;
        if waiting.frame.is_empty() && waiting.passed == waiting.told {
            return Ok(());
        }
        if waiting.frame.is_empty() {
            frame::open(&mut waiting.frame, Kind::Results, 0);
        }
        let mut out = std::mem::take(&mut waiting.frame);
        let at = out.len();
        protocol::encode_journal(
            std::mem::take(&mut waiting.entries),
            std::mem::take(&mut waiting.work),
            &mut out,
        )
        .map_err(|_| Lost::Journal)?;
        let length = (out.len() - at) as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out[8..HEADER].copy_from_slice(&waiting.passed.to_le_bytes());
        frame::seal(&mut out, 0)?;
        self.socket.write_all(&out)?;
        waiting.told = waiting.passed;
        waiting.apart = 0;
        out.clear();
        if out.capacity() <= 4 * FRAME_BYTES {
            waiting.frame = out;
        }
        Ok(())
    }

    /// The sender's life: it looks twice in the time that a result may wait, and sends what it saw before. A worker
    /// that is quick does so itself meanwhile, and need not call: only one that sat idle has to.
    fn watch(&self) {
        let mut waiting = self.waiting.lock();
        loop {
            let told = waiting.told;
            self.wake.wait_for(&mut waiting, RESULT_WAIT / 2);
            if waiting.at_risk && waiting.told == told {
                if self.send(&mut waiting).is_err() {
                    waiting.broken = true;
                    return;
                }
            } else if !waiting.at_risk && !std::mem::take(&mut waiting.stirred) {
                waiting.parked = true;
                while waiting.parked {
                    self.wake.wait(&mut waiting);
                }
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
