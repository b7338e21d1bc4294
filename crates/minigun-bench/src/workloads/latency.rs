//! Latency: one item at a time, when everything it passes is asleep.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use minigun::{Format, Pipeline, processes};

use super::{Workload, forked};
use crate::contest::{Better, BoxError, Case, Contestant, Kind, Load, Scaled, Turn, check};

pub(crate) const LATENCY: Workload = Workload {
    name: "latency",
    about: "one item at a time, each after 200 µs of idleness, from where it is sent to where it arrives",
    rounds: Scaled { full: 7, quick: 3 },
    cases: || {
        let of = |name, kind, settings, run: fn(u64) -> Result<Arrivals, BoxError>| {
            Contestant::new(name, kind, move |load: &Load| run(load.items)?.turn(load.items))
                .settings(settings)
        };
        let case = |name, contestants| Case {
            name,
            unit: "µs",
            better: Better::Less,
            items: Scaled { full: 4000, quick: 1000 },
            contestants,
        };
        vec![
            case(
                "3 idle stages",
                vec![
                    of("minigun", Kind::Ours, "producer, then 2 processors and a fold", ours),
                    of("3 crossbeam hops", Kind::Limit, "bounded(1024), 3 threads that wait", crossbeam),
                ],
            ),
            case(
                "a worker process",
                vec![
                    of(
                        "minigun",
                        Kind::Ours,
                        "producer, processes(1), fold; the default format",
                        ours_process,
                    ),
                    of(
                        "a socket pair",
                        Kind::Limit,
                        "there and back from one thread, the same format",
                        socket_pair,
                    ),
                ],
            ),
        ]
    },
};

/// So long nothing happens before an item is sent: whoever waits for it has gone to sleep.
const IDLE: Duration = Duration::from_micros(200);

/// An item: its number, and when it was sent, in nanoseconds.
type Sent = (u64, u64);

/// What the last stage has seen.
#[derive(Default)]
struct Arrivals {
    sum: u64,
    nanos: Vec<u64>,
}

impl Arrivals {
    fn note(&mut self, (n, sent): Sent, clock: Instant) {
        self.nanos.push(now(clock) - sent);
        self.sum += n;
    }

    /// The first items meet threads and processes that are only being made: they are not counted.
    fn turn(self, items: u64) -> Result<Turn, BoxError> {
        check(self.sum, items * (items - 1) / 2 + STEPS * items)?;
        let mut nanos = self.nanos;
        nanos.drain(..nanos.len() / 10);
        nanos.sort_unstable();
        let at = |part: f64| nanos[(nanos.len() as f64 * part) as usize] as f64 / 1000.0;
        Ok(Turn::Reached(vec![("median".to_string(), at(0.5)), ("p99".to_string(), at(0.99))]))
    }
}

/// All stages together add this to an item.
const STEPS: u64 = 2;

fn now(clock: Instant) -> u64 {
    clock.elapsed().as_nanos() as u64
}

/// Sends one item after the other, each when the one before has arrived and all is quiet.
fn send_all(
    items: u64,
    clock: Instant,
    arrived: &mpsc::Receiver<()>,
    mut send: impl FnMut(Sent),
) -> Result<(), BoxError> {
    for n in 0..items {
        thread::sleep(IDLE);
        send((n, now(clock)));
        arrived.recv()?;
    }
    Ok(())
}

fn ours(items: u64) -> Result<Arrivals, BoxError> {
    let (p, clock) = (Pipeline::new("latency"), Instant::now());
    let (tell, arrived) = mpsc::channel();
    let arrived = std::sync::Mutex::new(arrived);
    let arrivals = p
        .producer("one by one", move |out| {
            let arrived = arrived.lock().map_err(|_| "a thread panicked")?;
            send_all(items, clock, &arrived, |item| out.emit(item)).map_err(|error| error.to_string())?;
            Ok(())
        })
        .processor("first", |(n, sent): Sent, out| out.emit((n + 1, sent)))
        .processor("second", |(n, sent): Sent, out| out.emit((n + 1, sent)))
        .fold("arrivals", Arrivals::default(), move |mut arrivals, item| {
            arrivals.note(item, clock);
            // The producer waits for it; if it has ended, nobody does.
            let _ = tell.send(());
            arrivals
        });
    Ok(p.run()?.take(arrivals))
}

fn ours_process(items: u64) -> Result<Arrivals, BoxError> {
    let (p, clock) = (Pipeline::new("latency"), Instant::now());
    let (tell, arrived) = mpsc::channel();
    let arrived = std::sync::Mutex::new(arrived);
    let arrivals = p
        .producer("one by one", move |out| {
            let arrived = arrived.lock().map_err(|_| "a thread panicked")?;
            send_all(items, clock, &arrived, |item| out.emit(item)).map_err(|error| error.to_string())?;
            Ok(())
        })
        .on(processes(1), |s| s.map("step", |(n, sent): Sent| (n + STEPS, sent)))
        .fold("arrivals", Arrivals::default(), move |mut arrivals, item| {
            arrivals.note(item, clock);
            // As above.
            let _ = tell.send(());
            arrivals
        });
    Ok(p.run()?.take(arrivals))
}

fn crossbeam(items: u64) -> Result<Arrivals, BoxError> {
    let clock = Instant::now();
    let (tell, arrived) = mpsc::channel();
    let (first, sent) = crossbeam_channel::bounded::<Sent>(1024);
    let (second, one) = crossbeam_channel::bounded::<Sent>(1024);
    let (third, two) = crossbeam_channel::bounded::<Sent>(1024);
    let hop = |from: crossbeam_channel::Receiver<Sent>, to: crossbeam_channel::Sender<Sent>| {
        thread::spawn(move || from.into_iter().try_for_each(|(n, sent)| to.send((n + 1, sent))))
    };
    let _hops = (hop(sent, second), hop(one, third));
    let last = thread::spawn(move || {
        let mut arrivals = Arrivals::default();
        for item in two {
            arrivals.note(item, clock);
            // As above.
            let _ = tell.send(());
        }
        arrivals
    });
    // What cannot be sent does not arrive, and is missed in the sum.
    send_all(items, clock, &arrived, |item| first.send(item).unwrap_or_default())?;
    drop(first);
    last.join().map_err(|_| "a thread panicked".into())
}

fn socket_pair(items: u64) -> Result<Arrivals, BoxError> {
    let format = Format::default();
    let mut stream = forked::with_stream(move |mut stream| {
        let mut bytes = Vec::new();
        while let Ok((n, sent)) = receive(&mut stream, format, &mut bytes) {
            send(&mut stream, format, (n + STEPS, sent), &mut bytes)?;
        }
        Ok(())
    })?;
    let (clock, mut arrivals, mut bytes) = (Instant::now(), Arrivals::default(), Vec::new());
    for n in 0..items {
        thread::sleep(IDLE);
        send(&mut stream, format, (n, now(clock)), &mut bytes)?;
        arrivals.note(receive(&mut stream, format, &mut bytes)?, clock);
    }
    Ok(arrivals)
}

/// One item behind its length, in one write.
fn send(to: &mut UnixStream, format: Format, item: Sent, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
    bytes.clear();
    bytes.extend([0; 4]);
    format.encode(&item, bytes)?;
    let length = u32::try_from(bytes.len() - 4)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(to.write_all(bytes)?)
}

fn receive(from: &mut UnixStream, format: Format, bytes: &mut Vec<u8>) -> Result<Sent, BoxError> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    bytes.resize(u32::from_le_bytes(length) as usize, 0);
    from.read_exact(bytes)?;
    Ok(format.decode(bytes)?)
}
