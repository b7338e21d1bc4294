//! How items are gathered into batches: the limits of a batch, and the pure batcher that keeps to them.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Weigh<T> = Arc<dyn Fn(&T) -> usize + Send + Sync>;
type Key<T, K> = Arc<dyn Fn(&T) -> K + Send + Sync>;

/// When a batch is full: by its number of items, and, where asked for, by its age, its weight, or apart for every
/// key. For [`Flow::batch_by`](crate::Flow::batch_by).
///
/// ```
/// use std::time::Duration;
/// use minigun::{Batches, Pipeline};
///
/// let p = Pipeline::new("mails");
/// let batches = p
///     .source("mails", ["to ann", "to bob", "to ann again"].map(String::from))
///     .batch_by(Batches::of(1000).within(Duration::from_millis(50)).weighing(1 << 20, |mail: &String| mail.len()))
///     .collect("batches");
/// assert_eq!(p.run()?.take(batches).concat().len(), 3);
/// # Ok::<(), minigun::Error>(())
/// ```
#[must_use = "it does nothing until it is given to `Flow::batch_by`"]
pub struct Batches<T, K = ()> {
    limits: Limits<T>,
    keyed: Option<(usize, Key<T, K>)>,
}

/// When one batch is full.
struct Limits<T> {
    size: usize,
    within: Option<Duration>,
    weight: Option<(usize, Weigh<T>)>,
}

impl<T> Clone for Limits<T> {
    fn clone(&self) -> Self {
        Limits { size: self.size, within: self.within, weight: self.weight.clone() }
    }
}

impl<T, K> Clone for Batches<T, K> {
    fn clone(&self) -> Self {
        Batches { limits: self.limits.clone(), keyed: self.keyed.clone() }
    }
}

impl<T> Batches<T> {
    /// Batches of `size` items, at least 1.
    pub fn of(size: usize) -> Self {
        Batches { limits: Limits { size, within: None, weight: None }, keyed: None }
    }
}

impl<T, K> Batches<T, K> {
    /// A batch also goes on when its first item has waited for `age`, however few there are. It is a real timer:
    /// nothing need arrive for that.
    pub fn within(mut self, age: Duration) -> Self {
        self.limits.within = Some(age);
        self
    }

    /// A batch also goes on before its items would weigh more than `most` together: bytes, rows, whatever
    /// `weigh` says. No batch weighs more, but for a single item that does so alone: it is a batch by itself.
    pub fn weighing(mut self, most: usize, weigh: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        self.limits.weight = Some((most, Arc::new(weigh)));
        self
    }

    /// A batch for every key, so that all items of one batch have the same. At most `open` batches (at least 1)
    /// are open at once: the one that was begun first goes on before a further one is begun.
    pub fn by_key<L>(self, open: usize, key: impl Fn(&T) -> L + Send + Sync + 'static) -> Batches<T, L> {
        Batches { limits: self.limits, keyed: Some((open.max(1), Arc::new(key))) }
    }

    pub(crate) fn size(&self) -> usize {
        self.limits.size
    }
}

/// A batch under way.
struct Open<T> {
    items: Vec<T>,
    weight: usize,
    due: Option<Instant>,
}

impl<T> Limits<T> {
    fn weigh(&self, item: &T) -> usize {
        self.weight.as_ref().map_or(0, |(_, weigh)| weigh(item))
    }

    fn begin(&self, now: Option<Instant>) -> Open<T> {
        let due = self.within.zip(now).and_then(|(within, now)| now.checked_add(within));
        // Room for the whole batch, but not for a limit meant as "all there is".
        Open { items: Vec::with_capacity(self.size.min(4096)), weight: 0, due }
    }

    /// Whether a batch cannot take an item of this weight any more.
    fn is_too_heavy(&self, open: &Open<T>, weight: usize) -> bool {
        self.weight.as_ref().is_some_and(|(most, _)| open.weight.saturating_add(weight) > *most)
    }

    fn is_full(&self, open: &Open<T>) -> bool {
        open.items.len() >= self.size || self.weight.as_ref().is_some_and(|(most, _)| open.weight >= *most)
    }
}

