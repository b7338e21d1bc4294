//! Items that failed for good go to the dead letters with why, and every other item arrives.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use common::{EXECUTORS, Marks, error_of, everywhere, sorted, under, within};
use minigun::{
    Backoff, Dead, Executor, Failure, FailureKind, Pipeline, inline, process_per_batch, processes, threads,
};
use serde::{Deserialize, Serialize};

const IN_PROCESSES: [&str; 3] = ["processes:1", "processes:3", "process_per_batch:2"];

/// What goes wrong with these items.
fn picky(n: i32) -> Result<i32, Failure> {
    match n % 10 {
        3 => Err(format!("{n} ends in three").into()),
        7 => panic!("{n} ends in seven"),
        _ => Ok(n),
    }
}

fn bad(n: &i32) -> bool {
    matches!(n % 10, 3 | 7)
}

/// A file that is gone with the test.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("minigun-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        Temp(path)
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&self.0).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "whole lines");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_failed_arrives_at_the_port_and_the_rest_at_the_end() {
    everywhere(|executor| {
        let p = Pipeline::new("letters");
        let (dead, letters) = p.inlet::<Dead<i32>>("dead");
        let tried = p.counter("tried");
        let out = p
            .source("in", 0..40)
            .on(executor.place().retry(2, Backoff::none()).dead_letter(&dead), |s| {
                s.inspect("count", move |_| tried.add(1)).try_map("picky", picky)
            })
            .collect("out");
        let letters = letters.collect("letters");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..40).filter(|n| !bad(n))));
        let letters = report.take(letters);
        assert_eq!(sorted(letters.iter().map(|dead| dead.item)), sorted((0..40).filter(bad)));
        for dead in &letters {
            assert_eq!((dead.stage.as_str(), dead.number, dead.attempts), ("picky", dead.item as u64, 2));
            let (kind, text) = match dead.item % 10 {
                3 => (FailureKind::Error, "ends in three"),
                _ => (FailureKind::Panic, "ends in seven"),
            };
            assert_eq!(dead.kind, kind);
            assert!(dead.error.contains(text), "{}", dead.error);
        }
        let figures = report.stage("count").unwrap().figures;
        assert_eq!((figures.dead, figures.skipped, figures.failed, figures.retried), (8, 0, 16, 8));
        assert_eq!(report.count(&tried), 32, "what failed attempts count is not seen");
    });
}

#[test]
fn a_batch_is_one_letter_unless_an_inner_block_has_its_own() {
    under(&IN_PROCESSES, |executor| {
        let p = Pipeline::new("nested");
        let (one, ones) = p.inlet::<Dead<i32>>("one");
        let (batch, batches) = p.inlet::<Dead<Vec<i32>>>("batch");
        let out = p
            .source("in", 0..40)
            .batch(10)
            .on(executor.place().dead_letter(&batch), |s| {
                s.try_map(
                    "whole",
                    |batch: Vec<i32>| {
                        if batch.contains(&25) { Err("has 25".into()) } else { Ok(batch) }
                    },
                )
                .unbatch()
                .on(threads(3).retry(3, Backoff::none()).dead_letter(&one), |s| s.try_map("picky", picky))
                .on(inline().dead_letter(&one), |s| {
                    s.try_map("ones", |n| if n % 10 == 1 { Err("ends in one".into()) } else { Ok(n) })
                })
            })
            .collect("out");
        let (ones, batches) = (ones.collect("ones dead"), batches.collect("batches dead"));
        let mut report = p.run().unwrap();
        let lives = |n: &i32| !(20..30).contains(n) && !bad(n) && n % 10 != 1;
        assert_eq!(sorted(report.take(out)), sorted((0..40).filter(lives)));
        let ones = report.take(ones);
        let told: BTreeMap<_, _> =
            ones.iter().map(|dead| (dead.item, (dead.stage.as_str(), dead.attempts))).collect();
        let expected = (0..40).filter(|n| !(20..30).contains(n)).filter_map(|n| match n % 10 {
            3 | 7 => Some((n, ("picky", 3))),
            1 => Some((n, ("ones", 1))),
            _ => None,
        });
        assert_eq!((told, ones.len()), (expected.collect(), 9));
        let batches = report.take(batches);
        assert_eq!(batches.len(), 1);
        assert_eq!((batches[0].item.clone(), batches[0].error.as_str()), ((20..30).collect(), "has 25"));
    });
}

