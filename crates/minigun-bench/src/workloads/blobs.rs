//! Blobs: large buffers to two worker processes and back.

use std::hint::black_box;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread;

use ipc_channel::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory,
};
use minigun::{Format, Pipeline, processes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use super::Workload;
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Load, Scaled};

pub(crate) const BLOBS: Workload = Workload {
    name: "blobs",
    about: "byte buffers to 2 worker processes and back; every buffer counts twice",
    rounds: Scaled { full: 7, quick: 3 },
    cases: || {
        let of = |name, size: usize, items| {
            let rate = |name, kind, settings, run: fn(u64, usize) -> Result<u64, BoxError>| {
                let per = 1e9 / (2 * size) as f64;
                Contestant::rate(
                    name,
                    kind,
                    per,
                    move |load| due(load, size),
                    move |load| run(load.items, size),
                )
                .settings(settings)
            };
            let mut contestants = vec![
                rate(
                    "minigun",
                    Kind::Ours,
                    "processes(2), serde_bytes, the default format, queue(4); summed where results arrive",
                    ours,
                ),
                rate(
                    "ipc-channel, bytes",
                    Kind::Peer,
                    "bytes_channel, at most 4 under way to each worker",
                    bytes,
                ),
                rate("ipc-channel, shared memory", Kind::Peer, "at most 4 under way to each worker", shared),
                rate("memcpy", Kind::Limit, "into a frame and out of it, both ways, on 2 threads", memcpy),
            ];
            if size <= MOST_KEPT {
                let kept = "as above, where malloc keeps what is freed (`MALLOC_TRIM_THRESHOLD_`)";
                contestants.extend([
                    rate("minigun, freed memory kept", Kind::Ours, kept, ours).env(KEEPS),
                    rate("ipc-channel, bytes, freed memory kept", Kind::Peer, kept, bytes).env(KEEPS),
                    rate("memcpy, freed memory kept", Kind::Limit, kept, memcpy).env(KEEPS),
                ]);
            }
            Case { name, unit: "GB/s", better: Better::More, items, contestants }
        };
        vec![
            of("1 MiB", 1 << 20, Scaled { full: 4000, quick: 200 }),
            of("64 MiB", 64 << 20, Scaled { full: 32, quick: 6 }),
        ]
    },
};

/// Has malloc keep freed memory for the next buffer, which it otherwise gives back to the system again and again where
/// one thread makes buffers and another drops them.
const KEEPS: &[(&str, &str)] =
    &[("MALLOC_MMAP_THRESHOLD_", "33554432"), ("MALLOC_TRIM_THRESHOLD_", "268435456")];

/// The largest buffer that glibc's malloc can be told to keep.
const MOST_KEPT: usize = 32 << 20;

const WORKERS: u64 = 2;
const UNDER_WAY: usize = 4;
/// One byte of each page is changed and looked at: more would measure memory, not transport.
const PAGE: usize = 4096;

/// A new buffer with its number in front, as everybody's source makes it.
struct Maker(Vec<u8>);

impl Maker {
    fn new(size: usize) -> Maker {
        Maker((0..size).map(|at| (at / 7) as u8).collect())
    }

    fn make(&self, id: u64) -> Vec<u8> {
        let mut blob = self.0.clone();
        blob[..8].copy_from_slice(&id.to_le_bytes());
        blob
    }
}

/// What a worker does.
fn step(blob: &mut [u8]) {
    blob.iter_mut().skip(8).step_by(PAGE).for_each(|byte| *byte = byte.wrapping_add(1));
}

fn sum_of(blob: &[u8]) -> u64 {
    let id = blob.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    id + blob.iter().skip(8).step_by(PAGE).map(|byte| u64::from(*byte)).sum::<u64>() + blob.len() as u64
}

fn due(load: &Load, size: usize) -> u64 {
    let mut blob = Maker::new(size).make(0);
    step(&mut blob);
    load.items * sum_of(&blob) + load.items * (load.items - 1) / 2
}

/// The sum is made where a result arrives, as the peers make theirs.
fn ours(items: u64, size: usize) -> Result<u64, BoxError> {
    let (p, maker) = (Pipeline::new("blobs"), Maker::new(size));
    let sum = p.counter("sum");
    p.source("blobs", (0..items).map(move |id| ByteBuf::from(maker.make(id))))
        .on(processes(WORKERS as usize).queue(4).codec(Format::default()), |s| {
            s.map("step", |mut blob: ByteBuf| {
                step(&mut blob);
                blob
            })
        })
        .inline(|s| s.consumer("sum", move |blob: ByteBuf| sum.add(sum_of(&blob))));
    Ok(p.run()?.count(&sum))
}

