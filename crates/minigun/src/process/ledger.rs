//! The ledger of what is in flight to one worker: an item is kept until its result has arrived whole.
//!
//! Pure bookkeeping over item indices; the claims on the [board](super::board) decide who has an item.
//!
//! Most items are sent once, and their result comes. Of such ones only a line is kept for a whole run of them: where they
//! stand in their frame. Whoever wants one back before its result gets a [`Parcel`], with all that is to be remembered of
//! an item then.

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
    /// Everything below was dealt with.
    base: u64,
    /// The index that the next item will have.
    next: u64,
    /// What is in flight, in the order of the indices.
    rows: VecDeque<Row<T>>,
    live: usize,
    bytes: usize,
    /// The room of a frame that is not needed any more, for the next.
    spare: Vec<u8>,
}

#[derive(Debug)]
enum Row<T> {
    /// On their first way, and not kept but in their frame.
    New(Run),
    Parcel(u64, Box<Parcel<T>>),
}

/// Items with consecutive indices and numbers, whose blocks stand one behind the other in a frame.
#[derive(Debug)]
struct Run {
    index: u64,
    number: u64,
    count: u32,
    frame: Arc<Vec<u8>>,
    blocks: Range<usize>,
}

/// Bytes of a block's length.
const LENGTH: usize = size_of::<u32>();

impl Run {
    /// How long the encodings are together.
    fn size(&self) -> usize {
        self.blocks.len() - LENGTH * self.count as usize
    }

    /// Takes the first items off it.
    fn split_off_first(&mut self, count: u32) -> Run {
        let end = blocks(&self.frame, self.blocks.start).take(count as usize).last();
        let middle = end.map_or(self.blocks.start, |block| block.end);
        let first = Run { count, frame: Arc::clone(&self.frame), blocks: self.blocks.start..middle, ..*self };
        self.index += u64::from(count);
        self.number += u64::from(count);
        self.count -= count;
        self.blocks.start = middle;
        first
    }

    /// Each with its index.
    fn parcels<T>(&self) -> impl Iterator<Item = (u64, Parcel<T>)> {
        let ranges = blocks(&self.frame, self.blocks.start).take(self.count as usize);
        ranges
            .zip(0..)
            .map(|(range, at)| (self.index + at, Parcel::new(&self.frame, range, self.number + at, None)))
    }
}

/// Where the contents of the blocks stand that follow each other in a frame.
pub(crate) fn blocks(frame: &[u8], start: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = start;
    std::iter::from_fn(move || {
        let length = u32::from_le_bytes(*frame.get(at..)?.first_chunk()?) as usize;
        let from = at + LENGTH;
        at = from + length;
        Some(from..at)
    })
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
        Ledger { base: 0, next: 0, rows: VecDeque::new(), live: 0, bytes: 0, spare: Vec::new() }
    }
}

impl<T> Row<T> {
    fn index(&self) -> u64 {
        match self {
            Row::New(run) => run.index,
            Row::Parcel(index, _) => *index,
        }
    }

    fn end(&self) -> u64 {
        self.index() + self.count() as u64
    }

    fn count(&self) -> usize {
        match self {
            Row::New(run) => run.count as usize,
            Row::Parcel(..) => 1,
        }
    }

    fn size(&self) -> usize {
        match self {
            Row::New(run) => run.size(),
            Row::Parcel(_, parcel) => parcel.size(),
        }
    }

    /// All of its items, each with its index.
    fn into_parcels(self) -> Vec<(u64, Parcel<T>)> {
        match self {
            Row::New(run) => run.parcels().collect(),
            Row::Parcel(index, parcel) => vec![(index, *parcel)],
        }
    }
}

impl<T> Ledger<T> {
    /// The index that the next item will have.
    pub(crate) fn next(&self) -> u64 {
        self.next
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
        WINDOW_ITEMS.saturating_sub((self.next - self.base) as usize)
    }

