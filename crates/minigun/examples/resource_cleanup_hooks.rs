//! Every stage opens a resource before its first item and closes it after its last, in each of its workers, wherever
//! those are. Here the resource is a scratch file.
//!
//! ```text
//! cargo run --example resource_cleanup_hooks
//! ```
//!
//! `before` and `after` stand behind the stage they belong to and run once in each of its workers: in each thread,
//! in each process. An item that fails does not close anything: the worker goes on. A worker that is killed
//! closes nothing, and the report then says how many left without a goodbye; so the run's own `after_run` is the
//! place for what must be cleaned up in any case, and it runs after a failed run as well.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, process, thread};

use minigun::{Failure, Pipeline, processes, threads};

/// A stage's file in this worker: one for each process and thread.
fn file_of(folder: &Path, stage: &str) -> PathBuf {
    folder.join(format!("{stage}-{}-{:?}", process::id(), thread::current().id()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = env::temp_dir().join(format!("minigun-cleanup-{}", process::id()));
    let p = Pipeline::new("resource cleanup");
    let events = p.collector::<(String, String)>("events");

    // What each stage does with its resource: open, use, close.
    let open = {
        let folder = folder.clone();
        move |stage: &str| -> Result<(), Failure> {
            File::create_new(file_of(&folder, stage))?;
            events.push((stage.to_string(), "opened".to_string()));
            Ok(())
        }
    };
    let write = {
        let folder = folder.clone();
        move |stage: &str, n: u32| -> Result<u32, Failure> {
            // Fails if the file is not there: the stage's `before` has made it.
            writeln!(OpenOptions::new().append(true).open(file_of(&folder, stage))?, "{n}")?;
            Ok(n)
        }
    };
    let close = {
        let folder = folder.clone();
        move |stage: &str| -> Result<(), Failure> {
            fs::remove_file(file_of(&folder, stage))?;
            events.push((stage.to_string(), "closed".to_string()));
            Ok(())
        }
    };

    let (all, everything) = (folder.clone(), folder.clone());
    p.before_run(move || Ok(fs::create_dir(all)?));
    p.after_run(move |_| {
        // Fails unless it is empty: every worker of every stage has closed what it had opened.
        Ok(fs::remove_dir(everything)?)
    });

    let (w1, w2, w3) = (write.clone(), write.clone(), write);
    let (o1, o2, o3) = (open.clone(), open.clone(), open);
    let (c1, c2, c3) = (close.clone(), close.clone(), close);
    let out = p
        .source("numbers", 0..60u32)
        .on(threads(2), |s| {
            s.try_map("read", move |n| w1("read", n)).before(move || o1("read")).after(move || c1("read"))
        })
        .on(processes(3).skip(), |s| {
            s.try_map("work", move |n| if n % 20 == 7 { Err("an odd one".into()) } else { w2("work", n) })
                .before(move || o2("work"))
                .after(move || c2("work"))
        })
        .batch(10)
        .process_per_batch(2, |s| {
            s.try_map("write", move |batch: Vec<u32>| w3("write", batch.len() as u32))
                .before(move || o3("write"))
                .after(move || c3("write"))
        })
        .fold("sum", 0, |sum, n| sum + n);

    let mut report = p.run()?;
    println!("{report}");
    let mut count = BTreeMap::<(String, String), usize>::new();
    for event in report.take(events) {
        *count.entry(event).or_default() += 1;
    }
    let of = |stage: &str| {
        ["opened", "closed"]
            .map(|what| count.get(&(stage.to_string(), what.to_string())).copied().unwrap_or(0))
    };
    println!(
        "opened and closed: {:?} on threads, {:?} in the pool, {:?} by fork",
        of("read"),
        of("work"),
        of("write")
    );
    assert_eq!(of("read"), [2, 2], "once on each thread");
    assert_eq!(of("work"), [3, 3], "once in each worker process, though items failed there");
    assert_eq!(of("write"), [6, 6], "once in the process of each batch");
    assert_eq!(report.take(out), 57, "60 numbers, of which three failed");
    println!("11 resources opened, 11 closed, nothing left behind");
    Ok(())
}