/// Marks a batch's items with whether this is the first attempt at it.
fn with_attempt(marks: &Marks, batch: Vec<i32>) -> Vec<(i32, bool)> {
    marks.add(batch[0]);
    let first = marks.count(batch[0]) == 1;
    batch.into_iter().map(|n| (n, first)).collect()
}

#[test]
fn letters_of_an_inner_block_arrive_once_though_the_outer_item_is_tried_again() {
    for outer in ["inline", "threads:2", "processes:2"] {
        within(outer, move || {
            let p = Pipeline::new("again");
            let (dead, letters) = p.inlet::<Dead<(i32, bool)>>("dead");
            let marks = Marks::new();
            let batches = p.source("in", 0..20).batch(5);
            let twice = Backoff::none();
            // The same steps in two scopes.
            macro_rules! steps {
                () => {
                    move |s| {
                        s.map("mark", move |batch| with_attempt(&marks, batch))
                            .unbatch()
                            .on(threads(2).dead_letter(&dead), |s| {
                                s.try_map("odd", |pair| if pair.0 % 2 == 1 { Err("odd")? } else { Ok(pair) })
                            })
                            .try_map("second", |(n, first)| if first { Err("first")? } else { Ok(n) })
                    }
                };
            }
            let out = match outer.parse::<Executor>().unwrap() {
                Executor::Threads(n) => batches.on(threads(n).retry(2, twice), steps!()),
                Executor::Inline => batches.on(inline().retry(2, twice), steps!()),
                _ => batches.on(processes(2).retry(2, twice), steps!()),
            };
            let (out, letters) = (out.collect("out"), letters.collect("letters"));
            let mut report = p.run().unwrap();
            assert_eq!(sorted(report.take(out)), sorted((0..20).filter(|n| n % 2 == 0)), "{outer}");
            let letters = report.take(letters);
            assert!(letters.iter().all(|dead| !dead.item.1), "of the attempt that was committed");
            assert_eq!(
                sorted(letters.iter().map(|dead| dead.item.0)),
                sorted((0..20).filter(|n| n % 2 == 1)),
                "{outer}"
            );
            assert_eq!(report.stage("odd").unwrap().figures.dead, 10);
        });
    }
}

#[test]
fn an_item_that_kills_its_worker_arrives_as_a_letter_with_the_cause() {
    under(&IN_PROCESSES, |executor| {
        let p = Pipeline::new("killer");
        let (dead, letters) = p.inlet::<Dead<i32>>("dead");
        let out = p
            .source("in", 0..30)
            .on(executor.place().crash_attempts(2).dead_letter(&dead), |s| {
                s.map("kill", |n| if n == 13 { std::process::abort() } else { n })
            })
            .collect("out");
        let letters = letters.collect("letters");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..30).filter(|n| *n != 13)));
        let letters = report.take(letters);
        assert_eq!(letters.len(), 1);
        assert_eq!((letters[0].item, letters[0].number, letters[0].attempts), (13, 13, 2));
        assert_eq!(letters[0].kind, FailureKind::Death);
        assert!(letters[0].error.contains("SIGABRT"), "{}", letters[0].error);
    });
}

/// Cannot be encoded, or cannot be decoded again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hard(i32);

impl Serialize for Hard {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 13 {
            return Err(serde::ser::Error::custom("thirteen cannot be encoded"));
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hard {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i32::deserialize(deserializer)? {
            17 => Err(serde::de::Error::custom("seventeen cannot be decoded")),
            n => Ok(Hard(n)),
        }
    }
}

#[test]
fn an_item_that_cannot_be_encoded_or_decoded_arrives_as_itself() {
    under(&IN_PROCESSES, |executor| {
        let p = Pipeline::new("codec");
        let (dead, letters) = p.inlet::<Dead<Hard>>("dead");
        let out = p
            .source("in", (0..40).map(Hard))
            .on(executor.place().retry(2, Backoff::none()).dead_letter(&dead), |s| s.map("id", |n| n.0))
            .collect("out");
        let letters = letters.collect("letters");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..40).filter(|n| ![13, 17].contains(n))));
        let letters = report.take(letters);
        assert!(letters.iter().all(|dead| dead.kind == FailureKind::Codec));
        assert_eq!(sorted(letters.into_iter().map(|dead| dead.item)), [Hard(13), Hard(17)]);
    });
}

