//! Loops of any shape give what one thread gives: random chains of blocks, batches and splits, of which some send back,
//! under random executors with tiny queues. Failures shrink to a small loop.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::VecDeque;

use common::{EXECUTORS, sorted, within};
use minigun::{Executor, Flow, Pipeline, Port, threads};
use proptest::prelude::*;

/// One block of the loop.
#[derive(Clone, Debug)]
struct Piece {
    executor: usize,
    queue: usize,
    batch: Option<usize>,
    /// It sends back numbers of this rest modulo the number of pieces.
    sends: bool,
    head: Head,
    /// Before it the flow is split, and merged again.
    split: Option<Split>,
}

#[derive(Clone, Copy, Debug)]
enum Head {
    Plain,
    ByKey,
    Ordered,
}

#[derive(Clone, Copy, Debug)]
enum Split {
    Turns,
    Key,
    Load,
    Partition,
}

fn piece() -> impl Strategy<Value = Piece> {
    let batch = prop_oneof![2 => Just(None), 1 => (1usize..6).prop_map(Some)];
    let head = prop_oneof![Just(Head::Plain), Just(Head::ByKey), Just(Head::Ordered)];
    let split = prop_oneof![Just(Split::Turns), Just(Split::Key), Just(Split::Load), Just(Split::Partition)];
    (0..EXECUTORS.len(), 1usize..4, batch, any::<bool>(), head, prop::option::of(split)).prop_map(
        |(executor, queue, batch, sends, head, split)| Piece { executor, queue, batch, sends, head, split },
    )
}

/// What piece `at` of `of` sends back for `n`.
fn found(n: u32, at: usize, of: usize) -> impl Iterator<Item = u32> {
    let mine = n > 4 && n as usize % of == at;
    [n / 2, n / 3, n.saturating_sub(3)].into_iter().take(if mine { 1 + n as usize % 3 } else { 0 })
}

fn model(seeds: u32, pieces: &[Piece]) -> Vec<u32> {
    let (mut waiting, mut out): (VecDeque<u32>, _) = ((0..seeds).collect(), Vec::new());
    while let Some(n) = waiting.pop_front() {
        for (at, _) in pieces.iter().enumerate().filter(|(_, piece)| piece.sends) {
            waiting.extend(found(n, at, pieces.len()));
        }
        out.push(n);
    }
    sorted(out)
}

fn build(flow: Flow<u32>, again: &Port<u32>, pieces: &[Piece]) -> Flow<u32> {
    let of = pieces.len();
    pieces.iter().enumerate().fold(flow, |mut flow, (at, piece)| {
        if let Some(size) = piece.batch {
            flow = flow.batch(size).unbatch();
        }
        if let Some(split) = piece.split {
            let [one, two] = match split {
                Split::Turns => flow.round_robin(),
                Split::Key => flow.split_by_key(|n| n % 3),
                Split::Load => flow.least_loaded(),
                Split::Partition => flow.partition(&format!("which {at}"), |n| n % 3 == 0).into(),
            };
            let two = two.on(threads(2).queue(piece.queue), |s| s.map(&format!("two {at}"), |n| n));
            flow = one.merge(two);
        }
        let executor: Executor = EXECUTORS[piece.executor].parse().unwrap();
        let head = executor.place().queue(piece.queue);
        let (name, sends) = (format!("piece {at}"), piece.sends);
        let step = move |n: u32, out: &mut minigun::Output<u32>, again: &mut minigun::Output<u32>| {
            if sends {
                again.extend(found(n, at, of));
            }
            out.emit(n);
        };
        match piece.head {
            Head::ByKey if !matches!(executor, Executor::ProcessPerBatch(_)) => {
                flow.on(head.by_key(|n: &u32| n % 5), |s| s.processor_to(&name, again, step))
            }
            Head::Ordered => flow.on(head.ordered(), |s| s.processor_to(&name, again, step)),
            _ => flow.on(head, |s| s.processor_to(&name, again, step)),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("PROPTEST_CASES").is_none() { 24 } else { ProptestConfig::default().cases }, failure_persistence: None, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_loop_gives_what_one_thread_gives(
        pieces in prop::collection::vec(piece(), 1..5),
        seeds in 0u32..25,
    ) {
        let expected = model(seeds, &pieces);
        let got = within("a random loop", move || {
            let p = Pipeline::new("random loop");
            let out = p
                .source("in", 0..seeds)
                .feedback("loop", |flow, again| build(flow, &again, &pieces))
                .collect("out");
            sorted(p.run().unwrap().take(out))
        });
        prop_assert_eq!(got, expected);
    }
}
