//! An item that runs longer than its block allows costs its worker; nothing else is lost or charged.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod common;
mod crash_kit;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::{Marks, error_of, sorted};
use crash_kit::{Killer, Scene};
use minigun::{Dead, Error, Executor, FailureKind, Mistake, Pipeline, process_per_batch, processes};
use minigun_os::{Pid, Signal, procfs};

/// No test asks how long something takes: what must not end in time never ends.
const LIMIT: Duration = Duration::from_millis(150);

fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

const EXECUTORS: [&str; 3] = ["processes:1", "processes:3", "process_per_batch:2"];

fn each(f: impl Fn(Executor)) {
    for text in EXECUTORS {
        let scene = Scene::new();
        println!("under {text}");
        f(text.parse().unwrap());
        scene.nothing_is_left();
    }
}

#[test]
fn an_item_that_hangs_is_a_dead_letter_and_its_neighbours_arrive_once() {
    each(|executor| {
        let p = Pipeline::new("hang");
        let (dead, letters) = p.inlet::<Dead<i32>>("dead");
        let out = p
            .source("in", 0..200)
            .on(executor.place().timeout(LIMIT).crash_attempts(2).dead_letter(&dead), |s| {
                s.map("hang", |n| if n == 70 { for_ever() } else { n })
            })
            .collect("out");
        let letters = letters.collect("letters");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..200).filter(|n| *n != 70)));
        let letters = report.take(letters);
        assert_eq!(letters.len(), 1);
        let letter = &letters[0];
        assert_eq!((letter.item, letter.number, letter.attempts), (70, 70, 2));
        assert_eq!(letter.kind, FailureKind::Deadline);
        assert!(
            letter.error.contains("deadline of 150ms") && letter.error.contains("SIGTERM"),
            "{}",
            letter.error
        );
    });
}

