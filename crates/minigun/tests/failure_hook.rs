//! `on_failure`: told of every item that failed for good, once, wherever it ran and whatever becomes of it.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::sync::{Arc, Mutex};

use common::{Marks, error_of, everywhere, sorted, told, under, within};
use minigun::{Backoff, Error, FailedItem, FailureKind, Fate, Pipeline, inline, threads};

type Told = Arc<Mutex<Vec<FailedItem>>>;

/// What the hook of a pipeline is told.
fn listen(p: &Pipeline) -> Told {
    let told = Told::default();
    let into = Arc::clone(&told);
    p.on_failure(move |failed| into.lock().unwrap().push(failed.clone()));
    told
}

fn items(told: &Told) -> Vec<u64> {
    sorted(told.lock().unwrap().iter().map(|failed| failed.item))
}

#[test]
fn every_item_that_is_skipped_is_told_of_once_and_no_attempt_that_is_followed_by_another() {
    everywhere(|executor| {
        let p = Pipeline::new("skips");
        let heard = listen(&p);
        // Odd items fail always; those that 4 divides fail in their first attempt only.
        let firsts = Marks::new();
        p.source("in", 0..40u64)
            .on(executor.place().retry(2, Backoff::none()).skip(), |s| {
                s.try_map("work", move |n| {
                    if n % 4 == 0 && firsts.count(n) == 0 {
                        firsts.add(n);
                        return Err("not yet".into());
                    }
                    assert!(n % 4 != 3, "{n} panics");
                    if n % 4 == 1 { Err(format!("{n} is odd").into()) } else { Ok(n) }
                })
            })
            .discard();
        let report = p.run().unwrap();
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 20, "under {executor}");
        for failed in heard.iter() {
            assert_eq!((failed.stage.as_str(), failed.attempts, failed.fate), ("work", 2, Fate::Skipped));
            let kind = if failed.error.contains("panics") { FailureKind::Panic } else { FailureKind::Error };
            assert_eq!(failed.kind, kind, "{failed:?}");
        }
        let distinct = sorted(heard.iter().map(|failed| failed.error.clone()));
        assert!(distinct.windows(2).all(|pair| pair[0] != pair[1]), "{distinct:?}");
        // Failed is always counted: 2 attempts at each of 20, 1 at each of 10.
        let figures = report.stage("work").unwrap().figures;
        assert_eq!((figures.failed, figures.retried, figures.skipped, figures.items_in), (50, 30, 20, 20));
    });
}

#[test]
fn the_item_that_ends_the_run_is_told_of_before_the_last_hooks() {
    everywhere(|executor| {
        let p = Pipeline::new("stops");
        let (heard, marks) = (listen(&p), Marks::new());
        let (failed, after) = (Arc::clone(&marks), Arc::clone(&marks));
        p.on_failure(move |_| failed.add("failed")).after_run(move |_| after.add("after_run"));
        p.source("in", 0..20u64)
            .on(executor.place(), |s| s.try_map("work", |n| if n == 7 { Err("seven".into()) } else { Ok(n) }))
            .discard();
        let (stage, item, attempts, cause, kind) = told(error_of(p));
        assert_eq!((stage.as_str(), cause.as_str()), ("work", "seven"));
        let told =
            FailedItem { stage, item, attempts, error: cause, kind, fate: Fate::Stopped, details: None };
        assert_eq!(*heard.lock().unwrap(), [told], "under {executor}");
        assert_eq!(marks.lines(), ["failed", "after_run"]);
    });
}

