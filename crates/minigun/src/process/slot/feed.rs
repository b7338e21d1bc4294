//! Out: which items a worker gets, and the frame that carries them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::results::Left;
use super::{Slot, Step};
use crate::defaults::HELD_BYTES;
use crate::process::crew::Again;
use crate::process::frame::{self, Kind};
use crate::process::ledger::{self, Parcel};
use crate::process::link::Stage;
use crate::process::protocol;
use crate::queue::{Kept, Pop};
use crate::stats::WorkerState;
use crate::wire::Encoded;

impl<T: Send + 'static> Slot<'_, T> {
    /// How many items may be sent to the worker now.
    pub(super) fn credit(&self) -> usize {
        let ledger = self.desk.ledger.lock();
        if self.block.fresh {
            // A worker of its own for every item: the next one is forked when this one is gone.
            return usize::from(self.link.is_none() && self.leaving.is_none() && self.fork_due.is_none());
        }
        if self.link.as_ref().is_none_or(|link| link.stage != Stage::Ready || link.killed.is_some()) {
            return 0;
        }
        let frame = self.pace.items();
        if ledger.live() > frame || ledger.bytes() >= HELD_BYTES { 0 } else { frame.min(ledger.room()) }
    }

    pub(super) fn feed(&mut self) -> Step<bool> {
        if self.input_ended {
            return Ok(false);
        }
        let credit = self.credit();
        if credit == 0 {
            return Ok(false);
        }
        let mut load = Load { parcels: Vec::new(), runs: Vec::new() };
        let mut again = 0;
        while again < credit
            && let Some(what) = self.block.crew.again()
        {
            again += 1;
            match what {
                Again::Parcel(parcel) => load.parcels.push(parcel),
                Again::Unencoded(kept) => load.add(kept),
            }
        }
        let mut elsewhere = true;
        if again == 0 {
            elsewhere = !self.pop(credit, &mut load)?;
            if elsewhere {
                load.parcels = self.steal(credit);
            }
        }
        if load.parcels.is_empty() && load.runs.is_empty() {
            return Ok(false);
        }
        if elsewhere {
            self.block.queue.pass_on(&self.desk.event);
        }
        self.desk.idle.store(false, Ordering::SeqCst);
        self.send(load)?;
        Ok(true)
    }

