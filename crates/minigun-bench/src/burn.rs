//! Work that takes a known time of a processor, and whose result can be told without doing it.
//!
//! A step is `x → x·A + C` modulo 2^64. Each needs the one before it, so no compiler and no processor can do
//! several at once; `k` of them are again such a step, with factors found in `log k` multiplications.

use std::hint::black_box;
use std::time::{Duration, Instant};

const A: u64 = 6_364_136_223_846_793_005;
const C: u64 = 1_442_695_040_888_963_407;

/// Takes this many steps from `x`.
pub(crate) fn burn(mut x: u64, steps: u64) -> u64 {
    for _ in 0..black_box(steps) {
        x = x.wrapping_mul(A).wrapping_add(C);
    }
    x
}

/// Where [`burn`] ends, at once.
pub(crate) fn burnt(x: u64, mut steps: u64) -> u64 {
    let (mut factor, mut summand) = (1_u64, 0_u64);
    let (mut a, mut c) = (A, C);
    while steps > 0 {
        if steps & 1 == 1 {
            factor = factor.wrapping_mul(a);
            summand = summand.wrapping_mul(a).wrapping_add(c);
        }
        c = c.wrapping_mul(a).wrapping_add(c);
        a = a.wrapping_mul(a);
        steps >>= 1;
    }
    x.wrapping_mul(factor).wrapping_add(summand)
}

/// How many steps this machine takes in a microsecond: the best of many short trials, since whatever disturbs one
/// makes it slower.
pub(crate) fn steps_per_us() -> u64 {
    const STEPS: u64 = 200_000;
    let trial = |x| {
        let begun = Instant::now();
        black_box(burn(x, STEPS));
        begun.elapsed()
    };
    let best = (0..200).map(trial).min().unwrap_or(Duration::from_millis(1));
    (STEPS as f64 / (best.as_secs_f64() * 1e6)).round().max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_would_be_computed() {
        for (x, steps) in [(0, 0), (1, 1), (7, 2), (u64::MAX, 3), (42, 1000), (9, 65_537)] {
            assert_eq!(burnt(x, steps), burn(x, steps), "{steps} steps from {x}");
        }
    }
}