impl<T> Open<T> {
    fn add(&mut self, item: T, weight: usize) {
        self.items.push(item);
        self.weight = self.weight.saturating_add(weight);
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

/// Gathers items into batches. It is told the time, and gives every finished batch to `full`.
pub(crate) struct Batcher<T, K = ()> {
    limits: Limits<T>,
    open: Opened<T, K>,
}

enum Opened<T, K> {
    One(Option<Open<T>>),
    Keyed {
        key: Key<T, K>,
        most: usize,
        open: HashMap<K, (u64, Open<T>)>,
        /// The keys in the order in which their batches were begun.
        order: BTreeMap<u64, K>,
        begun: u64,
    },
}

impl<T> Batcher<T> {
    /// Batches of `size` items, at least 1.
    pub(crate) fn of(size: usize) -> Self {
        let limits = Limits { size, within: None, weight: None };
        Batcher { limits, open: Opened::One(None) }
    }
}

impl<T, K: Hash + Eq + Clone> Batcher<T, K> {
    pub(crate) fn new(batches: Batches<T, K>) -> Self {
        let open = match batches.keyed {
            None => Opened::One(None),
            Some((most, key)) => {
                Opened::Keyed { key, most, open: HashMap::new(), order: BTreeMap::new(), begun: 0 }
            }
        };
        Batcher { limits: batches.limits, open }
    }

    /// Whether it must be told the time.
    pub(crate) fn is_timed(&self) -> bool {
        self.limits.within.is_some()
    }

    /// Adds an item; `now` is needed where batches have an age.
    pub(crate) fn push(&mut self, item: T, now: Option<Instant>, mut full: impl FnMut(Vec<T>)) {
        let limits = &self.limits;
        let weight = limits.weigh(&item);
        match &mut self.open {
            Opened::One(slot) => {
                if let Some(open) = slot.take_if(|open| limits.is_too_heavy(open, weight)) {
                    full(open.items);
                }
                slot.get_or_insert_with(|| limits.begin(now)).add(item, weight);
                if let Some(open) = slot.take_if(|open| limits.is_full(open)) {
                    full(open.items);
                }
            }
            Opened::Keyed { key, most, open, order, begun } => {
                let key = key(&item);
                if open.get(&key).is_some_and(|(_, open)| limits.is_too_heavy(open, weight))
                    && let Some((number, closed)) = open.remove(&key)
                {
                    order.remove(&number);
                    full(closed.items);
                }
                if !open.contains_key(&key) {
                    if open.len() >= *most
                        && let Some((_, oldest)) = order.pop_first()
                        && let Some((_, closed)) = open.remove(&oldest)
                    {
                        full(closed.items);
                    }
                    order.insert(*begun, key.clone());
                    open.insert(key.clone(), (*begun, limits.begin(now)));
                    *begun += 1;
                }
                if let Some((_, batch)) = open.get_mut(&key) {
                    batch.add(item, weight);
                }
                if open.get(&key).is_some_and(|(_, batch)| limits.is_full(batch))
                    && let Some((number, closed)) = open.remove(&key)
                {
                    order.remove(&number);
                    full(closed.items);
                }
            }
        }
        if let Some(now) = now {
            self.ripen(now, full);
        }
    }

    /// When the next batch is to go on because of its age.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.open {
            Opened::One(open) => open.as_ref()?.due,
            // All have the same time to live: the one begun first is due first.
            Opened::Keyed { open, order, .. } => open.get(order.first_key_value()?.1)?.1.due,
        }
    }

    /// Gives the batches that are old enough.
    pub(crate) fn ripen(&mut self, now: Instant, mut full: impl FnMut(Vec<T>)) {
        match &mut self.open {
            Opened::One(slot) => {
                if let Some(open) = slot.take_if(|open| open.is_due(now)) {
                    full(open.items);
                }
            }
            Opened::Keyed { open, order, .. } => {
                while let Some(first) = order.first_entry()
                    && open.get(first.get()).is_some_and(|(_, open)| open.is_due(now))
                {
                    if let Some((_, closed)) = open.remove(&first.remove()) {
                        full(closed.items);
                    }
                }
            }
        }
    }

