//! Batches: their sizes, their order, their remainders.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use common::{everywhere, sorted, told, under, within};
use minigun::{Batches, Pipeline, merge};

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

/// The source waits for the answer to what it sent: only a timer can let the batch go on.
#[test]
fn a_batch_goes_on_when_it_is_old_though_nothing_more_arrives() {
    everywhere(|executor| {
        let p = Pipeline::new("old");
        let (answer, answers) = mpsc::channel();
        let all = p
            .producer("asks", move |out| {
                for n in 0..5u32 {
                    (0..3).for_each(|_| out.emit(n));
                    let mut answered = 0;
                    while answered < 3 {
                        let (of, items) = answers.recv()?;
                        assert_eq!(of, n);
                        answered += items;
                    }
                }
                Ok(())
            })
            .batch_by(Batches::of(1000).within(Duration::from_millis(2)))
            .on(executor, |s| s.map("same", |batch: Vec<u32>| batch))
            .inspect("answers", move |batch| answer.send((batch[0], batch.len())).unwrap())
            .unbatch()
            .collect("all");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(all).len(), 15);
        assert_eq!(report.stage("batch").unwrap().figures.items_in, 15);
    });
}

#[test]
fn an_old_batch_of_one_key_does_not_wait_for_another() {
    within("keys", || {
        let p = Pipeline::new("keys");
        let (answer, answers) = mpsc::channel();
        let batches = p
            .producer("asks", move |out| {
                for n in 0..6u32 {
                    out.emit(n);
                    while answers.recv()? != n {}
                }
                Ok(())
            })
            .batch_by(Batches::of(2).within(Duration::from_millis(1)).by_key(8, |n: &u32| n % 3))
            .inspect("answers", move |batch| batch.iter().for_each(|n| answer.send(*n).unwrap()))
            .collect("batches");
        assert_eq!(p.run().unwrap().take(batches), [[0], [1], [2], [3], [4], [5]]);
    });
}

#[test]
fn a_step_behind_an_old_batch_that_fails_ends_the_run() {
    within("fails", || {
        let p = Pipeline::new("fails");
        let (tell, told_stop) = mpsc::channel::<()>();
        p.producer("waits", move |out| {
            out.emit(1);
            // Until the step behind the batch is dropped, which the failure brings about.
            let _ = told_stop.recv();
        })
        .batch_by(Batches::of(10).within(Duration::from_millis(1)))
        .try_map("refuses", move |_: Vec<i32>| {
            tell.send(())?;
            Err::<(), _>("no batches today".into())
        })
        .discard();
        let (stage, item, attempts, cause, _) = told(common::error_of(p));
        assert_eq!((stage.as_str(), item, attempts), ("refuses", 0, 1));
        assert!(cause.contains("no batches today"), "{cause}");
    });
}

#[test]
fn batches_by_weight_keep_their_ceiling_and_a_heavy_item_is_one_by_itself() {
    everywhere(|executor| {
        let p = Pipeline::new("weight");
        let lengths = [3, 3, 3, 3, 12, 1, 9, 10, 0, 4];
        let out = p
            .source("in", lengths.map(|length| "x".repeat(length)))
            .batch_by(Batches::of(100).weighing(10, String::len))
            .on(executor, |s| s.map("lengths", |batch| batch.iter().map(String::len).collect::<Vec<_>>()))
            .collect("out");
        let expected = [vec![3, 3, 3], vec![3], vec![12], vec![1, 9], vec![10], vec![0, 4]];
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(expected), "under {executor}");
    });
}

#[test]
fn by_key_the_batch_begun_first_makes_room_and_every_remainder_goes_on() {
    within("by key", || {
        let p = Pipeline::new("by key");
        let batches = p
            .source("in", ["a1", "b1", "a2", "c1", "a3", "b2"])
            .batch_by(Batches::of(10).by_key(2, |text: &&str| text.chars().next()))
            .collect("out");
        let expected = [vec!["a1", "a2"], vec!["b1"], vec!["c1"], vec!["a3"], vec!["b2"]];
        // `a` makes room for `c`, then `b` for `a`, then `c` for `b`; what is left goes on at the end.
        assert_eq!(p.run().unwrap().take(batches), expected);
    });
}

#[test]
fn a_key_that_panics_ends_the_run_and_names_the_batch() {
    within("panics", || {
        let p = Pipeline::new("panics");
        let key = |n: &i32| assert_ne!(*n, 3, "number three");
        p.source("in", 0..5).batch_by(Batches::of(10).by_key(2, key)).discard();
        let (stage, item, _, cause, _) = told(common::error_of(p));
        assert_eq!((stage.as_str(), item), ("batch", 3));
        assert!(cause.contains("number three"), "{cause}");
    });
}
