//! What happens in a run is told to its observers: everything that is rare, once, in an order that makes sense, the
//! same wherever the stages run.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};

use common::{error_of, everywhere, under, within};
use minigun::{Backoff, Error, Event, Executor, Fate, Pipeline, StopCause, processes, threads};

type Seen = Arc<Mutex<Vec<Event>>>;

/// Keeps everything that is told of this pipeline's run.
fn watch(p: &Pipeline) -> Seen {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    p.observe(move |event| keep.lock().unwrap().push(event.clone()));
    seen
}

fn taken(seen: &Seen) -> Vec<Event> {
    std::mem::take(&mut *seen.lock().unwrap())
}

/// Whoever is spawned retires or dies, after that and once; the run's begin and end are the first and the last.
fn makes_sense(events: &[Event]) {
    assert!(matches!(events.first(), Some(Event::RunStarted { .. })), "{events:#?}");
    assert!(matches!(events.last(), Some(Event::RunEnded { .. })), "{events:#?}");
    let mut alive = BTreeMap::new();
    let mut ended = Vec::new();
    for event in events {
        match event {
            Event::WorkerSpawned { worker } => {
                let place = (worker.stage.clone(), worker.worker);
                assert_eq!(alive.insert(place, worker.pid), None, "{worker} in {events:#?}");
            }
            Event::WorkerRetired { worker } | Event::WorkerDied { worker, .. } => {
                assert!(!ended.contains(&worker.stage), "{worker} after its stage ended: {events:#?}");
                let place = (worker.stage.clone(), worker.worker);
                assert_eq!(alive.remove(&place), Some(worker.pid), "{worker} in {events:#?}");
            }
            Event::StageEnded { stage } => {
                assert!(!ended.contains(stage), "{stage} ends twice: {events:#?}");
                ended.push(stage.clone());
            }
            _ => {}
        }
    }
    assert!(alive.is_empty(), "{alive:?} in {events:#?}");
}

fn count(events: &[Event], is: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| is(event)).count()
}

#[test]
fn begin_and_end_of_run_workers_and_stages_are_told_in_order() {
    everywhere(|executor| {
        let p = Pipeline::new("lives");
        let seen = watch(&p);
        p.source("in", 0..20).on(executor, |s| s.map("work", |n| n)).consumer("out", drop);
        p.run().unwrap();
        let events = taken(&seen);
        makes_sense(&events);
        let spawned = |stage: &str| {
            count(&events, |event| matches!(event, Event::WorkerSpawned { worker } if worker.stage == stage))
        };
        assert_eq!((spawned("in"), spawned("out")), (1, 1), "under {executor}");
        assert_eq!(
            spawned("work"),
            match executor {
                Executor::Inline => 0,
                Executor::ProcessPerBatch(_) => 20,
                Executor::Threads(n) | Executor::Processes(n) => n,
                other => panic!("{other} is new"),
            }
        );
        for stage in ["in", "out"] {
            assert_eq!(
                count(&events, |event| matches!(event, Event::StageEnded { stage: of } if of == stage)),
                1
            );
        }
        assert!(matches!(events.last(), Some(Event::RunEnded { error: None, .. })));
    });
}

#[test]
fn every_failed_attempt_is_told_as_a_retry_or_an_end() {
    everywhere(|executor| {
        let p = Pipeline::new("failures");
        let seen = watch(&p);
        p.source("in", 0..10)
            .on(executor.place().retry(3, Backoff::none()).skip(), |s| {
                s.try_map("odd", |n| if n % 2 == 1 { Err(format!("{n} is odd").into()) } else { Ok(n) })
            })
            .discard();
        p.run().unwrap();
        let events = taken(&seen);
        makes_sense(&events);
        let retried =
            count(&events, |event| matches!(event, Event::ItemRetried { stage, .. } if stage == "odd"));
        assert_eq!(retried, 10, "under {executor}");
        let mut failed: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::ItemFailed { item } => Some((item.item, item.attempts, item.fate, item.error.clone())),
                _ => None,
            })
            .collect();
        failed.sort_by_key(|failed| failed.0);
        let expected = [1, 3, 5, 7, 9].map(|n| (n, 3, Fate::Skipped, format!("{n} is odd")));
        assert_eq!(failed, expected, "under {executor}");
    });
}

#[test]
fn the_error_that_ends_a_run_is_in_its_last_event() {
    everywhere(|executor| {
        let p = Pipeline::new("ends");
        let seen = watch(&p);
        p.source("in", 0..10)
            .on(executor, |s| s.try_map("third", |n| if n == 3 { Err("no".into()) } else { Ok(n) }))
            .discard();
        let error = error_of(p).to_string();
        let events = taken(&seen);
        makes_sense(&events);
        let Some(Event::RunEnded { error: Some(told), .. }) = events.last() else { panic!("{events:#?}") };
        assert_eq!(*told, error);
    });
}

