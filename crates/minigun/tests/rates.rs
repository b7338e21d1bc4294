//! A rate holds items back, asleep, until their time, a stop or a kill. By count: the rates here are so low that
//! nothing but the burst could pass in the life of a test.

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};

use common::{EXECUTORS, Event, Marks, everywhere, sorted, under, within};
use minigun::{Backoff, Error, Executor, Flow, Pipeline, inline, threads};

/// One item in three hours.
const SLOW: f64 = 0.0001;
const BURST: u32 = 3;
const ITEMS: u32 = 20;

/// Which items were begun.
#[derive(Clone)]
struct Begun {
    marks: Arc<Marks>,
    event: Arc<Event>,
}

impl Begun {
    fn see(&self, n: u32) -> u32 {
        self.marks.add(n);
        self.event.set();
        n
    }
}

/// All items go into `limited` together; it sees them where they are begun. Gives those that were begun when the burst was
/// and the source had ended; then a stop lets the rest go on.
fn begun_before_a_stop(limited: impl FnOnce(Flow<u32>, Begun) -> Flow<u32>) -> Vec<String> {
    let p = Pipeline::new("stop");
    let begun = Begun { marks: Marks::new(), event: Event::new() };
    let (tell_end, source_ended) = mpsc::channel();
    let items = p
        .producer("in", move |out| {
            (0..ITEMS).for_each(|n| out.emit(n));
            tell_end.send(()).ok();
        })
        // The source has a thread of its own, whose items a stop does not abandon.
        .processor("pass", |n, out| out.emit(n));
    let out = limited(items, begun.clone()).collect("out");
    let running = p.start().unwrap();
    (0..BURST).for_each(|_| begun.event.take());
    source_ended.recv().unwrap();
    let before = begun.marks.lines();
    running.stop();
    assert_eq!(sorted(running.join().unwrap().take(out)), sorted(0..ITEMS));
    before
}

#[test]
fn no_more_than_the_burst_is_begun_and_a_stop_lets_the_rest_go_on() {
    everywhere(|executor| {
        let before = begun_before_a_stop(|items, begun| {
            let place = executor.place().rate(SLOW, BURST);
            items.on(place, move |s| s.map("limited", move |n| begun.see(n)))
        });
        assert_eq!(before.len(), BURST as usize, "under {executor}");
    });
}

/// Though each of its workers has a queue of its own.
#[test]
fn a_block_by_key_keeps_one_rate_with_all_its_workers() {
    under(&EXECUTORS[..5], |executor| {
        let before = begun_before_a_stop(|items, begun| {
            let place = executor.place().rate(SLOW, BURST).by_key(|n: &u32| n % 7);
            items.on(place.retry(2, Backoff::none()), move |s| {
                s.try_map("limited", move |n| match (begun.see(n), minigun::attempt()) {
                    // The second attempt waits for its lane's next item at most, not for the rate.
                    (10.., Some(at)) if at.attempt == 1 => Err("at first".into()),
                    (n, _) => Ok(n),
                })
            })
        });
        let before: BTreeSet<_> = before.into_iter().collect();
        assert_eq!(before.len(), BURST as usize, "under {executor}");
    });
}

#[test]
fn a_kill_ends_the_wait() {
    everywhere(|executor| {
        let p = Pipeline::new("kill");
        let begun = Event::new();
        let last = Arc::clone(&begun);
        p.source("in", 0..ITEMS)
            .on(executor.place().rate(SLOW, BURST), move |s| s.consumer("limited", move |_| begun.set()));
        let running = p.start().unwrap();
        (0..BURST).for_each(|_| last.take());
        running.kill().unwrap();
        assert!(matches!(running.join(), Err(Error::Killed { .. })), "under {executor}");
    });
}

#[test]
fn at_any_rate_every_item_passes_once() {
    everywhere(|executor| {
        let p = Pipeline::new("all");
        let out = p
            .source("in", 0..200u32)
            .rate(100_000.0, 1)
            .on(executor.place().rate(50_000.0, 2).retry(2, Backoff::none()).ordered(), |s| {
                s.rate(100_000.0, 5).try_map("once", |n| match minigun::attempt() {
                    Some(at) if at.attempt == 1 && n % 9 == 0 => Err("at first".into()),
                    _ => Ok(n),
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert!(report.take(out).into_iter().eq(0..200), "under {executor}");
        assert_eq!(report.stage("rate").unwrap().figures.items_in, 200);
    });
}

/// The step and the head of a nested block wait where there is no queue to wait for them.
#[test]
fn steps_and_nested_blocks_wait_in_their_worker() {
    for nested in ["step", "inline", "threads"] {
        within(nested, move || {
            let before = begun_before_a_stop(|items, begun| {
                let see = move |n| begun.see(n);
                items.batch(ITEMS as usize).on(Executor::Processes(1), move |s| {
                    let s = s.unbatch();
                    match nested {
                        "step" => s.rate(SLOW, BURST).map("limited", see),
                        "inline" => s.on(inline().rate(SLOW, BURST), |s| s.map("limited", see)),
                        _ => s.on(threads(2).rate(SLOW, BURST), |s| s.map("limited", see)),
                    }
                })
            });
            assert_eq!(before.len(), BURST as usize);
        });
    }
}