    /// The remainders, in the order in which they were begun.
    pub(crate) fn rest(&mut self, mut full: impl FnMut(Vec<T>)) {
        match &mut self.open {
            Opened::One(slot) => {
                if let Some(open) = slot.take() {
                    full(open.items);
                }
            }
            Opened::Keyed { open, order, .. } => {
                for key in std::mem::take(order).into_values() {
                    if let Some((_, closed)) = open.remove(&key) {
                        full(closed.items);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An item: its number, its key, its weight.
    type Item = (usize, u8, usize);

    fn items() -> impl Strategy<Value = Vec<Item>> {
        prop::collection::vec((0u8..6, 0usize..20), 0..300).prop_map(|items| {
            items.into_iter().enumerate().map(|(n, (key, weight))| (n, key, weight)).collect()
        })
    }

    fn all<K: Hash + Eq + Clone>(mut batcher: Batcher<Item, K>, items: &[Item]) -> Vec<Vec<Item>> {
        let mut batches = Vec::new();
        items.iter().for_each(|item| batcher.push(*item, None, |batch| batches.push(batch)));
        batcher.rest(|batch| batches.push(batch));
        batcher.rest(|_| panic!("there is no second rest"));
        batches
    }

    proptest! {
        #[test]
        fn batches_are_full_but_the_last_and_hold_every_item_in_order(size in 1usize..50, items in items()) {
            let batches = all(Batcher::of(size), &items);
            let (last, full) = batches.split_last().map_or((0, &[][..]), |(last, full)| (last.len(), full));
            prop_assert!(full.iter().all(|batch| batch.len() == size));
            prop_assert!(batches.is_empty() || (1..=size).contains(&last));
            prop_assert_eq!(batches.concat(), items);
        }

        #[test]
        fn no_batch_weighs_more_than_its_ceiling_but_a_single_item_that_does(
            size in 1usize..50, most in 1usize..40, items in items(),
        ) {
            let batches = all(Batcher::new(Batches::of(size).weighing(most, |item: &Item| item.2)), &items);
            let weight = |batch: &[Item]| batch.iter().map(|item| item.2).sum::<usize>();
            prop_assert!(batches.iter().all(|batch| weight(batch) <= most || batch.len() == 1));
            // None goes on too early: the first item of the next one would not have fitted.
            for pair in batches.windows(2) {
                let full = pair[0].len() == size || weight(&pair[0]) >= most;
                prop_assert!(full || weight(&pair[0]) + pair[1][0].2 > most);
            }
            prop_assert_eq!(batches.concat(), items);
        }

        #[test]
        fn a_batch_has_one_key_and_no_more_are_open_than_allowed(
            size in 1usize..10, open in 1usize..5, items in items(),
        ) {
            let mut batcher = Batcher::new(Batches::of(size).by_key(open, |item: &Item| item.1));
            let (mut batches, mut inside) = (Vec::new(), 0);
            for item in &items {
                inside += 1;
                batcher.push(*item, None, |batch| {
                    inside -= batch.len();
                    batches.push(batch);
                });
                let Opened::Keyed { open: opened, order, .. } = &batcher.open else { unreachable!() };
                prop_assert!(opened.len() <= open && opened.len() == order.len());
                prop_assert_eq!(inside, opened.values().map(|(_, open)| open.items.len()).sum::<usize>());
            }
            batcher.rest(|batch| batches.push(batch));
            prop_assert!(batches.iter().all(|batch| (1..=size).contains(&batch.len())));
            prop_assert!(batches.iter().all(|batch| batch.iter().all(|item| item.1 == batch[0].1)));
            // Within a key the order is kept.
            for key in 0..6 {
                let of_key = |items: &[Item]| items.iter().copied().filter(|item| item.1 == key).collect::<Vec<_>>();
                prop_assert_eq!(of_key(&batches.concat()), of_key(&items));
            }
        }

        #[test]
        fn no_batch_grows_older_than_it_may(
            waits in prop::collection::vec(0u64..15, 0..100), age in 1u64..40, keyed: bool,
        ) {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let batches = Batches::of(1000).within(Duration::from_millis(age));
            // An item is the time of its arrival.
            let key = move |ms: &u64| if keyed { ms % 3 } else { 0 };
            let mut batcher = Batcher::new(batches.by_key(2, key));
            let (mut now, mut told) = (0, 0);
            for wait in &waits {
                // The thread that waits is woken when the batcher says so.
                while let Some(due) = batcher.due().filter(|due| *due <= at(now + wait)) {
                    batcher.ripen(due, |batch| {
                        assert_eq!(at(batch[0] + age), due, "not earlier and not later");
                        told += batch.len();
                    });
                }
                now += wait;
                batcher.push(now, Some(at(now)), |batch| told += batch.len());
                prop_assert!(batcher.due().is_some_and(|due| due > at(now)));
            }
            batcher.rest(|batch| told += batch.len());
            prop_assert_eq!(told, waits.len());
            prop_assert_eq!(batcher.due(), None);
        }
    }

    #[test]
    fn the_batch_begun_first_makes_room_for_a_new_key() {
        let mut batcher = Batcher::new(Batches::of(9).by_key(2, |item: &Item| item.1));
        let mut batches = Vec::new();
        for (n, key) in [1, 2, 2, 1, 3].into_iter().enumerate() {
            batcher.push((n, key, 0), None, |batch| batches.push(batch));
        }
        assert_eq!(batches, [[(0, 1, 0), (3, 1, 0)]]);
    }

    #[test]
    fn a_batch_that_is_old_goes_on_with_the_item_that_finds_it_so() {
        let start = Instant::now();
        let mut batcher = Batcher::new(Batches::of(9).within(Duration::from_secs(1)));
        let mut batches = Vec::new();
        batcher.push('a', Some(start), |batch| batches.push(batch));
        batcher.push('b', Some(start + Duration::from_secs(2)), |batch| batches.push(batch));
        assert_eq!(batches, [['a', 'b']]);
    }
}
