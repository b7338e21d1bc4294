//! Stopping a run: gracefully by its handle, without draining by dropping it.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use common::{Event, Marks, everywhere, sorted, under, within};
use minigun::{Executor, Pipeline, Running};

/// A run that never ends by itself; the event happens when a hundred items have arrived. `marks` is told of every
/// item that arrived.
fn endless(executor: Executor, marks: &Arc<Marks>) -> (Running, Arc<Event>) {
    let p = Pipeline::new("endless");
    let many = Event::new();
    let (seen, record) = (Arc::clone(&many), Arc::clone(marks));
    p.producer("endless", |out| {
        for n in 0u64.. {
            if out.try_emit(n).is_err() {
                break;
            }
        }
    })
    .on(executor, |s| s.map("same", |n| n))
    .consumer_init(
        "see",
        || Ok(0),
        move |count, n| {
            record.add(n);
            *count += 1;
            if *count == 100 {
                seen.set();
            }
        },
    );
    (p.start().unwrap(), many)
}

#[test]
fn a_stopped_run_finishes_what_is_in_flight() {
    everywhere(|executor| {
        let marks = Marks::new();
        let (running, many) = endless(executor, &marks);
        many.wait();
        running.stop();
        running.stop();
        let report = running.join().unwrap();
        let produced = report.stage("endless").unwrap().figures.items_out;
        assert!(produced >= 100);
        let seen: Vec<u64> = marks.lines().iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(sorted(seen), sorted(0..produced), "everything that was produced arrived");
        for stage in ["same", "see"] {
            assert_eq!(report.stage(stage).unwrap().figures.items_in, produced, "under {executor}");
        }
    });
}

#[test]
fn what_a_producer_emits_after_the_stop_is_dropped_and_reported() {
    everywhere(|executor| {
        let p = Pipeline::new("deaf producer");
        let (begun, stopped) = (Event::new(), Event::new());
        let (first, rest) = (Arc::clone(&begun), Arc::clone(&stopped));
        let out = p
            .producer("deaf", move |out| {
                out.emit(0);
                first.set();
                rest.wait();
                assert!(out.is_stopping());
                assert!(out.try_emit(1).is_err_and(|back| back.0 == 1), "the item comes back");
                out.emit(2);
                out.emit(3);
            })
            .on(executor, |s| s.map("same", |n| n))
            .batch(10)
            .collect("out");
        let running = p.start().unwrap();
        begun.wait();
        running.stop();
        stopped.set();
        let mut report = running.join().unwrap();
        assert_eq!(report.take(out), [[0]], "the remainder of a batch is in flight");
        let figures = report.stage("deaf").unwrap().figures;
        assert_eq!((figures.items_out, figures.abandoned > 0), (1, true), "under {executor}");
    });
}

#[test]
fn a_producer_blocked_by_a_slow_consumer_can_be_stopped() {
    everywhere(|executor| {
        let p = Pipeline::new("blocked");
        let emitted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&emitted);
        let mut out = p
            .producer("endless", move |out| {
                for n in 0u64.. {
                    if out.try_emit(n).is_err() {
                        break;
                    }
                    count.fetch_add(1, SeqCst);
                }
            })
            .on(executor.place().queue(2), |s| s.map("same", |n| n))
            .receiver("out", 2);
        let running = p.start().unwrap();
        assert!(out.next().is_some());
        running.stop();
        let received = 1 + out.count() as u64;
        let report = running.join().unwrap();
        assert_eq!(received, emitted.load(SeqCst));
        assert_eq!(received, report.stage("endless").unwrap().figures.items_out);
    });
}

#[test]
fn dropping_the_handle_ends_the_run() {
    everywhere(|executor| {
        let marks = Marks::new();
        let (running, many) = endless(executor, &marks);
        many.wait();
        drop(running);
        let seen = marks.lines().len();
        assert!(seen >= 100);
        // Nothing of it runs any more: whatever else happens meanwhile, no item arrives.
        let p = Pipeline::new("meanwhile");
        p.source("in", 0..100).processes(1, |s| s.map("same", |n| n)).discard();
        p.run().unwrap();
        assert_eq!(marks.lines().len(), seen, "under {executor}");
    });
}

#[test]
fn a_stop_before_anything_happened_still_ends_well() {
    everywhere(|executor| {
        let p = Pipeline::new("at once");
        let out = p.source("in", 0u64..).on(executor, |s| s.map("same", |n| n)).collect("out");
        let running = p.start().unwrap();
        running.stop();
        let mut report = running.join().unwrap();
        let produced = report.stage("in").unwrap().figures.items_out;
        assert_eq!(sorted(report.take(out)), sorted(0..produced));
    });
}

#[test]
fn a_stop_after_the_end_changes_nothing() {
    within("after the end", || {
        let p = Pipeline::new("over");
        let out = p.source("in", 0..10).receiver("out", 100);
        let running = p.start().unwrap();
        assert_eq!(out.count(), 10);
        running.stop();
        assert_eq!(running.join().unwrap().stage("in").unwrap().figures.items_out, 10);
    });
}

#[test]
fn a_handle_can_be_stopped_and_joined_from_any_thread() {
    under(&["threads:2", "processes:2", "process_per_batch:2"], |executor| {
        let marks = Marks::new();
        let (running, many) = endless(executor, &marks);
        many.wait();
        thread::scope(|scope| {
            scope.spawn(|| running.stop());
        });
        let report = thread::spawn(move || running.join()).join().unwrap().unwrap();
        assert_eq!(report.stage("see").unwrap().figures.items_in as usize, marks.lines().len());
    });
}

#[test]
fn pipelines_with_worker_processes_run_at_once_from_several_threads() {
    under(&["processes:2", "process_per_batch:2"], |executor| {
        let runs: Vec<_> = (0..4u64)
            .map(|run| {
                thread::spawn(move || {
                    let p = Pipeline::new(format!("run {run}"));
                    let out = p
                        .source("in", 0..30u64)
                        .on(executor, |s| s.map("tag", move |n| n * 10 + run))
                        .collect("out");
                    sorted(p.run().unwrap().take(out))
                })
            })
            .collect();
        for (run, thread) in (0..4u64).zip(runs) {
            assert_eq!(thread.join().unwrap(), sorted((0..30).map(|n| n * 10 + run)));
        }
    });
}

#[test]
fn a_stage_waiting_for_its_retry_is_not_waited_for_when_the_handle_is_dropped() {
    use minigun::Backoff;
    use std::time::Duration;
    everywhere(|executor| {
        let p = Pipeline::new("backoff");
        let failed = Event::new();
        let told = Arc::clone(&failed);
        let hour = Duration::from_secs(3600);
        p.source("in", 0..3)
            .on(executor.place().retry(2, Backoff::exponential(hour, hour)), |s| {
                s.try_map("refuse", move |_: i32| {
                    told.set();
                    Err::<(), _>("later".into())
                })
            })
            .discard();
        let running = p.start().unwrap();
        failed.wait();
        drop(running);
    });
}
