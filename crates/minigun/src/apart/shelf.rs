//! The side of a slab that reads.

use minigun_os::Slab;

use super::{List, Runs};
use crate::defaults::LARGEST_ITEM;

/// A slab to read from; without one, no run is ever there.
#[derive(Default)]
pub(crate) struct Shelf {
    slab: Option<Slab>,
    read: u64,
    bytes: u64,
}

impl Shelf {
    pub(crate) fn new(slab: Option<Slab>) -> Self {
        Shelf { slab, read: 0, bytes: 0 }
    }

    /// How many runs were read.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// How many bytes they were since the last call.
    pub(crate) fn take_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// Gives the slab's memory back: nothing in it is wanted.
    pub(crate) fn clear(&mut self) {
        if let Some(slab) = &mut self.slab {
            // Refused, it is given back with the mapping, at the end of the run.
            let _ = slab.clear();
        }
    }

    /// The runs that this list names. Nothing that it says is believed: what is not in the slab is not there, and no
    /// item is given more than the largest may be.
    pub(crate) fn runs<'a>(&'a mut self, list: List<'a>) -> Listed<'a> {
        Listed { shelf: self, list, left: LARGEST_ITEM }
    }
}

/// The runs of one item.
pub(crate) struct Listed<'a> {
    shelf: &'a mut Shelf,
    list: List<'a>,
    /// So many bytes they may still be.
    left: usize,
}

impl Runs for Listed<'_> {
    fn next(&self) -> Option<(usize, usize)> {
        self.list.first().map(|run| (run.at, run.length))
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let run = self.list.first()?;
        self.list.pass();
        self.left = self.left.checked_sub(run.length)?;
        let mut bytes = Vec::new();
        if !self.shelf.slab.as_mut()?.read(run.from..run.from.checked_add(run.length)?, &mut bytes) {
            return None;
        }
        self.shelf.read += 1;
        self.shelf.bytes += run.length as u64;
        Some(bytes)
    }
}
