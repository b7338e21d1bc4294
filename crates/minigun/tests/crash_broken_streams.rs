//! Whatever a worker does to its descriptors, and whoever else holds them: the run ends, and says why if it
//! failed.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crash_kit::{Killer, Notes, Scene, kill_ours, vandal, workers};
use minigun::{Block, Dynamic, Executor, Pipeline};

fn places() -> [Block<Dynamic>; 2] {
    ["processes:2", "process_per_batch:2"].map(|place| {
        place.parse::<Executor>().unwrap().place().max_restarts(u32::MAX).crash_attempts(u32::MAX)
    })
}

const LARGE: usize = 8 << 20;
const ITEMS: u64 = 10;

fn blob(id: u64) -> Vec<u8> {
    let mut bytes = vec![id as u8; LARGE];
    bytes[..8].copy_from_slice(&id.to_le_bytes());
    bytes
}

/// Results far larger than a socket holds are half sent when the worker is killed.
#[test]
fn a_worker_killed_while_its_large_result_is_half_sent_repeats_nothing() {
    for place in places() {
        let mut scene = Scene::new();
        let killer = Killer::at_most(20, &mut scene.chance, 5_000..60_000);
        let p = Pipeline::new("half sent");
        let results = p
            .source("items", 0..ITEMS)
            .on(place, |s| s.map("grow", |id| serde_bytes::ByteBuf::from(blob(id))))
            .map("shrink", |bytes| {
                let id = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                assert!(**bytes == blob(id), "a byte of {id} changed");
                id
            })
            .collect("results");
        let mut report = p.run().unwrap();
        println!("{report}\n{} kills", killer.end());
        let mut results = report.take(results);
        results.sort_unstable();
        assert!(results.into_iter().eq(0..ITEMS), "each result once");
        scene.nothing_is_left();
    }
}

/// The program writes to a worker that is killed while it reads, and reads what it sends meanwhile.
#[test]
fn large_items_both_ways_survive_the_kills() {
    for place in places() {
        let mut scene = Scene::new();
        let killer = Killer::at_most(20, &mut scene.chance, 5_000..60_000);
        let p = Pipeline::new("both ways");
        let results = p
            .source("items", (0..ITEMS).map(|id| serde_bytes::ByteBuf::from(blob(id))))
            .on(place.queue(4), |s| s.map("carry", |bytes| bytes))
            .map("check", |bytes| {
                let id = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                assert!(**bytes == blob(id), "a byte of {id} changed");
                id
            })
            .collect("results");
        let mut report = p.run().unwrap();
        println!("{report}\n{} kills", killer.end());
        let mut results = report.take(results);
        results.sort_unstable();
        assert!(results.into_iter().eq(0..ITEMS), "each result once");
        scene.nothing_is_left();
    }
}

#[test]
fn a_worker_killed_before_it_reads_never_blocks_the_writer() {
    let scene = Scene::new();
    let p = Pipeline::new("unread");
    p.after_fork(|| {
        // The first workers are stopped, then killed: what was sent to them was never read.
        drop(minigun_os::kill(minigun_os::Pid::current(), minigun_os::Signal::STOP));
    });
    let results = p
        .source("items", (0..6u64).map(|id| serde_bytes::ByteBuf::from(blob(id))))
        .on(minigun::process_per_batch(2).max_restarts(4), |s| s.map("carry", |bytes| bytes.len()))
        .collect("results");
    let run = p.start().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let killer = std::thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            workers().into_iter().for_each(|worker| _ = kill_ours(worker));
        }
    });
    let error = run.join().err().unwrap();
    assert!(matches!(error, minigun::Error::Dying { .. }), "{error}");
    over.store(true, Ordering::Relaxed);
    killer.join().unwrap();
    drop(results);
    scene.nothing_is_left();
}

/// A worker that is alive but cannot be heard is as good as dead: its item is tried again elsewhere.
#[test]
fn a_worker_that_closes_its_socket_is_replaced() {
    for place in places() {
        let scene = Scene::new();
        let (notes, p) = (Notes::new(), Pipeline::new("closed"));
        let told = notes.clone();
        let results = p
            .source("items", 0..100u64)
            .on(place, |s| {
                s.inspect("close", move |id| {
                    if *id == 50 && told.lines().is_empty() {
                        told.add(id);
                        vandal::sockets().into_iter().for_each(vandal::close);
                    }
                })
            })
            .collect("results");
        let mut report = p.run().unwrap();
        let mut results = report.take(results);
        results.sort_unstable();
        assert!(results.into_iter().eq(0..100), "each result once");
        assert_eq!(report.stage("close").unwrap().figures.deaths, 1);
        notes.remove();
        scene.nothing_is_left();
    }
}

