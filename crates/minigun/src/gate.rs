//! What may leave a queue now: a rate, and a window of items under way. Told the time, free of threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// Items per second, and how many may come at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) burst: u32,
}

impl Rate {
    /// Whether a clock can keep it.
    pub(crate) fn is_possible(self) -> bool {
        self.per_second.is_finite() && self.per_second > 0.0 && self.burst > 0
    }
}

/// A bucket of tokens that fills at a rate: each item takes one.
///
/// Kept as one number, the time at which the bucket will be full again, so that nothing need fill it.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    /// The time in which one token comes, in picoseconds, and the time in which all do.
    token: u128,
    all: u128,
    start: Option<Instant>,
    /// When the bucket will be full, since `start`.
    full_at: u128,
}

const NANO: u128 = 1_000;

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        // One token in 30 years is as good as none; a million per microsecond as good as no limit.
        let token = (1e12 / rate.per_second).clamp(1.0, 1e21) as u128;
        Bucket { token, all: token * u128::from(rate.burst.max(1)), start: None, full_at: 0 }
    }

    fn now(&mut self, now: Instant) -> u128 {
        let start = *self.start.get_or_insert(now);
        now.saturating_duration_since(start).as_nanos() * NANO
    }

    /// Takes up to `most` tokens; `Err` says when there will be one.
    pub(crate) fn take(&mut self, most: usize, now: Instant) -> Result<usize, Instant> {
        let at = self.now(now);
        self.full_at = self.full_at.max(at);
        let tokens = (at + self.all - self.full_at) / self.token;
        if tokens == 0 {
            return Err(self.at(self.full_at + self.token - self.all));
        }
        let taken = most.min(usize::try_from(tokens).unwrap_or(usize::MAX));
        self.full_at += self.token * taken as u128;
        Ok(taken)
    }

    /// Takes a token, also one that is still to come, and says from when on it may be used.
    pub(crate) fn reserve(&mut self, now: Instant) -> Instant {
        let at = self.now(now);
        self.full_at = self.full_at.max(at) + self.token;
        self.at(self.full_at.saturating_sub(self.all))
    }

    /// Rounded up to what a clock shows, so that it is not too early then.
    fn at(&self, time: u128) -> Instant {
        let since = u64::try_from(time.div_ceil(NANO)).unwrap_or(u64::MAX);
        let start = self.start.unwrap_or_else(Instant::now);
        // Beyond any run.
        let far = Duration::from_secs(1 << 30);
        start.checked_add(Duration::from_nanos(since)).unwrap_or(start + far)
    }
}

/// Holds items back in a queue. Clones keep one rate together, and each a window of its own.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    bucket: Option<Arc<Mutex<Bucket>>>,
    window: Option<Window>,
}

/// Items under way: taken, and not yet let go in their order.
#[derive(Clone)]
struct Window {
    most: u64,
    released: u64,
    /// What was made of them is too much already.
    full: bool,
    /// Somebody was refused since the last change.
    refused: bool,
}

/// The answer to who wants to take items.
#[derive(Debug, PartialEq)]
pub(crate) enum Admitted {
    Some(usize),
    /// None before this time.
    NotBefore(Instant),
    /// None before others are let go.
    Shut,
}

impl Gate {
    /// `None` where nothing is to be held back.
    pub(crate) fn of(rate: Option<Rate>, window: Option<usize>) -> Option<Self> {
        let window =
            window.map(|most| Window { most: most as u64, released: 0, full: false, refused: false });
        let bucket = rate.map(|rate| Arc::new(Mutex::new(Bucket::new(rate))));
        (bucket.is_some() || window.is_some()).then_some(Gate { bucket, window })
    }

    /// Of `most` items that could be taken, after `taken` that were. Nobody waits for a token any more if `hurried`.
    pub(crate) fn admit(&mut self, taken: u64, most: usize, hurried: bool, now: Instant) -> Admitted {
        let mut count = most;
        if let Some(window) = &mut self.window {
            let room = window.most.saturating_sub(taken - window.released);
            if room == 0 || window.full {
                window.refused = true;
                return Admitted::Shut;
            }
            count = count.min(usize::try_from(room).unwrap_or(usize::MAX));
        }
        match &self.bucket {
            Some(bucket) if !hurried => match bucket.lock().take(count, now) {
                Ok(count) => Admitted::Some(count),
                Err(due) => Admitted::NotBefore(due),
            },
            _ => Admitted::Some(count),
        }
    }