/// Frames that were there before, so that nothing is measured but copies.
fn memcpy(items: u64, size: usize) -> Result<u64, BoxError> {
    let work = move |ids: std::ops::Range<u64>| {
        let maker = Maker::new(size);
        let (mut there, mut back, mut arrived, mut last) =
            (vec![1; size], vec![1; size], vec![1; size], vec![1; size]);
        ids.map(|id| {
            there.copy_from_slice(&maker.make(id));
            arrived.copy_from_slice(black_box(&there));
            step(&mut arrived);
            back.copy_from_slice(&arrived);
            last.copy_from_slice(black_box(&back));
            sum_of(&last)
        })
        .sum::<u64>()
    };
    let threads: Vec<_> = (0..WORKERS)
        .map(|worker| thread::spawn(move || work(items * worker / WORKERS..items * (worker + 1) / WORKERS)))
        .collect();
    threads.into_iter().try_fold(0, |sum, thread| Ok(sum + thread.join().map_err(|_| "a thread panicked")?))
}

/// The roles of ipc-channel's workers.
pub(crate) const AS_BYTES: &str = "blobs-as-bytes";
pub(crate) const IN_SHARED_MEMORY: &str = "blobs-in-shared-memory";

fn bytes(items: u64, size: usize) -> Result<u64, BoxError> {
    let connect = || -> Result<_, BoxError> {
        let (child, (to, from)): (_, (IpcBytesSender, IpcBytesReceiver)) = worker(AS_BYTES)?;
        let send = move |blob: Vec<u8>| to.send(&blob).is_ok();
        let receive = move || from.recv().ok().map(|blob| sum_of(&blob));
        Ok((child, send, receive))
    };
    through(items, size, connect)
}

fn shared(items: u64, size: usize) -> Result<u64, BoxError> {
    let connect = || -> Result<_, BoxError> {
        let (child, (to, from)): (_, (IpcSender<IpcSharedMemory>, IpcReceiver<IpcSharedMemory>)) =
            worker(IN_SHARED_MEMORY)?;
        let send = move |blob: Vec<u8>| to.send(IpcSharedMemory::from_bytes(&blob)).is_ok();
        let receive = move || from.recv().ok().map(|blob| sum_of(&blob));
        Ok((child, send, receive))
    };
    through(items, size, connect)
}

/// A sending and a receiving thread for each worker. How much is under way is bounded here: shared memory has no
/// bound of its own.
fn through<S, R>(
    items: u64,
    size: usize,
    connect: impl Fn() -> Result<(Child, S, R), BoxError>,
) -> Result<u64, BoxError>
where
    S: Fn(Vec<u8>) -> bool + Send + 'static,
    R: Fn() -> Option<u64> + Send + 'static,
{
    let mut threads = Vec::new();
    for worker in 0..WORKERS {
        let (mut child, send, receive) = connect()?;
        let (sent, under_way) = mpsc::sync_channel(UNDER_WAY);
        threads.push(thread::spawn(move || -> Result<u64, BoxError> {
            let maker = Maker::new(size);
            for id in items * worker / WORKERS..items * (worker + 1) / WORKERS {
                let blob = maker.make(id);
                sent.send(())?;
                if !send(blob) {
                    return Err("a worker is gone".into());
                }
            }
            Ok(0)
        }));
        threads.push(thread::spawn(move || {
            let mut sum = 0;
            // The end: the worker is gone, and with it the sending side.
            while let Some(found) = receive() {
                sum += found;
                under_way.recv()?;
            }
            child.wait()?;
            Ok(sum)
        }));
    }
    threads.into_iter().try_fold(0, |sum, thread| Ok(sum + thread.join().map_err(|_| "a thread panicked")??))
}

/// Starts this program in a role; it gives the ends of its channels.
fn worker<C: Serialize + DeserializeOwned>(role: &str) -> Result<(Child, C), BoxError> {
    let (server, name) = IpcOneShotServer::<C>::new()?;
    let child = Command::new(std::env::current_exe()?).args([super::ROLE, role, &name]).spawn()?;
    let (_, ends) = server.accept()?;
    Ok((child, ends))
}

pub(crate) fn serve_bytes(name: &str) -> Result<(), BoxError> {
    let (to, takes) = ipc::bytes_channel()?;
    let (gives, from) = ipc::bytes_channel()?;
    IpcSender::connect(name.to_string())?.send((to, from))?;
    while let Ok(mut blob) = takes.recv() {
        step(&mut blob);
        gives.send(&blob)?;
    }
    Ok(())
}

pub(crate) fn serve_shared(name: &str) -> Result<(), BoxError> {
    let (to, takes) = ipc::channel::<IpcSharedMemory>()?;
    let (gives, from) = ipc::channel::<IpcSharedMemory>()?;
    IpcSender::connect(name.to_string())?.send((to, from))?;
    while let Ok(memory) = takes.recv() {
        // What may still be mapped elsewhere must not be written to.
        let mut blob = memory.to_vec();
        step(&mut blob);
        gives.send(IpcSharedMemory::from_bytes(&blob))?;
    }
    Ok(())
}
