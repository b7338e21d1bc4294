//! The kit for users' tests tells what a part of a pipeline did, compares executors, and repeats its chances.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{everywhere, sorted, within};
use minigun::testing::{self, Chaos, EXECUTORS, Fault};
use minigun::{Backoff, Dead, Executor, FailureKind, Fate, Flow, Pipeline, attempt, threads};

#[test]
fn a_segment_gives_outputs_failures_and_dead_letters_on_every_executor() {
    everywhere(|executor| {
        let ran = testing::on(executor)
            .segment(["1", "x", "3", "y"].map(String::from), |s| {
                s.try_map("parse", |text: String| Ok(text.parse::<u32>()?))
            })
            .unwrap();
        let dead =
            sorted(ran.dead.iter().map(|letter| (letter.item.as_str(), letter.number, letter.attempts)));
        assert_eq!(dead, [("x", 1, 1), ("y", 3, 1)], "under {executor}");
        assert!(ran.dead.iter().all(|letter| letter.kind == FailureKind::Error && letter.stage == "parse"));
        assert_eq!(sorted(ran.failures.iter().map(|failed| failed.item)), [1, 3]);
        assert!(ran.failures.iter().all(|failed| failed.fate == Fate::Dead));
        assert_eq!(ran.report.stage("parse").unwrap().figures.dead, 2);
        assert_eq!(ran.sorted(), [1, 3]);
    });
}

