//! Hop: numbers handed from thread to thread, one by one as the user sees it.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use minigun::Pipeline;
use rayon::iter::{ParallelBridge, ParallelIterator};

use super::Workload;
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Load, Scaled};

pub(crate) const HOP: Workload = Workload {
    name: "hop",
    about: "u64 through 3 stages, item by item as the user writes it",
    rounds: Scaled { full: 9, quick: 3 },
    cases: || {
        let rate = |name, kind, share, settings, run: fn(u64) -> Result<u64, BoxError>| {
            Contestant::rate(name, kind, 1e6, due, move |load| run(load.items))
                .share(share)
                .settings(settings)
        };
        let case = |name, full, contestants| Case {
            name,
            unit: "M items/s",
            better: Better::More,
            items: Scaled { full, quick: full / 10 },
            contestants,
        };
        let threads = vec![
            rate("minigun", Kind::Ours, 1, "source, processor and fold as they come", ours),
            rate("std sync_channel", Kind::Peer, 2, "capacity 1024", std_channel),
            rate("crossbeam", Kind::Peer, 8, "bounded(1024)", crossbeam),
            rate("flume", Kind::Peer, 16, "bounded(1024)", flume),
            rate("kanal", Kind::Peer, 16, "bounded(1024)", kanal),
            rate("tokio mpsc", Kind::Peer, 8, "channel(1024), tasks on 3 threads", tokio),
            rate("rayon par_bridge", Kind::Peer, 4, "a pool of 3 threads", par_bridge),
            rate("chunks of 1024 over crossbeam", Kind::Limit, 1, "bounded(16), vectors sent on", chunks),
        ];
        let inline = vec![
            rate("minigun", Kind::Ours, 1, "all steps in `inline`, on the source's thread", ours_inline),
            rate("three boxed calls", Kind::Limit, 4, "Box<dyn FnMut(u64)>, each calls the next", boxed),
        ];
        vec![case("3 threads", 30_000_000, threads), case("1 thread", 60_000_000, inline)]
    },
};

/// What the middle stage does.
fn step(n: u64) -> u64 {
    n.wrapping_mul(3)
}

/// Of numbers below `items`, each stepped.
pub(super) fn due(load: &Load) -> u64 {
    let n = u128::from(load.items);
    // The low half is the sum modulo 2^64.
    (n * (n - 1) / 2 * 3) as u64
}

pub(super) fn ours(items: u64) -> Result<u64, BoxError> {
    let p = Pipeline::new("hop");
    let sum = p.source("numbers", 0..items).processor("step", |n, out| out.emit(step(n))).fold(
        "sum",
        0,
        u64::wrapping_add,
    );
    Ok(p.run()?.take(sum))
}

/// As `boxed`: the last step keeps the sum, and says it when its worker ends.
pub(super) fn ours_inline(items: u64) -> Result<u64, BoxError> {
    let p = Pipeline::new("hop");
    let told = Arc::new(Mutex::new(0));
    let tell = Arc::clone(&told);
    p.source("numbers", 0..items).inline(move |s| {
        s.map("step", step).map("same", |n| n).consumer_init(
            "sum",
            move || Ok(Said { sum: 0, to: Arc::clone(&tell) }),
            |said, n| said.sum = said.sum.wrapping_add(n),
        )
    });
    p.run()?;
    let sum = *told.lock().map_err(|_| "a thread panicked")?;
    Ok(sum)
}

/// A sum that is told when its owner is gone.
struct Said {
    sum: u64,
    to: Arc<Mutex<u64>>,
}

impl Drop for Said {
    fn drop(&mut self) {
        if let Ok(mut to) = self.to.lock() {
            *to = self.sum;
        }
    }
}

fn boxed(items: u64) -> Result<u64, BoxError> {
    let sum = Rc::new(Cell::new(0_u64));
    let said = Rc::clone(&sum);
    // No compiler may see through the boxes.
    let mut last: Box<dyn FnMut(u64)> = black_box(Box::new(move |n| said.set(said.get().wrapping_add(n))));
    #[expect(clippy::redundant_closure, reason = "a call of its own is what is measured")]
    let mut second: Box<dyn FnMut(u64)> = black_box(Box::new(move |n| last(n)));
    let mut first: Box<dyn FnMut(u64)> = black_box(Box::new(move |n| second(step(n))));
    (0..items).for_each(&mut first);
    Ok(sum.get())
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

fn flume(items: u64) -> Result<u64, BoxError> {
    let (first, numbers) = flume::bounded(1024);
    let (second, stepped) = flume::bounded(1024);
    let source = thread::spawn(move || (0..items).try_for_each(|n| first.send(n).ok()));
    let middle = thread::spawn(move || numbers.into_iter().try_for_each(|n| second.send(step(n)).ok()));
    let sink = thread::spawn(move || stepped.into_iter().fold(0, u64::wrapping_add));
    all_ended(source, middle, sink)
}

fn kanal(items: u64) -> Result<u64, BoxError> {
    let (first, mut numbers) = kanal::bounded(1024);
    let (second, mut stepped) = kanal::bounded(1024);
    let source = thread::spawn(move || (0..items).try_for_each(|n| first.send(n).ok()));
    let middle = thread::spawn(move || numbers.by_ref().try_for_each(|n| second.send(step(n)).ok()));
    let sink = thread::spawn(move || stepped.by_ref().fold(0, u64::wrapping_add));
    all_ended(source, middle, sink)
}

fn tokio(items: u64) -> Result<u64, BoxError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build()?;
    runtime.block_on(async move {
        let (first, mut numbers) = tokio::sync::mpsc::channel(1024);
        let (second, mut stepped) = tokio::sync::mpsc::channel(1024);
        tokio::spawn(async move {
            for n in 0..items {
                if first.send(n).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(n) = numbers.recv().await {
                if second.send(step(n)).await.is_err() {
                    break;
                }
            }
        });
        let sink = tokio::spawn(async move {
            let mut sum = 0_u64;
            while let Some(n) = stepped.recv().await {
                sum = sum.wrapping_add(n);
            }
            sum
        });
        Ok(sink.await?)
    })
}

fn par_bridge(items: u64) -> Result<u64, BoxError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build()?;
    Ok(pool.install(|| (0..items).par_bridge().map(step).reduce(|| 0, u64::wrapping_add)))
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