    pub(crate) fn add(&mut self, parcel: Parcel<T>) {
        self.push(Row::Parcel(self.next, Box::new(parcel)));
    }

    /// So many items that are sent for the first time, with consecutive numbers from `number` on: their blocks begin
    /// there in the frame.
    pub(crate) fn add_new(&mut self, frame: &Arc<Vec<u8>>, number: u64, count: u32, blocks: Range<usize>) {
        self.push(Row::New(Run { index: self.next, number, count, frame: Arc::clone(frame), blocks }));
    }

    fn push(&mut self, row: Row<T>) {
        self.live += row.count();
        self.bytes += row.size();
        self.next = row.end();
        self.rows.push_back(row);
    }

    /// Items with consecutive indices, out of the ledger: as many as are alike, at most `most`. `None` if the first
    /// is not in flight.
    pub(crate) fn take(&mut self, index: u64, most: u32) -> Option<Taken<T>> {
        let at = self.cut(index)?;
        if let Row::New(run) = &mut self.rows[at]
            && run.count > most
        {
            let first = run.split_off_first(most);
            self.rows.insert(at, Row::New(first));
        }
        match self.out(at)? {
            Row::New(run) => {
                let taken = Taken::New(run.number, run.count);
                self.let_go(run.frame);
                Some(taken)
            }
            Row::Parcel(_, parcel) => Some(Taken::Parcel(parcel)),
        }
    }

    /// The item with this index, out of the ledger; `None` if it is not in flight.
    pub(crate) fn take_parcel(&mut self, index: u64) -> Option<Box<Parcel<T>>> {
        self.cut(index.checked_add(1)?);
        let at = self.cut(index)?;
        match self.out(at)? {
            Row::Parcel(_, parcel) => Some(parcel),
            Row::New(run) => run.parcels().next().map(|(_, parcel)| Box::new(parcel)),
        }
    }

    /// Has a row begin at this index, if that is in flight; says which.
    fn cut(&mut self, index: u64) -> Option<usize> {
        let at = self.rows.partition_point(|row| row.end() <= index);
        match self.rows.get_mut(at)? {
            row if row.index() == index => Some(at),
            Row::New(run) if run.index < index => {
                let first = run.split_off_first((index - run.index) as u32);
                self.rows.insert(at, Row::New(first));
                Some(at + 1)
            }
            _ => None,
        }
    }

    /// A row, out of the ledger.
    fn out(&mut self, at: usize) -> Option<Row<T>> {
        let row = self.rows.remove(at)?;
        self.live -= row.count();
        self.bytes -= row.size();
        Some(row)
    }

    /// The worker has dealt with everything below `index`: its results were taken, or it was taken back.
    /// What is live there nonetheless has no known outcome and comes back.
    pub(crate) fn pass(&mut self, index: u64) -> Vec<Parcel<T>> {
        let index = index.min(self.next);
        self.base = self.base.max(index);
        let mut lost = Vec::new();
        self.cut(index);
        while self.rows.front().is_some_and(|row| row.index() < index)
            && let Some(row) = self.out(0)
        {
            lost.extend(row.into_parcels().into_iter().map(|(_, parcel)| parcel));
        }
        lost
    }

    /// A part of it is not needed any more; if nobody needs it, its room is used again.
    fn let_go(&mut self, frame: Arc<Vec<u8>>) {
        let buffer = Arc::into_inner(frame);
        if let Some(mut buffer) = buffer.filter(|buffer| buffer.capacity() <= 4 * FRAME_BYTES) {
            buffer.clear();
            self.spare = buffer;
        }
    }

