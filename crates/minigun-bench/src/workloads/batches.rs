//! Batches: a fresh process for each batch of 1000 records, at most two at once.

use std::io::{Read, Write};

use memmap2::{Advice, MmapMut};
use minigun::{Format, Pipeline, Shared, process_per_batch, processes};
use minigun_os::{Pid, SingleThreaded, reap};

use super::records::{Record, add, record, step};
use super::{Workload, forked};
use crate::burn::{burn, burnt};
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Load, Scaled, Turn, check, rate};
use crate::python;

pub(crate) const BATCHES: Workload = Workload {
    name: "batches",
    about: "1000 records per fresh process, at most 2 at once; with a table: each reads 1000 scattered places of it",
    rounds: Scaled { full: 7, quick: 1 },
    cases: || {
        let mut cases = Vec::new();
        let python: [(&str, u64, u64, &'static [&'static str]); 3] = [
            ("trivial", 0, 4000, &["0", "0"]),
            ("1 ms of work", 1, 2000, &["0", "1"]),
            ("10 ms of work", 10, 200, &["0", "10"]),
        ];
        for (name, millis, full, how) in python {
            let of = |name, kind, settings, run| contestant(name, kind, settings, millis, Held::Nothing, run);
            let share = if millis == 0 { 4 } else { 1 };
            let contestants = vec![
                of("minigun", Kind::Ours, "process_per_batch(2), the default format", per_batch),
                of(
                    "minigun, compact",
                    Kind::Ours,
                    "process_per_batch(2), Format::Compact",
                    per_batch_compact,
                ),
                of(
                    "minigun, processes(2)",
                    Kind::Ours,
                    "persistent workers, the default format",
                    persistent_ours,
                ),
                of("fork loop", Kind::Peer, "fork, 16 bytes through a pipe, wait", fork_loop),
                python::contestant("Python os.fork", "batches", how, 1.0, share)
                    .settings("fork, 8 bytes through a pipe, wait"),
                of(
                    "persistent workers",
                    Kind::Limit,
                    "2 forked workers, half of the batches made in each",
                    persistent,
                ),
            ];
            cases.push(case(name, Scaled { full, quick: full / 10 }, contestants));
        }
        let table = |gib| {
            let of = move |name, kind, settings, held, run| contestant(name, kind, settings, 0, held, run);
            vec![
                of(
                    "minigun, Shared",
                    Kind::Ours,
                    "process_per_batch(2), Shared",
                    Held::Shared(gib),
                    per_batch as Run,
                ),
                of(
                    "fork loop, huge pages",
                    Kind::Peer,
                    "a heap advised MADV_HUGEPAGE",
                    Held::Huge(gib),
                    fork_loop,
                ),
                of("fork loop, Shared", Kind::Peer, "Shared", Held::Shared(gib), fork_loop),
            ]
        };
        let mut gib = table(1);
        gib.extend([
            contestant(
                "minigun, heap",
                Kind::Ours,
                "process_per_batch(2), a Vec",
                0,
                Held::Heap(1),
                per_batch,
            )
            .share(20),
            contestant("fork loop, heap", Kind::Peer, "a Vec", 0, Held::Heap(1), fork_loop).share(20),
            python::contestant("Python os.fork, heap", "batches", &["1", "0"], 1.0, 20).settings("bytes"),
        ]);
        cases.push(case("1 GiB", Scaled { full: 2000, quick: 200 }, gib));
        cases.push(case("4 GiB", Scaled { full: 2000, quick: 0 }, table(4)));
        cases
    },
};

type Run = fn(u64, Work) -> Result<u64, BoxError>;

fn case(name: &'static str, items: Scaled<u64>, contestants: Vec<Contestant>) -> Case {
    Case { name, unit: "batches/s", better: Better::More, items, contestants }
}

/// What the program holds beside the batches, in GiB.
#[derive(Clone, Copy)]
enum Held {
    Nothing,
    Heap(u64),
    Huge(u64),
    Shared(u64),
}

/// The making of the table is not measured: it is there before the batches come.
fn contestant(
    name: &'static str,
    kind: Kind,
    settings: &'static str,
    millis: u64,
    held: Held,
    run: Run,
) -> Contestant {
    let turn = move |load: &Load| {
        let steps = load.steps_per_us * millis * 1000;
        let work = Work { steps, table: Table::make(held)? };
        let rows = work.table.rows();
        let begun = std::time::Instant::now();
        let sum = run(load.items, work)?;
        let took = begun.elapsed();
        check(sum, due(load.items, steps, rows))?;
        Ok(Turn::of(rate(load.items, took, 1.0)))
    };
    Contestant::new(name, kind, turn).settings(settings)
}

/// What is done with each batch.
struct Work {
    steps: u64,
    table: Table,
}

enum Table {
    Nothing,
    Heap(Vec<u64>),
    Huge(MmapMut),
    Shared(Shared<[u64]>),
}

const BATCH: u64 = 1000;
const ROW: usize = size_of::<u64>();

fn row(at: u64) -> u64 {
    at.wrapping_mul(3)
}

/// Where a batch reads, far from each other.
fn places(first: u64, rows: u64) -> impl Iterator<Item = u64> {
    let reads = if rows == 0 { 0 } else { BATCH };
    (first..first + reads).map(move |n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % rows)
}

