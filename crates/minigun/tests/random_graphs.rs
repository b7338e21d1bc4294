//! Any graph gives what one thread would: random graphs of maps, filters, fan-outs, splits of every kind, merges, ports,
//! batches and loops over random executors, some of whose attempts fail and some of whose workers die, against a model of
//! plain vectors.
//!
//! A failure shrinks to a small graph, which is drawn. `PROPTEST_CASES` makes more than the few of a quick run.

mod common;

use std::num::NonZeroUsize;

use common::{sorted, within};
use minigun::scope::Scope;
use minigun::{Backoff, Config, Executor, Flow, Pipeline, Port, Segment};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// Where a part of the graph runs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Outside any block.
    Free,
    Block {
        executor: Executor,
        ordered: bool,
        mishaps: bool,
    },
}

/// How a flow is split. Which items take which branch may depend on time, so the branches are merged again.
#[derive(Clone, Copy, Debug)]
enum Split {
    Turns,
    Key(u64),
    Load,
    Partition,
}

/// One part of the graph, which takes open flows and leaves others. Flows are named by a number, modulo how many there
/// are.
#[derive(Clone, Debug)]
enum Part {
    Map(usize, u64, Place),
    Filter(usize, u64, Place),
    Expand(usize, u64, Place),
    /// Two flows that each get every item.
    Tee(usize),
    Merge(usize, usize),
    /// Each item to one of so many ports.
    Route(usize, u64, Place),
    /// Batches of this size, taken apart in a block.
    Batch(usize, usize, Place),
    BatchByKey(usize, usize, u64),
    Dedup(usize),
    /// One flow for each rest.
    Partition(usize, u64),
    /// Branches, each mapped in a place of its own, and merged again.
    Diamond(usize, Split, u64, Vec<Place>),
    /// Split inside a block: one branch leaves by its end, the others by a port, as a flow of its own.
    SplitInside(usize, u64, Place),
    /// As that, but which item takes which branch is not told: both ways are merged again.
    DiamondInside(usize, Split, u64, Place),
    /// Items of one key to one worker.
    Keyed(usize, u64, Executor),
    /// Some items go round, and become others: through a batch, too.
    Loop(usize, bool, Place),
}

/// The last of them cannot take items by key.
const EXECUTORS: [Executor; 6] = [
    Executor::Inline,
    Executor::Threads(1),
    Executor::Threads(3),
    Executor::Processes(1),
    Executor::Processes(2),
    Executor::ProcessPerBatch(2),
];

