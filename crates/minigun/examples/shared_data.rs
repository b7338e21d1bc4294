//! A large table is made once and read by every child without being copied, and makes no fork slower: it is a
//! `Shared`.
//!
//! ```text
//! cargo run --release --example shared_data          # a table of 256 MiB
//! cargo run --release --example shared_data -- 4096  # of 4 GiB
//! ```
//!
//! The table is captured like anything else a closure needs; it does not travel with the items, which are only
//! ranges of it. What is captured as an ordinary `Arc` a child reads, too, and may even change; but then it changes
//! a copy of its own, which the program never sees: the children write remarks, and the program's stay empty.
//! Whatever a child has to say goes through `emit`, a counter or a collector.

use std::error::Error;
use std::num::NonZeroU32;
use std::ops::Range;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use minigun::{Pipeline, Shared};
use serde::{Deserialize, Serialize};

const BATCHES: usize = 16;
const REMARK: u64 = u64::MAX;

#[derive(Serialize, Deserialize)]
struct Found {
    rows: Range<usize>,
    sum: u64,
    /// What the child read back of the remark it had written.
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
    let table = Shared::collect((0..rows as u64).map(row))?;
    let remarks: Arc<[AtomicU64]> = (0..BATCHES).map(|_| AtomicU64::new(0)).collect();
    println!("a table of {mib} MiB, made in {:.1?}", clock.elapsed());

    let p = Pipeline::new("shared data");
    let per_batch = rows / BATCHES; // without remainder: a MiB has 2^17 rows
    let ranges = (0..BATCHES).map(move |n| n * per_batch..(n + 1) * per_batch);
    let (in_child, remarks_in_child) = (table.clone(), Arc::clone(&remarks));
    let found = p
        .source("ranges", ranges)
        .process_per_batch(2, |s| {
            s.map_init(
                "sum",
                move || clock.elapsed(),
                move |born, rows: Range<usize>| {
                    let remark = &remarks_in_child[rows.start / per_batch];
                    remark.store(REMARK, Relaxed);
                    let sum =
                        in_child[rows.clone()].iter().fold(0_u64, |sum, value| sum.wrapping_add(*value));
                    Found { rows, sum, read_back: remark.load(Relaxed), pid: process::id(), born: *born }
                },
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
        assert_eq!(*read_back, REMARK, "child {pid} wrote to its copy");
        assert_ne!(*pid, process::id(), "the program read the table itself");
    }
    assert!(table.iter().zip(0..).all(|(value, n)| *value == row(n)), "the table has changed");
    assert!(
        remarks.iter().all(|remark| remark.load(Relaxed) == 0),
        "a child changed something in the program"
    );
    println!(
        "all sums are right; {BATCHES} children read the table and wrote remarks of their own, the program's are intact"
    );
    Ok(())
}

fn row(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1
}
