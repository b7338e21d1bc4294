//! The ring against a model: what is published arrives once and in order, what is taken back is dropped, and nothing is
//! left undropped.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use minigun_os::{LightFence, RingWriter, heavy_fence, ring};

/// Numbers that depend on the seed alone.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Counts how many of its kind are alive.
struct Alive(u64, Arc<AtomicI64>);

impl Alive {
    fn new(n: u64, count: &Arc<AtomicI64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Alive(n, Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn it_does_what_two_queues_do() {
    for seed in 0..300 {
        let mut chance = Chance(seed);
        let alive = Arc::new(AtomicI64::new(0));
        let capacity = 1 + chance.below(9) as usize;
        let (writer, mut reader) = ring(capacity);
        let room = capacity.next_power_of_two();
        // Behind each other: what the reader sees, and what was written and not published.
        let (mut seen, mut written) = (VecDeque::new(), VecDeque::new());
        let mut granted = 0;
        for n in 0..400 {
            match chance.below(6) {
                0 | 1 => {
                    let taken = writer.write(Alive::new(n, &alive)).is_ok();
                    assert_eq!(taken, granted > 0, "seed {seed}");
                    if taken {
                        written.push_back(n);
                        granted -= 1;
                    }
                }
                5 => {
                    let most = chance.below(6) as usize;
                    granted = most.min(room - seen.len() - written.len());
                    assert_eq!(writer.grant(most), granted, "seed {seed}");
                }
                2 => {
                    writer.publish();
                    seen.append(&mut written);
                }
                3 => {
                    let keep = chance.below(4) as usize;
                    writer.take_back(keep);
                    // Into the room of what was taken back others may be written.
                    granted += written.len().saturating_sub(keep);
                    written.truncate(keep);
                }
                _ => {
                    let (most, mut got) = (chance.below(5) as usize, Vec::new());
                    let count = reader.take(&mut got, most);
                    let expected: Vec<_> = seen.drain(..most.min(seen.len())).collect();
                    assert_eq!(got.iter().map(|item| item.0).collect::<Vec<_>>(), expected, "seed {seed}");
                    assert_eq!(count, expected.len());
                }
            }
            assert_eq!((reader.len(), writer.unpublished()), (seen.len(), written.len()), "seed {seed}");
            assert_eq!(writer.room(), room - seen.len() - written.len());
            assert_eq!(alive.load(Ordering::Relaxed), (seen.len() + written.len()) as i64, "seed {seed}");
        }
        // In either order nothing is left.
        if seed % 2 == 0 {
            drop(writer);
            assert!(reader.is_abandoned());
            assert_eq!(alive.load(Ordering::Relaxed), seen.len() as i64, "what was not published is gone");
            drop(reader);
        } else {
            drop(reader);
            drop(writer);
        }
        assert_eq!(alive.load(Ordering::Relaxed), 0, "seed {seed}");
    }
}

#[test]
fn what_is_fed_is_seen_before_the_next_is_asked_for() {
    let alive = Arc::new(AtomicI64::new(0));
    let (writer, mut reader) = ring(8);
    assert_eq!(writer.grant(6), 6);
    let mut asked = 0;
    let mut items = (0..).map(|n| {
        asked += 1;
        assert_eq!(reader.len() as u64, n, "the ones before are there");
        Alive::new(n, &alive)
    });
    writer.feed(&mut items.by_ref().take(2), || true);
    let mut more = 3;
    writer.feed(&mut items, || {
        more -= 1;
        more > 0
    });
    writer.feed(&mut items, || true);
    writer.feed(&mut items, || true);
    drop(items);
    assert_eq!((asked, writer.written(), writer.unpublished()), (6, 6, 0), "as far as was granted");
    let mut got = Vec::new();
    reader.take(&mut got, 10);
    assert!(got.drain(..).map(|item| item.0).eq(0..6));
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn who_writes_while_feeding_is_told_so_and_nothing_is_lost_twice() {
    let alive = Arc::new(AtomicI64::new(0));
    let (writer, reader) = ring(8);
    writer.grant(8);
    let mut items = (0..3).map(|n| {
        assert!(n < 1 || writer.write(Alive::new(9, &alive)).is_ok());
        Alive::new(n, &alive)
    });
    let fed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.feed(&mut items, || true)));
    assert!(fed.is_err());
    assert_eq!((reader.len(), writer.unpublished(), alive.load(Ordering::Relaxed)), (1, 1, 2));
    drop((writer, reader));
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// Writes another one into the ring when it is dropped.
struct Last(Option<Rc<RingWriter<Last>>>, Alive);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            let alive = Alive::new(self.1.0 + 1, &self.1.1);
            assert!(writer.write(Last(None, alive)).is_ok());
            writer.publish();
        }
    }
}

#[test]
fn what_is_taken_back_may_write_while_it_is_dropped() {
    let alive = Arc::new(AtomicI64::new(0));
    let (writer, mut reader) = ring(4);
    let writer = Rc::new(writer);
    writer.grant(4);
    assert!(writer.write(Last(Some(Rc::clone(&writer)), Alive::new(1, &alive))).is_ok());
    writer.take_back(0);
    let mut got = Vec::new();
    assert_eq!((reader.take(&mut got, 4), got[0].1.0), (1, 2));
    drop((got, writer, reader));
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn from_thread_to_thread_everything_arrives_once_and_in_order() {
    const ITEMS: u64 = 200_000;
    for capacity in [1, 2, 64] {
        let (writer, mut reader) = ring(capacity);
        let sender = thread::spawn(move || {
            for n in 0..ITEMS {
                let mut item = Box::new(n);
                while let Err(back) = writer.write(item) {
                    item = back;
                    writer.publish();
                    if writer.grant(usize::MAX) == 0 {
                        thread::yield_now();
                    }
                }
                // Now and then more than one is published at once.
                if n % 3 != 0 {
                    writer.publish();
                }
            }
            writer.publish();
        });
        let mut all = Vec::new();
        while (all.len() as u64) < ITEMS {
            if reader.take(&mut all, 50) == 0 {
                thread::yield_now();
            }
        }
        sender.join().unwrap();
        assert!(all.into_iter().map(|item| *item).eq(0..ITEMS), "with {capacity} slots");
    }
}

/// Each side writes one thing and then reads the other's: with the fences at least one sees what the other did.
#[test]
fn with_a_light_fence_and_a_heavy_one_nobody_misses_both() {
    const ROUNDS: usize = 2_000;
    let light = LightFence::new();
    let cells: Arc<[[AtomicI64; 4]]> = (0..ROUNDS).map(|_| [const { AtomicI64::new(0) }; 4]).collect();
    let (theirs, start) = (Arc::clone(&cells), Arc::new(Barrier::new(2)));
    let ready = Arc::clone(&start);
    let other = thread::spawn(move || {
        ready.wait();
        for [mine, yours, seen, _] in theirs.iter() {
            mine.store(1, Ordering::Relaxed);
            light.fence();
            seen.store(yours.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    });
    start.wait();
    for [yours, mine, _, seen] in cells.iter() {
        mine.store(1, Ordering::Relaxed);
        heavy_fence();
        seen.store(yours.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    other.join().unwrap();
    for [_, _, one, other] in cells.iter() {
        assert!(one.load(Ordering::Relaxed) + other.load(Ordering::Relaxed) > 0, "both missed the other");
    }
}