impl Table {
    fn make(held: Held) -> Result<Table, BoxError> {
        let rows = |gib: u64| gib << 27;
        Ok(match held {
            Held::Nothing => Table::Nothing,
            Held::Heap(gib) => Table::Heap((0..rows(gib)).map(row).collect()),
            Held::Huge(gib) => {
                let mut map = MmapMut::map_anon(usize::try_from(gib << 30)?)?;
                map.advise(Advice::HugePage)?;
                for (at, place) in (0..).zip(map.chunks_exact_mut(ROW)) {
                    place.copy_from_slice(&row(at).to_ne_bytes());
                }
                Table::Huge(map)
            }
            Held::Shared(gib) => Table::Shared(Shared::collect((0..rows(gib)).map(row))?),
        })
    }

    fn rows(&self) -> u64 {
        (match self {
            Table::Nothing => 0,
            Table::Heap(rows) => rows.len(),
            Table::Huge(bytes) => bytes.len() / ROW,
            Table::Shared(rows) => rows.len(),
        }) as u64
    }

    fn at(&self, place: u64) -> u64 {
        let place = place as usize;
        match self {
            Table::Nothing => 0,
            Table::Heap(rows) => rows[place],
            Table::Huge(bytes) => {
                bytes[place * ROW..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
            }
            Table::Shared(rows) => rows[place],
        }
    }
}

fn batch(number: u64) -> Vec<Record> {
    (number * BATCH..(number + 1) * BATCH).map(record).collect()
}

impl Work {
    fn of(&self, batch: Vec<Record>) -> u64 {
        let first = batch.first().map_or(0, |record| record.id);
        let sum = batch.into_iter().map(step).fold(0, add);
        let reads = places(first, self.table.rows()).map(|place| self.table.at(place));
        burn(reads.fold(sum, u64::wrapping_add), self.steps)
    }
}

fn due(batches: u64, steps: u64, rows: u64) -> u64 {
    let of = |number| {
        let sum = batch(number).into_iter().map(step).fold(0, add);
        burnt(places(number * BATCH, rows).map(row).fold(sum, u64::wrapping_add), steps)
    };
    (0..batches).map(of).fold(0, u64::wrapping_add)
}

fn per_batch(batches: u64, work: Work) -> Result<u64, BoxError> {
    let p = Pipeline::new("batches");
    let sum = p
        .source("batches", (0..batches).map(batch))
        .process_per_batch(2, move |s| s.map("work", move |batch| work.of(batch)))
        .fold("sum", 0, u64::wrapping_add);
    Ok(p.run()?.take(sum))
}

fn per_batch_compact(batches: u64, work: Work) -> Result<u64, BoxError> {
    let p = Pipeline::new("batches");
    let sum = p
        .source("batches", (0..batches).map(batch))
        .on(process_per_batch(2).codec(Format::Compact), move |s| s.map("work", move |batch| work.of(batch)))
        .fold("sum", 0, u64::wrapping_add);
    Ok(p.run()?.take(sum))
}

fn persistent_ours(batches: u64, work: Work) -> Result<u64, BoxError> {
    let p = Pipeline::new("batches");
    let sum = p
        .source("batches", (0..batches).map(batch))
        .on(processes(2), move |s| s.map("work", move |batch| work.of(batch)))
        .fold("sum", 0, u64::wrapping_add);
    Ok(p.run()?.take(sum))
}

/// What a child says: who it is, and its sum.
const SAID: usize = 16;

/// Written by hand: a child has its batch by having been forked.
fn fork_loop(batches: u64, work: Work) -> Result<u64, BoxError> {
    let alone = SingleThreaded::prove()?;
    let (mut reads, mut writes) = std::io::pipe()?;
    let (mut running, mut sum) = (0, 0_u64);
    let mut take_one = || -> Result<u64, BoxError> {
        let mut said = [0; SAID];
        reads.read_exact(&mut said)?;
        let (pid, found) = said.split_at(SAID / 2);
        let pid = u32::try_from(u64::from_le_bytes(pid.try_into()?))?;
        reap(Pid::new(pid).ok_or("a child without a number")?, true)?;
        Ok(u64::from_le_bytes(found.try_into()?))
    };
    for number in 0..batches {
        let batch = batch(number);
        if running == 2 {
            sum = sum.wrapping_add(take_one()?);
            running -= 1;
        }
        forked::child(&alone, || {
            let mut said = [0; SAID];
            said[..SAID / 2].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
            said[SAID / 2..].copy_from_slice(&work.of(batch).to_le_bytes());
            // So few bytes are written at once, or not at all.
            Ok(writes.write_all(&said)?)
        })?;
        running += 1;
    }
    for _ in 0..running {
        sum = sum.wrapping_add(take_one()?);
    }
    Ok(sum)
}

/// The work alone: two workers, who make their batches themselves and say one sum at the end.
fn persistent(batches: u64, work: Work) -> Result<u64, BoxError> {
    let alone = SingleThreaded::prove()?;
    let (mut reads, mut writes) = std::io::pipe()?;
    let mut workers = Vec::new();
    for numbers in [0..batches / 2, batches / 2..batches] {
        workers.push(forked::child(&alone, || {
            let sum = numbers.map(|number| work.of(batch(number))).fold(0, u64::wrapping_add);
            Ok(writes.write_all(&sum.to_le_bytes())?)
        })?);
    }
    let mut sum = 0_u64;
    for worker in workers {
        let mut said = [0; 8];
        reads.read_exact(&mut said)?;
        sum = sum.wrapping_add(u64::from_le_bytes(said));
        reap(worker, true)?;
    }
    Ok(sum)
}
