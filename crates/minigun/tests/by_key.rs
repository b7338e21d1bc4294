//! `by_key`: items of one key all go to the same worker of a pool, and everything else is as without it.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Event, sorted, under, within, worker};
use minigun::{Backoff, Dead, Executor, Pipeline, StopCause, processes, threads};

/// Every executor whose workers serve many items.
const POOLS: [&str; 5] = ["inline", "threads:1", "threads:4", "processes:1", "processes:3"];

fn workers(executor: Executor) -> usize {
    match executor {
        Executor::Threads(n) | Executor::Processes(n) => n,
        _ => 1,
    }
}

#[test]
fn items_of_one_key_see_one_worker_and_every_worker_has_keys() {
    under(&POOLS, |executor| {
        let p = Pipeline::new("keys");
        let out = p
            .source("in", 0..2000u32)
            // Several senders.
            .threads(3, |s| s.map("before", |n| n))
            .on(executor.place().by_key(|n: &u32| n % 50), |s| s.map("who", |n| (n, worker())))
            .collect("out");
        let mut report = p.run().unwrap();
        let out = report.take(out);
        assert_eq!(sorted(out.iter().map(|(n, _)| *n)), sorted(0..2000));
        let mut of_key = BTreeMap::<u32, BTreeSet<&String>>::new();
        for (n, who) in &out {
            of_key.entry(n % 50).or_default().insert(who);
        }
        assert!(of_key.values().all(|who| who.len() == 1), "{of_key:?}");
        let all: BTreeSet<_> = of_key.into_values().flatten().collect();
        assert_eq!(all.len(), workers(executor), "50 keys");
        assert_eq!(report.stage("who").unwrap().figures.items_in, 2000);
    });
}

#[test]
fn items_of_one_key_come_in_the_order_in_which_they_were_sent() {
    under(&POOLS, |executor| {
        let p = Pipeline::new("order");
        let out = p
            .source("in", 0..3000u32)
            .on(executor.place().queue(16).by_key(|n: &u32| n % 7), |s| s.map("pass", |n| n))
            .collect("out");
        let mut last = BTreeMap::new();
        for n in p.run().unwrap().take(out) {
            let before = last.insert(n % 7, n);
            assert!(before.is_none_or(|before| before < n), "{n} after {before:?}");
        }
    });
}

#[test]
fn policies_count_the_same_and_item_numbers_are_not_given_twice() {
    under(&POOLS, |executor| {
        let p = Pipeline::new("policies");
        let (dead, letters) = p.inlet::<Dead<u32>>("dead");
        let tried = p.collector("tried");
        let head = executor.place().retry(3, Backoff::none()).by_key(|n: &u32| n % 10).dead_letter(&dead);
        let out = p
            .source("in", 0..300u32)
            .on(head, |s| {
                s.try_map("work", move |n| {
                    tried.push((n, minigun::attempt().map(|at| at.item)));
                    if n % 30 == 0 { Err("always".into()) } else { Ok(n) }
                })
            })
            .collect("out");
        let letters = letters.collect("letters");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..300).filter(|n| n % 30 != 0)));
        let letters = report.take(letters);
        assert_eq!(sorted(letters.iter().map(|letter| letter.item)), sorted((0..300).step_by(30)));
        assert!(letters.iter().all(|letter| letter.attempts == 3));
        let numbers: BTreeSet<_> = letters.iter().map(|letter| letter.number).collect();
        assert_eq!(numbers.len(), letters.len(), "{numbers:?}");
        let items: BTreeSet<_> = report.take(tried).into_iter().map(|(_, item)| item.unwrap()).collect();
        assert_eq!(items.len(), 290, "every item its own number");
        let figures = report.stage("work").unwrap().figures;
        assert_eq!((figures.items_in, figures.dead, figures.retried), (290, 10, 20));
    });
}

