//! Figures of stages and workers are the same wherever the stage runs: counts, latencies by a given clock, queues,
//! bytes, forks.

mod common;

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Event, everywhere, under};
use minigun::{Backoff, Executor, Pipeline, StageFigures, WorkerState, inline};

thread_local! {
    /// A clock for each thread that stands still until it is moved.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// This worker has an item.
    static BEGUN: Cell<bool> = const { Cell::new(false) };
}

fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}

fn by_hand(p: &Pipeline) {
    p.measured_by(|| NOW.get());
}

const MS: Duration = Duration::from_millis(1);

fn is_about(is: Duration, should: Duration) -> bool {
    is.abs_diff(should) * 100 <= should
}

#[test]
fn twenty_items_are_produced_and_consumed_and_the_latencies_of_ten_are_those_that_they_took() {
    everywhere(|executor| {
        let p = Pipeline::new("twenty");
        by_hand(&p);
        p.source("produced", 1..=20u32)
            .on(executor, |s| {
                s.inspect("consumed", |n| {
                    if n % 2 == 0 {
                        pass(n / 2 * 10 * MS)
                    }
                })
                .filter("ten", |n| n % 2 == 0)
            })
            .discard();
        let report = p.run().unwrap();
        let figures = |name: &str| report.stage(name).unwrap().figures;
        assert_eq!((figures("produced").items_out, figures("consumed").items_in), (20, 20));
        assert_eq!((figures("ten").filtered, figures("consumed").filtered), (10, 0));
        let latency = figures("consumed").latency;
        assert_eq!(latency.count, 20, "under {executor}");
        // Ten took no time, the others 10, 20, … 100 ms.
        assert_eq!((latency.max, latency.p99), (100 * MS, 100 * MS), "under {executor}");
        assert!(is_about(latency.p90, 80 * MS), "under {executor}: {latency:?}");
        assert_eq!(figures("consumed").busy, 550 * MS, "under {executor}");
        assert_eq!(figures("produced").expected, Some(20));
    });
}

#[test]
fn what_came_of_items_is_counted_whether_it_is_much_or_nothing_and_failed_ones_count_for_nothing() {
    everywhere(|executor| {
        let p = Pipeline::new("much and nothing");
        let sum = p
            .source("in", 0..90u32)
            .on(executor.place().skip(), |s| {
                s.processor("some", |n, out| {
                    // More than a queue has room for, a few, or none.
                    (0..[3000, 2, 0][n as usize % 3]).for_each(|k| out.emit(k));
                    assert!(n % 10 != 4, "after it has emitted");
                })
            })
            .fold("sum", 0u64, |sum, k: u32| sum + u64::from(k));
        let mut report = p.run().unwrap();
        let good = || (0..90).filter(|n| n % 10 != 4);
        let of = |rest| good().filter(|n| n % 3 == rest).count() as u64;
        assert_eq!(report.take(sum), of(0) * (0..3000).sum::<u64>() + of(1), "under {executor}");
        let some = report.stage("some").unwrap().figures;
        assert_eq!((some.items_in, some.skipped), (81, 9), "under {executor}");
        assert_eq!((some.items_out, some.filtered), (of(0) * 3000 + of(1) * 2, of(2)), "under {executor}");
    });
}

#[test]
fn percentiles_of_a_known_distribution_are_exact_and_equal_everywhere() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&seen);
    everywhere(move |executor| {
        let p = Pipeline::new("known");
        by_hand(&p);
        p.source("in", 1..=100u32).on(executor, |s| s.inspect("work", |n| pass(*n * MS))).discard();
        let latency = p.run().unwrap().stage("work").unwrap().figures.latency;
        assert_eq!((latency.count, latency.max), (100, 100 * MS), "under {executor}");
        for (is, should) in [(latency.p50, 50), (latency.p90, 90), (latency.p99, 99)] {
            assert!(is_about(is, should * MS), "under {executor}: {is:?} is not {should} ms");
        }
        all.lock().unwrap().push(latency);
    });
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|latency| *latency == seen[0]), "{seen:#?}");
}

#[test]
fn a_failed_attempt_takes_its_time_too() {
    under(&["threads:1", "threads:4", "processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("tries");
        by_hand(&p);
        p.source("in", 0..10u32)
            .on(executor.place().retry(2, Backoff::none()).skip(), |s| {
                s.try_map("odd", |n| {
                    pass(10 * MS);
                    if n % 2 == 1 { Err("odd".into()) } else { Ok(n) }
                })
            })
            .discard();
        let report = p.run().unwrap();
        let stage = report.stage("odd").unwrap();
        let StageFigures { latency, busy, failed, retried, skipped, .. } = stage.figures;
        assert_eq!((failed, retried, skipped), (10, 5, 5));
        assert_eq!((latency.count, busy), (15, 150 * MS), "under {executor}");
        assert_eq!(stage.workers.iter().map(|worker| worker.items).sum::<u64>(), 10, "under {executor}");
        assert!(stage.workers.iter().all(|worker| worker.state == WorkerState::Ended));
    });
}

