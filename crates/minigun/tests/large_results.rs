//! Large items and results: nothing waits for the end of a process, and no direction blocks the other.

mod common;

use common::under;
use minigun::Pipeline;
use serde_bytes::ByteBuf;

const PROCESSES: [&str; 3] = ["processes:1", "processes:3", "process_per_batch:2"];

/// So many bytes that are not all the same, quickly made even without optimisation.
fn bytes(length: usize, seed: usize) -> ByteBuf {
    let piece: Vec<_> = (0..1021).map(|n: usize| (n.wrapping_mul(31) ^ (n >> 3) ^ seed) as u8).collect();
    let mut all = piece.repeat(length.div_ceil(piece.len()));
    all.truncate(length);
    ByteBuf::from(all)
}

#[test]
fn results_of_200_kb_arrive_whole() {
    under(&PROCESSES, |executor| {
        let p = Pipeline::new("200 kB");
        let out = p
            .source("in", 0..10usize)
            .on(executor, |s| s.map("grow", |n| (n, bytes(200_000, n), "x".repeat(200_000))))
            .collect("out");
        let out = p.run().unwrap().take(out);
        assert_eq!(out.len(), 10);
        assert!(out.iter().all(|(n, found, _)| *found == bytes(200_000, *n)));
        assert!(out.iter().all(|(_, _, text)| text.len() == 200_000));
    });
}

#[test]
fn a_result_of_64_mib_arrives_whole_from_a_pool_and_from_a_forked_child() {
    const SIZE: usize = 64 << 20;
    under(&["processes:1", "process_per_batch:1"], |executor| {
        let p = Pipeline::new("64 MiB");
        let out = p
            .source("in", [7])
            .on(executor, |s| s.map("grow", |n| bytes(SIZE, n)))
            .map("look", |found| found == bytes(SIZE, 7))
            .collect("out");
        assert_eq!(p.run().unwrap().take(out), [true]);
    });
}

#[test]
fn items_and_results_much_larger_than_a_sockets_buffer_pass_each_other() {
    under(&PROCESSES, |executor| {
        let p = Pipeline::new("both ways");
        let out = p
            .source("in", 0..24usize)
            .map("large", |n| bytes(1 << 20, n))
            .on(executor, |s| s.flat_map("two of each", |bytes| [bytes.clone(), bytes]))
            .fold("bytes", 0, |sum, bytes| sum + bytes.len());
        assert_eq!(p.run().unwrap().take(out), 48 << 20);
    });
}

#[test]
fn one_item_may_become_very_many() {
    under(&PROCESSES, |executor| {
        let p = Pipeline::new("many");
        let out = p
            .source("in", 0..4u64)
            .on(executor, |s| s.flat_map("many", |n| (0..20_000).map(move |k| n * 20_000 + k)))
            .fold("sum", (0u64, 0), |(sum, count), n| (sum + n, count + 1));
        assert_eq!(p.run().unwrap().take(out), ((0..80_000).sum(), 80_000));
    });
}
