//! Workers that were forked ahead of their item: how many there are, that they run nothing before it, and that one
//! killed while it waits is charged to nobody.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use crash_kit::{Notes, Scene, kill_ours, until, workers};
use minigun::{Collected, Pipeline, Report, Running, process_per_batch};
use minigun_os::Pid;

/// A run whose items are given one by one, each noted by the worker that runs it.
struct Fed {
    feed: Sender<u64>,
    given: u64,
    through: Arc<AtomicUsize>,
    ran: Notes,
    run: Running,
    results: Collected<u64>,
}

/// At most two at work; no death may be charged to an item, none to the block.
fn fed(p: Pipeline) -> Fed {
    let ((feed, items), ran, through) = (channel(), Notes::new(), Arc::<AtomicUsize>::default());
    let (theirs, hooked, counted) = (ran.clone(), ran.clone(), Arc::clone(&through));
    p.after_fork(move || hooked.add(format_args!("hook {}", Pid::current())));
    let results = p
        .source("items", items)
        .on(process_per_batch(2).crash_attempts(1).max_restarts(0), |s| {
            s.map("work", move |n: u64| {
                theirs.add(format_args!("item {}", Pid::current()));
                n
            })
        })
        .threads(1, |s| {
            s.inspect("through", move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect("results");
    Fed { feed, given: 0, through, ran, run: p.start().unwrap(), results }
}

impl Fed {
    fn give(&mut self, count: u64) {
        for _ in 0..count {
            self.feed.send(self.given).unwrap();
            self.given += 1;
        }
    }

    /// Waits until every item that was given is through, and workers wait for the next.
    fn spares(&self) -> Vec<Pid> {
        until(|| self.through.load(Ordering::SeqCst) as u64 == self.given);
        until(|| !self.waiting().is_empty());
        self.waiting()
    }

    /// Workers that have run nothing.
    fn waiting(&self) -> Vec<Pid> {
        let there = workers();
        let ran: BTreeSet<_> = self.ran.lines().iter().filter_map(|line| pid_of(line)).collect();
        there.into_iter().filter(|worker| !ran.contains(&worker.get())).collect()
    }

    /// Every item came out once, from a process of its own in which the hook had run before.
    fn end(self) -> Report {
        drop(self.feed);
        let mut report = self.run.join().unwrap();
        let mut results = report.take(self.results);
        results.sort_unstable();
        assert!(results.into_iter().eq(0..self.given), "each result once");
        let lines = self.ran.lines();
        let of =
            |what| lines.iter().filter(move |line| line.starts_with(what)).filter_map(|line| pid_of(line));
        let hooked: Vec<_> = of("hook").collect();
        assert_eq!(hooked.len() as u64, self.given, "hooks run for an item, not for a worker that waits");
        assert_eq!(hooked.iter().collect::<BTreeSet<_>>().len(), hooked.len(), "a process for each item");
        for worker in of("item") {
            let at = |what: &str| lines.iter().position(|line| *line == format!("{what} {worker}"));
            assert!(at("hook") < at("item"), "{worker}: the hook comes first");
        }
        self.ran.remove();
        report
    }
}

fn pid_of(line: &str) -> Option<u32> {
    line.split_once(' ')?.1.parse().ok()
}

#[test]
fn a_worker_waits_for_its_item_and_runs_nothing_before_it() {
    let scene = Scene::new();
    let mut fed = fed(Pipeline::new("ahead"));
    let mut waited = BTreeSet::new();
    for _ in 0..20 {
        fed.give(1);
        waited.extend(fed.spares());
    }
    let lines = fed.ran.lines();
    let report = fed.end();
    let served = waited.iter().filter(|worker| lines.contains(&format!("item {worker}"))).count();
    assert!(served > 0, "those who waited were given the items that came");
    let figures = report.stage("work").unwrap().figures;
    assert!((20..=22).contains(&figures.forks), "{} processes for 20 items", figures.forks);
    assert_eq!(figures.deaths, 0, "to be sent away is no death");
    scene.nothing_is_left();
}

#[test]
fn with_those_that_wait_there_are_no_more_than_max_processes() {
    for (most, waiting) in [(2, 0), (3, 1), (4, 2), (usize::MAX, 2)] {
        let scene = Scene::new();
        let p = Pipeline::new("most");
        p.max_processes(most);
        let (through, gate) = (Arc::<AtomicUsize>::default(), Notes::new());
        let (counted, closed) = (Arc::clone(&through), gate.clone());
        p.source("items", 0..6u64)
            .process_per_batch(2, |s| s.inspect("held", move |_| until(|| !closed.lines().is_empty())))
            .threads(1, |s| {
                s.inspect("through", move |_| {
                    counted.fetch_add(1, Ordering::SeqCst);
                })
            })
            .discard();
        let run = p.start().unwrap();
        until(|| workers().len() == 2 + waiting);
        assert_eq!(through.load(Ordering::SeqCst), 0, "two are at work, the others wait");
        gate.add("open");
        let report = run.join().unwrap();
        let forks = report.stage("held").unwrap().figures.forks as usize;
        assert!((6..=6 + waiting).contains(&forks), "{forks} forks for 6 items, at most {most} processes");
        gate.remove();
        scene.nothing_is_left();
    }
}

#[test]
fn a_worker_killed_while_it_waits_is_charged_to_nobody() {
    let scene = Scene::new();
    let mut fed = fed(Pipeline::new("killed"));
    let mut killed = 0;
    for round in 0..30 {
        fed.give(2);
        for spare in fed.spares() {
            killed += u64::from(kill_ours(spare));
            // Known or not, when the next item comes.
            if round % 2 == 0 {
                until(|| !workers().contains(&spare));
            }
        }
    }
    let figures = fed.end().stage("work").unwrap().figures;
    assert!(killed >= 30, "{killed} were killed");
    assert_eq!((figures.failed, figures.retried, figures.restarts), (0, 0, 0));
    scene.nothing_is_left();
}

#[test]
fn a_stopped_or_dropped_run_sends_away_who_waits() {
    for stop in [true, false] {
        let scene = Scene::new();
        let mut fed = fed(Pipeline::new("sent away"));
        fed.give(2);
        assert!(!fed.spares().is_empty());
        if stop {
            fed.run.handle().stop();
            drop(fed.feed);
            fed.run.join().unwrap();
        } else {
            drop(fed.feed);
            fed.run.handle().kill().unwrap();
            drop(fed.run);
        }
        fed.ran.remove();
        scene.nothing_is_left();
    }
}
