//! What a pipeline allows its blocks: more workers than that are asked for in vain, with one warning.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;

use common::{sorted, under, within, worker};
use minigun::{Executor, Pipeline, Report, Warning, cores, threads};

/// Who ran the items of a block of this kind.
fn workers_of(executor: Executor, limit: impl FnOnce(&Pipeline)) -> (BTreeSet<String>, Report) {
    let p = Pipeline::new("limited");
    limit(&p);
    let out = p.source("in", 0..200).on(executor, |s| s.map("who", |_: i32| worker())).collect("out");
    let mut report = p.run().unwrap();
    let all = report.take(out);
    assert_eq!(all.len(), 200);
    (all.into_iter().collect(), report)
}

#[test]
fn a_block_that_asks_for_more_is_held_to_it_with_one_warning() {
    under(&["threads:8", "processes:8"], |executor| {
        let (workers, report) = workers_of(executor, |p| {
            p.max_threads(2).max_processes(2);
        });
        assert!(workers.len() <= 2, "under {executor}: {workers:?}");
        let (place, _) =
            executor.to_string().split_once(':').map(|(a, b)| (a.to_string(), b.to_string())).unwrap();
        let [Warning::Held { block, place: told, asked: 8, held_to: 2 }] = report.warnings() else {
            panic!("{:?}", report.warnings())
        };
        assert_eq!((block.as_str(), *told), ("who", place.as_str()));
        assert_eq!(report.stage("who").unwrap().place, format!("{place}:2"), "where it ran");
        let text = report.to_string();
        assert_eq!(text.matches("warning: ").count(), 1, "{text}");
        assert!(text.contains(&format!("`who` asked for {place}:8 and was held to 2")), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["warnings"][0]["Held"]["held_to"], 2);
    });
    within("per batch", || {
        let (_, report) = workers_of("process_per_batch:8".parse().unwrap(), |p| {
            p.max_processes(3);
        });
        assert_eq!(report.stage("who").unwrap().place, "process_per_batch:3");
    });
}

#[test]
fn a_limit_holds_its_own_kind_and_only_who_exceeds_it() {
    under(&["threads:2", "processes:2", "inline"], |executor| {
        let (_, report) = workers_of(executor, |p| {
            p.max_threads(2).max_processes(2);
        });
        assert_eq!(report.warnings(), []);
        assert_eq!(report.stage("who").unwrap().place, executor.to_string());
    });
    within("others", || {
        let (workers, report) = workers_of(Executor::Processes(3), |p| {
            p.max_threads(1);
        });
        assert_eq!(report.warnings(), []);
        assert!(workers.len() <= 3);
    });
}

#[test]
fn threads_inside_a_worker_are_held_too_and_a_limit_set_last_holds_all() {
    within("nested", || {
        let p = Pipeline::new("nested");
        let out = p
            .source("in", 0..100)
            .processes(1, |s| s.threads(8, |s| s.map("inner", |_: i32| worker())))
            .on(threads(5), |s| s.map("outer", |who| (who, worker())))
            .collect("out");
        p.max_threads(2);
        let mut report = p.run().unwrap();
        let (inner, outer): (BTreeSet<_>, BTreeSet<_>) = report.take(out).into_iter().unzip();
        assert!(inner.len() <= 2 && outer.len() <= 2, "{inner:?} {outer:?}");
        let asked = report.warnings().iter().map(|warning| match warning {
            Warning::Held { block, asked, held_to: 2, .. } => (block.clone(), *asked),
            other => panic!("{other}"),
        });
        assert_eq!(sorted(asked), [("inner".to_string(), 8), ("outer".to_string(), 5)]);
    });
}

#[test]
fn worker_counts_default_to_the_cores() {
    assert!(cores() >= 1);
    assert_eq!("threads".parse::<Executor>().unwrap(), Executor::Threads(cores()));
    assert_eq!("processes".parse::<Executor>().unwrap(), Executor::Processes(cores()));
}