#[test]
fn a_worker_that_dies_is_told_with_its_cause_and_its_process_and_the_next_one_comes() {
    under(&["processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("deaths");
        let seen = watch(&p);
        p.source("in", 0..10)
            .on(executor, |s| {
                s.inspect("die once", |n| {
                    if *n == 5 && minigun::attempt().is_some_and(|at| at.attempt == 1) {
                        std::process::abort();
                    }
                })
            })
            .discard();
        p.run().unwrap();
        let events = taken(&seen);
        makes_sense(&events);
        let deaths: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::WorkerDied { worker, cause } => Some((worker, cause)),
                _ => None,
            })
            .collect();
        let [(worker, cause)] = deaths.as_slice() else { panic!("{events:#?}") };
        let pid = worker.pid.unwrap();
        assert!(worker.stage == "die once" && cause.contains("SIGABRT"), "{worker}: {cause}");
        assert!(cause.contains(&pid.to_string()), "{worker}: {cause}");
    });
}

#[test]
fn a_stop_is_told_once_with_who_asked_for_it() {
    within("stop", || {
        let p = Pipeline::new("stop");
        let seen = watch(&p);
        let (ready, is_ready) = mpsc::channel();
        p.producer("in", move |out| {
            ready.send(()).unwrap();
            while out.try_emit(1).is_ok() {}
        })
        .on(threads(2), |s| s.consumer("out", drop));
        let running = p.start().unwrap();
        is_ready.recv().unwrap();
        running.stop();
        running.stop();
        running.join().unwrap();
        let events = taken(&seen);
        makes_sense(&events);
        assert_eq!(count(&events, |event| *event == Event::Stopping { by: StopCause::Handle }), 1);
    });
}

#[test]
fn a_killed_run_tells_of_the_end_of_all_its_workers() {
    under(&["threads:2", "processes:2"], |executor| {
        let p = Pipeline::new("killed");
        let seen = watch(&p);
        let (send, flow) = p.channel("in", 10);
        let out = flow.on(executor, |s| s.map("pass", |n: u32| n)).receiver("out", 10);
        let running = p.start().unwrap();
        send.send(1).unwrap();
        let mut out = out;
        assert_eq!(out.next(), Some(1));
        running.kill().unwrap();
        assert!(matches!(running.join(), Err(Error::Killed { .. })));
        let events = taken(&seen);
        makes_sense(&events);
        assert_eq!(count(&events, |event| matches!(event, Event::Stopping { .. })), 1);
    });
}

#[test]
fn what_the_owner_should_know_is_told_at_the_beginning() {
    let p = Pipeline::new("warned");
    let seen = watch(&p);
    p.max_threads(1);
    p.source("in", 0..3).threads(8, |s| s.consumer("out", drop));
    p.run().unwrap();
    let events = taken(&seen);
    assert!(matches!(&events[1], Event::Warned { .. }), "{events:#?}");
    assert!(events[1].to_string().contains("threads:8"), "{}", events[1]);
}

#[test]
fn what_workers_print_is_told_line_by_line_with_stage_and_process() {
    under(&["processes:2", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("printed");
        let seen = watch(&p);
        let pids = p.collector::<(u32, u32)>("pids");
        p.source("in", 0..6u32)
            .on(executor, move |s| {
                s.inspect("print", move |n| {
                    // `eprintln` would be caught by the test harness, also in a worker.
                    writeln!(std::io::stderr(), "line {n} of the test of events").unwrap();
                    pids.push((*n, std::process::id()));
                })
            })
            .discard();
        let mut report = p.run().unwrap();
        let mut printed: Vec<_> = taken(&seen)
            .into_iter()
            .filter_map(|event| match event {
                Event::Printed { worker, line } => Some((line, worker.stage, worker.pid)),
                _ => None,
            })
            .collect();
        printed.sort();
        let mut pids = report.take(pids);
        pids.sort();
        let line = |(n, pid)| (format!("line {n} of the test of events"), "print".to_string(), Some(pid));
        assert_eq!(printed, pids.into_iter().map(line).collect::<Vec<_>>(), "under {executor}");
    });
}

#[test]
fn an_observer_can_join_a_run_under_way_and_leave_it() {
    within("join", || {
        let p = Pipeline::new("joined");
        let (send, flow) = p.channel::<u32>("in", 10);
        flow.on(processes(1).skip(), |s| s.try_map("fails", |_| Err::<u32, _>("as it should".into())))
            .discard();
        let running = p.start().unwrap();
        let (tell, told) = mpsc::channel();
        let also = tell.clone();
        let observing = running.handle().observe(move |event| drop(tell.send(event.clone()))).unwrap();
        drop(running.handle().observe(move |_| also.send(Event::Missed { events: 0 }).unwrap()).unwrap());
        send.send(1).unwrap();
        let first = told.iter().find(|event| matches!(event, Event::ItemFailed { .. })).unwrap();
        assert!(first.to_string().contains("as it should"), "{first}");
        drop(observing);
        drop(send);
        running.join().unwrap();
        assert!(!told.iter().any(|event| matches!(event, Event::Missed { .. } | Event::RunEnded { .. })));
    });
}

#[test]
fn an_observer_that_panics_fails_a_run_that_has_no_other_error() {
    let p = Pipeline::new("panics");
    p.observe(|_| panic!("I have seen enough"));
    p.source("in", 0..3).discard();
    let error = error_of(p);
    assert!(
        matches!(&error, Error::Hook { hook: "observe", cause } if cause.contains("seen enough")),
        "{error}"
    );
}