#[test]
fn what_is_retried_may_succeed() {
    everywhere(|executor| {
        if executor == Executor::Inline {
            return; // An inline block's items are told of by the stage before it: the attempt stays the first.
        }
        let ran = testing::on(executor).retry(2, Backoff::none()).segment(0..10, |s| {
            s.try_map("second time", |n| match attempt() {
                Some(at) if at.attempt > 1 => Ok(n),
                _ => Err("not yet".into()),
            })
        });
        let ran = ran.unwrap();
        assert!(ran.dead.is_empty() && ran.failures.is_empty());
        assert_eq!(ran.sorted(), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn outputs_of_one_worker_are_in_the_order_of_the_inputs() {
    let ran = testing::segment(0..100, |s| s.filter("even", |n| n % 2 == 0)).unwrap();
    assert_eq!(ran.outputs, (0..100).step_by(2).collect::<Vec<_>>());
}

#[test]
fn a_part_of_a_program_brings_its_own_blocks_and_policies() {
    fn sums(numbers: Flow<u64>) -> Flow<u64> {
        numbers.batch(10).on(threads(2).skip(), |s| {
            s.try_map("sum", |batch: Vec<u64>| match batch.len() {
                10 => Ok(batch.iter().sum()),
                few => Err(format!("{few} are too few").into()),
            })
        })
    }
    let ran = within("flow", || testing::flow(0..25, sums)).unwrap();
    assert_eq!(ran.failures.len(), 1);
    assert_eq!((ran.failures[0].fate, ran.failures[0].error.as_str()), (Fate::Skipped, "5 are too few"));
    assert_eq!(ran.sorted(), [45, 145]);
}

#[test]
fn an_error_that_no_policy_catches_is_the_faults_cause() {
    let fault =
        testing::flow([1], |flow| flow.try_map("no", |_: i32| -> Result<i32, _> { Err("never".into()) }));
    let Err(Fault::Run { executor: None, error }) = fault else { panic!("the run failed") };
    assert!(error.to_string().contains("never"), "{error}");
}

#[test]
fn a_run_that_hangs_is_killed_and_named() {
    let ran = within("hang", || {
        testing::on(Executor::Processes(1)).within(Duration::from_millis(100)).segment([1], |s| {
            s.map("stuck", |_: i32| -> i32 {
                loop {
                    std::thread::park();
                }
            })
        })
    });
    let Err(fault) = ran else { panic!("it hangs") };
    assert!(matches!(fault, Fault::Hangs { executor: Some(Executor::Processes(1)), .. }), "{fault}");
    assert_eq!(fault.to_string(), "under processes:1: the run hangs: it had not ended after 100ms");
}

#[test]
fn a_deadline_strikes_where_processes_run_the_segment() {
    let ran = within("deadline", || {
        testing::on(Executor::Processes(1)).timeout(Duration::from_millis(50)).segment([1, 2], |s| {
            s.map("stuck at 2", |n: i32| match n {
                2 => loop {
                    std::thread::park();
                },
                n => n,
            })
        })
    });
    let ran = ran.unwrap();
    assert_eq!(
        (ran.outputs.as_slice(), ran.dead[0].item, ran.dead[0].kind),
        (&[1][..], 2, FailureKind::Deadline)
    );
}

#[test]
fn the_same_pipeline_is_compared_under_every_executor() {
    let collected = testing::same_everywhere(|p, executor| {
        p.source("in", 0..50).on(executor, |s| s.flat_map("twice", |n: u32| [n, n])).collect("out")
    });
    assert_eq!(collected.unwrap(), (0..50).flat_map(|n| [n, n]).collect::<Vec<_>>());
    let folded = testing::same_everywhere(|p, executor| {
        p.source("in", 0..50u64).on(executor, |s| s.map("add", |n| n + 1)).fold("sum", 0, |sum, n| sum + n)
    });
    assert_eq!(folded.unwrap(), (1..=50).sum::<u64>());
    let pushed = testing::same_everywhere(|p: &Pipeline, executor| {
        let seen = p.collector("seen");
        let _done =
            p.source("in", 0..5).on(executor, move |s| s.consumer("push", move |n: u32| seen.push(n)));
        seen
    });
    assert_eq!(pushed.unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn an_executor_that_gives_something_else_is_named_with_the_difference() {
    let program = std::process::id();
    let here = move || std::process::id() == program;
    let fault = testing::same_everywhere(move |p, executor| {
        p.source("in", 0..3)
            .on(executor, move |s| s.map("where", move |n: u32| if here() { n } else { n + 1 }))
            .collect("out")
    });
    assert_eq!(
        fault.unwrap_err().to_string(),
        "under processes:1 the result is not that under inline: 1 missing: 0; 1 too much: 3"
    );
}

#[test]
fn killed_workers_lose_nothing_and_every_result_comes_once() {
    let seed = 0x5eed;
    for executor in EXECUTORS {
        let chaos = Chaos::seeded(seed).kill(0.2);
        let ran = within("kills", move || {
            testing::on(executor).chaos(&chaos).segment(0..60u32, |s| s.map("id", |n| n))
        });
        let ran = ran.unwrap();
        let deaths = ran.report.stage("chaos").unwrap().figures.deaths;
        let forks = matches!(executor, Executor::Processes(_) | Executor::ProcessPerBatch(_));
        assert_eq!(deaths > 0, forks, "{deaths} deaths under {executor}, seed {seed}");
        assert_eq!(ran.sorted(), (0..60).collect::<Vec<_>>(), "under {executor}, seed {seed}");
    }
}

#[test]
fn the_same_seed_strikes_the_same_items_on_every_executor() {
    let struck = |seed, executor| -> BTreeSet<u32> {
        let chaos = Chaos::seeded(seed).fail(0.3).delay(0.1, Duration::from_millis(1));
        let ran = within("chance", move || {
            testing::on(executor).chaos(&chaos).segment(0..60u32, |s| s.map("id", |n| n))
        });
        let ran = ran.unwrap();
        let dead: BTreeSet<u32> = ran.dead.iter().map(|letter: &Dead<u32>| letter.item).collect();
        assert!(ran.dead.iter().all(|letter| letter.error.contains(&format!("seed {seed}"))));
        assert_eq!(dead.len() + ran.outputs.len(), 60);
        dead
    };
    let inline = struck(1, Executor::Inline);
    assert!(!inline.is_empty() && inline.len() < 60, "{inline:?}");
    for executor in EXECUTORS {
        assert_eq!(struck(1, executor), inline, "under {executor}");
    }
    assert_ne!(struck(2, Executor::Inline), inline);
}

#[test]
fn an_attempt_has_a_chance_of_its_own() {
    everywhere(|executor| {
        let chaos = Chaos::seeded(3).fail(0.5);
        let ran = testing::on(executor)
            .chaos(&chaos)
            .retry(30, Backoff::none())
            .segment(0..40u32, |s| s.map("id", |n| n));
        let ran = ran.unwrap();
        assert!(ran.report.stage("chaos").unwrap().figures.retried > 0);
        assert_eq!(ran.sorted(), (0..40).collect::<Vec<_>>(), "under {executor}");
    });
}
