//! The graph as plain data: stages, edges, and what is wrong with them. Nothing here runs.

mod cycles;
mod drawing;
mod mistake;
mod validate;

use crate::limits::{Kind, Limits, Warning};

pub use drawing::Drawing;
pub use mistake::Mistake;
pub(crate) use validate::problems;

/// A stage, numbered in the order in which the pipeline was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct StageId(pub(crate) u32);

/// A block: steps that travel to a worker as a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlockId(pub(crate) u32);

/// A place where consumers attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PointId(pub(crate) u32);

/// What a stage is, for errors, reports and drawings.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    /// The user gave the name, so it must be the only one of its block.
    pub(crate) named: bool,
    pub(crate) block: Option<BlockId>,
}

/// A block and the word that said where it runs.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) place: &'static str,
    pub(crate) kind: Kind,
    pub(crate) inside: Option<BlockId>,
    pub(crate) workers: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct PointInfo {
    /// The stages that send here.
    pub(crate) from: Vec<StageId>,
    /// Points whose items arrive here as well (`merge`, the outside of a block).
    pub(crate) through: Vec<PointId>,
    pub(crate) consumers: usize,
    /// The stages that take from here.
    pub(crate) to: Vec<StageId>,
    /// The name of the inlet, if it is one.
    pub(crate) inlet: Option<String>,
    /// It is the way back into a `feedback`.
    pub(crate) goes_back: bool,
}

/// The wiring of a pipeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) stages: Vec<Stage>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) points: Vec<PointInfo>,
    /// Mistakes seen while the pipeline was written.
    pub(crate) mistakes: Vec<Mistake>,
}

impl Graph {
    pub(crate) fn stage(&mut self, name: &str, kind: &'static str, block: Option<BlockId>) -> StageId {
        self.stages.push(Stage { name: name.to_string(), kind, named: true, block });
        StageId(self.stages.len() as u32 - 1)
    }

    /// A stage that the user did not name: called after its kind, with a number from the second on.
    pub(crate) fn unnamed(&mut self, kind: &'static str, block: Option<BlockId>) -> StageId {
        let before = self.stages.iter().filter(|stage| stage.kind == kind && !stage.named).count();
        let name = if before == 0 { kind.to_string() } else { format!("{kind} {}", before + 1) };
        self.stages.push(Stage { name, kind, named: false, block });
        StageId(self.stages.len() as u32 - 1)
    }

    pub(crate) fn block(
        &mut self,
        place: &'static str,
        (kind, workers): (Kind, usize),
        inside: Option<BlockId>,
    ) -> BlockId {
        self.blocks.push(Block { place, kind, workers, inside });
        BlockId(self.blocks.len() as u32 - 1)
    }

