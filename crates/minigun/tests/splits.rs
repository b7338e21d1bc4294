//! Splits: every item goes to one branch, the one that the split promises; nothing is lost, and all branches end.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{EXECUTORS, Event, error_of, everywhere, sorted, under, within};
use minigun::{Collected, Executor, Flow, Pipeline, Report, merge};

/// Each branch through a block of its own, to be collected.
fn collected(branches: impl IntoIterator<Item = Flow<u32>>, executor: Executor) -> Vec<Collected<u32>> {
    let ends = branches.into_iter().enumerate().map(|(at, branch)| {
        branch.on(executor, |s| s.map(&format!("branch {at}"), |n| n)).collect(&format!("end {at}"))
    });
    ends.collect()
}

fn taken(report: &mut Report, ends: Vec<Collected<u32>>) -> Vec<Vec<u32>> {
    ends.into_iter().map(|end| sorted(report.take(end))).collect()
}

#[test]
fn round_robin_gives_item_k_to_branch_k_mod_n() {
    everywhere(|executor| {
        let p = Pipeline::new("turns");
        let fixed: [Flow<u32>; 3] = p.source("ten", 0..10).round_robin();
        let fixed = collected(fixed, executor);
        let some = p.source("ten more", 0..10).round_robin_n(4);
        let some: Vec<_> = some.into_iter().enumerate().map(|(n, f)| f.collect(&format!("d{n}"))).collect();
        let mut report = p.run().unwrap();
        assert_eq!(taken(&mut report, fixed), [vec![0, 3, 6, 9], vec![1, 4, 7], vec![2, 5, 8]]);
        assert_eq!(taken(&mut report, some), [vec![0, 4, 8], vec![1, 5, 9], vec![2, 6], vec![3, 7]]);
        let figures = report.stage("round_robin").unwrap().figures;
        assert_eq!((figures.items_in, figures.items_out), (10, 10));
    });
}

/// Four workers before the split, and attempts that fail after they emitted: the turns are taken by what goes on.
#[test]
fn turns_are_exact_behind_a_parallel_block_that_retries() {
    everywhere(|executor| {
        let p = Pipeline::new("turns");
        let flow = p.source("in", 0..100u32).on(executor.place().skip(), |s| {
            s.processor("flaky", |n, out| {
                out.emit(n);
                if n % 10 == 0 { Err("after it emitted".into()) } else { Ok(()) }
            })
        });
        let [a, b, c] = flow.round_robin();
        let counts = [a.collect("a"), b.collect("b"), c.collect("c")];
        let mut report = p.run().unwrap();
        assert_eq!(counts.map(|count| report.take(count).len()), [30, 30, 30]);
    });
}

#[test]
fn items_of_one_key_all_go_to_one_branch() {
    everywhere(|executor| {
        let p = Pipeline::new("keys");
        // Several workers split, each by itself.
        let flow = p.source("in", 0..600u32).on(executor, |s| s.map("before", |n| n));
        let branches: [Flow<u32>; 3] = flow.split_by_key(|n| n % 40);
        let ends = collected(branches, executor);
        let some = p.source("others", 0..600u32).split_by_key_n(3, |n| n % 40);
        let some: Vec<_> = some.into_iter().enumerate().map(|(n, f)| f.collect(&format!("d{n}"))).collect();
        let mut report = p.run().unwrap();
        let fixed = taken(&mut report, ends);
        assert_eq!(sorted(fixed.concat()), sorted(0..600));
        let mut branch_of = BTreeMap::new();
        for (branch, items) in fixed.iter().enumerate() {
            assert!(!items.is_empty(), "40 keys over 3 branches");
            for item in items {
                assert_eq!(*branch_of.entry(item % 40).or_insert(branch), branch, "key {}", item % 40);
            }
        }
        // Known at run time or before: the same keys to the same branches.
        assert_eq!(taken(&mut report, some), fixed);
    });
}

