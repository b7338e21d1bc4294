//! Blocks inside blocks, and a pipeline inside a worker.
//!
//! ```text
//! cargo run --example nested_contexts
//! ```
//!
//! Inside a process block, `threads` are threads of the worker: two processes with three threads each read six files at
//! once. And a closure may run a whole pipeline of its own, which may fork workers again; to the outer
//! pipeline it is one step that returns a value or an error.

use std::collections::BTreeSet;
use std::{process, thread};

use minigun::{Error, Failure, Pipeline};

/// Counts the primes below `limit` with a pipeline of its own, in two worker processes.
fn count_primes(limit: u64) -> Result<(usize, BTreeSet<u32>), Failure> {
    let p = Pipeline::new("primes");
    let pids = p.collector::<u32>("pids");
    let primes = p
        .source("numbers", 2..limit)
        .batch(100)
        .processes(2, |s| {
            s.unbatch()
                .inspect("who", move |_| pids.push(process::id()))
                .filter("prime", |n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0))
        })
        .fold("count", 0, |count, _| count + 1);
    let mut report = p.run()?; // an error here is the failure of the outer item
    Ok((report.take(primes), report.take(pids).into_iter().collect()))
}

fn main() -> Result<(), Error> {
    // Threads in worker processes. Each batch is one item of the process block; its lines go to the threads.
    let p = Pipeline::new("threads in processes");
    let seen = p
        .source("lines", 0..120u32)
        .batch(12)
        .processes(2, |s| {
            s.unbatch().threads(3, |s| {
                s.map("read", |n| (n, process::id(), format!("{:?}", thread::current().id())))
            })
        })
        .collect("seen");
    let mut report = p.run()?;
    println!("{report}");
    let seen = report.take(seen);
    let numbers: BTreeSet<u32> = seen.iter().map(|(n, ..)| *n).collect();
    let hands: BTreeSet<(u32, &String)> = seen.iter().map(|(_, pid, thread)| (*pid, thread)).collect();
    assert!(seen.len() == 120 && numbers.len() == 120, "every line once");
    assert!(hands.len() <= 6, "two processes of three threads each: {hands:?}");
    assert!(hands.iter().all(|(pid, _)| *pid != process::id()), "none of them in the program");

    // Pipelines in worker processes, each with worker processes of its own.
    let p = Pipeline::new("pipelines in a pipeline");
    let counts = p
        .source("limits", [100, 1000, 5000])
        .processes(2, |s| s.try_map("count primes", |limit| Ok((limit, process::id(), count_primes(limit)?))))
        .collect("counts");
    let mut report = p.run()?;
    println!("{report}");
    let mut counts = report.take(counts);
    counts.sort();
    for (limit, worker, (primes, children)) in &counts {
        println!("{primes} primes below {limit}: counted below worker {worker} by its children {children:?}");
        assert!(!children.contains(worker) && !children.contains(&process::id()), "three generations");
        assert!((1..=2).contains(&children.len()), "two children at most");
    }
    let primes: Vec<_> = counts.iter().map(|(limit, _, (primes, _))| (*limit, *primes)).collect();
    assert_eq!(primes, [(100, 25), (1000, 168), (5000, 669)]);
    println!(
        "120 lines by {} threads in 2 processes; {} pipelines inside a pipeline",
        hands.len(),
        primes.len()
    );
    Ok(())
}
