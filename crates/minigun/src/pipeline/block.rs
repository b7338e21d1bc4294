//! Blocks: steps that run elsewhere, as a unit.

use std::sync::Arc;

use crate::sync::Mutex;

use super::flow::{Done, Flow};
use super::home::Home;
use super::place::{self, Block, Head, Inline, PerBatch, Processes, Runs, Threads};
use super::scope::{Crosses, Program, Scope, Thread, Worker};
use crate::exec;
use crate::failure::Last;
use crate::graph::Mistake;
use crate::plan::{BlockDef, Executor, Placed, Spot};
use crate::wire::Wire;

/// What the closure of a block may return: a segment (the block is a flow) or [`Done`] (the block ends it).
#[diagnostic::on_unimplemented(message = "a block returns its last segment or `Done`, not `{Self}`")]
pub trait Tail<I, S = Program> {
    /// What the block becomes outside.
    type Outer;
    #[doc(hidden)]
    fn outer(self, inside: &Arc<BlockDef>, home: &Arc<Home>) -> Self::Outer;
}

impl<U: Crosses<I> + Send + 'static, I: Scope> Tail<I, Program> for Flow<U, I> {
    type Outer = Flow<U>;
    fn outer(self, inside: &Arc<BlockDef>, home: &Arc<Home>) -> Flow<U> {
        leave(self, inside, home, U::wire())
    }
}

impl<U: Send + 'static> Tail<Worker, Worker> for Flow<U, Worker> {
    type Outer = Self;
    fn outer(self, inside: &Arc<BlockDef>, home: &Arc<Home>) -> Self {
        leave(self, inside, home, None)
    }
}

impl<U: Send + 'static> Tail<Thread, Thread> for Flow<U, Thread> {
    type Outer = Self;
    fn outer(self, inside: &Arc<BlockDef>, home: &Arc<Home>) -> Self {
        leave(self, inside, home, None)
    }
}

impl<I, S> Tail<I, S> for Done {
    type Outer = Done;
    fn outer(self, _: &Arc<BlockDef>, _: &Arc<Home>) -> Done {
        self
    }
}

/// The end of a block's last segment becomes a flow outside.
fn leave<U: Send + 'static, I: Scope, S: Scope>(
    segment: Flow<U, I>,
    inside: &Arc<BlockDef>,
    home: &Arc<Home>,
    wire: Option<crate::wire::WireFns<U>>,
) -> Flow<U, S> {
    let ours = segment.block.as_ref().is_some_and(|block| Arc::ptr_eq(block, inside));
    let spot = home.graph(|graph| {
        if ours {
            graph.consume(segment.spot.id, None);
        } else {
            let block = graph.block_name(inside.id);
            graph.mistakes.push(Mistake::NotOfThisBlock { block });
        }
        Spot::new(graph, Vec::new(), vec![segment.spot.id], None)
    });
    if ours {
        segment.spot.point.attach(inside.exit(spot.make(), wire));
    }
    Flow::at(home, spot, inside.outer.clone())
}

impl<T: Send + 'static, S: Scope> Flow<T, S> {
    /// Runs the steps that `f` writes where `place` says, under its policies.
    pub fn on<P: Runs<T, S>, R: Tail<P::Scope, S>>(
        self,
        place: P,
        f: impl FnOnce(Flow<T, P::Scope>) -> R,
    ) -> R::Outer {
        let Head { placement, post } = place.head();
        let mut placement = placement;
        let executor = placement.executor;
        self.home.config.fill(executor, &mut placement.settings, &mut placement.policy);
        let (policy, settings) = (placement.policy, placement.settings);
        let (def, inner) = self.home.graph(|graph| {
            let outer = self.block.as_ref().map(|block| block.id);
            let def = Arc::new(BlockDef {
                id: graph.block(executor.name(), (executor.kind(), executor.workers()), outer),
                outer: self.block.clone(),
                depth: self.block.as_ref().map_or(0, |block| block.depth + 1),
                bordered: policy.retries() || policy.last != Last::Stop,
                exits: Mutex::default(),
            });
            graph.consume(self.spot.id, None);
            (def, Spot::<T>::new(graph, Vec::new(), vec![self.spot.id], None))
        });
        let outer = f(Flow::at(&self.home, inner.clone(), Some(Arc::clone(&def)))).outer(&def, &self.home);
        let (stage, name, stages) = self.home.graph(|graph| {
            let (stage, name) = (graph.first_of(def.id), graph.block_name(def.id));
            if !executor.is_process() {
                let needs = |setting| Mistake::NeedsProcess { block: name.clone(), setting };
                graph.mistakes.extend(settings.need_process().map(needs));
            }
            if placement.key.is_some() && matches!(executor, Executor::ProcessPerBatch(_)) {
                graph.mistakes.push(Mistake::FreshWorkers { block: name.clone() });
            }
            if placement.key.is_some() && settings.ordered {
                graph.mistakes.push(Mistake::OrderedByKey { block: name.clone() });
            }
            if post.is_some() {
                graph.leads_to(inner.id, stage);
            }
            if settings.rate.is_some_and(|rate| !rate.is_possible()) {
                graph.mistakes.push(Mistake::Rate { stage: name.clone() });
            }
            (stage, name, graph.stages_of(def.id))
        });
        let letters = post.map(|post| post.bind(&self.home, &def, stage));
        let (head, name, nested) = (inner.make(), name.into(), !S::PROGRAM);
        let behind = inner.id;
        let placed = Placed { def, head, behind, placement, stage, name, stages, letters, nested };
        let stand = exec::context(executor).place(placed);
        self.home.add(stand.node);
        self.spot.point.attach(stand.sink);
        outer
    }

    /// On the thread of the stage before: `on(inline(), f)`.
    pub fn inline<R: Tail<I, S>, I: Scope>(self, f: impl FnOnce(Flow<T, I>) -> R) -> R::Outer
    where
        Block<Inline>: Runs<T, S, Scope = I>,
    {
        self.on(place::inline(), f)
    }

    /// On `n` threads: `on(threads(n), f)`.
    pub fn threads<R: Tail<I, S>, I: Scope>(self, n: usize, f: impl FnOnce(Flow<T, I>) -> R) -> R::Outer
    where
        Block<Threads>: Runs<T, S, Scope = I>,
    {
        self.on(place::threads(n), f)
    }

    /// In `n` persistent worker processes: `on(processes(n), f)`.
    ///
    /// Workers see what the program had in memory when the run began, copy-on-write; what they change in it,
    /// the program never sees. Counters, collectors and emitted items come back.
    pub fn processes<R: Tail<Worker, S>>(self, n: usize, f: impl FnOnce(Flow<T, Worker>) -> R) -> R::Outer
    where
        T: Wire,
        Block<Processes>: Runs<T, S, Scope = Worker>,
    {
        self.on(place::processes(n), f)
    }

    /// In a fresh process for every item, at most `max` at once: `on(process_per_batch(max), f)`.
    pub fn process_per_batch<R: Tail<Worker, S>>(
        self,
        max: usize,
        f: impl FnOnce(Flow<T, Worker>) -> R,
    ) -> R::Outer
    where
        T: Wire,
        Block<PerBatch>: Runs<T, S, Scope = Worker>,
    {
        self.on(place::process_per_batch(max), f)
    }
}
