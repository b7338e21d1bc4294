//! Blocks in worker processes: one mechanism, two contexts.

use std::any::Any;
use std::sync::Arc;

use super::lanes::{Lanes, launch_threads};
use super::threads::pass_in_order;
use super::{Context, Stand, ThreadsNode};
use crate::apart::{Shelf, Store};
use crate::defaults;
use crate::error::Error;
use crate::error::init_error;
use crate::exec::launch::{Book, Launch, Node};
use crate::graph::{PointId, StageId};
use crate::in_flight::InFlight;
use crate::plan::{Executor, Placed, Recycle, Settings};
use crate::process::{
    self, Arrival, Berth, Desk, InTurn, Plan, Processes, Slot, SlotBlock, SlotCrew, Ways, WorkerProgram,
};
use crate::queue::Queue;
use crate::shared::Shared;
use crate::stage::turns::Turns;
use crate::stats::WorkerStats;
use crate::wire::WireFns;
use crate::working::Working;

/// Persistent workers, forked once, each serving many items.
pub(crate) struct ProcessPoolContext;

/// A fresh worker for every item.
pub(crate) struct ForkContext;

impl<T: Send + 'static> Context<T> for ProcessPoolContext {
    fn place(&self, block: Placed<T>) -> Stand<T> {
        place(block)
    }
}

impl<T: Send + 'static> Context<T> for ForkContext {
    fn place(&self, block: Placed<T>) -> Stand<T> {
        place(block)
    }
}

fn place<T: Send + 'static>(mut block: Placed<T>) -> Stand<T> {
    if is_fresh(block.placement.executor) {
        // A fork for each item: what a stop has to drain must not be long, however small the items.
        block.placement.settings.queue.get_or_insert(defaults::QUEUE_ITEMS);
    }
    let lanes = Lanes::new(&block.placement, true);
    let sink = lanes.sink();
    Stand::apart((ProcessNode { lanes, block: Arc::new(block), berth: None, debugged: false }, sink))
}

/// A block in worker processes: its queue, or one for each worker, and a thread in the program for every worker.
struct ProcessNode<T> {
    lanes: Lanes<T>,
    block: Arc<Placed<T>>,
    /// `None`: there are no processes here, and the block said that threads will do.
    berth: Option<Berth>,
    /// Its workers stop for a debugger.
    debugged: bool,
}