    /// Gives every block the workers it may have; one warning for each that asked for more.
    pub(crate) fn hold_to(&mut self, limits: &Limits) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for at in 0..self.blocks.len() {
            let name = self.block_name(BlockId(at as u32));
            let block = &mut self.blocks[at];
            let (asked, held_to) = (block.workers, limits.hold(block.kind, block.workers));
            if held_to < asked {
                block.workers = held_to;
                warnings.push(Warning::Held { block: name, place: block.place, asked, held_to });
            }
        }
        warnings
    }

    pub(crate) fn point(
        &mut self,
        from: Vec<StageId>,
        through: Vec<PointId>,
        inlet: Option<String>,
    ) -> PointId {
        let (consumers, to, goes_back) = (0, Vec::new(), false);
        self.points.push(PointInfo { from, through, consumers, to, inlet, goes_back });
        PointId(self.points.len() as u32 - 1)
    }

    pub(crate) fn name(&self, stage: StageId) -> &str {
        self.stages.get(stage.0 as usize).map_or("?", |stage| &stage.name)
    }

    /// Something takes what arrives at `point`: a stage, or a point further on.
    pub(crate) fn consume(&mut self, point: PointId, stage: Option<StageId>) {
        if let Some(info) = self.points.get_mut(point.0 as usize) {
            info.consumers += 1;
            info.to.extend(stage);
        }
    }

    /// A stage of a block that takes what arrives at `point`, but is none of the steps behind it.
    pub(crate) fn leads_to(&mut self, point: PointId, stage: StageId) {
        let unnamed = self.stages.get(stage.0 as usize).is_some_and(|stage| stage.kind == "pass");
        if let Some(info) = self.points.get_mut(point.0 as usize)
            && unnamed
        {
            info.to.push(stage);
        }
    }

    /// What arrives at `point` goes back to where it came from.
    pub(crate) fn goes_back_from(&mut self, point: PointId) {
        if let Some(info) = self.points.get_mut(point.0 as usize) {
            info.goes_back = true;
        }
    }

    /// A router sends to an inlet.
    pub(crate) fn send(&mut self, from: StageId, inlet: PointId) {
        if let Some(info) = self.points.get_mut(inlet.0 as usize) {
            info.from.push(from);
        }
    }

    /// The stages whose items arrive at a point, directly or through others.
    pub(crate) fn sources(&self, point: PointId) -> Vec<StageId> {
        let Some(info) = self.points.get(point.0 as usize) else { return Vec::new() };
        let mut from = info.from.clone();
        for through in &info.through {
            from.extend(self.sources(*through));
        }
        from.sort();
        from.dedup();
        from
    }

    /// What items come from at a point, as its names for a message: the inlet, or the stages before.
    pub(crate) fn names_before(&self, point: PointId) -> Vec<String> {
        match self.points.get(point.0 as usize).and_then(|info| info.inlet.clone()) {
            Some(inlet) => vec![inlet],
            None => self.sources(point).iter().map(|stage| self.name(*stage).to_string()).collect(),
        }
    }

    /// From which stage to which items go, by their numbers; each way once.
    #[cfg(feature = "hud")]
    pub(crate) fn edges(&self) -> Vec<(usize, usize)> {
        let mut edges = Vec::new();
        for (at, point) in self.points.iter().enumerate() {
            for from in self.sources(PointId(at as u32)) {
                edges.extend(point.to.iter().map(|to| (from.0 as usize, to.0 as usize)));
            }
        }
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// Where a block runs, from the outside in.
    pub(crate) fn place(&self, block: BlockId) -> String {
        let Some(info) = self.blocks.get(block.0 as usize) else { return String::new() };
        let place = match info.kind {
            Kind::Caller => info.place.to_string(),
            Kind::Threads | Kind::Processes => format!("{}:{}", info.place, info.workers),
        };
        match info.inside {
            Some(outer) => format!("{}/{place}", self.place(outer)),
            None => place,
        }
    }

    /// Whether a stage's block is, or stands in, the given one.
    fn stands_in(&self, mut of: Option<BlockId>, block: BlockId) -> bool {
        while let Some(id) = of {
            if id == block {
                return true;
            }
            of = self.blocks.get(id.0 as usize).and_then(|b| b.inside);
        }
        false
    }

    /// The first stage of a block, on which its books are kept. A block without steps of its own gets one for
    /// them: those of a block inside it have that block's figures.
    pub(crate) fn first_of(&mut self, block: BlockId) -> StageId {
        match self.stages.iter().position(|stage| stage.block == Some(block)) {
            Some(index) => StageId(index as u32),
            None => self.unnamed("pass", Some(block)),
        }
    }

    /// The names of the stages in a block.
    pub(crate) fn stages_of(&self, block: BlockId) -> Vec<String> {
        self.stages.iter().filter(|s| self.stands_in(s.block, block)).map(|s| s.name.clone()).collect()
    }

    /// The steps of a block, as a name for it.
    pub(crate) fn block_name(&self, block: BlockId) -> String {
        let names = self.stages_of(block);
        match names.as_slice() {
            [] => "(empty block)".to_string(),
            [one] => one.clone(),
            [first, .., last] if names.len() > 3 => format!("{first} … {last}"),
            few => few.join(" + "),
        }
    }
}