#[test]
fn a_partition_has_every_item_in_the_branch_that_was_named() {
    everywhere(|executor| {
        let p = Pipeline::new("partition");
        let (even, odd) = p.source("in", 0..20).partition("even?", |n| n % 2 == 0);
        let two = collected([even, odd], executor);
        let three: [Flow<u32>; 3] = p.source("six", 0..6).partition_by("mod 3", |n| *n as usize % 3);
        let three: Vec<_> = three.into_iter().enumerate().map(|(n, f)| f.collect(&format!("t{n}"))).collect();
        let some = p.source("six more", 0..6).partition_by_n("mod 4", 4, |n| *n as usize % 4);
        let some: Vec<_> = some.into_iter().enumerate().map(|(n, f)| f.collect(&format!("s{n}"))).collect();
        let mut report = p.run().unwrap();
        let even_and_odd = [0, 1].map(|rest| (0..20).filter(|n| n % 2 == rest).collect::<Vec<_>>());
        assert_eq!(taken(&mut report, two), even_and_odd);
        assert_eq!(taken(&mut report, three), [[0, 3], [1, 4], [2, 5]]);
        assert_eq!(taken(&mut report, some), [vec![0, 4], vec![1, 5], vec![2], vec![3]]);
    });
}

#[test]
fn a_branch_that_does_not_exist_is_the_failure_of_its_item() {
    within("no such branch", || {
        let p = Pipeline::new("no such branch");
        let flow = p.source("in", 0..5u32);
        flow.threads(1, |s| {
            let [a, b] = s.partition_by("which", |n| *n as usize);
            a.consumer("a", drop);
            b.consumer("b", drop)
        });
        let error = error_of(p).to_string();
        assert!(error.contains("`which`") && error.contains("branch 2, but there are 2"), "{error}");
    });
}

/// In a worker, too: one branch leaves through the block's end, the other by a port.
#[test]
fn a_block_may_split_what_it_has() {
    everywhere(|executor| {
        let p = Pipeline::new("inside");
        let (rest, rests) = p.inlet("rest");
        let out = p
            .source("in", 0..60u32)
            .on(executor, |s| {
                // Of a flow of segments one goes on; the others end in ports.
                let (small, large) = s.partition("small?", |n| *n < 40);
                large.send_to(&rest);
                let [one, two] = small.split_by_key(|n| n % 10);
                two.map("second", |n| n + 1000).send_to(&rest);
                let (left, right) = one.tee();
                right.map("twice", |n| n + 2000).send_to(&rest);
                left
            })
            .collect("out");
        let rests = rests.collect("rests");
        let mut report = p.run().unwrap();
        let (out, rests) = (sorted(report.take(out)), sorted(report.take(rests)));
        assert!(!out.is_empty() && out.len().is_multiple_of(4) && out.len() < 40, "whole keys: {out:?}");
        let tees: Vec<_> = out.iter().map(|n| n + 2000).collect();
        let second: Vec<_> = (0..40).filter(|n| !out.contains(n)).map(|n| n + 1000).collect();
        assert_eq!(rests, [(40..60).collect(), second, tees].concat());
    });
}

/// Every kind of split that stands in a block, on threads inside it.
#[test]
fn threads_inside_a_block_may_split_what_they_have() {
    everywhere(|executor| {
        let p = Pipeline::new("deeper");
        let (rest, rests) = p.inlet("rest");
        let out = p
            .source("in", 0..120u32)
            .on(executor, |s| {
                s.threads(2, |s| {
                    let (small, large) = s.partition("small?", |n| *n < 90);
                    large.send_to(&rest);
                    let mut thirds = small.partition_by_n("thirds", 3, |n| *n as usize % 3);
                    thirds.pop().unwrap().send_to(&rest);
                    let [one, two] = thirds.pop().unwrap().round_robin();
                    two.send_to(&rest);
                    one.send_to(&rest);
                    let [one, two] = thirds.pop().unwrap().split_by_key(|n| n % 5);
                    two.send_to(&rest);
                    one
                })
            })
            .collect("out");
        let rests = rests.collect("rests");
        let mut report = p.run().unwrap();
        let (out, rests) = (report.take(out), report.take(rests));
        assert!(!out.is_empty() && out.iter().all(|n| *n < 90 && n % 3 == 0), "{out:?}");
        assert_eq!(sorted(out.into_iter().chain(rests)), sorted(0..120));
    });
}

