//! What minigun is to reach, as ratios within one run.

use crate::contest::Kind;
use crate::results::Results;

/// A ratio of two things that were measured together.
pub(crate) struct Goal {
    pub(crate) workload: &'static str,
    pub(crate) what: &'static str,
    pub(crate) due: Due,
    ratio: fn(&Results) -> Option<f64>,
}

#[derive(Clone, Copy)]
pub(crate) enum Due {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    /// What was reached, and whether that will do; `None` if some of it was not measured.
    pub(crate) fn reached(&self, results: &Results) -> Option<(f64, bool)> {
        let ratio = (self.ratio)(results)?;
        let holds = match self.due {
            Due::AtLeast(due) => ratio >= due,
            Due::AtMost(due) => ratio <= due,
        };
        Some((ratio, holds))
    }
}

macro_rules! goals {
    ($($workload:literal $what:literal $due:ident($bound:literal) |$results:ident| $ours:expr => $other:expr;)+) => {
        &[$(Goal {
            workload: $workload,
            what: $what,
            due: Due::$due($bound),
            ratio: |$results| {
                let $results = Of { results: $results, workload: $workload };
                Some($ours? / $other?)
            },
        }),+]
    };
}

/// One workload's results.
struct Of<'a> {
    results: &'a Results,
    workload: &'static str,
}

impl Of<'_> {
    fn value(&self, name: &str) -> Option<f64> {
        self.results.value(self.workload, name)
    }

    fn best_peer(&self, begins: &str) -> Option<f64> {
        self.results.best(self.workload, begins, Kind::Peer)
    }
}

/// All of them.
pub(crate) const GOALS: &[Goal] = goals! {
    "hop" "the best per-item peer" AtLeast(5.0)
        |of| of.value("3 threads: minigun") => of.best_peer("3 threads: ");
    "hop" "chunks of 1024 by hand" AtLeast(0.6)
        |of| of.value("3 threads: minigun") => of.value("3 threads: chunks of 1024 over crossbeam");
    "hop" "`inline`: three boxed calls" AtLeast(0.8)
        |of| of.value("1 thread: minigun") => of.value("1 thread: three boxed calls");
    "latency" "three bare crossbeam hops" AtMost(1.5)
        |of| of.value("3 idle stages: minigun, median") => of.value("3 idle stages: 3 crossbeam hops, median");
    "latency" "through a process: a bare socket pair" AtMost(2.0)
        |of| of.value("a worker process: minigun, median") => of.value("a worker process: a socket pair, median");
    "pool" "20 µs, threads: rayon" AtLeast(0.98)
        |of| of.value("20 µs, threads: minigun") => of.value("20 µs, threads: rayon");
    "pool" "2 µs, threads: rayon" AtLeast(0.93)
        |of| of.value("2 µs, threads: minigun") => of.value("2 µs, threads: rayon");
    "pool" "20 µs, processes: two independent threads" AtLeast(0.95)
        |of| of.value("20 µs, processes: minigun") => of.value("20 µs, processes: 2 independent threads");
    "records" "compact: its codec without transport" AtLeast(0.85)
        |of| of.value("minigun, compact") => of.value("encode + decode twice, compact");
    "records" "tagged: its codec without transport" AtLeast(0.85)
        |of| of.value("minigun, tagged") => of.value("encode + decode twice, tagged");
    "records" "procspawn in Vecs of 256" AtLeast(3.0)
        |of| of.value("minigun, compact") => of.value("procspawn, Vecs of 256");
    "records" "Python's best" AtLeast(10.0)
        |of| of.value("minigun, compact") => of.best_peer("Python");
    "blobs" "1 MiB: memcpy" AtLeast(0.6)
        |of| of.value("1 MiB: minigun") => of.value("1 MiB: memcpy");
    "blobs" "1 MiB: the best of ipc-channel" AtLeast(1.7)
        |of| of.value("1 MiB: minigun") => of.best_peer("1 MiB: ipc-channel");
    "batches" "trivial work: the fork loop" AtLeast(0.7)
        |of| of.value("trivial: minigun") => of.value("trivial: fork loop");
    "batches" "10 ms of work: persistent workers" AtLeast(0.95)
        |of| of.value("10 ms of work: minigun") => of.value("10 ms of work: persistent workers");
    "batches" "1 GiB in `Shared`: the fork loop over huge pages" AtLeast(1.0)
        |of| of.value("1 GiB: minigun, Shared") => of.value("1 GiB: fork loop, huge pages");
    "batches" "4 GiB in `Shared`: the fork loop over huge pages" AtLeast(1.0)
        |of| of.value("4 GiB: minigun, Shared") => of.value("4 GiB: fork loop, huge pages");
    "memory" "threads, 10^7 items: the peak at 10^5" AtMost(1.1)
        |of| of.value("10^7 items: minigun, threads, program") => of.value("10^5 items: minigun, threads, program");
    "memory" "processes, 10^7 items: the peak at 10^5" AtMost(1.1)
        |of| of.value("10^7 items: minigun, processes, program") => of.value("10^5 items: minigun, processes, program");
    "memory" "threads, 10^7 items: 16 MB" AtMost(1.0)
        |of| of.value("10^7 items: minigun, threads, program") => Some(16.0);
    "statistics" "3 threads: a build without them" AtMost(1.03)
        |of| of.value("3 threads: minigun, processor") => of.value("3 threads: without statistics, processor");
    "statistics" "1 thread: a build without them" AtMost(1.03)
        |of| of.value("1 thread: minigun, processor") => of.value("1 thread: without statistics, processor");
    "crash" "undisturbed" AtLeast(0.75)
        |of| of.value("minigun, a kill every 20 ms") => of.value("minigun, undisturbed");
};
