//! Workers that die before their first item end the run with the causes, instead of being replaced for ever.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use crash_kit::{Notes, Scene};
use minigun::{Block, Dynamic, Error, Executor, Pipeline};

fn places() -> [Block<Dynamic>; 2] {
    ["processes:2", "process_per_batch:2"].map(|place| place.parse::<Executor>().unwrap().place())
}

fn assert_dying(error: Option<Error>, limit: u32) {
    match error {
        Some(Error::Dying { stage, deaths, causes, .. }) => {
            assert_eq!((stage.as_str(), deaths), ("work", limit + 1));
            let told = |cause: &String| cause.contains("SIGABRT") && cause.contains("while it started");
            assert!(!causes.is_empty() && causes.iter().all(told), "{causes:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn workers_that_die_in_their_init_end_the_run() {
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("init");
        p.source("items", 0..100u64)
            .on(place.skip().max_restarts(10), |s| {
                s.map_init(
                    "work",
                    || {
                        if std::process::id() != 0 {
                            std::process::abort()
                        }
                    },
                    |(), id: u64| id,
                )
            })
            .discard();
        assert_dying(p.run().err(), 10);
        scene.nothing_is_left();
    }
}

#[test]
fn workers_that_die_in_after_fork_end_the_run() {
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("after fork");
        p.after_fork(|| std::process::abort());
        p.source("items", 0..100u64).on(place.max_restarts(10), |s| s.map("work", |id: u64| id)).discard();
        assert_dying(p.run().err(), 10);
        scene.nothing_is_left();
    }
}

#[test]
fn the_default_limit_ends_it_as_well() {
    let scene = Scene::new();
    let p = Pipeline::new("after fork");
    p.after_fork(|| std::process::abort());
    p.source("items", 0..100u64).processes(2, |s| s.map("work", |id: u64| id)).discard();
    assert_dying(p.run().err(), minigun::defaults::MAX_RESTARTS);
    scene.nothing_is_left();
}

#[test]
fn a_hook_or_init_that_fails_or_panics_is_named_and_not_repeated() {
    for place in ["processes:2", "process_per_batch:2"] {
        for panics in [false, true] {
            for in_hook in [false, true] {
                let scene = Scene::new();
                let notes = Notes::new();
                let told = notes.clone();
                let fail = move || {
                    told.add(std::process::id());
                    assert!(!panics, "no luck");
                    Err::<(), minigun::Failure>("no luck".into())
                };
                let again = fail.clone();
                let p = Pipeline::new("init");
                p.after_fork(move || if in_hook { again() } else { Ok(()) });
                p.source("items", 0..100u64)
                    .on(place.parse::<Executor>().unwrap(), |s| {
                        s.try_map_init(
                            "work",
                            move || if in_hook { Ok(()) } else { fail() },
                            |(), id: u64| Ok(id),
                        )
                    })
                    .discard();
                let error = p.run().err().unwrap();
                match &error {
                    Error::Hook { hook: "after_fork", .. } => assert!(in_hook, "{error}"),
                    Error::Init { .. } => assert!(!in_hook, "{error}"),
                    _ => panic!("{error}"),
                }
                assert!(error.to_string().contains("no luck"), "{error}");
                assert!(notes.lines().len() <= 2, "at most once for each worker: {:?}", notes.lines());
                notes.remove();
                scene.nothing_is_left();
            }
        }
    }
}
