//! A pipeline inside a tokio program: its runtime's threads do not keep worker processes from being forked.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{sorted, within};
use minigun::{Pipeline, Report};

/// Every executor in one pipeline.
fn run_all() {
    let p = Pipeline::new("tokio");
    let out = p
        .source("in", 0..100)
        .threads(2, |s| s.map("in threads", |n| n + 1))
        .processes(2, |s| s.map("in processes", |n| n * 2))
        .batch(20)
        .process_per_batch(2, |s| s.unbatch().map("per batch", |n| n + 1))
        .collect("out");
    let mut report: Report = p.run().unwrap();
    assert_eq!(sorted(report.take(out)), sorted((0..100).map(|n| (n + 1) * 2 + 1)));
}

async fn everywhere_in_it() {
    run_all();
    tokio::task::spawn_blocking(run_all).await.unwrap();
    let both = [tokio::task::spawn_blocking(run_all), tokio::task::spawn_blocking(run_all)];
    for run in both {
        run.await.unwrap();
    }
    let p = Pipeline::new("started");
    let (send, flow) = p.channel("in", 10);
    let mut out = flow.processes(1, |s| s.map("double", |n: i32| n * 2)).receiver("out", 10);
    let running = p.start().unwrap();
    for n in 0..10 {
        send.send(n).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(out.next(), Some(n * 2));
    }
    running.stop();
    let report = tokio::task::spawn_blocking(|| running.join()).await.unwrap().unwrap();
    assert_eq!(report.stage("double").unwrap().figures.items_in, 10);
}

#[test]
fn under_a_runtime_of_many_threads() {
    #[tokio::main(flavor = "multi_thread", worker_threads = 3)]
    async fn main() {
        everywhere_in_it().await;
        tokio::spawn(everywhere_in_it()).await.unwrap();
    }
    within("multi_thread", main);
}

#[test]
fn under_a_runtime_of_one_thread() {
    #[tokio::main(flavor = "current_thread")]
    async fn main() {
        everywhere_in_it().await;
    }
    within("current_thread", main);
}
