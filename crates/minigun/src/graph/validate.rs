//! All mistakes in the wiring at once, before anything starts.

use std::collections::HashSet;

use super::{BlockId, Graph, Mistake, PointId};

/// Everything wrong with the graph; empty if it can run.
pub(crate) fn problems(graph: &Graph) -> Vec<Mistake> {
    let mut mistakes = graph.mistakes.clone();
    for (index, point) in graph.points.iter().enumerate() {
        let from = graph.sources(PointId(index as u32));
        match &point.inlet {
            Some(port) if from.is_empty() => mistakes.push(match point.goes_back {
                true => Mistake::NothingGoesRound { feedback: port.clone() },
                false => Mistake::UnusedPort { port: port.clone() },
            }),
            Some(port) if point.consumers == 0 => {
                mistakes.push(Mistake::Unconsumed { stages: vec![port.clone()] });
            }
            None if point.consumers == 0 => mistakes.push(Mistake::Unconsumed {
                stages: from.iter().map(|stage| graph.name(*stage).to_string()).collect(),
            }),
            _ => {}
        }
    }
    mistakes.extend(graph.circles());
    let mut seen = HashSet::new();
    let mut told = HashSet::new();
    for stage in graph.stages.iter().filter(|stage| stage.named) {
        if !seen.insert((stage.block, &stage.name)) && told.insert(&stage.name) {
            mistakes.push(Mistake::DuplicateName { name: stage.name.clone() });
        }
    }
    for (index, block) in graph.blocks.iter().enumerate() {
        if block.workers == 0 {
            mistakes.push(Mistake::NoWorkers { block: graph.block_name(BlockId(index as u32)) });
        }
    }
    mistakes
}
