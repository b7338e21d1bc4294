//! A million items through everything that routes: ports, every split in both its forms, merges, a loop, batches, threads,
//! a pool of worker processes and a process per batch. Every item must arrive as often as it was copied, by the ways that its
//! number says; and memory must not grow.
//!
//! ```text
//! cargo run --release --example soak               # a million items
//! cargo run --release --example soak -- 50000      # fewer
//! ```
//!
//! The last line is JSON; the program fails if anything in it is not as it must be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use minigun::{Flow, Pipeline, Port, merge, process_per_batch, processes, threads};
use serde::{Deserialize, Serialize};

/// An item: a copy of a number, and what it has passed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Parcel {
    number: u64,
    copy: u8,
    passed: u32,
}

/// What a parcel can pass: a bit for each.
mod by {
    pub(crate) const THE_WAY: u32 = 1;
    pub(crate) const TURNS: u32 = 1 << 1;
    pub(crate) const KEY: u32 = 1 << 2;
    pub(crate) const LOAD: u32 = 1 << 3;
    pub(crate) const QUESTION: u32 = 1 << 4;
    pub(crate) const NUMBER: u32 = 1 << 5;
    pub(crate) const POOL: u32 = 1 << 6;
    pub(crate) const LOOP: u32 = 1 << 7;
    pub(crate) const FRESH: u32 = 1 << 8;
    pub(crate) const THREADS: u32 = 1 << 9;
    /// Which branch of a partition by three it took.
    pub(crate) const FIRST_THIRD: u32 = 1 << 10;
}

/// Copies of each number: one by fixed splits, one by those of run-time numbers, one that is only counted.
const COPIES: u64 = 3;

impl Parcel {
    fn mark(mut self, bit: u32) -> Self {
        self.passed |= bit;
        self
    }

    /// What it must have passed in the end.
    fn expected(&self) -> u32 {
        let third = by::FIRST_THIRD << (self.number % 3);
        let way = if self.number.is_multiple_of(10) { by::THE_WAY } else { 0 };
        let last = match self.number % 4 {
            0 => by::FRESH,
            1 => by::THREADS,
            _ => 0,
        };
        let again = if self.number.is_multiple_of(50) { by::LOOP } else { 0 };
        let splits = by::TURNS | by::KEY | by::LOAD | by::QUESTION | by::NUMBER;
        way | splits | third | by::POOL | again | last
    }
}

fn marked(flow: Flow<Parcel>, name: &str, bit: u32) -> Flow<Parcel> {
    flow.map(name, move |parcel| parcel.mark(bit))
}

/// Split in one way after another, and merged each time; how many branches there are is told by the types.
fn by_fixed_splits(flow: Flow<Parcel>) -> Flow<Parcel> {
    let flow = marked(merge(flow.round_robin::<3>()), "fixed turns", by::TURNS);
    let [one, two] = flow.split_by_key(|parcel| parcel.number % 97);
    let flow = marked(merge([one, two.threads(1, |s| s.map("two", |parcel| parcel))]), "fixed key", by::KEY);
    let [left, right] = flow.least_loaded();
    let left = left.processor("left", |parcel, out| out.emit(parcel));
    let flow = marked(left.merge(right), "fixed load", by::LOAD);
    let (even, odd) = flow.partition("even?", |parcel| parcel.number % 2 == 0);
    let flow = marked(even.merge(odd), "fixed question", by::QUESTION);
    let thirds: [Flow<Parcel>; 3] = flow.partition_by("thirds", |parcel| (parcel.number % 3) as usize);
    let mut third = 0;
    let thirds = thirds.map(|flow| {
        third += 1;
        marked(flow, &format!("third {third}"), by::NUMBER | by::FIRST_THIRD << (third - 1))
    });
    merge(thirds)
}

/// The same with numbers of branches known only at run time.
fn by_counted_splits(flow: Flow<Parcel>, branches: usize) -> Flow<Parcel> {
    let joined = |flows: Vec<Flow<Parcel>>, name: &str, bit| {
        let mut flows = flows.into_iter();
        let first = flows.next().map(|first| first.merge(flows.collect::<Vec<_>>()));
        first.map(|flow| marked(flow, name, bit))
    };
    let flow = joined(flow.round_robin_n(branches), "counted turns", by::TURNS);
    let flow =
        flow.and_then(|f| joined(f.split_by_key_n(branches, |p| p.number % 97), "counted key", by::KEY));
    let flow = flow.and_then(|f| joined(f.least_loaded_n(branches), "counted load", by::LOAD));
    let thirds = flow.map(|flow| {
        marked(flow, "no question", by::QUESTION)
            .partition_by_n("counted thirds", 3, |parcel| (parcel.number % 3) as usize)
            .into_iter()
            .enumerate()
            .map(|(third, flow)| {
                marked(flow, &format!("counted third {third}"), by::NUMBER | by::FIRST_THIRD << third)
            })
            .collect()
    });
    let flow = thirds.and_then(|thirds| joined(thirds, "counted", 0));
    flow.unwrap_or_else(|| unreachable!("there are branches"))
}

/// What arrived: a bit for every copy of every number, and what was wrong.
#[derive(Default)]
struct Ledger {
    arrived: Vec<u64>,
    count: u64,
    twice: u64,
    astray: u64,
}

impl Ledger {
    fn of(parcels: u64) -> Self {
        // Written to, so that it is resident before the run.
        Ledger { arrived: vec![u64::MAX; parcels.div_ceil(64) as usize], ..Ledger::default() }.cleared()
    }

    fn cleared(mut self) -> Self {
        self.arrived.fill(0);
        self
    }