/// One worker is held up until all other keys are through; its queue is full long before.
#[test]
fn a_slow_worker_holds_up_its_own_keys_only_and_loses_nothing() {
    under(&["threads:4", "processes:3"], |executor| {
        let p = Pipeline::new("slow");
        let (go, done) = (Event::new(), AtomicU64::new(0));
        let (wait, items) = (Arc::clone(&go), 400u64);
        // Which keys share a worker is found out first: their worker is the held-up one's.
        let keys = 40;
        let out = p
            .source("in", (0..keys).chain(keys..items))
            .on(executor.place().queue(10_000).by_key(move |n: &u64| n % keys), move |s| {
                s.map("work", move |n| {
                    if n == 0 {
                        wait.wait();
                    }
                    n
                })
            })
            .inspect("see", move |n| {
                // The keys that wait behind key 0 are at most half of all; so these must come.
                if *n != 0 && done.fetch_add(1, Ordering::Relaxed) == 100 {
                    go.set();
                }
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(0..items));
    });
}

#[test]
fn a_full_lane_makes_senders_wait_and_loses_nothing() {
    under(&POOLS, |executor| {
        let p = Pipeline::new("full");
        let out = p
            .source("in", 0..500u32)
            // All to one worker; the others have nothing to do and end normally.
            .on(executor.place().queue(2).by_key(|_: &u32| "the same"), |s| s.map("work", |n| (n, worker())))
            .collect("out");
        let out = p.run().unwrap().take(out);
        assert_eq!(out.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
        assert_eq!(out.into_iter().map(|(_, who)| who).collect::<BTreeSet<_>>().len(), 1);
    });
}

#[test]
fn the_order_in_which_a_head_is_written_does_not_matter() {
    within("heads", || {
        let p = Pipeline::new("heads");
        let key = |n: &u32| n % 3;
        let a = p
            .source("a", 0..9u32)
            .on(threads(2).by_key(key).retry(2, Backoff::none()).skip(), |s| s.map("x", |n| n));
        let b = p
            .source("b", 0..9u32)
            .on(processes(2).by_key(key).max_restarts(5).queue(3), |s| s.map("y", |n| n));
        let out = a.merge(b).collect("out");
        assert_eq!(p.run().unwrap().take(out).len(), 18);
    });
}

#[test]
fn a_pipeline_limit_leaves_fewer_workers_and_every_key_still_has_one() {
    under(&["threads:8", "processes:8"], |executor| {
        let p = Pipeline::new("held");
        p.max_threads(2).max_processes(2);
        let out = p
            .source("in", 0..200u32)
            .on(executor.place().by_key(|n: &u32| n % 20), |s| s.map("who", |n| (n % 20, worker())))
            .collect("out");
        let seen: BTreeSet<_> = p.run().unwrap().take(out).into_iter().collect();
        assert_eq!(seen.len(), 20, "one worker a key");
        assert_eq!(seen.into_iter().map(|(_, who)| who).collect::<BTreeSet<_>>().len(), 2);
    });
}

#[test]
fn keyed_blocks_in_a_loop_and_behind_a_split_end() {
    under(&POOLS, |executor| {
        let p = Pipeline::new("loop");
        let out = p
            .source("in", 0..30u32)
            .feedback("loop", |flow, again| {
                flow.on(executor.place().queue(1).by_key(|n: &u32| n % 5), |s| {
                    s.processor_to("work", &again, |n, out, again| {
                        if n >= 5 {
                            again.emit(n - 5);
                        }
                        out.emit((n, worker()));
                    })
                })
            })
            .collect("out");
        let out = p.run().unwrap().take(out);
        let expected = (0..30).flat_map(|n| (0..=n / 5).map(move |k| n - 5 * k));
        assert_eq!(sorted(out.iter().map(|(n, _)| *n)), sorted(expected));
        let seen: BTreeSet<_> = out.into_iter().map(|(n, who)| (n % 5, who)).collect();
        assert_eq!(seen.len(), 5);
    });
}

#[test]
fn a_stop_finishes_what_waits_in_every_lane() {
    under(&POOLS, |executor| {
        let p = Pipeline::new("stop");
        let some = Event::new();
        let tell = Arc::clone(&some);
        let count = p
            .source("in", 0..u64::MAX)
            .on(executor.place().by_key(|n: &u64| n % 11).retry(2, Backoff::default()), |s| {
                s.map("work", |n| n)
            })
            .inspect("see", move |n| {
                if *n == 500 {
                    tell.set();
                }
            })
            .fold("count", 0u64, |count, _| count + 1);
        let running = p.start().unwrap();
        some.wait();
        running.stop();
        let mut report = running.join().unwrap();
        assert_eq!(report.stopped(), Some(StopCause::Handle));
        let figures = report.stage("work").unwrap().figures;
        assert_eq!(report.take(count), figures.items_in);
        assert_eq!(figures.abandoned, 0);
    });
}
