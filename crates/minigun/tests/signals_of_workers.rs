//! The program has a handler for SIGTERM (the `ctrlc` crate's): it is the program's alone. A worker that gets the
//! signal dies by it, and the handler does not run.
//!
//! One test in a process of its own: a process has one handler.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]

mod common;

use std::process::id;
use std::sync::Arc;

use common::{Event, Marks, within};
use minigun::{Executor, Pipeline};
use minigun_os::{Pid, Signal, kill};

#[test]
fn a_worker_dies_by_sigterm_and_the_programs_handler_does_not_run() {
    within("signals", || {
        let (handled, happened) = (Marks::new(), Event::new());
        let (marks, happens) = (Arc::clone(&handled), Arc::clone(&happened));
        ctrlc::set_handler(move || {
            marks.add(id());
            happens.set();
        })
        .unwrap();
        for (place, signal) in [
            ("processes:1", Signal::TERM),
            ("processes:3", Signal::TERM),
            ("process_per_batch:2", Signal::TERM),
            ("processes:2", Signal::HUP),
        ] {
            let p = Pipeline::new("signals");
            let out = p
                .source("in", 0..20)
                .on(place.parse::<Executor>().unwrap().place().skip(), |s| {
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
            assert_eq!(handled.lines(), Vec::<String>::new(), "under {place}");
        }
        // The handler does work where it belongs.
        for signal in [Signal::TERM, Signal::HUP] {
            kill(Pid::current(), signal).unwrap();
            happened.take();
        }
        assert_eq!(handled.lines(), [id().to_string(), id().to_string()]);
    });
}
