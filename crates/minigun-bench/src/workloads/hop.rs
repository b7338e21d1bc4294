//! Hop: numbers handed from thread to thread, one by one as the user sees it.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use minigun::Pipeline;

use super::Workload;
use crate::contest::{BoxError, Contestant, Kind};

pub(crate) const HOP: Workload = Workload {
    name: "hop",
    about: "u64 through 3 stages on 3 threads, item by item",
    items: 5_000_000,
    unit: "M items/s",
    per: 1e6,
    contestants: || {
        vec![
            Contestant::new("minigun", Kind::Ours, ours),
            Contestant::new("std sync_channel(1024)", Kind::Peer, std_channel),
            Contestant::new("crossbeam bounded(1024)", Kind::Peer, crossbeam),
            Contestant::new("1024-item chunks over crossbeam", Kind::Limit, chunks),
        ]
    },
};

/// What the middle stage does.
fn step(n: u64) -> u64 {
    n.wrapping_mul(3)
}

fn ours(items: u64) -> Result<u64, BoxError> {
    let p = Pipeline::new("hop");
    let sum = p.source("numbers", 0..items).processor("step", |n, out| out.emit(step(n))).fold(
        "sum",
        0,
        u64::wrapping_add,
    );
    Ok(p.run()?.take(sum))
}

fn std_channel(items: u64) -> Result<u64, BoxError> {
    let (first, numbers) = mpsc::sync_channel(1024);
    let (second, stepped) = mpsc::sync_channel(1024);
    let source = thread::spawn(move || (0..items).try_for_each(|n| first.send(n).ok()));
    let middle = thread::spawn(move || numbers.into_iter().try_for_each(|n| second.send(step(n)).ok()));
    let sink = thread::spawn(move || stepped.into_iter().fold(0, u64::wrapping_add));
    all_ended(source, middle, sink)
}

fn crossbeam(items: u64) -> Result<u64, BoxError> {
    let (first, numbers) = crossbeam_channel::bounded(1024);
    let (second, stepped) = crossbeam_channel::bounded(1024);
    let source = thread::spawn(move || (0..items).try_for_each(|n| first.send(n).ok()));
    let middle = thread::spawn(move || numbers.into_iter().try_for_each(|n| second.send(step(n)).ok()));
    let sink = thread::spawn(move || stepped.into_iter().fold(0, u64::wrapping_add));
    all_ended(source, middle, sink)
}

/// Written by hand for this one purpose: a number costs next to nothing, a chunk costs a channel's hop.
fn chunks(items: u64) -> Result<u64, BoxError> {
    const CHUNK: u64 = 1024;
    let (first, numbers) = crossbeam_channel::bounded::<Vec<u64>>(16);
    let (second, stepped) = crossbeam_channel::bounded::<Vec<u64>>(16);
    let source = thread::spawn(move || {
        let mut starts = (0..items).step_by(CHUNK as usize);
        starts.try_for_each(|start| first.send((start..items.min(start + CHUNK)).collect()).ok())
    });
    let middle = thread::spawn(move || {
        numbers.into_iter().try_for_each(|mut chunk| {
            chunk.iter_mut().for_each(|n| *n = step(*n));
            second.send(chunk).ok()
        })
    });
    let sink = thread::spawn(move || stepped.into_iter().flatten().fold(0, u64::wrapping_add));
    all_ended(source, middle, sink)
}

fn all_ended(
    source: JoinHandle<Option<()>>,
    middle: JoinHandle<Option<()>>,
    sink: JoinHandle<u64>,
) -> Result<u64, BoxError> {
    match (source.join(), middle.join(), sink.join()) {
        (Ok(Some(())), Ok(Some(())), Ok(sum)) => Ok(sum),
        _ => Err("a thread ended early".into()),
    }
}
