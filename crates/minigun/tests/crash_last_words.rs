//! What workers print to standard error is shown, line by line, and the last of it is told with their death;
//! nobody ever waits for it.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crash_kit::{Notes, Program, Scene, role, vandal};
use minigun::{Block, Dynamic, Error, Executor, FailedItem, Pipeline, StageReport};
use minigun_os::{Pid, Signal};

fn places() -> [Block<Dynamic>; 2] {
    ["processes:3", "process_per_batch:3"].map(|place| place.parse::<Executor>().unwrap().place())
}

/// Past what the test harness captures.
fn say(text: impl std::fmt::Display) {
    std::io::stderr().write_all(text.to_string().as_bytes()).unwrap();
}

/// Runs items under `skip`, one of them deadly.
fn run(place: Block<Dynamic>, items: u64, work: impl Fn(u64) + Send + Sync + 'static) -> StageReport {
    let p = Pipeline::new("words");
    p.source("items", 0..items)
        .on(place.skip().crash_attempts(1), |s| s.inspect("deadly", move |id| work(*id)))
        .discard();
    p.run().unwrap().stage("deadly").unwrap().clone()
}

fn only(stage: StageReport) -> FailedItem {
    assert_eq!(stage.failures.len(), 1, "{:?}", stage.failures);
    stage.failures.into_iter().next().unwrap()
}

#[test]
fn the_last_words_are_the_dying_workers_own() {
    for place in places() {
        let scene = Scene::new();
        let failed = only(run(place, 60, |id| {
            let pid = std::process::id();
            say(format_args!("{pid} begins {id}\n"));
            if id == 45 {
                for line in 0..30 {
                    say(format_args!("{pid} line {line} of {id}\n"));
                }
                say(format_args!("{pid} says goodbye"));
                std::process::abort();
            }
        }));
        assert_eq!((failed.item, failed.error.lines().count()), (45, 1));
        let details = failed.details.unwrap();
        let mut lines = details.lines();
        assert_eq!(lines.next(), Some("its last words on standard error:"));
        let lines: Vec<_> = lines.collect();
        let pid = lines[0].split(' ').next().unwrap();
        let mut expected: Vec<_> = (11..30).map(|line| format!("{pid} line {line} of 45")).collect();
        expected.push(format!("{pid} says goodbye"));
        assert_eq!(lines, expected, "twenty lines, and none of another's");
        scene.nothing_is_left();
    }
}

#[test]
fn a_worker_that_said_nothing_has_no_last_words() {
    for place in places() {
        let scene = Scene::new();
        let failed = only(run(place, 20, |id| {
            if id == 7 {
                std::process::abort();
            }
        }));
        assert_eq!(failed.details, None);
        scene.nothing_is_left();
    }
}

#[test]
fn the_words_of_the_worker_before_are_not_those_of_the_next() {
    let scene = Scene::new();
    let stage = run("process_per_batch:1".parse::<Executor>().unwrap().place(), 3, |id| match id {
        0 => say("all is well"),
        1 => std::process::abort(),
        _ => {
            say("but now");
            std::process::abort()
        }
    });
    let details: Vec<_> = stage.failures.iter().map(|failed| failed.details.clone()).collect();
    assert_eq!(details, [None, Some("its last words on standard error:\nbut now".to_string())]);
    scene.nothing_is_left();
}

/// A program in a process group of its own, so that it is not killed with its worker.
fn leave_a_helper() -> u32 {
    Command::new("sleep").arg("1000").process_group(0).spawn().unwrap().id()
}

/// The helper holds its worker's standard error beyond the worker's end and the run's.
#[test]
fn a_grandchild_that_holds_standard_error_open_delays_nothing() {
    for place in ["processes:3", "process_per_batch:3"] {
        for dies in [false, true] {
            let scene = Scene::new();
            let notes = Notes::new();
            let told = notes.clone();
            let stage = run(place.parse::<Executor>().unwrap().place(), 20, move |id| {
                if id == 7 {
                    told.add(leave_a_helper());
                    say("it lives on\n");
                    if dies {
                        std::process::abort();
                    }
                }
            });
            let helper = Pid::new(notes.lines()[0].parse().unwrap()).unwrap();
            assert!(minigun_os::procfs::is_alive(helper), "nobody waited for its end");
            minigun_os::kill(helper, Signal::KILL).unwrap();
            assert_eq!(stage.failures.len(), usize::from(dies));
            for failed in stage.failures {
                assert_eq!(failed.details.unwrap(), "its last words on standard error:\nit lives on");
            }
            notes.remove();
            scene.nothing_is_left();
        }
    }
}

fn mebibyte(id: u64) {
    if id == 7 {
        for line in 0..(1 << 14) {
            say(format_args!("{line:063}\n"));
        }
        say("the very last\n");
        std::process::abort();
    }
}

