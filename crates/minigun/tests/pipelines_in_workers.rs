//! A whole pipeline runs inside a closure of another one: on a thread, in a worker process, in a fresh process; and
//! forks workers of its own there. Its hooks, counters and report are its own, and nothing of it is left.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;
mod crash_kit;

use std::collections::BTreeSet;
use std::os::unix::process::parent_id;
use std::process::id;
use std::sync::{Arc, Mutex};

use common::{EXECUTORS, sorted};
use crash_kit::Scene;
use minigun::{Backoff, Error, Executor, Failure, Pipeline};
use minigun_os::{Pid, procfs};
use serde::{Deserialize, Serialize};

/// Every executor around every other one.
fn everywhere_in_everywhere(f: impl Fn(Executor, Executor)) {
    for outer in EXECUTORS {
        for inner in ["inline", "threads:2", "processes:2", "process_per_batch:2"] {
            let scene = Scene::new();
            println!("{inner} in {outer}");
            f(outer.parse().unwrap(), inner.parse().unwrap());
            scene.nothing_is_left();
        }
    }
}

fn forks(executor: Executor) -> bool {
    matches!(executor, Executor::Processes(_) | Executor::ProcessPerBatch(_))
}

/// What an inner run tells of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Inner {
    results: Vec<u64>,
    counted: u64,
    before_run: u64,
    collected: Vec<u64>,
    hooks: Vec<String>,
    after_forks: u64,
    stage_hooks: (u64, u64),
    /// In, out, retried and skipped of the block; items of the last stage.
    figures: [u64; 5],
    skipped: String,
    /// Fork servers and workers.
    processes: BTreeSet<u32>,
}

/// Ten items from `n` on: one of them needs a second attempt, one is given up.
fn inner_run(place: Executor, n: u64) -> Result<Inner, Failure> {
    let p = Pipeline::new("inner");
    let counters = ["items", "before_run", "after_fork", "before", "after"].map(|name| p.counter(name));
    let [items, before_run, after_fork, before, after] = counters;
    let (collected, tried) = (p.collector::<u64>("collected"), p.collector::<(u32, u32)>("processes"));
    let hooks = Arc::new(Mutex::new(Vec::new()));
    let hook = |name: &'static str| {
        let hooks = Arc::clone(&hooks);
        move || hooks.lock().unwrap().push(name.to_string())
    };
    let (first, last) = (hook("before_run"), hook("after_run"));
    p.before_run(move || {
        first();
        before_run.add(1000);
    });
    p.before_fork(hook("before_fork")).after_run(move |_| last());
    p.after_fork(move || after_fork.add(1));
    let again = Arc::new(common::Marks::new());
    let step = move |k: u64| {
        items.add(1);
        collected.push(k);
        if forks(place) {
            tried.push((id(), parent_id()));
        }
        again.add(k);
        match k - n {
            3 if again.count(k) == 1 => Err("not yet".into()),
            7 => Err("never".into()),
            _ => Ok(k * 2),
        }
    };
    let head = place.place().retry(2, Backoff::none()).skip().before_fork(hook("before_fork of the block"));
    let results = p
        .source("in", n..n + 10)
        .on(head, |s| s.try_map("double", step).before(move || before.add(1)).after(move || after.add(1)))
        .threads(2, |s| s.map("plus one", |k| k + 1))
        .collect("results");
    let mut report = p.run()?;
    let double = report.stage("double").ok_or("no such stage")?;
    let (figures, skipped) = (double.figures, double.failures.clone());
    let last = report.stage("plus one").ok_or("no such stage")?.figures;
    let [counted, before_run, after_forks, before, after] = counters.map(|counter| report.count(&counter));
    let hooks = hooks.lock().unwrap().clone();
    Ok(Inner {
        results: sorted(report.take(results)),
        collected: sorted(report.take(collected)),
        counted,
        before_run,
        hooks,
        after_forks,
        stage_hooks: (before, after),
        figures: [figures.items_in, figures.items_out, figures.retried, figures.skipped, last.items_in],
        skipped: skipped
            .iter()
            .map(|item| format!("{} {} {}", item.item, item.attempts, item.error))
            .collect(),
        processes: report.take(tried).into_iter().flat_map(|(pid, parent)| [pid, parent]).collect(),
    })
}

