//! Stopping a run: gracefully by its handle, without draining by killing it or dropping the handle.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use common::{Event, Marks, everywhere, sorted, under, within};
use minigun::{Backoff, Error, Executor, Handle, Pipeline, Running, StopCause, inline, threads};

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

const HOUR: Duration = Duration::from_secs(3600);

/// A backoff that no test outlives.
fn hours() -> Backoff {
    Backoff::exponential(HOUR, HOUR)
}

/// Whether this item is tried for the first time, in any process.
fn first_time(marks: &Marks, n: u64) -> bool {
    let first = marks.count(n) == 0;
    marks.add(n);
    first
}

#[test]
fn what_waits_for_another_attempt_gets_it_at_once_when_the_run_is_stopped() {
    everywhere(|executor| {
        let (p, marks, failed) = (Pipeline::new("backoff"), Marks::new(), Event::new());
        let (tried, told) = (Arc::clone(&marks), Arc::clone(&failed));
        let out = p
            .source("in", 0..3u64)
            .on(executor.place().retry(4, hours()), |s| {
                s.try_map("later", move |n| {
                    tried.add(n);
                    let attempt = tried.count(n);
                    if n == 0 && attempt == 1 {
                        told.set();
                    }
                    // The last one needs all its attempts.
                    if attempt < 2 + n as usize { Err("later".into()) } else { Ok(n) }
                })
            })
            .collect("out");
        let running = p.start().unwrap();
        failed.wait();
        running.stop();
        let mut report = running.join().unwrap();
        // The thread before an inline block waits with its item: what comes after it was not produced yet.
        let produced = report.stage("in").unwrap().figures.items_out;
        let out = sorted(report.take(out));
        assert_eq!(out, sorted(0..produced), "under {executor}: nothing is lost, nothing waits an hour");
        let retried = report.stage("later").unwrap().figures.retried;
        assert_eq!(retried, out.iter().map(|n| n + 1).sum::<u64>(), "no attempt is taken away");
    });
}

#[test]
fn retries_of_blocks_inside_a_worker_are_not_waited_for_either() {
    everywhere(|executor| {
        for place in ["inline", "threads:2"] {
            let (p, marks, failed) = (Pipeline::new("inner"), Marks::new(), Event::new());
            let told = Arc::clone(&failed);
            let refuse = move |n: u64| {
                if first_time(&marks, n) {
                    told.set();
                    return Err("later".into());
                }
                Ok(n)
            };
            let out = p
                .source("in", 0..1u64)
                .on(executor, |s| match place {
                    "inline" => s.on(inline().retry(2, hours()), |s| s.try_map("inner", refuse)),
                    _ => s.on(threads(2).retry(2, hours()), |s| s.try_map("inner", refuse)),
                })
                .collect("out");
            let running = p.start().unwrap();
            failed.wait();
            running.stop();
            assert_eq!(running.join().unwrap().take(out), [0], "{place} in {executor}");
        }
    });
}

#[test]
fn the_report_of_a_stopped_run_says_so_and_by_whom() {
    within("stopped", || {
        let (running, many) = endless(Executor::Threads(1), &Marks::new());
        many.wait();
        running.handle().stop();
        let report = running.join().unwrap();
        assert_eq!(report.stopped(), Some(StopCause::Handle));
        assert!(report.to_string().contains("stopped early by its handle"), "{report}");
        assert_eq!(serde_json::to_value(&report).unwrap()["stopped"], "Handle");

        let p = Pipeline::new("whole");
        p.source("in", 0..3).discard();
        let report = p.run().unwrap();
        assert_eq!(report.stopped(), None);
        assert!(!report.to_string().contains("stopped"), "{report}");
    });
}

#[test]
fn a_killed_run_ends_at_once_while_another_thread_waits_for_it() {
    everywhere(|executor| {
        let (p, busy, stop) = (Pipeline::new("killed"), Event::new(), Event::new());
        let (told, never) = (Arc::clone(&busy), Arc::clone(&stop));
        let in_process = matches!(executor, Executor::Processes(_) | Executor::ProcessPerBatch(_));
        p.source("in", 0u64..)
            .on(executor, |s| {
                s.inspect("busy", move |_| {
                    told.set();
                    if in_process {
                        never.wait(); // a worker that would never end by itself
                    }
                })
            })
            .discard();
        let running = p.start().unwrap();
        let handle: Handle = running.handle();
        busy.wait();
        let waiting = thread::spawn(move || running.join());
        handle.kill().unwrap();
        handle.kill().unwrap();
        let error = waiting.join().unwrap().err().unwrap();
        assert!(matches!(error, Error::Killed { by: StopCause::Handle }), "under {executor}: {error}");
        handle.kill().unwrap();
        handle.stop();
    });
}

#[test]
fn a_kill_names_the_stage_whose_closure_it_cannot_end() {
    under(&["threads:2", "processes:1"], |executor| {
        let (p, stuck, over) = (Pipeline::new("stuck"), Event::new(), Event::new());
        let (told, end, marks) = (Arc::clone(&stuck), Arc::clone(&over), Marks::new());
        let after = Arc::clone(&marks);
        p.after_run(move |_| after.add("after_run"));
        p.source("in", 0..10u64).on(executor, |s| s.map("same", |n| n)).consumer("hangs", move |_| {
            told.set();
            end.wait();
        });
        let running = p.start().unwrap();
        stuck.wait();
        match running.kill().unwrap_err() {
            Error::Stuck { stages, because: Some(because) } => {
                assert_eq!(stages, ["hangs"], "under {executor}");
                assert!(matches!(*because, Error::Killed { .. }));
            }
            other => panic!("{other}"),
        }
        over.set();
        let error = running.join().err().unwrap();
        assert!(matches!(error, Error::Killed { .. }), "it had returned in time: {error}");
        assert_eq!(marks.lines(), ["after_run"]);
    });
}

#[test]
fn figures_can_be_read_at_any_moment_from_any_thread() {
    everywhere(|executor| {
        let p = Pipeline::new("figures");
        let (into, flow) = p.channel("in", 10);
        let out = flow.on(executor, |s| s.map("work", |n: u64| n)).receiver("out", 10);
        let running = p.start().unwrap();
        let handle = running.handle();
        let arrived = |handle: &Handle| {
            let stats = handle.stats();
            assert_eq!(stats.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["in", "work", "out"]);
            stats[1].figures.items_in
        };
        assert_eq!(arrived(&handle), 0);
        let mut out = out;
        for n in 0..5 {
            into.send(n).unwrap();
            assert_eq!(out.next(), Some(n));
        }
        // An idle worker's figures are up to date, a moment after its last result.
        thread::scope(|scope| {
            scope.spawn(|| {
                while arrived(&handle) < 5 {
                    thread::yield_now();
                }
            });
        });
        assert_eq!(arrived(&handle), 5, "under {executor}");
        drop(into);
        assert_eq!(out.next(), None);
        running.join().unwrap();
        assert_eq!(arrived(&handle), 5, "also when the run is over");
    });
}