fn place() -> impl Strategy<Value = Place> {
    let block = (prop::sample::select(&EXECUTORS[..]), any::<bool>(), any::<bool>());
    prop_oneof![
        1 => Just(Place::Free),
        4 => block.prop_map(|(executor, ordered, mishaps)| {
            Place::Block { executor, ordered, mishaps }
        }),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let at = 0usize..8;
    prop_oneof![
        (at.clone(), 0u64..100, place()).prop_map(|(at, n, place)| Part::Map(at, n, place)),
        (at.clone(), 2u64..5, place()).prop_map(|(at, n, place)| Part::Filter(at, n, place)),
        (at.clone(), 1u64..4, place()).prop_map(|(at, n, place)| Part::Expand(at, n, place)),
        at.clone().prop_map(Part::Tee),
        (at.clone(), at.clone()).prop_map(|(a, b)| Part::Merge(a, b)),
        (at.clone(), 1u64..4, place()).prop_map(|(at, n, place)| Part::Route(at, n, place)),
        (at.clone(), 1usize..20, place()).prop_map(|(at, size, place)| Part::Batch(at, size, place)),
        (at.clone(), 1usize..9, 1u64..5).prop_map(|(at, size, keys)| Part::BatchByKey(at, size, keys)),
        at.clone().prop_map(Part::Dedup),
        (at.clone(), 1u64..4).prop_map(|(at, by)| Part::Partition(at, by)),
        (at.clone(), split(), 0u64..100, prop::collection::vec(place(), 1..4))
            .prop_map(|(at, split, n, places)| Part::Diamond(at, split, n, places)),
        (at.clone(), 2u64..5, place()).prop_map(|(at, by, place)| Part::SplitInside(at, by, place)),
        (at.clone(), split(), 0u64..100, place())
            .prop_map(|(at, split, n, place)| Part::DiamondInside(at, split, n, place)),
        (at.clone(), 1u64..9, prop::sample::select(&EXECUTORS[..5]))
            .prop_map(|(at, keys, executor)| Part::Keyed(at, keys, executor)),
        (at, any::<bool>(), place()).prop_map(|(at, batched, place)| Part::Loop(at, batched, place)),
    ]
}

fn split() -> impl Strategy<Value = Split> {
    prop_oneof![Just(Split::Turns), (1u64..9).prop_map(Split::Key), Just(Split::Load), Just(Split::Partition)]
}

/// The most items a flow has before it is not expanded or copied any more.
const MANY: usize = 300;

/// What each part does, told once: to flows, and to the vectors of the model.
trait Flows {
    fn count(&self) -> usize;
    fn apply(&mut self, number: usize, part: &Part);
}

/// The model: one thread and plain vectors.
struct Model(Vec<Vec<u64>>);

impl Flows for Model {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn apply(&mut self, _: usize, part: &Part) {
        let Model(flows) = self;
        match *part {
            Part::Map(at, add, _) => flows[at].iter_mut().for_each(|n| *n = mapped(*n, add)),
            Part::Filter(at, by, _) => flows[at].retain(|n| n % by != 0),
            Part::Expand(at, by, _) => flows[at] = flows[at].iter().flat_map(|n| expand(*n, by)).collect(),
            Part::Tee(at) => flows.push(flows[at].clone()),
            Part::Merge(a, b) => {
                let other = flows.remove(b);
                flows[if a > b { a - 1 } else { a }].extend(other);
            }
            Part::Route(at, ports, _) => {
                let items = flows.remove(at);
                let of = |port| items.iter().copied().filter(|n| n % ports == port).collect();
                flows.extend((0..ports).map(of));
            }
            Part::Batch(at, _, _) => flows[at].iter_mut().for_each(|n| *n += 1),
            Part::BatchByKey(..) => {}
            Part::Dedup(at) => {
                flows[at].sort_unstable();
                flows[at].dedup();
            }
            Part::Partition(at, by) => {
                let items = flows.remove(at);
                let of = |rest| items.iter().copied().filter(|n| n % by == rest).collect();
                flows.extend((0..by).map(of));
            }
            Part::Diamond(at, _, add, _) | Part::DiamondInside(at, _, add, _) => {
                flows[at].iter_mut().for_each(|n| *n = mapped(*n, add));
            }
            Part::SplitInside(at, by, _) => {
                let (stay, leave) = flows[at].iter().partition(|n| *n % by == 0);
                flows[at] = stay;
                flows.push(leave);
            }
            Part::Keyed(at, keys, _) => flows[at].iter_mut().for_each(|n| *n = mapped(*n, keys)),
            Part::Loop(at, ..) => {
                let mut waiting = std::mem::take(&mut flows[at]);
                while let Some(n) = waiting.pop() {
                    let found = found(n);
                    if found.is_empty() {
                        flows[at].push(n);
                    }
                    waiting.extend(found);
                }
            }
        }
    }
}

fn expand(n: u64, by: u64) -> impl Iterator<Item = u64> {
    (0..n % (by + 1)).map(move |copy| n.wrapping_add(copy))
}

fn mapped(n: u64, add: u64) -> u64 {
    n.wrapping_mul(3).wrapping_add(add)
}

/// What goes round for `n`; nothing: it leaves the loop.
fn found(n: u64) -> Vec<u64> {
    match n {
        0 => vec![],
        n if n % 3 == 0 => vec![n / 3],
        n if n % 7 == 6 => vec![n / 7, n / 9],
        _ => vec![],
    }
}

/// The same for real.
struct Real<'a>(&'a Pipeline, Vec<Flow<u64>>);

/// Runs a step in its place; some of its attempts fail at first, or kill their worker.
fn at(flow: Flow<u64>, place: Place, name: String, step: Step) -> Flow<u64> {
    match place {
        Place::Free => step.free(flow, &name),
        Place::Block { executor, ordered, mishaps } => {
            let kills = mishaps && executor.to_string().starts_with("process");
            let head = executor.place().max_restarts(100_000).retry(2, Backoff::none());
            let head = if ordered { head.ordered() } else { head };
            flow.on(head, move |s| {
                let s = s.try_map(&format!("{name}: mishaps"), move |n| match minigun::attempt() {
                    Some(at) if at.attempt == 1 && mishaps && n % 7 == 3 => Err("at first".into()),
                    Some(at) if at.attempt == 1 && kills && n % 31 == 5 => std::process::abort(),
                    _ => Ok(n),
                });
                step.inside(s, &name)
            })
        }
    }
}

/// A step that can stand in the program and in a block.
enum Step {
    Map(u64),
    Filter(u64),
    Expand(u64),
    /// Multiples stay, the others go to the port.
    Divide(u64, Port<u64>),
    /// All are mapped; one branch stays, the others go to the port.
    Deal(Split, u64, Port<u64>),
    Round(Port<u64>),
}

