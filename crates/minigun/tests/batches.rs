//! Batches: their sizes, their order, their remainders.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;

use common::{everywhere, sorted, under, within};
use minigun::{Pipeline, merge};

fn batched(items: u32, size: usize) -> Vec<Vec<u32>> {
    let p = Pipeline::new("batch");
    let out = p.source("in", 0..items).batch(size).collect("out");
    p.run().unwrap().take(out)
}

#[test]
fn batches_hold_every_item_in_order_and_the_last_one_is_what_is_left() {
    within("batches", || {
        assert_eq!(batched(10, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7, 8], vec![9]]);
        assert_eq!(batched(9, 3), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]);
        assert_eq!(batched(3, 1), [[0], [1], [2]]);
        assert_eq!(batched(2, 1_000_000_000), [[0, 1]]);
    });
}

#[test]
fn no_batch_is_ever_empty() {
    within("none", || {
        assert_eq!(batched(0, 3), [[0u32; 0]; 0]);
        let p = Pipeline::new("filtered");
        let (one, two) = p.source("in", 0..10).filter("none", |_| false).tee();
        let (batches, again) = (one.batch(2).collect("batches"), two.batch(3).rebatch(2).collect("again"));
        let mut report = p.run().unwrap();
        assert_eq!((report.take(batches).len(), report.take(again).len()), (0, 0));
    });
}

/// Batches of these sizes, and their items made into batches of `size`.
fn rebatched(sizes: &[u32], size: usize) -> Vec<Vec<u32>> {
    let p = Pipeline::new("rebatch");
    let mut next = 0;
    let batches: Vec<Vec<u32>> = sizes
        .iter()
        .map(|size| {
            next += size;
            (next - size..next).collect()
        })
        .collect();
    let out = p.source("in", batches).rebatch(size).collect("out");
    p.run().unwrap().take(out)
}

#[test]
fn rebatch_crosses_the_borders_of_batches_and_keeps_the_order() {
    within("rebatch", || {
        let sizes = |batches: &[Vec<u32>]| batches.iter().map(Vec::len).collect::<Vec<_>>();
        let smaller = rebatched(&[100, 100, 100], 20);
        assert_eq!(sizes(&smaller), [20; 15]);
        assert_eq!(smaller.concat(), (0..300).collect::<Vec<_>>());
        let larger = rebatched(&[50, 50], 30);
        assert_eq!(sizes(&larger), [30, 30, 30, 10]);
        assert_eq!(larger.concat(), (0..100).collect::<Vec<_>>());
        assert_eq!(sizes(&rebatched(&[0, 3, 0, 2, 0], 4)), [4, 1]);
        assert_eq!(rebatched(&[0, 0], 4), [[0u32; 0]; 0]);
    });
}

#[test]
fn batches_in_front_of_a_block_arrive_whole_with_the_remainder() {
    everywhere(|executor| {
        let p = Pipeline::new("in front");
        let out = p
            .source("in", 0..103u32)
            .batch(10)
            .on(executor, |s| s.map("sum", |batch| (batch.len(), batch.iter().sum::<u32>())))
            .collect("out");
        let expected = (0..103).collect::<Vec<_>>();
        let expected = expected.chunks(10).map(|batch| (batch.len(), batch.iter().sum()));
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(expected), "under {executor}");
    });
}

#[test]
fn batches_behind_a_block_hold_what_all_its_workers_made() {
    everywhere(|executor| {
        let p = Pipeline::new("behind");
        let out = p
            .source("in", 0..100u32)
            .on(executor, |s| s.flat_map("twice", |n| [n, n]))
            .batch(30)
            .collect("out");
        let batches = p.run().unwrap().take(out);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [30, 30, 30, 30, 30, 30, 20]);
        assert_eq!(sorted(batches.concat()), sorted((0..100).chain(0..100)));
    });
}

#[test]
fn unbatch_gives_the_items_back() {
    everywhere(|executor| {
        let p = Pipeline::new("unbatch");
        let out = p
            .source("in", 0..100u32)
            .batch(7)
            .on(executor, |s| s.unbatch().map("plus one", |n| n + 1))
            .batch(9)
            .unbatch()
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(1..101));
    });
}

#[test]
fn merged_flows_share_a_batch() {
    within("merged", || {
        let p = Pipeline::new("merged");
        let flows = [p.source("three", 0..3), p.source("four", 3..7)];
        let out = merge(flows).batch(5).collect("out");
        let batches = p.run().unwrap().take(out);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [5, 2]);
        assert_eq!(sorted(batches.concat()), sorted(0..7));
    });
}

#[test]
fn a_thousand_items_in_batches_of_a_hundred_run_in_ten_processes() {
    under(&["process_per_batch:1", "process_per_batch:4"], |executor| {
        let p = Pipeline::new("ten processes");
        let out = p
            .source("in", 0..1000u32)
            .batch(100)
            .on(executor, |s| s.map("process", |batch| (std::process::id(), batch)))
            .collect("out");
        let mut report = p.run().unwrap();
        let (pids, batches): (Vec<_>, Vec<_>) = report.take(out).into_iter().unzip();
        let pids: BTreeSet<_> = pids.into_iter().chain([std::process::id()]).collect();
        assert_eq!((batches.len(), pids.len()), (10, 11), "ten processes besides this one");
        assert_eq!(sorted(batches.concat()), sorted(0..1000));
        assert_eq!(report.stage("process").unwrap().figures.items_in, 10);
    });
}
