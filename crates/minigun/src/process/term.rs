//! How long a worker serves: so many items, or until too much memory is its own.

use std::time::{Duration, Instant};

use minigun_os::procfs;

use crate::plan::Recycle;

/// How often a worker looks at its memory, at most: that costs more than many an item.
const LOOK: Duration = Duration::from_millis(50);

/// A worker's time in office.
pub(crate) struct Term {
    items: u64,
    memory: Option<u64>,
    looked: Option<Instant>,
    over: bool,
}

impl Term {
    pub(crate) fn new(recycle: Recycle) -> Self {
        Term { items: recycle.items.unwrap_or(u64::MAX), memory: recycle.memory, looked: None, over: false }
    }

    /// An item was run.
    #[inline]
    pub(crate) fn served(&mut self) {
        self.items -= 1;
        self.over = self.items == 0 || self.has_grown();
    }

    /// Its successor should take over.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    fn has_grown(&mut self) -> bool {
        let Some(most) = self.memory else { return false };
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK) {
            return false;
        }
        self.looked = Some(now);
        // Where it cannot be known nothing is recycled for it.
        procfs::private_memory().is_ok_and(|bytes| bytes > most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_ends_with_its_last_item_or_when_memory_is_above_its_limit() {
        let mut term = Term::new(Recycle { items: Some(2), memory: None });
        term.served();
        assert!(!term.is_over());
        term.served();
        assert!(term.is_over());
        let mut small = Term::new(Recycle { items: None, memory: Some(1) });
        small.served();
        assert!(small.is_over());
        let mut large = Term::new(Recycle { items: None, memory: Some(1 << 60) });
        large.served();
        assert!(!large.is_over());
    }
}