    fn note(mut self, parcel: Parcel) -> Self {
        let at = 2 * parcel.number + u64::from(parcel.copy);
        let (word, bit) = (&mut self.arrived[(at / 64) as usize], 1 << (at % 64));
        self.twice += u64::from(*word & bit != 0);
        *word |= bit;
        self.count += 1;
        self.astray += u64::from(parcel.passed != parcel.expected());
        self
    }

    fn missing(&self, parcels: u64) -> u64 {
        parcels - self.arrived.iter().map(|word| u64::from(word.count_ones())).sum::<u64>()
    }
}

/// The most memory that was resident in the program: in the first quarter of the run, and in the rest.
struct Memory {
    parcels: u64,
    seen: AtomicU64,
    first: AtomicU64,
    rest: AtomicU64,
}

impl Memory {
    fn look(&self) {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        if seen.is_multiple_of((self.parcels / 200).max(1)) {
            let most = if seen < self.parcels / 4 { &self.first } else { &self.rest };
            most.fetch_max(resident_mib(), Ordering::Relaxed);
        }
    }
}

/// 0 where it cannot be told.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

fn soak(p: &Pipeline, items: u64) -> (Flow<Parcel>, minigun::Folded<u64>) {
    // A tenth of the numbers takes another way in.
    let (aside, by_the_way) = p.inlet::<u64>("by the way");
    let numbers = p.producer_to("numbers", &aside, move |out, aside| {
        for number in 0..items {
            if number.is_multiple_of(10) { aside.emit(number) } else { out.emit(number) }
        }
    });
    let parcel = |number| Parcel { number, copy: 0, passed: 0 };
    let parcels = numbers
        .map("parcel", parcel)
        .merge(by_the_way.map("aside", move |number| parcel(number).mark(by::THE_WAY)));

    // Every parcel three times: broadcast in both its forms.
    let [first, rest] = parcels.broadcast();
    let mut rest = rest.broadcast_n(2).into_iter();
    let (Some(second), Some(counted)) = (rest.next(), rest.next()) else { unreachable!("there are two") };
    let counted = counted.fold("count the third copies", 0, |count, _| count + 1);
    let second = second.map("second", |parcel| Parcel { copy: 1, ..parcel });
    let flow = by_fixed_splits(first).merge(by_counted_splits(second, 4));

    // Some go round a loop once.
    let flow = flow.feedback("loop", |flow, again| {
        flow.on(threads(2), |s| {
            s.processor_to("once more?", &again, |parcel: Parcel, out, again| {
                let fresh = parcel.number.is_multiple_of(50) && parcel.passed & by::LOOP == 0;
                if fresh { again.emit(parcel.mark(by::LOOP)) } else { out.emit(parcel) }
            })
        })
    });

    // From the workers of a pool to where each kind is done; all meet at one port.
    let (fresh, to_fresh) = p.inlet::<Parcel>("to fresh processes");
    let (local, to_local) = p.inlet::<Parcel>("to threads");
    let (done, all) = p.inlet::<Parcel>("done");
    flow.on(processes(2).by_key(|parcel: &Parcel| parcel.number), |s| {
        s.map("pool", |parcel| parcel.mark(by::POOL)).router(
            "by kind",
            (&fresh, &local, &done),
            |parcel: Parcel, (fresh, local, done)| match parcel.number % 4 {
                0 => fresh.emit(parcel),
                1 => local.emit(parcel),
                _ => done.emit(parcel),
            },
        )
    });
    in_fresh_processes(to_fresh, &done);
    to_local.on(threads(2).ordered(), |s| s.map("local", |parcel| parcel.mark(by::THREADS))).send_to(&done);
    (all, counted)
}

fn in_fresh_processes(flow: Flow<Parcel>, done: &Port<Parcel>) {
    flow.batch(2000).on(process_per_batch(2), |s| {
        s.unbatch().map("fresh", |parcel| parcel.mark(by::FRESH)).send_to(done)
    });
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let items: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let parcels = (COPIES - 1) * items;
    let p = Pipeline::new("soak");
    let (all, counted) = soak(&p, items);
    let memory = Arc::new(Memory {
        parcels,
        seen: AtomicU64::new(0),
        first: AtomicU64::new(0),
        rest: AtomicU64::new(0),
    });
    let look = Arc::clone(&memory);
    let ledger = all.fold("ledger", Ledger::of(parcels), move |ledger, parcel| {
        look.look();
        ledger.note(parcel)
    });

    let begun = Instant::now();
    // The books are compared at the end of every run: if they differ, this is an error.
    let mut report = p.run()?;
    println!("{report}");
    let seconds = begun.elapsed().as_secs_f64();
    let (ledger, counted) = (report.take(ledger), report.take(counted));
    let (lost, doubled, astray) = (ledger.missing(parcels), ledger.twice, ledger.astray);
    let (first, rest) = (memory.first.load(Ordering::Relaxed), memory.rest.load(Ordering::Relaxed));
    // What the allocator has not given back may differ by a few MiB; a leak of ten bytes for each item would not.
    let grown = rest.saturating_sub(first);
    println!(
        "{{\"items\":{items},\"parcels\":{},\"lost\":{lost},\"doubled\":{doubled},\"astray\":{astray},\
         \"books\":\"balanced\",\"rss_mib_first_quarter\":{first},\"rss_mib_rest\":{rest},\"seconds\":{seconds:.1}}}",
        ledger.count
    );
    if (lost, doubled, astray, ledger.count, counted) != (0, 0, 0, parcels, items) {
        return Err(format!("parcels went wrong; {counted} were counted of {items}").into());
    }
    if grown > 8 {
        return Err(format!("memory grew by {grown} MiB").into());
    }
    Ok(())
}
