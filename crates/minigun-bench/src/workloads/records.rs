//! Records: small structs to two worker processes and back.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;

use std::thread;

use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use minigun::{Format, Pipeline, processes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Workload, forked};
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Load, Scaled};
use crate::python;

pub(crate) const RECORDS: Workload = Workload {
    name: "records",
    about: "records of 24 bytes to 2 worker processes and back",
    rounds: Scaled { full: 9, quick: 3 },
    cases: || {
        let rate = |name, kind, share, settings, run: fn(u64) -> Result<u64, BoxError>| {
            Contestant::rate(name, kind, 1e6, due, move |load| run(load.items))
                .share(share)
                .settings(settings)
        };
        let contestants = vec![
            rate("minigun, compact", Kind::Ours, 1, "processes(2), Format::Compact", |n| {
                ours(n, Format::Compact)
            }),
            rate("minigun, tagged", Kind::Ours, 1, "processes(2), the default format", |n| {
                ours(n, Format::Tagged)
            }),
            rate("pipes + postcard", Kind::Peer, 1, "socket pairs, records gathered up to 64 KiB", raw),
            rate("procspawn, one by one", Kind::Peer, 100, "a pool of 2, at most 64 calls under way", |n| {
                procspawn(n, 1)
            }),
            rate("procspawn, Vecs of 256", Kind::Peer, 4, "a pool of 2, at most 64 calls under way", |n| {
                procspawn(n, 256)
            }),
            rate("ipc-channel, one by one", Kind::Peer, 20, "a channel to and one from each worker", |n| {
                ipc(n, ONE_BY_ONE)
            }),
            rate("ipc-channel, Vecs of 256", Kind::Peer, 4, "a channel to and one from each worker", |n| {
                ipc(n, IN_VECS)
            }),
            python::contestant("Python Pool", "records", &["pool"], 1e6, 10)
                .settings("map over tuples, the best chunk of 256, 1024 and 4096"),
            python::contestant("Python ProcessPoolExecutor", "records", &["executor"], 1e6, 10)
                .settings("map over tuples, the best chunk of 256, 1024 and 4096"),
            rate(
                "encode + decode twice, postcard itself",
                Kind::Limit,
                1,
                "no transport, on 2 threads",
                postcard,
            ),
            rate("encode + decode twice, compact", Kind::Limit, 1, "no transport, on 2 threads", |n| {
                codec(n, Format::Compact)
            }),
            rate("encode + decode twice, tagged", Kind::Limit, 1, "no transport, on 2 threads", |n| {
                codec(n, Format::Tagged)
            }),
        ];
        let items = Scaled { full: 4_000_000, quick: 400_000 };
        vec![Case { name: "", unit: "M records/s", better: Better::More, items, contestants }]
    },
};

pub(crate) const WORKERS: u64 = 2;

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    value: f64,
    kind: u32,
    flags: u32,
}

pub(crate) fn record(id: u64) -> Record {
    Record { id, value: id as f64 * 0.5, kind: (id % 7) as u32, flags: id as u32 ^ 0xABCD }
}

/// What a worker does.
pub(crate) fn step(mut record: Record) -> Record {
    record.value *= 2.0;
    record.flags = record.flags.rotate_left(3);
    record
}

pub(crate) fn add(sum: u64, Record { id, value, kind, flags }: Record) -> u64 {
    sum.wrapping_add(id ^ value.to_bits() ^ u64::from(kind) << 32 ^ u64::from(flags))
}

pub(crate) fn due(load: &Load) -> u64 {
    (0..load.items).map(|id| step(record(id))).fold(0, add)
}

/// The share of one of the workers.
fn half(items: u64, worker: u64) -> Range<u64> {
    items * worker / WORKERS..items * (worker + 1) / WORKERS
}

fn ours(items: u64, format: Format) -> Result<u64, BoxError> {
    let p = Pipeline::new("records");
    let sum = p
        .source("records", (0..items).map(record))
        .on(processes(WORKERS as usize).codec(format), |s| s.map("step", step))
        .fold("sum", 0, add);
    Ok(p.run()?.take(sum))
}

/// The sums of several threads, together.
fn sum_of(threads: Vec<thread::JoinHandle<Result<u64, BoxError>>>) -> Result<u64, BoxError> {
    let mut sum = 0_u64;
    for thread in threads {
        sum = sum.wrapping_add(thread.join().map_err(|_| "a thread panicked")??);
    }
    Ok(sum)
}

