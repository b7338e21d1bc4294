//! A source: user code on a thread of its own that emits items.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::error::init_error;
use crate::exec::launch::{Holds, Launch, Node};
use crate::failure::{FailedItem, Failure, Fate};
use crate::graph::StageId;
use crate::shared::Shared;
use crate::stage::attempt::{Attempt, guarded};
use crate::stage::emit::Emit;
use crate::stage::output::Output;
use crate::stage::sink::{Cx, MakeSink};
use crate::stats::{WorkerState, WorkerStats};

type Produce<U> = Box<dyn FnOnce(&mut Output<U>) -> Result<(), Failure> + Send>;

/// One producer.
pub(crate) struct SourceNode<U> {
    pub(crate) produce: Produce<U>,
    pub(crate) head: MakeSink<U>,
    pub(crate) stage: StageId,
    pub(crate) name: Arc<str>,
    /// The run goes on without it if it fails.
    pub(crate) skips: Arc<AtomicBool>,
}

impl<U: Send + 'static> Node for SourceNode<U> {
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

impl<U: Send + 'static> SourceNode<U> {
    fn serve(self, shared: Arc<Shared>, worker: &Arc<WorkerStats>, holds: Holds) {
        let cx = Cx::new(&shared, &self.name, None);
        let recording = cx.tx.journal.enter();
        let attempt = match Attempt::new(Arc::clone(&self.head), cx.clone()) {
            Ok(attempt) => attempt,
            Err(failure) => return shared.fail(init_error(&self.name, &failure)),
        };
        drop(holds);
        worker.is(WorkerState::Working);
        let emit = Emit::new(attempt, (self.stage, &self.name), worker);
        let mut out = Output::of_producer(emit, Arc::clone(&shared));
        let produce = self.produce;
        let produced = guarded(|| produce(&mut out));
        let failed_behind = out.take_failure();
        if let (Err(failure), None, false) = (produced, failed_behind, shared.is_halted()) {
            let skips = self.skips.load(Ordering::Relaxed);
            let fate = if skips { Fate::Skipped } else { Fate::Stopped };
            let failed = FailedItem::new(&self.name, out.emitted, 1, &failure.at(&self.name), fate);
            match fate {
                Fate::Skipped => shared.gave_up(self.stage, failed),
                _ => shared.broke_off(self.stage, failed),
            }
        }
        if let Err(failure) = out.finish() {
            shared.fail(Error::Hook { hook: "after", cause: failure.to_string() });
        }
        drop(out);
        drop(recording);
    }
}
