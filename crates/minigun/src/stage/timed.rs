//! What an inline block's items take of the time of the worker they run in.

use std::rc::Rc;
use std::sync::Arc;

use super::sink::{BoxSink, MakeSink, Sink};
use super::tx::Tx;
use crate::failure::Failure;
use crate::graph::StageId;
use crate::meter::Sampler;

/// Times what the sinks that `head` builds do with each item, or with some of them where they are short.
pub(crate) fn timed<T: 'static>(head: MakeSink<T>, stage: StageId) -> MakeSink<T> {
    Arc::new(move |cx| {
        let sampler = Sampler::new(cx.run.clock());
        Ok(Box::new(TimedSink { head: head(cx)?, sampler, tx: Rc::clone(&cx.tx), stage }))
    })
}

struct TimedSink<T> {
    head: BoxSink<T>,
    sampler: Sampler,
    tx: Rc<Tx>,
    stage: StageId,
}

impl<T> Sink<T> for TimedSink<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        let (head, journal, stage) = (&mut self.head, &self.tx.journal, self.stage);
        self.sampler.call(|| head.push(item), |timing| journal.timed(stage, timing))
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.head.settle()
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.head.finish()
    }

    fn load(&mut self) -> usize {
        self.head.load()
    }
}
