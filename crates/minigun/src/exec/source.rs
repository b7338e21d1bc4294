//! A source: user code on a thread of its own that emits items.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::Error;
use crate::error::init_error;
use crate::exec::launch::{Launch, Node};
use crate::failure::{FailedItem, Failure, FailureKind, Fate};
use crate::graph::StageId;
use crate::shared::Shared;
use crate::stage::attempt::{Attempt, guarded};
use crate::stage::output::Output;
use crate::stage::sink::{BoxSink, Cx, MakeSink, Sink};
use crate::working::Working;

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
}

impl<U: Send + 'static, O: 'static> Node for SourceNode<U, O> {
    fn register(&self, _: &Shared) {}

    fn launch(self: Box<Self>, launch: &Launch) -> Result<(), Error> {
        let shared = Arc::clone(&launch.shared);
        launch.spawn(&self.name.clone(), move |holds| {
            let mut cx = Cx::new(&shared, &self.name, None);
            let recording = cx.tx.journal.enter();
            let opened = Emit::open(&self.head, &mut cx, self.stage, &self.name)
                .and_then(|emit| Ok((emit, (self.ports.open)(&mut cx)?)));
            let (emit, mut ports) = match opened {
                Ok(opened) => opened,
                Err(failure) => return shared.fail(init_error(&self.name, &failure)),
            };
            drop(holds);
            let mut out = Output::new(emit, Arc::clone(&shared));
            let produce = self.produce;
            let produced = guarded(|| produce(&mut out, &mut ports));
            let failed_behind = (self.ports.failed)(&mut ports) || out.take_failure().is_some();
            if let (Err(failure), false, false) = (produced, failed_behind, shared.is_halted()) {
                let failed =
                    FailedItem::new(&self.name, cx.emitted.get(), 1, &failure.at(&self.name), Fate::Stopped);
                shared.broke_off(self.stage, failed);
            }
            if let Err(failure) = out.sink().finish().and((self.ports.finish)(&mut ports)) {
                shared.fail(Error::Hook { hook: "after", cause: failure.to_string() });
            }
            drop((out, ports));
            drop(recording);
        })
    }
}

/// Each emitted item is an attempt of its own at the light steps fused behind the producer.
pub(crate) struct Emit<U> {
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

impl<U: 'static> Emit<U> {
    /// A producer's way to `head`.
    pub(crate) fn open(
        head: &MakeSink<U>,
        cx: &mut Cx,
        stage: StageId,
        name: &Arc<str>,
    ) -> Result<BoxSink<U>, Failure> {
        Ok(Box::new(Emit {
            attempt: Some(Attempt::new(Arc::clone(head), cx.clone())?),
            shared: Arc::clone(&cx.run),
            stage,
            name: Arc::clone(name),
            emitted: Rc::clone(&cx.emitted),
            unflushed: 0,
            gone: false,
        }))
    }
}

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
