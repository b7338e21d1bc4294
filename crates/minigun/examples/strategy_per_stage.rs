//! A place for each stage: the same ten items go to a stage that forks a process for every item, to one in a pool
//! of two worker processes, to one on threads, and to one that runs where the items come from.
//!
//! ```text
//! cargo run --example strategy_per_stage
//! ```
//!
//! Where a step runs is one word on its block. The closures do not know it; only their process and thread
//! numbers tell.

use std::collections::{BTreeMap, BTreeSet};
use std::{process, thread};

use minigun::{Error, Flow, Pipeline};

const ITEMS: u32 = 10;

/// An item, and the process and thread that handled it.
type Seen = (u32, u32, String);

fn here(n: u32) -> Seen {
    (n, process::id(), format!("{:?}", thread::current().id()))
}

fn main() -> Result<(), Error> {
    let p = Pipeline::new("strategy per stage");

    // Four copies of one flow: every stage behind it gets all the items.
    let [a, b, c, d]: [Flow<u32>; 4] = p.source("numbers", 0..ITEMS).broadcast();
    let stages = [
        ("fork", a.process_per_batch(2, |s| s.map("fork", here)).collect("forked")),
        ("pool", b.processes(2, |s| s.map("pool", here)).collect("pooled")),
        ("threads", c.threads(3, |s| s.map("threads", here)).collect("threaded")),
        ("inline", d.inline(|s| s.map("inline", here)).collect("inlined")),
    ];

    let mut report = p.run()?;
    println!("{report}");

    let mut processes_of = BTreeMap::new();
    for (name, seen) in stages {
        let seen = report.take(seen);
        let items: BTreeSet<u32> = seen.iter().map(|(n, _, _)| *n).collect();
        assert_eq!(seen.len(), ITEMS as usize, "`{name}` got every item once");
        assert!(items.into_iter().eq(0..ITEMS), "and it got all of them");
        let pids: BTreeSet<u32> = seen.iter().map(|(_, pid, _)| *pid).collect();
        let threads: BTreeSet<&String> = seen.iter().map(|(_, _, thread)| thread).collect();
        println!("{name}: {} processes, {} threads in them", pids.len(), threads.len());
        processes_of.insert(name, pids);
    }

    let program = BTreeSet::from([process::id()]);
    assert_eq!(processes_of["fork"].len(), ITEMS as usize, "a process for every item");
    assert!(processes_of["pool"].len() <= 2, "two processes for all items");
    assert_eq!(processes_of["threads"], program, "threads are the program's own");
    assert_eq!(processes_of["inline"], program);
    assert!(processes_of["fork"].is_disjoint(&processes_of["pool"]), "each block has its own workers");
    assert!(!processes_of["fork"].contains(&process::id()));
    println!("fork and threads each got all {ITEMS} items");
    Ok(())
}
