//! How many items to send a worker at once: about a millisecond of work, at most 64 KiB.

use std::time::Duration;

use super::protocol::Work;
use crate::defaults::{FRAME_BYTES, FRAME_WORK, WINDOW_ITEMS};

/// Running averages of one worker slot.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    nanos: Option<f64>,
    bytes: Option<f64>,
}

/// The weight of what came last.
const NEWS: f64 = 0.3;

impl Pace {
    /// Items were run.
    pub(crate) fn worked(&mut self, work: Work) {
        if work.items > 0 {
            learn(&mut self.nanos, work.nanos as f64 / work.items as f64);
        }
    }

    /// Items were encoded.
    pub(crate) fn encoded(&mut self, items: usize, bytes: usize) {
        if items > 0 {
            learn(&mut self.bytes, bytes as f64 / items as f64);
        }
    }

    /// How long an item is likely to take; for ever, until that is known.
    pub(crate) fn time(&self) -> Duration {
        self.nanos.map_or(Duration::MAX, |nanos| Duration::from_nanos(nanos as u64))
    }

    /// Items are so small that many of them make a frame.
    pub(crate) fn is_of_small(&self) -> bool {
        self.bytes.is_some_and(|bytes| bytes * 8.0 <= FRAME_BYTES as f64)
    }

    /// Items for one frame. One, until it is known how long items take.
    pub(crate) fn items(&self) -> usize {
        let Some(nanos) = self.nanos else { return 1 };
        let by_time = FRAME_WORK.as_nanos() as f64 / nanos.max(1.0);
        let by_size = FRAME_BYTES as f64 / self.bytes.unwrap_or(1.0).max(1.0);
        (by_time.min(by_size) as usize).clamp(1, WINDOW_ITEMS / 2)
    }
}

fn learn(average: &mut Option<f64>, news: f64) {
    *average = Some(average.map_or(news, |old| old + NEWS * (news - old)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(nanos: u64, items: u64) -> Work {
        Work { nanos, items, ..Work::default() }
    }

    #[test]
    fn frames_hold_a_millisecond_of_work_or_64_kib() {
        let mut pace = Pace::default();
        assert_eq!(pace.items(), 1, "nothing is known yet");
        pace.worked(work(10_000, 1));
        assert_eq!(pace.items(), 100);
        pace.encoded(1, 32 << 10);
        assert_eq!(pace.items(), 2);
        let mut slow = Pace::default();
        slow.worked(work(5_000_000_000, 1));
        assert_eq!(slow.items(), 1);
        let mut quick = Pace::default();
        quick.worked(work(0, 100));
        assert_eq!(quick.items(), WINDOW_ITEMS / 2);
    }
}
