//! Keys: which items belong together.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Tells the hash of an item's key.
pub(crate) type KeyOf<T> = Arc<dyn Fn(&T) -> u64 + Send + Sync>;

/// The same in all processes of a run, and in every run of one program: it is seeded with nothing.
pub(crate) fn key_hash<K: Hash>(key: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
