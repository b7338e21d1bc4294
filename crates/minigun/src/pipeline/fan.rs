//! Fan-in and fan-out of whole flows.

use std::sync::Arc;

use super::flow::Flow;
use crate::graph::Mistake;
use crate::plan::Spot;

/// Joins flows of one type: their items arrive in one flow, in no particular order.
///
/// # Panics
/// Never: `N` is at least 1, or the call does not compile.
pub fn merge<T: Send + 'static, const N: usize>(flows: [Flow<T>; N]) -> Flow<T> {
    const { assert!(N > 0, "merge needs at least one flow") };
    merge_all(flows.into_iter().collect())
}

/// Joins at least one flow.
pub(crate) fn merge_all<T: Send + 'static>(mut flows: Vec<Flow<T>>) -> Flow<T> {
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

impl<T: Clone + Send + 'static> Flow<T> {
    /// Two flows that each get every item.
    pub fn tee(self) -> (Flow<T>, Flow<T>) {
        (self.clone(), self)
    }

    /// `N` flows that each get every item.
    pub fn broadcast<const N: usize>(self) -> [Flow<T>; N] {
        std::array::from_fn(|_| self.clone())
    }
}
