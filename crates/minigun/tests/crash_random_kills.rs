//! Workers killed at random moments lose nothing and repeat nothing: every result, count and collected value
//! arrives exactly once. The same loads run without kills, which could hide a deadlock.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::time::Duration;

use crash_kit::{Killer, Load, Scene, spin};
use minigun::{Block, Dynamic, Executor, Pipeline, Report};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    id: u64,
    text: String,
}

fn item(id: u64) -> Item {
    Item { id, text: format!("item {id}") }
}

fn place(executor: &str) -> Block<Dynamic> {
    executor.parse::<Executor>().unwrap().place().max_restarts(u32::MAX).crash_attempts(u32::MAX)
}

/// Every item exactly once, by its identity; every figure exact.
fn check(
    mut report: Report,
    items: u64,
    results: minigun::Collected<Item>,
    seen: minigun::Collector<u64>,
    count: minigun::Counter,
) {
    let mut results = report.take(results);
    results.sort_by_key(|item| item.id);
    assert_eq!(results.len() as u64, items, "as many results as items");
    assert!(results.into_iter().eq((0..items).map(item)), "each result once, unaltered");
    let mut seen = report.take(seen);
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..items), "each value collected once");
    assert_eq!(report.count(&count), items, "each item counted once");
}

fn pool(kills: Option<std::ops::Range<u64>>) {
    const ITEMS: u64 = 20_000;
    let mut scene = Scene::new();
    let load = if kills.is_some() { Load::new(ITEMS) } else { Load::peaceful(ITEMS) };
    let killer = kills.map(|pause| Killer::start(&mut scene.chance, pause));
    let p = Pipeline::new("pool");
    let (count, seen) = (p.counter("count"), p.collector("seen"));
    let results = p
        .source("items", load.numbers().map(item))
        .on(place("processes:3"), |s| {
            s.map("work", move |item: Item| {
                spin(Duration::from_micros(30));
                count.add(1);
                seen.push(item.id);
                item
            })
        })
        .collect("results");
    let report = load.run(p).unwrap();
    let kills = killer.map_or(0, Killer::end);
    println!("{report}\n{kills} kills");
    let items = load.made();
    let figures = report.stage("work").unwrap().figures;
    assert_eq!((figures.items_in, figures.items_out, figures.completed), (items, items, items));
    assert_eq!((figures.skipped, figures.failed, figures.abandoned), (0, 0, 0));
    assert!(figures.deaths <= kills, "{} deaths by {kills} kills", figures.deaths);
    check(report, items, results, seen, count);
    scene.nothing_is_left();
}

fn fresh(kills: Option<std::ops::Range<u64>>) {
    const BATCHES: u64 = 300;
    const BATCH: u64 = 20;
    let mut scene = Scene::new();
    let load = if kills.is_some() { Load::new(BATCHES * BATCH) } else { Load::peaceful(BATCHES * BATCH) };
    let killer = kills.map(|pause| Killer::start(&mut scene.chance, pause));
    let p = Pipeline::new("fresh");
    let (count, seen) = (p.counter("count"), p.collector("seen"));
    let results = p
        .source("items", load.numbers().map(item))
        .batch(BATCH as usize)
        .on(place("process_per_batch:3"), |s| {
            s.map("work", move |batch: Vec<Item>| {
                spin(Duration::from_millis(1));
                count.add(batch.len() as u64);
                batch.iter().for_each(|item| seen.push(item.id));
                batch
            })
        })
        .unbatch()
        .collect("results");
    let report = load.run(p).unwrap();
    let kills = killer.map_or(0, Killer::end);
    println!("{report}\n{kills} kills");
    let batches = load.made().div_ceil(BATCH);
    let figures = report.stage("work").unwrap().figures;
    assert_eq!((figures.items_in, figures.items_out, figures.completed), (batches, batches, batches));
    assert!(figures.deaths <= kills, "{} deaths by {kills} kills", figures.deaths);
    check(report, load.made(), results, seen, count);
    scene.nothing_is_left();
}

#[test]
fn a_pool_whose_workers_are_killed_gives_every_result_once() {
    pool(Some(500..8_000));
}

#[test]
fn a_pool_left_in_peace_gives_every_result_once() {
    pool(None);
}

#[test]
fn a_process_per_batch_that_is_killed_gives_every_result_once() {
    fresh(Some(500..4_000));
}

#[test]
fn a_process_per_batch_left_in_peace_gives_every_result_once() {
    fresh(None);
}

/// An attempt that failed, one that died and one that succeeded may all have counted the same item.
#[test]
fn kills_and_retries_together_count_every_item_once() {
    const ITEMS: u64 = 4_000;
    let mut scene = Scene::new();
    let killer = Killer::start(&mut scene.chance, 1_000..10_000);
    let p = Pipeline::new("both");
    let (count, seen) = (p.counter("count"), p.collector("seen"));
    let tries = std::sync::atomic::AtomicU64::new(0);
    let results = p
        .source("items", (0..ITEMS).map(item))
        .on(place("processes:2").retry(1000, minigun::Backoff::none()), |s| {
            s.try_map("flaky", move |item: Item| {
                spin(Duration::from_micros(50));
                count.add(1);
                seen.push(item.id);
                // Every third try in a worker fails, after it has counted.
                if tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 == 2 {
                    return Err("not now".into());
                }
                Ok(item)
            })
        })
        .on(place("process_per_batch:1"), |s| s.map("gather", |item: Item| item).filter("all", |_| true))
        .collect("results");
    let report = p.run().unwrap();
    let kills = killer.end();
    println!("{report}\n{kills} kills");
    assert!(report.stage("flaky").unwrap().figures.retried > 0);
    check(report, ITEMS, results, seen, count);
    scene.nothing_is_left();
}