/// Nothing but what no transport can avoid, on as many cores as there are workers: each record is encoded and
/// decoded at both ends.
fn codec(items: u64, format: Format) -> Result<u64, BoxError> {
    let work = move |ids: Range<u64>| -> Result<u64, BoxError> {
        let (mut bytes, mut sum) = (Vec::new(), 0);
        for id in ids {
            let arrived: Record = carried(format, record(id), &mut bytes)?;
            sum = add(sum, carried(format, step(arrived), &mut bytes)?);
        }
        Ok(sum)
    };
    sum_of((0..WORKERS).map(|worker| thread::spawn(move || work(half(items, worker)))).collect())
}

fn carried(format: Format, record: Record, bytes: &mut Vec<u8>) -> Result<Record, minigun::CodecError> {
    bytes.clear();
    format.encode(&record, bytes)?;
    // No compiler may see that nobody else looks at the bytes.
    format.decode(black_box(bytes))
}

/// As [`codec`], without what the library's format looks after, and block by block as [`raw`].
fn postcard(items: u64) -> Result<u64, BoxError> {
    let work = move |ids: Range<u64>| -> Result<u64, BoxError> {
        let (mut there, mut back, mut sum) = (Vec::new(), Vec::new(), 0);
        let mut records = ids.map(record).peekable();
        while records.peek().is_some() {
            there.clear();
            back.clear();
            while there.len() < BLOCK
                && let Some(record) = records.next()
            {
                postcard_to(record, &mut there)?;
            }
            each(black_box(&there), |record| postcard_to(step(record), &mut back))?;
            each(black_box(&back), |record| {
                sum = add(sum, record);
                Ok(())
            })?;
        }
        Ok(sum)
    };
    sum_of((0..WORKERS).map(|worker| thread::spawn(move || work(half(items, worker)))).collect())
}

/// Written by hand: two forked workers, a socket pair each, postcard, and blocks of 64 KiB behind their length.
fn raw(items: u64) -> Result<u64, BoxError> {
    let workers: Vec<UnixStream> = (0..WORKERS)
        .map(|_| {
            forked::with_stream(|mut stream| {
                let (mut block, mut out) = (Vec::new(), Vec::new());
                while read_block(&mut stream, &mut block)? {
                    out.clear();
                    each(&block, |record| postcard_to(step(record), &mut out))?;
                    write_block(&mut stream, &out)?;
                }
                Ok(())
            })
        })
        .collect::<Result<_, _>>()?;
    let mut threads = Vec::new();
    for (worker, stream) in (0..WORKERS).zip(workers) {
        let mut to = stream.try_clone()?;
        threads.push(thread::spawn(move || {
            let mut block = Vec::with_capacity(BLOCK + 64);
            for id in half(items, worker) {
                postcard_to(record(id), &mut block)?;
                if block.len() >= BLOCK {
                    write_block(&mut to, &block)?;
                    block.clear();
                }
            }
            write_block(&mut to, &block)?;
            to.shutdown(std::net::Shutdown::Write)?;
            Ok(0)
        }));
        let mut from = stream;
        threads.push(thread::spawn(move || {
            let (mut block, mut sum) = (Vec::new(), 0);
            while read_block(&mut from, &mut block)? {
                each(&block, |record| {
                    sum = add(sum, record);
                    Ok(())
                })?;
            }
            Ok(sum)
        }));
    }
    sum_of(threads)
}

const BLOCK: usize = 64 << 10;

fn postcard_to(record: Record, block: &mut Vec<u8>) -> Result<(), BoxError> {
    // It extends a vector that it is given and gives it back.
    *block = postcard::to_extend(&record, std::mem::take(block))?;
    Ok(())
}

fn each(mut block: &[u8], mut f: impl FnMut(Record) -> Result<(), BoxError>) -> Result<(), BoxError> {
    while !block.is_empty() {
        let (record, rest) = postcard::take_from_bytes(block)?;
        f(record)?;
        block = rest;
    }
    Ok(())
}

