//! Keys seen before: all of them, or a filter of bounded size that may take a new key for an old one.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};

/// What keys were seen.
pub(crate) trait Seen<K> {
    /// Notes a key; says whether it is new.
    fn is_new(&mut self, key: K) -> bool;
}

impl<K: Hash + Eq> Seen<K> for HashSet<K> {
    fn is_new(&mut self, key: K) -> bool {
        self.insert(key)
    }
}

/// A Bloom filter: a key sets some bits of many, and was seen before if all of them were set.
pub(crate) struct Bloom {
    bits: Vec<u64>,
    /// Bits of one key.
    each: u32,
    hashers: [RandomState; 2],
}

impl Bloom {
    /// Made for so many keys: up to there, of new keys at most the part `error` is taken for old ones.
    pub(crate) fn new(keys: usize, error: f64) -> Self {
        Self::with(keys, error, [RandomState::new(), RandomState::new()])
    }

    fn with(keys: usize, error: f64, hashers: [RandomState; 2]) -> Self {
        let each = (-error.log2()).ceil().clamp(1.0, 64.0);
        // With so many bits a key, and so many bits for each, half of all are set in the end.
        let words = (bits_per_key(error) * keys.max(1) as f64 / 64.0).ceil().max(1.0);
        Bloom { bits: vec![0; words as usize], each: each as u32, hashers }
    }
}

/// `-log2(error) / ln 2`, with `-log2(error)` rounded up to whole bits a key.
fn bits_per_key(error: f64) -> f64 {
    (-error.log2()).ceil().clamp(1.0, 64.0) / std::f64::consts::LN_2
}

impl<K: Hash> Seen<K> for Bloom {
    fn is_new(&mut self, key: K) -> bool {
        let [first, step] = [0, 1].map(|at| self.hashers[at].hash_one(&key));
        let count = self.bits.len() as u64 * 64;
        let mut new = false;
        for at in 0..u64::from(self.each) {
            // Two hashes do for all bits; the step is odd, so that no bit is taken twice for the wrong reason.
            let bit = first.wrapping_add(at.wrapping_mul(step | 1)) % count;
            let (word, mask) = ((bit / 64) as usize, 1 << (bit % 64));
            new |= self.bits[word] & mask == 0;
            self.bits[word] |= mask;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_that_was_seen_is_never_new(keys in prop::collection::vec(any::<u16>(), 0..300), error in 0.0001f64..0.9) {
            let (mut bloom, mut exact) = (Bloom::new(keys.len(), error), HashSet::new());
            for key in keys {
                let new = exact.is_new(key);
                let taken_for_new = bloom.is_new(key);
                prop_assert!(new || !taken_for_new);
                prop_assert!(!bloom.is_new(key));
            }
        }
    }

    /// With this many keys the rate is off by a third only once in very many times: the mean is the stated rate at
    /// the worst, for it grows from 0 to that.
    #[test]
    fn no_more_new_keys_are_taken_for_old_ones_than_stated() {
        for (keys, error) in [(100_000, 0.01), (100_000, 0.001), (20_000, 0.1)] {
            let mut bloom = Bloom::new(keys, error);
            let wrong = (0..keys).filter(|key| !bloom.is_new(*key)).count();
            let allowed = keys as f64 * error;
            assert!((wrong as f64) < allowed, "{wrong} of {keys} keys, {allowed} are allowed");
            let more = (keys..2 * keys).filter(|key| !bloom.is_new(*key)).count();
            assert!(more > wrong, "beyond what it was made for there are more: {more}");
        }
    }

    #[test]
    fn its_size_depends_on_keys_and_error_alone() {
        // 10 bits of each key for 1 in 1000, 14.4 bits a key.
        let bloom = Bloom::new(1_000_000, 0.001);
        assert_eq!(bloom.each, 10);
        assert!((14.0..15.0).contains(&(bloom.bits.len() as f64 * 64.0 / 1e6)));
        assert_eq!(Bloom::new(0, 0.5).bits.len(), 1);
    }
}
