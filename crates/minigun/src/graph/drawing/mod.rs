//! Drawings of a pipeline, from its graph as plain data: boxes and arrows on a terminal, Mermaid, Graphviz DOT.
//!
//! `formats` writes Mermaid and DOT, which find places for the boxes themselves; for a terminal `layout` does that and
//! `text` draws.

mod formats;
mod layout;
mod text;

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use super::{BlockId, Graph, PointId, StageId};
use crate::limits::Kind;

/// A drawing of a pipeline: its stages, where they run with how many workers, and the way items take. `Display` draws
/// boxes and arrows for a terminal.
///
/// ```
/// # use minigun::Pipeline;
/// let p = Pipeline::new("squares");
/// let _sum = p.source("numbers", 0..10u64).threads(4, |s| s.map("square", |n| n * n)).fold("sum", 0, |sum, n| sum + n);
/// println!("{}", p.drawing());
/// ```
#[derive(Clone, Debug)]
pub struct Drawing {
    name: String,
    nodes: Vec<Node>,
    blocks: Vec<Group>,
    edges: Vec<Edge>,
}

/// A stage.
#[derive(Clone, Debug)]
struct Node {
    name: String,
    kind: &'static str,
    /// Where it runs, from the outside in; empty outside any block.
    place: String,
    block: Option<usize>,
}

/// A block, drawn as a frame where the format has frames.
#[derive(Clone, Debug)]
struct Group {
    label: String,
    inside: Option<usize>,
}

/// Items go from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: usize,
    to: usize,
    /// The name of the port they go through.
    port: Option<String>,
}

impl Drawing {
    pub(crate) fn new(name: &str, graph: &Graph) -> Self {
        let edges = edges(graph);
        let joined: HashSet<u32> = edges.iter().flat_map(|(from, to, _)| [from.0, to.0]).collect();
        // A block without steps of its own has its books on a stage that nobody wrote.
        let drawn: Vec<u32> = (0u32..)
            .zip(&graph.stages)
            .filter(|(id, stage)| stage.kind != "pass" || joined.contains(id))
            .map(|(id, _)| id)
            .collect();
        let index = |stage: StageId| drawn.binary_search(&stage.0).ok();
        let nodes = drawn.iter().filter_map(|id| graph.stages.get(*id as usize)).map(|stage| Node {
            name: stage.name.clone(),
            kind: stage.kind,
            place: stage.block.map_or(String::new(), |block| graph.place(block)),
            block: stage.block.map(|BlockId(id)| id as usize),
        });
        let blocks = graph.blocks.iter().map(|block| Group {
            label: match block.kind {
                Kind::Caller => block.place.to_string(),
                Kind::Threads | Kind::Processes => format!("{}:{}", block.place, block.workers),
            },
            inside: block.inside.map(|BlockId(id)| id as usize),
        });
        let edges = edges.iter().filter_map(|(from, to, port)| {
            Some(Edge { from: index(*from)?, to: index(*to)?, port: port.clone() })
        });
        Drawing {
            name: name.to_string(),
            nodes: nodes.collect(),
            blocks: blocks.collect(),
            edges: edges.collect(),
        }
    }
}

impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        text::draw(self, f)
    }
}

/// Which stage's items arrive at which other, each way once, with the port they go through.
fn edges(graph: &Graph) -> BTreeSet<(StageId, StageId, Option<String>)> {
    let mut edges = BTreeSet::new();
    for (index, point) in graph.points.iter().enumerate().filter(|(_, point)| !point.to.is_empty()) {
        let mut sources = Vec::new();
        collect_sources(graph, PointId(index as u32), None, &mut HashSet::new(), &mut sources);
        for (from, port) in sources {
            edges.extend(point.to.iter().map(|to| (from, *to, port.clone())));
        }
    }
    edges
}

/// The stages whose items arrive at a point, and the last port on their way.
fn collect_sources(
    graph: &Graph,
    point: PointId,
    port: Option<&String>,
    seen: &mut HashSet<u32>,
    into: &mut Vec<(StageId, Option<String>)>,
) {
    let Some(info) = graph.points.get(point.0 as usize).filter(|_| seen.insert(point.0)) else { return };
    let port = port.or(info.inlet.as_ref());
    into.extend(info.from.iter().map(|from| (*from, port.cloned())));
    for through in &info.through {
        collect_sources(graph, *through, port, seen, into);
    }
}
