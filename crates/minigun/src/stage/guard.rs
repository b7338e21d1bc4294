//! Policies inside a worker: an inline block's own attempts, and the border behind which a block's policy
//! does not reach.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use super::letters::{self, Letters, Remains};
use super::sink::{BoxSink, Cx, MakeSink, Sink};
use super::tx::Tx;
use crate::failure::{FailedItem, Failure, Fate, Policy, Verdict};
use crate::graph::StageId;
use crate::journal::Happened;
use crate::stage::Keep;
use crate::working::Working;

/// Marks failures of what follows a block in the same worker: they are not the block's to retry or skip.
pub(crate) struct Border<T> {
    pub(crate) behind: BoxSink<T>,
    /// How deep the block is nested.
    pub(crate) depth: u16,
    pub(crate) tx: Rc<Tx>,
}

/// Dropped only by a panic that passes through the border.
struct Passing<'a>(&'a Tx, u16);

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.0.pass(self.1);
    }
}

impl<T> Border<T> {
    fn mark(&mut self, f: impl FnOnce(&mut BoxSink<T>) -> Result<(), Failure>) -> Result<(), Failure> {
        let passing = Passing(&self.tx, self.depth);
        let outcome = f(&mut self.behind);
        std::mem::forget(passing);
        outcome.map_err(|failure| failure.behind(self.depth))
    }
}

impl<T> Sink<T> for Border<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        self.mark(|behind| behind.push(item))
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.mark(|behind| behind.settle())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.behind.finish()
    }

    fn load(&mut self) -> usize {
        self.behind.load()
    }
}

/// A block that runs on the thread before it but has a policy of its own: each of its items is an attempt
/// inside the outer one.
pub(crate) struct InlineBlock<T> {
    pub(crate) head: BoxSink<T>,
    pub(crate) make: MakeSink<T>,
    pub(crate) cx: Cx,
    pub(crate) policy: Policy,
    pub(crate) keep: Option<Keep<T>>,
    pub(crate) letters: Option<Box<dyn Letters<T>>>,
    pub(crate) stage: StageId,
    pub(crate) name: Arc<str>,
    pub(crate) depth: u16,
    /// It stands inside another block, whose attempts are the ones that have a number.
    pub(crate) nested: bool,
    pub(crate) seen: u64,
}

impl<T> InlineBlock<T> {
    fn attempt(&mut self, item: T) -> Result<(), Failure> {
        let tx = Rc::clone(&self.cx.tx);
        let savepoint = tx.savepoint();
        let head = &mut self.head;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            head.push(item)?;
            if tx.is_unsettled() { head.settle() } else { Ok(()) }
        }));
        let (failure, broken) = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => (failure, tx.take_broken()),
            Err(payload) => (tx.panicked(payload), true),
        };
        tx.undo_to(&savepoint);
        if broken && failure.is_final(self.depth) {
            // What is broken lies outside too.
            tx.set_broken();
        } else if broken {
            self.head = (self.make)(&mut self.cx)?;
        }
        Err(failure)
    }
}

impl<T> Sink<T> for InlineBlock<T> {
    fn push(&mut self, item: T) -> Result<(), Failure> {
        let at = self.cx.tx.journal.working();
        let outcome = self.attempts(item, at);
        self.cx.tx.journal.works_at(at);
        outcome
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.head.settle()
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.head.finish()?;
        letters::finish(&mut self.letters)
    }

    fn load(&mut self) -> usize {
        self.head.load()
    }
}

impl<T> InlineBlock<T> {
    /// Tries an item as often as the policy says; `at` is the attempt of the thread around it.
    fn attempts(&mut self, item: T, at: Working) -> Result<(), Failure> {
        let number = self.seen;
        self.seen += 1;
        let mut item = item;
        let mut attempt = 1;
        loop {
            let kept = match self.keep {
                Some(keep) if self.policy.keeps(attempt) => keep(&item),
                _ => None,
            };
            let failure = match self.attempt(item) {
                Ok(()) => return Ok(()),
                Err(failure) if failure.is_final(self.depth) => return Err(failure),
                Err(failure) => failure,
            };
            match (self.policy.verdict(attempt, self.cx.run.spread()), kept) {
                (Verdict::Retry(wait), Some(again)) => {
                    self.cx.tx.journal.event(self.stage, Happened::Retried);
                    // The thread before waits too: that is what inline means.
                    if self.cx.run.wait_for_stop(wait) {
                        return Err(failure.after(attempt));
                    }
                    item = again;
                    attempt += 1;
                    if let (Working::Item { item, attempt: outer }, false) = (at, self.nested) {
                        self.cx.tx.journal.works_at(Working::at(item, outer + attempt - 2));
                    }
                }
                (Verdict::Skip, _) => {
                    let failed = FailedItem::new(&self.name, number, attempt, &failure, Fate::Skipped);
                    self.cx.tx.journal.event(self.stage, Happened::Failed(failed));
                    return Ok(());
                }
                (Verdict::DeadLetter, Some(item)) => {
                    let failed = FailedItem::new(&self.name, number, attempt, &failure, Fate::Dead);
                    letters::post(&mut self.letters, Remains::Item(item), &failed)
                        .map_err(|failure| failure.behind(self.depth))?;
                    self.cx.tx.journal.event(self.stage, Happened::Failed(failed));
                    return Ok(());
                }
                (Verdict::DeadLetter, None) => return Err(failure.unkept().after(attempt)),
                _ => return Err(failure.after(attempt)),
            }
        }
    }
}
