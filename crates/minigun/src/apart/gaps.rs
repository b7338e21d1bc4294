//! Which parts of a slab are taken.
//!
//! A part is taken from the first gap that is large enough: what was used before is used again, and is in caches and
//! page tables already. Parts come back in any order.

use std::ops::Range;

/// Parts begin at multiples of this, so that copies are aligned and gaps do not crumble.
const GRAIN: usize = 4096;

/// The parts that are taken, in order, none of them empty.
#[derive(Debug)]
pub(super) struct Gaps {
    size: usize,
    taken: Vec<Range<usize>>,
}

impl Gaps {
    pub(super) fn new(size: usize) -> Self {
        Gaps { size, taken: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Takes so many bytes; gives where they begin.
    pub(super) fn take(&mut self, length: usize) -> Option<usize> {
        let length = length.max(1).checked_next_multiple_of(GRAIN)?;
        let mut start = 0;
        let mut place = self.taken.len();
        for (at, part) in self.taken.iter().enumerate() {
            if part.start - start >= length {
                place = at;
                break;
            }
            start = part.end;
        }
        let end = start.checked_add(length).filter(|end| *end <= self.size)?;
        self.taken.insert(place, start..end);
        Some(start)
    }

    /// The part that begins there is free again.
    pub(super) fn give(&mut self, start: usize) {
        if let Ok(at) = self.taken.binary_search_by_key(&start, |part| part.start) {
            self.taken.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The model marks every grain.
        #[test]
        fn no_byte_is_given_twice_and_what_fits_is_given(
            actions in prop::collection::vec(prop_oneof![
                3 => (0usize..5 * GRAIN).prop_map(Ok),
                2 => (0usize..20).prop_map(Err),
            ], 0..100),
        ) {
            const GRAINS: usize = 16;
            let (mut gaps, mut marks, mut given) = (Gaps::new(GRAINS * GRAIN), [false; GRAINS], Vec::new());
            for action in actions {
                match action {
                    Ok(length) => {
                        let grains = length.max(1).div_ceil(GRAIN);
                        let first = (0..=GRAINS - grains).find(|at| !marks[*at..at + grains].contains(&true));
                        prop_assert_eq!(gaps.take(length), first.map(|at| at * GRAIN));
                        if let Some(at) = first {
                            marks[at..at + grains].fill(true);
                            given.push((at, grains));
                        }
                    }
                    Err(at) if at < given.len() => {
                        let (at, grains) = given.swap_remove(at);
                        marks[at..at + grains].fill(false);
                        gaps.give(at * GRAIN);
                    }
                    Err(_) => {}
                }
                prop_assert_eq!(gaps.is_empty(), given.is_empty());
            }
            prop_assert_eq!(gaps.take(usize::MAX), None);
        }
    }
}
