//! Death from above: the fork server is killed, or the whole program.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crash_kit::{Program, Scene, kill_ours, role, spin, until, vandal, workers, workers_of, zygotes};
use minigun::{Block, Collected, Dynamic, Error, Executor, Pipeline, Report};
use minigun_os::{Signal, procfs};

/// Numbers that come until a gate, and after it when it is opened; how many have come through their block.
#[derive(Clone, Default)]
struct Gate {
    open: Arc<AtomicBool>,
    through: Arc<AtomicU64>,
}

impl Gate {
    fn numbers(&self, before: u64, after: u64) -> impl Iterator<Item = u64> + Send + 'static {
        let open = Arc::clone(&self.open);
        (0..before + after).inspect(move |id| {
            if *id == before {
                until(|| open.load(Ordering::Relaxed));
            }
        })
    }

    /// A run of such numbers through a block.
    fn run(&self, p: &Pipeline, block: Block<Dynamic>, before: u64, after: u64) -> Collected<u64> {
        let through = Arc::clone(&self.through);
        p.source("items", self.numbers(before, after))
            .on(block, |s| s.inspect("work", |_| spin(Duration::from_micros(100))))
            .inspect("through", move |_| {
                through.fetch_add(1, Ordering::Relaxed);
            })
            .collect("results")
    }

    fn through(&self) -> u64 {
        self.through.load(Ordering::Relaxed)
    }

    fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

const PLACES: [&str; 2] = ["processes:3", "process_per_batch:3"];

/// A block that has nothing to spare: no death may be charged to an item, none to the block.
fn strict(place: &str) -> Block<Dynamic> {
    place.parse::<Executor>().unwrap().place().crash_attempts(1).max_restarts(0)
}

/// The fork servers of one run, the first and its standby.
fn pair() -> [minigun_os::Pid; 2] {
    let mut zygotes = zygotes();
    zygotes.sort_by_key(|zygote| started(*zygote));
    zygotes.try_into().expect("a fork server and its standby")
}

/// When a process was started, and its number where the clock is too coarse.
fn started(pid: minigun_os::Pid) -> (u64, minigun_os::Pid) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let time = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    (time.parse().unwrap(), pid)
}

/// Each number once, by its identity.
fn each_once(report: &mut Report, results: Collected<u64>, numbers: u64) {
    let mut results = report.take(results);
    results.sort_unstable();
    assert_eq!(results.len() as u64, numbers, "as many results as items");
    assert!(results.into_iter().eq(0..numbers), "each result once");
    let work = report.stage("work").unwrap();
    assert_eq!((work.figures.skipped, work.figures.retried), (0, 0));
}

#[test]
fn a_killed_fork_server_costs_no_item_and_is_charged_to_nobody() {
    for place in PLACES {
        for _ in 0..4 {
            let mut scene = Scene::new();
            let (gate, p) = (Gate::default(), Pipeline::new("headless"));
            let results = gate.run(&p, strict(place), 300, 300);
            let run = p.start().unwrap();
            let pool = place == PLACES[0];
            until(|| if pool { workers().len() == 3 } else { !workers().is_empty() });
            thread::sleep(scene.chance.micros(0..30_000));
            let ([first, standby], lost) = (pair(), workers());
            assert_eq!(workers_of(standby), []);
            assert!(kill_ours(first));
            until(|| !is_ours(first));
            gate.open();
            let mut report = run.join().unwrap();
            each_once(&mut report, results, 600);
            let deaths = report.stage("work").unwrap().figures.deaths;
            assert!(deaths == 3 || !pool && deaths < 3, "{deaths} deaths of three workers");
            for worker in lost {
                assert!(!is_ours(worker), "worker {worker} outlived the run");
            }
            scene.nothing_is_left();
        }
    }
}

#[test]
fn a_standby_killed_while_it_stands_by_is_not_noticed() {
    for place in PLACES {
        let scene = Scene::new();
        let (gate, p) = (Gate::default(), Pipeline::new("alone"));
        let results = gate.run(&p, strict(place), 100, 100);
        let run = p.start().unwrap();
        let [_, standby] = pair();
        assert!(kill_ours(standby));
        until(|| !is_ours(standby));
        gate.open();
        let mut report = run.join().unwrap();
        each_once(&mut report, results, 200);
        assert_eq!(report.stage("work").unwrap().figures.deaths, 0);
        scene.nothing_is_left();
    }
}

