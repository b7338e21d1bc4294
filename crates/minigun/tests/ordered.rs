//! An ordered block gives what it makes in the order of its items, whatever happens to them and to its workers.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Event, Marks, error_of, everywhere, told, under, within};
use minigun::{
    Backoff, Dead, Executor, Failure, FailureKind, Pipeline, inline, process_per_batch, processes, threads,
};

/// Executors whose workers run several items at once.
const PARALLEL: [&str; 3] = ["threads:4", "processes:3", "process_per_batch:2"];

#[test]
fn an_item_that_takes_long_holds_back_what_is_behind_it() {
    under(&PARALLEL, |executor| {
        let p = Pipeline::new("long");
        let later = Event::new();
        let out = p
            .source("in", 0..40u32)
            .on(executor.place().ordered(), move |s| {
                s.processor("first last", move |n, out| {
                    match n {
                        0 => later.take(),
                        7 => later.set(),
                        _ => {}
                    }
                    (0..n % 3).for_each(|copy| out.emit((n, copy)));
                })
            })
            .collect("out");
        let expected: Vec<_> = (0..40).flat_map(|n| (0..n % 3).map(move |copy| (n, copy))).collect();
        assert_eq!(p.run().unwrap().take(out), expected, "under {executor}");
    });
}

fn is_process(executor: Executor) -> bool {
    matches!(executor, Executor::Processes(_) | Executor::ProcessPerBatch(_))
}

/// What becomes of item `n`: mixed without a pattern, and the same in every run.
fn fate(n: u32) -> u32 {
    (n.wrapping_mul(2_654_435_761) >> 16) % 10
}

fn attempt() -> u32 {
    minigun::attempt().unwrap().attempt
}

/// Fails at first, always, panics at first or kills its worker at first.
fn mishaps(n: u32, kills: bool) -> Result<u32, Failure> {
    match fate(n) {
        0 if attempt() == 1 => Err("at first".into()),
        1 => Err("always".into()),
        2 if attempt() == 1 => panic!("at first"),
        3 if kills && attempt() == 1 => std::process::abort(),
        _ => Ok(n),
    }
}

const ITEMS: u32 = 120;

#[test]
fn through_retries_skips_and_deaths_of_workers() {
    everywhere(|executor| {
        let p = Pipeline::new("mishaps");
        let kills = is_process(executor);
        let backoff =
            Backoff::exponential(std::time::Duration::from_millis(1), std::time::Duration::from_millis(3));
        let head = executor.place().max_restarts(10_000).retry(3, backoff).skip().ordered();
        let out = p
            .source("in", 0..ITEMS)
            .on(head, move |s| s.try_map("mishaps", move |n| mishaps(n, kills)))
            .collect("out");
        let mut report = p.run().unwrap();
        let expected: Vec<_> = (0..ITEMS).filter(|n| fate(*n) != 1).collect();
        assert_eq!(report.take(out), expected, "under {executor}");
        let figures = report.stage("mishaps").unwrap().figures;
        assert_eq!(figures.skipped, u64::from(ITEMS) - expected.len() as u64);
        assert_eq!(figures.deaths > 0, kills);
    });
}

#[test]
fn an_item_whose_workers_all_die_gives_up_its_place() {
    under(&["processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("killers");
        let head = executor.place().max_restarts(10_000).crash_attempts(2).skip().ordered();
        let out = p
            .source("in", 0..60u32)
            .on(head, |s| s.map("kills", |n| if n % 7 == 3 { std::process::abort() } else { n }))
            .collect("out");
        let expected: Vec<_> = (0..60).filter(|n| n % 7 != 3).collect();
        assert_eq!(p.run().unwrap().take(out), expected, "under {executor}");
    });
}

#[test]
fn dead_letters_give_up_their_place() {
    everywhere(|executor| {
        let p = Pipeline::new("letters");
        let (dead, letters) = p.inlet::<Dead<u32>>("dead");
        let out = p
            .source("in", 0..40u32)
            .on(executor.place().dead_letter(&dead).ordered(), |s| {
                s.try_map("odd ones out", |n| if n % 5 == 1 { Err("no".into()) } else { Ok(n) })
            })
            .collect("out");
        let letters = letters.map("item", |letter| letter.item).collect("letters");
        let mut report = p.run().unwrap();
        let expected: Vec<_> = (0..40).filter(|n| n % 5 != 1).collect();
        assert_eq!(report.take(out), expected, "under {executor}");
        let letters: BTreeSet<_> = report.take(letters).into_iter().collect();
        assert_eq!(letters, (0..40).filter(|n| n % 5 == 1).collect());
    });
}

#[test]
fn every_port_of_the_block_is_in_order() {
    everywhere(|executor| {
        let p = Pipeline::new("ports");
        let (even, evens) = p.inlet::<u32>("even");
        let (odd, odds) = p.inlet::<u32>("odd");
        p.source("in", 0..ITEMS).on(executor.place().ordered(), move |s| {
            s.router("route", (&even, &odd), |n, (even, odd)| match n % 2 {
                0 => even.emit(n),
                _ => odd.emit(n),
            })
        });
        let (evens, odds) = (evens.collect("evens"), odds.collect("odds"));
        let mut report = p.run().unwrap();
        assert!(report.take(evens).into_iter().eq((0..ITEMS).step_by(2)), "under {executor}");
        assert!(report.take(odds).into_iter().eq((1..ITEMS).step_by(2)), "under {executor}");
    });
}

