//! Signals, sent for real to programs: this binary once more, in the role of one. Without the test harness, so that
//! a program ends with the exit code of its run.
#![expect(clippy::unwrap_used, reason = "a test may")]

#[cfg(all(target_os = "linux", not(minigun_no_fork)))]
mod crash_kit;

#[cfg(all(target_os = "linux", not(minigun_no_fork)))]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;
    if let Some(role) = crash_kit::role() {
        return programs::run(&role);
    }
    // The programs would inherit that, and rightly hear none of those signals.
    for signal in [minigun_os::Signal::INT, minigun_os::Signal::TERM] {
        let ignored = matches!(minigun_os::disposition(signal), Ok(minigun_os::Disposition::Ignored));
        assert!(
            !ignored,
            "{signal:?} is ignored, as in a job in a shell's background: run the tests in the foreground"
        );
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (name, test) in tests::ALL.iter().filter(|(name, _)| name.contains(&filter)) {
        println!("test {name}");
        test();
    }
    println!("ok");
    ExitCode::SUCCESS
}

#[cfg(not(all(target_os = "linux", not(minigun_no_fork))))]
fn main() {}

/// What a program in a role does. It tells the test by lines on its standard output how far it is.
#[cfg(all(target_os = "linux", not(minigun_no_fork)))]
mod programs {
    use std::process::ExitCode;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::thread;

    use minigun::{Error, Executor, Handle, Pipeline, Report, exit_code};
    use minigun_os::{Pid, Signal};

    pub(crate) fn run(role: &str) -> ExitCode {
        let (role, place) = role.split_once('@').unwrap_or((role, "threads:2"));
        let place: Executor = place.parse().unwrap();
        match role {
            "stopped" => stopped(place),
            "hangs" => hangs(),
            "waits" => waits(),
            "hook" => slow_hook(),
            "unasked" => ended(endless("unasked", place, false).run()),
            "afterwards" => afterwards(),
            "ignores" => ignores(),
            "two" => two(),
            "fails" => {
                let p = Pipeline::new("fails");
                p.handle_signals();
                p.source("in", 0..3).try_map("boom", |_| Err::<(), _>("no".into())).discard();
                exit_code(&p.run())
            }
            other => panic!("no such role: {other}"),
        }
    }

    fn ended(outcome: Result<Report, Error>) -> ExitCode {
        match &outcome {
            Ok(report) => println!("ended {:?}", report.stopped()),
            Err(error) => println!("failed {error}"),
        }
        exit_code(&outcome)
    }

    fn endless(name: &str, place: Executor, signals: bool) -> Pipeline {
        let p = Pipeline::new(name);
        if signals {
            p.handle_signals();
        }
        let mut seen = 0;
        let name = name.to_string();
        let counted =
            p.source("in", 0u64..).on(place, |s| s.map("work", |n| n)).fold("count", 0u64, move |n, _| {
                seen += 1;
                if seen == 100 {
                    println!("busy {name}");
                }
                n + 1
            });
        drop(counted);
        p
    }

