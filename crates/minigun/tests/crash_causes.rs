//! Why a worker died, and the limits that may kill it: named in the error, in the skipped item and in the report.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::time::Duration;

use crash_kit::Scene;
use minigun::{Block, Dynamic, Error, Executor, FailureKind, Pipeline, Report};
use minigun_os::{Pid, Signal};

fn places() -> [Block<Dynamic>; 2] {
    ["processes:2", "process_per_batch:2"].map(|place| place.parse::<Executor>().unwrap().place())
}

/// Item 7 of twenty runs `deadly`.
fn run(place: Block<Dynamic>, deadly: impl Fn() + Send + Sync + 'static) -> Result<Report, Error> {
    let p = Pipeline::new("causes");
    p.source("items", 0..20u64)
        .on(place, |s| {
            s.inspect("deadly", move |id| {
                if *id == 7 {
                    deadly()
                }
            })
        })
        .discard();
    p.run()
}

/// The death is named under `stop` and under `skip`, and counted in the report.
fn is_told(limited: fn(Block<Dynamic>) -> Block<Dynamic>, deadly: fn(), kind: &str, said: &[&str]) {
    for place in places() {
        let scene = Scene::new();
        match run(limited(place).crash_attempts(1), deadly).err() {
            Some(error @ Error::Stage { .. }) => {
                let text = error.to_string();
                let Error::Stage { item, kind, cause, .. } = error else { unreachable!() };
                assert_eq!((item, kind), (7, FailureKind::Death));
                assert_eq!(cause.lines().count(), 1, "{cause}");
                for said in said.iter().chain(&["peak memory"]) {
                    assert!(cause.contains(said) && text.contains(said), "`{said}` is not in: {text}");
                }
            }
            other => panic!("{kind}: {other:?}"),
        }
        scene.nothing_is_left();
    }
    for place in places() {
        let scene = Scene::new();
        let report = run(limited(place).crash_attempts(2).skip(), deadly).unwrap();
        let stage = report.stage("deadly").unwrap();
        let deaths: Vec<_> =
            stage.deaths.iter().map(|deaths| (deaths.cause.as_str(), deaths.count)).collect();
        assert_eq!(deaths, [(kind, 2)]);
        assert_eq!(stage.figures.deaths, 2);
        assert_eq!(stage.failures.len(), 1);
        assert!(said.iter().all(|said| stage.failures[0].error.contains(said)), "{:?}", stage.failures);
        let text = report.to_string();
        assert!(text.contains(&format!("2 workers of `deadly` died: {kind}")), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        let deaths =
            &json["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "deadly").unwrap();
        assert_eq!(deaths["deaths"][0]["cause"], kind);
        assert_eq!(deaths["deaths"][0]["count"], 2);
        scene.nothing_is_left();
    }
}

fn raise(signal: Signal) {
    drop(minigun_os::kill(Pid::current(), signal));
}

#[test]
fn signals_and_exit_codes_are_named() {
    let unlimited = |place: Block<Dynamic>| place;
    is_told(unlimited, || std::process::exit(7), "left with code 7", &["left with code 7"]);
    is_told(unlimited, || std::process::abort(), "killed by SIGABRT (6)", &["killed by SIGABRT (6)"]);
    is_told(unlimited, || raise(Signal::SEGV), "killed by SIGSEGV (11)", &["killed by SIGSEGV (11)"]);
    is_told(unlimited, || raise(Signal::KILL), "killed by SIGKILL (9)", &["killed by SIGKILL (9)"]);
}

/// The program's own memory is more than the limit, and does not count.
#[test]
fn a_worker_beyond_its_memory_limit_dies_of_it_by_name() {
    let inherited = std::hint::black_box(vec![1_u8; 200 << 20]);
    is_told(
        |place| place.memory_limit(100 << 20),
        || drop(std::hint::black_box(vec![1_u8; 300 << 20])),
        "memory limit of 100 MiB",
        &["memory limit of 100 MiB", "SIGABRT", "memory allocation of 314572800 bytes failed"],
    );
    drop(inherited);
}

/// It may take what the limit allows.
#[test]
fn a_worker_within_its_limits_lives() {
    for place in places() {
        let scene = Scene::new();
        let place = place.memory_limit(500 << 20).cpu_limit(Duration::from_secs(3600));
        let report = run(place, || drop(std::hint::black_box(vec![1_u8; 100 << 20]))).unwrap();
        let stage = report.stage("deadly").unwrap();
        assert_eq!((stage.figures.completed, stage.deaths.len()), (20, 0));
        scene.nothing_is_left();
    }
}

#[test]
fn a_worker_beyond_its_cpu_limit_dies_of_it_by_name() {
    is_told(
        |place| place.cpu_limit(Duration::from_millis(300)),
        || {
            loop {
                std::hint::spin_loop();
            }
        },
        "CPU limit of 300ms",
        &["CPU limit of 300ms", "SIGXCPU"],
    );
}

/// The niceness of the calling thread.
fn niceness() -> i64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    stat[stat.rfind(')').unwrap() + 1..].split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[test]
fn workers_are_as_nice_as_their_block_says() {
    let before = niceness();
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("nice");
        let seen =
            p.source("items", 0..5u64).on(place.nice(4), |s| s.map("look", |_| niceness())).collect("seen");
        let seen = p.run().unwrap().take(seen);
        assert_eq!(seen, [(before + 4).min(19); 5]);
        assert_eq!(niceness(), before, "the program stays as it is");
        scene.nothing_is_left();
    }
}

/// To be less nice needs a privilege: the worker is so, or the run says that it may not.
#[test]
fn a_limit_that_the_kernel_refuses_is_an_error_of_the_block() {
    let before = niceness();
    for place in places() {
        let scene = Scene::new();
        let p = Pipeline::new("urgent");
        let seen =
            p.source("items", 0..5u64).on(place.nice(-2), |s| s.map("look", |_| niceness())).collect("seen");
        match p.run() {
            Ok(mut report) => assert_eq!(report.take(seen), [(before - 2).max(-20); 5]),
            Err(Error::Init { stage, cause }) => {
                assert_eq!(stage, "look");
                assert!(cause.contains("refused `nice(-2)`: "), "{cause}");
            }
            Err(other) => panic!("{other}"),
        }
        scene.nothing_is_left();
    }
}

#[test]
fn too_many_deaths_are_told_with_cause_item_and_last_words() {
    let scene = Scene::new();
    let p = Pipeline::new("dying");
    p.source("items", 0..100u64)
        .on(minigun::processes(2).skip().max_restarts(3), |s| {
            s.inspect("deadly", |id| {
                use std::io::Write;
                writeln!(std::io::stderr(), "this is the end of {id}").unwrap();
                std::process::exit(3)
            })
        })
        .discard();
    let error = p.run().err().unwrap();
    let text = error.to_string();
    let Error::Dying { causes, .. } = error else { panic!("{error}") };
    assert_eq!(causes.len(), 4);
    for cause in causes {
        let (first, words) = cause.split_once('\n').unwrap();
        let item = first.rsplit(' ').next().unwrap();
        assert!(first.contains("left with code 3") && first.contains("while it ran item"), "{first}");
        assert_eq!(words, format!("    its last words on standard error:\n    this is the end of {item}"));
        assert!(text.contains(&cause), "{text}");
    }
    scene.nothing_is_left();
}
