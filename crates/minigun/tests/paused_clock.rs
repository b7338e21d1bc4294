//! Under a clock that a test moves, timers go off when it says so: batches by age, waits between attempts, rates.

mod common;

use std::time::Duration;

use common::{sorted, under, within};
use minigun::testing::{self, Chaos, Clock};
use minigun::{Backoff, Batches, Executor, Pipeline, attempt};

const HOUR: Duration = Duration::from_secs(3600);

/// Waits are cut by up to a quarter, so that not all come at once.
fn is_a_wait_of(time: Duration, is: Option<Duration>) -> bool {
    is.is_some_and(|is| is <= time && is >= time * 3 / 4)
}

#[test]
fn a_batch_goes_on_when_the_clock_says_that_it_is_old_enough() {
    within("age", || {
        let (clock, p) = (Clock::paused(), Pipeline::new("age"));
        let (send, flow) = p.timed_by(&clock).channel("in", 10);
        let mut batches = flow.batch_by(Batches::of(100).within(HOUR)).receiver("batches", 10);
        let running = p.start().unwrap();
        for n in 0..3 {
            send.send(n).unwrap();
            assert_eq!(clock.advance_to_next(), Some(HOUR), "the first item of a batch counts");
            assert_eq!(batches.next(), Some(vec![n]));
        }
        drop(send);
        assert_eq!(batches.next(), None);
        running.join().unwrap();
        assert_eq!(clock.elapsed(), 3 * HOUR);
    });
}

#[test]
fn time_that_does_not_reach_the_moment_changes_nothing() {
    within("not yet", || {
        let (clock, p) = (Clock::paused(), Pipeline::new("not yet"));
        let (send, flow) = p.timed_by(&clock).channel("in", 10);
        let mut batches = flow.batch_by(Batches::of(2).within(HOUR)).receiver("batches", 10);
        let running = p.start().unwrap();
        send.send(1).unwrap();
        clock.advance(HOUR / 2);
        send.send(2).unwrap();
        assert_eq!(batches.next(), Some(vec![1, 2]), "full before it was old");
        drop(send);
        assert_eq!(batches.next(), None);
        running.join().unwrap();
    });
}

#[test]
fn an_item_is_tried_again_when_the_clock_says_so_wherever_the_attempt_waits() {
    under(&["inline", "threads:1", "threads:3", "processes:1", "process_per_batch:1"], |executor| {
        let clock = Clock::paused();
        let p = Pipeline::new("again");
        let done = p
            .timed_by(&clock)
            .source("in", [7])
            .on(executor.place().retry(3, Backoff::exponential(HOUR, 24 * HOUR)), |s| {
                s.try_map("third time", |n: u32| match attempt() {
                    Some(at) if at.attempt == 3 => Ok(n),
                    _ => Err("not yet".into()),
                })
            })
            .collect("out");
        let running = p.start().unwrap();
        let first = clock.advance_to_next();
        assert!(is_a_wait_of(HOUR, first), "{first:?} under {executor}");
        let second = clock.advance_to_next();
        assert!(is_a_wait_of(2 * HOUR, second), "{second:?} under {executor}");
        let mut report = running.join().unwrap();
        assert_eq!(report.take(done), [7], "under {executor}");
    });
}

#[test]
fn a_rate_is_kept_by_the_clock() {
    // In a queue, and where a thread waits by itself.
    under(&["inline", "threads:2", "processes:1"], |executor| {
        let clock = Clock::paused();
        let p = Pipeline::new("rate");
        let mut out = p
            .timed_by(&clock)
            .source("in", 0..4)
            .on(executor.place().rate(1.0 / 3600.0, 1), |s| s.map("same", |n: u32| n))
            .receiver("out", 10);
        let running = p.start().unwrap();
        let mut arrived = Vec::new();
        arrived.extend(out.next());
        for _ in 0..3 {
            let wait = clock.advance_to_next();
            assert!(wait.is_some_and(|wait| wait.abs_diff(HOUR) < Duration::from_millis(1)), "{wait:?}");
            arrived.extend(out.next());
        }
        assert_eq!(sorted(arrived), [0, 1, 2, 3], "under {executor}");
        assert_eq!(out.next(), None);
        running.join().unwrap();
    });
}

#[test]
fn a_stop_waits_for_no_clock() {
    under(&["inline", "threads:1", "processes:1"], |executor| {
        let clock = Clock::paused();
        let p = Pipeline::new("stop");
        p.timed_by(&clock)
            .source("in", [1])
            .on(executor.place().retry(2, Backoff::exponential(HOUR, HOUR)).skip(), |s| {
                s.try_map("never", |_: u32| -> Result<u32, _> { Err("no".into()) })
            })
            .discard();
        let running = p.start().unwrap();
        assert!(clock.advance_to_next().is_some(), "it waits for its second attempt");
        running.stop();
        let report = running.join().unwrap();
        assert_eq!(report.stage("never").unwrap().figures.skipped, 1, "under {executor}");
    });
}

#[test]
fn a_clock_that_skips_lets_nobody_wait_and_tells_how_long_it_would_have_been() {
    under(&["inline", "threads:2", "processes:2", "process_per_batch:2"], |executor| {
        let clock = Clock::skipping();
        let chaos = Chaos::seeded(11).fail(0.5);
        let ran = testing::on(executor)
            .timed_by(&clock)
            .chaos(&chaos)
            .retry(30, Backoff::exponential(HOUR, 24 * HOUR))
            .segment(0..50u32, |s| s.map("same", |n| n))
            .unwrap();
        assert_eq!(ran.sorted(), (0..50).collect::<Vec<_>>(), "under {executor}");
        assert!(clock.elapsed() >= HOUR / 2, "{:?} under {executor}", clock.elapsed());
    });
}

#[test]
fn two_runs_under_one_clock_both_go_by_it() {
    within("two", || {
        let clock = Clock::skipping();
        let run = |name: &str| {
            let p = Pipeline::new(name);
            let out = p.timed_by(&clock).source("in", 0..5).rate(1.0 / 3600.0, 1).collect("out");
            (p.start().unwrap(), out)
        };
        for (running, out) in [run("one"), run("two")] {
            assert_eq!(running.join().unwrap().take(out).len(), 5);
        }
        assert!(clock.elapsed() >= 4 * HOUR - Duration::from_secs(1), "{:?}", clock.elapsed());
    });
}

#[test]
fn blocks_nested_in_a_worker_process_go_by_the_systems_clock() {
    within("nested", || {
        let clock = Clock::paused();
        let ran = testing::on(Executor::Processes(1)).timed_by(&clock).segment([1], |s| {
            s.on(minigun::threads(1).retry(2, Backoff::exponential(Duration::from_millis(1), HOUR)), |s| {
                let tries = std::sync::atomic::AtomicU32::new(0);
                s.try_map("second time", move |n: u32| {
                    if tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
                        Ok(n)
                    } else {
                        Err("not yet".into())
                    }
                })
            })
        });
        assert_eq!(ran.unwrap().outputs, [1]);
        assert_eq!(clock.elapsed(), Duration::ZERO);
    });
}
