//! State of a step: made in the worker, reused for its items, made anew after a panic, dropped at the end.

mod common;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use common::{EXECUTORS, Marks, error_of, everywhere, sorted, under, worker};
use minigun::{Error, Pipeline};

/// State that tells of its making and its end, and is not `Send`.
struct Noisy {
    items: Rc<Cell<u32>>,
    marks: Arc<Marks>,
}

impl Noisy {
    fn new(marks: &Arc<Marks>) -> Self {
        marks.add(format!("made by {}", worker()));
        Noisy { items: Rc::default(), marks: Arc::clone(marks) }
    }

    fn next(&self) -> u32 {
        self.items.set(self.items.get() + 1);
        self.items.get()
    }
}

impl Drop for Noisy {
    fn drop(&mut self) {
        self.marks.add(format!("dropped by {}", worker()));
    }
}

#[test]
fn state_is_made_once_in_each_worker_reused_and_dropped_there_at_its_end() {
    everywhere(|executor| {
        let p = Pipeline::new("state");
        let marks = Marks::new();
        let theirs = Arc::clone(&marks);
        let out = p
            .source("in", 0..60)
            .on(executor, |s| {
                s.map_init("count", move || Noisy::new(&theirs), |state, _: u32| (worker(), state.next()))
            })
            .collect("out");
        let mut counts = BTreeMap::<String, Vec<u32>>::new();
        for (worker, count) in p.run().unwrap().take(out) {
            counts.entry(worker).or_default().push(count);
        }
        for (worker, counts) in &counts {
            assert_eq!(sorted(counts.clone()), sorted(1..=counts.len() as u32), "the state of {worker}");
            assert_eq!(marks.count(format!("made by {worker}")), 1);
        }
        let lines = marks.lines();
        let made = lines.iter().filter_map(|line| line.strip_prefix("made by "));
        let dropped = lines.iter().filter_map(|line| line.strip_prefix("dropped by "));
        assert_eq!(sorted(made), sorted(dropped), "each is dropped in its own worker");
    });
}

#[test]
fn state_survives_an_error_and_is_made_anew_after_a_panic() {
    let single = ["inline", "threads:1", "processes:1"];
    under(&single, |executor| {
        let p = Pipeline::new("anew");
        let out = p
            .source("in", 0..8u32)
            .on(executor.place().skip(), |s| {
                s.try_map_init(
                    "count",
                    || Ok(0),
                    |count, n| {
                        *count += 1;
                        match n {
                            2 => Err("an error".into()),
                            4 => panic!("a panic"),
                            n => Ok((n, *count)),
                        }
                    },
                )
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), [(0, 1), (1, 2), (3, 4), (5, 1), (6, 2), (7, 3)]);
    });
}

#[test]
fn a_state_that_cannot_be_made_ends_the_run_and_names_its_stage() {
    everywhere(|executor| {
        for panics in [false, true] {
            let p = Pipeline::new("init");
            let _out = p
                .source("in", 0..5)
                .on(executor, |s| {
                    s.map("before", |n| n).try_map_init(
                        "connect",
                        move || {
                            assert!(!panics, "no database there");
                            Err::<(), _>("no database there".into())
                        },
                        |_, n: i32| Ok(n),
                    )
                })
                .collect("out");
            match error_of(p) {
                Error::Init { stage, cause } => {
                    assert!(cause.contains("no database there"), "{cause}");
                    assert_eq!(stage, if panics { stage.clone() } else { "connect".to_string() });
                }
                other => panic!("under {executor}: {other}"),
            }
        }
    });
}

#[test]
fn what_a_state_counts_while_it_is_made_counts_even_if_the_first_item_fails() {
    under(&EXECUTORS, |executor| {
        let p = Pipeline::new("counts");
        let made = p.counter("made");
        let marks = Marks::new();
        let theirs = Arc::clone(&marks);
        p.source("in", 0..20).on(executor.place().skip(), |s| {
            s.consumer_init(
                "fail",
                move || {
                    theirs.add("made");
                    made.add(1);
                    Ok(())
                },
                |(), _: i32| Err("always".into()),
            )
        });
        let report = p.run().unwrap();
        assert_eq!(report.count(&made), marks.count("made") as u64);
        assert_eq!(report.stage("fail").unwrap().figures.skipped, 20);
    });
}