#[test]
fn a_pipeline_runs_inside_a_closure_wherever_that_stands_and_is_whole() {
    everywhere_in_everywhere(|outer, inner| {
        let p = Pipeline::new("outer");
        let ran = p.counter("ran");
        let out = p
            .source("in", [100, 200, 300])
            .on(outer, |s| {
                s.try_map("run a pipeline", move |n| {
                    ran.add(1);
                    let told = inner_run(inner, n)?;
                    ran.add(10);
                    Ok((n, told))
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(report.count(&ran), 33, "what is counted around the inner run is the outer's");
        let runs = report.take(out);
        assert_eq!(sorted(runs.iter().map(|(n, _)| *n)), [100, 200, 300]);
        for (n, run) in runs {
            let good = || (n..n + 10).filter(|k| *k != n + 7);
            assert_eq!(run.results, sorted(good().map(|k| k * 2 + 1)));
            assert_eq!((run.counted, run.before_run), (9, 1000), "its counters are its own");
            assert_eq!(run.collected, sorted(good()));
            assert_eq!(run.figures, [9, 9, 2, 1, 9], "its report is complete");
            assert_eq!(run.skipped, "7 2 never");
            let hooks: &[&str] = if forks(inner) {
                &["before_run", "before_fork", "before_fork of the block", "after_run"]
            } else {
                &["before_run", "after_run"]
            };
            assert_eq!(run.hooks, hooks, "its hooks fire, each once");
            let workers = match inner {
                Executor::Inline => 1,
                Executor::Threads(n) | Executor::Processes(n) => n as u64,
                // One for each attempt: ten items, two of them tried twice.
                _ => 12,
            };
            assert_eq!(run.after_forks, if forks(inner) { workers } else { 0 });
            assert_eq!(run.stage_hooks, (workers, workers));
            assert_eq!(run.processes.is_empty(), !forks(inner));
            for pid in run.processes {
                assert!(!is_alive(pid), "process {pid} of the inner run outlived it");
            }
        }
    });
}

fn is_alive(pid: u32) -> bool {
    pid != id() && Pid::new(pid).is_some_and(procfs::is_alive)
}

#[test]
fn pipelines_nest_three_deep() {
    let scene = Scene::new();
    fn run(depth: u32, n: u64) -> Result<u64, Failure> {
        let p = Pipeline::new(format!("depth {depth}"));
        let place: Executor = ["processes:2", "process_per_batch:2"][depth as usize % 2].parse()?;
        let sum = p
            .source("in", 0..n)
            .on(place, |s| s.try_map("below", move |k| if depth == 0 { Ok(k) } else { run(depth - 1, k) }))
            .fold("sum", 0, |sum, k| sum + k);
        Ok(p.run()?.take(sum))
    }
    fn expected(depth: u32, n: u64) -> u64 {
        (0..n).map(|k| if depth == 0 { k } else { expected(depth - 1, k) }).sum()
    }
    assert_eq!(run(2, 6).unwrap(), expected(2, 6));
    scene.nothing_is_left();
}

#[test]
fn the_error_of_an_inner_run_is_the_failure_of_the_outer_item() {
    everywhere_in_everywhere(|outer, inner| {
        let p = Pipeline::new("outer");
        p.source("in", 0..6u64)
            .on(outer.place().skip(), |s| {
                s.try_map("run a pipeline", move |n| {
                    let p = Pipeline::new("inner");
                    p.source("in", 0..20u64)
                        .on(inner, |s| {
                            s.inspect("check", move |k| assert!(n % 3 != 1 || *k != 13, "unlucky"))
                        })
                        .discard();
                    p.run()?;
                    Ok(n)
                })
            })
            .discard();
        let report = p.run().unwrap();
        let stage = report.stage("run a pipeline").unwrap();
        assert_eq!((stage.figures.items_out, stage.figures.skipped), (4, 2));
        for item in &stage.failures {
            let told = ["stage `check` failed on item 13", "unlucky"];
            assert!(told.iter().all(|text| item.error.contains(text)), "{}", item.error);
        }
    });
}

#[test]
fn a_channel_made_in_a_worker_is_sent_into_from_there() {
    for outer in EXECUTORS {
        let scene = Scene::new();
        let p = Pipeline::new("outer");
        let out = p
            .source("in", [10, 20u64])
            .on(outer.parse::<Executor>().unwrap(), |s| {
                s.try_map("send", |n| {
                    let p = Pipeline::new("inner");
                    let (send, flow) = p.channel("numbers", 2);
                    let sum =
                        flow.processes(1, |s| s.map("same", |k: u64| k)).fold("sum", 0, |sum, k| sum + k);
                    let running = p.start()?;
                    for k in 0..n {
                        send.send(k).map_err(|_| "the channel is closed")?;
                    }
                    drop(send);
                    Ok(running.join()?.take(sum))
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), [45, 190], "under {outer}");
        scene.nothing_is_left();
    }
}

/// Memory copied by the fork, that nobody reads, must not swallow what is counted.
#[test]
fn what_an_inner_worker_counts_for_the_outer_pipeline_is_refused_and_not_lost() {
    for outer in EXECUTORS {
        let scene = Scene::new();
        let p = Pipeline::new("outer");
        let count = p.counter("outer's");
        p.source("in", [1])
            .on(outer.parse::<Executor>().unwrap(), |s| {
                s.try_map("run a pipeline", move |n: u32| {
                    let p = Pipeline::new("inner");
                    p.source("in", [n]).processes(1, |s| s.inspect("count", move |_| count.add(1))).discard();
                    p.run()?;
                    Ok(n)
                })
            })
            .discard();
        match p.run().err() {
            Some(Error::Stage { stage, cause, .. }) => {
                assert!(stage == "run a pipeline" && cause.contains("stage `count`"), "{stage}: {cause}");
                assert!(cause.contains("inside another pipeline"), "{cause}");
            }
            other => panic!("{outer}: {other:?}"),
        }
        scene.nothing_is_left();
    }
}