macro_rules! in_any_scope {
    ($($method:ident: $flow:ty),*) => {
        $(fn $method(self, flow: $flow, name: &str) -> $flow {
            match self {
                Step::Map(add) => flow.processor(name, move |n, out| out.emit(mapped(n, add))),
                Step::Filter(by) => flow.filter(name, move |n| n % by != 0),
                Step::Expand(by) => flow.flat_map(name, move |n| expand(n, by)),
                Step::Divide(by, port) => {
                    let (stay, leave) = flow.partition(name, move |n| n % by == 0);
                    leave.send_to(&port);
                    stay
                }
                Step::Deal(split, add, port) => {
                    let mut branches = deal(flow, split, 3, name);
                    let first = branches.remove(0);
                    for (at, branch) in branches.into_iter().enumerate() {
                        branch.map(&format!("{name}.{at}"), move |n| mapped(n, add)).send_to(&port);
                    }
                    first.map(&format!("{name}.first"), move |n| mapped(n, add))
                }
                Step::Round(port) => flow.processor_to(name, &port, |n, out, again| {
                    let found = found(n);
                    if found.is_empty() {
                        out.emit(n);
                    }
                    again.extend(found);
                }),
            }
        })*
    };
}

impl Step {
    in_any_scope!(free: Flow<u64>, inside: Segment<u64>);
}

/// In any scope; where the load cannot be told, in turn.
fn deal<S: Scope>(flow: Flow<u64, S>, split: Split, branches: usize, name: &str) -> Vec<Flow<u64, S>> {
    match split {
        Split::Turns | Split::Load if branches == 2 => flow.round_robin::<2>().into(),
        Split::Turns | Split::Load => flow.round_robin_n(branches),
        Split::Key(keys) if branches == 2 => flow.split_by_key::<2, _>(move |n| n % keys).into(),
        Split::Key(keys) => flow.split_by_key_n(branches, move |n| n % keys),
        Split::Partition if branches == 2 => <[_; 2]>::from(flow.partition(name, |n| n % 5 < 2)).into(),
        Split::Partition => flow.partition_by_n(name, branches, move |n| (n % branches as u64) as usize),
    }
}

impl Flows for Real<'_> {
    fn count(&self) -> usize {
        self.1.len()
    }

    fn apply(&mut self, number: usize, part: &Part) {
        let Real(p, flows) = self;
        let name = format!("{number}");
        match *part {
            Part::Map(at_, n, place) => change(flows, at_, |flow| at(flow, place, name, Step::Map(n))),
            Part::Filter(at_, n, place) => change(flows, at_, |flow| at(flow, place, name, Step::Filter(n))),
            Part::Expand(at_, n, place) => change(flows, at_, |flow| at(flow, place, name, Step::Expand(n))),
            Part::Tee(at) => flows.push(flows[at].clone()),
            Part::Merge(a, b) => {
                let other = flows.remove(b);
                change(flows, if a > b { a - 1 } else { a }, |flow| flow.merge(other));
            }
            Part::Route(at, count, place) => {
                let flow = flows.remove(at);
                let (ports, behind): (Vec<_>, Vec<_>) =
                    (0..count).map(|port| p.inlet(&format!("{number}.{port}"))).unzip();
                flows.extend(behind);
                let route =
                    move |n: u64, ports: &mut Vec<minigun::Output<u64>>| ports[(n % count) as usize].emit(n);
                match place {
                    Place::Free => flow.router(&name, ports, route),
                    Place::Block { executor, ordered: true, .. } => {
                        flow.on(executor.place().ordered(), |s| s.router(&name, ports, route))
                    }
                    Place::Block { executor, .. } => flow.on(executor, |s| s.router(&name, ports, route)),
                };
            }
            Part::Batch(at, size, Place::Free) => {
                change(flows, at, |flow| flow.batch(size).unbatch().map(&name, |n| n + 1));
            }
            Part::Batch(at, size, Place::Block { executor, ordered, .. }) => {
                let head = if ordered { executor.place().ordered() } else { executor.place() };
                change(flows, at, |flow| flow.batch(size).on(head, |s| s.unbatch().map(&name, |n| n + 1)));
            }
            Part::BatchByKey(at, size, keys) => {
                let batches = minigun::Batches::of(size).by_key(2, move |n: &u64| n % keys);
                change(flows, at, |flow| flow.batch_by(batches).rebatch(5).unbatch());
            }
            Part::Dedup(at) => change(flows, at, |flow| flow.dedup_by(|n| *n)),
            Part::Partition(at, by) => {
                let flow = flows.remove(at);
                flows.extend(flow.partition_by_n(&name, by as usize, move |n| (n % by) as usize));
            }
            Part::Diamond(at_, split, n, ref places) => change(flows, at_, |flow| {
                let branches = match (split, places.len()) {
                    (Split::Load, 2) => flow.least_loaded::<2>().into(),
                    (Split::Load, count) => flow.least_loaded_n(count),
                    (split, count) => deal(flow, split, count, &name),
                };
                let mut branches =
                    branches.into_iter().zip(places).enumerate().map(|(branch, (flow, place))| {
                        at(flow, *place, format!("{name}.{branch}"), Step::Map(n))
                    });
                let Some(first) = branches.next() else { unreachable!("a split has branches") };
                first.merge(branches.collect::<Vec<_>>())
            }),
            Part::SplitInside(at_, by, place) => {
                let (port, behind) = p.inlet(&format!("{number}: others"));
                change(flows, at_, |flow| at(flow, place, name, Step::Divide(by, port)));
                flows.push(behind);
            }
            Part::DiamondInside(at_, split, n, place) => {
                let (port, behind) = p.inlet(&format!("{number}: others"));
                change(flows, at_, |flow| at(flow, place, name, Step::Deal(split, n, port)).merge(behind));
            }
            Part::Keyed(at, keys, executor) => change(flows, at, |flow| {
                let head = executor.place().by_key(move |n: &u64| n % keys);
                flow.on(head, |s| s.map(&name, move |n| mapped(n, keys)))
            }),
            Part::Loop(at_, batched, place) => change(flows, at_, |flow| {
                flow.feedback(&format!("{number}: loop"), |flow, again| {
                    let flow = if batched { flow.batch(3).unbatch() } else { flow };
                    at(flow, place, name, Step::Round(again))
                })
            }),
        }
    }
}

