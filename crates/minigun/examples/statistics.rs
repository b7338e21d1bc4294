//! What a run did: figures of every stage, and which worker process did how much.
//!
//! ```text
//! cargo run --example statistics
//! ```
//!
//! The report counts by itself: items in and out, attempts that failed, retries, deaths, busy time; the same whether a
//! stage ran on threads or in processes. What else is to be known (here the child's process number) is
//! counted by the closures with a counter or a collector, exactly once for each item that succeeded.

use std::collections::BTreeMap;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use minigun::{Backoff, Error, Pipeline, processes};

const ITEMS: u64 = 400;
const WORKERS: usize = 3;

fn main() -> Result<(), Error> {
    let p = Pipeline::new("statistics");
    let divisors_found = p.counter("divisors found");
    let pids = p.collector::<(u32, u64)>("child pids"); // and the microseconds one item took
    let flaky = AtomicBool::new(true);

    let perfect = p
        .source("numbers", 1..=ITEMS)
        .on(processes(WORKERS).retry(1 + WORKERS as u32, Backoff::none()), |s| {
            s.processor("divisors", move |n: u64, out| {
                let begun = Instant::now();
                let divisors: Vec<u64> = (1..n).filter(|d| n.is_multiple_of(*d)).collect();
                divisors_found.add(divisors.len() as u64);
                pids.push((process::id(), begun.elapsed().as_micros() as u64));
                // Once in each worker an attempt fails after it has counted: that count is taken back.
                if n.is_multiple_of(50) && flaky.swap(false, Ordering::Relaxed) {
                    return Err("the first attempt in this worker at such a number fails".into());
                }
                if divisors.iter().sum::<u64>() == n {
                    out.emit(n);
                }
                Ok(())
            })
        })
        .collect("perfect numbers");

    let mut report = p.run()?;
    println!("{report}"); // the table

    let stage = report.stage("divisors").map(|stage| (stage.figures, stage.place.clone()));
    let (figures, place) = stage.unwrap_or_default();
    println!(
        "`divisors` ran in {place}: {} in, {} out, {} tried again, busy for {:.1?}",
        figures.items_in, figures.items_out, figures.retried, figures.busy
    );
    let mut children = BTreeMap::<u32, (u64, u64)>::new();
    for (pid, micros) in report.take(pids) {
        let child = children.entry(pid).or_default();
        *child = (child.0 + 1, child.1 + micros);
    }
    for (pid, (items, micros)) in &children {
        println!("child {pid}: {items} items in {micros} µs");
    }

    let expected: u64 = (1..=ITEMS).map(|n| (1..n).filter(|d| n.is_multiple_of(*d)).count() as u64).sum();
    assert_eq!(report.count(&divisors_found), expected, "what failed attempts had counted is not in it");
    let mut perfect = report.take(perfect);
    perfect.sort();
    assert_eq!(perfect, [6, 28], "the results");
    assert_eq!((figures.items_in, figures.items_out), (ITEMS, 2), "the stage's figures");
    assert!(
        (1..=WORKERS as u64).contains(&figures.retried),
        "one retry in each worker that met such a number"
    );
    assert_eq!(figures.deaths + figures.skipped + figures.lost_goodbyes, 0);
    assert!(!figures.busy.is_zero(), "busy time is measured in the children");
    assert_eq!(children.values().map(|(items, _)| items).sum::<u64>(), ITEMS, "every item has its child");
    assert!(children.len() <= WORKERS && !children.contains_key(&process::id()), "none was the program");
    println!("{ITEMS} items counted in {} child processes", children.len());
    Ok(())
}