#[test]
fn a_second_killed_fork_server_ends_the_run_with_an_error_and_leaves_nothing() {
    for place in PLACES {
        for together in [false, true] {
            let mut scene = Scene::new();
            let p = Pipeline::new("headless");
            p.source("items", 0u64..)
                .on(strict(place).skip(), |s| s.inspect("work", |_| spin(Duration::from_micros(100))))
                .discard();
            let run = p.start().unwrap();
            let [first, standby] = pair();
            until(|| !workers_of(first).is_empty());
            thread::sleep(scene.chance.micros(0..30_000));
            let mut lost = workers();
            assert!(kill_ours(first));
            if !together {
                until(|| !workers_of(standby).is_empty());
                lost.extend(workers());
            }
            assert!(kill_ours(standby));
            match run.join().err() {
                Some(error @ Error::Zygote { .. }) => {
                    let text = error.to_string();
                    assert!(text.contains("headless") && text.contains("and its standby"), "{text}");
                    assert!(!text.contains("unknown"), "{text}");
                }
                other => panic!("{other:?}"),
            }
            for worker in lost {
                assert!(!is_ours(worker), "worker {worker} outlived the run");
            }
            scene.nothing_is_left();
        }
    }
}

/// Both runs at once, for the bound is one of seconds.
#[test]
fn a_stopped_fork_server_is_replaced_when_it_is_needed() {
    let scene = Scene::new();
    let gate = Gate::default();
    let runs = PLACES.map(|place| {
        let p = Pipeline::new("stopped");
        // Nor does a worker wait that was forked ahead: the next item needs the fork server.
        p.max_processes(3);
        let results = gate.run(&p, strict(place), 100, 100);
        let before = zygotes();
        let run = p.start().unwrap();
        let mut pair: Vec<_> = zygotes().into_iter().filter(|zygote| !before.contains(zygote)).collect();
        pair.sort_by_key(|zygote| started(*zygote));
        (run, results, pair[0])
    });
    until(|| gate.through() == 200 && workers().len() == 3);
    for (_, _, first) in &runs {
        minigun_os::kill(*first, Signal::STOP).unwrap();
    }
    // The fresh-process block needs it for its next item; now the pool does, too.
    assert!(workers().into_iter().all(kill_ours));
    gate.open();
    for (run, results, _) in runs {
        each_once(&mut run.join().unwrap(), results, 200);
    }
    scene.nothing_is_left();
}

/// The first process of a container takes over what its descendants leave behind: nobody else would reap it.
#[test]
fn workers_of_a_killed_fork_server_are_reaped_where_the_program_takes_over_orphans() {
    if role().is_some() {
        vandal::take_over_orphans();
        // A child of the user's own, who waits for it.
        let mut own = std::process::Command::new("true").spawn().unwrap();
        for place in PLACES {
            let scene = Scene::new();
            let (gate, p) = (Gate::default(), Pipeline::new("first"));
            let results = gate.run(&p, strict(place), 300, 300);
            let run = p.start().unwrap();
            until(|| !workers().is_empty());
            let mut zygotes: Vec<_> = zygotes().into_iter().filter(|zygote| is_ours(*zygote)).collect();
            zygotes.sort_by_key(|zygote| started(*zygote));
            assert!(kill_ours(zygotes[0]));
            gate.open();
            each_once(&mut run.join().unwrap(), results, 600);
            let left = procfs::children_of(minigun_os::Pid::current()).unwrap();
            assert_eq!(left, [minigun_os::Pid::new(own.id()).unwrap()], "only the user's own child");
            drop(scene);
        }
        assert!(own.wait().unwrap().success());
        return;
    }
    let scene = Scene::new();
    passes(Program::start(
        "workers_of_a_killed_fork_server_are_reaped_where_the_program_takes_over_orphans",
        "reaper",
    ));
    scene.nothing_is_left();
}

