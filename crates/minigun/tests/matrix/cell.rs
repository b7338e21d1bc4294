//! One cell: a run in which workers fail as the cell says, and whether it ended as the table says.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use minigun::{Backoff, Block, Dynamic, Error, FailureKind, Kept, Pipeline, Report, StageFigures};
use minigun_os::{Pid, procfs};

use super::fate::{self, Fate, Item, Note, Product};
use super::idle;
use super::table::{CRASH_ATTEMPTS, Cell, Deaths, MEMORY_LIMIT, Mode, Moment, Must, Way};
use crate::crash_kit::{Scene, until};

/// The limit of restarts where it is to be exceeded.
const FEW: u32 = 3;

/// What hangs does so for ever: this says how soon it is ended, and nothing depends on it.
const LIMIT: Duration = Duration::from_millis(100);
/// Longer where nothing hangs before the workers are stopped.
const IDLE_LIMIT: Duration = Duration::from_secs(1);

/// What arrived of a run that succeeded.
pub(super) struct Arrived {
    pub(super) products: Vec<u64>,
    pub(super) notes: Vec<u64>,
    pub(super) count: u64,
}

impl Cell {
    pub(super) fn run(&self) {
        let (scene, threads) = (Scene::new(), procfs::threads().unwrap());
        let once = (self.mode == Mode::Once).then(once_file);
        let way = self.way.filter(|_| self.when != Moment::Idle);
        fate::set(way.map(|way| Fate {
            way,
            when: self.when,
            items: self.struck(),
            once: once.clone(),
            home: Pid::current(),
        }));
        if self.when == Moment::Idle {
            idle::run(self)
        } else {
            self.run_through()
        }
        fate::set(None);
        if let Some(path) = once {
            assert_eq!(std::fs::remove_file(path).is_ok(), way.is_some(), "the fate was met once");
        }
        until(|| procfs::threads().unwrap() <= threads);
        scene.nothing_is_left();
    }

    /// For a pool hundreds that travel in few frames.
    pub(super) fn items(&self) -> u64 {
        if self.is_fresh() { 8 } else { 300 }
    }

    /// One with neighbours on both sides, and the last.
    fn struck(&self) -> [u64; 2] {
        [self.items() / 2, self.items() - 1]
    }

    pub(super) fn head(&self) -> Block<Dynamic, Kept> {
        let attempts = if self.mode == Mode::Once { 2 } else { 1 };
        let head = self.place.place().crash_attempts(CRASH_ATTEMPTS).retry(attempts, Backoff::none());
        let head = if self.mode == Mode::Skip { head.skip() } else { head };
        let head = match self.way {
            Some(Way::Memory) => head.memory_limit(MEMORY_LIMIT),
            Some(Way::Hang) => {
                let limit = if self.when == Moment::Idle { IDLE_LIMIT } else { LIMIT };
                head.timeout(limit).grace(LIMIT)
            }
            _ => head,
        };
        head.max_restarts(if self.must == Must::EndAtStart { FEW } else { u32::MAX })
    }

    fn run_through(&self) {
        let p = Pipeline::new("matrix");
        let (count, notes) = (p.counter("count"), p.collector("notes"));
        let (hellos, goodbyes) = (p.counter("hellos"), p.counter("goodbyes"));
        let last = Arc::new(Mutex::new(None));
        let told = Arc::clone(&last);
        p.after_run(move |report| *told.lock().unwrap() = report.stage("work").map(|stage| stage.figures));
        let meet = |when| Ok(fate::meet(when, None)?);
        let hook = |when| move || meet(when);
        p.after_fork(hook(Moment::AfterFork));
        let products = p
            .source("items", (0..self.items()).map(Item))
            .on(self.head(), |s| {
                s.try_map_init("work", hook(Moment::Init), move |(), item: Item| {
                    count.add(1);
                    notes.push(Note(item.0));
                    fate::meet(Moment::Closure, Some(item.0))?;
                    Ok(Product(item.0))
                })
                .before(move || {
                    hellos.add(1);
                    meet(Moment::Before)
                })
                .after(move || {
                    goodbyes.add(1);
                    meet(Moment::After)
                })
            })
            .collect("products");
        match p.run() {
            Ok(mut report) => {
                let arrived = Arrived {
                    products: report.take(products).into_iter().map(|product| product.0).collect(),
                    notes: report.take(notes).into_iter().map(|note| note.0).collect(),
                    count: report.count(&count),
                };
                let figures = self.succeeded(&report, arrived);
                let unready = if self.when.is_at_start() { figures.deaths } else { 0 };
                assert_eq!(
                    report.count(&hellos) + unready,
                    report.count(&goodbyes) + figures.lost_goodbyes,
                    "who was born said goodbye, or the report says that it did not: {report}"
                );
            }
            Err(error) => {
                self.failed(&error);
                let StageFigures { deaths, lost_goodbyes, .. } = last.lock().unwrap().unwrap();
                assert!(deaths <= lost_goodbyes, "{deaths} died, {lost_goodbyes} goodbyes are lost");
            }
        }
    }

