//! Loops whose workers are killed at random moments: nothing that goes round is lost, and the loop ends.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use crash_kit::{Killer, Load, Scene, spin};
use minigun::{Executor, Pipeline};

/// Every number goes round six times; what it passed is told in the end.
fn rounds(executor: &str, least: u64, pause: std::ops::Range<u64>) {
    const ROUNDS: u32 = 6;
    let mut scene = Scene::new();
    let load = Load::new(least);
    let killer = Killer::start(&mut scene.chance, pause);
    let executor: Executor = executor.parse().unwrap();
    let p = Pipeline::new("loop");
    let (done, next) = mpsc::channel();
    let (count, seen) = (p.counter("count"), p.collector("seen"));
    let out = p
        .source(
            "in",
            load.numbers()
                .inspect(move |n| {
                    // A few at a time: until a kill has hit, more would be made than a slow machine gets done.
                    if *n >= 20 {
                        let _ = next.recv();
                    }
                })
                .map(|n| (n, 0u32)),
        )
        .feedback("loop", |flow, again| {
            // A deaths' limit is not what this is about.
            flow.on(executor.place().max_restarts(100_000).crash_attempts(100_000), |s| {
                s.processor_to("round", &again, move |(n, round): (u64, u32), out, again| {
                    spin(Duration::from_micros(30));
                    count.add(1);
                    seen.push(n);
                    if round + 1 < ROUNDS {
                        again.emit((n, round + 1));
                    }
                    out.emit((n, round));
                })
            })
        })
        .inspect("tell", move |(_, round)| {
            if round + 1 == ROUNDS {
                let _ = done.send(());
            }
        })
        .collect("out");
    let mut report = load.run(p).unwrap();
    let kills = killer.end();
    println!("{report}\n{kills} kills");
    let made = load.made();
    let mut counts = BTreeMap::new();
    report.take(out).into_iter().for_each(|item| *counts.entry(item).or_insert(0) += 1);
    let expected = (0..made).flat_map(|n| (0..ROUNDS).map(move |round| ((n, round), 1)));
    assert!(counts.into_iter().eq(expected), "every item once in every round");
    let items = made * u64::from(ROUNDS);
    assert_eq!(report.count(&count), items);
    assert_eq!(report.take(seen).len() as u64, items);
    assert_eq!(report.stage("round").unwrap().figures.completed, items);
    scene.nothing_is_left();
}

/// Some 10 MB went through files.
#[test]
fn a_loop_that_kept_items_in_files_leaves_none_open_and_none_behind() {
    let files = || {
        let ours = format!("minigun-loop-{}-", std::process::id());
        let folder = std::fs::read_dir(std::env::temp_dir()).unwrap();
        folder
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(&ours))
            .count()
    };
    for killed in [false, true] {
        let scene = Scene::new();
        let p = Pipeline::new("spill");
        let count = p.source("in", [String::new()]).feedback("loop", |flow, again| {
            flow.on(minigun::processes(2), |s| {
                s.processor_to("grow", &again, |text: String, out, again| {
                    // One makes ten, and each of those a thousand: so it is not all one attempt's.
                    match text.len() {
                        0 => (0..10).for_each(|n| again.emit(n.to_string())),
                        1 => (0..1_000).for_each(|n| again.emit(format!("{n:>1000}"))),
                        _ => {}
                    }
                    out.emit(text.len());
                })
            })
        });
        let count = count.fold("count", 0, |count, _| count + 1);
        let running = p.start().unwrap();
        if killed {
            // All of it waits, or is done by now.
            crash_kit::until(|| running.stats().iter().any(|s| s.name == "loop" && s.figures.items_in > 2));
            running.kill().unwrap();
            assert!(running.join().is_err());
        } else {
            assert_eq!(running.join().unwrap().take(count), 10_011);
        }
        assert_eq!(files(), 0);
        scene.nothing_is_left();
    }
}

#[test]
fn a_loop_through_a_pool_whose_workers_are_killed_ends_with_everything_done() {
    rounds("processes:3", 400, 500..8_000);
}

#[test]
fn a_loop_through_fresh_processes_that_are_killed_ends_with_everything_done() {
    rounds("process_per_batch:3", 100, 2_000..10_000);
}
