//! The number of the item in its stage's closures: the same in every attempt at it, on every executor.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Marks, everywhere, sorted, under, within};
use minigun::{AttemptId, Backoff, Pipeline, attempt, inline, threads};

fn here() -> AttemptId {
    attempt().expect("a closure of a stage runs in an attempt")
}

#[test]
fn every_item_has_its_own_number_from_zero() {
    everywhere(|executor| {
        let p = Pipeline::new("numbers");
        let out = p
            .source("in", 0..100u64)
            .on(executor, |s| {
                s.map("first", |n| (n, here().item, here().attempt))
                    .map("second", |seen| (seen, (here().item, here().attempt, here().run)))
            })
            .map("behind", |seen| (seen, here().item))
            .collect("out");
        let out = p.run().unwrap().take(out);
        let runs: BTreeSet<_> = out.iter().map(|((_, (.., run)), _)| *run).collect();
        assert_eq!(runs.len(), 1, "one run");
        for (((n, item, tried), (again, tried_again, _)), behind) in out {
            // One source, one queue: items arrive in the order in which they were made.
            assert_eq!([item, again, behind], [n; 3], "under {executor}");
            assert_eq!((tried, tried_again), (1, 1));
        }
    });
}

#[test]
fn the_stage_is_the_block_or_the_source_before_an_inline_one() {
    everywhere(|executor| {
        let p = Pipeline::new("stage");
        let out =
            p.source("in", 0..3).on(executor, |s| s.map("work", |_| here().stage.to_string())).collect("out");
        let name = if executor.to_string() == "inline" { "in" } else { "work" };
        assert_eq!(p.run().unwrap().take(out), [name; 3]);
        assert_eq!(
            AttemptId::to_string(&within("display", || {
                let p = Pipeline::new("display");
                let ids = std::sync::Arc::new(std::sync::Mutex::new(None));
                let ours = std::sync::Arc::clone(&ids);
                p.source("in", 0..1).consumer("end", move |_| *ours.lock().unwrap() = attempt());
                p.run().unwrap();
                ids.lock().unwrap().take().unwrap()
            })),
            "`end` item 0, attempt 1"
        );
    });
}

