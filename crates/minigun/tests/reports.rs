//! The report: every stage with its figures and its place, books that balance, and a table to print.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Event, everywhere, under, within};
use minigun::{Backoff, Pipeline, processes, threads};

const QUEUED: [&str; 5] = ["threads:1", "threads:4", "processes:1", "processes:3", "process_per_batch:2"];

#[test]
fn every_item_of_a_block_is_completed_or_skipped() {
    under(&QUEUED, |executor| {
        let p = Pipeline::new("books");
        p.source("in", 0..60)
            .on(executor.place().retry(2, Backoff::none()).skip(), |s| {
                s.filter("thirds", |n| n % 3 == 0)
                    .try_map("odd", |n| if n % 2 == 1 { Err("odd".into()) } else { Ok(n) })
                    .flat_map("twice", |n| [n, n])
            })
            .discard();
        let report = p.run().unwrap();
        let figures = |name: &str| report.stage(name).unwrap().figures;
        let books = figures("thirds");
        assert_eq!((books.completed, books.skipped, books.abandoned), (50, 10, 0), "under {executor}");
        assert_eq!((books.failed, books.retried, books.deaths), (20, 10, 0));
        // Steps count what was committed.
        assert_eq!((books.items_in, books.items_out), (50, 10));
        assert_eq!((figures("odd").items_in, figures("odd").items_out), (10, 10));
        assert_eq!((figures("twice").items_in, figures("twice").items_out), (10, 20));
        assert_eq!(figures("in").items_out, 60);
    });
}

#[test]
fn stages_stand_in_the_order_in_which_they_were_written_with_their_places() {
    within("places", || {
        let p = Pipeline::new("places");
        p.source("in", 0..6)
            .map("light", |n| n)
            .on(processes(2), |s| {
                s.map("a", |n| n).threads(3, |s| s.map("b", |n| n).inline(|s| s.map("c", |n| n)))
            })
            .batch(2)
            .on(threads(1), |s| s.unbatch())
            .consumer("end", drop);
        let report = p.run().unwrap();
        let stages: Vec<_> =
            report.stages().iter().map(|s| (s.name.as_str(), s.kind, s.place.as_str())).collect();
        let expected = [
            ("in", "source", ""),
            ("light", "map", ""),
            ("a", "map", "processes:2"),
            ("b", "map", "processes:2/threads:3"),
            ("c", "map", "processes:2/threads:3/inline"),
            ("batch", "batch", ""),
            ("unbatch", "unbatch", "threads:1"),
            ("end", "consumer", ""),
        ];
        assert_eq!(stages, expected);
        assert!(report.stage("nobody").is_none());
    });
}

#[test]
fn the_table_has_a_line_for_every_stage_and_every_skipped_item() {
    everywhere(|executor| {
        let p = Pipeline::new("newsletter");
        let bytes = p.counter("bytes");
        p.source("users", 0..5u64)
            .on(executor.place().retry(3, Backoff::none()).skip(), |s| {
                s.try_map("render", move |n| {
                    bytes.add(n);
                    if n == 3 { Err("no address".into()) } else { Ok(n) }
                })
            })
            .consumer("deliver", drop);
        let text = p.run().unwrap().to_string();
        assert!(text.starts_with("newsletter: "), "{text}");
        for stage in ["users", "render", "deliver"] {
            assert_eq!(text.lines().filter(|line| line.trim_start().starts_with(stage)).count(), 1, "{text}");
        }
        assert!(text.contains(&executor.to_string()), "{text}");
        assert!(text.contains("bytes: 7"), "{text}");
        assert!(text.contains("skipped item 3 of `render` after 3 attempts: no address"), "{text}");
    });
}

#[test]
fn what_a_failing_run_leaves_undone_is_abandoned() {
    under(&QUEUED, |executor| {
        let p = Pipeline::new("abandoned");
        let (figures, fail) = (Event::new(), Event::new());
        let (told, allowed) = (Arc::clone(&figures), Arc::clone(&fail));
        p.after_run(move |report| {
            let block = report.stage("boom").unwrap().figures;
            assert_eq!((block.completed, block.skipped, block.abandoned), (10, 0, 1), "{block:?}");
            told.set();
        });
        let (send, flow) = p.channel("in", 100);
        let out = flow
            .on(executor, |s| {
                s.map("boom", move |n: i32| {
                    if n == 10 {
                        allowed.wait();
                        panic!("the eleventh");
                    }
                    n
                })
            })
            .receiver("out", 100);
        let running = p.start().unwrap();
        (0..11).for_each(|n| send.send(n).unwrap());
        assert_eq!(out.take(10).count(), 10);
        fail.set();
        assert!(running.join().is_err());
        figures.wait();
    });
}

#[test]
fn a_report_is_serialised_with_its_stages_and_counters() {
    let p = Pipeline::new("written");
    let seen = p.counter("seen");
    p.source("in", 0..5u64).threads(2, move |s| s.consumer("out", move |_| seen.add(1)));
    let report = p.run().expect("runs");
    let json = serde_json::to_value(&report).expect("is serialised");
    assert_eq!(json["pipeline"], "written");
    assert_eq!(json["counters"], serde_json::json!([["seen", 5]]));
    let out = &json["stages"][1];
    assert_eq!((&out["name"], &out["place"]), (&"out".into(), &"threads:2".into()));
    assert_eq!((&out["figures"]["items_in"], &out["figures"]["completed"]), (&5.into(), &5.into()));
}

#[test]
fn time_spent_in_worker_processes_is_in_the_report() {
    const EACH: Duration = Duration::from_millis(2);
    under(&["threads:2", "processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("time");
        p.source("in", 0..20)
            .on(executor.place(), |s| {
                s.inspect("work", |_| {
                    let begun = Instant::now();
                    while begun.elapsed() < EACH {
                        std::hint::spin_loop();
                    }
                })
            })
            .discard();
        let busy = p.run().unwrap().stage("work").unwrap().figures.busy;
        assert!(busy >= EACH * 20, "under {executor}: {busy:?} of at least {:?}", EACH * 20);
    });
}