impl<T: Send + 'static> ProcessNode<T> {
    fn wire(&self) -> Result<WireFns<T>, Error> {
        self.block.placement.wire.ok_or_else(|| Error::Init {
            stage: self.block.name.to_string(),
            cause: "minigun: a process block without a codec".to_string(),
        })
    }

    /// Starts the thread of every slot that takes from this queue.
    fn launch_crew(
        &self,
        queue: &Arc<Queue<T>>,
        (crew, figures): (SlotCrew<T>, Vec<Arc<WorkerStats>>),
        number: u32,
        processes: &Arc<Processes>,
        launch: &Launch,
    ) -> Result<(), Error> {
        let placement = &self.block.placement;
        let slots = Arc::new(SlotBlock {
            queue: Arc::clone(queue),
            crew,
            wire: self.wire()?,
            policy: placement.policy,
            settings: Settings { queue: Some(queue.limit()), ..placement.settings },
            name: Arc::clone(&self.block.name),
            stage: self.block.stage,
            number,
            fresh: is_fresh(placement.executor),
            keeps_items: self.block.letters.as_ref().is_some_and(|letters| letters.wants_item),
            debugged: self.debugged,
            turns: placement.settings.ordered.then(Turns::new),
        });
        launch.shared.on_stop_hurry(&slots);
        let direct = Arc::downgrade(&slots);
        queue.ask_instead(Box::new(move |event| {
            direct.upgrade().is_some_and(|slots| slots.send_directly(event))
        }));
        let stats = launch.shared.stats(self.block.stage);
        stats.queued_in(self.lanes.limit(), Arc::downgrade(&slots) as _);
        let mut hands = Vec::new();
        if let Some(turns) = &slots.turns {
            hands.extend(figures.iter().map(|_| turns.hand()));
            self.pass_in_order(queue, turns, launch)?;
        }
        let mut hands = hands.into_iter();
        for (at, (slot, figures)) in slots.crew.numbers().zip(figures).enumerate() {
            let hand = hands.next();
            let (slots, block) = (Arc::clone(&slots), Arc::clone(&self.block));
            let (shared, processes) = (Arc::clone(&launch.shared), Arc::clone(processes));
            launch.spawn(&format!("{}/{slot}", self.block.name), move |holds| {
                let _ended = Ended { shared: &shared, stage: block.stage, worker: &figures };
                // In an ordered block another thread passes on what comes out.
                let ordered = slots.turns.is_some();
                let exits = if ordered { Vec::new() } else { block.def.exits.lock().clone() };
                let within = slots.queue.in_flight().cloned();
                let slabs = slots.crew.desks.get(at).and_then(|desk| desk.claims.slabs());
                let (items, results) = slabs.map(|slabs| (slabs.items, slabs.results)).unzip();
                let shelf = Shelf::new(results);
                let opened =
                    Arrival::open(&shared, &block.name, &exits, within, shelf).and_then(|mut arrival| {
                        let letters = arrival.letters(block.letters.as_ref())?;
                        Ok((arrival, letters))
                    });
                let (arrival, letters) = match opened {
                    Ok(opened) => opened,
                    Err(failure) => return shared.fail(init_error(&block.name, &failure)),
                };
                drop(holds);
                let stats = shared.stats(block.stage);
                if let Some(desk) = slots.crew.desks.get(at) {
                    let ways = Ways { store: items.map(Store::new), arrival, letters };
                    Slot::new(&slots, (slot, desk), &shared, &processes, (stats, &figures), ways).drive();
                }
                drop(hand);
            })?;
        }
        Ok(())
    }
}

impl<T: Send + 'static> ProcessNode<T> {
    /// Starts the thread that passes on what the slots hand in.
    fn pass_in_order(
        &self,
        queue: &Arc<Queue<T>>,
        turns: &Arc<Turns<InTurn>>,
        launch: &Launch,
    ) -> Result<(), Error> {
        let format = self.block.placement.settings.format;
        let pipeline = launch.shared.name().to_string();
        let pass = move |arrival: &mut Arrival, number, InTurn { body, attempt }: InTurn| {
            let of = Working::Item { item: number, attempt };
            match arrival.outputs_of(format, &body, of) {
                Ok(outcome) => Ok(outcome.map_err(|failure| (attempt, failure))),
                Err(error) => Err(Error::Zygote { pipeline: pipeline.clone(), cause: error.to_string() }),
            }
        };
        let ways = (Arc::clone(turns), Arc::clone(queue));
        let (name, stage) = (&self.block.name, self.block.stage);
        pass_in_order(launch, (name, stage), ways, Arc::clone(&self.block.def), pass)
    }
}

