//! Workers killed at random moments while they append: every item's records are committed exactly once, none is
//! torn, and none is lost.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::ops::Range;
use std::time::Duration;

use crash_kit::{Killer, Load, Scene, spin};
use minigun::{Backoff, Executor, LockedFile, Pipeline, Record, attempt, threads};

/// The bytes of one item's record: large ones are written in pieces, between which a kill can fall.
fn record(n: u64, k: u64) -> Vec<u8> {
    let length = if n % 16 == k { 200_000 } else { 1 + n % 500 };
    // Neighbours differ, so that a piece of one in another shows.
    let mut bytes = vec![(3 * n + k) as u8; 16 + length as usize];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes[8..16].copy_from_slice(&k.to_le_bytes());
    bytes
}

fn writer(read: &Record) -> (u64, u64) {
    let at = |at: usize| u64::from_le_bytes(read.bytes[at..at + 8].try_into().unwrap());
    assert!(read.bytes == record(at(0), at(8)), "a record is not as it was written");
    (at(0), at(8))
}

fn killed(executor: &str, items: u64, pause: Range<u64>, nested: bool) {
    let mut scene = Scene::new();
    let killer = Killer::start(&mut scene.chance, pause);
    let p = Pipeline::new("killed");
    let file: LockedFile = p.locked_file().unwrap();
    let (theirs, last) = (file.clone(), file.clone());
    let place = executor.parse::<Executor>().unwrap().place();
    let place = place.max_restarts(u32::MAX).crash_attempts(u32::MAX).retry(1000, Backoff::none());
    let append = move |n: u64| {
        (0..3).try_for_each(|k| theirs.append(&record(n, k)))?;
        spin(Duration::from_micros(20));
        // Now and then an attempt fails after it has appended.
        let tried = attempt().map_or(0, |at| at.attempt);
        if n.is_multiple_of(7) && tried == 1 { Err("not yet".into()) } else { Ok(()) }
    };
    let load = Load::new(items);
    let batches = p.source("in", load.numbers()).batch(2);
    if nested {
        batches.on(place, |s| s.unbatch().on(threads(2), |s| s.consumer("append", append)));
    } else {
        batches.on(place, |s| s.unbatch().consumer("append", append));
    }
    let fed = load.clone();
    p.after_run(move |report| {
        let mut records = last.records()?;
        let all = records.by_ref().collect::<Result<Vec<_>, _>>()?;
        let torn = records.torn_bytes();
        let committed =
            last.committed()?.map(|record| Ok(writer(&record?))).collect::<std::io::Result<Vec<_>>>()?;
        println!("{report}\n{} records, {} committed, {torn} bytes torn", all.len(), committed.len());
        for record in &all {
            writer(record);
        }
        let mut sorted = committed;
        sorted.sort_unstable();
        let expected = (0..fed.made()).flat_map(|n| (0..3).map(move |k| (n, k)));
        assert!(sorted.into_iter().eq(expected), "each item's records exactly once");
        Ok(())
    });
    load.run(p).unwrap();
    println!("{} kills", killer.end());
    assert!(!file.path().exists());
    scene.nothing_is_left();
}

#[test]
fn a_pool_that_is_killed_commits_every_record_once() {
    killed("processes:3", 800, 500..5_000, false);
}

#[test]
fn a_process_per_batch_that_is_killed_commits_every_record_once() {
    killed("process_per_batch:3", 200, 500..3_000, false);
}

#[test]
fn threads_in_workers_that_are_killed_commit_every_record_once() {
    killed("processes:2", 500, 500..5_000, true);
}
