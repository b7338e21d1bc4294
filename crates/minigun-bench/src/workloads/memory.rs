//! Memory: a fast producer before a slow consumer; what is kept is what the queues hold, however many items come.

use std::fs;
use std::sync::mpsc;
use std::thread;

use minigun::{Pipeline, processes};

use super::Workload;
use crate::burn::{burn, burnt};
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Load, Scaled, Turn, check};

pub(crate) const MEMORY: Workload = Workload {
    name: "memory",
    about: "peak resident size: a producer that never waits by itself, a consumer of 200 ns an item",
    rounds: Scaled { full: 3, quick: 1 },
    cases: || {
        let case = |name, full, quick| {
            let of = |name, kind, settings, run: fn(&Load) -> Result<Peaks, BoxError>| {
                let turn = move |load: &Load| {
                    let Peaks { sum, program, workers } = run(load)?;
                    check(sum, due(load))?;
                    let mut values = vec![("program".to_string(), program)];
                    values.extend(workers.map(|peak| ("largest worker".to_string(), peak)));
                    Ok(Turn::Reached(values))
                };
                Contestant::new(name, kind, turn).settings(settings)
            };
            let contestants = vec![
                of("minigun, threads", Kind::Ours, "source, threads(2), fold", threads),
                of("minigun, processes", Kind::Ours, "source, processes(2), fold", in_processes),
                of("crossbeam bounded", Kind::Peer, "bounded(1024), one consumer", bounded),
                of("std unbounded", Kind::Peer, "one consumer", unbounded),
            ];
            Case { name, unit: "MB", better: Better::Less, items: Scaled { full, quick }, contestants }
        };
        vec![case("10^5 items", 100_000, 100_000), case("10^7 items", 10_000_000, 1_000_000)]
    },
};

/// Sizes in MB.
struct Peaks {
    sum: u64,
    program: f64,
    workers: Option<f64>,
}

fn due(load: &Load) -> u64 {
    (0..load.items).fold(0, |sum, n| sum.wrapping_add(burnt(n, slowness(load))))
}

/// The consumer's work, in steps.
fn slowness(load: &Load) -> u64 {
    (load.steps_per_us / 5).max(1)
}

/// The most that was resident of this process at any time.
fn peak() -> Result<f64, BoxError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    let kib: f64 = line.split_whitespace().next().ok_or("no size behind VmHWM")?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}

fn threads(load: &Load) -> Result<Peaks, BoxError> {
    let (p, steps) = (Pipeline::new("memory"), slowness(load));
    let sum = p.source("numbers", 0..load.items).threads(2, |s| s.map("same", |n| n)).fold(
        "sum",
        0_u64,
        move |sum, n| sum.wrapping_add(burn(n, steps)),
    );
    let sum = p.run()?.take(sum);
    Ok(Peaks { sum, program: peak()?, workers: None })
}

fn in_processes(load: &Load) -> Result<Peaks, BoxError> {
    let (p, steps) = (Pipeline::new("memory"), slowness(load));
    let peaks = p.collector::<f64>("peaks");
    let sum = p
        .source("numbers", 0..load.items)
        .on(processes(2), move |s| {
            s.map("same", |n| n).after(move || {
                peaks.push(peak().map_err(|error| error.to_string())?);
                Ok(())
            })
        })
        .fold("sum", 0_u64, move |sum, n| sum.wrapping_add(burn(n, steps)));
    let mut report = p.run()?;
    let workers = report.take(peaks).into_iter().reduce(f64::max);
    Ok(Peaks { sum: report.take(sum), program: peak()?, workers })
}

fn bounded(load: &Load) -> Result<Peaks, BoxError> {
    let (items, steps) = (load.items, slowness(load));
    let (to, from) = crossbeam_channel::bounded(1024);
    let producer = thread::spawn(move || (0..items).try_for_each(|n| to.send(n)));
    let sum = from.iter().fold(0_u64, |sum, n| sum.wrapping_add(burn(n, steps)));
    producer.join().map_err(|_| "a thread panicked")??;
    Ok(Peaks { sum, program: peak()?, workers: None })
}

fn unbounded(load: &Load) -> Result<Peaks, BoxError> {
    let (items, steps) = (load.items, slowness(load));
    let (to, from) = mpsc::channel();
    let producer = thread::spawn(move || (0..items).try_for_each(|n| to.send(n)));
    let sum = from.iter().fold(0_u64, |sum, n| sum.wrapping_add(burn(n, steps)));
    producer.join().map_err(|_| "a thread panicked")??;
    Ok(Peaks { sum, program: peak()?, workers: None })
}
