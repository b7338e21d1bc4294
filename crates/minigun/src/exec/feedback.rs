//! The way back into a loop: a thread that takes what was sent back and lets it go round again.

use std::collections::VecDeque;
use std::sync::Arc;

use super::books::books_differ;
use super::launch::{Book, Launch, Node};
use crate::defaults;
use crate::error::Error;
use crate::failure::{FailedItem, Failure, Fate};
use crate::graph::{PointId, StageId};
use crate::in_flight::InFlight;
use crate::queue::{Queue, Sender};
use crate::shared::Shared;
use crate::stage::attempt::guarded;
use crate::stage::frontier::{CloseFrontier, FORMAT, Frontier};
use crate::stage::sink::MakeSink;
use crate::wire::{WireFns, codec_failure};

/// What a loop sends back, and the queue at its head.
pub(crate) struct FeedbackNode<T> {
    frontier: Arc<Frontier>,
    queue: Arc<Queue<T>>,
    fns: WireFns<T>,
    stage: StageId,
    head: PointId,
}

impl<T: Send + 'static> FeedbackNode<T> {
    /// `queue` is the one before the point `head`; the sink is where the loop sends back.
    pub(crate) fn new(
        queue: &Arc<Queue<T>>,
        fns: WireFns<T>,
        (stage, name): (StageId, &str),
        head: PointId,
    ) -> (Self, MakeSink<T>) {
        let frontier = Frontier::new(name, stage, Arc::clone(queue) as _);
        let sink = frontier.sink(fns);
        (FeedbackNode { frontier, queue: Arc::clone(queue), fns, stage, head }, sink)
    }
}

impl<T: Send + 'static> Node for FeedbackNode<T> {
    fn behind(&self) -> Option<PointId> {
        Some(self.head)
    }

    fn join(&self, in_flight: &Arc<InFlight>) {
        self.frontier.join(in_flight);
    }

    fn register(&self, shared: &Shared) {
        shared.on_halt(Arc::clone(&self.frontier) as _);
        shared.on_stop(Arc::new(CloseFrontier(Arc::clone(&self.frontier), shared.stats(self.stage))));
    }

    fn launch(self: Box<Self>, launch: &Launch) -> Result<(), Error> {
        let shared = Arc::clone(&launch.shared);
        launch.spawn(&format!("{}/back", self.frontier.name), move |holds| {
            let sender = Sender::within(&self.queue, self.frontier.in_flight().as_ref());
            drop(holds);
            self.go_round(&shared, &sender);
        })
    }

    fn book(&self) -> Option<Arc<dyn Book>> {
        Some(Arc::clone(&self.frontier) as _)
    }
}

impl<T: Send + 'static> FeedbackNode<T> {
    fn go_round(&self, shared: &Shared, sender: &Sender<T>) {
        let mut run = VecDeque::new();
        let mut number = 0;
        loop {
            let mut records = match self.frontier.take(defaults::LOOP_RUN) {
                Ok(Some(records)) => records,
                Ok(None) => return,
                Err(source) => return self.frontier.fail(shared, source),
            };
            let items = records.len();
            while let Some(item) = records.next() {
                match guarded(|| (self.fns.decode)(FORMAT, &records[item]).map_err(codec_failure)) {
                    Ok(item) => run.push_back(item),
                    Err(failure) => return self.undecoded(shared, number, &failure),
                }
                number += 1;
            }
            if sender.send_run(&mut run).is_err() {
                return;
            }
            sender.flush();
            // Only now: they are counted in the queue.
            if let Some(in_flight) = self.frontier.in_flight() {
                in_flight.leave(items);
            }
        }
    }

    fn undecoded(&self, shared: &Shared, number: u64, failure: &Failure) {
        let failed = FailedItem::new(&self.frontier.name, number, 1, failure, Fate::Stopped);
        shared.broke_off(self.stage, failed);
    }
}

impl Book for Frontier {
    fn check(&self, _: &Shared) -> Result<(), Error> {
        let (sent, taken, left) = self.counted();
        if sent == taken + left { Ok(()) } else { Err(books_differ(&self.name, sent, taken, left, "")) }
    }
}
