//! A block's policy covers what happens in the block, and not what follows it.

mod common;

use std::sync::Arc;

use common::{Marks, error_of, everywhere, sorted, told, under, within};
use minigun::{Backoff, Failure, FailureKind, Pipeline, inline, processes, threads};

/// Item 5 fails: by an error, or by a panic.
fn five(panics: bool, n: i32) -> Result<i32, Failure> {
    assert!(!(panics && n == 5), "five panics");
    if n == 5 { Err("five is refused".into()) } else { Ok(n) }
}

#[test]
fn a_light_step_behind_a_block_fails_under_the_pipelines_own_policy() {
    everywhere(|executor| {
        for panics in [false, true] {
            let p = Pipeline::new("behind");
            let marks = Marks::new();
            let theirs = Arc::clone(&marks);
            let _out = p
                .source("in", 0..10)
                .on(executor.place().retry(3, Backoff::none()).skip(), |s| s.map("inside", |n| n))
                .try_map("behind", move |n| {
                    theirs.add(n);
                    five(panics, n)
                })
                .collect("out");
            let (stage, _, attempts, cause, kind) = told(error_of(p));
            let expected = if panics { FailureKind::Panic } else { FailureKind::Error };
            assert_eq!((stage.as_str(), attempts, kind), ("behind", 1, expected), "{executor}: {cause}");
            assert!(cause.contains("five"), "{cause}");
            assert_eq!(marks.count(5), 1, "the block does not try its item again");
        }
    });
}

#[test]
fn a_light_step_behind_a_port_fails_under_the_pipelines_own_policy() {
    everywhere(|executor| {
        let p = Pipeline::new("behind a port");
        let (port, flow) = p.inlet("port");
        p.source("in", 0..10).on(executor.place().skip(), |s| s.send_to(&port));
        flow.try_map("behind", |n| five(false, n)).discard();
        let (stage, ..) = told(error_of(p));
        assert_eq!(stage, "behind", "under {executor}");
    });
}

#[test]
fn what_follows_an_inner_block_is_the_outer_blocks_to_skip() {
    everywhere(|executor| {
        for panics in [false, true] {
            let p = Pipeline::new("outer skips");
            let marks = Marks::new();
            let theirs = Arc::clone(&marks);
            let out = p
                .source("in", 0..10)
                .on(executor.place().skip(), |s| {
                    s.on(inline().retry(3, Backoff::none()), |s| s.map("inner", |n| n)).try_map(
                        "behind",
                        move |n| {
                            theirs.add(n);
                            five(panics, n)
                        },
                    )
                })
                .collect("out");
            let mut report = p.run().unwrap();
            assert_eq!(sorted(report.take(out)), sorted((0..10).filter(|n| *n != 5)), "under {executor}");
            assert_eq!(marks.count(5), 1, "neither block tries it again");
            assert_eq!(report.stage("behind").unwrap().failures[0].stage, "behind");
        }
    });
}

#[test]
fn what_follows_inner_threads_is_the_outer_blocks_to_retry() {
    let outer = ["threads:1", "threads:4", "processes:1", "processes:3", "process_per_batch:2"];
    under(&outer, |executor| {
        for panics in [false, true] {
            let p = Pipeline::new("outer retries");
            let marks = Marks::new();
            let out = p
                .source("in", 0..10)
                .on(executor.place().retry(3, Backoff::none()), |s| {
                    s.on(threads(2).skip(), |s| s.map("inner", |n| n)).try_map("behind", move |n: i32| {
                        marks.add(n);
                        if marks.count(n) < 3 { five(panics, n) } else { Ok(n) }
                    })
                })
                .collect("out");
            let mut report = p.run().unwrap();
            assert_eq!(sorted(report.take(out)), sorted(0..10), "under {executor}");
            assert_eq!(report.stage("behind").unwrap().figures.retried, 2);
        }
    });
}

#[test]
fn steps_behind_an_inner_block_are_built_anew_after_a_panic() {
    for place in ["threads:1", "processes:1"] {
        within(place, move || {
            let p = Pipeline::new("anew");
            let executor: minigun::Executor = place.parse().unwrap();
            let out = p
                .source("in", 0..5)
                .on(executor.place().skip(), |s| {
                    s.on(inline().skip(), |s| s.map("inner", |n| n)).map_init(
                        "behind",
                        || 0,
                        |count, n| {
                            *count += 1;
                            assert!(n != 2, "after it changed the state");
                            (n, *count)
                        },
                    )
                })
                .collect("out");
            assert_eq!(p.run().unwrap().take(out), [(0, 1), (1, 2), (3, 1), (4, 2)]);
        });
    }
}

#[test]
fn the_next_block_has_a_policy_of_its_own() {
    within("next", || {
        let p = Pipeline::new("next");
        let out = p
            .source("in", 0..10)
            .on(processes(2).skip(), |s| s.try_map("first", |n| if n == 1 { Err("1".into()) } else { Ok(n) }))
            .on(threads(2).skip(), |s| s.try_map("second", |n| five(true, n)))
            .on(inline().skip(), |s| s.filter("third", |n| *n != 7))
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), [0, 2, 3, 4, 6, 8, 9]);
        let skipped = |name: &str| report.stage(name).unwrap().figures.skipped;
        assert_eq!(["first", "second", "third"].map(skipped), [1, 1, 0]);
    });
}
