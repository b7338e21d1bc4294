//! A rate holds items back, asleep, until their time, a stop or a kill. By count: the rates here are so low that
//! nothing but the burst could pass in the life of a test.

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};

use common::{EXECUTORS, Event, Marks, everywhere, sorted, under, within};
use minigun::{Backoff, Error, Executor, Pipeline, inline, threads};

/// One item in three hours.
const SLOW: f64 = 0.0001;
const BURST: u32 = 3;
const ITEMS: u32 = 20;

#[test]
fn no_more_than_the_burst_is_begun_and_a_stop_lets_the_rest_go_on() {
    everywhere(|executor| {
        let p = Pipeline::new("stop");
        let (marks, begun) = (Marks::new(), Event::new());
        let (seen, last) = (Arc::clone(&marks), Arc::clone(&begun));
        let (tell_end, source_ended) = mpsc::channel();
        let out = p
            .producer("in", move |out| {
                (0..ITEMS).for_each(|n| out.emit(n));
                tell_end.send(()).ok();
            })
            // The source has a thread of its own, whose items a stop does not abandon.
            .processor("pass", |n, out| out.emit(n))
            .on(executor.place().rate(SLOW, BURST), move |s| {
                s.map("limited", move |n| {
                    marks.add(n);
                    begun.set();
                    n
                })
            })
            .collect("out");
        let running = p.start().unwrap();
        (0..BURST).for_each(|_| last.take());
        source_ended.recv().unwrap();
        assert_eq!(seen.lines().len(), BURST as usize, "under {executor}");
        running.stop();
        assert_eq!(sorted(running.join().unwrap().take(out)), sorted(0..ITEMS), "under {executor}");
    });
}

/// Though each of its workers has a queue of its own.
#[test]
fn a_block_by_key_keeps_one_rate_with_all_its_workers() {
    under(&EXECUTORS[..5], |executor| {
        let p = Pipeline::new("keyed");
        let (marks, begun) = (Marks::new(), Event::new());
        let (seen, last) = (Arc::clone(&marks), Arc::clone(&begun));
        let (tell_end, source_ended) = mpsc::channel();
        let out = p
            .producer("in", move |out| {
                (0..ITEMS).for_each(|n| out.emit(n));
                tell_end.send(()).ok();
            })
            .processor("pass", |n, out| out.emit(n))
            .on(
                executor.place().rate(SLOW, BURST).by_key(|n: &u32| n % 7).retry(2, Backoff::none()),
                move |s| {
                    s.try_map("limited", move |n| {
                        marks.add(n);
                        begun.set();
                        match minigun::attempt() {
                            // The second attempt waits for its lane's next item at most, not for the rate.
                            Some(at) if at.attempt == 1 && n >= 10 => Err("at first".into()),
                            _ => Ok(n),
                        }
                    })
                },
            )
            .collect("out");
        let running = p.start().unwrap();
        (0..BURST).for_each(|_| last.take());
        source_ended.recv().unwrap();
        let begun: BTreeSet<_> = seen.lines().into_iter().collect();
        assert_eq!(begun.len(), BURST as usize, "under {executor}");
        running.stop();
        assert_eq!(sorted(running.join().unwrap().take(out)), sorted(0..ITEMS), "under {executor}");
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
            let p = Pipeline::new("nested");
            let (marks, begun) = (Marks::new(), Event::new());
            let (seen, last) = (Arc::clone(&marks), Arc::clone(&begun));
            let see = move |n: u32| {
                marks.add(n);
                begun.set();
                n
            };
            let out = p
                .source("in", [(0..ITEMS).collect::<Vec<_>>()])
                .on(Executor::Processes(1), move |s| {
                    let s = s.unbatch();
                    match nested {
                        "step" => s.rate(SLOW, BURST).map("limited", see),
                        "inline" => s.on(inline().rate(SLOW, BURST), |s| s.map("limited", see)),
                        _ => s.on(threads(2).rate(SLOW, BURST), |s| s.map("limited", see)),
                    }
                })
                .collect("out");
            let running = p.start().unwrap();
            (0..BURST).for_each(|_| last.take());
            assert_eq!(seen.lines().len(), BURST as usize);
            running.stop();
            assert_eq!(sorted(running.join().unwrap().take(out)), sorted(0..ITEMS));
        });
    }
}
