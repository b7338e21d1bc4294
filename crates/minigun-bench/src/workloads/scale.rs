//! Scale: how throughput goes with the number of stages, of workers, and with the size of an item. A table.

use minigun::{Executor, Pipeline, processes};
use serde_bytes::ByteBuf;

use super::Workload;
use crate::burn::{burn, burnt};
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Load, Scaled};

pub(crate) const SCALE: Workload = Workload {
    name: "scale",
    about: "throughput against the number of stages, of workers, and the size of an item",
    rounds: Scaled { full: 5, quick: 1 },
    cases: || {
        vec![
            Case {
                name: "stages",
                unit: "M items/s",
                better: Better::More,
                items: Scaled { full: 10_000_000, quick: 500_000 },
                contestants: doubled(32).map(of_stages).collect(),
            },
            workers("threads", Executor::Threads),
            workers("processes", Executor::Processes),
            Case {
                name: "bytes",
                unit: "MB/s",
                better: Better::More,
                items: Scaled { full: 4_000_000, quick: 200_000 },
                contestants: (0..18)
                    .step_by(3)
                    .map(|power| 8 << power)
                    .chain([1 << 20])
                    .map(of_bytes)
                    .collect(),
            },
        ]
    },
};

fn doubled(most: usize) -> impl Iterator<Item = usize> {
    (0..).map(|power| 1 << power).take_while(move |n| *n <= most)
}

/// So many processors, each on a thread of its own, each adding one.
fn of_stages(stages: usize) -> Contestant {
    let due = move |load: &Load| {
        let n = load.items;
        n * (n - 1) / 2 + n * stages as u64
    };
    let run = move |load: &Load| -> Result<u64, BoxError> {
        let p = Pipeline::new("stages");
        let mut flow = p.source("numbers", 0..load.items);
        for stage in 0..stages {
            flow = flow.processor(&format!("stage {stage}"), |n, out| out.emit(n + 1));
        }
        let sum = flow.fold("sum", 0_u64, |sum, n| sum + n);
        Ok(p.run()?.take(sum))
    };
    Contestant::rate(stages.to_string(), Kind::Ours, 1e6, due, run)
        .share(stages as u64)
        .settings("processors in a row, each on its thread")
}

const MICROS: u64 = 20;

fn workers(name: &'static str, executor: fn(usize) -> Executor) -> Case {
    let of = move |workers: usize| {
        let due = |load: &Load| {
            let steps = load.steps_per_us * MICROS;
            (0..load.items).fold(0_u64, |sum, n| sum.wrapping_add(burnt(n, steps)))
        };
        let run = move |load: &Load| -> Result<u64, BoxError> {
            let (p, steps) = (Pipeline::new("workers"), load.steps_per_us * MICROS);
            let sum = p
                .source("numbers", 0..load.items)
                .on(executor(workers), move |s| s.map("burn", move |n: u64| burn(n, steps)))
                .fold("sum", 0, u64::wrapping_add);
            Ok(p.run()?.take(sum))
        };
        Contestant::rate(workers.to_string(), Kind::Ours, 1e3, due, run).settings("items of 20 µs of work")
    };
    Case {
        name,
        unit: "k items/s",
        better: Better::More,
        items: Scaled { full: 50_000, quick: 5_000 },
        contestants: doubled(32).map(of).collect(),
    }
}

/// Buffers of this size to two worker processes and back; counted once.
fn of_bytes(size: usize) -> Contestant {
    let due = move |load: &Load| {
        let n = load.items;
        n * (n - 1) / 2 + n * size as u64
    };
    let run = move |load: &Load| -> Result<u64, BoxError> {
        let p = Pipeline::new("bytes");
        // A queue of a thousand large ones would be a gigabyte.
        let queue = (16 << 20) / size;
        let sum = p
            .source("blobs", (0..load.items).map(move |n| numbered(n, size)))
            .on(processes(2).queue(queue.clamp(8, 1024)), |s| s.map("same", |blob: ByteBuf| blob))
            .fold("sum", 0_u64, |sum, blob| {
                let number = blob.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                sum + number + blob.len() as u64
            });
        Ok(p.run()?.take(sum))
    };
    // From a kilobyte on the bytes count, below it the items.
    let share = (size as u64 / 256).max(1);
    Contestant::rate(size.to_string(), Kind::Ours, 1e6 / size as f64, due, run)
        .share(share)
        .settings("processes(2), there and back, the default format")
}

fn numbered(n: u64, size: usize) -> ByteBuf {
    let mut blob = vec![1; size];
    blob[..8].copy_from_slice(&n.to_le_bytes());
    ByteBuf::from(blob)
}
