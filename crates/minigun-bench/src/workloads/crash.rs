//! Crash: records, while a worker is killed every 20 ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use minigun::{Pipeline, processes};
use minigun_os::{Board, Pid, Process, Signal};

use super::Workload;
use super::records::{WORKERS, add, due, record, step};
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Scaled};

pub(crate) const CRASH: Workload = Workload {
    name: "crash",
    about: "records through 2 worker processes, one of which is killed every 20 ms; nothing may be lost",
    rounds: Scaled { full: 7, quick: 3 },
    cases: || {
        let of = |name, kind, run: fn(u64) -> Result<u64, BoxError>| {
            Contestant::rate(name, kind, 1e6, due, move |load| run(load.items)).settings("processes(2)")
        };
        let contestants = vec![
            of("minigun, a kill every 20 ms", Kind::Ours, killed),
            of("minigun, undisturbed", Kind::Limit, undisturbed),
        ];
        let items = Scaled { full: 8_000_000, quick: 800_000 };
        vec![Case { name: "", unit: "M records/s", better: Better::More, items, contestants }]
    },
};

const EVERY: Duration = Duration::from_millis(20);

fn undisturbed(items: u64) -> Result<u64, BoxError> {
    run(items, &Arc::new(Births::new()?))
}

fn killed(items: u64) -> Result<u64, BoxError> {
    let births = Arc::new(Births::new()?);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let begun = Instant::now();
        let killer = scope.spawn(|| kill(&births, &over));
        let sum = run(items, &births);
        let took = begun.elapsed();
        over.store(true, Ordering::Relaxed);
        let kills = killer.join().map_err(|_| "the killer panicked")?;
        // Half as many as there was time for: a kill is late where the machine is busy.
        let enough = took.as_millis() / EVERY.as_millis() / 2;
        if u128::from(kills) < enough {
            return Err(format!("only {kills} kills in {took:?}").into());
        }
        sum
    })
}

fn run(items: u64, births: &Arc<Births>) -> Result<u64, BoxError> {
    let (p, births) = (Pipeline::new("crash"), Arc::clone(births));
    let sum = p
        .source("records", (0..items).map(record))
        .on(
            processes(WORKERS as usize).max_restarts(u32::MAX).crash_attempts(u32::MAX).after_fork(
                move || {
                    births.note(Pid::current());
                },
            ),
            |s| s.map("step", step),
        )
        .fold("sum", 0, add);
    Ok(p.run()?.take(sum))
}

/// Kills a worker every 20 ms, always the oldest.
fn kill(births: &Births, over: &AtomicBool) -> u64 {
    let (mut kills, mut oldest) = (0, 0);
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        next += EVERY;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let Some(pid) = births.get(oldest) else { continue };
        oldest += 1;
        if Process::open(pid).is_ok_and(|worker| worker.signal(Signal::KILL).is_ok()) {
            kills += 1;
        }
    }
    kills
}

/// The workers in the order in which they came to the world, in memory that they share with the program.
struct Births(Board);

impl Births {
    /// More than can be killed in a run.
    const MOST: usize = 1 << 16;

    fn new() -> Result<Births, BoxError> {
        Ok(Births(Board::new(Births::MOST + 1, 0)?))
    }

    fn note(&self, pid: Pid) {
        let words = self.0.words();
        let at = words[0].fetch_add(1, Ordering::Relaxed) as usize;
        if let Some(word) = words.get(at + 1) {
            word.store(pid.to_string().parse().unwrap_or(0), Ordering::Release);
        }
    }

    fn get(&self, at: usize) -> Option<Pid> {
        let word = self.0.words().get(at + 1)?.load(Ordering::Acquire);
        u32::try_from(word).ok().and_then(Pid::new)
    }
}
