//! The ledger of what is in flight to one worker: an item is kept until its result has arrived whole.
//!
//! Pure bookkeeping over item indices; the claims on the [board](super::board) decide who has an item.
//!
//! Most items are sent once, and their result comes. Of such one only a line is kept, where it stands in its frame; whoever
//! wants it back before its result gets a [`Parcel`], with all that is to be remembered of an item then.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::apart::{self, Extent};
use crate::defaults::{FRAME_BYTES, WINDOW_ITEMS};

/// An item on its way: its encoding, and what is known of it.
#[derive(Debug)]
pub(crate) struct Parcel<T> {
    /// The item itself, where the block's dead letters will want it.
    pub(crate) item: Option<T>,
    /// The frame that holds the encoding.
    frame: Arc<Vec<u8>>,
    range: Range<usize>,
    /// What of the encoding does not lie in the frame.
    apart: Vec<Extent>,
    /// Its number at the block.
    pub(crate) number: u64,
    /// Failed attempts so far.
    pub(crate) attempts: u32,
    /// Workers that died while running it.
    pub(crate) deaths: u32,
    /// Workers that died after they had run it and before its result arrived.
    pub(crate) unsent: u32,
    /// Attempts that were begun and lost, for which it is not to blame.
    pub(crate) uncharged: u32,
}

impl<T> Parcel<T> {
    pub(crate) fn new(frame: &Arc<Vec<u8>>, range: Range<usize>, number: u64, item: Option<T>) -> Self {
        Parcel {
            item,
            frame: Arc::clone(frame),
            range,
            apart: Vec::new(),
            number,
            attempts: 0,
            deaths: 0,
            unsent: 0,
            uncharged: 0,
        }
    }

    /// The attempt that it is sent for. Every one that was begun before counts, also those that a death ended.
    pub(crate) fn attempt(&self) -> u32 {
        [self.deaths, self.unsent, self.uncharged, 1].into_iter().fold(self.attempts, u32::saturating_add)
    }

    /// Some of the encoding does not lie in the frame.
    pub(crate) fn with(self, apart: Vec<Extent>) -> Self {
        Parcel { apart, ..self }
    }

    /// The whole encoding.
    pub(crate) fn bytes(&self) -> Cow<'_, [u8]> {
        let bytes = &self.frame[self.range.clone()];
        match self.apart.is_empty() {
            true => Cow::Borrowed(bytes),
            // What this process has put there is there.
            false => apart::whole(bytes, &self.apart).map_or(Cow::Borrowed(bytes), Cow::Owned),
        }
    }

    /// How many bytes are kept for it.
    fn size(&self) -> usize {
        self.range.len() + self.apart.iter().map(Extent::length).sum::<usize>()
    }

    /// The same item in the frame that now carries it, whole.
    pub(crate) fn moved(mut self, frame: &Arc<Vec<u8>>, range: Range<usize>) -> Self {
        self.apart = Vec::new();
        self.frame = Arc::clone(frame);
        self.range = range;
        self
    }
}

/// Items in flight to one worker, by their index on its socket.
#[derive(Debug)]
pub(crate) struct Ledger<T> {
    /// The index of the first entry.
    base: u64,
    entries: VecDeque<Entry<T>>,
    /// The frames that carry new items, in their order.
    frames: VecDeque<Sent>,
    live: usize,
    bytes: usize,
    /// The room of a frame that is not needed any more, for the next.
    spare: Vec<u8>,
}

#[derive(Debug)]
enum Entry<T> {
    /// Dealt with, or taken back.
    Gone,
    /// On its first way, and not kept but in its frame: where there, and how long it is.
    New {
        at: u32,
        length: u32,
    },
    Parcel(Box<Parcel<T>>),
}

/// New items with consecutive indices and numbers, in one frame.
#[derive(Debug)]
struct Sent {
    index: u64,
    number: u64,
    frame: Arc<Vec<u8>>,
}

/// What came out of the ledger.
#[derive(Debug)]
pub(crate) enum Taken<T> {
    /// So many items from this number on, after their first attempt.
    New(u64, u32),
    Parcel(Box<Parcel<T>>),
}

impl<T> Taken<T> {
    pub(crate) fn count(&self) -> u32 {
        match self {
            Taken::New(_, count) => *count,
            Taken::Parcel(_) => 1,
        }
    }