/// A test in a process of its own passes.
fn passes(program: Program) {
    let output = program.child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// However many descriptors may be open: the run ends, well or with an error that says what to do.
#[test]
fn a_run_without_enough_descriptors_ends_with_an_error_that_names_the_limit() {
    if role().is_some() {
        for place in PLACES {
            let mut failed = 0;
            for limit in 3.. {
                let scene = Scene::new();
                let p = Pipeline::new("few");
                let results = p
                    .source("items", 0..50u64)
                    .on(place.parse::<Executor>().unwrap().place(), |s| s.map("work", |id| id))
                    .collect("results");
                let before = vandal::limit_descriptors(0, limit);
                let outcome = p.run();
                vandal::limit_descriptors(0, before);
                scene.nothing_is_left();
                match outcome {
                    Ok(mut report) => {
                        assert_eq!(report.take(results).len(), 50);
                        break;
                    }
                    Err(error) => {
                        let text = error.to_string();
                        assert!(
                            text.contains("raise the limit of open files (`ulimit -n`)"),
                            "{limit}: {text}"
                        );
                        assert!(
                            ["socketpair", "eventfd", "pidfd_open", "signalfd", "open", "forked", "/proc"]
                                .iter()
                                .any(|call| text.contains(call)),
                            "{limit}: {text}"
                        );
                        println!("{place} with {limit}: {text}");
                        failed += 1;
                    }
                }
            }
            assert!(failed > 10, "only {failed} runs met the limit");
        }
        return;
    }
    let scene = Scene::new();
    passes(Program::start("a_run_without_enough_descriptors_ends_with_an_error_that_names_the_limit", "few"));
    scene.nothing_is_left();
}

/// The system refuses one fork after the other, and then no longer.
#[test]
fn a_refused_fork_is_tried_again_with_a_pause() {
    for place in PLACES {
        let scene = Scene::new();
        let (gate, p) = (Gate::default(), Pipeline::new("refused"));
        let block = place.parse::<Executor>().unwrap().place();
        let results = gate.run(&p, block, 30, 30);
        let run = p.start().unwrap();
        let [first, _] = pair();
        until(|| gate.through() == 30);
        // No descriptor can be handed to it: a worker cannot be made. The pool needs new ones.
        let before = vandal::limit_descriptors(first.get(), 3);
        for worker in workers() {
            kill_ours(worker);
        }
        gate.open();
        // Without a pause, the restarts that are allowed would all be gone by then.
        thread::sleep(Duration::from_millis(500));
        vandal::limit_descriptors(first.get(), before);
        each_once(&mut run.join().unwrap(), results, 60);
        scene.nothing_is_left();
    }
}

/// Two programs at once, for the bounds are of seconds. In one every worker needs, first of all, something that
/// is held for ever in what it inherits. In the other forking takes long, as it does where there is much
/// memory: longer, all workers together, than any bound.
#[test]
fn a_fork_server_is_condemned_for_mute_workers_and_not_for_being_slow() {
    extern "C" fn nothing() {}
    extern "C" fn hang() {
        // In a fork server it is free.
        while minigun_os::in_worker() {
            thread::park();
        }
    }
    extern "C" fn slow() {
        if minigun_os::in_worker() {
            thread::sleep(Duration::from_millis(80));
        }
    }
    let test = "a_fork_server_is_condemned_for_mute_workers_and_not_for_being_slow";
    match role().as_deref() {
        Some("mute") => {
            vandal::at_fork(nothing, hang);
            let p = Pipeline::new("mute");
            let block = strict("processes:2").max_restarts(100);
            p.source("items", 0..10u64).on(block, |s| s.inspect("work", |_| {})).discard();
            let text = p.run().err().unwrap().to_string();
            assert!(text.contains("2 workers in a row hung before their first words"), "{text}");
            assert!(text.contains("held a lock") && text.contains("and its standby"), "{text}");
        }
        Some("slow") => {
            vandal::at_fork(slow, nothing);
            let (gate, p) = (Gate::default(), Pipeline::new("slow"));
            gate.open();
            let results = gate.run(&p, strict("processes:80"), 0, 500);
            let mut report = p.run().unwrap();
            assert!(report.elapsed() > minigun::defaults::ANSWER_BOUND, "too quick to prove anything");
            assert_eq!(report.stage("work").unwrap().figures.deaths, 0);
            each_once(&mut report, results, 500);
        }
        _ => {
            let scene = Scene::new();
            let programs = ["mute", "slow"].map(|role| Program::start(test, role));
            programs.into_iter().for_each(passes);
            scene.nothing_is_left();
            return;
        }
    }
    assert_eq!(procfs::children_of(minigun_os::Pid::current()).unwrap(), []);
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
