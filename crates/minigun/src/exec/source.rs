//! A source: user code on a thread of its own that emits items.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::error::init_error;
use crate::exec::launch::{Launch, Node};
use crate::failure::{FailedItem, Failure, FailureKind, Fate};
use crate::graph::StageId;
use crate::shared::Shared;
use crate::stage::attempt::{Attempt, guarded};
use crate::stage::output::Output;
use crate::stage::sink::{Cx, MakeSink, Sink};
use crate::working::Working;

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
        launch.spawn(&self.name.clone(), move |holds| {
            let cx = Cx::new(&shared, &self.name, None);
            let recording = cx.tx.journal.enter();
            let attempt = match Attempt::new(Arc::clone(&self.head), cx.clone()) {
                Ok(attempt) => attempt,
                Err(failure) => return shared.fail(init_error(&self.name, &failure)),
            };
            drop(holds);
            let emitted = Rc::new(Cell::new(0));
            let emit = Emit {
                attempt: Some(attempt),
                shared: Arc::clone(&shared),
                stage: self.stage,
                name: Arc::clone(&self.name),
                emitted: Rc::clone(&emitted),
                unflushed: 0,
                gone: false,
            };
            let mut out = Output::new(Box::new(emit), Arc::clone(&shared));
            let produce = self.produce;
            let produced = guarded(|| produce(&mut out));
            let failed_behind = out.take_failure();
            if let (Err(failure), None, false) = (produced, failed_behind, shared.is_halted()) {
                let skips = self.skips.load(Ordering::Relaxed);
                let fate = if skips { Fate::Skipped } else { Fate::Stopped };
                let failed = FailedItem::new(&self.name, emitted.get(), 1, &failure.at(&self.name), fate);
                match fate {
                    Fate::Skipped => shared.gave_up(self.stage, failed),
                    _ => shared.broke_off(self.stage, failed),
                }
            }
            if let Err(failure) = out.sink().finish() {
                shared.fail(Error::Hook { hook: "after", cause: failure.to_string() });
            }
            drop(out);
            drop(recording);
        })
    }
}

/// Each emitted item is an attempt of its own at the light steps fused behind the producer.
struct Emit<U> {
    attempt: Option<Attempt<U>>,
    shared: Arc<Shared>,
    stage: StageId,
    name: Arc<str>,
    emitted: Rc<Cell<u64>>,
    unflushed: u64,
    gone: bool,
}

/// After this many items a busy source brings its figures up to date.
const FLUSH_EVERY: u64 = 256;

impl<U> Sink<U> for Emit<U> {
    fn push(&mut self, item: U) -> Result<(), Failure> {
        let number = self.emitted.get();
        self.emitted.set(number + 1);
        let Some(attempt) = self.attempt.as_mut().filter(|_| !self.gone) else { return Err(closed()) };
        if self.shared.is_stopping() {
            self.shared.stats(self.stage).abandoned(1);
            return Err(closed());
        }
        if let Err(failure) = attempt.run(item, Working::at(number, 0)) {
            self.gone = true;
            let failed = FailedItem::new(&self.name, number, 1, &failure, Fate::Stopped);
            self.shared.gave_up(self.stage, failed);
            return Err(closed());
        }
        let tx = &attempt.cx.tx;
        if tx.commit().is_err() {
            self.gone = true;
            self.shared.stats(self.stage).abandoned(1);
            self.shared.gone();
            return Err(closed());
        }
        self.unflushed += 1;
        if self.unflushed == FLUSH_EVERY || tx.journal.has_values() {
            self.flush();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.flush();
        let Some(attempt) = self.attempt.take() else { return Ok(()) };
        let cx = attempt.cx.clone();
        let finished = attempt.finish();
        if finished.is_ok() && cx.tx.commit().is_err() {
            self.shared.gone();
        }
        cx.tx.flush();
        self.shared.settle(&cx.tx.journal);
        finished
    }
}

impl<U> Emit<U> {
    fn flush(&mut self) {
        self.shared.stats(self.stage).add(0, std::mem::take(&mut self.unflushed));
        if let Some(attempt) = &self.attempt {
            attempt.cx.tx.flush();
            self.shared.settle(&attempt.cx.tx.journal);
        }
    }
}

fn closed() -> Failure {
    Failure::new(FailureKind::Error, "the run is stopping")
}