/// After bytes that are no frame nothing on that socket can be believed.
#[test]
fn a_worker_that_writes_garbage_to_all_its_descriptors_ends_the_run_with_an_error_that_says_so() {
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("garbage");
        p.source("items", 0..100u64)
            .on(place.skip(), |s| {
                s.inspect("scribble", |id| {
                    if *id == 50 {
                        let bytes = [0xAB; 4096];
                        vandal::sockets().into_iter().for_each(|socket| vandal::write(socket, &bytes));
                    }
                })
            })
            .discard();
        let error = p.run().err().unwrap().to_string();
        assert!(error.contains("scribble") && error.contains("no frame"), "{error}");
        scene.nothing_is_left();
    }
}

/// A frame's header that announces more than may come, or nothing that ever comes.
#[test]
fn a_worker_that_announces_what_never_comes_does_not_hang_the_run() {
    let promise = |length: u32| {
        let mut header = vec![0x47, 0x4D, 1, 6];
        header.extend_from_slice(&length.to_le_bytes());
        header.extend_from_slice(&[0; 8]);
        header
    };
    for (length, said) in [(u32::MAX, "exceeds"), (64 << 20, "died")] {
        let scene = Scene::new();
        let header = promise(length);
        let p = Pipeline::new("promise");
        p.source("items", 0..100u64)
            .on(minigun::processes(2), |s| {
                s.inspect("promise", move |id| {
                    if *id == 50 {
                        vandal::sockets().into_iter().for_each(|socket| vandal::write(socket, &header));
                        std::process::abort();
                    }
                })
            })
            .discard();
        let error = p.run().err().unwrap().to_string();
        assert!(error.contains("promise") && error.contains(said), "{error}");
        scene.nothing_is_left();
    }
}

/// Workers may run other programs, which go with them or hold nothing of the engine's.
#[test]
#[expect(clippy::zombie_processes, reason = "it is left on purpose")]
fn a_program_that_a_worker_started_and_left_does_not_hold_up_the_run() {
    for place in ["processes:2", "process_per_batch:2"] {
        for own_session in [false, true] {
            let scene = Scene::new();
            let (notes, p) = (Notes::new(), Pipeline::new("left"));
            let told = notes.clone();
            let results = p
                .source("items", 0..20u64)
                .on(place.parse::<Executor>().unwrap(), |s| {
                    s.inspect("start", move |id| {
                        if id % 10 == 5 {
                            let mut command = Command::new(if own_session { "setsid" } else { "sleep" });
                            if own_session {
                                command.arg("sleep");
                            }
                            let child = command.arg("600").stdout(Stdio::null()).spawn().unwrap();
                            told.add(child.id());
                        }
                    })
                })
                .collect("results");
            let mut report = p.run().unwrap();
            assert_eq!(report.take(results).len(), 20);
            for pid in notes.lines() {
                let pid = minigun_os::Pid::new(pid.parse().unwrap()).unwrap();
                if own_session {
                    let _ = minigun_os::kill(pid, minigun_os::Signal::KILL);
                } else {
                    crash_kit::until(|| !minigun_os::procfs::is_alive(pid));
                }
            }
            notes.remove();
            scene.nothing_is_left();
        }
    }
}

/// The end of its socket never comes: the child holds it.
#[test]
fn a_worker_that_died_is_replaced_even_if_its_escaped_child_holds_its_socket() {
    // One place: what holds the socket holds up the end of each run by the two seconds it may take to vanish.
    for place in [minigun::processes(2)] {
        let scene = Scene::new();
        let (notes, p) = (Notes::new(), Pipeline::new("escaped"));
        let told = notes.clone();
        let results = p
            .source("items", 0..100u64)
            .on(place, |s| {
                s.inspect("escape", move |id| {
                    if *id == 50 && told.lines().is_empty() {
                        told.add(vandal::leave_a_child());
                        std::process::abort();
                    }
                })
            })
            .collect("results");
        let outcome = p.run();
        for pid in notes.lines() {
            let _ = minigun_os::kill(
                minigun_os::Pid::new(pid.parse().unwrap()).unwrap(),
                minigun_os::Signal::KILL,
            );
        }
        let mut results = outcome.unwrap().take(results);
        results.sort_unstable();
        assert!(results.into_iter().eq(0..100), "each result once");
        notes.remove();
        scene.nothing_is_left();
    }
}
