//! The side of a slab that writes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use minigun_os::Slab;

use super::gaps::Gaps;
use super::{Apart, List, Run, Runs, write_list};
use crate::defaults::APART_BYTES;
use crate::sync::Mutex;

/// A slab to write to, and what of it is taken.
pub(crate) struct Store(Mutex<(Slab, Gaps)>);

impl Store {
    pub(crate) fn new(slab: Slab) -> Arc<Self> {
        let gaps = Gaps::new(slab.size());
        Arc::new(Store(Mutex::new((slab, gaps))))
    }

    /// Keeps a copy of these bytes, as long as the extent lives; `None` if there is no room.
    fn put(self: &Arc<Self>, bytes: &[u8]) -> Option<Extent> {
        let mut store = self.0.lock();
        let (slab, gaps) = &mut *store;
        let from = gaps.take(bytes.len())?;
        if !slab.write(from, bytes) {
            gaps.give(from);
            return None;
        }
        Some(Extent { store: Arc::clone(self), from, length: bytes.len() })
    }

    #[cfg(test)]
    pub(super) fn swap(&self, slab: Slab) -> Slab {
        std::mem::replace(&mut self.0.lock().0, slab)
    }

    /// Gives its memory back, unless something of it is still held.
    pub(crate) fn clear(&self) {
        let mut store = self.0.lock();
        let (slab, gaps) = &mut *store;
        if gaps.is_empty() {
            // Refused, it is given back with the mapping, at the end of the run.
            let _ = slab.clear();
        }
    }
}

/// A run in a store: its place is free again when this is dropped.
pub(crate) struct Extent {
    store: Arc<Store>,
    from: usize,
    length: usize,
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extent({}..{})", self.from, self.from + self.length)
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.store.0.lock().1.give(self.from);
    }
}

impl Extent {
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Appends its bytes.
    pub(super) fn copy(&self, into: &mut Vec<u8>) -> Option<()> {
        self.store.0.lock().0.read(self.from..self.from + self.length, into).then_some(())
    }
}

/// Where the long runs of an item are put.
pub(crate) enum Place<'a> {
    /// They stay in the output.
    Nowhere,
    Store(&'a Arc<Store>),
    Lent(&'a mut Lent),
}

/// Puts the long runs of one item into a store, while it is encoded.
pub(crate) struct Packer<'a> {
    place: Place<'a>,
    /// Where the item begins in the encoder's output.
    base: usize,
    runs: Vec<(usize, Extent)>,
}

impl<'a> Packer<'a> {
    pub(crate) fn new(place: Place<'a>, base: usize) -> Self {
        Packer { place, base, runs: Vec::new() }
    }

    /// Marks the item and appends the list of its runs, if there are any; gives what holds them.
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> Vec<Extent> {
        let Packer { base, runs, .. } = self;
        if runs.is_empty() {
            return Vec::new();
        }
        let run =
            |(at, extent): &(usize, Extent)| Run { at: at - base, from: extent.from, length: extent.length };
        write_list(out, base, runs.iter().map(run));
        runs.into_iter().map(|(_, extent)| extent).collect()
    }
}

impl Apart for Packer<'_> {
    fn put(&mut self, at: usize, bytes: &[u8]) -> bool {
        if bytes.len() < APART_BYTES {
            return false;
        }
        let store = match &mut self.place {
            Place::Nowhere => None,
            Place::Store(store) => Some(*store),
            Place::Lent(lent) => lent.store(),
        };
        let Some(extent) = store.and_then(|store| store.put(bytes)) else { return false };
        self.runs.push((at, extent));
        true
    }

    fn moved(&mut self, from: usize, to: usize) {
        for (at, _) in self.runs.iter_mut().filter(|(at, _)| *at >= from) {
            *at = *at - from + to;
        }
    }
}

/// The runs of an item, for the side that keeps them.
pub(crate) struct Own<'a> {
    list: List<'a>,
    extents: std::slice::Iter<'a, Extent>,
}

impl<'a> Own<'a> {
    pub(crate) fn new(list: List<'a>, extents: &'a [Extent]) -> Self {
        Own { list, extents: extents.iter() }
    }
}

impl Runs for Own<'_> {
    fn next(&self) -> Option<(usize, usize)> {
        self.list.first().map(|run| (run.at, run.length))
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.list.pass();
        let mut bytes = Vec::new();
        self.extents.next()?.copy(&mut bytes)?;
        Some(bytes)
    }
}

/// A store whose extents the other process frees, by counting those that it has read, in the order in which they were
/// sent.
pub(crate) struct Lent {
    store: Arc<Store>,
    sent: VecDeque<Extent>,
    /// How many the other process has read, of this one and of those before it in its place; `None`: it wants no more.
    read: Box<dyn Fn() -> Option<u64>>,
    /// How many of those are no longer in `sent`; known from the first run on.
    freed: Option<u64>,
}

impl Lent {
    pub(crate) fn new(slab: Slab, read: impl Fn() -> Option<u64> + 'static) -> Self {
        Lent { store: Store::new(slab), sent: VecDeque::new(), read: Box::new(read), freed: None }
    }

    /// The store, with what was read freed.
    fn store(&mut self) -> Option<&Arc<Store>> {
        let read = (self.read)()?;
        let freed = self.freed.get_or_insert(read);
        while *freed < read && self.sent.pop_front().is_some() {
            *freed += 1;
        }
        Some(&self.store)
    }

    /// These go to the other process now.
    pub(crate) fn send(&mut self, extents: impl IntoIterator<Item = Extent>) {
        self.sent.extend(extents);
    }
}
