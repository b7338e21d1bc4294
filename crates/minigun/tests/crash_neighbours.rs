//! What goes wrong in one place does not hold up another: stages before a failed one, other pipelines, forks
//! while other threads hold locks.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crash_kit::{Killer, Notes, Scene, spin};
use minigun::{Error, Executor, Pipeline};

const PLACES: [&str; 4] = ["inline", "threads:2", "processes:2", "process_per_batch:2"];

/// The source would go on for ever, and small queues are full when the stage fails.
#[test]
fn a_stage_that_failed_never_blocks_the_stages_before_it() {
    for place in PLACES {
        for panics in [false, true] {
            let scene = Scene::new();
            let p = Pipeline::new("stop");
            p.source("items", 0u64..)
                .processor("before", |id, out| out.emit(id))
                .on(minigun::threads(2).queue(2), |s| s.map("also before", |id| id))
                .on(place.parse::<Executor>().unwrap().place().queue(2), |s| {
                    s.try_map("fails", move |id| {
                        assert!(!panics || id != 100, "a panic at 100");
                        if id == 100 { Err("an error at 100".into()) } else { Ok(id) }
                    })
                })
                .discard();
            match p.run().err() {
                Some(Error::Stage { stage, cause, .. }) => {
                    assert_eq!(stage, "fails");
                    assert!(cause.contains("at 100"), "{cause}");
                }
                other => panic!("{place}: {other:?}"),
            }
            scene.nothing_is_left();
        }
    }
}

/// Both fork, both replace workers, and neither holds an end of the other's sockets.
#[test]
fn two_pipelines_at_once_replace_their_workers_without_hindering_each_other() {
    const ITEMS: u64 = 1_500;
    let mut scene = Scene::new();
    let killer = Killer::start(&mut scene.chance, 2_000..10_000);
    let one = |name: &'static str, place: &'static str| {
        move || {
            let p = Pipeline::new(name);
            let count = p.counter("count");
            let place = place.parse::<Executor>().unwrap().place();
            let results = p
                .source("items", 0..ITEMS)
                .on(place.max_restarts(u32::MAX).crash_attempts(u32::MAX), |s| {
                    s.inspect("work", move |_| {
                        spin(Duration::from_micros(100));
                        count.add(1);
                    })
                })
                .collect("results");
            let mut report = p.run().unwrap();
            let mut results = report.take(results);
            results.sort_unstable();
            assert!(results.into_iter().eq(0..ITEMS), "{name}: each result once");
            assert_eq!(report.count(&count), ITEMS);
        }
    };
    // Pipelines that only start and end, so that forks of fork servers fall between those of workers.
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let short = thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            let p = Pipeline::new("short");
            let all = p.source("items", 0..10u64).processes(2, |s| s.map("work", |id| id)).collect("all");
            // The killer may meet its workers as well.
            match p.run() {
                Ok(mut report) => assert_eq!(report.take(all).len(), 10),
                Err(error) => assert!(matches!(error, Error::Stage { .. }), "{error}"),
            }
        }
    });
    let runs =
        [thread::spawn(one("pool", "processes:2")), thread::spawn(one("fresh", "process_per_batch:2"))];
    let ended = runs.map(thread::JoinHandle::join);
    over.store(true, Ordering::Relaxed);
    let short = short.join();
    println!("{} kills", killer.end());
    ended.into_iter().for_each(|run| run.unwrap());
    short.unwrap();
    scene.nothing_is_left();
}

fn hammer(over: &Arc<AtomicBool>, blow: impl Fn() + Send + 'static) -> thread::JoinHandle<()> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            blow();
        }
    })
}

/// The program's other threads print, read and write the environment's lock, and allocate; workers do the same.
#[test]
fn locks_that_other_threads_hold_at_the_fork_never_hang_the_run() {
    let scene = Scene::new();
    let null = Arc::new(Mutex::new(std::fs::File::create("/dev/null").unwrap()));
    let over = Arc::new(AtomicBool::new(false));
    let threads = [
        hammer(&over, || drop(write!(std::io::stdout().lock(), ""))),
        hammer(&over, || drop(write!(std::io::stderr().lock(), ""))),
        hammer(&over, || drop(std::env::var_os("MINIGUN_HAMMER"))),
        hammer(&over, || drop(vec![vec![0_u8; 100]; 100])),
        {
            let null = Arc::clone(&null);
            hammer(&over, move || drop(null.lock().unwrap().write_all(b"line\n")))
        },
    ];
    let mut refused = Vec::new();
    for round in 0..10 {
        let place = ["processes:2", "process_per_batch:2"][round % 2];
        let p = Pipeline::new("locks");
        let results = p
            .source("items", 0..50u64)
            .on(place.parse::<Executor>().unwrap(), |s| {
                s.map("work", |id: u64| {
                    let _ = write!(std::io::stdout().lock(), "");
                    let _ = write!(std::io::stderr().lock(), "");
                    id + std::env::var_os("MINIGUN_HAMMER").map_or(0, |_| 1) + vec![0_u64; 1000][999]
                })
            })
            .collect("results");
        match p.run() {
            Ok(mut report) => assert_eq!(report.take(results).len(), 50),
            // It may not succeed, but then it says which lock it was.
            Err(error @ Error::Zygote { .. }) => {
                assert!(error.to_string().contains("another thread of the program held"), "{error}");
                refused.push(error);
            }
            Err(other) => panic!("{other}"),
        }
    }
    over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(null);
    println!("{} of 10 refused: {refused:?}", refused.len());
    scene.nothing_is_left();
}

/// A lock of the program's own, held at the fork, is held in every worker for ever. The bound on hooks and
/// `_init` closures finds it: it takes a minute.
#[test]
#[ignore = "takes a minute"]
fn a_lock_held_at_the_fork_that_a_worker_needs_ends_the_run_with_an_error() {
    let scene = Scene::new();
    let log = Arc::new(Mutex::new(()));
    let held = log.lock().unwrap();
    let p = Pipeline::new("log");
    let in_worker = Arc::clone(&log);
    p.source("items", 0..10u64)
        .processes(2, |s| s.map_init("work", move || drop(in_worker.lock()), |(), id| id))
        .discard();
    let run = p.start().unwrap();
    drop(held);
    match run.join().err() {
        Some(Error::Init { stage, cause }) => {
            assert_eq!(stage, "work");
            assert!(cause.contains("took longer than"), "{cause}");
        }
        other => panic!("{other:?}"),
    }
    scene.nothing_is_left();
}

/// The outside world sees every attempt: what a killed worker had done there may be done again.
#[test]
fn a_side_effect_may_repeat_but_is_never_missing() {
    const ITEMS: u64 = 2_000;
    let mut scene = Scene::new();
    let killer = Killer::start(&mut scene.chance, 2_000..10_000);
    let (notes, p) = (Notes::new(), Pipeline::new("effects"));
    let told = notes.clone();
    let results = p
        .source("items", 0..ITEMS)
        .on(minigun::processes(3).max_restarts(u32::MAX).crash_attempts(u32::MAX), |s| {
            s.inspect("write", move |id| told.add(id))
        })
        .collect("results");
    let mut report = p.run().unwrap();
    println!("{} kills, {} lines", killer.end(), notes.lines().len());
    assert_eq!(report.take(results).len() as u64, ITEMS);
    let mut written: Vec<u64> = notes.lines().iter().map(|line| line.parse().unwrap()).collect();
    written.sort_unstable();
    written.dedup();
    assert!(written.into_iter().eq(0..ITEMS), "every item was written at least once");
    notes.remove();
    scene.nothing_is_left();
}