#[test]
fn no_more_items_are_begun_than_the_window_holds() {
    under(&PARALLEL, |executor| {
        let p = Pipeline::new("window");
        let (marks, begun) = (Marks::new(), Event::new());
        let seen = Arc::clone(&marks);
        let out = p
            .source("in", 0..50u32)
            .on(executor.place().queue(4).ordered(), move |s| {
                s.map("begins", move |n| {
                    marks.add(n);
                    match n {
                        // The first ends when the others of the window have begun.
                        0 => {
                            (0..3).for_each(|_| begun.take());
                            marks.lines().len()
                        }
                        1..=3 => {
                            begun.set();
                            0
                        }
                        _ => 0,
                    }
                })
            })
            .collect("out");
        let out = p.run().unwrap().take(out);
        assert_eq!((out[0], out.len(), seen.lines().len()), (4, 50, 50), "under {executor}");
    });
}

#[test]
fn steps_behind_the_block_run_in_order_and_count_exactly() {
    everywhere(|executor| {
        let p = Pipeline::new("behind");
        let counter = p.counter("seen");
        let (last, in_order) = (std::sync::Mutex::new(None), Arc::new(AtomicBool::new(true)));
        let held = Arc::clone(&in_order);
        let out = p
            .source("in", 0..ITEMS)
            .on(executor.place().ordered(), move |s| {
                s.map("inside", move |n| {
                    counter.add(1);
                    n
                })
            })
            .inspect("looks", move |n| {
                counter.add(1);
                let mut last = last.lock().unwrap();
                let next = last.is_none_or(|last| *n > last);
                held.fetch_and(next && minigun::attempt().unwrap().item == u64::from(*n), Ordering::Relaxed);
                *last = Some(*n);
            })
            .batch(10)
            .collect("out");
        let mut report = p.run().unwrap();
        assert!(in_order.load(Ordering::Relaxed), "under {executor}");
        assert_eq!(report.count(&counter), 2 * u64::from(ITEMS));
        assert_eq!(report.stage("looks").unwrap().figures.items_in, u64::from(ITEMS));
        assert!(report.take(out).concat().into_iter().eq(0..ITEMS));
    });
}

#[test]
fn a_step_behind_the_block_that_fails_ends_the_run() {
    everywhere(|executor| {
        let p = Pipeline::new("fails");
        p.source("in", 0..ITEMS)
            .on(executor.place().skip().ordered(), |s| s.map("inside", |n| n))
            .try_map("refuses", |n| if n == 20 { Err("no".into()) } else { Ok(n) })
            .discard();
        let (stage, item, _, cause, kind) = told(error_of(p));
        assert_eq!((stage.as_str(), item, kind), ("refuses", 20, FailureKind::Error), "under {executor}");
        assert!(cause.contains("no"));
    });
}

#[test]
fn threads_nested_in_any_block_keep_the_order_of_each_item_of_theirs() {
    everywhere(|executor| {
        let p = Pipeline::new("nested");
        let kills = is_process(executor);
        let out = p
            .source("in", 0..ITEMS)
            .batch(25)
            .on(executor.place().max_restarts(10_000).ordered(), move |s| {
                s.unbatch().on(threads(3).retry(3, Backoff::none()).skip().ordered(), move |s| {
                    s.try_map("mishaps", |n: u32| match fate(n) {
                        1 => Err("always".into()),
                        2 => panic!("always"),
                        _ => Ok(n),
                    })
                    .inspect("kills", move |n| {
                        if kills && n % 60 == 0 && attempt() == 1 {
                            std::process::abort();
                        }
                    })
                })
            })
            .collect("out");
        let expected: Vec<_> = (0..ITEMS).filter(|n| !(1..=2).contains(&fate(*n))).collect();
        assert_eq!(p.run().unwrap().take(out), expected, "under {executor}");
    });
}

#[test]
fn a_nested_block_whose_attempt_is_undone_begins_anew() {
    everywhere(|executor| {
        let p = Pipeline::new("anew");
        let out = p
            .source("in", (0..ITEMS).collect::<Vec<_>>().chunks(30).map(<[u32]>::to_vec).collect::<Vec<_>>())
            .on(executor.place().retry(2, Backoff::none()).ordered(), |s| {
                s.unbatch().on(threads(3).ordered(), |s| {
                    s.try_map("fails once", |n| {
                        if n % 30 == 17 && attempt() == 1 { Err("once".into()) } else { Ok(n) }
                    })
                })
            })
            .collect("out");
        assert!(p.run().unwrap().take(out).into_iter().eq(0..ITEMS), "under {executor}");
    });
}

#[test]
fn every_kind_of_head_can_be_ordered() {
    within("heads", || {
        let p = Pipeline::new("heads");
        let out = p
            .source("in", 0..ITEMS)
            .on(inline().ordered(), |s| s.map("a", |n| n))
            .on(threads(3).ordered(), |s| s.map("b", |n| n))
            .on(processes(2).ordered(), |s| s.map("c", |n| n))
            .on(process_per_batch(2).ordered(), |s| s.map("d", |n| n))
            .collect("out");
        assert!(p.run().unwrap().take(out).into_iter().eq(0..ITEMS));
    });
}

#[test]
fn stopped_early_it_gives_what_it_began_in_order() {
    under(&PARALLEL, |executor| {
        let p = Pipeline::new("stopped");
        let out = p
            .producer("endless", |out| {
                let mut n = 0u32;
                while out.try_emit(n).is_ok() {
                    n += 1;
                }
            })
            .on(executor.place().queue(20).ordered(), |s| s.map("same", |n| n))
            .receiver("out", 10);
        let running = p.start().unwrap();
        let mut seen = Vec::new();
        for n in out {
            seen.push(n);
            if n == 50 {
                running.stop();
            }
        }
        let report = running.join().unwrap();
        assert!(seen.iter().copied().eq(0..seen.len() as u32), "under {executor}");
        assert_eq!(report.stage("same").unwrap().figures.completed, seen.len() as u64);
    });
}
