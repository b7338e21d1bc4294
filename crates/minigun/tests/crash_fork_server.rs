//! Death from above: the fork server is killed, or the whole program.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use crash_kit::{Program, Scene, kill_ours, role, spin, until, workers, zygotes};
use minigun::{Error, Executor, Pipeline};
use minigun_os::{Signal, procfs};

#[test]
fn a_killed_fork_server_ends_the_run_with_an_error_and_leaves_nothing() {
    for place in ["processes:3", "process_per_batch:3"] {
        for _ in 0..5 {
            let mut scene = Scene::new();
            let p = Pipeline::new("headless");
            p.source("items", 0u64..)
                .on(place.parse::<Executor>().unwrap().place().skip(), |s| {
                    s.inspect("work", |_| spin(Duration::from_micros(100)))
                })
                .discard();
            let run = p.start().unwrap();
            until(|| !workers().is_empty());
            thread::sleep(scene.chance.micros(0..30_000));
            let (zygotes, workers) = (zygotes(), workers());
            assert_eq!(zygotes.len(), 1, "one fork server for the run");
            assert!(kill_ours(zygotes[0]));
            match run.join().err() {
                Some(error @ Error::Zygote { .. }) => {
                    let text = error.to_string();
                    assert!(text.contains("headless") && !text.contains("unknown"), "{text}");
                }
                other => panic!("{other:?}"),
            }
            for worker in workers {
                assert!(!is_ours(worker), "worker {worker} outlived the run");
            }
            scene.nothing_is_left();
        }
    }
}

fn is_ours(pid: minigun_os::Pid) -> bool {
    procfs::is_alive(pid) && procfs::title(pid).is_ok_and(|title| title.starts_with("mg:"))
}

/// `MINIGUN_KILLS` programs are killed (default 2). With `MINIGUN_GONE_MS` it is asserted, too, how soon all
/// their processes are gone: a figure for a machine that does nothing else.
#[test]
fn no_process_outlives_a_killed_program() {
    if role().is_some() {
        return busy_program();
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let mut scene = Scene::new();
    for _ in 0..number("MINIGUN_KILLS").unwrap_or(2) {
        let mut program = Program::start("no_process_outlives_a_killed_program", "busy");
        // The program, its fork server, and workers of both blocks.
        until(|| program.processes().len() >= 5);
        thread::sleep(scene.chance.micros(0..50_000));
        minigun_os::kill(program.pid(), Signal::KILL).unwrap();
        let killed = Instant::now();
        program.child.wait().unwrap();
        until(|| program.processes().is_empty());
        let gone = killed.elapsed();
        println!("all gone after {gone:.1?}");
        if let Some(bound) = number("MINIGUN_GONE_MS") {
            assert!(gone <= Duration::from_millis(bound), "processes were left for {gone:?}");
        }
    }
    scene.nothing_is_left();
}

fn busy_program() {
    let p = Pipeline::new("busy");
    p.source("items", 0u64..)
        .processes(3, |s| s.inspect("pool", |_| spin(Duration::from_micros(50))))
        .batch(20)
        .process_per_batch(2, |s| s.inspect("fresh", |_| spin(Duration::from_millis(5))))
        .discard();
    drop(p.run());
}

/// Text that waits in the program's buffer is its own: no worker prints it, however it ends.
#[test]
fn what_the_program_had_buffered_is_printed_once() {
    if role().is_some() {
        print!("[once]"); // no line end: it stays in the buffer
        let p = Pipeline::new("printer");
        p.source("items", 0..40u64)
            .on(minigun::processes(2).skip().max_restarts(u32::MAX), |s| {
                s.inspect("leave", |id| {
                    if id % 10 == 3 {
                        std::process::exit(0);
                    }
                })
            })
            .discard();
        drop(p.run());
        return;
    }
    let scene = Scene::new();
    let mut program = Program::start("what_the_program_had_buffered_is_printed_once", "printer");
    let mut text = String::new();
    program.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(program.child.wait().unwrap().success(), "{text}");
    drop(program);
    assert_eq!(text.matches("[once]").count(), 1, "{text}");
    scene.nothing_is_left();
}

/// A reader that went away (`program | head`) is met by whoever prints, in the program or a worker.
#[test]
fn closed_standard_output_hangs_nothing() {
    if role().is_some() {
        use std::io::Write;
        let p = Pipeline::new("mute");
        let print = |id: u64| {
            writeln!(std::io::stdout(), "line {id} {}", "x".repeat(1000))?;
            Ok(id)
        };
        let results = p
            .source("items", 0..300u64)
            .on(minigun::processes(2).skip(), move |s| s.try_map("print in a worker", print))
            .try_map("print", print)
            .collect("results");
        match p.run() {
            Ok(mut report) => eprintln!("{} results", report.take(results).len()),
            Err(error) => eprintln!("{error}"),
        }
        return;
    }
    let scene = Scene::new();
    let mut program = Program::start("closed_standard_output_hangs_nothing", "mute");
    drop(program.child.stdout.take());
    let mut text = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    program.child.wait().unwrap();
    drop(program);
    assert!(text.contains("results") || text.contains("Broken pipe"), "{text}");
    scene.nothing_is_left();
}