#[test]
fn the_least_loaded_branch_gets_the_item() {
    within("least loaded", || {
        // No branch does anything before all is sent.
        let p = Pipeline::new("least loaded");
        let sent = Event::new();
        let told = sent.clone();
        let flow = p.producer("in", move |out| {
            (0..90u32).for_each(|n| out.emit(n));
            sent.set();
        });
        let [a, b, c] = flow.least_loaded();
        let ends = [("a", a), ("b", b), ("c", c)].map(|(name, branch)| {
            let told = told.clone();
            branch
                .processor(name, move |n, out| {
                    told.wait();
                    out.emit(n);
                })
                .collect(&format!("end of {name}"))
        });
        let mut report = p.run().unwrap();
        let counts = ends.map(|end| report.take(end).len());
        assert_eq!(counts, [30, 30, 30], "none is done, so all are filled evenly");
    });
}

/// All but `inline`, where the branch would hold up the thread that splits.
#[test]
fn items_go_round_a_branch_that_is_held_up() {
    under(&EXECUTORS[1..], |executor| {
        let p = Pipeline::new("round it");
        let (others, held) = (Event::new(), Event::new());
        let (until, tell) = (others.clone(), held.clone());
        let flow = p.producer("in", move |out| {
            out.emit(0u32);
            held.wait();
            (1..=50).for_each(|n| out.emit(n));
        });
        let mut branches = flow.least_loaded_n(2).into_iter();
        let slow = branches.next().unwrap().on(executor, move |s| {
            s.map("slow", move |n| {
                if n == 0 {
                    tell.set();
                    until.wait();
                }
                n
            })
        });
        let fast =
            branches.next().unwrap().processor("fast", |n, out| out.emit(n)).inspect("see", move |n| {
                // Long before the last: a few items wait behind the one that is held up, as many as here.
                if *n > 5 {
                    others.set();
                }
            });
        let out = merge([slow, fast]).collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(0..=50));
    });
}

/// Diamonds of every split: no item lost or doubled, no queue that waits for another in a circle.
#[test]
fn branches_of_every_split_may_be_merged_again() {
    everywhere(|executor| {
        let p = Pipeline::new("diamonds");
        let tiny = |flow: Flow<u32>, name: &str| flow.on(executor.place().queue(1), |s| s.map(name, |n| n));
        let flow = p.source("in", 0..300);
        let [a, b, c] = flow.round_robin();
        let flow = merge([tiny(a, "a"), b, tiny(c, "c")]);
        let [a, b] = flow.split_by_key(|n| n % 7);
        let flow = merge([tiny(a, "d"), tiny(b, "e")]);
        let (a, b) = flow.partition("f", |n| n % 3 == 0);
        let flow = tiny(a, "g").merge(b);
        let [a, b] = flow.least_loaded();
        let flow = tiny(a, "h").merge(tiny(b, "i"));
        let mut twice = flow.broadcast_n(2).into_iter();
        let out = tiny(twice.next().unwrap(), "j").merge(twice.next().unwrap()).collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted((0..300).flat_map(|n| [n, n])));
    });
}

#[test]
fn a_branch_that_gets_nothing_ends_normally_and_one_that_ends_early_loses_nothing() {
    everywhere(|executor| {
        let p = Pipeline::new("nothing");
        let (all, none) = p.source("in", 0..40u32).partition("all", |_| true);
        let none = none.batch(3).on(executor, |s| s.map("never", |batch| batch)).collect("none");
        let [a, b] = all.round_robin();
        // One branch throws its items away at once; the other must still get all of its own.
        a.discard();
        let b = b.on(executor, |s| s.map("kept", |n| n)).collect("b");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(none).len(), 0);
        assert_eq!(sorted(report.take(b)), sorted((0..40).filter(|n| n % 2 == 1)));
    });
}

#[test]
fn one_split_is_drawn_in_the_report_with_every_branch() {
    within("report", || {
        let p = Pipeline::new("report");
        let branches = p.source("in", 0..10u32).round_robin_n(5);
        let names: BTreeSet<_> = (0..5).map(|n| format!("branch {n}")).collect();
        for (branch, name) in branches.into_iter().zip(&names) {
            branch.consumer(name, drop);
        }
        let report = p.run().unwrap();
        for name in names {
            assert_eq!(report.stage(&name).unwrap().figures.items_in, 2, "{name}");
        }
    });
}