#[test]
fn without_a_policy_the_run_ends_and_the_error_names_item_and_deadline() {
    each(|executor| {
        let p = Pipeline::new("stop");
        p.source("in", 0..20).on(executor.place().timeout(LIMIT).crash_attempts(1), |s| {
            s.consumer("hang", |n| {
                if n == 7 {
                    for_ever()
                }
            })
        });
        let error = error_of(p);
        let Error::Stage { item: 7, kind: FailureKind::Deadline, ref stage, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(stage, "hang");
    });
}

#[test]
fn a_worker_that_ignores_the_request_is_killed_after_its_grace() {
    each(|executor| {
        let p = Pipeline::new("deaf");
        let out = p
            .source("in", 0..10)
            .on(executor.place().timeout(LIMIT).grace(LIMIT).crash_attempts(1).skip(), |s| {
                s.map("deaf", |n| {
                    if n != 3 {
                        return n;
                    }
                    minigun_os::child::ignore_signal(Signal::TERM);
                    for_ever()
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..10).filter(|n| *n != 3)));
        let failed = &report.stage("deaf").unwrap().failures[0];
        assert!(failed.error.contains("SIGKILL"), "{}", failed.error);
    });
}

#[test]
fn a_stopped_worker_is_replaced_and_its_item_runs_elsewhere() {
    each(|executor| {
        let p = Pipeline::new("stopped");
        let marks = Marks::new();
        let seen = Arc::clone(&marks);
        let out = p
            .source("in", 0..100)
            .on(executor.place().timeout(LIMIT), move |s| {
                s.map("stop", move |n| {
                    if n == 42 {
                        seen.add("begun");
                        if seen.count("begun") == 1 {
                            // Until somebody kills it.
                            let _ = minigun_os::kill(Pid::current(), Signal::STOP);
                        }
                    }
                    n
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(0..100));
        assert_eq!(marks.count("begun"), 2);
    });
}

#[test]
fn a_worker_stopped_between_two_items_is_replaced_and_nobody_is_charged() {
    let scene = Scene::new();
    let p = Pipeline::new("between");
    let (send, items) = p.channel::<i32>("in", 10);
    let receiver = items
        .on(processes(1).timeout(LIMIT).crash_attempts(1), |s| s.map("pid", |n| (n, std::process::id())))
        .receiver("out", 10);
    let running = p.start().unwrap();
    let mut receiver = receiver.into_iter();
    send.send(1).unwrap();
    let (_, first) = receiver.next().unwrap();
    // Idle now, and stopped before it gets the next item.
    minigun_os::kill(Pid::new(first).unwrap(), Signal::STOP).unwrap();
    send.send(2).unwrap();
    let (item, second) = receiver.next().unwrap();
    assert_eq!(item, 2);
    assert_ne!(first, second);
    drop(send);
    assert_eq!(receiver.next(), None);
    running.join().unwrap();
    scene.nothing_is_left();
}

#[test]
fn the_workers_own_subprocesses_end_with_it() {
    each(|executor| {
        let p = Pipeline::new("family");
        let marks = Marks::new();
        let pids = Arc::clone(&marks);
        p.source("in", 0..1).on(executor.place().timeout(LIMIT).crash_attempts(1).skip(), move |s| {
            s.consumer("spawn", move |_| {
                let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
                pids.add(child.id());
                child.wait().unwrap();
            })
        });
        p.run().unwrap();
        let child = Pid::new(marks.lines()[0].parse().unwrap()).unwrap();
        assert!(!procfs::is_alive(child), "the subprocess {child} lives on");
    });
}

#[test]
fn items_that_end_in_time_are_never_charged() {
    each(|executor| {
        let p = Pipeline::new("quick");
        let out = p
            .source("in", 0..2000)
            .on(executor.place().timeout(Duration::from_secs(30)), |s| s.map("id", |n: i32| n))
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted(0..2000));
        assert_eq!(report.stage("id").unwrap().figures.deaths, 0);
    });
}

#[test]
fn a_worker_that_waits_for_room_behind_it_misses_no_deadline() {
    let scene = Scene::new();
    let p = Pipeline::new("slow reader");
    let out = p
        .source("in", 0..200)
        .on(processes(2).timeout(Duration::from_millis(500)), |s| s.map("large", |n: i32| vec![n; 50_000]))
        .on(minigun::threads(1).queue(1), |s| {
            s.map("slow", |large| {
                // Longer than the deadline for all of them together.
                std::thread::sleep(Duration::from_millis(5));
                large[0]
            })
        })
        .collect("out");
    let mut report = p.run().unwrap();
    assert_eq!(sorted(report.take(out)), sorted(0..200));
    assert_eq!(report.stage("large").unwrap().figures.deaths, 0);
    scene.nothing_is_left();
}

#[test]
fn nobody_behind_an_item_that_ends_within_its_grace_is_charged() {
    let scene = Scene::new();
    let p = Pipeline::new("grace");
    let out = p
        .source("in", 0..60)
        .on(processes(1).timeout(LIMIT).grace(LIMIT * 4).crash_attempts(1).skip(), |s| {
            s.map("late", |n| {
                if n == 23 {
                    minigun_os::child::ignore_signal(Signal::TERM);
                    std::thread::sleep(LIMIT * 2);
                }
                n
            })
        })
        .collect("out");
    let mut report = p.run().unwrap();
    assert_eq!(sorted(report.take(out)), sorted(0..60));
    assert_eq!(report.stage("late").unwrap().figures.skipped, 0);
    scene.nothing_is_left();
}

#[test]
fn a_worker_that_still_receives_its_item_is_not_late_with_it() {
    let scene = Scene::new();
    let p = Pipeline::new("large");
    let out = p
        .source("in", 0..3)
        .map("large", |n: u8| char::from(b'a' + n).to_string().repeat(48 << 20))
        .on(processes(1).timeout(Duration::from_millis(1)).crash_attempts(2).skip(), |s| {
            s.map("len", |t| t.len())
        })
        .collect("out");
    let mut report = p.run().unwrap();
    let figures = report.stage("len").unwrap().figures;
    // To decode it may take longer than the deadline: then it is charged, and that has an end.
    assert_eq!(report.take(out).len() as u64 + figures.skipped, 3);
    assert!(figures.deaths <= 6, "{report}");
    scene.nothing_is_left();
}

#[test]
fn the_hooks_of_a_worker_that_is_recycled_are_no_late_item() {
    let scene = Scene::new();
    let p = Pipeline::new("flush");
    let flushed = p.counter("flushed");
    let out = p
        .source("in", 0..200)
        .on(processes(1).timeout(LIMIT).grace(LIMIT).recycle_after(50), move |s| {
            s.map("id", |n: i32| n).after(move || {
                std::thread::sleep(LIMIT * 3);
                flushed.add(1);
            })
        })
        .collect("out");
    let mut report = p.run().unwrap();
    assert_eq!(sorted(report.take(out)), sorted(0..200));
    let figures = report.stage("id").unwrap().figures;
    assert_eq!((figures.deaths, figures.lost_goodbyes), (0, 0), "{report}");
    assert!(report.count(&flushed) >= 4);
    scene.nothing_is_left();
}

#[test]
fn hooks_that_never_end_hold_up_a_worker_that_has_served_its_time_for_a_bound_only() {
    let scene = Scene::new();
    for head in ["recycled", "fresh"] {
        let p = Pipeline::new(head);
        let items = p.source("in", 0..4);
        macro_rules! steps {
            () => {
                |s| s.map("id", |n: i32| n).after(|| for_ever())
            };
        }
        let out = match head {
            "fresh" => items.batch(4).on(process_per_batch(1), |s| s.unbatch().then(steps!())),
            _ => items.on(processes(1).recycle_after(4), steps!()),
        }
        .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted(0..4), "{head}");
        let deaths: u64 = report.stages().iter().map(|stage| stage.figures.deaths).sum();
        assert_eq!(deaths, 1, "{report}");
    }
    scene.nothing_is_left();
}

#[test]
fn a_deadline_that_nobody_can_enforce_is_a_mistake_in_the_wiring() {
    for text in ["inline", "threads:2"] {
        let p = Pipeline::new("threads");
        let executor: Executor = text.parse().unwrap();
        p.source("in", 0..3).on(executor.place().timeout(LIMIT), |s| s.consumer("c", |_| {}));
        let Error::Wiring { mistakes, .. } = error_of(p) else { panic!() };
        assert_eq!(mistakes, [Mistake::NeedsProcess { block: "c".to_string(), setting: "timeout" }]);
    }
}

#[test]
fn workers_are_replaced_after_as_many_items_as_said_and_nothing_is_lost() {
    let scene = Scene::new();
    for (workers, after) in [(1, 1), (1, 7), (3, 50)] {
        let p = Pipeline::new("recycle");
        let ended = p.counter("ended");
        let out = p
            .source("in", 0..1000)
            .on(processes(workers).recycle_after(after), move |s| {
                s.map("pid", |n: i32| (n, std::process::id())).after(move || ended.add(1))
            })
            .collect("out");
        let mut report = p.run().unwrap();
        let out = report.take(out);
        assert_eq!(sorted(out.iter().map(|(n, _)| *n)), sorted(0..1000));
        let mut served = std::collections::BTreeMap::new();
        for (_, pid) in out {
            *served.entry(pid).or_insert(0u64) += 1;
        }
        assert!(served.values().all(|items| *items <= after), "{served:?}");
        let figures = report.stage("pid").unwrap().figures;
        assert_eq!((figures.deaths, figures.completed), (0, 1000));
        assert!(report.count(&ended) >= served.len() as u64, "their `after` hooks ran");
    }
    scene.nothing_is_left();
}

#[test]
fn workers_that_leak_are_replaced_and_nothing_is_lost() {
    let scene = Scene::new();
    let p = Pipeline::new("leak");
    let out = p
        .source("in", 0..40)
        .on(processes(1).recycle_above(30 << 20), |s| {
            s.map("leak", |n: i32| {
                std::mem::forget(vec![n as u8; 10 << 20]);
                // Longer than the pause between two looks.
                crash_kit::spin(Duration::from_millis(20));
                (n, std::process::id())
            })
        })
        .collect("out");
    let mut report = p.run().unwrap();
    let out = report.take(out);
    assert_eq!(sorted(out.iter().map(|(n, _)| *n)), sorted(0..40));
    let pids: std::collections::BTreeSet<_> = out.iter().map(|(_, pid)| *pid).collect();
    assert!(pids.len() > 3, "400 MiB in workers of 30: {} workers", pids.len());
    assert_eq!(report.stage("leak").unwrap().figures.deaths, 0);
    scene.nothing_is_left();
}

#[test]
fn a_fresh_process_is_not_recycled_twice() {
    let scene = Scene::new();
    let p = Pipeline::new("fresh");
    let out = p
        .source("in", 0..20)
        .on(process_per_batch(2).recycle_after(5), |s| s.map("pid", |_: i32| std::process::id()))
        .collect("out");
    let mut pids = p.run().unwrap().take(out);
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 20);
    scene.nothing_is_left();
}

#[test]
fn random_kills_and_deadlines_together_lose_nothing() {
    let mut scene = Scene::new();
    let marks = Marks::new();
    let p = Pipeline::new("both");
    let first = Arc::clone(&marks);
    let out = p
        .source("in", 0..3000)
        .on(processes(3).timeout(LIMIT).crash_attempts(1000).max_restarts(1000), move |s| {
            s.map("sometimes", move |n: i32| {
                if n % 500 == 250 {
                    first.add(n);
                    if first.count(n) == 1 {
                        for_ever()
                    }
                }
                crash_kit::spin(Duration::from_micros(100));
                n
            })
        })
        .collect("out");
    let running = p.start().unwrap();
    let killer = Killer::start(&mut scene.chance, 5_000..20_000);
    let report = running.join();
    println!("{} kills", killer.end());
    assert_eq!(sorted(report.unwrap().take(out)), sorted(0..3000));
    drop(marks);
    scene.nothing_is_left();
}