#[test]
fn workers_queue_and_borders_are_in_the_figures_of_a_run_under_way() {
    under(&["threads:1", "threads:2", "processes:1", "processes:2"], |executor| {
        let p = Pipeline::new("under way");
        let (begun, go) = (Event::new(), Event::new());
        let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go));
        p.source("in", 0..200u64)
            .on(executor.place().queue(16), |s| {
                s.inspect("gate", move |_| {
                    if !BEGUN.replace(true) {
                        tell.set();
                    }
                    wait.wait();
                })
            })
            .discard();
        let workers = if let Executor::Threads(n) | Executor::Processes(n) = executor { n } else { 1 };
        let in_processes = matches!(executor, Executor::Processes(_));
        let running = p.start().unwrap();
        (0..workers).for_each(|_| begun.take());
        let stats = running.stats();
        let gate = &stats[1];
        assert_eq!((gate.name.as_str(), gate.workers.len()), ("gate", workers));
        let queue = gate.figures.queue.unwrap();
        assert!(queue.limit == 16 && queue.depth <= 16, "{queue:?}");
        for worker in &gate.workers {
            assert_eq!(worker.state, WorkerState::Working, "under {executor}: {worker:?}");
            assert_eq!(worker.pid.is_some(), in_processes, "{worker:?}");
            assert_eq!(worker.memory.is_some(), in_processes, "{worker:?}");
        }
        go.set();
        let report = running.join().unwrap();
        let figures = report.stage("gate").unwrap().figures;
        assert_eq!(figures.forks, if in_processes { workers as u64 } else { 0 });
        assert_eq!((figures.restarts, figures.queue.unwrap().depth), (0, 0));
        // Of each number at least one byte goes there and one comes back.
        assert_eq!(figures.bytes_sent >= 200 && figures.bytes_received >= 200, in_processes, "{figures:?}");
        assert_eq!(figures.peak_memory > 0, in_processes, "{figures:?}");
        assert_eq!(report.stage("gate").unwrap().workers.iter().map(|w| w.items).sum::<u64>(), 200);
    });
}

#[test]
fn a_worker_that_dies_is_restarted_in_its_place() {
    under(&["processes:1"], |executor| {
        let p = Pipeline::new("dies");
        p.source("in", 0..10)
            .on(executor, |s| {
                s.inspect("once", |n| {
                    if *n == 5 && minigun::attempt().is_some_and(|at| at.attempt == 1) {
                        std::process::abort();
                    }
                })
            })
            .discard();
        let report = p.run().unwrap();
        let stage = report.stage("once").unwrap();
        let figures = stage.figures;
        assert_eq!((figures.deaths, figures.restarts, figures.forks), (1, 1, 2));
        assert_eq!((stage.workers[0].restarts, stage.workers[0].items), (1, 10));
        assert!(stage.workers[0].peak_memory.is_some());
    });
}

#[test]
fn who_waits_for_what_is_seen() {
    under(&["threads:1", "processes:1"], |executor| {
        let p = Pipeline::new("waits");
        let (send, flow) = p.channel("in", 1);
        let out = flow.on(executor.place().queue(1), |s| s.map("pass", |n: u32| n)).receiver("out", 1);
        let running = p.start().unwrap();
        let sender = std::thread::spawn(move || (0..50).for_each(|n| send.send(n).unwrap()));
        assert_eq!(out.count(), 50);
        sender.join().unwrap();
        let figures = running.join().unwrap().stage("pass").unwrap().figures;
        // It waits for its first item at least; nothing is said about how long.
        assert!(figures.waited_for_input > Duration::ZERO, "under {executor}: {figures:?}");
    });
}

#[test]
fn what_waits_for_the_programs_own_thread_is_in_the_figures_of_its_receiver() {
    under(&["inline", "threads:1", "processes:1"], |executor| {
        let p = Pipeline::new("tap");
        let mut out = p.source("in", 0..10).on(executor, |s| s.map("pass", |n: u32| n)).receiver("out", 4);
        let running = p.start().unwrap();
        let first = out.next();
        let stats = running.stats();
        let figures = stats[2].figures;
        assert_eq!((stats[2].kind, first), ("receiver", Some(0)));
        let queue = figures.queue.unwrap();
        assert!(queue.limit == 4 && queue.depth <= 4 && (1..=4).contains(&figures.items_in), "{figures:?}");
        assert_eq!(out.count(), 9);
        let figures = running.join().unwrap().stage("out").unwrap().figures;
        assert_eq!((figures.items_in, figures.queue.unwrap().depth), (10, 0), "under {executor}");
    });
}

#[test]
fn of_an_attempt_that_failed_nothing_is_counted_though_it_passed_a_block_inside() {
    everywhere(|executor| {
        let p = Pipeline::new("inside");
        p.source("in", 0..10u64)
            .on(executor.place().retry(2, Backoff::none()), |s| {
                s.flat_map("twice", |n| [n, n + 100])
                    .on(inline().skip(), |s| s.map("inside", |n| n))
                    .inspect("between", |_| {})
                    .try_map("breaks", |n| match minigun::attempt() {
                        Some(at) if at.attempt == 1 && n > 100 && n % 3 == 0 => Err("the second half".into()),
                        _ => Ok(n),
                    })
            })
            .discard();
        let report = p.run().unwrap();
        for name in ["inside", "between", "breaks"] {
            let figures = report.stage(name).unwrap().figures;
            assert_eq!((figures.items_in, figures.items_out), (20, 20), "{name} under {executor}");
        }
    });
}
