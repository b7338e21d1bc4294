//! What a producer emits: each item goes on at once, by itself.

use std::rc::Rc;
use std::sync::Arc;

use super::attempt::Attempt;
use super::edge::Edge;
use super::tx::{Outlet, Tx};
use crate::failure::{FailedItem, Failure, FailureKind, Fate};
use crate::graph::StageId;
use crate::queue::Stopped;
use crate::shared::Shared;
use crate::stats::StageStats;
use crate::working::Working;

/// The way of a producer's items: each is an attempt of its own at the light steps fused behind the producer.
pub(crate) struct Emit<U> {
    attempt: Option<Attempt<U>>,
    /// Where the items go, if no step is fused behind the producer: no user code, so nothing to attempt.
    edge: Option<Rc<Edge<U>>>,
    tx: Rc<Tx>,
    shared: Arc<Shared>,
    stats: Arc<StageStats>,
    stage: StageId,
    name: Arc<str>,
    number: u64,
    unflushed: u64,
    gone: bool,
}

/// After this many items a busy source brings its figures up to date.
const FLUSH_EVERY: u64 = 256;

impl<U> Emit<U> {
    pub(crate) fn new(attempt: Attempt<U>, shared: &Arc<Shared>, stage: StageId, name: &Arc<str>) -> Self {
        Emit {
            edge: attempt.edge(),
            tx: Rc::clone(&attempt.cx.tx),
            attempt: Some(attempt),
            shared: Arc::clone(shared),
            stats: shared.stats(stage),
            stage,
            name: Arc::clone(name),
            number: 0,
            unflushed: 0,
            gone: false,
        }
    }

    /// Sends an item by the shortest way, if that is open.
    #[inline]
    pub(crate) fn try_push(&mut self, item: U) -> Result<(), U> {
        let Some(edge) = &self.edge else { return Err(item) };
        // What must be done now and then is done by `push`.
        if self.gone || self.unflushed + 1 == FLUSH_EVERY || self.shared.is_stopping() {
            return Err(item);
        }
        edge.try_push(item)?;
        self.number += 1;
        self.unflushed += 1;
        if edge.publish().is_err() {
            self.cut_off();
        }
        Ok(())
    }

    pub(crate) fn push(&mut self, item: U) -> Result<(), Failure> {
        if self.gone || self.shared.is_stopping() {
            return self.refuse();
        }
        let went_on = match &self.edge {
            Some(edge) => edge.push(item).map(|()| edge.publish()),
            None => self.attempt(item),
        };
        if !matches!(went_on, Ok(Ok(()))) {
            return self.ended(went_on);
        }
        self.number += 1;
        self.unflushed += 1;
        if self.unflushed == FLUSH_EVERY || self.tx.journal.has_values() {
            self.flush();
        }
        Ok(())
    }

    /// Through the steps fused behind the producer.
    fn attempt(&mut self, item: U) -> Result<Result<(), Stopped>, Failure> {
        let Some(attempt) = &mut self.attempt else { return Err(closed()) };
        attempt.run(item, Working::at(self.number, 0))?;
        Ok(self.tx.commit())
    }

    #[cold]
    fn refuse(&mut self) -> Result<(), Failure> {
        if !self.gone {
            self.stats.abandoned(1);
        }
        Err(closed())
    }

    /// The item did not go on, and none will after it.
    #[cold]
    fn ended(&mut self, how: Result<Result<(), Stopped>, Failure>) -> Result<(), Failure> {
        match how {
            Ok(_) => self.cut_off(),
            Err(failure) => {
                self.gone = true;
                let failed = FailedItem::new(&self.name, self.number, 1, &failure, Fate::Stopped);
                self.shared.gave_up(self.stage, failed);
            }
        }
        Err(closed())
    }

    #[cold]
    fn cut_off(&mut self) {
        self.gone = true;
        self.stats.abandoned(1);
        self.shared.gone();
    }

    #[cold]
    fn flush(&mut self) {
        self.stats.add(0, std::mem::take(&mut self.unflushed));
        self.tx.flush();
        self.shared.settle(&self.tx.journal);
    }

    /// The producer has ended: so do the steps behind it.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.flush();
        let Some(attempt) = self.attempt.take() else { return Ok(()) };
        self.edge = None;
        let finished = attempt.finish();
        if finished.is_ok() && self.tx.commit().is_err() {
            self.shared.gone();
        }
        self.tx.flush();
        self.shared.settle(&self.tx.journal);
        finished
    }
}

fn closed() -> Failure {
    Failure::new(FailureKind::Error, "the run is stopping")
}