#[test]
fn an_item_keeps_its_number_and_no_attempt_at_it_has_anothers() {
    everywhere(|executor| {
        let p = Pipeline::new("again");
        let marks = Marks::new();
        let ours = std::sync::Arc::clone(&marks);
        let out = p
            .source("in", 0..20u64)
            .on(executor.place().retry(4, Backoff::none()), |s| {
                s.try_map("thrice", move |n: u64| {
                    let at = here();
                    ours.add(format!("{n} {} {}", at.item, at.attempt));
                    match at.attempt {
                        1 => Err("not yet".into()),
                        2 => panic!("nor now"),
                        _ => Ok((n, at.item, at.attempt)),
                    }
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted((0..20).map(|n| (n, n, 3))));
        let expected = (0..20).flat_map(|n| [1, 2, 3].map(|tried| format!("{n} {n} {tried}")));
        assert_eq!(sorted(marks.lines()), sorted(expected), "under {executor}");
    });
}

#[test]
fn attempts_that_ended_with_the_workers_death_count() {
    under(&["processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("deaths");
        let marks = Marks::new();
        let ours = std::sync::Arc::clone(&marks);
        let out = p
            .source("in", 0..12u64)
            .on(executor.place().retry(4, Backoff::none()).crash_attempts(5), |s| {
                s.try_map("dies", move |n: u64| {
                    let at = here();
                    ours.add(format!("{n} {} {}", at.item, at.attempt));
                    match (n % 4, at.attempt) {
                        (0, 1 | 3) => std::process::abort(),
                        (0, 2) => Err("not yet".into()),
                        _ => Ok(n),
                    }
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(0..12));
        // Neighbours whose results a death took along were begun once more, so they have further numbers.
        for n in 0..12u64 {
            let of_n = marks.lines().into_iter().filter(|line| line.starts_with(&format!("{n} ")));
            let of_n = of_n.collect::<Vec<_>>();
            let consecutive = (1..=of_n.len()).map(|tried| format!("{n} {n} {tried}")).collect::<Vec<_>>();
            assert_eq!(of_n, consecutive, "under {executor}");
            assert!(of_n.len() >= if n % 4 == 0 { 4 } else { 1 });
        }
    });
}

#[test]
fn threads_nested_in_a_block_work_at_the_outer_item() {
    under(&["threads:1", "threads:4", "processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("nested");
        let marks = Marks::new();
        let out = p
            .source("in", 0..30u64)
            .batch(5)
            .on(executor.place().retry(2, Backoff::none()), |s| {
                s.unbatch()
                    .on(threads(3).retry(2, Backoff::none()), |s| {
                        s.try_map("inner", move |n| {
                            let at = here();
                            marks.add(format!("{n}"));
                            // The inner block's second attempt is part of the outer block's first.
                            match marks.count(n) {
                                1 if n % 3 == 0 => Err("again, inside".into()),
                                _ => Ok((n, at.item, at.attempt)),
                            }
                        })
                        .on(threads(2), |s| s.map("innermost", |seen| (seen, here().item)))
                    })
                    .try_map("outer", |seen: ((u64, u64, u32), u64)| match (seen.0.0, here().attempt) {
                        (7, 1) => Err("again, all of it".into()),
                        _ => Ok(seen),
                    })
            })
            .collect("out");
        let out = p.run().unwrap().take(out);
        let batches: BTreeMap<u64, BTreeSet<u64>> =
            out.iter().fold(BTreeMap::new(), |mut all, ((n, ..), _)| {
                all.entry(n / 5).or_insert_with(BTreeSet::new).insert(*n);
                all
            });
        assert_eq!((batches.len(), out.len()), (6, 30));
        for ((n, item, tried), innermost) in out {
            assert_eq!((item, innermost), (n / 5, n / 5), "under {executor}");
            assert_eq!(tried, if n / 5 == 1 { 2 } else { 1 }, "item {n} under {executor}");
        }
    });
}

#[test]
fn an_inline_block_inside_another_works_at_the_outer_attempt() {
    everywhere(|executor| {
        let p = Pipeline::new("inline inside");
        let marks = Marks::new();
        let out = p
            .source("in", 0..10u64)
            .on(executor, |s| {
                s.on(inline().retry(2, Backoff::none()), |s| {
                    s.try_map("inner", move |n| {
                        marks.add(n);
                        if marks.count(n) == 1 {
                            Err("again".into())
                        } else {
                            Ok((n, here().item, here().attempt))
                        }
                    })
                })
            })
            .collect("out");
        assert_eq!(
            sorted(p.run().unwrap().take(out)),
            sorted((0..10).map(|n| (n, n, 1))),
            "under {executor}"
        );
    });
}

#[test]
fn outside_any_attempt_there_is_no_number() {
    everywhere(|executor| {
        let p = Pipeline::new("none");
        let inside = |place: &str| assert_eq!(attempt(), None, "{place}");
        p.before_run(move || inside("before_run"));
        p.before_fork(move || inside("before_fork"));
        p.after_fork(move || inside("after_fork"));
        p.after_run(move |_| inside("after_run"));
        let kept = p
            .producer("in", move |out| {
                for n in 0..10u64 {
                    inside("before an item is emitted");
                    out.emit(n);
                    inside("after an item was emitted");
                }
            })
            .on(executor, |s| {
                s.processor_init(
                    "work",
                    move || {
                        inside("_init");
                        Ok(())
                    },
                    move |(), n: u64, out| {
                        std::thread::spawn(move || inside("a thread of its own")).join().unwrap();
                        out.emit((n, here().item));
                    },
                )
                .before(move || inside("before"))
                .after(move || inside("after"))
            })
            .batch(4)
            .map("behind a batch", |batch| (batch, attempt().map(|at| at.item)))
            .collect("out");
        inside("the program's own thread");
        let out = p.run().unwrap().take(kept);
        // The last two items wait for the end, when nothing arrives any more.
        let (rest, full): (Vec<_>, Vec<_>) = out.into_iter().partition(|(batch, _)| batch.len() < 4);
        assert_eq!(rest.iter().map(|(batch, at)| (batch.len(), *at)).collect::<Vec<_>>(), [(2, None)]);
        assert!(full.iter().all(|(_, at)| at.is_some()), "{full:?}");
    });
}

#[test]
fn a_run_in_a_closure_of_another_has_numbers_of_its_own() {
    within("inside", || {
        let p = Pipeline::new("outer");
        let out = p
            .source("in", 0..3u64)
            .map("run", |n| {
                let outer = here();
                let q = Pipeline::new("inner");
                let inner = q.source("in", 0..2u64).threads(1, |s| s.map("see", |_| here())).collect("out");
                let inner = q.run().unwrap().take(inner);
                assert_eq!(here(), outer, "and the outer one is as before");
                assert!(inner.iter().all(|at| at.run != outer.run));
                (n, inner.iter().map(|at| at.item).collect::<Vec<_>>())
            })
            .collect("out");
        assert_eq!(p.run().unwrap().take(out), (0..3).map(|n| (n, vec![0, 1])).collect::<Vec<_>>());
    });
}

#[test]
fn what_an_iterator_does_is_before_the_attempt_at_its_item() {
    let p = Pipeline::new("iterator");
    let items = (0..1000u64).inspect(|_| assert_eq!(attempt(), None));
    let out = p.source("in", items).map("light", |n| (n, here().item, here().attempt)).collect("out");
    assert!(p.run().unwrap().take(out).into_iter().eq((0..1000).map(|n| (n, n, 1))));
}
