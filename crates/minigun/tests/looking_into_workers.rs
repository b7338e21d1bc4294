//! A worker can be looked into: its panics say where they were, with a backtrace if one is asked for, and it stops
//! for a debugger.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::io::{BufRead, BufReader, Read};
use std::panic;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crash_kit::{Scene, role, until};
use minigun::{Error, Executor, FailureKind, Pipeline, defaults};
use minigun_os::{Pid, Signal};

const PLACES: [&str; 2] = ["processes:2", "process_per_batch:2"];

#[inline(never)]
fn deep_in_the_parser(id: u64) -> u64 {
    if id == 7 {
        panic!("what is {id}?");
    }
    id
}

/// The line of the panic above.
const LINE: u32 = line!() - 6;

fn place_of_the_panic() -> String {
    format!("panicked at {}:{LINE}:9: what is 7?", file!())
}

#[derive(Clone, Copy, Debug)]
enum Thread {
    Main,
    Nested,
    Own,
}

fn run(place: &str, thread: Thread) -> Error {
    let p = Pipeline::new("panics");
    p.source("items", 0..20u64)
        .on(place.parse::<Executor>().unwrap(), move |s| match thread {
            Thread::Main => s.map("parse", deep_in_the_parser),
            Thread::Nested => s.threads(2, |s| s.map("parse", deep_in_the_parser)),
            Thread::Own => s.map("parse", |id| {
                let own = thread::spawn(move || deep_in_the_parser(id));
                own.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
            }),
        })
        .discard();
    p.run().err().unwrap()
}

#[test]
fn a_panic_in_a_worker_says_where_it_was() {
    for place in PLACES {
        for thread in [Thread::Main, Thread::Nested, Thread::Own] {
            let scene = Scene::new();
            match run(place, thread) {
                Error::Stage { stage, cause, kind, .. } => {
                    assert_eq!((stage.as_str(), kind), ("parse", FailureKind::Panic));
                    assert_eq!(cause, place_of_the_panic(), "{thread:?}");
                }
                other => panic!("{other}"),
            }
            scene.nothing_is_left();
        }
    }
}

/// The hook is the program's: on its threads nothing is put in front of it, and in workers it still runs.
#[test]
fn the_programs_panic_hook_runs_as_before() {
    static PANICS: AtomicU32 = AtomicU32::new(0);
    if role().is_none() {
        let scene = Scene::new();
        let mut program = program("the_programs_panic_hook_runs_as_before", &[]);
        let mut told = String::new();
        program.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(program.wait().unwrap().success(), "{told}");
        drop(program);
        return scene.nothing_is_left();
    }
    panic::set_hook(Box::new(|_| {
        PANICS.fetch_add(1, Ordering::Relaxed);
    }));
    let Error::Stage { cause, .. } = run("threads:1", Thread::Main) else { panic!() };
    assert_eq!(cause, "panicked: what is 7?");
    assert_eq!(PANICS.load(Ordering::Relaxed), 1);
    for place in PLACES {
        let p = Pipeline::new("counted");
        let counted = p
            .source("items", 0..1u64)
            .on(place.parse::<Executor>().unwrap(), |s| {
                s.map("panic and count", |_| {
                    let _ = panic::catch_unwind(|| deep_in_the_parser(7));
                    PANICS.load(Ordering::Relaxed)
                })
            })
            .collect("counted");
        assert_eq!(p.run().unwrap().take(counted), [2], "once in the program, once in the worker");
    }
}

/// This test binary once more, running only `test` as a role.
fn program(test: &str, environment: &[(&str, &str)]) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("MINIGUN_TEST_ROLE", "program")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_backtrace_that_is_asked_for_comes_with_the_failure() {
    if role().is_some() {
        for place in PLACES {
            for thread in [Thread::Main, Thread::Nested] {
                let error = run(place, thread);
                let text = error.to_string();
                let Error::Stage { details, .. } = error else { panic!() };
                match details {
                    Some(details) => {
                        assert!(details.lines().next().unwrap().contains("deep_in_the_parser"), "{details}");
                        assert!(
                            details.lines().all(|line| text.contains(&format!("\n    {line}"))),
                            "{text}"
                        );
                        println!("with a backtrace");
                    }
                    None => println!("without one"),
                }
            }
        }
        return;
    }
    for (asked, said) in [("1", "with a backtrace"), ("0", "without one")] {
        let scene = Scene::new();
        let test = "a_backtrace_that_is_asked_for_comes_with_the_failure";
        let mut program = program(test, &[("RUST_BACKTRACE", asked)]);
        let mut stderr = program.stderr.take().unwrap();
        let reading = thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
        let mut told = String::new();
        program.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        reading.join().unwrap().unwrap();
        assert!(program.wait().unwrap().success(), "{told}");
        assert_eq!(told.matches(said).count(), 4, "{told}");
        drop(program);
        scene.nothing_is_left();
    }
}

/// The kernel's word on a process: `T` is stopped.
fn state(pid: Pid) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].split_whitespace().next().map(str::to_string)
}

/// It is held for longer than a worker may take for its hello.
#[test]
fn a_worker_that_is_named_stops_for_a_debugger_and_goes_on_when_told() {
    if role().is_some() {
        let p = Pipeline::new("debugged");
        let results = p
            .source("items", 0..20u64)
            .processes(2, |s| s.map("other", |id| id))
            .processes(1, |s| s.map("first", |id| id + 1).map("looked at", |id| id * 2))
            .collect("results");
        let mut report = p.run().unwrap();
        let deaths: u64 = report.stages().iter().map(|stage| stage.figures.deaths).sum();
        println!("[{} results, {deaths} deaths]", report.take(results).len());
        return;
    }
    let scene = Scene::new();
    let test = "a_worker_that_is_named_stops_for_a_debugger_and_goes_on_when_told";
    let mut program = program(test, &[("MINIGUN_DEBUG_WORKER", "looked at")]);
    let mut stderr = BufReader::new(program.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("has stopped itself") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended without a word");
    }
    assert!(line.starts_with("minigun: worker ") && line.contains("`first + looked at`"), "{line}");
    let pid = line.split(' ').nth(2).unwrap();
    assert!(line.contains(&format!("kill -CONT {pid}")) && line.contains(&format!("gdb -p {pid}")), "{line}");
    let pid = Pid::new(pid.parse().unwrap()).unwrap();
    until(|| state(pid).as_deref() == Some("T"));
    thread::sleep(defaults::HELLO_BOUND + Duration::from_millis(500));
    assert_eq!(state(pid).as_deref(), Some("T"), "nobody lost patience with it");
    minigun_os::kill(pid, Signal::CONT).unwrap();
    let mut told = String::new();
    program.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    drop(stderr);
    assert!(!rest.contains("has stopped itself"), "only the block that was named: {rest}");
    assert!(program.wait().unwrap().success(), "{told}");
    assert!(told.contains("[20 results, 0 deaths]"), "{told}");
    drop(program);
    scene.nothing_is_left();
}
