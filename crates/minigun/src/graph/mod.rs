//! The graph as plain data: stages, edges, and what is wrong with them. Nothing here runs.

mod cycles;
mod drawing;
mod validate;

use std::fmt;

use crate::limits::{Kind, Limits, Warning};

pub use drawing::Drawing;
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

/// One mistake in the wiring, with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mistake {
    /// A flow that nothing consumes.
    Unconsumed {
        /// The stages whose items would be lost.
        stages: Vec<String>,
    },
    /// A port to which no router sends.
    UnusedPort {
        /// The inlet's name.
        port: String,
    },
    /// Two stages of one block share a name.
    DuplicateName {
        /// The shared name.
        name: String,
    },
    /// A block without workers.
    NoWorkers {
        /// The block's steps.
        block: String,
    },
    /// A flow or port of another pipeline was used.
    OtherPipeline {
        /// Where it was used.
        stage: String,
    },
    /// The flow that a block's closure returned was not made in that block.
    NotOfThisBlock {
        /// The block's steps.
        block: String,
    },
    /// A batch of no items.
    EmptyBatch {
        /// The batch stage.
        stage: String,
    },
    /// Stages that send to each other in a circle, past any `feedback`: it would never end.
    Circle {
        /// The stages in it.
        stages: Vec<String>,
    },
    /// A split into no branches.
    NoBranches {
        /// The stage that splits.
        stage: String,
    },
    /// A setting that only worker processes can enforce, on a block that has none.
    NeedsProcess {
        /// The block's steps.
        block: String,
        /// The setting.
        setting: &'static str,
    },
    /// `by_key` on a block whose workers serve one item each.
    FreshWorkers {
        /// The block's steps.
        block: String,
    },
    /// `by_key` and `ordered` on one block.
    OrderedByKey {
        /// The block's steps.
        block: String,
    },
    /// `skip_on_failure` does not stand right behind a source.
    NoSource,
    /// A variable of the environment that cannot be understood.
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A place is configured for a block that the program does not have.
    UnknownPlace {
        /// The name in the configuration.
        name: String,
        /// The names for which the program asks.
        known: Vec<String>,
    },
    /// A rate at which nothing could ever pass.
    Rate {
        /// The stage, or the block's steps.
        stage: String,
    },
    /// An error rate of `dedup_by_approx` that is none.
    ErrorRate {
        /// What was given.
        error: String,
    },
    /// `before` or `after` does not stand right behind a stage.
    NoStage {
        /// Which of the two.
        hook: &'static str,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Unconsumed { stages } => write!(
                f,
                "nothing consumes what comes out of {}: end the flow with `consumer`, `collect`, `fold`, \
                 `router` or `discard`",
                quoted(stages).join(" and ")
            ),
            Mistake::UnusedPort { port } => write!(
                f,
                "no router or policy sends to the port `{port}`: name it in a `router`, `processor_to` or \
                 `send_to`, or remove the inlet"
            ),
            Mistake::DuplicateName { name } => {
                write!(f, "two stages are called `{name}`: give each its own name")
            }
            Mistake::NoWorkers { block } => {
                write!(f, "the block of `{block}` has 0 workers: give it at least 1")
            }
            Mistake::OtherPipeline { stage } => write!(
                f,
                "`{stage}` is joined to a flow or port of another pipeline: make both from one `Pipeline`"
            ),
            Mistake::NotOfThisBlock { block } => write!(
                f,
                "the closure of the block of `{block}` returns a flow that was made elsewhere: return the last \
                 flow made from its argument"
            ),
            Mistake::EmptyBatch { stage } => {
                write!(f, "`{stage}` makes batches of 0 items: give it at least 1")
            }
            Mistake::Circle { stages } => write!(
                f,
                "{} would never end, for what {} sent comes back: make the loop with `feedback`, and send to its port",
                stages.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(" and "),
                if stages.len() == 1 { "it" } else { "they" }
            ),
            Mistake::NoBranches { stage } => {
                write!(f, "`{stage}` splits its flow into 0 branches: give it at least 1")
            }
            Mistake::NeedsProcess { block, setting } => write!(
                f,
                "`{setting}` on the block of `{block}` needs worker processes: place it in `processes:n` or \
                 `process_per_batch:n`, or remove the setting"
            ),
            Mistake::FreshWorkers { block } => write!(
                f,
                "`by_key` on the block of `{block}`: each of its workers serves one item only, whatever its key; place \
                 it in `threads:n` or `processes:n`, or remove `by_key`"
            ),
            Mistake::OrderedByKey { block } => write!(
                f,
                "`by_key` and `ordered` on the block of `{block}`: each of its workers has a queue of its own, between which \
                 there is no order; remove one of them (by key alone, each worker takes its items in order)"
            ),
            Mistake::NoSource => f.write_str(
                "`skip_on_failure` does not stand right behind a source: write it after `producer`, `source` or \
                 `lines`; for a block put `skip` on its head",
            ),
            Mistake::Variable { name, why } => write!(f, "the environment variable `{name}`: {why}"),
            Mistake::UnknownPlace { name, known } => {
                write!(f, "a place is configured for `{name}`, for which the program does not ask: ")?;
                match known.is_empty() {
                    true => f.write_str(
                        "it asks for none; call `Pipeline::executor` where a block's place is open",
                    ),
                    false => write!(f, "known are {}", quoted(known).join(", ")),
                }
            }
            Mistake::Rate { stage } => write!(
                f,
                "`{stage}` has a rate at which nothing could pass: give it more than 0 items a second, and a burst of \
                 at least 1"
            ),
            Mistake::ErrorRate { error } => write!(
                f,
                "`dedup_by_approx` has an error rate of {error}: give it one above 0 and below 1, or use `dedup_by`"
            ),
            Mistake::NoStage { hook } => {
                write!(f, "`{hook}` does not stand right behind a stage: write it after the step it is for")
            }
        }
    }
}

fn quoted(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("`{name}`")).collect()
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
