//! The program has a handler for SIGTERM (the `ctrlc` crate's): it is the program's alone. A worker that gets the
//! signal dies by it, and the handler does not run.
//!
//! A process has one handler, so the tests take turns.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::process::id;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use common::{Event, Marks, sorted, within};
use minigun::{Executor, FailureKind, Pipeline};
use minigun_os::{Pid, Signal, kill};

/// The program's handler: the processes in which it ran.
struct Handler {
    ran_in: Arc<Marks>,
    ran: Arc<Event>,
}

static HANDLER: LazyLock<Mutex<Handler>> = LazyLock::new(|| {
    let handler = Handler { ran_in: Marks::new(), ran: Event::new() };
    let (ran_in, ran) = (Arc::clone(&handler.ran_in), Arc::clone(&handler.ran));
    ctrlc::set_handler(move || {
        ran_in.add(id());
        ran.set();
    })
    .unwrap();
    Mutex::new(handler)
});

/// Runs `f`, in which the handler must not run, under each of these places; afterwards it must.
fn unhandled(what: &str, places: &'static [&'static str], f: impl Fn(Executor) + Send + 'static) {
    within(what, move || {
        let handler = HANDLER.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ran_in = handler.ran_in.lines();
        for place in places {
            f(place.parse().unwrap());
            assert_eq!(handler.ran_in.lines(), ran_in, "under {place}");
        }
        // It does work where it belongs.
        for signal in [Signal::TERM, Signal::HUP] {
            kill(Pid::current(), signal).unwrap();
            handler.ran.take();
            ran_in.push(id().to_string());
        }
        assert_eq!(handler.ran_in.lines(), ran_in);
    });
}

#[test]
fn a_worker_dies_by_sigterm_and_the_programs_handler_does_not_run() {
    unhandled("signals", &["processes:1", "processes:3", "process_per_batch:2"], |executor| {
        for signal in [Signal::TERM, Signal::HUP] {
            let p = Pipeline::new("signals");
            let out = p
                .source("in", 0..20)
                .on(executor.place().skip(), |s| {
                    s.inspect("step", move |n: &u32| {
                        if n % 10 == 3 {
                            kill(Pid::current(), signal).unwrap();
                            // Whoever survived that would be seen to.
                            unreachable!("the worker lives on");
                        }
                    })
                })
                .collect("out");
            let mut report = p.run().unwrap();
            assert_eq!(report.take(out).len(), 18, "the others survive");
            let step = report.stage("step").unwrap();
            assert_eq!((step.figures.skipped, step.figures.deaths), (2, 6), "three workers for each of two");
            for item in &step.failures {
                assert!(item.error.contains(&format!("killed by {signal}")), "{}", item.error);
            }
        }
    });
}

#[test]
fn the_sigterm_of_a_deadline_is_the_workers_alone_and_the_run_goes_on() {
    unhandled("deadline", &["processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("deadline");
        // What hangs does so for ever, and SIGTERM alone must end it: for its grace nobody here waits.
        let head = executor.place().timeout(Duration::from_millis(200)).grace(Duration::from_secs(600));
        let out = p
            .source("in", 0..20u32)
            .on(head.crash_attempts(2).skip(), |s| {
                s.map("step", |n| {
                    loop {
                        if n != 3 {
                            return n;
                        }
                        std::thread::park();
                    }
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), sorted((0..20).filter(|n| *n != 3)));
        assert_eq!(report.stopped(), None, "nobody asked the run to stop");
        let [item] = &report.stage("step").unwrap().failures[..] else { panic!("{report}") };
        assert_eq!((item.item, item.kind, item.attempts), (3, FailureKind::Deadline, 2));
        assert!(item.error.contains("killed by SIGTERM"), "{}", item.error);
    });
}
