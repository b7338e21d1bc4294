//! Cells in which workers have nothing to do when they die or are stopped: half of the items, the deaths, the other
//! half.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use minigun::Pipeline;
use minigun_os::{Pid, Process, Signal, procfs};

use super::cell::Arrived;
use super::fate::{self, Item, Note, Product};
use super::table::{Cell, Way};
use crate::crash_kit::{Notes, until, workers};

pub(super) fn run(cell: &Cell) {
    let p = Pipeline::new("matrix");
    let (count, notes) = (p.counter("count"), p.collector("notes"));
    let (send, items) = p.channel("items", 16);
    // Who exits or wants too much can only do so by itself.
    let by_itself = cell.way.filter(|way| matches!(way, Way::Exit | Way::Memory));
    let leave = by_itself.map(|way| (signpost(), way));
    let way_out = leave.clone();
    let ready = Notes::new();
    let told = ready.clone();
    let mut products = items
        .on(cell.head(), |s| {
            s.map_init(
                "work",
                move || {
                    way_out.iter().for_each(|(path, way)| leave_at(path, *way));
                    told.add(std::process::id());
                },
                move |(), item: Item| {
                    count.add(1);
                    notes.push(Note(item.0));
                    Product(item.0)
                },
            )
        })
        .receiver("products", 16);
    let running = p.start().unwrap();
    let (mut arrived, mut stopped) = (Vec::new(), Vec::<Process>::new());
    let half = cell.items() / 2;
    for ids in [0..half, half..cell.items()] {
        // As many at once as there is room for on the way.
        let feeder = thread::spawn({
            let (ids, send) = (ids.clone(), send.clone());
            move || ids.into_iter().for_each(|id| send.send(Item(id)).unwrap())
        });
        arrived.extend(products.by_ref().take((ids.end - ids.start) as usize).map(|product| product.0));
        feeder.join().unwrap();
        if ids.start == 0 {
            // Few may have done all of it, before the others were born.
            until(|| ready.lines().len() == cell.workers() && workers().iter().all(|worker| waits(*worker)));
            let idle = workers();
            assert_eq!(idle.len(), cell.workers(), "all of them, and none was replaced");
            match cell.way {
                Some(Way::Hang) => {
                    stopped = idle.iter().map(|worker| Process::open(*worker).unwrap()).collect();
                    signal_all(&idle, Signal::STOP);
                }
                Some(way) => end_all(&idle, way, leave.as_ref().map(|(path, _)| path)),
                None => {}
            }
        }
    }
    // One of them at least was sent an item, and replaced. Who was sent none was not, and ends in order.
    stopped.iter().for_each(|worker| worker.signal(Signal::CONT).unwrap());
    drop(send);
    assert!(products.next().is_none(), "more came than was sent");
    let mut report = running.join().unwrap();
    let notes = report.take(notes).into_iter().map(|note| note.0).collect();
    let count = report.count(&count);
    cell.succeeded(&report, Arrived { products: arrived, notes, count });
    ready.remove();
    if let Some((path, _)) = leave {
        fs::remove_file(path).unwrap();
    }
}

/// Behind its `_init` closure a worker waits for items, and for nothing else.
fn waits(worker: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, state)| state.starts_with(" S"))
}

fn end_all(idle: &[Pid], way: Way, leave: Option<&PathBuf>) {
    let signal = match way {
        Way::Abort => Signal::ABRT,
        Way::Segfault => Signal::SEGV,
        _ => Signal::KILL,
    };
    match leave {
        Some(path) => fs::write(path, "").unwrap(),
        None => signal_all(idle, signal),
    }
    until(|| idle.iter().all(|worker| !procfs::is_alive(*worker)));
}

fn signal_all(idle: &[Pid], signal: Signal) {
    idle.iter().for_each(|worker| minigun_os::kill(*worker, signal).unwrap());
}

/// In a worker: a thread of its own that ends it when the file is there. Those that begin later stay.
fn leave_at(path: &Path, way: Way) {
    if path.exists() {
        return;
    }
    let path = path.to_path_buf();
    thread::spawn(move || {
        until(|| path.exists());
        fate::strike(way)
    });
}

fn signpost() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("minigun-leave-{}-{number}", std::process::id()))
}
