//! Counters, collectors, collected and folded values, and whose they are.

mod common;

use common::{everywhere, sorted, told, under, within};
use minigun::{Error, Pipeline};

#[test]
fn what_is_counted_and_collected_arrives_once_from_every_executor() {
    everywhere(|executor| {
        let p = Pipeline::new("once");
        let (sum, calls) = (p.counter("sum"), p.counter("calls"));
        let (words, lists) = (p.collector::<String>("words"), p.collector::<Vec<u64>>("lists"));
        p.source("in", 0..200u64).on(executor, |s| {
            s.inspect("count", move |n| {
                sum.add(*n);
                calls.add(1);
            })
            .consumer("collect", move |n| {
                if n % 10 == 0 {
                    words.push(n.to_string());
                    lists.push(vec![n; 2]);
                    lists.push(vec![]);
                }
            })
        });
        let mut report = p.run().unwrap();
        assert_eq!((report.count(&sum), report.count(&calls)), ((0..200).sum(), 200));
        let tens = || (0..200).step_by(10);
        assert_eq!(sorted(report.take(words)), sorted(tens().map(|n| n.to_string())));
        let expected = tens().flat_map(|n| [vec![n; 2], vec![]]);
        assert_eq!(sorted(report.take(lists)), sorted(expected));
        let text = report.to_string();
        assert!(text.contains("sum: 19,900") && text.contains("calls: 200"), "{text}");
    });
}

#[test]
fn a_handle_used_on_a_thread_of_the_programs_own_counts_at_once() {
    under(&["inline", "threads:1", "threads:4"], |executor| {
        let p = Pipeline::new("own thread");
        let (count, seen) = (p.counter("count"), p.collector::<i32>("seen"));
        count.add(1000);
        let out = p
            .source("in", 0..10)
            .on(executor, |s| {
                s.map("spawn", move |n| {
                    let own = std::thread::spawn(move || {
                        count.add(1);
                        seen.push(n);
                    });
                    own.join().unwrap();
                    n
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(out).len(), 10);
        assert_eq!(report.count(&count), 1010);
        assert_eq!(sorted(report.take(seen)), sorted(0..10));
    });
}

#[test]
fn a_handle_used_in_a_worker_process_outside_any_attempt_fails_the_item() {
    under(&["processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let build = || {
            let p = Pipeline::new("misuse");
            let count = p.counter("count");
            (p, count, move |n| {
                if n == 3 {
                    std::thread::spawn(move || count.add(1)).join().unwrap();
                }
                n
            })
        };
        let (p, _, spawn) = build();
        p.source("in", 0..6).on(executor, |s| s.map("spawn", spawn)).discard();
        let (_, item, attempts, cause, _) = told(common::error_of(p));
        assert_eq!((item, attempts), (3, 1));
        assert!(cause.contains("counter or collector was used in a worker outside any attempt"), "{cause}");
        let (p, count, spawn) = build();
        let out = p.source("in", 0..6).on(executor.place().skip(), |s| s.map("spawn", spawn)).collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), [0, 1, 2, 4, 5]);
        assert_eq!(report.count(&count), 0);
    });
}

#[test]
fn handles_of_another_pipeline_are_errors() {
    within("another", || {
        let q = Pipeline::new("another");
        let (count, values) = (q.counter("count"), q.collector::<i32>("values"));
        let (left, right) = q.source("in", 0..3).tee();
        let (items, sum) = (left.collect("items"), right.fold("sum", 0, |a, n| a + n));
        let p = Pipeline::new("ours");
        p.source("in", 0..3).discard();
        let mut report = p.run().unwrap();
        let refused = [
            report.try_count(&count).map(drop),
            report.try_take(values).map(drop),
            report.try_take(items).map(drop),
            report.try_take(sum).map(drop),
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert!(matches!(error, Error::Handle { .. }));
            assert!(error.to_string().contains("belongs to another pipeline"), "{error}");
        }
        assert!(std::panic::catch_unwind(|| report.count(&count)).is_err());
    });
}

#[test]
fn a_collectors_values_are_taken_once() {
    within("twice", || {
        let p = Pipeline::new("twice");
        let (used, unused) = (p.collector::<i32>("used"), p.collector::<i32>("unused"));
        p.source("in", 0..3).consumer("push", move |n| used.push(n));
        let mut report = p.run().unwrap();
        assert_eq!(report.take(used), [0, 1, 2]);
        assert!(report.take(unused).is_empty());
        for taken in [used, unused] {
            let error = report.try_take(taken).unwrap_err();
            assert!(error.to_string().contains("taken before"), "{error}");
        }
    });
}

#[test]
fn collect_keeps_the_order_of_arrival() {
    within("order", || {
        let p = Pipeline::new("order");
        let out = p.source("in", 0..5000).processor("same", |n, out| out.emit(n)).collect("out");
        assert_eq!(p.run().unwrap().take(out), (0..5000).collect::<Vec<_>>());
    });
}

#[test]
fn fold_sees_every_item_once_in_the_program() {
    everywhere(|executor| {
        let p = Pipeline::new("fold");
        let mut calls = 0;
        let program = std::process::id();
        let out = p.source("in", 0..100u64).on(executor, |s| s.map("double", |n| n * 2)).fold(
            "sum",
            (0, 0),
            move |(sum, _), n| {
                assert_eq!(std::process::id(), program);
                calls += 1;
                (sum + n, calls)
            },
        );
        let untouched = p
            .source("none", 0..0)
            .fold("untouched", "initial".to_string(), |text, n: i32| text + &n.to_string());
        let mut report = p.run().unwrap();
        assert_eq!(report.take(out), ((0..100).map(|n| n * 2).sum(), 100));
        assert_eq!(report.take(untouched), "initial");
    });
}

#[test]
fn two_runs_at_once_keep_their_counts_apart() {
    within("apart", || {
        let runs: Vec<_> = (1..=3u64)
            .map(|n| {
                let p = Pipeline::new(format!("run {n}"));
                let count = p.counter("count");
                p.source("in", 0..100).processes(2, |s| s.consumer("count", move |_| count.add(n)));
                (p.start().unwrap(), count, n)
            })
            .collect();
        for (running, count, n) in runs {
            assert_eq!(running.join().unwrap().count(&count), 100 * n);
        }
    });
}
