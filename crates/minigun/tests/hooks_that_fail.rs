//! A hook that fails, fails the run, and everything is cleaned up all the same: whichever hook it is.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crash_kit::Scene;
use minigun::{Error, Executor, Failure, Pipeline};

const HOOKS: [&str; 5] = ["before_run", "before_fork", "after_fork", "on_failure", "after_run"];

/// A run on everything there is, in which one hook fails; and how often `after_run` was called.
fn run(executor: Executor, fails: &'static str, panics: bool) -> (Result<minigun::Report, Error>, u32) {
    let hook = move |name: &str| -> Result<(), Failure> {
        assert!(!(name == fails && panics), "it refuses");
        if name == fails { Err("it refuses".into()) } else { Ok(()) }
    };
    let p = Pipeline::new("refusing");
    let times = Arc::new(AtomicU32::new(0));
    let called = Arc::clone(&times);
    p.before_run(move || hook("before_run"))
        .before_fork(move || hook("before_fork"))
        .after_fork(move || hook("after_fork"))
        .on_failure(move |_| hook("on_failure"))
        .after_run(move |_| {
            called.fetch_add(1, SeqCst);
            hook("after_run")
        })
        .after_run(|_| ());
    p.handle_signals();
    p.source("in", 0..50)
        .threads(2, |s| s.map("before", |n| n))
        .on(executor.place().skip(), |s| {
            s.try_map("step", |n| if n == 20 { Err("twenty".into()) } else { Ok(n) })
        })
        .batch(5)
        .process_per_batch(2, |s| s.map("behind", |batch| batch))
        .discard();
    let outcome = p.run();
    (outcome, times.load(SeqCst))
}

#[test]
fn whichever_hook_fails_is_named_nothing_is_left_and_after_run_has_run_once() {
    for place in ["inline", "threads:2", "processes:2", "process_per_batch:2"] {
        for hook in HOOKS {
            for panics in [false, true] {
                let scene = Scene::new();
                let (outcome, after_runs) = run(place.parse().unwrap(), hook, panics);
                let error = outcome.err().unwrap();
                assert!(
                    matches!(&error, Error::Hook { hook: named, .. } if *named == hook),
                    "{hook}: {error}"
                );
                assert!(error.to_string().contains("it refuses"), "{error}");
                if hook == "after_fork" {
                    let text = error.to_string();
                    assert!(text.contains("`step`") || text.contains("`behind`"), "in whose worker: {text}");
                }
                assert_eq!(after_runs, 1, "{hook} in {place}");
                scene.nothing_is_left();
            }
        }
        let (outcome, after_runs) = run(place.parse().unwrap(), "none", false);
        assert_eq!((outcome.unwrap().stage("step").unwrap().figures.skipped, after_runs), (1, 1));
    }
}
