//! Broadcast, merge, and flows that do not meet.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{everywhere, sorted, within};
use minigun::{Pipeline, merge};

#[test]
fn every_branch_gets_a_clone_and_sees_no_change_made_in_another() {
    everywhere(|executor| {
        let p = Pipeline::new("clones");
        let lists = p.source("in", (0..20).map(|n| vec![n]));
        let branches = lists.broadcast::<3>().map(Some);
        let [a, b, c] = branches;
        let push = |what: i32| {
            move |mut list: Vec<i32>| {
                list.push(what);
                list
            }
        };
        let a = a.unwrap().on(executor, |s| s.map("a", push(-1))).collect("from a");
        let b = b.unwrap().map("b", push(-2)).collect("from b");
        let c = c.unwrap().processor("c", |list, out| out.emit(list)).collect("from c");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(a)), sorted((0..20).map(|n| vec![n, -1])));
        assert_eq!(sorted(report.take(b)), sorted((0..20).map(|n| vec![n, -2])));
        assert_eq!(sorted(report.take(c)), sorted((0..20).map(|n| vec![n])));
    });
}

#[test]
fn an_item_is_cloned_once_less_than_it_has_branches() {
    #[derive(Debug)]
    struct Counted(Arc<AtomicU32>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Counted(Arc::clone(&self.0))
        }
    }
    within("clones", || {
        let p = Pipeline::new("how many clones");
        let clones = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&clones);
        let flow = p.producer("in", move |out| (0..10).for_each(|_| out.emit(Counted(Arc::clone(&theirs)))));
        for branch in flow.broadcast::<3>() {
            branch.discard();
        }
        p.run().unwrap();
        let discarded = clones.swap(0, Ordering::Relaxed);
        assert!(discarded <= 20, "{discarded}");

        let p = Pipeline::new("how many clones");
        let theirs = Arc::clone(&clones);
        let flow = p.producer("in", move |out| (0..10).for_each(|_| out.emit(Counted(Arc::clone(&theirs)))));
        for (number, branch) in flow.broadcast::<3>().into_iter().enumerate() {
            branch.consumer(&format!("branch {number}"), drop);
        }
        p.run().unwrap();
        assert_eq!(clones.load(Ordering::Relaxed), 20);
    });
}

#[test]
fn a_merge_holds_exactly_what_its_flows_held() {
    everywhere(|executor| {
        let p = Pipeline::new("merge");
        let sources = [("a", 7u64), ("b", 0), ("c", 300), ("d", 1)].map(|(name, n)| p.source(name, 0..n));
        let [a, b, c, d] = sources;
        let c = c.on(executor, |s| s.map("c's block", |n| n));
        let out = a.merge([b, c]).merge(d).on(executor, |s| s.map("all", |n| n)).collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..7).chain(0..300).chain([0])));
        assert_eq!(report.stage("all").unwrap().figures.items_in, 308);
    });
}

#[test]
fn a_flow_merged_with_itself_arrives_twice() {
    within("itself", || {
        let p = Pipeline::new("itself");
        let flow = p.source("in", 0..100);
        let out = flow.clone().merge([flow.clone(), flow]).collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted((0..100).flat_map(|n| [n, n, n])));
    });
}

#[test]
fn diamonds_in_a_row_count_every_path() {
    everywhere(|executor| {
        let p = Pipeline::new("diamonds");
        let mut flow = p.source("in", 0..10u32);
        for row in 0..3 {
            let (left, right) = flow.tee();
            let left = left.on(executor, |s| s.map(&format!("left {row}"), |n| n));
            let right = right.processor(&format!("right {row}"), |n, out| out.emit(n));
            flow = merge([left, right]);
        }
        let out = flow.collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..10).flat_map(|n| [n; 8])));
        assert_eq!(report.stage("left 2").unwrap().figures.items_in, 40);
        assert_eq!(report.stage("right 2").unwrap().figures.items_in, 40);
    });
}

#[test]
fn flows_that_are_not_linked_do_not_meet() {
    everywhere(|executor| {
        let p = Pipeline::new("unlinked");
        let out: Vec<_> = (0..4u32)
            .map(|flow| {
                p.source(&format!("in {flow}"), flow * 100..flow * 100 + 50 + flow)
                    .on(executor, |s| s.map(&format!("step {flow}"), |n| n))
                    .collect(&format!("out {flow}"))
            })
            .collect();
        let mut report = p.run().unwrap();
        for (flow, out) in (0..4u32).zip(out) {
            assert_eq!(sorted(report.take(out)), sorted(flow * 100..flow * 100 + 50 + flow));
        }
    });
}

#[test]
fn a_flow_without_items_ends_normally() {
    everywhere(|executor| {
        let p = Pipeline::new("empty");
        let out = p.source("in", 0..0).on(executor, |s| s.map("never", |n: i32| n)).batch(3).collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(out), [[0; 0]; 0]);
        assert_eq!(report.stage("never").unwrap().figures.items_in, 0);
    });
}

/// Who makes items for several branches must not keep room in one while it waits for room in another: the branches meet
/// again, behind the smallest queues there are.
#[test]
fn branches_that_meet_again_do_not_hold_each_other_up() {
    everywhere(|executor| {
        let p = Pipeline::new("meet again");
        let tiny =
            |flow: minigun::Flow<u32>, name: &str| flow.on(executor.place().queue(1), |s| s.map(name, |n| n));
        // Every item for both, at once.
        let (left, right) = p.source("in", 0..50u32).tee();
        let both = tiny(tiny(left, "left").merge(right), "both").collect("out");
        // Many for either, at once.
        let (even, odd) =
            p.source("many", 0..3u32).flat_map("make", |_| 0..100u32).partition("even?", |n| n % 2 == 0);
        let either = tiny(tiny(even, "even").merge(odd), "either").collect("others");
        let (port, sent) = p.inlet("port");
        let kept = p.source("sent", 0..5u32).processor_to("send", &port, |n, out, port| {
            (0..20).for_each(|m| if m % 2 == 0 { out.emit(20 * n + m) } else { port.emit(20 * n + m) });
        });
        let ported = tiny(tiny(kept, "kept").merge(sent), "ported").collect("through a port");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(both)), sorted((0..50).chain(0..50)));
        assert_eq!(sorted(report.take(either)), sorted((0..3).flat_map(|_| 0..100)));
        assert_eq!(sorted(report.take(ported)), sorted(0..100));
    });
}
