//! Long runs of bytes and of text pass between the program and its workers by shared memory: whole, once, and whatever
//! becomes of the worker.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]

mod common;

use std::collections::BTreeMap;

use common::under;
use minigun::{Backoff, Block, Dead, Dynamic, Executor, Failure, Format, Pipeline, processes};
use minigun_os::{Pid, Signal};
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};
use serde_bytes::ByteBuf;

const PROCESSES: [&str; 3] = ["processes:1", "processes:3", "process_per_batch:2"];

/// Long enough to travel apart.
const LONG: usize = 200_000;

/// So many bytes that are not all the same, quickly made even without optimisation.
fn bytes(length: usize, seed: usize) -> ByteBuf {
    let piece: Vec<_> = (0..1021).map(|n: usize| (n.wrapping_mul(31) ^ (n >> 3) ^ seed) as u8).collect();
    let mut all = piece.repeat(length.div_ceil(piece.len()));
    all.truncate(length);
    ByteBuf::from(all)
}

fn text(length: usize, seed: usize) -> String {
    format!("{seed}: {}", "grün ".repeat(length / 6))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    One(ByteBuf),
    Named { before: u64, text: String, between: Option<u8>, bytes: Option<ByteBuf>, behind: Vec<u16> },
    Many(Vec<ByteBuf>),
    Map(BTreeMap<String, String>),
    Hinted(Hinted),
}

/// Does not say how many elements it has, so that what was written is moved when that is known.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Hinted(Vec<ByteBuf>);

impl Serialize for Hinted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        self.0.iter().try_for_each(|bytes| seq.serialize_element(bytes))?;
        seq.end()
    }
}

/// With short runs among the long ones.
fn shapes(seed: usize) -> Vec<Shape> {
    let many: Vec<_> = (0..20).map(|n| bytes([0, 10, LONG, 33_000][n % 4], seed + n)).collect();
    vec![
        Shape::One(bytes(LONG, seed)),
        Shape::Named {
            before: 7,
            text: text(LONG, seed),
            between: Some(3),
            bytes: Some(bytes(LONG, seed + 1)),
            behind: vec![1; 50],
        },
        Shape::Many(many.clone()),
        Shape::Map((0..3).map(|n| (text(LONG, seed + n), text(10, n))).collect()),
        Shape::Hinted(Hinted(many)),
    ]
}

#[test]
fn every_shape_of_item_arrives_as_it_was_sent() {
    under(&PROCESSES, |executor| {
        let p = Pipeline::new("shapes");
        let out = p
            .source("in", (0..4).flat_map(shapes))
            .on(executor, |s| s.map("same", |shape: Shape| shape))
            .collect("out");
        let out = p.run().unwrap().take(out);
        assert_eq!(out.len(), 20);
        assert!((0..4).flat_map(shapes).all(|sent| out.iter().filter(|came| **came == sent).count() == 1));
    });
}

#[test]
fn nested_threads_ordered_blocks_and_the_compact_format_carry_them_too() {
    let sent: Vec<_> = (0..40).map(|n| (n, bytes(LONG, n))).collect();
    let nested = Pipeline::new("nested");
    let from_threads = nested
        .source("in", sent.clone())
        .on(processes(2), |s| s.on(minigun::threads(3), |s| s.map("same", |item| item)))
        .collect("out");
    let mut found = nested.run().unwrap().take(from_threads);
    found.sort_unstable_by_key(|(n, _): &(usize, ByteBuf)| *n);
    assert!(found == sent);
    for format in Format::ALL {
        let p = Pipeline::new("ordered");
        let out = p
            .source("in", sent.clone())
            .on(processes(2).ordered().codec(format), |s| s.map("same", |item| item))
            .collect("out");
        assert!(p.run().unwrap().take(out) == sent, "{format}");
    }
}

#[test]
fn what_finds_no_room_goes_by_the_stream() {
    const SIZE: usize = 48 << 20;
    under(&["processes:1", "process_per_batch:1"], |executor| {
        let p = Pipeline::new("no room");
        let out = p
            .source("in", [1, 2])
            .on(executor, |s| s.flat_map("four of each", |n| (0..4).map(move |k| bytes(SIZE, 10 * n + k))))
            .map("look", |found| {
                (1..3)
                    .flat_map(|n| (0..4).map(move |k| 10 * n + k))
                    .find(|n| found.len() == SIZE && found[..5000] == bytes(5000, *n)[..])
            })
            .collect("out");
        let mut out = p.run().unwrap().take(out);
        out.sort_unstable();
        assert!(out.into_iter().eq([10, 11, 12, 13, 20, 21, 22, 23].map(Some)));
    });
}

