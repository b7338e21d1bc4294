//! Pool: items that take a while, to two workers.

use std::thread;

use minigun::Pipeline;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::Workload;
use crate::burn::{burn, burnt};
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Load, Scaled};
use crate::python;

pub(crate) const POOL: Workload = Workload {
    name: "pool",
    about: "items of 2 and of 20 µs of a processor's time, to 2 threads and to 2 processes",
    rounds: Scaled { full: 9, quick: 3 },
    cases: || {
        let mut cases = Vec::new();
        for (threads, processes, micros, full) in [
            ("2 µs, threads", "2 µs, processes", 2, 500_000),
            ("20 µs, threads", "20 µs, processes", 20, 50_000),
        ] {
            let rate = |name, kind, settings, run: fn(u64, u64) -> Result<u64, BoxError>| {
                let work = move |load: &Load| run(load.items, load.steps_per_us * micros);
                Contestant::rate(name, kind, 1e3, move |load| due(load, micros), work).settings(settings)
            };
            let case = |name, contestants| Case {
                name,
                unit: "k items/s",
                better: Better::More,
                items: Scaled { full, quick: full / 10 },
                contestants,
            };
            let bound = || rate("2 independent threads", Kind::Limit, "half of the items each", independent);
            let of_python = |name, how| {
                python::contestant(name, "pool", how, 1e3, if micros < 10 { 4 } else { 1 })
                    .settings("map, the best chunk of 16, 64, 256 and 1024")
            };
            let how: [&'static [&'static str]; 2] = if micros < 10 {
                [&["pool", "2"], &["executor", "2"]]
            } else {
                [&["pool", "20"], &["executor", "20"]]
            };
            cases.push(case(
                threads,
                vec![
                    rate("minigun", Kind::Ours, "threads(2), as it comes", ours_threads),
                    rate("rayon", Kind::Peer, "into_par_iter over a range, a pool of 2 threads", rayon),
                    rate("crossbeam", Kind::Peer, "bounded(1024) to 2 threads, which keep sums", crossbeam),
                    bound(),
                ],
            ));
            cases.push(case(
                processes,
                vec![
                    rate("minigun", Kind::Ours, "processes(2), as it comes", ours_processes),
                    of_python("Python Pool", how[0]),
                    of_python("Python ProcessPoolExecutor", how[1]),
                    bound(),
                ],
            ));
        }
        cases
    },
};

fn due(load: &Load, micros: u64) -> u64 {
    (0..load.items).fold(0, |sum, n| sum.wrapping_add(burnt(n, load.steps_per_us * micros)))
}

fn ours_threads(items: u64, steps: u64) -> Result<u64, BoxError> {
    let p = Pipeline::new("pool");
    let sum = p.source("numbers", 0..items).threads(2, move |s| s.map("burn", move |n| burn(n, steps))).fold(
        "sum",
        0,
        u64::wrapping_add,
    );
    Ok(p.run()?.take(sum))
}

fn ours_processes(items: u64, steps: u64) -> Result<u64, BoxError> {
    let p = Pipeline::new("pool");
    let sum = p
        .source("numbers", 0..items)
        .processes(2, move |s| s.map("burn", move |n| burn(n, steps)))
        .fold("sum", 0, u64::wrapping_add);
    Ok(p.run()?.take(sum))
}

fn rayon(items: u64, steps: u64) -> Result<u64, BoxError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    Ok(pool.install(|| (0..items).into_par_iter().map(|n| burn(n, steps)).reduce(|| 0, u64::wrapping_add)))
}

fn crossbeam(items: u64, steps: u64) -> Result<u64, BoxError> {
    let (to, from) = crossbeam_channel::bounded(1024);
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let from = from.clone();
            thread::spawn(move || from.iter().fold(0_u64, |sum, n| sum.wrapping_add(burn(n, steps))))
        })
        .collect();
    (0..items).try_for_each(|n| to.send(n))?;
    drop(to);
    sum_of(workers)
}

fn independent(items: u64, steps: u64) -> Result<u64, BoxError> {
    let half = move |from: u64, to: u64| {
        thread::spawn(move || (from..to).fold(0_u64, |sum, n| sum.wrapping_add(burn(n, steps))))
    };
    sum_of(vec![half(0, items / 2), half(items / 2, items)])
}

fn sum_of(threads: Vec<thread::JoinHandle<u64>>) -> Result<u64, BoxError> {
    threads
        .into_iter()
        .try_fold(0_u64, |sum, thread| Ok(sum.wrapping_add(thread.join().map_err(|_| "a thread panicked")?)))
}
