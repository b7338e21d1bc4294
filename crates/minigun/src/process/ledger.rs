//! The ledger of what is in flight to one worker: an item is kept until its result has arrived whole.
//!
//! Pure bookkeeping over item indices; the claims on the [board](super::board) decide who has an item.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::apart::{self, Extent};
use crate::defaults::WINDOW_ITEMS;

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
    /// `None`: dealt with, or taken back.
    entries: VecDeque<Option<Parcel<T>>>,
    live: usize,
    bytes: usize,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Ledger { base: 0, entries: VecDeque::new(), live: 0, bytes: 0 }
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
        self.entries.push_back(Some(parcel));
    }

    /// The item with this index, out of the ledger; `None` if it is not in flight.
    pub(crate) fn take(&mut self, index: u64) -> Option<Parcel<T>> {
        let at = usize::try_from(index.checked_sub(self.base)?).ok()?;
        let parcel = self.entries.get_mut(at)?.take()?;
        self.live -= 1;
        self.bytes -= parcel.size();
        Some(parcel)
    }

    /// The worker has dealt with everything below `index`: its results were taken, or it was taken back.
    /// What is live there nonetheless has no known outcome and comes back.
    pub(crate) fn pass(&mut self, index: u64) -> Vec<Parcel<T>> {
        let mut lost = Vec::new();
        while self.base < index {
            let Some(entry) = self.entries.pop_front() else { break };
            self.base += 1;
            if let Some(parcel) = entry {
                self.live -= 1;
                self.bytes -= parcel.size();
                lost.push(parcel);
            }
        }
        lost
    }

    /// Takes back, from the end, at most `most` items for which `revoke` succeeds. They come out in their
    /// order.
    pub(crate) fn take_back(&mut self, most: usize, mut revoke: impl FnMut(u64) -> bool) -> Vec<Parcel<T>> {
        let mut taken = Vec::new();
        for (at, entry) in self.entries.iter_mut().enumerate().rev() {
            if taken.len() == most {
                break;
            }
            if entry.is_some() && revoke(self.base + at as u64) {
                taken.extend(entry.take());
            }
        }
        self.live -= taken.len();
        self.bytes -= taken.iter().map(|parcel| parcel.size()).sum::<usize>();
        taken.reverse();
        taken
    }

    /// Everything in flight, with its indices; the ledger is empty then and counts from 0 again.
    pub(crate) fn clear(&mut self) -> Vec<(u64, Parcel<T>)> {
        let old = std::mem::take(self);
        let base = old.base;
        old.entries
            .into_iter()
            .enumerate()
            .filter_map(|(at, entry)| Some((base + at as u64, entry?)))
            .collect()
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
        Take(u64),
        Pass(u64),
        TakeBack(usize, u64),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            4 => Just(Action::Add),
            3 => (0u64..40).prop_map(Action::Take),
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
                    Action::Take(index) => {
                        let taken = ledger.take(index).map(|parcel| parcel.number);
                        prop_assert_eq!(taken, model.remove(&index).map(|()| index));
                        left.extend(taken);
                    }
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
