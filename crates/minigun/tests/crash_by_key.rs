//! A pool by key whose workers are killed at random moments: a key stays with its slot, and every result comes once.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crash_kit::{Killer, Load, Scene, spin};
use minigun::{Pipeline, processes};
use minigun_os::{Pid, procfs};

const KEYS: u64 = 40;

#[test]
fn a_key_stays_with_its_slot_when_workers_are_killed_and_replaced() {
    let mut scene = Scene::new();
    let load = Load::new(30_000);
    let killer = Killer::start(&mut scene.chance, 500..8_000);
    let p = Pipeline::new("keys");
    let (count, seen) = (p.counter("count"), p.collector("seen"));
    let head = processes(3).max_restarts(100_000).crash_attempts(100_000).by_key(|n: &u64| n % KEYS);
    let out = p
        .source("in", load.numbers())
        .on(head, |s| {
            s.map("work", move |n| {
                spin(Duration::from_micros(30));
                count.add(1);
                let title = procfs::title(Pid::current()).unwrap_or_default();
                seen.push((n % KEYS, title));
                n
            })
        })
        .collect("out");
    let mut report = load.run(p).unwrap();
    let kills = killer.end();
    println!("{report}\n{kills} kills");
    let made = load.made();
    let mut out = report.take(out);
    out.sort();
    assert!(out.into_iter().eq(0..made), "every result once");
    assert_eq!(report.count(&count), made);
    let figures = report.stage("work").unwrap().figures;
    assert_eq!((figures.items_in, figures.completed, figures.abandoned), (made, made, 0));
    assert!(figures.deaths > 0 && figures.deaths <= kills);
    let mut slots = BTreeMap::<u64, BTreeSet<String>>::new();
    for (key, title) in report.take(seen) {
        slots.entry(key).or_default().insert(title);
    }
    assert!(slots.values().all(|titles| titles.len() == 1), "{slots:?}");
    let all: BTreeSet<_> = slots.into_values().flatten().collect();
    assert_eq!(all.into_iter().collect::<Vec<_>>(), ["mg:work/0", "mg:work/1", "mg:work/2"]);
    scene.nothing_is_left();
}

/// More deaths than the block allows end the run, also when each slot for itself had fewer.
#[test]
fn deaths_are_counted_over_all_slots() {
    let scene = Scene::new();
    let p = Pipeline::new("deaths");
    let head = processes(3).max_restarts(10).crash_attempts(100_000).by_key(|n: &u64| *n);
    p.source("in", 0..KEYS).on(head, |s| s.consumer("kills itself", |_| std::process::abort()));
    let error = p.run().map(|_| ()).unwrap_err();
    let minigun::Error::Dying { stage, deaths, .. } = &error else { panic!("{error}") };
    assert_eq!((stage.as_str(), *deaths), ("kills itself", 11));
    scene.nothing_is_left();
}
