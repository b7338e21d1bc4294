//! By default the first failure ends the run with an error that names stage, item, attempts and cause.

mod common;

use common::{Told, error_of, everywhere, told, within};
use minigun::{Executor, FailureKind, Pipeline, Segment};

/// Ten items, of which number 3 fails in the stage `boom` of the block that `f` writes.
fn fails(executor: Executor, f: impl FnOnce(Segment<i32>) -> Segment<i32>) -> Told {
    let p = Pipeline::new("fails");
    let _out = p.source("in", 0..10).on(executor, f).collect("out");
    told(error_of(p))
}

fn check(executor: Executor, told: &Told, kind: FailureKind) {
    let (stage, item, attempts, cause, found) = told;
    assert_eq!((stage.as_str(), *item, *attempts, *found), ("boom", 3, 1, kind), "under {executor}: {cause}");
    assert!(cause.contains("it is three"), "{cause}");
}

fn explode(n: i32) -> i32 {
    assert!(n != 3, "it is three");
    n
}

fn refuse(n: i32) -> Result<i32, minigun::Failure> {
    if n == 3 { Err("it is three".into()) } else { Ok(n) }
}

#[test]
fn an_error_in_any_step_of_a_block_ends_the_run() {
    everywhere(|executor| {
        let error = |told: &Told| check(executor, told, FailureKind::Error);
        error(&fails(executor, |s| s.map("fine", |n| n).try_map("boom", refuse).map("fine too", |n| n)));
        error(&fails(executor, |s| s.try_map_init("boom", || Ok(()), |(), n| refuse(n))));
        error(&fails(executor, |s| {
            s.processor("boom", |n, out| {
                out.emit(refuse(n)?);
                Ok(())
            })
        }));
        error(&fails(executor, |s| {
            let emit = |(): &mut (), n, out: &mut minigun::Output<i32>| {
                out.emit(refuse(n)?);
                Ok(())
            };
            s.processor_init("boom", || Ok(()), emit)
        }));
    });
}

#[test]
fn a_panic_in_any_step_of_a_block_ends_the_run() {
    everywhere(|executor| {
        let panics = |told: &Told| check(executor, told, FailureKind::Panic);
        panics(&fails(executor, |s| s.map("fine", |n| n).map("boom", explode).map("fine too", |n| n)));
        panics(&fails(executor, |s| s.map_init("boom", || (), |(), n| explode(n))));
        panics(&fails(executor, |s| s.filter("boom", |n| explode(*n) > 0)));
        panics(&fails(executor, |s| s.flat_map("boom", |n| [explode(n)])));
        panics(&fails(executor, |s| s.flat_map("boom", |n| (0..2).map(move |_| explode(n)))));
        panics(&fails(executor, |s| {
            s.inspect("boom", |n| {
                explode(*n);
            })
        }));
        panics(&fails(executor, |s| s.processor("boom", |n, out| out.emit(explode(n)))));
    });
}

#[test]
fn a_failing_consumer_ends_the_run_inside_a_block_and_outside() {
    everywhere(|executor| {
        let p = Pipeline::new("consumer");
        p.source("in", 0..10).on(executor, |s| s.consumer("boom", |n| refuse(n).map(drop)));
        check(executor, &told(error_of(p)), FailureKind::Error);
        let p = Pipeline::new("consumer");
        p.source("in", 0..10).on(executor, |s| {
            s.consumer_init(
                "boom",
                || Ok(()),
                |(), n| {
                    explode(n);
                },
            )
        });
        check(executor, &told(error_of(p)), FailureKind::Panic);
    });
}

#[test]
fn a_failing_router_ends_the_run() {
    everywhere(|executor| {
        let p = Pipeline::new("router");
        let (port, flow) = p.inlet("port");
        p.source("in", 0..10).on(executor, |s| {
            s.router("boom", &port, |n, port| {
                port.emit(refuse(n)?);
                Ok(())
            })
        });
        flow.discard();
        check(executor, &told(error_of(p)), FailureKind::Error);
    });
}

#[test]
fn a_failure_in_a_step_outside_any_block_ends_the_run() {
    within("light", || {
        let p = Pipeline::new("light");
        p.source("in", 0..10).try_map("boom", refuse).discard();
        check(Executor::Inline, &told(error_of(p)), FailureKind::Error);
    });
    within("heavy", || {
        let p = Pipeline::new("heavy");
        p.source("in", 0..10).processor("boom", |n, out| out.emit(explode(n))).discard();
        check(Executor::Inline, &told(error_of(p)), FailureKind::Panic);
    });
    within("fold", || {
        let p = Pipeline::new("fold");
        let _sum = p.source("in", 0..10).fold("boom", 0, |sum, n| sum + explode(n));
        check(Executor::Inline, &told(error_of(p)), FailureKind::Panic);
    });
}

#[test]
fn a_step_that_fails_on_the_remainder_of_a_batch_is_named() {
    within("remainder", || {
        let p = Pipeline::new("remainder");
        p.source("in", 0..7).batch(4).try_map("boom", |batch| refuse(batch.len() as i32)).discard();
        let (stage, _, attempts, cause, kind) = told(error_of(p));
        assert_eq!((stage.as_str(), attempts, kind), ("boom", 1, FailureKind::Error));
        assert!(cause.contains("it is three"), "{cause}");
    });
    within("panic", || {
        let p = Pipeline::new("remainder");
        p.source("in", 0..7).batch(4).map("boom", |batch| explode(batch.len() as i32)).discard();
        let (stage, _, _, _, kind) = told(error_of(p));
        assert_eq!((stage.as_str(), kind), ("boom", FailureKind::Panic));
    });
}

#[test]
fn a_stage_that_dies_with_full_queues_before_it_does_not_block_the_stages_before() {
    everywhere(|executor| {
        let p = Pipeline::new("full");
        // Far more than all queues hold, from a producer that never looks whether the run is stopping.
        p.producer("in", |out| (0..20_000).for_each(|n| out.emit(n)))
            .processor("before", |n, out| out.emit(n))
            .on(executor, |s| s.map("boom", explode))
            .processor("behind", |n, out| out.emit(n))
            .discard();
        check(executor, &told(error_of(p)), FailureKind::Panic);
    });
}
