//! Memory is bounded: how many items are under way at most while nobody takes the results, buffer by buffer.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex};

use common::{Event, error_of, told, under, within};
use minigun::{Executor, Pipeline, threads};
use serde_bytes::ByteBuf;

/// Items that left the producer.
#[derive(Default)]
struct Made {
    count: Mutex<u64>,
    more: Condvar,
}

impl Made {
    fn add(&self) {
        *self.count.lock().unwrap() += 1;
        self.more.notify_all();
    }

    fn now(&self) -> u64 {
        *self.count.lock().unwrap()
    }

    fn until(&self, count: u64) {
        let mut now = self.count.lock().unwrap();
        while *now < count {
            now = self.more.wait(now).unwrap();
        }
    }
}

/// Something else that takes a while: a buffer that is too large would be filled meanwhile.
fn meanwhile() {
    let p = Pipeline::new("meanwhile");
    p.source("in", 0..500).processes(1, |s| s.map("same", |n| n)).discard();
    p.run().unwrap();
}

/// The receiver's limit.
const LIMIT: u64 = 5;
/// The limit of the block's queue.
const QUEUE: u64 = 7;

/// How many items leave the producer although the receiver takes none.
fn under_way(executor: Executor) -> RangeInclusive<u64> {
    let exactly = |count| count..=count;
    match executor {
        // The producer's thread runs the block: it waits with the item after those in the receiver.
        Executor::Inline => exactly(LIMIT),
        // A lone worker takes all that is in its queue: it waits with the rest of what it took, at least the
        // item whose result does not fit, at most a whole queue.
        Executor::Threads(1) => LIMIT + 1 + QUEUE..=LIMIT + QUEUE + QUEUE,
        // Each of several workers waits with one item.
        Executor::Threads(n) => exactly(LIMIT + n as u64 + QUEUE),
        // A worker process has one item to run and, of such large ones, at most one more at hand.
        Executor::Processes(n) => LIMIT + n as u64 + QUEUE..=LIMIT + 2 * n as u64 + QUEUE,
        // A process for each item, its result waiting.
        Executor::ProcessPerBatch(n) => exactly(LIMIT + n as u64 + QUEUE),
        other => panic!("{other}"),
    }
}

#[test]
fn items_under_way_are_limited_by_each_buffer_on_their_way() {
    let executors = [
        "inline",
        "threads:1",
        "threads:3",
        "processes:1",
        "processes:3",
        "process_per_batch:1",
        "process_per_batch:2",
    ];
    under(&executors, |executor| {
        let p = Pipeline::new("bounded");
        let made = Arc::new(Made::default());
        let theirs = Arc::clone(&made);
        let out = p
            .producer("in", move |out| {
                for _ in 0..80 {
                    // Each fills a frame to a worker process.
                    out.emit(ByteBuf::from(vec![0; 70_000]));
                    theirs.add();
                }
            })
            .on(executor.place().queue(QUEUE as usize), |s| s.map("same", |item| item))
            .receiver("out", LIMIT as usize);
        let running = p.start().unwrap();
        let expected = under_way(executor);
        made.until(*expected.start());
        meanwhile();
        assert!(expected.contains(&made.now()), "{} under {executor}, expected {expected:?}", made.now());
        let mut received = 0;
        for _ in out {
            received += 1;
            // The receiver has up to its limit in its hands.
            let most = received + LIMIT + expected.end();
            assert!(made.now() <= most, "{} made, {received} received under {executor}", made.now());
        }
        assert_eq!(received, 80);
        running.join().unwrap();
    });
}

