//! Out: which items a worker gets, and the frame that carries them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::results::Left;
use super::{Slot, Step};
use crate::apart::{Extent, Place};
use crate::defaults::{HELD_BYTES, LARGEST_ITEM};
use crate::failure::{Failure, FailureKind};
use crate::process::crew::Again;
use crate::process::frame::{self, Kind};
use crate::process::ledger::Parcel;
use crate::process::link::Stage;
use crate::process::protocol;
use crate::queue::{Kept, Pop};
use crate::stage::attempt::guarded;
use crate::stage::exit::codec_failure;
use crate::stats::WorkerState;

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
                parcels = self.steal(credit);
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
    pub(super) fn pop(&mut self, credit: usize, items: &mut VecDeque<Kept<T>>) -> Step<bool> {
        // What waits for another attempt counts against the queue's limit.
        if self.block.crew.waiting() >= self.block.settings.queue_of::<T>() {
            return Ok(false);
        }
        let mut run = Vec::new();
        self.queue_due = None;
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
    pub(super) fn send(&mut self, parcels: Vec<Parcel<T>>, mut items: VecDeque<Kept<T>>) -> Step {
        let mut ledger = self.desk.ledger.lock();
        if self.block.fresh {
            ledger.clear();
        }
        let first = ledger.next();
        let mut out = Vec::new();
        let start = frame::open(&mut out, Kind::Items, first);
        let mut carried = Vec::new();
        let mut parcels = parcels.into_iter();
        while out.len() < HELD_BYTES / 8 || carried.is_empty() {
            let Some(parcel) = parcels.next() else { break };
            protocol::begin_item(&mut out, parcel.number, parcel.attempt());
            let at = out.len() + 4;
            let bytes = parcel.bytes();
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&bytes);
            drop(bytes);
            carried.push((at..out.len(), Ok(parcel)));
        }
        let (before, mut failed) = (carried.len(), Vec::new());
        let mut apart = 0;
        while out.len() + apart < HELD_BYTES / 8 || carried.is_empty() {
            let Some(kept) = items.pop_front() else { break };
            let start = out.len();
            protocol::begin_item(&mut out, kept.number, 1);
            let at = out.len() + 4;
            match self.encode(&kept.item, &mut out) {
                Ok(extents) => {
                    apart += extents.iter().map(Extent::length).sum::<usize>();
                    carried.push((at..out.len(), Err((kept, extents))));
                }
                Err(failure) => {
                    out.truncate(start);
                    failed.push((kept, failure));
                }
            }
        }
        self.pace.encoded(carried.len() - before, out.len() + apart);
        if let Err(error) = frame::seal(&mut out, start) {
            drop(ledger);
            return self.fail(self.zygote_error(error));
        }
        self.stats.sent_bytes((out.len() + apart) as u64);
        let frame = Arc::new(out);
        for (range, what) in carried {
            self.desk.claims.offer(ledger.next());
            ledger.add(match what {
                Ok(parcel) => parcel.moved(&frame, range),
                Err((Kept { item, number, .. }, extents)) => {
                    let item = self.block.keeps_items.then_some(item);
                    Parcel::new(&frame, range, number, item).with(extents)
                }
            });
        }
        let sent = ledger.next() - first;
        drop(ledger);
        if parcels.len() > 0 {
            self.block.crew.put_back(parcels);
        }
        if !items.is_empty() {
            self.block.crew.put_aside(items);
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
        for (kept, failure) in failed {
            // Encoding it again would fail again.
            self.settle_failure(kept.number, 1, failure, Left::Unencoded(kept.item))?;
        }
        Ok(())
    }

    pub(super) fn encode(&mut self, item: &T, out: &mut Vec<u8>) -> Result<Vec<Extent>, Failure> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let (format, wire) = (self.block.settings.format, self.block.wire);
        // The user's `Serialize`: if it panics, that is its item's failure.
        let place = self.store.as_ref().map_or(Place::Nowhere, Place::Store);
        let unchecked = &mut self.unchecked;
        let mut encoded =
            guarded(|| wire.encode_checked(format, item, out, place, unchecked).map_err(codec_failure));
        let apart = encoded.iter().flatten().map(Extent::length).sum::<usize>();
        let length = out.len() - start - 4;
        if encoded.is_ok() && length + apart > LARGEST_ITEM {
            let text = format!(
                "the item is {} bytes long when encoded, more than the {LARGEST_ITEM} allowed",
                length + apart
            );
            encoded = Err(Failure::new(FailureKind::Codec, text));
        }
        match &encoded {
            Ok(_) => out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes()),
            Err(_) => out.truncate(start),
        }
        encoded
    }
}
