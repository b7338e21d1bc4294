//! Long runs of bytes that travel apart from the rest of an encoded item, over memory that both processes have.
//!
//! A stream costs a long run two copies and two passes through the kernel. A run in a [slab](minigun_os::Slab) is
//! copied once out of the item and once into the item that is made of it, and the stream carries only where it lies.
//! To the item's encoding nothing changes: it is the bytes in the frame with the runs put back where they were cut out.
//!
//! | file | its idea |
//! |---|---|
//! | `gaps` | which parts of a slab are free: pure |
//! | `store` | the side that writes: extents, and a list of those that the other side has yet to read |
//! | `shelf` | the side that reads |
//!
//! Such an item is the byte `ff`, with which no item of the default format begins, and the encoding without its runs;
//! then for each of them, in order, where it was cut out, where it lies and how long it is (each `u32`); then their
//! number (`u32`). All little endian. The compact format knows no such items.

mod gaps;
mod shelf;
mod store;

pub(crate) use shelf::Shelf;
pub(crate) use store::{Extent, Lent, Own, Packer, Place, Store};

/// Takes long runs of bytes off an encoder's hands.
pub(crate) trait Apart {
    /// Takes a copy of a run that would begin at `at` of the output. `false`: it has to stand there after all.
    fn put(&mut self, at: usize, bytes: &[u8]) -> bool;

    /// What was at `from` of the output and behind it is now at `to`.
    fn moved(&mut self, from: usize, to: usize);
}

/// Gives a decoder the runs that were taken off the encoder's hands.
pub(crate) trait Runs {
    /// Where the next run was cut out, and its length.
    fn next(&self) -> Option<(usize, usize)>;

    /// A copy of the next run; `None` if there is none, or it is not where it should be.
    fn take(&mut self) -> Option<Vec<u8>>;
}

/// An item with its runs put back, by the side that keeps them; `None` if one does not fit or is not there.
pub(crate) fn whole(item: &[u8], extents: &[Extent]) -> Option<Vec<u8>> {
    let (bytes, mut list) = split(item)?;
    let length = extents.iter().map(Extent::length).sum::<usize>() + bytes.len();
    let (mut all, mut from) = (Vec::with_capacity(length), 0);
    for extent in extents {
        let at = list.first()?.at;
        all.extend_from_slice(bytes.get(from..at)?);
        extent.copy(&mut all)?;
        list.pass();
        from = at;
    }
    all.extend_from_slice(bytes.get(from..)?);
    Some(all)
}

/// One run: where in the bytes it was cut out, where in the slab it lies, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    at: usize,
    from: usize,
    length: usize,
}

/// Splits an item with runs into its bytes and their list; `None` if it is none.
pub(crate) fn split(item: &[u8]) -> Option<(&[u8], List<'_>)> {
    let (rest, count) = item.strip_prefix(&[MARK])?.split_last_chunk()?;
    let listed = (u32::from_le_bytes(*count) as usize).checked_mul(RUN)?;
    let (bytes, list) = rest.split_at(rest.len().checked_sub(listed)?);
    Some((bytes, List(list)))
}

/// The runs of an item, as a frame lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct List<'a>(&'a [u8]);

/// The first byte of an item with runs.
const MARK: u8 = 0xff;
/// Bytes of one run in a list.
const RUN: usize = 12;

impl List<'_> {
    fn first(&self) -> Option<Run> {
        let run = self.0.first_chunk::<RUN>()?;
        let number =
            |at: usize| u32::from_le_bytes([run[at], run[at + 1], run[at + 2], run[at + 3]]) as usize;
        Some(Run { at: number(0), from: number(4), length: number(8) })
    }

    fn pass(&mut self) {
        self.0 = self.0.get(RUN..).unwrap_or_default();
    }
}

/// Makes what begins at `base` an item with these runs.
fn write_list(out: &mut Vec<u8>, base: usize, runs: impl ExactSizeIterator<Item = Run>) {
    out.insert(base, MARK);
    let count = runs.len() as u32;
    for Run { at, from, length } in runs {
        // Each is below the length of a frame or of a slab.
        for number in [at, from, length] {
            out.extend_from_slice(&(number as u32).to_le_bytes());
        }
    }
    out.extend_from_slice(&count.to_le_bytes());
}

#[cfg(test)]
mod transfer;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_is_read_as_it_was_written(
            bytes in prop::collection::vec(any::<u8>(), 0..50),
            runs in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 0..5),
        ) {
            let runs: Vec<_> = runs.into_iter()
                .map(|(at, from, length)| Run { at: at as usize, from: from as usize, length: length as usize })
                .collect();
            let mut item = b"before".to_vec();
            item.extend_from_slice(&bytes);
            write_list(&mut item, 6, runs.iter().copied());
            let (found, mut list) = split(&item[6..]).unwrap();
            prop_assert_eq!(found, &bytes[..]);
            for run in runs {
                prop_assert_eq!(list.first(), Some(run));
                list.pass();
            }
            prop_assert!(list.first().is_none());
        }

        #[test]
        fn any_bytes_are_split_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some((found, mut list)) = split(&bytes) {
                prop_assert!(found.len() + 5 <= bytes.len());
                while list.first().is_some() {
                    list.pass();
                }
            }
        }
    }
}
