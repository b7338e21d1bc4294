//! A thousand items in batches of a hundred: ten batches, each in a process of its own.
//!
//! ```text
//! cargo run --example batch_and_process
//! ```
//!
//! A fresh process for every batch costs a fork and buys clean memory: whatever the work leaks, breaks or leaves
//! behind in static variables ends with the batch. The batch is one item to the block: it succeeds or is
//! tried again as a whole, and what it emits arrives once.

use std::collections::BTreeSet;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use minigun::{Error, Pipeline};

const ITEMS: u64 = 1000;
const BATCH: usize = 100;

/// What some library keeps to itself and never lets go.
static USED_UP: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<(), Error> {
    let p = Pipeline::new("batch and process");
    let handled = p.counter("items handled");
    let batches = p
        .source("items", 0..ITEMS)
        .batch(BATCH)
        .process_per_batch(3, |s| {
            s.map("handle", move |batch: Vec<u64>| {
                let sum: u64 = batch.iter().map(|n| n * n).sum();
                let used = USED_UP.fetch_add(batch.len() as u64, Ordering::Relaxed) + batch.len() as u64;
                handled.add(batch.len() as u64);
                (process::id(), batch[0], batch.len(), sum, used)
            })
        })
        .collect("batches");

    let mut report = p.run()?;
    println!("{report}");

    let mut batches = report.take(batches);
    batches.sort_by_key(|(_, first, ..)| *first);
    for (pid, first, len, sum, _) in &batches {
        println!("process {pid}: {len} items from {first} on, the sum of their squares is {sum}");
    }
    let pids: BTreeSet<u32> = batches.iter().map(|(pid, ..)| *pid).collect();
    assert_eq!(batches.len(), ITEMS as usize / BATCH, "ten batches");
    assert_eq!(pids.len(), batches.len(), "each in a process of its own");
    assert!(!pids.contains(&process::id()), "which is not the program");
    assert!(batches.iter().all(|(_, _, len, ..)| *len == BATCH), "a hundred items each");
    assert!(batches.iter().all(|(.., used)| *used == BATCH as u64), "and each began with clean memory");
    assert_eq!(USED_UP.load(Ordering::Relaxed), 0, "what the children did to theirs is not ours");
    assert_eq!(report.count(&handled), ITEMS, "but a counter comes back");
    let sum: u64 = batches.iter().map(|(.., sum, _)| sum).sum();
    assert_eq!(sum, (0..ITEMS).map(|n| n * n).sum::<u64>(), "and so do the results");
    println!("{ITEMS} items in {} batches by {} processes", batches.len(), pids.len());
    Ok(())
}