    /// An empty buffer for the next frame, with the room that an earlier one had.
    pub(crate) fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Takes back, from the end, at most `most` items, until `revoke` fails: the worker claims in order, and has all
    /// before that one. They come out in their order.
    pub(crate) fn take_back(&mut self, most: usize, mut revoke: impl FnMut(u64) -> bool) -> Vec<Parcel<T>> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(last) = self.rows.back()
        {
            let (first, end) = (last.index(), last.end());
            let wanted = (most - taken.len()).min(last.count()) as u64;
            let had = (end - wanted..end).rev().take_while(|index| revoke(*index)).count() as u64;
            if had > 0
                && let Some(at) = self.cut(end - had)
                && let Some(row) = self.out(at)
            {
                taken.extend(row.into_parcels().into_iter().rev().map(|(_, parcel)| parcel));
            }
            if end - had > first {
                break;
            }
        }
        taken.reverse();
        taken
    }

    /// Everything in flight, with its indices; the ledger is empty then and counts from 0 again.
    pub(crate) fn clear(&mut self) -> Vec<(u64, Parcel<T>)> {
        std::mem::take(self).rows.into_iter().flat_map(Row::into_parcels).collect()
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
            1 => (0usize..9, 0u64..40).prop_map(|(most, claimed)| Action::TakeBack(most, claimed)),
        ]
    }

    proptest! {
        /// The model is a map from index to number.
        #[test]
        fn every_item_leaves_the_ledger_exactly_once(actions in prop::collection::vec(action(), 0..200)) {
            let frame = Arc::new([3, 0, 0, 0, 7, 7, 7].repeat(5));
            let (mut ledger, mut model) = (Ledger::<u64>::default(), BTreeMap::new());
            let (mut added, mut left) = (0u64, Vec::new());
            for action in actions {
                match action {
                    Action::Add => {
                        prop_assert_eq!(ledger.next(), added);
                        ledger.add(Parcel::new(&frame, 4..7, added, Some(added)));
                        model.insert(added, ());
                        added += 1;
                    }
                    Action::AddNew(count) => {
                        ledger.add_new(&frame, added, count as u32, 0..7 * count);
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
                    Action::TakeBack(most, claimed) => {
                        let back = ledger.take_back(most, |index| index >= claimed);
                        let due = model.keys().rev().copied().take_while(|index| *index >= claimed).take(most);
                        let mut due: Vec<_> = due.collect();
                        due.reverse();
                        prop_assert_eq!(&due, &back.iter().map(|parcel| parcel.number).collect::<Vec<_>>());
                        for parcel in &back {
                            prop_assert_eq!(&*parcel.bytes(), [7; 3]);
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

    /// Such indices come from a worker that wrote to a descriptor that is not its own.
    #[test]
    fn an_index_that_is_not_in_flight_gets_nothing_out_and_changes_nothing() {
        let frame = Arc::new([3, 0, 0, 0, 7, 7, 7].repeat(5));
        let mut ledger = Ledger::<u64>::default();
        ledger.add_new(&frame, 0, 5, 0..35);
        assert!(ledger.take(0, 2).is_some(), "0 and 1 are done");
        for index in [0, 1, 5, 6, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            for most in [1, u32::MAX] {
                assert!(ledger.take(index, most).is_none(), "{index}");
            }
            assert!(ledger.take_parcel(index).is_none(), "{index}");
        }
        assert_eq!((ledger.live(), ledger.next(), ledger.room()), (3, 5, WINDOW_ITEMS - 5));
        // A run that claims to be longer than what is in flight ends where that does.
        let taken = ledger.take(3, u32::MAX).map(|taken| (taken.first(), taken.count()));
        assert_eq!(taken, Some(((3, 1), 2)));
        // Nothing is passed that was never sent.
        let lost: Vec<_> = ledger.pass(u64::MAX).iter().map(|parcel| parcel.number).collect();
        assert_eq!((lost, ledger.live(), ledger.room()), (vec![2], 0, WINDOW_ITEMS));
        ledger.add_new(&frame, 5, 1, 0..7);
        assert_eq!(ledger.take(5, 1).map(|taken| taken.first()), Some((5, 1)));
    }
}