#[test]
fn a_file_of_letters_has_one_whole_line_for_each() {
    everywhere(|executor| {
        let file = Temp::new("letters.jsonl");
        let p = Pipeline::new("file");
        let out = p
            .source("in", 0..40)
            .on(executor.place().retry(2, Backoff::none()).dead_letter_file(&file.0), |s| {
                s.try_map("picky", picky)
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..40).filter(|n| !bad(n))));
        let lines = file.lines();
        let told = sorted(lines.iter().map(|line| {
            assert_eq!(line["stage"], "picky");
            assert_eq!(line["attempts"], 2);
            assert_eq!(line["format"], "tagged");
            let (item, value) = (line["item"].as_i64().unwrap(), line["value"].as_i64().unwrap());
            assert_eq!(line["kind"], if value % 10 == 3 { "error" } else { "panic" });
            (item as i32, value as i32)
        }));
        assert_eq!(told, sorted((0..40).filter(bad).map(|n| (n, n))), "under {executor}");
    });
}

#[test]
fn letters_to_a_file_leave_a_worker_from_an_inner_block() {
    let file = Temp::new("inner.jsonl");
    let path = file.0.clone();
    within("inner", move || {
        let p = Pipeline::new("inner");
        let out = p
            .source("in", 0..20)
            .batch(5)
            .on(process_per_batch(2), |s| {
                s.unbatch().on(threads(2).dead_letter_file(&path), |s| s.try_map("picky", picky))
            })
            .collect("out");
        assert_eq!(p.run().unwrap().take(out).len(), 16);
    });
    assert_eq!(sorted(file.lines().iter().map(|line| line["value"].as_i64().unwrap())), [3, 7, 13, 17]);
}

#[test]
fn what_a_file_holds_is_fed_back_in_once_and_what_fails_again_is_there_again() {
    under(&["threads:2", "processes:2"], |executor| {
        let file = Temp::new("replay.jsonl");
        let pass = |fixed: bool| {
            let p = Pipeline::new("pass");
            let items = if fixed { p.replay::<i32>("letters", &file.0) } else { p.source("in", 0..40) };
            let out = items
                .on(executor.place().dead_letter_file(&file.0), move |s| {
                    s.try_map("fixed", move |n| {
                        if bad(&n) && (!fixed || n == 13) { Err("still bad".into()) } else { Ok(n) }
                    })
                })
                .collect("out");
            let mut report = p.run().unwrap();
            sorted(report.take(out))
        };
        assert_eq!(pass(false).len(), 32);
        assert_eq!(pass(true), [3, 7, 17, 23, 27, 33, 37]);
        // What failed again is the only one left to be fed in.
        assert!(pass(true).is_empty());
        let letters = file.lines().iter().filter(|line| line.get("replayed").is_none()).count();
        assert_eq!(letters, 8 + 1 + 1);
    });
}

#[test]
fn a_run_that_fails_marks_nothing_and_its_letters_are_fed_in_again() {
    let file = Temp::new("again.jsonl");
    let path = file.0.clone();
    within("again", move || {
        let p = Pipeline::new("make");
        p.source("in", 0..3)
            .on(threads(1).dead_letter_file(&path), |s| s.consumer("fail", |_| Err("bad".into())));
        p.run().unwrap();
        let p = Pipeline::new("failing");
        p.replay::<i32>("letters", &path)
            .consumer("stop", |n| if n == 1 { Err("stopped".into()) } else { Ok(()) });
        error_of(p);
        let p = Pipeline::new("again");
        let all = p.replay::<i32>("letters", &path).collect("all");
        assert_eq!(sorted(p.run().unwrap().take(all)), [0, 1, 2]);
        let p = Pipeline::new("done");
        let none = p.replay::<i32>("letters", &path).collect("none");
        assert!(p.run().unwrap().take(none).is_empty());
    });
}

