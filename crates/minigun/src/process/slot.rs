//! One worker slot, seen from the program: a thread that feeds its worker, takes its results, and replaces it
//! when it dies.
//!
//! The thread never waits for one thing alone: it polls the worker's socket and the event by which the queue
//! and the other slots call it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use minigun_os::{Interest, Watch, poll};

use super::Processes;
use super::arrival::Arrival;
use super::crew::{Again, Desk, SlotCrew};
use super::frame::{self, Fields, FrameError, Kind};
use super::ledger::Parcel;
use super::link::{Input, Link, Stage};
use super::pace::Pace;
use super::protocol::{self, ItemOutcome};
use super::zygote::{Exit, Status};
use crate::defaults::{HELD_BYTES, INIT_BOUND, LARGEST_ITEM};
use crate::error::Error;
use crate::exec::threads::{init_error, stage_error};
use crate::failure::{Failure, FailureKind, Policy, Verdict};
use crate::pipeline::place::Settings;
use crate::queue::{Kept, Pop, Queue};
use crate::run::shared::Shared;
use crate::stage::exit::codec_failure;
use crate::stats::{FailedItem, StageStats};
use crate::wire::WireFns;

/// What the slots of one block know of it.
pub(crate) struct SlotBlock<T> {
    pub(crate) queue: Arc<Queue<T>>,
    pub(crate) crew: SlotCrew<T>,
    pub(crate) wire: WireFns<T>,
    pub(crate) policy: Policy,
    pub(crate) settings: Settings,
    pub(crate) name: Arc<str>,
    pub(crate) number: u32,
    /// Each worker serves one item.
    pub(crate) fresh: bool,
}

/// The thread of one slot.
pub(crate) struct Slot<'a, T> {
    block: &'a SlotBlock<T>,
    desk: &'a Desk,
    index: usize,
    shared: &'a Arc<Shared>,
    processes: &'a Processes,
    stats: Arc<StageStats>,
    arrival: Arrival,
    link: Option<Link>,
    pace: Pace,
    unchecked: u32,
    input_ended: bool,
}

/// The slot cannot go on; the run has been failed.
struct Failed;

type Step<R = ()> = Result<R, Failed>;