fn write_block(to: &mut UnixStream, block: &[u8]) -> io::Result<()> {
    let length = u32::try_from(block.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(block)
}

/// Whether there was one.
fn read_block(from: &mut UnixStream, block: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    block.resize(u32::from_le_bytes(length) as usize, 0);
    from.read_exact(block)?;
    Ok(true)
}

/// In `Vec`s of this many records, or alone.
fn procspawn(items: u64, size: u64) -> Result<u64, BoxError> {
    const UNDER_WAY: usize = 64;
    let pool = procspawn::Pool::new(WORKERS as usize)?;
    let mut sum = 0;
    let mut under_way = std::collections::VecDeque::new();
    let mut from = 0;
    loop {
        if from < items && under_way.len() < UNDER_WAY {
            let ids = from..items.min(from + size);
            from = ids.end;
            under_way.push_back(if size == 1 {
                Call::One(pool.spawn(record(ids.start), step))
            } else {
                let records: Vec<Record> = ids.map(record).collect();
                Call::Many(pool.spawn(records, |records| records.into_iter().map(step).collect()))
            });
            continue;
        }
        match under_way.pop_front() {
            Some(Call::One(call)) => sum = add(sum, call.join()?),
            Some(Call::Many(call)) => sum = call.join()?.into_iter().fold(sum, add),
            None => return Ok(sum),
        }
    }
}

enum Call {
    One(procspawn::JoinHandle<Record>),
    Many(procspawn::JoinHandle<Vec<Record>>),
}

/// The roles of ipc-channel's workers.
pub(crate) const ONE_BY_ONE: &str = "records-one-by-one";
pub(crate) const IN_VECS: &str = "records-in-vecs";

fn ipc(items: u64, role: &'static str) -> Result<u64, BoxError> {
    if role == IN_VECS {
        let vecs = |ids: Range<u64>| {
            let end = ids.end;
            ids.step_by(256).map(move |id| (id..end.min(id + 256)).map(record).collect::<Vec<Record>>())
        };
        through_ipc(items, role, vecs, |sum, records: Vec<Record>| records.into_iter().fold(sum, add))
    } else {
        through_ipc(items, role, |ids| ids.map(record), add)
    }
}

/// Messages to two workers and back, with a sending and a receiving thread for each.
fn through_ipc<M, I>(
    items: u64,
    role: &'static str,
    make: fn(Range<u64>) -> I,
    add: fn(u64, M) -> u64,
) -> Result<u64, BoxError>
where
    M: Serialize + DeserializeOwned + Send + 'static,
    I: Iterator<Item = M> + 'static,
{
    let mut threads = Vec::new();
    for worker in 0..WORKERS {
        let (mut child, to, from) = ipc_worker::<M, M>(role)?;
        threads.push(thread::spawn(move || {
            make(half(items, worker)).try_for_each(|message| to.send(message))?;
            Ok(0)
        }));
        threads.push(thread::spawn(move || {
            let mut sum = 0;
            // The end: the worker is gone, and with it the sending side.
            while let Ok(message) = from.recv() {
                sum = add(sum, message);
            }
            child.wait()?;
            Ok(sum)
        }));
    }
    sum_of(threads)
}

type Channels<T, F> = (std::process::Child, IpcSender<T>, IpcReceiver<F>);

/// Starts this program in a role, connected by a channel to it and one from it.
pub(crate) fn ipc_worker<T, F>(role: &str) -> Result<Channels<T, F>, BoxError>
where
    T: Serialize + DeserializeOwned,
    F: Serialize + DeserializeOwned,
{
    let (server, name) = IpcOneShotServer::<(IpcSender<T>, IpcReceiver<F>)>::new()?;
    let child =
        std::process::Command::new(std::env::current_exe()?).args([super::ROLE, role, &name]).spawn()?;
    let (_, (to, from)) = server.accept()?;
    Ok((child, to, from))
}

/// What a worker in a role does: everything that comes is stepped and sent back.
pub(crate) fn ipc_serve<T, F>(name: &str, step: impl Fn(T) -> F) -> Result<(), BoxError>
where
    T: Serialize + DeserializeOwned,
    F: Serialize + DeserializeOwned,
{
    let (to, takes) = ipc::channel::<T>()?;
    let (gives, from) = ipc::channel::<F>()?;
    IpcSender::connect(name.to_string())?.send((to, from))?;
    while let Ok(message) = takes.recv() {
        gives.send(step(message))?;
    }
    Ok(())
}