    /// What was produced and what arrived are the same, and the last hook sees it.
    fn stopped(place: Executor) -> ExitCode {
        let p = Pipeline::new("stopped");
        p.handle_signals();
        let arrived = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&arrived);
        p.after_run(move |report| {
            let produced = report.stage("in").unwrap().figures.items_out;
            println!("after_run {}", produced == arrived.load(SeqCst) && produced >= 100);
        });
        p.source("in", 0u64..).on(place, |s| s.map("work", |n| n)).consumer("out", move |_| {
            if count.fetch_add(1, SeqCst) == 99 {
                println!("busy stopped");
            }
        });
        ended(p.run())
    }

    /// A closure that nothing can end, and workers beside it.
    fn hangs() -> ExitCode {
        let p = Pipeline::new("hangs");
        p.handle_signals().after_run(|_| println!("after_run"));
        p.source("in", 0u64..).processes(2, |s| s.map("work", |n| n)).consumer("hangs", |_| {
            println!("busy hangs");
            loop {
                thread::park();
            }
        });
        ended(p.run())
    }

    /// Workers that never end by themselves: a stop waits for them, a kill does not.
    fn waits() -> ExitCode {
        let p = Pipeline::new("waits");
        p.handle_signals().after_run(|_| println!("after_run"));
        let begun = p.counter("begun");
        p.source("in", 0..2u64)
            .processes(2, move |s| {
                s.inspect("waits", move |_| {
                    begun.add(1);
                    println!("busy waits");
                    loop {
                        thread::park();
                    }
                })
            })
            .discard();
        ended(p.run())
    }

    /// The first hook takes for ever: nothing of the run is there yet to be stopped.
    fn slow_hook() -> ExitCode {
        let p = Pipeline::new("hook");
        p.handle_signals().before_run(|| {
            println!("busy hook");
            loop {
                thread::park();
            }
        });
        p.source("in", 0..2u64).discard();
        ended(p.run())
    }

    /// A run that heard signals is over: they do again what they did.
    fn afterwards() -> ExitCode {
        for _ in 0..2 {
            let p = Pipeline::new("before");
            p.handle_signals();
            p.source("in", 0..10u64).processes(1, |s| s.map("work", |n| n)).discard();
            p.run().unwrap();
        }
        println!("busy afterwards");
        loop {
            thread::park();
        }
    }

    /// As under `nohup`, or in the background of a shell's script.
    fn ignores() -> ExitCode {
        minigun_os::child::ignore_signal(Signal::INT);
        let p = Pipeline::new("ignores");
        p.handle_signals();
        let (into, flow) = p.channel::<u64>("in", 1);
        let out = flow.receiver("out", 1);
        let running = p.start().unwrap();
        let handle: Handle = running.handle();
        minigun_os::kill(Pid::current(), Signal::INT).unwrap();
        // The signal has been delivered, and nobody was told.
        into.send(1).unwrap();
        drop(into);
        println!("ignored {}", out.count() == 1 && handle.stats()[0].figures.abandoned == 0);
        ended(running.join())
    }

    fn two() -> ExitCode {
        let other = thread::spawn(|| endless("one", "processes:2".parse().unwrap(), true).run());
        let ours = endless("two", "threads:2".parse().unwrap(), true).run();
        let other = other.join().unwrap();
        println!("ended {:?} {:?}", other.unwrap().stopped(), ours.as_ref().unwrap().stopped());
        exit_code(&ours)
    }
}

