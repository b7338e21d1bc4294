//! A source: user code on a thread of its own that emits items.

use std::sync::Arc;

use crate::error::Error;
use crate::error::init_error;
use crate::exec::launch::{Launch, Node};
use crate::failure::{FailedItem, Failure, Fate};
use crate::graph::StageId;
use crate::shared::Shared;
use crate::stage::attempt::{Attempt, guarded};
use crate::stage::emit::Emit;
use crate::stage::output::Output;
use crate::stage::sink::{Cx, MakeSink};

type Produce<U> = Box<dyn FnOnce(&mut Output<U>) -> Result<(), Failure> + Send>;

/// One producer.
pub(crate) struct SourceNode<U> {
    pub(crate) produce: Produce<U>,
    pub(crate) head: MakeSink<U>,
    pub(crate) stage: StageId,
    pub(crate) name: Arc<str>,
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
            let emit = Emit::new(attempt, &shared, self.stage, &self.name);
            let mut out = Output::of_producer(emit, Arc::clone(&shared));
            let produce = self.produce;
            let produced = guarded(|| produce(&mut out));
            let failed_behind = out.take_failure();
            if let (Err(failure), None, false) = (produced, failed_behind, shared.is_halted()) {
                let failed =
                    FailedItem::new(&self.name, out.emitted, 1, &failure.at(&self.name), Fate::Stopped);
                shared.broke_off(self.stage, failed);
            }
            if let Err(failure) = out.finish() {
                shared.fail(Error::Hook { hook: "after", cause: failure.to_string() });
            }
            drop(out);
            drop(recording);
        })
    }
}
