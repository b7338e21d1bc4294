//! One cell: a run in which workers fail as the cell says, and whether it ended as the table says.

use std::path::PathBuf;

use minigun::{Backoff, Block, Dynamic, Error, Kept, Pipeline, Report, StageFigures};
use minigun_os::{Pid, procfs};

use super::fate::{self, Fate, Item, Note, Product};
use super::idle;
use super::table::{CRASH_ATTEMPTS, Cell, Deaths, Mode, Moment, Must};
use crate::crash_kit::{Scene, until};

/// The limit of restarts where it is to be exceeded.
const FEW: u32 = 3;

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
        head.max_restarts(if self.must == Must::EndAtStart { FEW } else { u32::MAX })
    }

    fn run_through(&self) {
        let p = Pipeline::new("matrix");
        let (count, notes) = (p.counter("count"), p.collector("notes"));
        let hook = |when| move || Ok(fate::meet(when, None)?);
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
                .before(hook(Moment::Before))
                .after(hook(Moment::After))
            })
            .collect("products");
        match p.run() {
            Ok(mut report) => {
                let arrived = Arrived {
                    products: report.take(products).into_iter().map(|product| product.0).collect(),
                    notes: report.take(notes).into_iter().map(|note| note.0).collect(),
                    count: report.count(&count),
                };
                self.succeeded(&report, arrived);
            }
            Err(error) => self.failed(&error),
        }
    }

    pub(super) fn succeeded(&self, report: &Report, arrived: Arrived) {
        let stage = report.stage("work").unwrap();
        let failed_once = u64::from(self.mode == Mode::Once && self.way.is_some_and(|way| !way.is_death()));
        let (struck, deaths): (&[u64], u64) = match self.must {
            Must::Skip { deaths } => (&self.struck(), deaths),
            Must::Lose { nothing_with: Deaths::Exactly(deaths) } => (&[], deaths),
            Must::Lose { nothing_with: Deaths::OfAllWorkers } if self.is_fresh() => (&[], self.items()),
            Must::Lose { nothing_with: Deaths::OfAllWorkers } => (&[], self.workers() as u64),
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
        assert_eq!((stage.figures.skipped, stage.figures.deaths), (skipped, deaths), "{report}");
        let mut told: Vec<_> = stage.failures.iter().map(|item| item.item).collect();
        told.sort_unstable();
        assert_eq!(told, struck);
        let said = self.way.map_or("", |way| way.said());
        assert!(stage.failures.iter().all(|item| item.error.contains(said)), "{report}");
    }

    fn failed(&self, error: &Error) {
        let said = self.way.map_or("nothing", |way| way.said());
        let good = match (self.must, error) {
            (Must::EndAtItem, Error::Stage { stage, item, cause, kind, .. }) => {
                stage == "work"
                    && self.struck().contains(item)
                    && self.way.is_some_and(|way| *kind == way.kind(self.when))
                    && cause.contains(said)
            }
            (Must::EndAtStart, Error::Dying { stage, deaths, causes, .. }) => {
                let told = |cause: &String| cause.contains(said) && cause.contains("while it started");
                stage == "work" && *deaths > FEW && causes.iter().all(told)
            }
            (Must::EndAtInit, Error::Init { stage, cause }) => {
                let at = if self.when == Moment::AfterFork { "after_fork" } else { "work" };
                stage == at && cause.contains(said)
            }
            (Must::EndAtHook, Error::Hook { hook, cause }) => {
                *hook == "after" && cause.contains("work") && cause.contains(said)
            }
            (Must::EndAtCollector, error) => {
                let text = error.to_string();
                text.contains("notes") && text.contains(said)
            }
            _ => false,
        };
        assert!(good, "{error}");
    }
}

/// A name for the file by which a fate is met only once.
fn once_file() -> PathBuf {
    std::env::temp_dir().join(format!("minigun-once-{}", std::process::id()))
}