impl<T: Send + 'static> Node for ProcessNode<T> {
    fn plan(&mut self, plan: &mut Plan) -> Result<(), Error> {
        let placement = &self.block.placement;
        match process::supported() {
            Ok(()) => {}
            // A deadline that nobody can enforce is not to be promised.
            Err(_) if placement.settings.or_threads && placement.settings.timeout.is_none() => {
                return Ok(());
            }
            Err(source) => return Err(Error::Unsupported { stage: self.block.name.to_string(), source }),
        }
        let hooks = placement.hooks.on_block(&self.block.name);
        self.debugged = process::is_debugged(&self.block.name, &self.block.stages);
        let program = WorkerProgram {
            block: self.block.def.id,
            stage: self.block.stage,
            name: Arc::clone(&self.block.name),
            head: Arc::clone(&self.block.head),
            wire: self.wire()?,
            format: placement.settings.format,
            after_fork: hooks.after,
            lends: !placement.settings.ordered,
            recycle: Recycle {
                items: if is_fresh(placement.executor) { Some(1) } else { placement.settings.recycle.items },
                memory: placement.settings.recycle.memory,
            },
            fresh: is_fresh(placement.executor),
            limits: placement.settings.limits,
            timed: self.block.placement.settings.timeout.is_some(),
            debugged: self.debugged.then(|| Arc::clone(&self.block.name)),
        };
        let workers = placement.executor.held_to(plan.limits());
        self.berth = Some(plan.add(Arc::new(program), (self.block.stage, workers), hooks.before));
        Ok(())
    }

    fn behind(&self) -> Option<PointId> {
        Some(self.block.behind)
    }

    fn join(&self, in_flight: &Arc<InFlight>) {
        self.lanes.join(in_flight);
    }

    fn hold(&self) -> Option<Box<dyn Any + Send + Sync>> {
        Some(self.lanes.hold())
    }

    fn register(&self, shared: &Shared) {
        self.lanes.register(shared, self.block.stage);
    }

    fn launch(self: Box<Self>, launch: &Launch) -> Result<(), Error> {
        let Some(berth) = &self.berth else {
            return match (self.lanes.by_worker(), self.lanes.queues()) {
                (Some(lanes), _) => launch_threads(lanes, &self.block, launch),
                (None, queues) => queues
                    .iter()
                    .try_for_each(|queue| Box::new(ThreadsNode::instead(queue, &self.block)).launch(launch)),
            };
        };
        let Some(processes) = &launch.processes else {
            return Err(Error::Zygote {
                pipeline: launch.shared.name().to_string(),
                cause: "minigun: it was never forked".to_string(),
            });
        };
        let placement = &self.block.placement;
        let workers = placement.executor.held_to(launch.shared.limits());
        let mut desks = Vec::with_capacity(workers);
        for slot in 0..workers {
            let claims = berth.claims(slot).ok_or(std::io::ErrorKind::NotFound.into());
            let desk = claims.and_then(Desk::new);
            desks.push(desk.map_err(|source| process::refused(&launch.shared, "eventfd", &source))?);
        }
        for desk in &desks {
            launch.shared.on_halt(Arc::clone(&desk.event) as _);
        }
        let figures = launch.shared.stats(self.block.stage).make_workers(workers);
        let mut workers = desks.into_iter().zip(figures);
        let deaths = Arc::default();
        let groups: Vec<_> = match (self.lanes.by_worker(), self.lanes.queues()) {
            (Some(lanes), _) => {
                let workers = lanes.iter().zip(workers).enumerate();
                workers.map(|(at, (lane, worker))| (lane, at, vec![worker])).collect()
            }
            (None, queues) => {
                queues.iter().take(1).map(|queue| (queue, 0, workers.by_ref().collect())).collect()
            }
        };
        let spares = placement.executor.spares(launch.shared.limits());
        for (queue, first, workers) in groups {
            let (desks, figures): (Vec<_>, Vec<_>) = workers.into_iter().unzip();
            let crew = SlotCrew::new(first, desks, &deaths).with_spares(spares);
            self.launch_crew(queue, (crew, figures), berth.number, processes, launch)?;
        }
        Ok(())
    }

    fn book(&self) -> Option<Arc<dyn Book>> {
        Some(self.lanes.book(self.block.stage, &self.block.name))
    }
}

/// Says that a slot is closed, however it ends.
struct Ended<'a> {
    shared: &'a Shared,
    stage: StageId,
    worker: &'a WorkerStats,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.shared.worker_ended(self.stage, self.worker);
    }
}

fn is_fresh(executor: Executor) -> bool {
    matches!(executor, Executor::ProcessPerBatch(_))
}