#[test]
fn a_stage_on_its_own_thread_holds_what_it_took_and_a_full_queue() {
    const QUEUE_ITEMS: usize = minigun::defaults::queue_items::<u64>();
    within("own thread", || {
        let p = Pipeline::new("own thread");
        let (made, first, go) = (Arc::new(Made::default()), Event::new(), Event::new());
        let (theirs, begun) = (Arc::clone(&made), Arc::clone(&first));
        let (seen, wait) = (Arc::clone(&first), Arc::clone(&go));
        let at_end = Arc::clone(&made);
        p.producer("in", move |out| {
            out.emit(0u64);
            theirs.add();
            // The consumer takes the first item alone.
            begun.wait();
            for n in 1..100_000 {
                out.emit(n);
                theirs.add();
            }
        })
        .consumer("slow", move |n| {
            if n == 0 {
                seen.set();
                wait.wait();
            }
            // Those in the consumer's hands and those in the queue.
            let under_way = at_end.now().saturating_sub(n);
            assert!(under_way <= 2 * QUEUE_ITEMS as u64, "{under_way} under way at item {n}");
        });
        let running = p.start().unwrap();
        made.until(1 + QUEUE_ITEMS as u64);
        meanwhile();
        assert_eq!(made.now(), 1 + QUEUE_ITEMS as u64);
        go.set();
        running.join().unwrap();
    });
}

#[test]
fn items_that_wait_for_another_attempt_count_against_the_queues_limit() {
    use minigun::Backoff;
    use std::time::Duration;
    under(&["threads:2", "processes:2", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("backoff");
        let made = Arc::new(Made::default());
        let theirs = Arc::clone(&made);
        let hour = Duration::from_secs(3600);
        p.producer("in", move |out| {
            for _ in 0..200 {
                if out.try_emit(ByteBuf::from(vec![0; 70_000])).is_ok() {
                    theirs.add();
                }
            }
        })
        .on(executor.place().queue(QUEUE as usize).retry(2, Backoff::exponential(hour, hour)), |s| {
            s.try_map("refuse", |_| Err::<(), _>("in an hour".into()))
        })
        .discard();
        let running = p.start().unwrap();
        let (least, most) = match executor {
            // Those that wait are in the queue; each worker may have had one in hand when it became full.
            Executor::Threads(n) => (QUEUE, QUEUE + n as u64),
            // Those that wait are beside the queue, and nothing is taken from it while they are as many as it
            // may hold; until then each worker has up to two.
            Executor::Processes(n) | Executor::ProcessPerBatch(n) => {
                (2 * QUEUE, 2 * QUEUE - 1 + 2 * n as u64)
            }
            other => panic!("{other}"),
        };
        made.until(least);
        meanwhile();
        assert!((least..=most).contains(&made.now()), "{} under {executor}, at most {most}", made.now());
        drop(running);
    });
}

#[test]
fn a_channel_holds_no_more_than_its_limit() {
    within("channel", || {
        let p = Pipeline::new("channel");
        let (send, flow) = p.channel("in", 3);
        let made = Arc::new(Made::default());
        let theirs = Arc::clone(&made);
        let sender = std::thread::spawn(move || {
            for n in 0..10 {
                send.send(n).unwrap();
                theirs.add();
            }
        });
        let out = flow.collect("out");
        made.until(3);
        meanwhile();
        assert_eq!(made.now(), 3, "the fourth waits for the start");
        assert_eq!(p.run().unwrap().take(out), (0..10).collect::<Vec<_>>());
        sender.join().unwrap();
    });
}

#[test]
fn outputs_of_one_item_are_held_back_up_to_a_limit_that_names_the_way_out() {
    let many = |_: u8| vec![0u8; minigun::defaults::HELD_ITEMS + 1];
    within("inline", move || {
        let p = Pipeline::new("inline");
        p.source("in", [0u8]).inline(|s| s.flat_map("many", many)).consumer("out", drop);
        check(p);
    });
    within("threads", move || {
        let p = Pipeline::new("threads");
        p.source("in", [0u8]).threads(2, |s| s.flat_map("many", many)).consumer("out", drop);
        check(p);
    });
    within("nested", move || {
        let p = Pipeline::new("nested");
        p.source("in", [0u8])
            .on(threads(1), |s| s.threads(1, |s| s.flat_map("many", many)).filter("none", |_| false))
            .consumer("out", drop);
        check(p);
    });
}

fn check(p: Pipeline) {
    let (_, item, _, cause, _) = told(error_of(p));
    assert_eq!(item, 0);
    assert!(cause.contains("held back until it succeeds") && cause.contains("smaller batches"), "{cause}");
}
