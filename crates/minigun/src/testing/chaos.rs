//! Chance that strikes: a worker is killed, an item fails or is held up. The same seed strikes the same items.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::thread;
use std::time::{Duration, Instant};

use minigun_os::{Pid, Signal};

use crate::defaults;
use crate::failure::Failure;
use crate::pipeline::flow::Flow;
use crate::pipeline::scope::Scope;
use crate::working::{AttemptId, attempt};

/// What may befall an item, and how likely: a value that makes steps ([`step`](Self::step)).
///
/// Whether it strikes is decided by the seed, the item's number and the attempt ([`attempt`](crate::attempt))
/// alone: the same seed strikes the same items in the same attempts, on every executor and with any number of
/// workers, as long as the items arrive in the same order. Every attempt has a chance of its own, so that what is
/// retried may succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct Chaos {
    seed: u64,
    kill: f64,
    fail: f64,
    delay: f64,
    longest: Duration,
}

/// The kinds of chance, each with dice of its own.
#[derive(Hash)]
enum Dice {
    Kill,
    Fail,
    Delay,
    Length,
}

impl Chaos {
    /// Nothing happens yet. Print the seed where it is not a constant: it repeats the run.
    pub fn seeded(seed: u64) -> Self {
        Chaos { seed, kill: 0.0, fail: 0.0, delay: 0.0, longest: Duration::ZERO }
    }

    /// The worker process that runs an item is killed (SIGKILL) with this probability (0 to 1), in each of the
    /// first two attempts at it: one less than the deaths after which the engine gives an item up
    /// ([`CRASH_ATTEMPTS`](crate::defaults::CRASH_ATTEMPTS)), so that no item is lost by it. Nothing happens
    /// outside a worker process: threads cannot be killed. Default: 0.
    pub fn kill(mut self, probability: f64) -> Self {
        self.kill = probability;
        self
    }

    /// An attempt fails with this probability (0 to 1); the policy decides what comes of it. Default: 0.
    pub fn fail(mut self, probability: f64) -> Self {
        self.fail = probability;
        self
    }

    /// An attempt is held up with this probability (0 to 1), for up to `longest`. Default: 0.
    pub fn delay(mut self, probability: f64, longest: Duration) -> Self {
        (self.delay, self.longest) = (probability, longest);
        self
    }

    /// A step at which chance strikes: `flow.then(chaos.step("chaos"))`, anywhere.
    pub fn step<T: Send + 'static, S: Scope>(&self, name: &str) -> impl FnOnce(Flow<T, S>) -> Flow<T, S> {
        let (chaos, name) = (self.clone(), name.to_string());
        move |flow| {
            flow.try_map_init(
                &name,
                || Ok(Calls::default()),
                move |calls, item| {
                    let at = attempt();
                    let call = calls.count(at.as_ref());
                    chaos.strike(at.as_ref(), call)?;
                    Ok(item)
                },
            )
        }
    }

    fn strike(&self, at: Option<&AttemptId>, call: u64) -> Result<(), Failure> {
        let (item, tried) = at.map_or((0, 1), |at| (at.item, at.attempt));
        let roll = |dice: Dice| self.roll(dice, item, tried, call);
        if roll(Dice::Delay) < self.delay {
            hold_up(self.longest.mul_f64(roll(Dice::Length)));
        }
        if tried < defaults::CRASH_ATTEMPTS && minigun_os::in_worker() && roll(Dice::Kill) < self.kill {
            minigun_os::kill(Pid::current(), Signal::KILL)?;
        }
        if roll(Dice::Fail) < self.fail {
            return Err(format!("chaos of seed {} struck item {item}, attempt {tried}", self.seed).into());
        }
        Ok(())
    }

    /// A number from 0 to below 1.
    fn roll(&self, dice: Dice, item: u64, attempt: u32, call: u64) -> f64 {
        // With fixed keys: the same in every process.
        let mut hasher = DefaultHasher::new();
        (self.seed, dice, item, attempt, call).hash(&mut hasher);
        (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How often a worker's step was called in the running attempt: what an attempt takes apart, and what an inline block
/// tries again, has a chance of its own each time.
#[derive(Default)]
struct Calls {
    at: Option<AttemptId>,
    calls: u64,
}

impl Calls {
    fn count(&mut self, at: Option<&AttemptId>) -> u64 {
        if self.at.as_ref() != at {
            *self = Calls { at: at.cloned(), calls: 0 };
        }
        self.calls += 1;
        self.calls
    }
}

/// As a closure that waits for something slow.
fn hold_up(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_are_fair_enough_and_fall_the_same_for_the_same_seed() {
        let rolls = |seed| -> Vec<f64> {
            (0..1000).map(|item| Chaos::seeded(seed).roll(Dice::Fail, item, 1, 1)).collect()
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
        let low = rolls(1).into_iter().filter(|roll| *roll < 0.25).count();
        assert!((200..300).contains(&low), "{low} of 1000 below a quarter");
        let chaos = Chaos::seeded(1);
        assert_ne!(chaos.roll(Dice::Fail, 0, 1, 1), chaos.roll(Dice::Kill, 0, 1, 1));
        assert_ne!(chaos.roll(Dice::Fail, 0, 1, 1), chaos.roll(Dice::Fail, 0, 2, 1));
    }
}
