//! Blocks that begin where another block ends, and blocks that begin with another block: every item has one
//! outcome, and the books know it.

mod common;

use common::{everywhere, sorted};
use minigun::{Executor, Pipeline, inline};

#[test]
fn threads_inline_behind_a_block_finish_an_item_before_it_is_through() {
    everywhere(|executor| {
        let p = Pipeline::new("behind");
        let seen = p.counter("seen");
        let all = p
            .source("in", 0..500u64)
            .on(executor, |s| s.map("one", |n| n + 1))
            .inline(|s| {
                s.threads(2, move |s| {
                    s.map("two", move |n| {
                        seen.add(1);
                        n * 2
                    })
                })
            })
            .collect("all");
        let mut report = p.run().expect("runs");
        assert_eq!(sorted(report.take(all)), (0..500).map(|n| (n + 1) * 2).collect::<Vec<_>>(), "{executor}");
        assert_eq!(report.count(&seen), 500, "{executor}");
    });
}

#[test]
fn the_remainder_of_a_batch_passes_through_threads_behind_it() {
    for _ in 0..20 {
        let p = Pipeline::new("remainder");
        let sums = p
            .source("in", 0..100u64)
            .batch(7)
            .inline(|s| s.threads(2, |s| s.map("sum", |batch: Vec<u64>| batch.iter().sum::<u64>())))
            .fold("total", 0, |total, sum| total + sum);
        assert_eq!(p.run().expect("runs").take(sums), (0..100).sum::<u64>());
    }
}

#[test]
fn a_block_that_begins_with_a_skipping_block_has_books_of_its_own() {
    everywhere(|executor| {
        if executor == Executor::Inline {
            return;
        }
        let p = Pipeline::new("begins");
        let all = p
            .source("in", 0..100u64)
            .on(executor, |s| {
                s.on(inline().skip(), |s| {
                    s.try_map("even", |n| if n % 2 == 0 { Ok(n) } else { Err("odd".into()) })
                })
            })
            .collect("all");
        let mut report = p.run().expect("the books balance");
        assert_eq!(sorted(report.take(all)).len(), 50, "{executor}");
        assert_eq!(report.stage("even").map(|stage| stage.figures.skipped), Some(50), "{executor}");
    });
}
