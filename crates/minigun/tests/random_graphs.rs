//! Any graph gives what one thread would: random graphs of maps, filters, fan-outs, merges, ports and batches over
//! random executors, some of whose attempts fail and some of whose workers die, against a model of plain vectors.
//!
//! A failure shrinks to a small graph, which is drawn. `PROPTEST_CASES` makes more than the few of a quick run.

mod common;

use common::{sorted, within};
use minigun::{Backoff, Executor, Flow, Pipeline, Segment};
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
}

fn place() -> impl Strategy<Value = Place> {
    let executor = prop_oneof![
        Just(Executor::Inline),
        Just(Executor::Threads(1)),
        Just(Executor::Threads(3)),
        Just(Executor::Processes(1)),
        Just(Executor::Processes(2)),
        Just(Executor::ProcessPerBatch(2)),
    ];
    let block = (executor, any::<bool>(), any::<bool>());
    prop_oneof![
        1 => Just(Place::Free),
        4 => block.prop_map(|(executor, ordered, mishaps)| Place::Block { executor, ordered, mishaps }),
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
        at.prop_map(Part::Dedup),
    ]
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
            Part::Map(at, add, _) => flows[at].iter_mut().for_each(|n| *n = n.wrapping_mul(3) + add),
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
        }
    }
}

fn expand(n: u64, by: u64) -> impl Iterator<Item = u64> {
    (0..n % (by + 1)).map(move |copy| n.wrapping_add(copy))
}

/// The same for real.
struct Real<'a>(&'a Pipeline, Vec<Flow<u64>>);

/// Runs a step in its place; some of its attempts fail at first, or kill their worker.
fn at(flow: Flow<u64>, place: Place, name: String, step: impl Steps) -> Flow<u64> {
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
trait Steps: Copy {
    fn free(self, flow: Flow<u64>, name: &str) -> Flow<u64>;
    fn inside(self, flow: Segment<u64>, name: &str) -> Segment<u64>;
}

#[derive(Clone, Copy)]
enum Step {
    Map(u64),
    Filter(u64),
    Expand(u64),
}

macro_rules! in_any_scope {
    ($($method:ident: $flow:ty),*) => {
        $(fn $method(self, flow: $flow, name: &str) -> $flow {
            match self {
                Step::Map(add) => flow.processor(name, move |n, out| out.emit(n.wrapping_mul(3) + add)),
                Step::Filter(by) => flow.filter(name, move |n| n % by != 0),
                Step::Expand(by) => flow.flat_map(name, move |n| expand(n, by)),
            }
        })*
    };
}

impl Steps for Step {
    in_any_scope!(free: Flow<u64>, inside: Segment<u64>);
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
            | Part::Dedup(at) => at,
        };
        *at %= count;
        let grows = matches!(self, Part::Tee(_) | Part::Expand(..));
        (!grows || model.0[*at].len() < MANY).then_some(part)
    }
}

fn agrees(sources: &[u64], parts: &[Part]) -> Result<(), TestCaseError> {
    let mut model = Model(sources.iter().map(|items| (0..*items).collect()).collect());
    let p = Pipeline::new("random");
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
        parts in prop::collection::vec(part(), 1..12),
    ) {
        within("a random graph", move || agrees(&sources, &parts))?;
    }
}
