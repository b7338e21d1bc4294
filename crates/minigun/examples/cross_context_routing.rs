//! Routing between contexts: tasks of three kinds go each to the context that suits it, and any of them sends on to any
//! other.
//!
//! ```text
//! cargo run --example cross_context_routing
//! ```
//!
//! A port is a typed way into a flow. A stage declares the ports it sends to and is lent them, wherever it runs: on threads,
//! in a worker process, in a process of its own. So the pipeline knows every route, and ends when the last sender has.

use std::collections::BTreeSet;
use std::process;

use minigun::{Error, Pipeline};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Kind {
    Light,
    Blocking,
    Heavy,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Task {
    id: u32,
    kind: Kind,
}

/// Where a task was done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Finished {
    id: u32,
    by: String,
    process: u32,
}

fn finished(id: u32, by: &str) -> Finished {
    Finished { id, by: by.to_string(), process: process::id() }
}

fn main() -> Result<(), Error> {
    let p = Pipeline::new("tasks");
    let (light, light_tasks) = p.inlet::<Task>("light");
    let (blocking, blocking_tasks) = p.inlet::<Task>("blocking");
    let (heavy, heavy_tasks) = p.inlet::<Task>("heavy");
    let (done, all_done) = p.inlet::<Finished>("done");
    let (unused, never) = p.inlet::<String>("alarms");

    // From a pool of worker processes: eight tasks by their kind.
    let kinds = [Kind::Light, Kind::Blocking, Kind::Heavy];
    let tasks = (0..8).map(move |id| Task { id, kind: kinds[id as usize % 3] });
    p.source("tasks", tasks).processes(2, |s| {
        s.router(
            "by kind",
            (&light, &blocking, &heavy, &unused),
            |task: Task, (light, blocking, heavy, alarms)| match task.kind {
                Kind::Light => light.emit(task),
                Kind::Blocking => blocking.emit(task),
                Kind::Heavy if task.id < 1000 => heavy.emit(task),
                Kind::Heavy => alarms.emit(format!("{task:?}")),
            },
        )
    });

    light_tasks
        .inline(|s| s.router("think", &done, |task: Task, done| done.emit(finished(task.id, "inline"))));
    blocking_tasks
        .threads(3, |s| s.router("wait", &done, |task: Task, done| done.emit(finished(task.id, "threads"))));
    // From a process per task back to threads: what was heavy has a light rest, under another number.
    heavy_tasks.process_per_batch(2, |s| {
        s.router("crunch", (&done, &light), |task: Task, (done, light)| {
            done.emit(finished(task.id, "process"));
            light.emit(Task { id: task.id + 100, kind: Kind::Light });
        })
    });

    let seen = all_done.collect("everything");
    let never = never.collect("alarms raised");
    let mut report = p.run()?;
    println!("{report}");

    let mut seen = report.take(seen);
    seen.sort();
    let by = |who: &str| seen.iter().filter(|done| done.by == who).map(|done| done.id).collect::<Vec<_>>();
    assert_eq!(by("inline"), [0, 3, 6, 102, 105]);
    assert_eq!(by("threads"), [1, 4, 7]);
    assert_eq!(by("process"), [2, 5]);
    let fresh: BTreeSet<_> =
        seen.iter().filter(|done| done.by == "process").map(|done| done.process).collect();
    assert!(fresh.len() == 2 && !fresh.contains(&process::id()), "each heavy task had a process of its own");
    assert!(report.take(never).is_empty(), "a port that gets nothing ends all the same");
    println!("8 tasks routed by kind: 3 light, 3 blocking, 2 heavy; 2 came back from a process to a thread");
    Ok(())
}
