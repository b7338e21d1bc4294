//! Loops that multiply their work, with the smallest queues there are: they neither block themselves nor lose anything,
//! whatever stands in them.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::time::Duration;

use common::{EXECUTORS, everywhere, sorted, under};
use minigun::{Batches, Executor, Flow, Output, Pipeline, Port, merge, threads};

/// Each makes ten, down to this depth.
const DEPTH: u32 = 3;

type Job = (u32, u64);

fn multiply((depth, id): Job, out: &mut Output<u64>, again: &mut Output<Job>) {
    if depth < DEPTH {
        again.extend((0..10).map(|digit| (depth + 1, 10 * id + digit)));
    }
    out.emit(id);
}

/// What becomes of these first items.
fn all(first: impl Iterator<Item = u64>) -> Vec<u64> {
    let grown = |id: u64, depth| (id * 10u64.pow(depth)..(id + 1) * 10u64.pow(depth)).collect::<Vec<_>>();
    sorted(first.flat_map(|id| (0..=DEPTH).flat_map(move |depth| grown(id, depth))))
}

fn gives_all(name: &str, body: impl FnOnce(Flow<Job>, Port<Job>) -> Flow<u64>) {
    let p = Pipeline::new(name);
    let out = p.source("in", (1..4).map(|id| (0, id))).feedback("loop", body).collect("out");
    assert_eq!(sorted(p.run().unwrap().take(out)), all(1..4));
}

fn is_per_batch(executor: Executor) -> bool {
    matches!(executor, Executor::ProcessPerBatch(_))
}

#[test]
fn one_block_that_makes_ten_of_each() {
    under(&EXECUTORS[..5], |executor| {
        gives_all("alone", |flow, again| {
            flow.on(executor.place().queue(1), |s| s.processor_to("multiply", &again, multiply))
        });
        gives_all("ordered", |flow, again| {
            flow.on(executor.place().queue(1).ordered(), |s| s.processor_to("multiply", &again, multiply))
        });
        gives_all("by key", |flow, again| {
            flow.on(executor.place().queue(1).by_key(|job: &Job| job.1 % 7), |s| {
                s.processor_to("multiply", &again, multiply)
            })
        });
    });
}

/// Batches, so that a process per batch does more than one item.
#[test]
fn batches_that_grow_tenfold_in_every_context() {
    everywhere(|executor| {
        gives_all("batches", |flow, again| {
            flow.batch(20).on(executor.place().queue(1), |s| {
                s.unbatch().threads(2, |s| s.processor_to("multiply", &again, multiply))
            })
        });
    });
}

/// Two branches multiply, each behind queues of one, and meet behind a slow end, before and behind which is another
/// split.
#[test]
fn splits_and_merges_between_the_smallest_queues() {
    everywhere(|executor| {
        gives_all("splits", |flow, again| {
            let tiny = |flow: Flow<Job>, name: &str| {
                let batches = if is_per_batch(executor) { 50 } else { 5 };
                flow.batch(batches)
                    .on(executor.place().queue(1), |s| s.unbatch().processor_to(name, &again, multiply))
            };
            let [a, b] = flow.round_robin();
            let [c, d] = b.least_loaded();
            let multiplied = merge([tiny(a, "a"), tiny(c, "c"), tiny(d, "d")]);
            let [left, right] = multiplied.split_by_key(|id| id % 10);
            let left = left.on(threads(2).queue(1).ordered(), |s| s.map("slow", |id| id));
            let (even, odd) = left.merge(right).partition("even?", |id| id % 2 == 0);
            even.on(threads(1).queue(1), |s| s.map("last", |id| id)).merge(odd)
        });
    });
}

/// Batches that would wait for an hour, or for ever, are let go when the loop is at rest.
#[test]
fn timed_heavy_and_keyed_batches_do_not_hold_a_loop_up() {
    everywhere(|executor| {
        let hour = Duration::from_secs(3600);
        gives_all("batches", |flow, again| {
            flow.batch_by(Batches::of(10_000).within(hour))
                .unbatch()
                .batch_by(Batches::of(1000).weighing(1 << 20, |_: &Job| 100))
                .unbatch()
                .batch_by(Batches::of(700).by_key(3, |job: &Job| job.1 % 5).within(hour))
                .rebatch(90)
                .on(executor.place().ordered().queue(1), |s| {
                    s.unbatch().processor_to("multiply", &again, multiply)
                })
        });
    });
}

/// What a crawler does: every page leads to ten others, most of them known.
#[test]
fn what_was_seen_before_does_not_go_on_and_a_rate_is_kept_to() {
    everywhere(|executor| {
        let p = Pipeline::new("visit");
        let out = p
            .source("in", [0u64])
            .feedback("frontier", |flow, again| {
                flow.dedup_by(|page| *page).rate(1e6, 10).on(executor.place().queue(1).rate(1e6, 10), |s| {
                    s.processor_to("links", &again, |page, out, again: &mut Output<u64>| {
                        again.extend((0..10).map(|link| (page * 7 + link * 31) % 200));
                        out.emit(page);
                    })
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(0..200));
    });
}

/// Two loops, each of which multiplies for the other.
#[test]
fn loops_that_feed_each_other() {
    everywhere(|executor| {
        gives_all("outer", |flow, outer| {
            let flow = flow.feedback("inner", |flow, inner| {
                flow.batch(30).on(executor.place().queue(1), |s| {
                    // Odd ones go on to the outer step, even ones multiply here.
                    s.unbatch().processor_to(
                        "inside",
                        (&inner, &outer),
                        |(depth, id): Job, out, (inner, outer)| {
                            if depth < DEPTH {
                                let made = (0..10).map(|digit| (depth + 1, 10 * id + digit));
                                if id % 2 == 0 { inner.extend(made) } else { outer.extend(made) }
                            }
                            out.emit((depth, id));
                        },
                    )
                })
            });
            flow.batch(40).on(executor.place().queue(1), |s| s.unbatch().map("id", |(_, id)| id))
        });
    });
}