    /// The number of the first item, and the attempt for which it was sent.
    pub(crate) fn first(&self) -> (u64, u32) {
        match self {
            Taken::New(number, _) => (*number, 1),
            Taken::Parcel(parcel) => (parcel.number, parcel.attempt()),
        }
    }
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Ledger {
            base: 0,
            entries: VecDeque::new(),
            frames: VecDeque::new(),
            live: 0,
            bytes: 0,
            spare: Vec::new(),
        }
    }
}

impl<T> Ledger<T> {
    /// The index that the next item will have.
    pub(crate) fn next(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// Items whose results are still to come.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Their encoded size.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many more items the window takes.
    pub(crate) fn room(&self) -> usize {
        WINDOW_ITEMS - self.entries.len().min(WINDOW_ITEMS)
    }

    pub(crate) fn add(&mut self, parcel: Parcel<T>) {
        self.live += 1;
        self.bytes += parcel.size();
        self.entries.push_back(Entry::Parcel(Box::new(parcel)));
    }

    /// Items that are sent for the first time, with consecutive numbers from `number` on: where they stand in the frame.
    pub(crate) fn add_new(&mut self, frame: &Arc<Vec<u8>>, number: u64, ranges: &[Range<u32>]) {
        self.live += ranges.len();
        self.frames.push_back(Sent { index: self.next(), number, frame: Arc::clone(frame) });
        let bytes = &mut self.bytes;
        self.entries.extend(ranges.iter().map(|range| {
            *bytes += range.len();
            Entry::New { at: range.start, length: range.end - range.start }
        }));
    }

    /// Items with consecutive indices, out of the ledger: as many as are alike, at most `most`. `None` if the first
    /// is not in flight.
    pub(crate) fn take(&mut self, index: u64, most: u32) -> Option<Taken<T>> {
        let at = usize::try_from(index.checked_sub(self.base)?).ok()?;
        let sent = self.frames.partition_point(|sent| sent.index <= index);
        let end = self.frames.get(sent).map_or(u64::MAX, |sent| sent.index);
        let (mut count, mut bytes) = (0, 0);
        let most = u64::from(most).min(end - index) as usize;
        for entry in self.entries.range_mut(at.min(self.entries.len())..).take(most) {
            let Entry::New { length, .. } = *entry else { break };
            *entry = Entry::Gone;
            bytes += length as usize;
            count += 1;
        }
        self.live -= count as usize;
        self.bytes -= bytes;
        if count > 0 {
            let sent = &self.frames[sent.checked_sub(1)?];
            return Some(Taken::New(sent.number + (index - sent.index), count));
        }
        self.out(at).map(Taken::Parcel)
    }

    /// The item with this index, out of the ledger; `None` if it is not in flight.
    pub(crate) fn take_parcel(&mut self, index: u64) -> Option<Box<Parcel<T>>> {
        self.out(usize::try_from(index.checked_sub(self.base)?).ok()?)
    }

    /// The item at this place, out of the ledger.
    fn out(&mut self, at: usize) -> Option<Box<Parcel<T>>> {
        let entry = std::mem::replace(self.entries.get_mut(at)?, Entry::Gone);
        let parcel = parcel(entry, self.base + at as u64, &self.frames)?;
        self.live -= 1;
        self.bytes -= parcel.size();
        Some(parcel)
    }

    /// The worker has dealt with everything below `index`: its results were taken, or it was taken back.
    /// What is live there nonetheless has no known outcome and comes back.
    pub(crate) fn pass(&mut self, index: u64) -> Vec<Parcel<T>> {
        let passed = index.saturating_sub(self.base).min(self.entries.len() as u64) as usize;
        let mut lost = Vec::new();
        if self.entries.range(..passed).any(|entry| !matches!(entry, Entry::Gone)) {
            lost.extend((0..passed).filter_map(|at| self.out(at)).map(|parcel| *parcel));
        }
        self.entries.drain(..passed);
        self.base += passed as u64;
        // A frame goes when the one behind it begins at the base or before.
        while self.frames.get(1).is_some_and(|next| next.index <= self.base) {
            self.drop_frame();
        }
        if self.entries.is_empty() {
            self.drop_frame();
        }
        lost
    }

    fn drop_frame(&mut self) {
        let buffer = self.frames.pop_front().and_then(|sent| Arc::into_inner(sent.frame));
        if let Some(mut buffer) = buffer.filter(|buffer| buffer.capacity() <= 4 * FRAME_BYTES) {
            buffer.clear();
            self.spare = buffer;
        }
    }

    /// An empty buffer for the next frame, with the room that an earlier one had.
    pub(crate) fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Takes back, from the end, at most `most` items for which `revoke` succeeds. They come out in their
    /// order.
    pub(crate) fn take_back(&mut self, most: usize, mut revoke: impl FnMut(u64) -> bool) -> Vec<Parcel<T>> {
        let mut taken = Vec::new();
        for at in (0..self.entries.len()).rev() {
            if taken.len() == most {
                break;
            }
            if !matches!(self.entries[at], Entry::Gone) && revoke(self.base + at as u64) {
                taken.extend(self.out(at).map(|parcel| *parcel));
            }
        }
        taken.reverse();
        taken
    }

    /// Everything in flight, with its indices; the ledger is empty then and counts from 0 again.
    pub(crate) fn clear(&mut self) -> Vec<(u64, Parcel<T>)> {
        let old = std::mem::take(self);
        let entries = (old.base..).zip(old.entries);
        entries.filter_map(|(index, entry)| Some((index, *parcel(entry, index, &old.frames)?))).collect()
    }
}

/// An entry with all that is to be remembered of an item; `None` if it is gone.
fn parcel<T>(entry: Entry<T>, index: u64, frames: &VecDeque<Sent>) -> Option<Box<Parcel<T>>> {
    match entry {
        Entry::Gone => None,
        Entry::Parcel(parcel) => Some(parcel),
        Entry::New { at, length } => {
            let sent = frames.get(frames.partition_point(|sent| sent.index <= index).checked_sub(1)?)?;
            let range = at as usize..(at + length) as usize;
            Some(Box::new(Parcel::new(&sent.frame, range, sent.number + (index - sent.index), None)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Action {
        Add,
        AddNew(usize),
        Take(u64, u32),
        Pass(u64),
        TakeBack(usize, u64),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            4 => Just(Action::Add),
            2 => (1usize..5).prop_map(Action::AddNew),
            3 => (0u64..40, 1u32..6).prop_map(|(index, most)| Action::Take(index, most)),
            1 => (0u64..40).prop_map(Action::Pass),
            1 => (0usize..5, 0u64..3).prop_map(|(most, odd)| Action::TakeBack(most, odd)),
        ]
    }

    proptest! {
        /// The model is a map from index to number.
        #[test]
        fn every_item_leaves_the_ledger_exactly_once(actions in prop::collection::vec(action(), 0..200)) {
            let frame = Arc::new(vec![0; 10]);
            let (mut ledger, mut model) = (Ledger::<u64>::default(), BTreeMap::new());
            let (mut added, mut left) = (0u64, Vec::new());
            for action in actions {
                match action {
                    Action::Add => {
                        prop_assert_eq!(ledger.next(), added);
                        ledger.add(Parcel::new(&frame, 0..3, added, Some(added)));
                        model.insert(added, ());
                        added += 1;
                    }
                    Action::AddNew(count) => {
                        ledger.add_new(&frame, added, &vec![3..6; count]);
                        model.extend((added..added + count as u64).map(|number| (number, ())));
                        added += count as u64;
                    }
                    Action::Take(index, most) => match ledger.take(index, most) {
                        None => prop_assert!(!model.contains_key(&index)),
                        Some(Taken::Parcel(parcel)) => {
                            prop_assert_eq!(parcel.number, index);
                            prop_assert!(model.remove(&index).is_some());
                            left.push(index);
                        }
                        Some(Taken::New(number, count)) => {
                            prop_assert_eq!(number, index);
                            prop_assert!((1..=most).contains(&count));
                            for index in index..index + u64::from(count) {
                                prop_assert!(model.remove(&index).is_some());
                                left.push(index);
                            }
                        }
                    },
                    Action::Pass(index) => {
                        let rest = model.split_off(&index);
                        let lost: Vec<_> = ledger.pass(index).iter().map(|parcel| parcel.number).collect();
                        prop_assert_eq!(&lost, &model.keys().copied().collect::<Vec<_>>());
                        left.extend(lost);
                        model = rest;
                    }
                    Action::TakeBack(most, odd) => {
                        let back = ledger.take_back(most, |index| index % 3 != odd);
                        prop_assert!(back.len() <= most);
                        for parcel in &back {
                            prop_assert!(parcel.number % 3 != odd);
                            prop_assert!(model.remove(&parcel.number).is_some());
                            left.push(parcel.number);
                        }
                    }
                }
                prop_assert_eq!(ledger.live(), model.len());
                prop_assert_eq!(ledger.bytes(), 3 * model.len());
            }
            left.extend(ledger.clear().iter().map(|(_, parcel)| parcel.number));
            left.sort_unstable();
            prop_assert_eq!(left, (0..added).collect::<Vec<_>>());
        }
    }
}
