//! Circles in the wiring: which there are, and which of them may be (those through a `feedback`).
//!
//! Stages that reach each other are one component of the graph. With the way back into every `feedback` cut there must
//! be none but single ones. With it, the components that hold a `feedback` are the loops: what is in a loop ends together.

use std::collections::BTreeMap;

use super::{Graph, Mistake, PointId, StageId};

/// The loops of a graph: for every point in one, which.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    of: BTreeMap<u32, usize>,
    /// How many there are.
    pub(crate) count: usize,
}

impl Loops {
    /// The loop in which this point is.
    pub(crate) fn of(&self, point: PointId) -> Option<usize> {
        self.of.get(&point.0).copied()
    }
}

impl Graph {
    /// The loops made by `feedback`. Those through each other are one.
    pub(crate) fn loops(&self) -> Loops {
        let component = components(&self.arrows(true));
        let (mut loops, mut numbers) = (Loops::default(), BTreeMap::new());
        for (head, info) in self.points.iter().enumerate() {
            if info.through.iter().any(|through| self.goes_back(*through)) {
                let next = numbers.len();
                numbers.entry(component[head]).or_insert(next);
            }
        }
        for (point, of) in component.iter().take(self.points.len()).enumerate() {
            if let Some(number) = numbers.get(of) {
                loops.of.insert(point as u32, *number);
            }
        }
        loops.count = numbers.len();
        loops
    }

    /// A mistake for every circle that does not go through a `feedback`.
    pub(super) fn circles(&self) -> Vec<Mistake> {
        let component = components(&self.arrows(false));
        let mut stages: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let mut points = BTreeMap::<usize, usize>::new();
        for (node, of) in component.iter().enumerate() {
            match node.checked_sub(self.points.len()) {
                Some(stage) => {
                    stages.entry(*of).or_default().push(self.name(StageId(stage as u32)).to_string());
                }
                None => *points.entry(*of).or_default() += 1,
            }
        }
        // No stage stands in a component with a point unless it sends, by some way, to itself.
        let circles = stages.into_iter().filter(|(of, _)| points.contains_key(of));
        circles.map(|(_, stages)| Mistake::Circle { stages }).collect()
    }

    fn goes_back(&self, point: PointId) -> bool {
        self.points.get(point.0 as usize).is_some_and(|info| info.goes_back)
    }

    /// Which node leads to which: first the points, then the stages.
    fn arrows(&self, with_feedback: bool) -> Vec<Vec<usize>> {
        let mut edges = vec![Vec::new(); self.points.len() + self.stages.len()];
        let stage = |stage: StageId| self.points.len() + stage.0 as usize;
        for (at, info) in self.points.iter().enumerate() {
            edges[at].extend(info.to.iter().map(|to| stage(*to)));
            for from in &info.from {
                edges[stage(*from)].push(at);
            }
            for through in info.through.iter().filter(|point| with_feedback || !self.goes_back(**point)) {
                edges[through.0 as usize].push(at);
            }
        }
        edges
    }
}

/// The strongly connected component of every node, by a number: Kosaraju's two walks, without recursion.
fn components(edges: &[Vec<usize>]) -> Vec<usize> {
    let mut back = vec![Vec::new(); edges.len()];
    for (from, to) in edges.iter().enumerate() {
        to.iter().for_each(|to| back[*to].push(from));
    }
    let (mut seen, mut left) = (vec![false; edges.len()], Vec::with_capacity(edges.len()));
    for start in 0..edges.len() {
        walk(edges, start, &mut seen, |node| left.push(node));
    }
    let (mut seen, mut component) = (vec![false; edges.len()], vec![0; edges.len()]);
    for start in left.into_iter().rev() {
        walk(&back, start, &mut seen, |node| component[node] = start);
    }
    component
}

/// Visits what is reached from `start` and was not seen; `leave` is told of each node when all behind it is done.
fn walk(edges: &[Vec<usize>], start: usize, seen: &mut [bool], mut leave: impl FnMut(usize)) {
    let mut path = Vec::new();
    if !std::mem::replace(&mut seen[start], true) {
        path.push((start, 0));
    }
    while let Some((node, next)) = path.last_mut() {
        match edges[*node].get(*next) {
            Some(to) => {
                *next += 1;
                if !std::mem::replace(&mut seen[*to], true) {
                    path.push((*to, 0));
                }
            }
            None => {
                leave(*node);
                path.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The model asks of every two nodes whether each reaches the other.
        #[test]
        fn two_nodes_are_one_component_if_each_reaches_the_other(
            pairs in prop::collection::vec((0usize..12, 0usize..12), 0..40)
        ) {
            let mut edges = vec![Vec::new(); 12];
            pairs.iter().for_each(|(from, to)| edges[*from].push(*to));
            let reaches = |from: usize| {
                let mut seen = vec![false; 12];
                walk(&edges, from, &mut seen, |_| ());
                seen
            };
            let reach: Vec<_> = (0..12).map(reaches).collect();
            let component = components(&edges);
            for a in 0..12 {
                for b in 0..12 {
                    prop_assert_eq!(component[a] == component[b], reach[a][b] && reach[b][a]);
                }
            }
        }
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let edges: Vec<_> = (0..200_000).map(|n| vec![(n + 1) % 200_000]).collect();
        assert!(components(&edges).windows(2).all(|two| two[0] == two[1]));
    }
}
