//! A pipeline runs inside a worker of another one, and something above it is killed: the item is run again, and
//! nothing of the inner run outlives the outer one.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::os::unix::process::parent_id;
use std::process::{Command, Stdio, id};
use std::thread;

use crash_kit::{Notes, Program, Scene, kill_ours, role, spin, until, zygotes};
use minigun::{Error, Executor, Pipeline, processes};
use minigun_os::{Pid, Signal, kill, procfs};

const OUTER: [&str; 3] = ["processes:1", "processes:2", "process_per_batch:2"];
const INNER: [&str; 3] = ["threads:2", "processes:2", "process_per_batch:2"];

fn is_alive(pid: &str) -> bool {
    procfs::is_alive(pid.parse().ok().and_then(Pid::new).unwrap())
}

/// A subprocess that would live for long, in the process group of whoever calls this.
fn leave_a_subprocess() -> u32 {
    let mut command = Command::new("sleep");
    let sleep = command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sleep.spawn().unwrap().id()
}

/// In a worker of the inner pipeline (or on a thread of it): kills the worker in which all of it runs, and does
/// not end by itself.
fn kill_from_within(outer: u32, notes: &Notes) -> ! {
    notes.add(format!("subprocess {}", leave_a_subprocess()));
    notes.add("kill 0");
    kill(Pid::new(outer).unwrap(), Signal::KILL).unwrap();
    loop {
        thread::park();
    }
}

#[test]
fn a_worker_killed_while_a_pipeline_runs_inside_it_loses_no_item_and_leaves_nothing() {
    for outer in OUTER {
        for inner in INNER {
            let scene = Scene::new();
            println!("{inner} in {outer}");
            let (outer, inner) = (outer.parse::<Executor>().unwrap(), inner.parse::<Executor>().unwrap());
            let notes = Notes::new();
            let theirs = notes.clone();
            let p = Pipeline::new("outer");
            let ran = p.counter("ran");
            let out = p
                .source("in", 0..6u64)
                .on(outer, |s| {
                    s.try_map("run a pipeline", move |n| {
                        ran.add(1);
                        let worker = id();
                        let (born, notes) = (theirs.clone(), theirs.clone());
                        let p = Pipeline::new("inner");
                        p.after_fork(move || {
                            born.add(format!("worker {}", id()));
                            born.add(format!("server {}", parent_id()));
                        });
                        let step = move |k: u64| {
                            if (n, k) == (3, 5) && !notes.lines().contains(&"kill 0".to_string()) {
                                kill_from_within(worker, &notes);
                            }
                            k + n
                        };
                        let sum = p.source("in", 0..10u64).on(inner, |s| s.map("step", step)).fold(
                            "sum",
                            0,
                            |sum, k| sum + k,
                        );
                        Ok((n, p.run()?.take(sum)))
                    })
                })
                .collect("out");
            let mut report = p.run().unwrap();
            let mut got = report.take(out);
            got.sort();
            assert_eq!(got, (0..6).map(|n| (n, 45 + 10 * n)).collect::<Vec<_>>(), "each once");
            assert_eq!(report.count(&ran), 6, "the killed attempt counts nothing");
            let figures = report.stage("run a pipeline").unwrap().figures;
            assert_eq!((figures.deaths, figures.lost_goodbyes, figures.skipped), (1, 1, 0));
            let lines = notes.lines();
            let told = |what: &str| {
                let of_it = lines.iter().filter_map(|line| line.strip_prefix(what));
                of_it.map(|pid| pid.trim().to_string()).collect::<Vec<_>>()
            };
            assert_eq!(told("kill").len(), 1, "it was run again");
            for pid in told("worker").iter().chain(&told("server")) {
                assert!(!is_alive(pid), "process {pid} of the inner run outlived the outer one");
            }
            // It was killed before its fork server went, which the run waited for; its own end may come later.
            until(|| !told("subprocess").iter().any(|pid| is_alive(pid)));
            notes.remove();
            scene.nothing_is_left();
        }
    }
}

/// Pipelines run inside the workers, each with workers that have a subprocess, until something is killed.
fn busy() -> Result<(), Error> {
    let p = Pipeline::new("busy");
    p.source("in", 0u64..)
        .on(processes(2), |s| {
            s.try_map("run a pipeline", |_| {
                let p = Pipeline::new("inner");
                p.after_fork(|| {
                    leave_a_subprocess();
                });
                p.source("in", 0u64..)
                    .processes(2, |s| s.inspect("work", |_| spin(std::time::Duration::from_micros(50))))
                    .discard();
                p.run()?;
                Ok(())
            })
        })
        .discard();
    p.run().map(drop)
}

/// Program, two fork servers, two workers, in each two fork servers and two workers that have a subprocess each.
const FAMILY: usize = 1 + 2 + 2 * (1 + 2 + 2 * 2);

#[test]
fn nothing_of_nested_pipelines_outlives_a_killed_program() {
    if role().is_some() {
        drop(busy());
        return;
    }
    let scene = Scene::new();
    for _ in 0..2 {
        let mut program = Program::start("nothing_of_nested_pipelines_outlives_a_killed_program", "nested");
        until(|| program.processes().len() >= FAMILY);
        kill(program.pid(), Signal::KILL).unwrap();
        program.child.wait().unwrap();
        until(|| program.processes().is_empty());
    }
    scene.nothing_is_left();
}

#[test]
fn nothing_of_nested_pipelines_outlives_killed_fork_servers() {
    if role().is_some() {
        match busy() {
            Err(error @ Error::Zygote { .. }) => println!("ended: {error}"),
            other => panic!("{:?}", other.err()),
        }
        return;
    }
    let scene = Scene::new();
    let name = "nothing_of_nested_pipelines_outlives_killed_fork_servers";
    let mut program = Program::start(name, "nested");
    until(|| program.processes().len() >= FAMILY);
    let servers = procfs::children_of(program.pid()).unwrap();
    assert_eq!((servers.len(), zygotes().len()), (2, 1), "the program has two, this process has the program");
    assert!(servers.into_iter().all(kill_ours));
    assert!(program.child.wait().unwrap().success(), "the run ends with an error that says so");
    until(|| program.processes().is_empty());
    drop(program);
    scene.nothing_is_left();
}