#[cfg(all(target_os = "linux", not(minigun_no_fork)))]
mod tests {
    use std::io::{BufRead, BufReader, Lines};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ChildStdout, ExitStatus};

    use minigun::Pipeline;
    use minigun_os::{Signal, kill, procfs};

    use super::crash_kit::{Program, Scene, until};

    pub(crate) const ALL: &[(&str, fn())] = &[
        ("the_first_signal_finishes_what_is_in_flight", the_first_signal_finishes_what_is_in_flight),
        ("the_second_kills_what_the_first_would_wait_for", the_second_kills_what_the_first_would_wait_for),
        ("the_second_ends_a_program_that_hangs", the_second_ends_a_program_that_hangs),
        ("a_third_ends_it_at_once", a_third_ends_it_at_once),
        ("who_did_not_ask_dies_by_the_signal", who_did_not_ask_dies_by_the_signal),
        ("after_the_run_signals_do_what_they_did", after_the_run_signals_do_what_they_did),
        ("an_ignored_signal_stays_ignored", an_ignored_signal_stays_ignored),
        ("two_runs_hear_one_signal", two_runs_hear_one_signal),
        ("a_failed_run_ends_with_1", a_failed_run_ends_with_1),
        ("nothing_is_left_of_the_ear", nothing_is_left_of_the_ear),
    ];

    /// A program under way.
    struct Stage {
        program: Program,
        lines: Lines<BufReader<ChildStdout>>,
        seen: Vec<String>,
    }

    impl Stage {
        fn start(role: &str) -> Stage {
            let mut program = Program::start("signals", role);
            let lines = BufReader::new(program.child.stdout.take().unwrap()).lines();
            Stage { program, lines, seen: Vec::new() }
        }

        fn await_line(&mut self, begin: &str) {
            loop {
                let line = self.lines.next().expect("the program has ended").unwrap();
                let found = line.starts_with(begin);
                self.seen.push(line);
                if found {
                    return;
                }
            }
        }

        fn signal(&self, signal: Signal) {
            kill(self.program.pid(), signal).unwrap();
        }

        /// Its end, and everything it said. No process of it is left.
        fn end(mut self) -> (ExitStatus, Vec<String>) {
            self.seen.extend(self.lines.by_ref().map(Result::unwrap));
            let status = self.program.child.wait().unwrap();
            until(|| self.program.processes().is_empty());
            (status, self.seen)
        }
    }

    fn the_first_signal_finishes_what_is_in_flight() {
        let scene = Scene::new();
        for place in ["inline", "threads:3", "processes:2", "process_per_batch:2"] {
            for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
                let mut program = Stage::start(&format!("stopped@{place}"));
                program.await_line("busy");
                program.signal(signal);
                let (status, seen) = program.end();
                assert_eq!(status.code(), Some(code), "{place}: {seen:?}");
                let end = format!("ended Some(Signal({}))", signal.number());
                assert_eq!(seen[seen.len() - 2..], ["after_run true".to_string(), end], "{place}");
            }
        }
        scene.nothing_is_left();
    }

    fn the_second_kills_what_the_first_would_wait_for() {
        let scene = Scene::new();
        let mut program = Stage::start("waits");
        program.await_line("busy");
        program.await_line("busy");
        program.signal(Signal::TERM);
        // A signal that waits to be taken cannot be sent twice: the first has been heard when it is no
        // longer pending. The other kind does as well.
        program.signal(Signal::INT);
        let (status, seen) = program.end();
        assert!([Some(130), Some(143)].contains(&status.code()), "{status}: {seen:?}");
        assert_eq!(seen[2], "after_run", "{seen:?}");
        assert!(seen[3].starts_with("failed the run was killed by SIG"), "{seen:?}");
        scene.nothing_is_left();
    }

    fn the_second_ends_a_program_that_hangs() {
        let scene = Scene::new();
        let mut program = Stage::start("hangs");
        program.await_line("busy");
        program.signal(Signal::TERM);
        program.signal(Signal::INT);
        let (status, seen) = program.end();
        assert!([Some(130), Some(143)].contains(&status.code()), "{status}: {seen:?}");
        assert_eq!(seen[1..], ["after_run"], "the last hook has run, then the program was ended");
        scene.nothing_is_left();
    }

    fn a_third_ends_it_at_once() {
        let scene = Scene::new();
        let mut program = Stage::start("hook");
        program.await_line("busy");
        // As often as it takes: signals of one kind that wait to be taken are one.
        until(|| {
            program.signal(Signal::INT);
            !procfs::is_alive(program.program.pid())
        });
        let (status, seen) = program.end();
        assert_eq!((status.code(), seen.len()), (Some(130), 1), "{seen:?}");
        scene.nothing_is_left();
    }

    fn who_did_not_ask_dies_by_the_signal() {
        let scene = Scene::new();
        for place in ["threads:2", "processes:3", "process_per_batch:2"] {
            for signal in [Signal::INT, Signal::TERM] {
                let mut program = Stage::start(&format!("unasked@{place}"));
                program.await_line("busy");
                program.signal(signal);
                let (status, seen) = program.end();
                assert_eq!(status.signal(), Some(signal.number()), "{place}: {seen:?}");
            }
        }
        scene.nothing_is_left();
    }

    fn after_the_run_signals_do_what_they_did() {
        let scene = Scene::new();
        for signal in [Signal::INT, Signal::TERM] {
            let mut program = Stage::start("afterwards");
            program.await_line("busy");
            program.signal(signal);
            assert_eq!(program.end().0.signal(), Some(signal.number()));
        }
        scene.nothing_is_left();
    }

    fn an_ignored_signal_stays_ignored() {
        let scene = Scene::new();
        let (status, seen) = Stage::start("ignores").end();
        assert_eq!(
            (status.code(), seen),
            (Some(0), vec!["ignored true".to_string(), "ended None".to_string()])
        );
        scene.nothing_is_left();
    }

    fn two_runs_hear_one_signal() {
        let scene = Scene::new();
        let mut program = Stage::start("two");
        program.await_line("busy");
        program.await_line("busy");
        program.signal(Signal::INT);
        let (status, seen) = program.end();
        assert_eq!(seen.last().map(String::as_str), Some("ended Some(Signal(2)) Some(Signal(2))"));
        assert_eq!(status.code(), Some(130));
        scene.nothing_is_left();
    }

    fn a_failed_run_ends_with_1() {
        assert_eq!(Stage::start("fails").end().0.code(), Some(1));
    }

    /// No thread, no descriptor, also while a handle of the run is kept.
    fn nothing_is_left_of_the_ear() {
        let scene = Scene::new();
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        let mut kept = Vec::new();
        for _ in 0..3 {
            let p = Pipeline::new("quiet");
            p.handle_signals();
            p.source("in", 0..10).processes(2, |s| s.map("work", |n| n)).discard();
            let running = p.start().unwrap();
            kept.push(running.handle());
            running.join().unwrap();
        }
        // A thread that was joined may be listed for an instant.
        until(|| threads() <= before);
        scene.nothing_is_left();
        drop(kept);
    }
}
