//! What a block does with an item that fails: how often it is tried, how long it waits, and the last word.

use std::time::Duration;

/// How long to wait before an item is tried again: `first`, doubled after every attempt, never more than
/// `max`, each shortened by a random part of up to a quarter so that items that failed together do not come
/// back together.
///
/// The default is 100 ms, doubled up to 10 s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits `first` after the first failed attempt, twice as long after each further one, at most `max`.
    pub fn exponential(first: Duration, max: Duration) -> Self {
        Backoff { first, max }
    }

    /// Tries again at once.
    pub fn none() -> Self {
        Backoff { first: Duration::ZERO, max: Duration::ZERO }
    }

    /// The wait after the `attempt`-th failed attempt (1, 2, …); `spread` in 0..=255 is the random part.
    pub(crate) fn wait(&self, attempt: u32, spread: u8) -> Duration {
        let doubled =
            self.first.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        // Far beyond any run, and still a time that a clock can be asked for.
        let wait = doubled.min(self.max).min(Duration::from_secs(365 * 24 * 3600));
        wait - wait / 1024 * u32::from(spread)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::exponential(crate::defaults::BACKOFF_FIRST, crate::defaults::BACKOFF_MAX)
    }
}

/// What a block does with an item that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Policy {
    /// Attempts at an item beyond which `last` applies; 1 means no retry.
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) last: Last,
}

/// What happens when an item's attempts are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Last {
    /// The run ends and returns the error.
    #[default]
    Stop,
    /// The item is counted as skipped, its error kept for the report.
    Skip,
    /// The item goes to the block's dead letters.
    DeadLetter,
}

/// What to do about a failed attempt.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Retry(Duration),
    Skip,
    DeadLetter,
    Stop,
}

impl Policy {
    /// The verdict on an item whose `attempt`-th attempt (1, 2, …) failed.
    pub(crate) fn verdict(&self, attempt: u32, spread: u8) -> Verdict {
        if attempt < self.attempts {
            return Verdict::Retry(self.backoff.wait(attempt, spread));
        }
        self.last_word()
    }

    /// The verdict on an item whose attempts are used up.
    pub(crate) fn last_word(&self) -> Verdict {
        match self.last {
            Last::Stop => Verdict::Stop,
            Last::Skip => Verdict::Skip,
            Last::DeadLetter => Verdict::DeadLetter,
        }
    }

    pub(crate) fn retries(&self) -> bool {
        self.attempts > 1
    }

    /// Whether an item must be kept while its `attempt`-th attempt is made.
    pub(crate) fn keeps(&self, attempt: u32) -> bool {
        attempt < self.attempts || self.last == Last::DeadLetter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_ceiling_and_never_exceeds_it() {
        let b = Backoff::exponential(Duration::from_millis(10), Duration::from_millis(35));
        let waits: Vec<_> = (1..=4).map(|n| b.wait(n, 0).as_millis()).collect();
        assert_eq!(waits, [10, 20, 35, 35]);
        assert!(b.wait(200, 255) <= Duration::from_millis(35));
        assert!(b.wait(2, 255) >= Duration::from_millis(15), "the random part is at most a quarter");
    }

    #[test]
    fn attempts_are_used_up_before_the_last_word() {
        let p = Policy { attempts: 3, backoff: Backoff::none(), last: Last::Skip };
        assert_eq!(p.verdict(1, 0), Verdict::Retry(Duration::ZERO));
        assert_eq!(p.verdict(2, 0), Verdict::Retry(Duration::ZERO));
        assert_eq!(p.verdict(3, 0), Verdict::Skip);
        assert_eq!(Policy::default().verdict(1, 0), Verdict::Stop);
    }
}