    /// All items below `number` were let go. Says how many of them had not been before, and whether somebody waits.
    pub(crate) fn release(&mut self, number: u64, full: bool) -> (usize, bool) {
        let Some(window) = &mut self.window else { return (0, false) };
        let before = std::mem::replace(&mut window.released, number);
        window.full = full;
        (number.saturating_sub(before) as usize, std::mem::take(&mut window.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(per_second: f64, burst: u32) -> Bucket {
        Bucket::new(Rate { per_second, burst })
    }

    proptest! {
        /// However it is asked, in any time there are no more items than the burst and those of the time.
        #[test]
        fn no_more_pass_than_the_rate_and_the_burst_allow(
            per_second in 1.0f64..5_000.0, burst in 1u32..20,
            asks in prop::collection::vec((0u64..20_000, 1usize..30), 1..200),
        ) {
            let (mut bucket, start) = (rate(per_second, burst), Instant::now());
            let (mut now, mut passed) = (0u64, Vec::<(u64, usize)>::new());
            for (wait, most) in asks {
                now += wait;
                let at = start + Duration::from_micros(now);
                match bucket.take(most, at) {
                    Ok(count) => passed.push((now, count)),
                    Err(due) => {
                        prop_assert!(due > at, "who waits until then would be asked again at once");
                        prop_assert_eq!(bucket.clone().take(most, due), Ok(1), "and then there is one");
                    }
                }
            }
            for (at, (from, _)) in passed.iter().enumerate() {
                for to in at..passed.len() {
                    let count: usize = passed[at..=to].iter().map(|(_, count)| count).sum();
                    let allowed = f64::from(burst) + (passed[to].0 - from) as f64 * 1e-6 * per_second;
                    prop_assert!(count as f64 <= allowed + 1e-3, "{count} of {allowed} allowed");
                }
            }
        }

        /// Who takes whatever there is, whenever there is something, gets all that the rate promises.
        #[test]
        fn nothing_is_lost_of_the_rate(per_second in 1.0f64..5_000.0, burst in 1u32..20, items in 1usize..500) {
            let (mut bucket, start) = (rate(per_second, burst), Instant::now());
            let (mut now, mut passed) = (start, 0);
            while passed < items {
                match bucket.take(items - passed, now) {
                    Ok(count) => passed += count,
                    Err(due) => now = due,
                }
            }
            let expected = items.saturating_sub(burst as usize) as f64 / per_second;
            prop_assert!(((now - start).as_secs_f64() - expected).abs() < 1e-6);
        }

        #[test]
        fn reserved_tokens_are_used_at_the_same_times(per_second in 1.0f64..5_000.0, burst in 1u32..20) {
            let (mut taken, start) = (rate(per_second, burst), Instant::now());
            let (mut reserved, mut now) = (taken.clone(), start);
            for _ in 0..50 {
                let due = reserved.reserve(start);
                while let Err(due) = taken.take(1, now) {
                    now = due;
                }
                // Who asks again loses the rest of a nanosecond every time.
                prop_assert!(now >= due && now - due < Duration::from_nanos(100));
            }
        }
    }

    #[test]
    fn a_pause_gives_back_no_more_than_the_burst() {
        let (mut bucket, start) = (rate(10.0, 3), Instant::now());
        assert_eq!(bucket.take(100, start), Ok(3));
        assert_eq!(bucket.take(1, start), Err(start + Duration::from_millis(100)));
        assert_eq!(bucket.take(100, start + Duration::from_secs(3600)), Ok(3));
    }

    #[test]
    fn rates_that_no_clock_shows_do_not_break_it() {
        let start = Instant::now();
        assert_eq!(rate(1e300, 1).take(5, start), Ok(1));
        let mut never = rate(1e-300, 1);
        assert_eq!(never.take(5, start), Ok(1));
        assert!(never.take(5, start).is_err());
        let mut many = rate(0.5, u32::MAX);
        assert_eq!(many.take(usize::MAX, start), Ok(u32::MAX as usize));
    }

    #[test]
    fn a_window_admits_what_was_let_go() {
        let now = Instant::now();
        let mut gate = Gate::of(None, Some(4)).unwrap_or_default();
        assert_eq!(gate.admit(0, 10, false, now), Admitted::Some(4));
        assert_eq!(gate.admit(4, 10, true, now), Admitted::Shut);
        assert_eq!(gate.release(3, false), (3, true), "one waits");
        assert_eq!(gate.release(3, false), (0, false));
        assert_eq!(gate.admit(4, 10, false, now), Admitted::Some(3));
        gate.release(7, true);
        assert_eq!(gate.admit(7, 1, false, now), Admitted::Shut, "too much was made already");
        gate.release(7, false);
        assert_eq!(gate.admit(7, 1, false, now), Admitted::Some(1));
    }

    #[test]
    fn a_hurried_gate_waits_for_no_token() {
        let now = Instant::now();
        let slow = Rate { per_second: 0.001, burst: 1 };
        let mut gate = Gate::of(Some(slow), None).unwrap_or_default();
        assert_eq!(gate.admit(0, 10, false, now), Admitted::Some(1));
        assert!(matches!(gate.admit(1, 10, false, now), Admitted::NotBefore(due) if due > now));
        assert_eq!(gate.admit(1, 10, true, now), Admitted::Some(10));
    }
}