fn change(flows: &mut Vec<Flow<u64>>, at: usize, f: impl FnOnce(Flow<u64>) -> Flow<u64>) {
    let flow = flows.remove(at);
    flows.insert(at, f(flow));
}

impl Part {
    /// The same part for as many flows as there are; `None` if it would be too much, or has no sense.
    fn fitted(&self, model: &Model) -> Option<Part> {
        let (mut part, count) = (self.clone(), model.count());
        let at = match &mut part {
            Part::Merge(a, b) => {
                (*a, *b) = (*a % count, *b % count);
                return (a != b).then_some(part);
            }
            Part::Map(at, ..)
            | Part::Filter(at, ..)
            | Part::Expand(at, ..)
            | Part::Tee(at)
            | Part::Route(at, ..)
            | Part::Batch(at, ..)
            | Part::BatchByKey(at, ..)
            | Part::Dedup(at)
            | Part::Partition(at, ..)
            | Part::Diamond(at, ..)
            | Part::SplitInside(at, ..)
            | Part::DiamondInside(at, ..)
            | Part::Keyed(at, ..)
            | Part::Loop(at, ..) => at,
        };
        *at %= count;
        let grows = matches!(self, Part::Tee(_) | Part::Expand(..) | Part::Loop(..));
        (!grows || model.0[*at].len() < MANY).then_some(part)
    }
}

/// Where `queue`, no queue holds more items than that.
fn agrees(sources: &[u64], queue: Option<usize>, parts: &[Part]) -> Result<(), TestCaseError> {
    let mut model = Model(sources.iter().map(|items| (0..*items).collect()).collect());
    let mut config = Config::default();
    config.queue = queue.and_then(NonZeroUsize::new);
    let p = Pipeline::configured("random", config);
    let flows =
        sources.iter().enumerate().map(|(at, items)| p.source(&format!("source {at}"), 0..*items)).collect();
    let mut real = Real(&p, flows);
    for (number, part) in parts.iter().enumerate() {
        if let Some(part) = part.fitted(&model) {
            model.apply(number, &part);
            real.apply(number, &part);
        }
    }
    prop_assert_eq!(model.count(), real.count());
    let Real(_, flows) = real;
    let ends = flows.into_iter().enumerate().map(|(at, flow)| flow.collect(&format!("end {at}")));
    let ends: Vec<_> = ends.collect();
    let drawing = p.drawing();
    let mut report = p.run().map_err(|error| TestCaseError::fail(format!("{error}\n{drawing}")))?;
    for (end, expected) in ends.into_iter().zip(model.0) {
        prop_assert_eq!(sorted(report.take(end)), sorted(expected), "{}", drawing);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("PROPTEST_CASES").is_none() { 64 } else { ProptestConfig::default().cases },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_graph_gives_what_one_thread_would(
        sources in prop::collection::vec(0u64..120, 1..4),
        queue in prop::option::of(1usize..4),
        parts in prop::collection::vec(part(), 1..12),
    ) {
        within("a random graph", move || agrees(&sources, queue, &parts))?;
    }
}
