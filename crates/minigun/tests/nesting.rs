//! Blocks inside blocks: the inner items are part of the outer attempt, and have a policy of their own.

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use common::{Marks, error_of, everywhere, sorted, told, under};
use minigun::{Backoff, Error, Executor, Pipeline, inline, threads};

const OUTER: [&str; 5] = ["threads:1", "threads:4", "processes:1", "processes:3", "process_per_batch:2"];

#[test]
fn threads_in_a_block_give_the_same_as_without_them() {
    everywhere(|executor| {
        let p = Pipeline::new("nested");
        let (count, seen) = (p.counter("count"), p.collector::<i32>("seen"));
        let out = p
            .source("in", 0..300)
            .batch(10)
            .on(executor, |s| {
                s.unbatch()
                    .threads(3, |s| {
                        s.map("double", |n| n * 2).inline(|s| {
                            s.map("plus one", move |n| {
                                count.add(1);
                                seen.push(n);
                                n + 1
                            })
                        })
                    })
                    .flat_map("twice", |n| [n, -n])
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..300).flat_map(|n| [n * 2 + 1, -n * 2 - 1])));
        assert_eq!(report.count(&count), 300);
        assert_eq!(sorted(report.take(seen)), sorted((0..300).map(|n| n * 2)));
        let figures = |name: &str| report.stage(name).unwrap().figures;
        assert_eq!((figures("double").items_in, figures("plus one").items_out), (300, 300));
        assert_eq!((figures("twice").items_in, figures("twice").items_out), (300, 600));
    });
}

#[test]
fn inner_threads_run_at_once_and_never_more_of_them() {
    under(&OUTER, |executor| {
        let p = Pipeline::new("at once");
        let barrier = Arc::new(Barrier::new(3));
        // Of three items in a batch none can end before all three have begun.
        let out = p
            .source("in", 0..9)
            .batch(3)
            .on(executor, |s| {
                s.unbatch().threads(3, |s| {
                    s.map("meet", move |_| {
                        barrier.wait();
                        format!("{:?}", std::thread::current().id())
                    })
                })
            })
            .collect("out");
        let names: BTreeSet<_> = p.run().unwrap().take(out).into_iter().collect();
        assert!(names.len() >= 3, "{names:?}");
    });
}