impl<'a, T: Send + 'static> Slot<'a, T> {
    pub(crate) fn new(
        block: &'a SlotBlock<T>,
        desk: (usize, &'a Desk),
        shared: &'a Arc<Shared>,
        processes: &'a Processes,
        stats: Arc<StageStats>,
        arrival: Arrival,
    ) -> Self {
        Slot {
            block,
            desk: desk.1,
            index: desk.0,
            shared,
            processes,
            stats,
            arrival,
            link: None,
            pace: Pace::default(),
            unchecked: crate::defaults::CHECKED_ITEMS,
            input_ended: false,
        }
    }

    /// Serves until the block has nothing more to do, or the run is halted.
    pub(crate) fn drive(mut self) {
        let served = self.serve();
        if let Some(link) = &self.link
            && (served.is_err() || self.shared.is_halted())
        {
            link.kill();
        }
        let left = self.desk.ledger.lock().clear().len() as u64 + self.block.crew.abandon();
        self.stats.abandoned(left);
        self.block.queue.done(left as usize);
        self.arrival.finish(self.shared);
    }

    fn serve(&mut self) -> Step {
        if !self.block.fresh {
            self.fork()?;
        }
        while !self.shared.is_halted() {
            let fed = self.feed()?;
            let wrote = self.link.as_mut().is_some_and(Link::write);
            let took = self.receive()?;
            if self.input_ended && self.link.is_none() {
                return Ok(());
            }
            if !(fed || wrote || took) {
                self.wait()?;
            }
        }
        Ok(())
    }

    fn fail<R>(&self, error: Error) -> Step<R> {
        self.shared.fail(error);
        Err(Failed)
    }

    fn zygote_error(&self, cause: impl std::fmt::Display) -> Error {
        Error::Zygote { pipeline: self.shared.name().to_string(), cause: cause.to_string() }
    }

    fn fork(&mut self) -> Step {
        let title = format!("mg:{}/{}", self.block.name, self.index);
        match self.processes.spawn(self.block.number, self.index as u32, &title) {
            Ok(process) => {
                process.on_end(&self.desk.event);
                self.link = Some(Link::new(process));
                Ok(())
            }
            Err(error) => self.fail(self.zygote_error(error)),
        }
    }

    // ---- out

    /// How many items may be sent to the worker now.
    fn credit(&self) -> usize {
        let ledger = self.desk.ledger.lock();
        if self.block.fresh {
            // A worker of its own for every item: the next one is forked when this one is gone.
            return usize::from(self.link.is_none());
        }
        if self.link.as_ref().is_none_or(|link| link.stage != Stage::Ready) {
            return 0;
        }
        let frame = self.pace.items();
        if ledger.live() > frame || ledger.bytes() >= HELD_BYTES { 0 } else { frame.min(ledger.room()) }
    }

    fn feed(&mut self) -> Step<bool> {
        if self.input_ended {
            return Ok(false);
        }
        let credit = self.credit();
        if credit == 0 {
            return Ok(false);
        }
        let mut parcels = Vec::new();
        let mut items = VecDeque::new();
        while parcels.len() + items.len() < credit
            && let Some(again) = self.block.crew.again()
        {
            match again {
                Again::Parcel(parcel) => parcels.push(parcel),
                Again::Unencoded(kept) => items.push_back(kept),
            }
        }
        let mut elsewhere = true;
        if parcels.is_empty() && items.is_empty() {
            elsewhere = !self.pop(credit, &mut items)?;
            if elsewhere {
                parcels = self.steal();
            }
        }
        if parcels.is_empty() && items.is_empty() {
            return Ok(false);
        }
        if elsewhere {
            self.block.queue.pass_on(&self.desk.event);
        }
        self.desk.idle.store(false, Ordering::SeqCst);
        self.send(parcels, items)?;
        Ok(true)
    }

    /// Takes items from the queue; `false` if there are none.
    fn pop(&mut self, credit: usize, items: &mut VecDeque<Kept<T>>) -> Step<bool> {
        // What waits for another attempt counts against the queue's limit.
        if self.block.crew.waiting() >= self.block.settings.queue {
            return Ok(false);
        }
        let mut run = VecDeque::new();
        match self.block.queue.try_pop(&mut run, credit, self.block.crew.desks.len(), &self.desk.event) {
            Pop::Run(first) => {
                let numbered = run.into_iter().zip(first..);
                items.extend(numbered.map(|(item, number)| Kept { item, number, attempts: 0 }));
                Ok(true)
            }
            Pop::Again(kept) => {
                items.push_back(kept);
                Ok(true)
            }
            Pop::Empty(_) => Ok(false),
            Pop::End => {
                self.input_ended = true;
                if let Some(link) = &mut self.link
                    && link.stage != Stage::Ending
                    && let Err(error) = link.end()
                {
                    let error = self.zygote_error(error);
                    return self.fail(error);
                }
                // The others may sleep with the same news.
                self.block.crew.wake_idle(usize::MAX);
                Ok(false)
            }
        }
    }

    /// With nothing to do: takes over what waits behind another worker's item.
    fn steal(&mut self) -> Vec<Parcel> {
        if self.input_ended || self.desk.ledger.lock().live() > 0 {
            return Vec::new();
        }
        // First idle, then look: whoever sends items later, or gives them back, sees an idle slot and wakes it.
        self.desk.idle.store(true, Ordering::SeqCst);
        if self.block.crew.has_returned() {
            let _ = self.desk.event.set();
        }
        // Behind the only item of a fresh worker nothing waits.
        if self.block.fresh { Vec::new() } else { self.block.crew.steal(self.index) }
    }

    /// Encodes items into one frame, puts it on its way, and keeps it until the results come.
    fn send(&mut self, parcels: Vec<Parcel>, mut items: VecDeque<Kept<T>>) -> Step {
        let mut ledger = self.desk.ledger.lock();
        if self.block.fresh {
            ledger.clear();
        }
        let first = ledger.next();
        let mut out = Vec::new();
        let start = frame::open(&mut out, Kind::Items, first);
        let mut carried = Vec::new();
        for parcel in parcels {
            let at = out.len() + 4;
            out.extend_from_slice(&(parcel.bytes().len() as u32).to_le_bytes());
            out.extend_from_slice(parcel.bytes());
            carried.push((at..out.len(), Ok(parcel)));
        }
        let (before, mut failed) = (carried.len(), Vec::new());
        while out.len() < HELD_BYTES / 8 || carried.is_empty() {
            let Some(kept) = items.pop_front() else { break };
            let at = out.len() + 4;
            match self.encode(&kept.item, &mut out) {
                Ok(()) => carried.push((at..out.len(), Err(kept.number))),
                Err(failure) => failed.push((kept.number, failure)),
            }
        }
        self.pace.encoded(carried.len() - before, out.len());
        if let Err(error) = frame::seal(&mut out, start) {
            drop(ledger);
            return self.fail(self.zygote_error(error));
        }
        let frame = Arc::new(out);
        for (range, what) in carried {
            self.desk.claims.offer(ledger.next());
            ledger.add(match what {
                Ok(parcel) => parcel.moved(&frame, range),
                Err(number) => Parcel::new(&frame, range, number),
            });
        }
        let (sent, live) = (ledger.next() - first, ledger.live());
        drop(ledger);
        if !items.is_empty() {
            self.block.crew.put_aside(items);
        }
        if sent > 0 {
            if self.link.is_none() {
                self.fork()?;
            }
            if let Some(link) = &mut self.link {
                link.send(frame);
            }
            if live > 1 {
                self.block.crew.wake_idle(1);
            }
        }
        for (number, failure) in failed {
            // Encoding it again would fail again.
            self.settle_failure(number, 1, failure, None)?;
        }
        Ok(())
    }

    fn encode(&mut self, item: &T, out: &mut Vec<u8>) -> Result<(), Failure> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let format = self.block.settings.format;
        let mut encoded = (self.block.wire.encode)(format, item, out).map_err(codec_failure);
        let length = out.len() - start - 4;
        if encoded.is_ok() && length > LARGEST_ITEM {
            let text =
                format!("the item is {length} bytes long when encoded, more than the {LARGEST_ITEM} allowed");
            encoded = Err(Failure::new(FailureKind::Codec, text));
        }
        if encoded.is_ok() && self.unchecked > 0 {
            self.unchecked -= 1;
            encoded = (self.block.wire.check)(format, item, &out[start + 4..]).map_err(codec_failure);
        }
        match encoded {
            Ok(()) => out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes()),
            Err(_) => out.truncate(start),
        }
        encoded
    }

    // ---- in

    fn receive(&mut self) -> Step<bool> {
        let Some(link) = &mut self.link else { return Ok(false) };
        match link.receive() {
            Input::Nothing => Ok(false),
            Input::Some => {
                self.frames()?;
                Ok(true)
            }
            Input::End => {
                self.frames()?;
                self.ended()?;
                Ok(true)
            }
        }
    }

    fn frames(&mut self) -> Step {
        let Some(mut link) = self.link.take() else { return Ok(()) };
        let outcome = self.frames_of(&mut link);
        self.link = Some(link);
        match outcome {
            Ok(step) => step,
            Err(error) => {
                // What is no frame can only come from code that wrote to a descriptor that is not its own.
                let cause = format!("a worker of `{}` (process {:?}): {error}", self.block.name, self.pid());
                self.fail(self.zygote_error(cause))
            }
        }
    }

    fn frames_of(&mut self, link: &mut Link) -> Result<Step, FrameError> {
        let mut stage = link.stage;
        let mut step = Ok(());
        while step.is_ok()
            && let Some(frame) = link.next()?
        {
            match frame.kind {
                Kind::Hello => stage = stage.max(Stage::Starting),
                Kind::Ready => {
                    stage = stage.max(Stage::Ready);
                    self.block.crew.started();
                    step = self.journal(frame.payload);
                }
                Kind::Unready => {
                    let failure = protocol::decode_failure(frame.payload);
                    step = self.fail(init_error(&self.block.name, &failure));
                }
                Kind::Results => step = self.results(frame.number, frame.payload)?,
                Kind::Bye => {
                    stage = Stage::Gone;
                    let mut fields = Fields(frame.payload);
                    step = self.journal(fields.block()?);
                    if step.is_ok() && !fields.is_empty() {
                        let cause = protocol::decode_failure(fields.0).to_string();
                        step = self.fail(Error::Hook { hook: "after", cause });
                    }
                }
                Kind::Items | Kind::End => {
                    return Err(FrameError::Content("a frame that only the program sends"));
                }
            }
        }
        if stage != link.stage {
            link.stage = stage;
            link.deadline = match stage {
                Stage::Starting => Some(Instant::now() + INIT_BOUND),
                Stage::Gone => Some(Instant::now() + crate::defaults::GRACE),
                _ => link.deadline.filter(|_| stage == Stage::Ending),
            };
        }
        Ok(step)
    }

    fn journal(&mut self, bytes: &[u8]) -> Step {
        match protocol::decode_journal(bytes, self.shared.totals()) {
            Ok((entries, work)) => {
                self.pace.worked(work);
                self.stats.busy(Duration::from_nanos(work.nanos));
                self.shared.settle_entries(entries);
                Ok(())
            }
            Err(failure) => self.fail(init_error(&self.block.name, &failure)),
        }
    }

    fn results(&mut self, passed: u64, payload: &[u8]) -> Result<Step, FrameError> {
        let at = payload.len().checked_sub(4).ok_or(FrameError::Short)?;
        let journal = Fields(&payload[at..]).u32()? as usize;
        let at = at.checked_sub(journal).ok_or(FrameError::Short)?;
        let mut fields = Fields(&payload[..at]);
        let (mut completed, mut resolved) = (0, 0);
        let mut step = Ok(());
        while step.is_ok() && !fields.is_empty() {
            let result = protocol::next_result(&mut fields)?;
            let Some(parcel) = self.desk.ledger.lock().take(result.index) else {
                return Err(FrameError::Content("a result for an item that is not in flight"));
            };
            match result.outcome {
                ItemOutcome::Done => {
                    step = self.arrived(&parcel, result.body)?;
                    completed += u64::from(step.is_ok());
                    resolved += 1;
                }
                ItemOutcome::Failed => {
                    let attempts = parcel.attempts + 1;
                    let failure = protocol::decode_failure(result.body);
                    step = self.settle_failure(parcel.number, attempts, failure, Some(parcel));
                }
            }
        }
        self.stats.completed(completed);
        self.block.queue.done(resolved);
        if step.is_err() {
            return Ok(step);
        }
        let unresolved = self.desk.ledger.lock().pass(passed);
        if !unresolved.is_empty() {
            return Err(FrameError::Content("items were passed over without a result"));
        }
        Ok(self.journal(&payload[at..at + journal]))
    }

    /// An item's outputs go on into the program, all or none.
    fn arrived(&mut self, parcel: &Parcel, body: &[u8]) -> Result<Step, FrameError> {
        let (format, name) = (self.block.settings.format, &self.block.name);
        match self.arrival.outputs(format, body)? {
            Ok(()) => {}
            Err(failure) => {
                self.stats.failed();
                self.stats.abandoned(1);
                return Ok(self.fail(stage_error(name, parcel.number, parcel.attempts + 1, &failure)));
            }
        }
        if self.arrival.commit(self.shared).is_err() {
            self.stats.abandoned(1);
            self.shared.gone();
            return Ok(Err(Failed));
        }
        Ok(Ok(()))
    }

    /// An attempt failed; `parcel` is there if the item can be sent again.
    fn settle_failure(
        &mut self,
        number: u64,
        attempts: u32,
        failure: Failure,
        parcel: Option<Parcel>,
    ) -> Step {
        let verdict = match (&parcel, failure.is_final(0)) {
            (_, true) => Verdict::Stop,
            (Some(_), false) => self.block.policy.verdict(attempts, self.shared.spread()),
            (None, false) => self.block.policy.verdict(u32::MAX, 0),
        };
        match (verdict, parcel) {
            (Verdict::Retry(wait), Some(mut parcel)) => {
                self.stats.retried();
                parcel.attempts = attempts;
                self.block.crew.put_off(parcel, Instant::now() + wait);
                Ok(())
            }
            (Verdict::Skip, _) => {
                self.stats.skipped(FailedItem::new(&self.block.name, number, attempts, &failure));
                self.block.queue.done(1);
                Ok(())
            }
            _ => {
                self.stats.failed();
                self.stats.abandoned(1);
                self.block.queue.done(1);
                self.fail(stage_error(&self.block.name, number, attempts, &failure))
            }
        }
    }

    // ---- the worker's end

    fn pid(&self) -> Option<u32> {
        self.link.as_ref().and_then(Link::pid)
    }

    /// The worker's socket is at its end.
    fn ended(&mut self) -> Step {
        let Some(link) = self.link.take() else { return Ok(()) };
        if link.stage == Stage::Gone && self.desk.ledger.lock().live() == 0 {
            return Ok(());
        }
        let exit = link.exit();
        self.died(&link, exit)?;
        if self.block.fresh || self.input_ended { Ok(()) } else { self.fork() }
    }

    /// The worker died: the item it was running is charged with it, the others are run elsewhere.
    fn died(&mut self, link: &Link, exit: Option<Exit>) -> Step {
        let pid = link.pid().map_or(String::new(), |pid| format!("process {pid} "));
        let how = exit.as_ref().map_or("ended, nobody could tell how".to_string(), ToString::to_string);
        if let Some(Exit { status: Status::ZygoteLost, .. }) = exit {
            return self.fail(self.zygote_error("it died, and its workers with it"));
        }
        self.stats.died();
        let flight = self.desk.ledger.lock().clear();
        let (suspects, others): (Vec<_>, Vec<_>) =
            flight.into_iter().partition(|(index, _)| self.desk.claims.is_running(*index));
        self.block.crew.put_back(others.into_iter().map(|(_, parcel)| parcel));
        let when = match (suspects.first(), link.stage) {
            (Some((_, parcel)), _) => format!("while it ran item {}", parcel.number),
            (None, Stage::Forked | Stage::Starting) => "while it started".to_string(),
            (None, _) => "between items".to_string(),
        };
        let cause = format!("{pid}{how} {when}");
        for (_, mut parcel) in suspects {
            parcel.deaths += 1;
            if parcel.deaths < self.block.settings.crash_attempts {
                self.block.crew.put_back([parcel]);
                continue;
            }
            let text = format!(
                "its worker died {} times while running it, the last time: {pid}{how}",
                parcel.deaths
            );
            let attempts = parcel.attempts + parcel.deaths;
            self.settle_failure(parcel.number, attempts, Failure::new(FailureKind::Death, text), None)?;
        }
        let was_ready = link.stage >= Stage::Ready;
        match self.block.crew.died(was_ready, cause, &self.block.settings, &self.block.name) {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error),
        }
    }

    /// A worker that did not do in time what it owed is killed; its end is then seen on its socket.
    fn overdue(&mut self) -> Step {
        let Some(link) = &mut self.link else { return Ok(()) };
        link.kill();
        link.deadline = None;
        match link.stage {
            Stage::Starting => {
                let cause = format!("its hooks and `_init` closures took longer than {INIT_BOUND:?}");
                self.fail(Error::Init { stage: self.block.name.to_string(), cause })
            }
            _ => Ok(()),
        }
    }

    // ---- waiting

    /// Waits for the worker, the queue, another slot, or the next deadline.
    fn wait(&mut self) -> Step {
        let deadline = self.link.as_ref().and_then(|link| link.deadline);
        let due = self.block.crew.next_due();
        let until = [deadline, due].into_iter().flatten().min();
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let polled = {
            let mut watches = vec![Watch::new(&*self.desk.event, Interest::Read)];
            if let Some(link) = &self.link {
                let interest = if link.has_outgoing() { Interest::Both } else { Interest::Read };
                watches.push(Watch::new(link.socket(), interest));
            }
            poll(&mut watches, timeout)
        };
        let cleared = self.desk.event.clear();
        self.desk.idle.store(false, Ordering::SeqCst);
        if let Err(source) = polled.and(cleared) {
            return self.fail(self.zygote_error(format_args!("poll: {source}")));
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return self.overdue();
        }
        Ok(())
    }
}
