//! How long to look before going to sleep, and when looking is not worth while.

use std::time::{Duration, Instant};

/// Looks again a few times before a wait: where both sides are quick, what one waits for is there before the kernel
/// could have put it to sleep and woken it. Other threads that are ready get the core meanwhile.
#[derive(Default)]
pub(super) struct Patience(u32);

impl Patience {
    const SPINS: u32 = 2;
    const YIELDS: u32 = 10;

    /// How often it was looked again.
    pub(super) fn looks(&self) -> u32 {
        self.0
    }

    pub(super) fn lasts(&self) -> bool {
        self.0 < Self::SPINS + Self::YIELDS
    }

    pub(super) fn pause(&mut self) {
        if self.0 < Self::SPINS {
            (0..1 << self.0).for_each(|_| std::hint::spin_loop());
        } else {
            std::thread::yield_now();
        }
        self.0 += 1;
    }
}

/// Who takes all there is and is back at once for little runs at the heels of those who bring it: the lines of memory that
/// both touch go from core to core with every few items. It lets some gather first.
#[derive(Default)]
pub(super) struct Heels(Option<Instant>);

impl Heels {
    /// It was back at once if it was away for less than this, and waits until it is over.
    const APART: Duration = Duration::from_micros(2);
    /// So many items are worth the way …
    const WORTH: usize = 128;
    /// … or this part of what one sender's lane holds: who brings more is not to wait for room meanwhile.
    const PART: usize = 4;

    /// Items were taken, as many as there were.
    pub(super) fn took(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    /// Until when to wait, if it is to: so many items are there, and a lane holds so many.
    pub(super) fn gather(&self, ready: usize, lane: usize, now: Instant) -> Option<Instant> {
        let worth = Self::WORTH.min(lane / Self::PART);
        let until = self.0.filter(|_| ready < worth)? + Self::APART;
        (now < until).then_some(until)
    }

    /// Waits until then; others that are ready get the core.
    pub(super) fn wait(until: Instant) {
        while Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

/// What those find who look into a queue again and again. If it is crumbs, a thread that looks takes a core, or its share of
/// one, from those who have something to do: it naps instead, without being called, and finds a meal. Who finds little even
/// so, because there is no more to come, naps seldom from then on.
#[derive(Default)]
pub(super) struct Crumbs {
    /// Looks in vain since the last judgement, and items found.
    looks: u32,
    items: usize,
    naps: bool,
    /// So many judgements of crumbs have no consequence.
    spared: u32,
    /// As many were spared after the last nap that was in vain.
    in_vain: u32,
}

impl Crumbs {
    /// How long a nap is. The system may add as much.
    pub(super) const NAP: Duration = Duration::from_micros(50);
    /// So many looks in vain are judged together.
    const LOOKS: u32 = 256;
    /// With fewer items for each, they were for crumbs.
    const CRUMBS: usize = 8;
    /// So many items are a meal, worth a nap.
    const MEAL: usize = 32;
    const SPARED: u32 = 32;
    const MOST_SPARED: u32 = 1 << 16;

    /// Whether to nap instead of looking again.
    pub(super) fn naps(&self) -> bool {
        self.naps
    }

    /// So many items were found after so many looks in vain.
    pub(super) fn found(&mut self, items: usize, looks: u32) {
        self.looks += looks;
        self.items += items;
        if self.looks < Self::LOOKS {
            return;
        }
        let crumbs = self.items < Self::CRUMBS * self.looks as usize;
        (self.looks, self.items) = (0, 0);
        if crumbs {
            match self.spared.checked_sub(1) {
                Some(spared) => self.spared = spared,
                None => self.naps = true,
            }
        }
    }

    /// So many items were there after a nap.
    pub(super) fn napped(&mut self, items: usize) {
        self.naps = items >= Self::MEAL;
        if self.naps {
            self.in_vain /= 2;
        } else {
            self.in_vain = (self.in_vain * 2).clamp(Self::SPARED, Self::MOST_SPARED);
            self.spared = self.in_vain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_back_at_once_for_little_waits_for_a_moment_and_nobody_else_does() {
        let (mut heels, now) = (Heels::default(), Instant::now());
        assert_eq!(heels.gather(0, 1024, now), None, "the first time");
        heels.took(now);
        let back = now + Heels::APART / 2;
        assert_eq!(heels.gather(1, 1024, back), Some(now + Heels::APART));
        assert_eq!(heels.gather(0, 1024, back), Some(now + Heels::APART), "there will be something");
        assert_eq!(heels.gather(Heels::WORTH, 1024, back), None, "there is enough");
        assert_eq!(heels.gather(1, 1024, now + Heels::APART), None, "it was away long enough");
        assert_eq!((heels.gather(1, 8, back), heels.gather(2, 8, back)), (Some(now + Heels::APART), None));
        assert_eq!(heels.gather(0, 1, back), None, "no more can gather");
    }

    #[test]
    fn who_finds_crumbs_naps_and_goes_on_napping_while_that_brings_meals() {
        let mut crumbs = Crumbs::default();
        (0..50).for_each(|_| crumbs.found(1, 5));
        assert!(!crumbs.naps(), "not before it has looked for long");
        (0..2).for_each(|_| crumbs.found(1, 5));
        assert!(crumbs.naps());
        crumbs.napped(100);
        assert!(crumbs.naps());
        crumbs.napped(1);
        assert!(!crumbs.naps());
    }

    #[test]
    fn whose_naps_are_in_vain_hardly_naps() {
        let (mut crumbs, mut naps) = (Crumbs::default(), 0);
        for _ in 0..1_000_000 {
            crumbs.found(1, 10);
            if crumbs.naps() {
                naps += 1;
                crumbs.napped(1);
            }
        }
        assert!((5..15).contains(&naps), "{naps}");
    }

    #[test]
    fn who_finds_meals_never_naps() {
        let mut crumbs = Crumbs::default();
        (0..10_000).for_each(|_| crumbs.found(100, 5));
        assert!(!crumbs.naps());
    }
}
