//! An item that always kills its worker is found, named, and alone set aside.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use crash_kit::{Notes, Scene};
use minigun::{Block, Dynamic, Error, Executor, FailureKind, Pipeline};
use minigun_os::{Pid, Signal};

/// The ways to die, and what an error must say of each.
const WAYS: [(&str, &str); 5] = [
    ("abort", "SIGABRT"),
    ("segv", "SIGSEGV"),
    ("kill", "SIGKILL"),
    ("exit 0", "code 0"),
    ("exit 7", "code 7"),
];

fn die(way: &str) {
    let raise = |signal| drop(minigun_os::kill(Pid::current(), signal));
    match way {
        "abort" => std::process::abort(),
        "segv" => raise(Signal::SEGV),
        "kill" => raise(Signal::KILL),
        "exit 0" => std::process::exit(0),
        _ => std::process::exit(7),
    }
    unreachable!("it was to die by {way}");
}

fn places() -> [Block<Dynamic>; 2] {
    ["processes:2", "process_per_batch:2"].map(|place| place.parse::<Executor>().unwrap().place())
}

#[test]
fn under_stop_the_error_names_stage_item_and_cause() {
    for (way, said) in WAYS {
        for place in places() {
            let scene = Scene::new();
            let p = Pipeline::new("stop");
            p.source("items", 0..200u64)
                .on(place, |s| {
                    s.inspect("deadly", move |id| {
                        if *id == 77 {
                            die(way)
                        }
                    })
                })
                .discard();
            match p.run().err() {
                Some(Error::Stage { stage, item, cause, kind, .. }) => {
                    assert_eq!((stage.as_str(), item, kind), ("deadly", 77, FailureKind::Death), "{way}");
                    assert!(cause.contains(said), "{way}: {cause}");
                }
                other => panic!("{way}: {other:?}"),
            }
            scene.nothing_is_left();
        }
    }
}

/// The items are light, so that hundreds of them travel in a frame with the killer.
#[test]
fn under_skip_the_killer_alone_is_skipped_and_its_neighbours_arrive_once() {
    const ITEMS: u64 = 6_000;
    for (way, said) in WAYS {
        let scene = Scene::new();
        let p = Pipeline::new("skip");
        let (count, seen) = (p.counter("count"), p.collector("seen"));
        let deadly = |id: u64| id == 2_500 || id == 2_501 || id == 5_999;
        let results = p
            .source("items", 0..ITEMS)
            .on(minigun::processes(2).skip(), |s| {
                s.map("deadly", move |id: u64| {
                    count.add(1);
                    seen.push(id);
                    if deadly(id) {
                        die(way);
                    }
                    id
                })
            })
            .collect("results");
        let mut report = p.run().unwrap();
        println!("{way}: {report}");
        let stage = report.stage("deadly").unwrap().clone();
        assert_eq!((stage.figures.completed, stage.figures.skipped), (ITEMS - 3, 3));
        assert_eq!(stage.figures.deaths, 9, "three deaths for each killer, and not one more");
        let mut skipped: Vec<_> = stage.failures.iter().map(|failed| failed.item).collect();
        skipped.sort_unstable();
        assert_eq!(skipped, [2_500, 2_501, 5_999]);
        assert!(stage.failures.iter().all(|failed| failed.error.contains(said)), "{:?}", stage.failures);
        for mut arrived in [report.take(results), report.take(seen)] {
            arrived.sort_unstable();
            assert!(arrived.into_iter().eq((0..ITEMS).filter(|id| !deadly(*id))), "{way}");
        }
        assert_eq!(report.count(&count), ITEMS - 3);
        scene.nothing_is_left();
    }
}

#[test]
fn a_process_per_batch_skips_only_the_batch_that_kills() {
    for (way, said) in WAYS {
        let scene = Scene::new();
        let p = Pipeline::new("skip");
        let results = p
            .source("items", 0..400u64)
            .batch(10)
            .on(minigun::process_per_batch(2).skip(), |s| {
                s.unbatch().inspect("deadly", move |id| {
                    if *id == 123 {
                        die(way)
                    }
                })
            })
            .collect("results");
        let mut report = p.run().unwrap();
        let mut results = report.take(results);
        results.sort_unstable();
        assert!(results.into_iter().eq((0..400).filter(|id| !(120..130).contains(id))), "{way}");
        let skipped: Vec<_> = report.stages().iter().flat_map(|stage| &stage.failures).collect();
        assert_eq!(skipped.len(), 1);
        assert_eq!(skipped[0].item, 12, "the batch is the item");
        assert!(skipped[0].error.contains(said), "{}", skipped[0].error);
        scene.nothing_is_left();
    }
}

#[test]
fn an_item_is_run_exactly_as_often_as_crash_attempts_says() {
    for attempts in [1, 2, 5] {
        for place in places() {
            let scene = Scene::new();
            let (notes, p) = (Notes::new(), Pipeline::new("attempts"));
            let told = notes.clone();
            let results = p
                .source("items", 0..300u64)
                .on(place.skip().crash_attempts(attempts), |s| {
                    s.inspect("deadly", move |id| {
                        if *id == 150 {
                            told.add(std::process::id());
                            std::process::abort();
                        }
                    })
                })
                .collect("results");
            let mut report = p.run().unwrap();
            let figures = report.stage("deadly").unwrap().figures;
            assert_eq!((figures.deaths, figures.skipped), (u64::from(attempts), 1));
            assert_eq!(report.take(results).len(), 299);
            let mut pids = notes.lines();
            assert_eq!(pids.len(), attempts as usize, "it was run that often");
            pids.dedup();
            assert_eq!(pids.len(), attempts as usize, "each time in another process");
            notes.remove();
            scene.nothing_is_left();
        }
    }
}

/// Deaths are counted apart from failures: neither uses up the other's attempts.
#[test]
fn an_item_that_kills_once_and_fails_once_still_succeeds() {
    let scene = Scene::new();
    let (notes, p) = (Notes::new(), Pipeline::new("both"));
    let told = notes.clone();
    let results = p
        .source("items", 0..50u64)
        .on(minigun::processes(2).retry(2, minigun::Backoff::none()).crash_attempts(2), |s| {
            s.try_map("deadly", move |id: u64| {
                if id == 20 {
                    told.add(id);
                    match told.lines().len() {
                        1 => std::process::abort(),
                        2 => return Err("not now".into()),
                        _ => {}
                    }
                }
                Ok(id)
            })
        })
        .collect("results");
    let mut report = p.run().unwrap();
    let mut results = report.take(results);
    results.sort_unstable();
    assert!(results.into_iter().eq(0..50));
    assert_eq!(notes.lines().len(), 3);
    notes.remove();
    scene.nothing_is_left();
}

#[test]
fn more_deaths_than_the_limit_of_restarts_end_the_run_with_their_causes() {
    let scene = Scene::new();
    let p = Pipeline::new("dying");
    p.source("items", 0..1000u64)
        .on(minigun::processes(2).skip().max_restarts(7), |s| s.inspect("deadly", |_| std::process::abort()))
        .discard();
    match p.run().err() {
        Some(Error::Dying { stage, deaths, causes, .. }) => {
            assert_eq!((stage.as_str(), deaths), ("deadly", 8));
            assert!(
                causes.iter().all(|cause| cause.contains("SIGABRT") && cause.contains("item")),
                "{causes:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    scene.nothing_is_left();
}
