//! Errors with retry: an item that fails is tried again; one that keeps failing is set aside and reported; one that
//! kills its worker process is found out, and its neighbours survive.
//!
//! ```text
//! cargo run --example error_handling
//! ```
//!
//! The policy stands on the block's head: `retry(attempts, backoff)` first, and then `skip` (go on without the item
//! and list it in the report) or `stop` (end the run with the error, the default). Attempts are
//! transactions: what a failed one emitted or counted is never seen. A counter that an attempt adds to can
//! therefore not count attempts; the report does that.

use std::collections::BTreeSet;
use std::process;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use minigun::{Backoff, Error, Failure, Pipeline, processes};

const ORDERS: u32 = 40;

/// Orders that this process has tried; each worker process has a set of its own.
static TRIED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Some orders fail the first time a process meets them, one always, one panics, one takes its process with it.
fn deliver(order: u32) -> Result<String, Failure> {
    let new = TRIED.lock().unwrap_or_else(PoisonError::into_inner).insert(order);
    match order {
        7 => Err("the address does not exist".into()),
        13 => panic!("division by zero, say"),
        21 => process::abort(), // as a segmentation fault in a C library would
        n if n % 10 == 4 && new => Err("the line was busy".into()),
        n => Ok(format!("receipt {n}")),
    }
}

fn main() -> Result<(), Error> {
    let p = Pipeline::new("error handling");
    let delivered = p.counter("delivered");
    let backoff = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(5));
    // Two workers, and two more in the place of those that die: an order can meet four processes for the first time.
    let block = processes(2).retry(5, backoff).crash_attempts(2).skip();

    let receipts = p
        .source("orders", 0..ORDERS)
        .on(block, |s| {
            s.processor("deliver", move |order, out| {
                delivered.add(1); // taken back if the attempt fails
                out.emit((order, deliver(order)?));
                Ok(())
            })
        })
        .collect("receipts");

    let mut report = p.run()?;
    println!("{report}");

    let stage = report.stage("deliver").cloned();
    let Some(stage) = stage else { panic!("there is a stage of that name") };
    for failed in &stage.failures {
        println!("order {} given up after {} attempts: {}", failed.item, failed.attempts, failed.error);
    }
    let survivors: BTreeSet<u32> = report.take(receipts).into_iter().map(|(order, _)| order).collect();
    let failures: BTreeSet<u64> = stage.failures.iter().map(|failed| failed.item).collect();

    assert_eq!(failures, BTreeSet::from([7, 13, 21]), "the hopeless ones are named");
    assert_eq!(survivors.len() + failures.len(), ORDERS as usize, "and everybody else came through");
    assert!((0..ORDERS).filter(|n| n % 10 == 4).all(|n| survivors.contains(&n)), "also who needed a retry");
    assert_eq!(report.count(&delivered), survivors.len() as u64, "failed attempts count nothing");
    let why =
        |item: u64| stage.failures.iter().find(|failed| failed.item == item).map_or("", |f| f.error.as_str());
    assert!(why(7).contains("address") && why(13).contains("division") && why(21).contains("SIGABRT"));
    assert_eq!(stage.figures.deaths, 2, "two workers died with order 21 before it was given up");

    // Without a policy the first error ends the run, and says where and why.
    let p = Pipeline::new("strict");
    let hard = (0..ORDERS).filter(|n| n % 10 != 4);
    p.source("orders", hard).threads(2, |s| s.consumer("deliver", |order| deliver(order).map(drop)));
    match p.run() {
        Err(Error::Stage { stage, item: 6, cause, .. }) => {
            println!("the strict run ended in `{stage}`: {cause}")
        }
        // The thread that failed ends; another thread may have come to 13 first.
        Err(Error::Stage { item: 12, .. }) => println!("the strict run ended with order 13"),
        other => panic!("it must fail with order 7 or 13, not with {:?}", other.err()),
    }
    println!("{} survivors, {} failures, all reported", survivors.len(), failures.len());
    Ok(())
}