    pub(super) fn succeeded(&self, report: &Report, arrived: Arrived) -> StageFigures {
        let stage = report.stage("work").unwrap();
        let failed_once = u64::from(self.mode == Mode::Once && self.way.is_some_and(|way| !way.is_death()));
        let (struck, deaths): (&[u64], u64) = match self.must {
            Must::Skip { deaths } => (&self.struck(), deaths),
            Must::Lose { nothing_with: Deaths::Exactly(deaths) } => (&[], deaths),
            Must::Lose { nothing_with: Deaths::OfAllWorkers } if self.is_fresh() => (&[], self.items()),
            Must::Lose { nothing_with: Deaths::OfAllWorkers } => (&[], self.workers() as u64),
            Must::Lose { nothing_with: Deaths::OfSome } => (&[], 1),
            _ => panic!("the run succeeded:\n{report}"),
        };
        let expected: Vec<_> = (0..self.items()).filter(|id| !struck.contains(id)).collect();
        for (what, mut ids) in [("products", arrived.products), ("notes", arrived.notes)] {
            ids.sort_unstable();
            assert_eq!(ids, expected, "each of the {what} once");
        }
        let (done, skipped) = (expected.len() as u64, struck.len() as u64);
        assert_eq!(arrived.count, done);
        let StageFigures { items_in, items_out, completed, .. } = stage.figures;
        assert_eq!((items_in, items_out, completed), (done, done, done), "{report}");
        let StageFigures { failed, retried, abandoned, .. } = stage.figures;
        assert_eq!((failed, retried, abandoned), (skipped + failed_once, failed_once, 0), "{report}");
        assert_eq!(stage.figures.skipped, skipped, "{report}");
        let told: u64 = stage.deaths.iter().filter(|of| self.is_told(&of.cause)).map(|of| of.count).sum();
        if self.way == Some(Way::Hang) {
            // On a machine that is busy enough a worker may be late with any item. It is replaced, no more.
            assert!(told >= deaths, "{report}");
        } else {
            assert_eq!((told, stage.figures.deaths), (deaths, deaths), "{report}");
        }
        assert_eq!(stage.figures.lost_goodbyes, stage.figures.deaths, "{report}");
        let mut told: Vec<_> = stage.failures.iter().map(|item| item.item).collect();
        told.sort_unstable();
        assert_eq!(told, struck);
        for item in &stage.failures {
            assert!(self.is_told(&item.error) && Some(item.kind) == self.kind(), "{report}");
            let dies = self.way.is_some_and(Way::is_death);
            assert_eq!(item.attempts, if dies { CRASH_ATTEMPTS } else { 1 }, "{report}");
        }
        stage.figures
    }

    fn failed(&self, error: &Error) {
        let good = match (self.must, error) {
            (Must::EndAtItem, Error::Stage { stage, item, cause, kind, .. }) => {
                stage == "work"
                    && self.struck().contains(item)
                    && Some(*kind) == self.kind()
                    && self.is_told(cause)
            }
            (Must::EndAtStart, Error::Dying { stage, deaths, causes, .. }) => {
                let told = |cause: &String| self.is_told(cause) && cause.contains("while it started");
                stage == "work" && *deaths > FEW && causes.iter().all(told)
            }
            (Must::EndAtInit, Error::Init { stage, cause }) => {
                self.when != Moment::AfterFork && stage == "work" && self.is_told(cause)
            }
            (Must::EndAtHook, Error::Hook { hook, cause }) => {
                let at = if self.when == Moment::AfterFork { "after_fork" } else { "after" };
                *hook == at && cause.contains("work") && self.is_told(cause)
            }
            (Must::EndAtCollector, error) => {
                let text = error.to_string();
                text.contains("notes") && self.is_told(&text)
            }
            _ => false,
        };
        assert!(good, "{error}");
    }

    fn is_told(&self, text: &str) -> bool {
        self.way.is_some_and(|way| way.is_told(self.when, text))
    }

    fn kind(&self) -> Option<FailureKind> {
        self.way.map(|way| way.kind(self.when))
    }
}

/// A name for the file by which a fate is met only once.
fn once_file() -> PathBuf {
    std::env::temp_dir().join(format!("minigun-once-{}", std::process::id()))
}
