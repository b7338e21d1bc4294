//! `dedup_by` lets the first item of every key pass, and no key twice.

mod common;

use std::collections::BTreeSet;

use common::{everywhere, within};
use minigun::Pipeline;

#[test]
fn the_first_of_every_key_passes_and_the_order_is_kept() {
    within("first", || {
        let p = Pipeline::new("first");
        let words = ["one", "two", "three", "four", "six", "seven", "", "eight", ""];
        let (exact, approx) = p.source("in", words).tee();
        let exact = exact.dedup_by(|word| word.len()).collect("exact");
        // With 64 bits a key there is no error to be seen.
        let approx = approx.dedup_by_approx(1000, 1e-18, |word| word.len()).collect("approx");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(exact), ["one", "three", "four", ""]);
        assert_eq!(report.take(approx), ["one", "three", "four", ""]);
        let figures = report.stage("dedup_by").unwrap().figures;
        assert_eq!((figures.items_in, figures.items_out), (9, 4));
    });
}

/// Its memory is one for all workers of the blocks around it.
#[test]
fn what_several_workers_give_is_compared_in_one_place() {
    everywhere(|executor| {
        let p = Pipeline::new("workers");
        let out = p
            .source("in", (0..600u32).map(|n| n % 60))
            .on(executor, |s| s.map("same", |n| n))
            .dedup_by(|n| *n)
            .on(executor, |s| s.map("again", |n| n))
            .collect("out");
        let out = p.run().unwrap().take(out);
        assert_eq!((out.len(), out.into_iter().collect()), (60, (0..60).collect::<BTreeSet<_>>()));
    });
}

#[test]
fn approximately_no_key_passes_twice_and_few_are_dropped() {
    within("approx", || {
        let p = Pipeline::new("approx");
        let out = p
            .source("in", (0..20_000u32).chain(0..20_000))
            .dedup_by_approx(20_000, 0.01, |n| *n)
            .collect("out");
        let out = p.run().unwrap().take(out);
        let keys: BTreeSet<_> = out.iter().collect();
        assert_eq!(keys.len(), out.len(), "none passes twice");
        assert!(out.len() >= 19_800, "at most 1 in 100 is dropped: {} passed", out.len());
    });
}
