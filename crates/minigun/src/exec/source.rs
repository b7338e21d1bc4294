//! A source: user code on a thread of its own that emits items.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::error::init_error;
use crate::exec::launch::{Holds, Launch, Node};
use crate::failure::{FailedItem, Failure, Fate};
use crate::graph::StageId;
use crate::shared::Shared;
use crate::stage::attempt::guarded;
use crate::stage::emit::{Emit, Producer};
use crate::stage::output::Output;
use crate::stage::sink::{Cx, MakeSink};
use crate::stats::{WorkerState, WorkerStats};

type Produce<U, O> = Box<dyn FnOnce(&mut Output<U>, &mut O) -> Result<(), Failure> + Send>;

/// Opens a worker's own outputs.
pub(crate) type Open<O> = Box<dyn Fn(&mut Cx) -> Result<O, Failure> + Send + Sync>;

/// The ports that a producer is lent beside its own output.
pub(crate) struct Lent<O> {
    pub(crate) open: Open<O>,
    /// Whether something behind one of them has failed.
    pub(crate) failed: fn(&mut O) -> bool,
    pub(crate) finish: fn(&mut O) -> Result<(), Failure>,
}

/// One producer.
pub(crate) struct SourceNode<U, O> {
    pub(crate) produce: Produce<U, O>,
    pub(crate) ports: Lent<O>,
    pub(crate) head: MakeSink<U>,
    pub(crate) stage: StageId,
    pub(crate) name: Arc<str>,
    /// The run goes on without it if it fails.
    pub(crate) skips: Arc<AtomicBool>,
}

impl<U: Send + 'static, O: 'static> Node for SourceNode<U, O> {
    fn register(&self, _: &Shared) {}

    fn launch(self: Box<Self>, launch: &Launch) -> Result<(), Error> {
        let shared = Arc::clone(&launch.shared);
        let worker = shared.stats(self.stage).make_worker();
        launch.spawn(&self.name.clone(), move |holds| {
            let (stage, run) = (self.stage, Arc::clone(&shared));
            run.worker_began(stage, &worker);
            let _inside = run.enter(stage, worker.place());
            self.serve(shared, &worker, holds);
            run.worker_retired(stage, &worker);
            run.worker_ended(stage, &worker);
        })
    }
}

impl<U: Send + 'static, O: 'static> SourceNode<U, O> {
    fn serve(self, shared: Arc<Shared>, worker: &Arc<WorkerStats>, holds: Holds) {
        let producer = Producer::new(&shared, (self.stage, &self.name), worker);
        let mut cx = Cx { producer: Some(Rc::clone(&producer)), ..Cx::new(&shared, &self.name, None) };
        let recording = cx.tx.journal.enter();
        let opened = Emit::open(&self.head, &cx).and_then(|emit| Ok((emit, (self.ports.open)(&mut cx)?)));
        let (emit, mut ports) = match opened {
            Ok(opened) => opened,
            Err(failure) => return shared.fail(init_error(&self.name, &failure)),
        };
        drop(holds);
        worker.is(WorkerState::Working);
        let mut out = Output::of_producer(emit, Arc::clone(&shared));
        let produce = self.produce;
        let produced = guarded(|| produce(&mut out, &mut ports));
        let failed_behind = (self.ports.failed)(&mut ports) || out.take_failure().is_some();
        if let (Err(failure), false, false) = (produced, failed_behind, shared.is_halted()) {
            let skips = self.skips.load(Ordering::Relaxed);
            let fate = if skips { Fate::Skipped } else { Fate::Stopped };
            let failed = FailedItem::new(&self.name, producer.emitted(), 1, &failure.at(&self.name), fate);
            match fate {
                Fate::Skipped => shared.gave_up(self.stage, failed),
                _ => shared.broke_off(self.stage, failed),
            }
        }
        if let Err(failure) = out.finish().and((self.ports.finish)(&mut ports)) {
            shared.fail(Error::Hook { hook: "after", cause: failure.to_string() });
        }
        drop((out, ports));
        drop(recording);
    }
}