#[test]
fn what_a_failed_attempt_had_put_there_is_never_seen() {
    under(&PROCESSES, |executor| {
        let p = Pipeline::new("undone");
        let block = executor.place().retry(3, Backoff::none());
        let out = p
            .source("in", 0..20)
            .on(block, |s| {
                s.processor("emit", |n: usize, out| {
                    let attempt = minigun::attempt().unwrap().attempt as usize;
                    out.emit((n, attempt, bytes(LONG, n + attempt)));
                    out.emit((n, attempt, bytes(LONG + 1, n + attempt)));
                    if attempt < 3 { Err(Failure::from("not yet")) } else { Ok(()) }
                })
            })
            .collect("out");
        let mut out: Vec<(usize, usize, ByteBuf)> = p.run().unwrap().take(out);
        out.sort_unstable_by_key(|(n, _, bytes)| (*n, bytes.len()));
        assert_eq!(out.len(), 40);
        for (at, (n, attempt, found)) in out.into_iter().enumerate() {
            assert_eq!((n, attempt), (at / 2, 3));
            assert!(found == bytes(LONG + at % 2, n + 3));
        }
    });
}

#[test]
fn an_item_that_fails_for_good_is_a_dead_letter_with_all_its_bytes() {
    under(&PROCESSES, |executor| {
        let p = Pipeline::new("letters");
        let (dead, letters) = p.inlet::<Dead<(usize, ByteBuf)>>("dead");
        p.source("in", (0..6).map(|n| (n, bytes(LONG, n))))
            .on(executor.place().retry(2, Backoff::none()).dead_letter(&dead), |s| {
                s.try_map("fail", |(n, _): (usize, ByteBuf)| -> Result<(), Failure> {
                    Err(format!("{n} fails").into())
                })
            })
            .consumer("none", |()| {});
        let found = letters.collect("found");
        let mut found = p.run().unwrap().take(found);
        found.sort_unstable_by_key(|letter| letter.item.0);
        assert_eq!(found.len(), 6);
        assert!(found.iter().enumerate().all(|(n, dead)| dead.item == (n, bytes(LONG, n))));
    });
}

/// Kills its worker between two long runs, in its first attempt.
#[derive(Debug, PartialEq, Deserialize)]
struct Deadly {
    first: ByteBuf,
    attempt: u32,
    second: ByteBuf,
}

impl Serialize for Deadly {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Deadly", 3)?;
        fields.serialize_field("first", &self.first)?;
        fields.serialize_field("attempt", &self.attempt)?;
        if self.attempt == 1 {
            drop(minigun_os::kill(Pid::current(), Signal::KILL));
        }
        fields.serialize_field("second", &self.second)?;
        fields.end()
    }
}

#[test]
fn a_worker_killed_while_it_writes_there_loses_nothing_and_repeats_nothing() {
    const ITEMS: usize = 12;
    for place in ["processes:2", "process_per_batch:2"] {
        let place: Block<Dynamic> = place.parse::<Executor>().unwrap().place();
        let p = Pipeline::new("killed");
        let out = p
            .source("in", (0..ITEMS).map(|n| (n, bytes(LONG, n))))
            .on(place.crash_attempts(5).max_restarts(u32::MAX), |s| {
                s.map("grow", |(n, first): (usize, ByteBuf)| {
                    let attempt = minigun::attempt().unwrap().attempt;
                    (n, Deadly { first, attempt, second: bytes(LONG, n + 1) })
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        let mut out = report.take(out);
        out.sort_unstable_by_key(|(n, _): &(usize, Deadly)| *n);
        assert_eq!(out.len(), ITEMS);
        for (at, (n, found)) in out.iter().enumerate() {
            assert!(*n == at && found.attempt > 1);
            assert!(found.first == bytes(LONG, at) && found.second == bytes(LONG, at + 1));
        }
    }
}
