//! Loops whose workers are killed at random moments: nothing that goes round is lost, and the loop ends.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::collections::BTreeMap;
use std::time::Duration;

use crash_kit::{Killer, Load, Scene, spin};
use minigun::{Executor, Pipeline};

/// Every number goes round six times; what it passed is told in the end.
fn rounds(executor: &str, pause: std::ops::Range<u64>) {
    const ROUNDS: u32 = 6;
    let mut scene = Scene::new();
    let load = Load::new(400);
    let killer = Killer::start(&mut scene.chance, pause);
    let executor: Executor = executor.parse().unwrap();
    let p = Pipeline::new("loop");
    let (count, seen) = (p.counter("count"), p.collector("seen"));
    let out = p
        .source("in", load.numbers().map(|n| (n, 0u32)))
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

#[test]
fn a_loop_through_a_pool_whose_workers_are_killed_ends_with_everything_done() {
    rounds("processes:3", 500..8_000);
}

#[test]
fn a_loop_through_fresh_processes_that_are_killed_ends_with_everything_done() {
    rounds("process_per_batch:3", 2_000..10_000);
}
