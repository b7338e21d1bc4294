//! The load: the pipeline, and the books kept about it outside of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use minigun::{Backoff, Dead, Error, Pipeline, Report, process_per_batch, processes, threads};
use serde::{Deserialize, Serialize};

/// What is run, and for how long.
pub(crate) struct Load {
    pub(crate) time: Duration,
    pub(crate) seed: u64,
}

/// What became of it, as counted past the engine.
pub(crate) struct Outcome {
    pub(crate) items: u64,
    pub(crate) delivered: u64,
    pub(crate) filtered: u64,
    pub(crate) skipped: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) dead: BTreeSet<u64>,
    pub(crate) must_be_dead: BTreeSet<u64>,
    pub(crate) deaths: BTreeMap<String, u64>,
    elapsed: Duration,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.items as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Job {
    id: u64,
    text: String,
}

/// What is to happen to an item, known from its number alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Delivered,
    /// Panics at its first attempt.
    Shaky,
    Filtered,
    Skipped,
    /// Fails at every attempt.
    Hopeless,
    /// Kills its worker at every attempt.
    Poison,
}

fn fate(id: u64) -> Fate {
    match id {
        1_003 | 2_503 => Fate::Poison,
        _ if id % 10_007 == 5 => Fate::Hopeless,
        _ if id % 5_003 == 9 => Fate::Shaky,
        _ if id % 997 == 7 => Fate::Skipped,
        _ if id % 101 == 50 => Fate::Filtered,
        _ => Fate::Delivered,
    }
}

/// About this many rounds of arithmetic are one item's work in the pool.
const WORK: u64 = 20_000;

fn work(mut seed: u64) -> u64 {
    for _ in 0..WORK {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    seed
}

fn first_attempt() -> bool {
    minigun::attempt().is_some_and(|attempt| attempt.attempt == 1)
}

/// How long a stopped worker keeps its item.
const DEADLINE: Duration = Duration::from_millis(100);

impl Load {
    /// Runs it; `started` is called when the workers are on their way.
    pub(crate) fn run(&self, started: impl FnOnce()) -> Result<Outcome, Error> {
        let p = Pipeline::new("chaos");
        let (dead, letters) = p.inlet::<Dead<Job>>("dead");
        let (lost_batches, batch_letters) = p.inlet::<Dead<Vec<Job>>>("dead batches");
        let (time, seed) = (self.time, self.seed);
        let made = p.counter("made");
        let results = p
            .producer("make", move |out| {
                let begun = Instant::now();
                let mut id = 0;
                while begun.elapsed() < time && !out.is_stopping() {
                    out.emit(Job { id, text: format!("job {id} of {seed}") });
                    id += 1;
                }
                made.add(id);
            })
            .on(threads(2).skip(), |s| {
                s.filter("filter", |job: &Job| fate(job.id) != Fate::Filtered).try_map("check", |job| {
                    match fate(job.id) {
                        Fate::Skipped => Err("to be skipped".into()),
                        _ => Ok(job),
                    }
                })
            })
            .on(
                processes(4)
                    .timeout(DEADLINE)
                    .grace(DEADLINE)
                    .retry(3, Backoff::exponential(Duration::from_millis(1), Duration::from_millis(10)))
                    .crash_attempts(5)
                    .max_restarts(u32::MAX)
                    .dead_letter(&dead),
                |s| {
                    s.try_map("work", |job: Job| {
                        match fate(job.id) {
                            Fate::Hopeless => return Err("hopeless".into()),
                            Fate::Poison => std::process::abort(),
                            Fate::Shaky if first_attempt() => panic!("shaky"),
                            _ => {}
                        }
                        std::hint::black_box(work(job.id));
                        Ok(job)
                    })
                },
            )
            .batch(200)
            .on(
                process_per_batch(2)
                    .timeout(DEADLINE * 10)
                    .grace(DEADLINE)
                    .crash_attempts(20)
                    .max_restarts(u32::MAX)
                    .dead_letter(&lost_batches),
                |s| s.map("batch", |jobs| jobs.into_iter().map(|job| (job.id, job.text)).collect::<Vec<_>>()),
            );
        let delivered = Arc::new(Mutex::new(BTreeMap::<u64, u64>::new()));
        let into = Arc::clone(&delivered);
        results.unbatch().consumer("deliver", move |(id, text)| {
            // What arrives is what was made.
            if text != format!("job {id} of {seed}") {
                return Err(format!("item {id} arrived as `{text}`").into());
            }
            *into.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_insert(0) += 1;
            Ok(())
        });
        let letters = letters.collect("letters");
        let batch_letters = batch_letters.collect("letters of batches");
        let begun = Instant::now();
        let running = p.start()?;
        started();
        let mut report = running.join()?;
        let elapsed = begun.elapsed();
        let letters = report.take(letters);
        let batches = report.take(batch_letters);
        let delivered = delivered.lock().unwrap_or_else(PoisonError::into_inner);
        let all_dead: Vec<u64> = letters
            .iter()
            .map(|dead| dead.item.id)
            .chain(batches.iter().flat_map(|dead| dead.item.iter().map(|job| job.id)))
            .collect();
        Ok(books(report.count(&made), &delivered, &all_dead, &report, elapsed))
    }
}

/// Compares what arrived with what had to, item by item.
fn books(
    items: u64,
    delivered: &BTreeMap<u64, u64>,
    letters: &[u64],
    report: &Report,
    elapsed: Duration,
) -> Outcome {
    let fated = |fates: &[Fate]| (0..items).filter(|id| fates.contains(&fate(*id))).collect::<BTreeSet<_>>();
    let must_arrive = fated(&[Fate::Delivered, Fate::Shaky]);
    let must_be_dead = fated(&[Fate::Hopeless, Fate::Poison]);
    let dead: BTreeSet<_> = letters.iter().copied().collect();
    let accounted = |id: &&u64| !delivered.contains_key(id) && !dead.contains(id);
    let lost = must_arrive.iter().chain(&must_be_dead).filter(accounted).count() as u64;
    let twice = delivered.values().map(|times| times - 1).sum::<u64>();
    let strays = delivered.keys().filter(|id| !must_arrive.contains(id)).count() as u64;
    let skipped = report.stage("filter").map_or(0, |stage| stage.figures.skipped);
    let mut deaths = BTreeMap::new();
    for told in report.stages().iter().flat_map(|stage| &stage.deaths) {
        *deaths.entry(told.cause.clone()).or_insert(0) += told.count;
    }
    Outcome {
        items,
        delivered: delivered.len() as u64,
        filtered: fated(&[Fate::Filtered]).len() as u64,
        // Each of them must have been skipped; one more or less is a loss.
        lost: lost + fated(&[Fate::Skipped]).len().abs_diff(skipped as usize) as u64,
        skipped,
        duplicated: twice + strays + (letters.len() - dead.len()) as u64,
        dead,
        must_be_dead,
        deaths,
        elapsed,
    }
}