#[test]
fn threads_nest_to_any_depth() {
    under(&OUTER, |executor| {
        let p = Pipeline::new("deep");
        let out = p
            .source("in", 0..27)
            .batch(9)
            .on(executor, |s| {
                s.threads(2, |s| {
                    s.unbatch().threads(2, |s| s.inline(|s| s.threads(2, |s| s.map("deep", |n| n + 1))))
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(1..28));
    });
}

#[test]
fn an_inner_block_skips_and_retries_its_own_items() {
    everywhere(|executor| {
        for inner in ["inline", "threads"] {
            let p = Pipeline::new("inner policy");
            let (count, marks) = (p.counter("count"), Marks::new());
            let step = move |n: i32| {
                marks.add(n);
                count.add(1);
                match n % 10 {
                    3 => Err("never".into()),
                    5 if marks.count(n) < 3 => Err("not yet".into()),
                    _ => Ok(n),
                }
            };
            let batches = p.source("in", 0..40).batch(10);
            let policy = (3, Backoff::none());
            let out = batches
                .on(executor.place().retry(2, Backoff::none()), |s| {
                    let s = s.unbatch();
                    if inner == "inline" {
                        s.on(inline().retry(policy.0, policy.1).skip(), |s| s.try_map("inner", step))
                    } else {
                        s.on(threads(3).retry(policy.0, policy.1).skip(), |s| s.try_map("inner", step))
                    }
                })
                .collect("out");
            let mut report = p.run().unwrap();
            let survivors = sorted((0..40).filter(|n| n % 10 != 3));
            assert_eq!(sorted(report.take(out)), survivors, "{inner} in {executor}");
            assert_eq!(report.count(&count), 36);
            let inside = report.stage("inner").unwrap();
            let figures = inside.figures;
            assert_eq!(
                (figures.skipped, figures.retried, figures.failed),
                (4, 16, 20),
                "{inner} in {executor}"
            );
            assert!(inside.failures.iter().all(|s| s.stage == "inner" && s.attempts == 3));
            assert_eq!(report.stage("unbatch").unwrap().figures.retried, 0, "the batch never failed");
        }
    });
}

#[test]
fn an_inner_failure_that_nobody_catches_fails_the_outer_item() {
    everywhere(|executor| {
        let p = Pipeline::new("uncaught");
        let out = p
            .source("in", 0..40)
            .batch(10)
            .on(executor.place().skip(), |s| {
                s.unbatch()
                    .threads(2, |s| s.try_map("inner", |n| if n == 25 { Err("25".into()) } else { Ok(n) }))
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..40).filter(|n| n / 10 != 2)));
        let skipped = &report.stage("unbatch").unwrap().failures;
        assert_eq!((skipped[0].item, skipped[0].stage.as_str()), (2, "inner"));

        let p = Pipeline::new("stop");
        p.source("in", 0..40).batch(10).on(executor, |s| {
            s.unbatch().threads(2, |s| s.consumer("inner", |n| assert!(n != 25, "it is 25")))
        });
        let (stage, item, _, cause, _) = told(error_of(p));
        // An inline block has no items of its own: it was the last item of the batch at the batch stage.
        let number = if executor == Executor::Inline { 29 } else { 2 };
        assert_eq!((stage.as_str(), item), ("inner", number), "under {executor}: {cause}");
        assert!(cause.contains("it is 25"), "{cause}");
    });
}

#[test]
fn what_an_outer_attempt_gave_to_inner_threads_before_it_failed_is_not_seen() {
    everywhere(|executor| {
        let p = Pipeline::new("undone");
        let (count, marks) = (p.counter("count"), Marks::new());
        let out = p
            .source("in", 0..10)
            .on(executor.place().retry(2, Backoff::none()).skip(), |s| {
                s.processor("spread", move |n: i32, out| {
                    out.extend([n * 10, n * 10 + 1, n * 10 + 2]);
                    marks.add(n);
                    match n {
                        3 => Err("always".into()),
                        6 if marks.count(n) == 1 => Err("once".into()),
                        7 if marks.count(n) == 1 => panic!("once"),
                        _ => Ok(()),
                    }
                })
                .threads(3, |s| s.inspect("inner", move |_| count.add(1)))
            })
            .collect("out");
        let mut report = p.run().unwrap();
        let expected = (0..10).filter(|n| *n != 3).flat_map(|n| n * 10..n * 10 + 3);
        assert_eq!(sorted(report.take(out)), sorted(expected), "under {executor}");
        assert_eq!(report.count(&count), 27);
        assert_eq!(report.stage("inner").unwrap().figures.items_in, 27);
    });
}

#[test]
fn an_inner_state_that_cannot_be_made_ends_the_run_and_names_its_stage() {
    everywhere(|executor| {
        let p = Pipeline::new("init");
        let _out = p
            .source("in", 0..5)
            .on(executor.place().skip(), |s| {
                s.threads(2, |s| {
                    s.try_map_init("connect", || Err::<(), _>("no database".into()), |(), n: i32| Ok(n))
                })
            })
            .collect("out");
        let error = error_of(p);
        assert!(matches!(error, Error::Init { .. } | Error::Stage { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("connect") && text.contains("no database"), "{text}");
    });
}

#[test]
fn inner_steps_send_to_ports_of_the_program() {
    everywhere(|executor| {
        let p = Pipeline::new("ports");
        let (odd, odds) = p.inlet("odd");
        let evens = p
            .source("in", 0..40)
            .batch(8)
            .on(executor, |s| {
                s.unbatch().threads(2, |s| {
                    s.processor_to("route", &odd, |n: i32, out, odd| match n % 2 {
                        0 => out.emit(n),
                        _ => odd.emit(n),
                    })
                })
            })
            .collect("evens");
        let odds = odds.collect("odds");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(evens)), sorted((0..40).step_by(2)));
        assert_eq!(sorted(report.take(odds)), sorted((1..40).step_by(2)), "under {executor}");
    });
}
