//! Records: small structs to worker processes and back.

use std::thread;

use minigun::{Format, Pipeline, processes};
use serde::{Deserialize, Serialize};

use super::Workload;
use crate::contest::{BoxError, Contestant, Kind};

pub(crate) const RECORDS: Workload = Workload {
    name: "records",
    about: "records of 24 bytes to 2 worker processes and back",
    items: 1_000_000,
    unit: "M records/s",
    per: 1e6,
    contestants: || {
        vec![
            Contestant::new("minigun, tagged", Kind::Ours, |items| ours(items, Format::Tagged)),
            Contestant::new("minigun, compact", Kind::Ours, |items| ours(items, Format::Compact)),
            Contestant::new("encode + decode twice, tagged", Kind::Limit, |n| codec(n, Format::Tagged)),
            Contestant::new("encode + decode twice, compact", Kind::Limit, |n| codec(n, Format::Compact)),
        ]
    },
};

const WORKERS: u64 = 2;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Record {
    id: u64,
    value: f64,
    kind: u32,
    flags: u32,
}

fn record(id: u64) -> Record {
    Record { id, value: id as f64 * 0.5, kind: (id % 7) as u32, flags: id as u32 ^ 0xABCD }
}

/// What a worker does.
fn step(mut record: Record) -> Record {
    record.value *= 2.0;
    record.flags = record.flags.rotate_left(3);
    record
}

fn add(sum: u64, Record { id, value, kind, flags }: Record) -> u64 {
    sum.wrapping_add(id ^ value.to_bits() ^ u64::from(kind) << 32 ^ u64::from(flags))
}

fn ours(items: u64, format: Format) -> Result<u64, BoxError> {
    let p = Pipeline::new("records");
    let sum = p
        .source("records", (0..items).map(record))
        .on(processes(WORKERS as usize).codec(format), |s| s.map("step", step))
        .fold("sum", 0, add);
    Ok(p.run()?.take(sum))
}

/// Nothing but what no transport can avoid, on as many cores as there are workers: each record is encoded and
/// decoded at both ends.
fn codec(items: u64, format: Format) -> Result<u64, BoxError> {
    let half = move |from: u64, to: u64| -> Result<u64, minigun::CodecError> {
        let (mut bytes, mut sum) = (Vec::new(), 0);
        for id in from..to {
            let arrived: Record = carried(format, record(id), &mut bytes)?;
            sum = add(sum, carried(format, step(arrived), &mut bytes)?);
        }
        Ok(sum)
    };
    let bounds = |worker: u64| items * worker / WORKERS;
    let threads: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (from, to) = (bounds(worker), bounds(worker + 1));
            thread::spawn(move || half(from, to))
        })
        .collect();
    let mut sum = 0_u64;
    for thread in threads {
        sum = sum.wrapping_add(thread.join().map_err(|_| "a thread panicked")??);
    }
    Ok(sum)
}

fn carried(format: Format, record: Record, bytes: &mut Vec<u8>) -> Result<Record, minigun::CodecError> {
    bytes.clear();
    format.encode(&record, bytes)?;
    // No compiler may see that nobody else looks at the bytes.
    format.decode(std::hint::black_box(bytes))
}