#[test]
fn a_mebibyte_printed_before_death_is_all_shown_and_its_end_is_told() {
    const TEST: &str = "a_mebibyte_printed_before_death_is_all_shown_and_its_end_is_told";
    if role().is_some() {
        for place in places() {
            let failed = only(run(place, 20, mebibyte));
            println!("[{:?}]", failed.details.unwrap().lines().last());
        }
        return;
    }
    let scene = Scene::new();
    let mut program = Program::start(TEST, "talker");
    let (mut shown, mut told) = (String::new(), String::new());
    program.child.stderr.take().unwrap().read_to_string(&mut shown).unwrap();
    program.child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(program.child.wait().unwrap().success(), "{told}");
    assert_eq!(told.matches("[Some(\"the very last\")]").count(), 2, "{told}");
    assert_eq!(shown.matches("the very last\n").count(), 2);
    for line in 0..(1 << 14) {
        let line = format!("{line:063}\n");
        assert!(shown.contains(&line), "{line} is missing");
    }
    assert_eq!(shown.lines().filter(|line| line.len() == 63).count(), 2 << 14);
    drop(program);
    scene.nothing_is_left();
}

#[test]
fn lines_of_several_workers_are_shown_whole() {
    if role().is_some() {
        let stage = run("processes:4".parse::<Executor>().unwrap().place(), 400, |id| {
            // In parts, so that others print in between.
            say(format_args!("{id:04} "));
            say("x".repeat(700));
            say(format_args!(" {id:04}\n"));
        });
        assert_eq!(stage.figures.completed, 400);
        return;
    }
    let scene = Scene::new();
    let mut program = Program::start("lines_of_several_workers_are_shown_whole", "choir");
    let mut shown = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut shown).unwrap();
    program.child.wait().unwrap();
    let mut lines: Vec<_> = shown.lines().filter(|line| line.contains("xxx")).collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 400);
    for (id, line) in lines.into_iter().enumerate() {
        assert_eq!(line, format!("{id:04} {} {id:04}", "x".repeat(700)));
    }
    drop(program);
    scene.nothing_is_left();
}

/// What is blocked is standard error, not the engine: a death is told, the run ends, within its grace.
#[test]
fn a_blocked_standard_error_hides_no_death_and_hangs_nothing() {
    const TEST: &str = "a_blocked_standard_error_hides_no_death_and_hangs_nothing";
    if role().is_some() {
        let p = Pipeline::new("blocked");
        p.source("items", 0..1u64)
            .on(minigun::processes(1).crash_attempts(1), |s| {
                s.inspect("deadly", |_| {
                    // More than the pipe of the program takes; the rest has room in that of the worker.
                    for line in 0..1500 {
                        say(format_args!("{line:063}\n"));
                    }
                    std::process::abort();
                })
            })
            .discard();
        match p.run().err().unwrap() {
            Error::Stage { details, .. } => println!("[{}]", details.unwrap().lines().last().unwrap()),
            other => println!("{other}"),
        }
        return;
    }
    let scene = Scene::new();
    let mut program = Program::start(TEST, "blocked");
    let mut told = String::new();
    program.child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(program.child.wait().unwrap().success(), "{told}");
    assert!(told.contains(&format!("[{:063}]", 1499)), "{told}");
    drop(program);
    scene.nothing_is_left();
}

#[test]
fn closed_standard_error_hangs_nothing_and_loses_no_last_words() {
    const TEST: &str = "closed_standard_error_hangs_nothing_and_loses_no_last_words";
    if let Some(role) = role() {
        if role == "closed" {
            vandal::close(2);
        }
        for place in places() {
            let failed = only(run(place, 20, mebibyte));
            println!("[{:?}]", failed.details.unwrap().lines().last());
        }
        return;
    }
    for role in ["closed", "nobody reads"] {
        let scene = Scene::new();
        let mut program = Program::start(TEST, role);
        drop(program.child.stderr.take());
        let mut told = String::new();
        program.child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(program.child.wait().unwrap().success(), "{told}");
        assert_eq!(told.matches("[Some(\"the very last\")]").count(), 2, "{role}: {told}");
        drop(program);
        scene.nothing_is_left();
    }
}

/// The run fails while they print, and must not wait for them.
#[test]
fn workers_that_print_without_end_do_not_hold_up_the_end() {
    if role().is_some() {
        for place in ["processes:3", "process_per_batch:3"] {
            let p = Pipeline::new("endless");
            p.source("items", 0..20u64)
                .on(place.parse::<Executor>().unwrap(), |s| {
                    s.try_map("endless", |id| {
                        if id < 5 {
                            return Ok(id);
                        }
                        if id == 5 {
                            return Err("enough".into());
                        }
                        loop {
                            say("and another thing\n");
                        }
                    })
                })
                .discard();
            println!("[{}]", p.run().err().unwrap());
        }
        return;
    }
    let scene = Scene::new();
    let mut program = Program::start("workers_that_print_without_end_do_not_hold_up_the_end", "endless");
    let mut stderr = program.child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while stderr.read(&mut buffer).unwrap() > 0 {}
    });
    let mut told = String::new();
    program.child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(program.child.wait().unwrap().success(), "{told}");
    assert_eq!(told.matches("enough").count(), 2, "{told}");
    reading.join().unwrap();
    drop(program);
    scene.nothing_is_left();
}
