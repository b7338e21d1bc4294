//! A large table is made once and read by every child without being copied: the memory of a forked process is
//! that of the program when `run` began, copied page by page only where somebody writes.
//!
//! ```text
//! cargo run --release --example shared_data          # a table of 256 MiB
//! cargo run --release --example shared_data -- 1024  # of 1 GiB
//! ```
//!
//! The table is captured through an `Arc` like anything else a closure needs; it does not travel with the
//! items, which are only ranges of it. Each child also *writes* to its rows, to show that the program never
//! sees that: whatever a child has to say goes through `emit`, a counter or a collector.

use std::error::Error;
use std::num::NonZeroU32;
use std::ops::Range;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use minigun::Pipeline;
use serde::{Deserialize, Serialize};

const BATCHES: usize = 16;
const SPOILED: u64 = u64::MAX;

#[derive(Serialize, Deserialize)]
struct Found {
    rows: Range<usize>,
    sum: u64,
    /// What the child read back from the row it had overwritten.
    read_back: u64,
    pid: u32,
    /// When the child was ready for its batch: a spare one may have been forked before there was any.
    born: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mib = match std::env::args().nth(1) {
        Some(arg) => arg.parse::<NonZeroU32>().map_err(|e| format!("`{arg}` is no size in MiB: {e}"))?.get(),
        None => 256,
    };
    let rows = mib as usize * (1 << 20) / size_of::<u64>();

    // Before the run: later changes would not be seen by the children.
    let clock = Instant::now();
    let table: Arc<[AtomicU64]> = (0..rows as u64).map(|n| AtomicU64::new(row(n))).collect();
    println!("a table of {mib} MiB, made in {:.1?}", clock.elapsed());

    let p = Pipeline::new("shared data");
    let per_batch = rows / BATCHES; // without remainder: a MiB has 2^17 rows
    let ranges = (0..BATCHES).map(move |n| n * per_batch..(n + 1) * per_batch);
    let in_child = Arc::clone(&table);
    let found = p
        .source("ranges", ranges)
        .process_per_batch(2, |s| {
            s.map_init(
                "sum",
                move || clock.elapsed(),
                move |born, rows: Range<usize>| sum_and_spoil(&in_child, rows, *born),
            )
        })
        // On the program's side: when did the result arrive?
        .fold("found", Vec::new(), move |mut all, found: Found| {
            all.push((found, clock.elapsed()));
            all
        });

    let mut report = p.run()?;
    println!("{report}");

    let found = report.take(found);
    for (Found { rows, pid, born, .. }, arrived) in &found {
        println!(
            "child {pid}: rows {:>9}.., from fork to result {:>8.2?}",
            rows.start,
            arrived.saturating_sub(*born)
        );
    }

    let expected = |rows: &Range<usize>| rows.clone().fold(0_u64, |sum, n| sum.wrapping_add(row(n as u64)));
    assert_eq!(found.len(), BATCHES, "every batch has a result");
    assert_eq!(
        found.iter().map(|(found, _)| found.rows.len()).sum::<usize>(),
        rows,
        "every row was read once"
    );
    for (Found { rows, sum, read_back, pid, .. }, _) in &found {
        assert_eq!(*sum, expected(rows), "the sum of rows {rows:?}");
        assert_eq!(*read_back, SPOILED, "child {pid} wrote to its copy");
        assert_ne!(*pid, process::id(), "the program read the table itself");
    }
    let intact = table.iter().zip(0..).all(|(value, n)| value.load(Relaxed) == row(n));
    assert!(intact, "a child changed something in the program");
    println!(
        "all sums are right; {BATCHES} children overwrote rows of their own copy, the program's are intact"
    );
    Ok(())
}

fn row(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1
}

fn sum_and_spoil(table: &[AtomicU64], rows: Range<usize>, born: Duration) -> Found {
    let sum = table[rows.clone()].iter().fold(0_u64, |sum, value| sum.wrapping_add(value.load(Relaxed)));
    let first = &table[rows.start];
    first.store(SPOILED, Relaxed);
    Found { rows, sum, read_back: first.load(Relaxed), pid: process::id(), born }
}