#[test]
fn half_a_line_is_passed_over_and_any_other_nonsense_is_named() {
    let file = Temp::new("torn.jsonl");
    let path = file.0.clone();
    within("torn", move || {
        let fill = |path: &PathBuf| {
            let p = Pipeline::new("make");
            p.source("in", 0..2)
                .on(threads(1).dead_letter_file(path), |s| s.consumer("fail", |_| Err("bad".into())));
            p.run().unwrap();
        };
        let replayed = |path: &PathBuf| {
            let p = Pipeline::new("torn");
            let all = p.replay::<i32>("letters", path).collect("all");
            p.run().map(|mut report| report.take(all))
        };
        fill(&path);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert_eq!(replayed(&path).unwrap(), [0]);
        // The next writer ends the half line before it writes its own.
        fill(&path);
        assert_eq!(replayed(&path).unwrap(), [0, 1]);
        fs::write(&path, "{\"stage\": 5}\n").unwrap();
        let error = replayed(&path).map(drop).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("torn.jsonl"), "{error}");
    });
}

#[test]
fn letters_of_another_type_are_named_by_their_line() {
    let file = Temp::new("type.jsonl");
    let path = file.0.clone();
    within("type", move || {
        let p = Pipeline::new("make");
        p.source("in", 0..2)
            .on(threads(1).dead_letter_file(&path), |s| s.consumer("fail", |_| Err("bad".into())));
        p.run().unwrap();
        let p = Pipeline::new("other");
        p.replay::<String>("letters", &path).discard();
        let error = error_of(p).to_string();
        assert!(error.contains("line 1"), "{error}");
    });
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_run_before_its_first_item() {
    everywhere(|executor| {
        let p = Pipeline::new("nowhere");
        let marks = Marks::new();
        let touched = marks.clone();
        p.source("in", 0..3).on(executor.place().dead_letter_file("/nowhere/letters.jsonl"), move |s| {
            s.consumer("touch", move |_| touched.add("touched"))
        });
        let error = error_of(p).to_string();
        assert!(error.contains("/nowhere/letters.jsonl"), "{error}");
        assert_eq!(marks.count("touched"), 0);
    });
}

#[test]
fn a_full_disk_ends_the_run_and_names_the_file() {
    everywhere(|executor| {
        let p = Pipeline::new("full");
        p.source("in", 0..3).on(executor.place().dead_letter_file("/dev/full"), |s| {
            s.consumer("fail", |_| Err("bad".into()))
        });
        let error = error_of(p).to_string();
        assert!(error.contains("/dev/full") && error.contains("space"), "{error}");
    });
}

#[test]
fn a_port_for_letters_that_never_come_ends_normally() {
    under(&EXECUTORS, |executor| {
        let p = Pipeline::new("quiet");
        let (dead, letters) = p.inlet::<Dead<i32>>("dead");
        let out = p.source("in", 0..10).on(executor.place().dead_letter(&dead), |s| s.map("id", |n| n));
        let (out, letters) = (out.collect("out"), letters.collect("letters"));
        let mut report = p.run().unwrap();
        assert_eq!((report.take(out).len(), report.take(letters).len()), (10, 0));
    });
}

#[test]
fn a_failure_behind_the_port_is_not_the_blocks_to_catch() {
    under(&["inline", "threads:2", "processes:2"], |executor| {
        let p = Pipeline::new("behind");
        let (dead, letters) = p.inlet::<Dead<i32>>("dead");
        p.source("in", 0..10)
            .on(executor.place().dead_letter(&dead), |s| s.consumer("fail", |_| Err("bad".into())));
        letters.try_map("broken", |_| Err::<i32, _>("the letter box is broken".into())).discard();
        let error = error_of(p).to_string();
        assert!(error.contains("`broken`") && error.contains("the letter box is broken"), "{error}");
    });
}
