//! What a closure emits into.

use std::sync::Arc;

use super::sink::BoxSink;
use crate::failure::Failure;
use crate::shared::Shared;

/// Where a stage's closure emits its items.
///
/// What is emitted during an attempt goes on when the attempt succeeded, and never if it failed. A producer's
/// items go on at once.
pub struct Output<U> {
    sink: BoxSink<U>,
    failed: Option<Failure>,
    run: Arc<Shared>,
    pub(crate) emitted: u64,
}

/// The run is stopping; here is the item back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped<U>(pub U);

impl<U> Output<U> {
    pub(crate) fn new(sink: BoxSink<U>, run: Arc<Shared>) -> Self {
        Output { sink, failed: None, run, emitted: 0 }
    }

    /// Sends one item on.
    ///
    /// In a producer it waits while the queue behind is full. Once the run is stopping, or a fused step of
    /// this attempt has failed, the item is dropped: the producer's `emit` then counts it as abandoned.
    #[inline]
    pub fn emit(&mut self, item: U) {
        if self.failed.is_none() {
            match self.sink.push(item) {
                Ok(()) => self.emitted += 1,
                Err(failure) => self.failed = Some(failure),
            }
        }
    }

    /// As [`emit`](Self::emit), but gives the item back once the run is stopping.
    pub fn try_emit(&mut self, item: U) -> Result<(), Stopped<U>> {
        if self.is_stopping() {
            return Err(Stopped(item));
        }
        self.emit(item);
        Ok(())
    }

    /// As [`emit`](Self::emit), but says whether the item went on.
    pub(crate) fn try_send(&mut self, item: U) -> Result<(), ()> {
        let before = self.emitted;
        self.emit(item);
        if self.emitted > before { Ok(()) } else { Err(()) }
    }

    /// Whether the run is stopping, so that a producer should end.
    pub fn is_stopping(&self) -> bool {
        self.failed.is_some() || self.run.is_stopping()
    }

    #[inline]
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failed.take()
    }

    /// How many items are under way behind here.
    pub(crate) fn load(&mut self) -> usize {
        self.sink.load()
    }

    pub(crate) fn sink(&mut self) -> &mut BoxSink<U> {
        &mut self.sink
    }
}

impl<U> Extend<U> for Output<U> {
    fn extend<I: IntoIterator<Item = U>>(&mut self, items: I) {
        for item in items {
            self.emit(item);
        }
    }
}
