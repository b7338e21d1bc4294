//! Giving way before calling somebody: who was interrupted may go to sleep first.
//!
//! Whoever wakes another is often put aside for it in the midst of the call, though it had only the step into its own sleep
//! left. Then two want this core, and the kernel wakes the third of the chain on another one, which sleeps, and of a
//! virtual machine takes tens of microseconds to wake. With one item under way the whole chain is asleep but for one at a
//! time: a yield before each call keeps it on one core. Where whoever is given way has more to do than to go to sleep it
//! takes far longer than that; then nobody is given way for a good while.

use std::time::{Duration, Instant};

/// Who goes to sleep is gone after this time.
const LONG: Duration = Duration::from_micros(30);

/// So often no way is given after it took long, the first time.
const OFFENDED: u32 = 32;
/// And at most: what it costs then, a turn of another thread, is little for each.
const MOST: u32 = 4096;

/// One caller's manners.
#[derive(Debug, Default)]
pub(super) struct Courtesy {
    /// So often it gives no way.
    left: u32,
    /// So often it gave none, after the last offence.
    offended: u32,
}

impl Courtesy {
    /// To be called before the only thing under way is handed to somebody who sleeps.
    pub(super) fn give_way(&mut self) {
        self.give_way_to(|| {
            let begun = Instant::now();
            std::thread::yield_now();
            begun.elapsed()
        });
    }

    /// `others` gives the core to others, and says how long that took.
    fn give_way_to(&mut self, others: impl FnOnce() -> Duration) {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
        } else if others() > LONG {
            // Twice as often as the last time, unless there were good ones in between.
            self.offended = (self.offended * 2).clamp(OFFENDED, MOST);
            self.left = self.offended;
        } else {
            self.offended /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_made_to_wait_gives_no_way_for_a_good_while() {
        let (mut courtesy, mut given) = (Courtesy::default(), 0);
        let mut give = |took: Duration| {
            let before = given;
            courtesy.give_way_to(|| {
                given += 1;
                took
            });
            given > before
        };
        assert!((0..10).all(|_| give(LONG)), "they went to sleep");
        assert!(give(2 * LONG));
        assert!((0..OFFENDED).all(|_| !give(LONG)));
        assert!((0..10).all(|_| give(LONG)));
        // Among busy ones.
        let given = (0..1_000_000).filter(|_| give(2 * LONG)).count();
        assert!(given < 1_000_000 / MOST as usize + 10, "{given}");
    }
}
