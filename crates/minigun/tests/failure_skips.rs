//! Under `skip` a failing item is counted and listed, and every other item arrives.

mod common;

use common::{Marks, everywhere, sorted, under};
use minigun::{Backoff, Pipeline};

/// What goes wrong with these items.
fn picky(n: i32) -> Result<i32, minigun::Failure> {
    match n % 10 {
        3 => Err(format!("{n} ends in three").into()),
        7 => panic!("{n} ends in seven"),
        _ => Ok(n),
    }
}

fn good(n: &i32) -> bool {
    !matches!(n % 10, 3 | 7)
}

#[test]
fn skipped_items_are_counted_and_listed_and_the_others_all_arrive() {
    everywhere(|executor| {
        let p = Pipeline::new("skip");
        let (panics, seen) = (p.counter("seen"), p.collector::<i32>("good"));
        let out = p
            .source("in", 0..40)
            .on(executor.place().skip(), |s| {
                s.inspect("count", move |_| panics.add(1)).try_map("picky", picky).inspect("keep", move |n| {
                    seen.push(*n);
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        let survivors = sorted((0..40).filter(good));
        assert_eq!(sorted(report.take(out)), survivors);
        assert_eq!(sorted(report.take(seen)), survivors);
        assert_eq!(report.count(&panics), 32, "what failed attempts count is not seen");
        // The books of a block are kept on its first stage.
        let stage = report.stage("count").unwrap();
        assert_eq!((stage.figures.skipped, stage.figures.failed, stage.figures.retried), (8, 8, 0));
        assert_eq!(stage.figures.items_in, 32);
        let listed = sorted(stage.failures.iter().map(|s| (s.item, s.stage.as_str(), s.attempts)));
        let expected = sorted((0..40).filter(|n| !good(n)).map(|n| (n as u64, "picky", 1)));
        assert_eq!(listed, expected, "under {executor}");
        for skipped in &stage.failures {
            let why = if skipped.item % 10 == 3 { "ends in three" } else { "panicked" };
            assert!(skipped.error.contains(why), "{}", skipped.error);
        }
        let text = report.to_string();
        assert!(text.contains("skipped item 13 of `picky` after 1 attempt: 13 ends in three"), "{text}");
    });
}

#[test]
fn many_skipped_items_are_counted_and_the_first_of_them_listed() {
    everywhere(|executor| {
        let p = Pipeline::new("many");
        let out = p
            .source("in", 0..500)
            .on(executor.place().skip(), |s| s.try_map("refuse", |_: i32| Err::<i32, _>("no".into())))
            .collect("out");
        let mut report = p.run().unwrap();
        assert!(report.take(out).is_empty());
        let stage = report.stage("refuse").unwrap();
        assert_eq!((stage.figures.skipped, stage.failures.len()), (500, minigun::defaults::KEPT_FAILURES));
    });
}

#[test]
fn an_item_is_skipped_when_its_attempts_are_used_up() {
    everywhere(|executor| {
        let p = Pipeline::new("used up");
        let marks = Marks::new();
        let theirs = marks.clone();
        let out = p
            .source("in", 0..20)
            .on(executor.place().retry(3, Backoff::none()).skip(), |s| {
                s.try_map("picky", move |n| {
                    theirs.add(n);
                    picky(n)
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..20).filter(good)));
        for n in 0..20 {
            assert_eq!(marks.count(n), if good(&n) { 1 } else { 3 }, "attempts at {n} under {executor}");
        }
        let stage = report.stage("picky").unwrap();
        assert_eq!((stage.figures.skipped, stage.figures.retried, stage.figures.failed), (4, 8, 12));
        assert!(stage.failures.iter().all(|skipped| skipped.attempts == 3));
    });
}

#[test]
fn a_panic_leaves_no_lock_poisoned_for_the_others() {
    // Collectors, counters and state behind locks are used by all; a panic while one of them is being used
    // must not reach the next item.
    everywhere(|executor| {
        let p = Pipeline::new("locks");
        let (seen, count) = (p.collector::<i32>("seen"), p.counter("count"));
        let out = p
            .source("in", 0..40)
            .on(executor.place().skip(), |s| {
                s.map("use", move |n| {
                    seen.push(n);
                    count.add(1);
                    assert!(n % 4 != 1, "after it used them");
                    n
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        let survivors = sorted((0..40).filter(|n| n % 4 != 1));
        assert_eq!(sorted(report.take(out)), survivors);
        assert_eq!(sorted(report.take(seen)), survivors);
        assert_eq!(report.count(&count), 30);
    });
}

#[test]
fn what_was_emitted_before_the_failure_is_not_seen_even_after_a_panic_before() {
    under(&["inline", "threads:1", "processes:1"], |executor| {
        let p = Pipeline::new("partial");
        let out = p
            .source("in", 0..6)
            .on(executor.place().skip(), |s| {
                s.processor("partial", |n, out| {
                    out.emit(n * 10);
                    match n {
                        1 => panic!("the worker's steps are built anew"),
                        2 | 4 => Err("after it emitted".into()),
                        _ => Ok(()),
                    }
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), [0, 30, 50], "under {executor}");
    });
}

#[test]
fn a_batch_that_reaches_a_block_is_one_item() {
    everywhere(|executor| {
        let p = Pipeline::new("batch");
        let out = p
            .source("in", 0..100)
            .batch(10)
            .on(executor.place().skip(), |s| {
                s.unbatch().try_map("not 42", |n| if n == 42 { Err("42".into()) } else { Ok(n) })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..100).filter(|n| n / 10 != 4)));
        let skipped = &report.stage("unbatch").unwrap().failures;
        assert_eq!(skipped.len(), 1);
        assert_eq!((skipped[0].item, skipped[0].stage.as_str()), (4, "not 42"));
    });
}
