//! Fan-in and fan-out of whole flows, and flows that end in a port.

use std::sync::Arc;

use super::flow::{Done, Flow};
use super::home::At;
use super::port::{Port, Ported, Ports};
use super::scope::{Crosses, Joins, Program, Scope};
use crate::graph::Mistake;
use crate::plan::Spot;
use crate::stage::output::Output;

/// Joins flows of one type: their items arrive in one flow, in no particular order. Not inside a block, where branches end
/// in ports instead.
///
/// # Panics
/// Never: `N` is at least 1, or the call does not compile.
pub fn merge<T: Send + 'static, S: Joins, const N: usize>(flows: [Flow<T, S>; N]) -> Flow<T, S> {
    const { assert!(N > 0, "merge needs at least one flow") };
    merge_all(flows.into_iter().collect())
}

/// Joins at least one flow.
fn merge_all<T: Send + 'static, S: Joins>(mut flows: Vec<Flow<T, S>>) -> Flow<T, S> {
    let rest = flows.split_off(1);
    let first = match flows.pop() {
        Some(first) if rest.is_empty() => return first,
        Some(first) => first,
        // `split_off(1)` would have panicked: callers pass at least one.
        None => unreachable!("a merge of no flows"),
    };
    let home = Arc::clone(&first.home);
    let mut through = Vec::new();
    let mut joined = Vec::new();
    for flow in std::iter::once(first).chain(rest) {
        if Arc::ptr_eq(&flow.home, &home) {
            through.push(flow.spot.id);
            joined.push(flow);
        } else {
            let stage = flow.home.graph(|graph| {
                let from = graph.sources(flow.spot.id);
                from.first().map_or("merge".to_string(), |stage| graph.name(*stage).to_string())
            });
            home.graph(|graph| graph.mistakes.push(Mistake::OtherPipeline { stage }));
        }
    }
    let spot = home.graph(|graph| {
        for point in &through {
            graph.consume(*point, None);
        }
        Spot::new(graph, Vec::new(), through, None)
    });
    for flow in joined {
        flow.spot.point.attach(spot.make());
    }
    Flow::at(&home, spot, None)
}

impl<T: Clone + Send + 'static, S: Scope> Flow<T, S> {
    /// Two flows that each get every item: one the item itself, the other a clone.
    pub fn tee(self) -> (Self, Self) {
        (self.clone(), self)
    }

    /// `N` flows that each get every item: each a clone of its own, so that what one branch does to it no other sees.
    pub fn broadcast<const N: usize>(self) -> [Self; N] {
        const { assert!(N > 0, "a split needs at least one branch") };
        std::array::from_fn(|_| self.clone())
    }

    /// As [`broadcast`](Self::broadcast), with `branches` branches (at least 1).
    pub fn broadcast_n(self, branches: usize) -> Vec<Self> {
        if branches == 0 {
            self.home.graph(|graph| {
                let from = graph.sources(self.spot.id);
                let stage = from.first().map_or("broadcast", |stage| graph.name(*stage)).to_string();
                graph.mistakes.push(Mistake::NoBranches { stage });
            });
            let _ended = self.ended();
            return Vec::new();
        }
        (0..branches).map(|_| self.clone()).collect()
    }
}

impl<T: Send + 'static, S: Scope> Flow<T, S>
where
    T: Crosses<S>,
{
    /// Ends the flow: everything goes to a port.
    pub fn send_to(self, port: &Port<T>) -> Done {
        let stage = self.home.graph(|graph| graph.unnamed("send_to", self.block_id()));
        let name = self.home.graph(|graph| graph.name(stage).to_string());
        let open = Ports::<S>::bind(
            port,
            &At { home: &self.home, block: self.block.as_ref(), stage, producer: false },
        );
        let f = Arc::new(|item, _: &mut Output<()>, port: &mut Output<T>| {
            port.emit(item);
            Ok(())
        });
        self.step_at::<(), _>(stage, &name, move |cx| Ok(Ported { f: Arc::clone(&f), ports: open(cx)? }))
            .discard()
    }
}

impl<T: Send + 'static, S: Scope> Flow<T, S> {
    /// Joins flows: their items arrive in one flow, in no particular order. Not inside a block, where branches end in
    /// ports ([`send_to`](Self::send_to)) instead.
    pub fn merge(self, others: impl Flows<T, S>) -> Flow<T, S>
    where
        S: Joins,
    {
        let mut flows = vec![self];
        flows.extend(others.into_flows());
        merge_all(flows)
    }
}

/// One flow or several of one type.
pub trait Flows<T, S = Program> {
    #[doc(hidden)]
    fn into_flows(self) -> Vec<Flow<T, S>>;
}
impl<T, S> Flows<T, S> for Flow<T, S> {
    fn into_flows(self) -> Vec<Flow<T, S>> {
        vec![self]
    }
}
impl<T, S, const N: usize> Flows<T, S> for [Flow<T, S>; N] {
    fn into_flows(self) -> Vec<Flow<T, S>> {
        self.into_iter().collect()
    }
}
impl<T, S> Flows<T, S> for Vec<Flow<T, S>> {
    fn into_flows(self) -> Vec<Flow<T, S>> {
        self
    }
}