#[test]
fn items_of_blocks_inside_a_worker_are_told_of_when_the_attempt_around_them_succeeded() {
    everywhere(|executor| {
        let p = Pipeline::new("inner");
        let (heard, firsts) = (listen(&p), Marks::new());
        p.source("in", 0..10u64)
            .on(executor.place().retry(2, Backoff::none()), |s| {
                s.on(inline().skip(), |s| {
                    s.try_map("odd", |n| if n % 2 == 1 { Err("odd".into()) } else { Ok(n) })
                })
                .on(threads(2).skip(), |s| {
                    s.try_map("four", |n| if n % 4 == 0 { Err("four".into()) } else { Ok(n) })
                })
                // Every first attempt is undone, and what was skipped in it with it.
                .then(|s| s)
                .try_map("again", move |n| {
                    if firsts.count(n) == 0 {
                        firsts.add(n);
                        return Err("not yet".into());
                    }
                    Ok(n)
                })
            })
            .discard();
        let report = p.run().unwrap();
        let heard = heard.lock().unwrap();
        let of = |stage: &str| heard.iter().filter(|failed| failed.stage == stage).count();
        assert_eq!((of("odd"), of("four"), heard.len()), (5, 3, 8), "under {executor}: {heard:?}");
        let skipped: u64 = report.stages().iter().map(|stage| stage.figures.skipped).sum();
        assert_eq!(skipped, 8, "the figures agree");
    });
}

#[test]
fn failing_producers_light_steps_and_remainders_are_told_of() {
    within("sources", || {
        let p = Pipeline::new("light");
        let heard = listen(&p);
        p.source("in", 0..5u64)
            .try_map("light", |n| if n == 3 { Err("three".into()) } else { Ok(n) })
            .discard();
        assert_eq!(told(error_of(p)).0, "light");
        assert_eq!(items(&heard), [3]);

        let p = Pipeline::new("producer");
        let heard = listen(&p);
        p.producer::<u64, _>("breaks", |_| Err("broken".into())).discard();
        assert_eq!(told(error_of(p)).0, "breaks");
        assert_eq!(heard.lock().unwrap()[0].stage, "breaks");

        let p = Pipeline::new("remainder");
        let heard = listen(&p);
        let batches = p.source("in", 0..5u64).batch(3);
        batches.try_map("full", |batch| if batch.len() < 3 { Err("short".into()) } else { Ok(()) }).discard();
        assert_eq!(told(error_of(p)).0, "full");
        assert_eq!(heard.lock().unwrap().len(), 1);
    });
}

#[test]
fn a_killer_item_is_told_of_with_its_death() {
    under(&["processes:2", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("killer");
        let heard = listen(&p);
        p.source("in", 0..10u64)
            .on(executor.place().crash_attempts(2).skip(), |s| {
                s.inspect("work", |n| {
                    if *n == 4 {
                        std::process::abort();
                    }
                })
            })
            .discard();
        p.run().unwrap();
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 1, "under {executor}: {heard:?}");
        assert_eq!((heard[0].item, heard[0].kind, heard[0].fate), (4, FailureKind::Death, Fate::Skipped));
    });
}

#[test]
fn a_failing_hook_ends_the_run_and_is_named() {
    everywhere(|executor| {
        for panics in [false, true] {
            let (p, marks) = (Pipeline::new("failing"), Marks::new());
            let after = Arc::clone(&marks);
            p.after_run(move |_| after.add("after_run"));
            p.on_failure(move |failed| {
                assert!(!panics, "the hook fails on {}", failed.error);
                Err(format!("the hook fails on {}", failed.error).into())
            });
            p.source("in", 0..10)
                .on(executor.place().skip(), |s| {
                    s.try_map("work", |n| if n == 3 { Err("three".into()) } else { Ok(n) })
                })
                .discard();
            let error = error_of(p);
            assert!(matches!(error, Error::Hook { hook: "on_failure", .. }), "{error}");
            assert!(error.to_string().contains("the hook fails on three"), "{error}");
            assert_eq!(marks.lines(), ["after_run"], "once, under {executor}");
        }
    });
}

#[test]
fn what_the_hook_counts_counts_at_once_and_is_no_attempts() {
    everywhere(|executor| {
        let p = Pipeline::new("counts");
        let (failures, errors) = (p.counter("failures"), p.collector::<String>("errors"));
        p.on_failure(move |failed| {
            failures.add(1);
            errors.push(failed.error.clone());
        });
        // All of them fail: what the hook counted must not be undone with the next attempt.
        p.source("in", 0..30)
            .on(executor.place().skip(), |s| s.try_map("work", |n: i32| Err::<(), _>(n.to_string().into())))
            .discard();
        let mut report = p.run().unwrap();
        assert_eq!(report.count(&failures), 30, "under {executor}");
        assert_eq!(sorted(report.take(errors)), sorted((0..30).map(|n| n.to_string())));
    });
}