    /// Takes items from the queue; `false` if there are none.
    pub(super) fn pop(&mut self, credit: usize, load: &mut Load<T>) -> Step<bool> {
        // What waits for another attempt counts against the queue's limit.
        if self.block.crew.waiting() >= self.block.settings.queue_of::<T>() {
            return Ok(false);
        }
        let mut run = Vec::new();
        self.queue_due = None;
        // To a worker at work no crumbs: with its next results the slot looks again.
        let least = self.desk.ledger.lock().live() / 2;
        let share = self.block.crew.desks.len();
        match self.block.queue.try_pop(&mut run, (least, credit), share, &self.desk.event) {
            Pop::Run(first) => {
                load.runs.push((first, run));
                Ok(true)
            }
            Pop::Again(kept) => {
                load.add(kept);
                Ok(true)
            }
            Pop::Empty(due) => {
                self.queue_due = due;
                Ok(false)
            }
            // Nothing is gathered in a process block.
            Pop::Rest => Ok(false),
            Pop::End => {
                self.input_ended = true;
                if let Some(link) = &mut self.link
                    && link.stage < Stage::Ending
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
    pub(super) fn steal(&mut self, credit: usize) -> Vec<Parcel<T>> {
        if self.input_ended || self.desk.ledger.lock().live() > 0 {
            return Vec::new();
        }
        // First idle, then look: whoever sends items later, or gives them back, sees an idle slot and wakes it.
        self.desk.idle.store(true, Ordering::SeqCst);
        if self.block.crew.has_returned() {
            let _ = self.desk.event.set();
        }
        // Behind the only item of a fresh worker nothing waits.
        if self.block.fresh { Vec::new() } else { self.block.crew.steal(self.index, credit) }
    }

    /// Encodes items into one frame, puts it on its way, and keeps it until the results come.
    pub(super) fn send(&mut self, Load { parcels, runs }: Load<T>) -> Step {
        let mut ledger = self.desk.ledger.lock();
        if self.block.fresh {
            ledger.clear();
        }
        let first = ledger.next();
        let mut out = ledger.take_spare();
        let start = frame::open(&mut out, Kind::Items, first);
        let mut carried = Vec::new();
        let mut parcels = parcels.into_iter();
        while out.len() < FRAME_LIMIT || carried.is_empty() {
            let Some(parcel) = parcels.next() else { break };
            let run = protocol::begin_items(&mut out, parcel.number, parcel.attempt());
            let at = out.len() + 4;
            let bytes = parcel.bytes();
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&bytes);
            drop(bytes);
            carried.push((parcel, at..out.len()));
            protocol::end_items(&mut out, run, 1);
        }
        let (mut encoded, mut new, mut failed, mut left) = (Vec::new(), 0, Vec::new(), Vec::new());
        let mut apart = 0;
        for (mut number, items) in runs {
            let mut items = items.into_iter();
            while items.len() > 0 && (out.len() + apart < FRAME_LIMIT || carried.len() + new == 0) {
                let run = protocol::begin_items(&mut out, number, 1);
                let blocks = out.len();
                let limit = (FRAME_LIMIT.saturating_sub(apart), &mut self.unchecked);
                let mut now = Encoded::default();
                let outcome = (self.block.wire.encode_run)(
                    self.block.settings.format,
                    items.as_slice(),
                    &mut out,
                    self.store.as_ref(),
                    limit,
                    &mut now,
                );
                let Encoded { count, long, apart: more } = now;
                apart += more;
                protocol::end_items(&mut out, run, count);
                let of_run = items.by_ref().take(count as usize);
                // Items that nobody will want are dropped here.
                let kept: Vec<T> = of_run.filter(|_| self.block.keeps_items).collect();
                if count > 0 {
                    encoded.push((number, count, blocks..out.len(), kept, long));
                }
                new += count as usize;
                number += u64::from(count);
                if let Err(failure) = outcome
                    && let Some(item) = items.next()
                {
                    failed.push((number, item, failure));
                    number += 1;
                }
            }
            left.extend(items.zip(number..).map(|(item, number)| Kept { item, number, attempts: 0 }));
        }
        self.pace.encoded(new, out.len() + apart);
        if let Err(error) = frame::seal(&mut out, start) {
            drop(ledger);
            return self.fail(self.zygote_error(error));
        }
        self.stats.sent_bytes((out.len() + apart) as u64);
        let frame = Arc::new(out);
        self.desk.claims.offer(first, carried.len() + new);
        for (parcel, range) in carried {
            ledger.add(parcel.moved(&frame, range));
        }
        for (number, count, blocks, kept, long) in encoded {
            if kept.is_empty() && long.is_empty() {
                ledger.add_new(&frame, number, count, blocks);
                continue;
            }
            let (mut kept, mut long) = (kept.into_iter(), long.into_iter().peekable());
            for (at, range) in ledger::blocks(&frame, blocks.start).take(count as usize).enumerate() {
                let parcel = Parcel::new(&frame, range, number + at as u64, kept.next());
                let extents = long.next_if(|(of, _)| *of == at).map(|(_, extents)| extents);
                ledger.add(parcel.with(extents.unwrap_or_default()));
            }
        }
        let sent = ledger.next() - first;
        drop(ledger);
        if parcels.len() > 0 {
            self.block.crew.put_back(parcels);
        }
        if !left.is_empty() {
            self.block.crew.put_aside(left);
        }
        if sent > 0 {
            if self.link.is_none() {
                self.fork()?;
            }
            if let Some(link) = &mut self.link {
                link.send(frame);
                self.figures.is(WorkerState::Working);
            }
            // Whoever is idle may find something behind it; the chain of calls ends with who finds nothing.
            self.block.crew.wake_idle(1);
        }
        for (number, item, failure) in failed {
            // Encoding it again would fail again.
            self.settle_failure(number, 1, failure, Left::Unencoded(item))?;
        }
        Ok(())
    }
}

/// Encoded items beyond this many bytes go into the next frame.
pub(super) const FRAME_LIMIT: usize = HELD_BYTES / 8;

/// What goes into one frame.
pub(super) struct Load<T> {
    /// Items that were sent before.
    parcels: Vec<Parcel<T>>,
    /// New items, with the number of the first.
    runs: Vec<(u64, Vec<T>)>,
}

impl<T> Load<T> {
    fn add(&mut self, Kept { item, number, .. }: Kept<T>) {
        match self.runs.last_mut() {
            Some((first, items)) if *first + items.len() as u64 == number => items.push(item),
            _ => self.runs.push((number, vec![item])),
        }
    }
}
