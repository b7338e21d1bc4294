//! Worker counts: n at once, never more, and which processes they are.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use common::{Event, Marks, sorted, under, within};
use minigun::{Executor, Pipeline};

/// Runs `items` items of which the first `n` end only together; gives the worker of each and the greatest number
/// that was seen running at once.
fn at_once(executor: Executor, n: usize, items: usize) -> (Vec<String>, usize) {
    let p = Pipeline::new("at once");
    let (begun, go, marks) = (Event::new(), Event::new(), Marks::new());
    let (here, there, record) = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&marks));
    // Lets one go for each that has begun, the first of them when n have.
    thread::spawn(move || {
        (0..n).for_each(|_| here.take());
        (0..n).for_each(|_| there.set());
        for _ in n..items {
            here.take();
            there.set();
        }
    });
    let out = p
        .source("in", 0..items)
        .on(executor, |s| {
            s.map("meet", move |_| {
                record.add("+");
                begun.set();
                go.take();
                record.add("-");
                common::worker()
            })
        })
        .collect("out");
    let workers = p.run().unwrap().take(out);
    let (mut running, mut most) = (0, 0);
    for line in marks.lines() {
        if line == "+" {
            running += 1;
            most = most.max(running);
        } else {
            running -= 1;
        }
    }
    (workers, most)
}

#[test]
fn n_workers_run_n_items_at_once_and_never_more() {
    under(&["threads:1", "threads:4", "processes:1", "processes:4", "process_per_batch:4"], |executor| {
        let n = match executor {
            Executor::Threads(n) | Executor::Processes(n) | Executor::ProcessPerBatch(n) => n,
            other => panic!("{other}"),
        };
        let (workers, most) = at_once(executor, n, 40);
        assert_eq!((workers.len(), most), (40, n), "under {executor}");
    });
}

fn pids(workers: Vec<String>) -> BTreeSet<u32> {
    workers.iter().map(|worker| worker.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_pools_workers_are_as_many_processes_besides_the_program() {
    under(&["processes:1", "processes:4", "processes:9"], |executor| {
        let Executor::Processes(n) = executor else { panic!("{executor}") };
        let pids = pids(at_once(executor, n, 60).0);
        assert_eq!(pids.len(), n, "each serves, and none is replaced");
        assert!(!pids.contains(&std::process::id()));
    });
}

#[test]
fn a_pools_workers_are_reused() {
    under(&["processes:1", "processes:3"], |executor| {
        let p = Pipeline::new("reuse");
        let out = p
            .source("in", 0..2000)
            .on(executor, |s| s.map("pid", |_: i32| std::process::id()))
            .collect("out");
        let pids = p.run().unwrap().take(out);
        assert_eq!(pids.len(), 2000);
        let Executor::Processes(n) = executor else { panic!("{executor}") };
        assert!(pids.into_iter().collect::<BTreeSet<_>>().len() <= n);
    });
}

#[test]
fn pools_larger_than_the_work_serve_it() {
    for items in [0, 1, 3] {
        under(&["threads:20", "processes:20", "process_per_batch:20"], move |executor| {
            let p = Pipeline::new("large");
            let out = p.source("in", 0..items).on(executor, |s| s.map("same", |n| n)).collect("out");
            assert_eq!(sorted(p.run().unwrap().take(out)), sorted(0..items));
        });
    }
}

#[test]
fn two_pools_of_a_pipeline_share_no_worker() {
    within("two pools", || {
        let p = Pipeline::new("two pools");
        let pid = |_: u32| std::process::id();
        let (left, right) = p.source("in", 0..200u32).tee();
        let left = left.processes(2, |s| s.map("left", pid)).collect("from left");
        let right = right.processes(2, |s| s.map("right", pid)).collect("from right");
        let mut report = p.run().unwrap();
        let left: BTreeSet<_> = report.take(left).into_iter().collect();
        let right: BTreeSet<_> = report.take(right).into_iter().collect();
        assert!(left.is_disjoint(&right), "{left:?} {right:?}");
    });
}

#[test]
fn every_item_has_a_process_of_its_own_under_process_per_batch() {
    under(&["process_per_batch:1", "process_per_batch:3"], |executor| {
        let p = Pipeline::new("fresh");
        let out =
            p.source("in", 0..50).on(executor, |s| s.map("pid", |_: i32| std::process::id())).collect("out");
        let pids: BTreeSet<_> = p.run().unwrap().take(out).into_iter().chain([std::process::id()]).collect();
        assert_eq!(pids.len(), 51);
    });
}

#[test]
fn worker_processes_see_the_programs_memory_as_it_was_when_the_run_began() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    under(&["processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("memory");
        let value = Arc::new(AtomicU32::new(1));
        let theirs = Arc::clone(&value);
        let (send, flow) = p.channel("in", 10);
        let out = flow
            .on(executor, |s| {
                s.map("swap", move |n: u32| {
                    let seen = theirs.load(Relaxed);
                    theirs.fetch_add(1000 * n, Relaxed);
                    seen % 1000
                })
            })
            .collect("out");
        value.store(2, Relaxed);
        let running = p.start().unwrap();
        value.store(3, Relaxed);
        (0..10).for_each(|n| send.send(n).unwrap());
        drop(send);
        assert_eq!(running.join().unwrap().take(out), [2; 10]);
        assert_eq!(value.load(Relaxed), 3);
    });
}
