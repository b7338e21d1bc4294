//! In: what a worker sends, and what becomes of each item.

use super::{Failed, InTurn, Slot, Step};
use crate::defaults::INIT_BOUND;
use crate::error::{Error, init_error};
use crate::failure::{FailedItem, Failure, Fate, Verdict};
use crate::process::frame::{Fields, FrameError, Kind};
use crate::process::ledger::{Parcel, Taken};
use crate::process::link::{Input, Link, Stage};
use crate::process::protocol::{self, ItemOutcome, ResultRun};
use crate::stage::letters::{self, Remains};
use crate::stage::series::Broken;
use crate::stage::turns::{Passed, Turns};
use crate::timers;
use crate::working::Working;

impl<T: Send + 'static> Slot<'_, T> {
    pub(super) fn receive(&mut self) -> Step<bool> {
        let Some(link) = &mut self.link else { return Ok(false) };
        if std::mem::take(&mut self.read_all) {
            return Ok(false);
        }
        match link.receive() {
            Input::Nothing => Ok(false),
            Input::Some { all } => {
                self.read_all = all;
                self.stats.received_bytes(link.take_received());
                self.frames()?;
                self.part();
                Ok(true)
            }
            Input::End => {
                self.frames()?;
                self.ended()?;
                Ok(true)
            }
        }
    }

    pub(super) fn frames(&mut self) -> Step {
        let Some(mut link) = self.link.take() else { return Ok(()) };
        let outcome = self.frames_of(&mut link);
        self.link = Some(link);
        match outcome {
            Ok(step) => step,
            Err(error) => {
                // What is no frame can only come from code that wrote to a descriptor that is not its own.
                let cause = format!("a worker of `{}` (process {:?}): {error}", self.block.name, self.pid());
                self.fail(self.zygote_error(cause))
            }
        }
    }

    pub(super) fn frames_of(&mut self, link: &mut Link) -> Result<Step, FrameError> {
        let mut stage = link.stage;
        let mut step = Ok(());
        while step.is_ok()
            && let Some(frame) = link.next()?
        {
            if stage == Stage::Forked {
                // First words of any kind.
                stage = Stage::Starting;
                self.began();
            }
            match frame.kind {
                Kind::Hello => {}
                Kind::Ready => {
                    stage = stage.max(Stage::Ready);
                    self.block.crew.started();
                    self.shows_work();
                    step = self.journal(frame.payload);
                }
                Kind::Unready => {
                    let failure = protocol::decode_failure(frame.payload);
                    step = self.fail(match failure.is_hook() {
                        true => {
                            Error::Hook { hook: "after_fork", cause: failure.of_worker(&self.block.name) }
                        }
                        false => init_error(&self.block.name, &failure),
                    });
                }
                Kind::Results => {
                    step = self.results(frame.number, frame.payload)?;
                    if self.block.fresh {
                        if stage < Stage::Ready {
                            self.block.crew.started();
                        }
                        // Its only item: it ends, and need not say so.
                        stage = stage.max(Stage::Ending);
                    }
                }
                Kind::Bye => {
                    stage = Stage::Gone;
                    let mut fields = Fields(frame.payload);
                    step = self.journal(fields.block()?);
                    if step.is_ok() && !fields.is_empty() {
                        let cause = protocol::decode_failure(fields.0).to_string();
                        step = self.fail(Error::Hook { hook: "after", cause });
                    }
                }
                Kind::End => {
                    stage = stage.max(Stage::Ending);
                    let left = self.desk.ledger.lock().clear();
                    self.block.crew.put_back(left.into_iter().map(|(_, parcel)| parcel));
                }
                Kind::Items => return Err(FrameError::Content("a frame that only the program sends")),
            }
        }
        if stage != link.stage {
            if link.stage == Stage::Forked {
                link.said_hello();
            }
            link.stage = stage;
            link.deadline = match stage {
                Stage::Starting => link.within(INIT_BOUND),
                Stage::Ending | Stage::Gone => link.within(crate::defaults::GRACE),
                Stage::Forked | Stage::Ready => None,
            };
        }
        Ok(step)
    }

    pub(super) fn journal(&mut self, bytes: &[u8]) -> Step {
        match protocol::decode_journal(bytes, self.shared.totals()) {
            Ok((mut entries, work)) => {
                self.settle_waits(&mut entries);
                self.pace.worked(work);
                self.figures.peaked(work.peak);
                self.shared.settle_entries(entries);
                Ok(())
            }
            Err(failure) => self.fail(init_error(&self.block.name, &failure)),
        }
    }

    pub(super) fn results(&mut self, passed: u64, payload: &[u8]) -> Result<Step, FrameError> {
        let (mut fields, journal) = protocol::results_and_journal(payload)?;
        let (taken, mut left) = self.taken(Fields(fields.0))?;
        let mut taken = taken.into_iter();
        let (mut completed, mut resolved) = (0, 0);
        let mut step = Ok(());
        let mut run = None;
        while step.is_ok()
            && let Some(item) = taken.next()
        {
            let ResultRun { outcome, count, body, .. } = match &mut run {
                Some(run) => run,
                none => none.insert(protocol::next_results(&mut fields)?),
            };
            let items = item.count();
            left -= u64::from(items);
            *count -= items;
            let ended = *count == 0;
            match (*outcome, item, &self.block.turns) {
                (ItemOutcome::Failed, Taken::Parcel(parcel), _) => {
                    let attempts = parcel.attempts + 1;
                    let failure = protocol::decode_failure(body.0);
                    step = self.settle_failure(parcel.number, attempts, failure, Left::Again(*parcel));
                }
                // Failures are taken one by one.
                (ItemOutcome::Failed, Taken::New(..), _) => return Err(FrameError::Content("a failure")),
                (ItemOutcome::Done, item, None) => {
                    let (done, outcome) = match item {
                        Taken::New(number, count) => self.arrived_run(number, count, body)?,
                        Taken::Parcel(parcel) => {
                            let step = self.arrived(parcel.number, parcel.attempt(), body)?;
                            (u64::from(step.is_ok()), step)
                        }
                    };
                    completed += done;
                    resolved += done as usize;
                    step = outcome;
                }
                (ItemOutcome::Done, item, Some(turns)) => {
                    // It is resolved when it has its turn.
                    let (number, attempt) = item.first();
                    for number in number..number + u64::from(items) {
                        let body = protocol::next_result(body)?.to_vec();
                        let given = (!protocol::is_empty(&body)).then_some(InTurn { body, attempt });
                        self.hand_in(turns, number, given);
                    }
                    completed += u64::from(items);
                }
            }
            if ended {
                run = None;
            }
        }
        self.stats.completed(completed);
        self.figures.dealt_with(completed);
        self.block.queue.done(resolved);
        self.shows_work();
        if step.is_err() {
            self.stats.abandoned(left);
            self.block.queue.done(left as usize);
            return Ok(step);
        }
        let mut shelf = self.arrival.shelf();
        self.desk.claims.has_read(shelf.read());
        let long = shelf.take_bytes();
        drop(shelf);
        self.stats.received_bytes(long);
        if long > 0 {
            // Who takes them next should have a core before more are made: they are in its caches still, and the memory
            // that it lets go is used again. Otherwise each result would be new memory, whose pages cost more than copies.
            std::thread::yield_now();
        }
        let unresolved = self.desk.ledger.lock().pass(passed);
        if !unresolved.is_empty() {
            return Err(FrameError::Content("items were passed over without a result"));
        }
        Ok(self.journal(journal))
    }

    /// Takes the items out of the ledger that results have come for, in the order of the results; and how many
    /// they are.
    fn taken(&self, mut results: Fields<'_>) -> Result<(Vec<Taken<T>>, u64), FrameError> {
        let mut ledger = self.desk.ledger.lock();
        let (mut all, mut items) = (Vec::new(), 0);
        while !results.is_empty() {
            let ResultRun { index, outcome, count, .. } = protocol::next_results(&mut results)?;
            items += u64::from(count);
            let mut at = 0;
            while at < count {
                let taken = match outcome {
                    ItemOutcome::Done => ledger.take(index + u64::from(at), count - at),
                    ItemOutcome::Failed => ledger.take_parcel(index).map(Taken::Parcel),
                };
                let Some(taken) = taken else {
                    return Err(FrameError::Content("a result for an item that is not in flight"));
                };
                at += taken.count();
                all.push(taken);
            }
        }
        Ok((all, items))
    }

    /// An item's outputs go on into the program, all or none.
    fn arrived(&mut self, number: u64, attempt: u32, body: &mut Fields<'_>) -> Result<Step, FrameError> {
        let of = Working::Item { item: number, attempt };
        if let Err(failure) = self.arrival.outputs(self.block.settings.format, body, of)? {
            return Ok(self.refused(number, attempt, &failure));
        }
        if self.arrival.commit(self.shared).is_err() {
            return Ok(self.cut_off(1));
        }
        Ok(Ok(()))
    }

    /// As [`arrived`](Self::arrived), of items with consecutive numbers after their first attempt, one after the
    /// other. Gives how many went on.
    fn arrived_run(
        &mut self,
        number: u64,
        count: u32,
        body: &mut Fields<'_>,
    ) -> Result<(u64, Step), FrameError> {
        let end = number + u64::from(count);
        let format = self.block.settings.format;
        let (came, outcome) =
            self.arrival.results(format, body, number..end, (self.shared, &mut self.meter))?;
        let step = match outcome {
            Ok(()) => Ok(()),
            Err(Broken::Failed(failure)) => {
                self.stats.abandoned(end - came - 1);
                self.block.queue.done((end - came - 1) as usize);
                self.refused(came, 1, &failure)
            }
            Err(Broken::Stopped | Broken::Due) => self.cut_off(end - came),
        };
        Ok((came - number, step))
    }

    /// What an item made could not be taken: the run cannot go on.
    fn refused(&self, number: u64, attempt: u32, failure: &Failure) -> Step {
        let failed = FailedItem::new(&self.block.name, number, attempt, failure, Fate::Stopped);
        self.shared.gave_up(self.block.stage, failed);
        Err(Failed)
    }

    /// The run was stopped: what so many items made cannot go on.
    fn cut_off(&self, items: u64) -> Step {
        self.stats.abandoned(items);
        self.shared.gone();
        Err(Failed)
    }

    /// An item was set aside: it will not come back, and in an ordered block it gives up its place.
    fn gives_nothing(&self, number: u64) -> Step {
        match &self.block.turns {
            None => self.block.queue.done(1),
            Some(turns) => self.hand_in(turns, number, None),
        }
        Ok(())
    }

    /// In an ordered block an item's outputs go on when those of all before it have.
    fn hand_in(&self, turns: &Turns<InTurn>, number: u64, given: Option<InTurn>) {
        let size = given.as_ref().map_or(0, |given| given.body.len());
        let queue = &self.block.queue;
        turns.hand_in((number, size), given, |passed: Passed| queue.release(passed.below, passed.full));
    }

    /// An attempt failed: the item is tried again, or the block's last word applies to it. `attempts` are those
    /// that the policy counts.
    pub(super) fn settle_failure(
        &mut self,
        number: u64,
        attempts: u32,
        failure: Failure,
        left: Left<T>,
    ) -> Step {
        let verdict = match &left {
            _ if failure.is_final(0) => Verdict::Stop,
            Left::Again(_) => self.block.policy.verdict(attempts, self.shared.spread()),
            Left::Spent(_) | Left::Unencoded(_) => self.block.policy.last_word(),
        };
        self.figures.dealt_with(u64::from(!matches!((&verdict, &left), (Verdict::Retry(_), Left::Again(_)))));
        let policy_counts = attempts;
        let attempts = match &left {
            // This one had not been counted.
            Left::Again(parcel) => parcel.attempt(),
            Left::Spent(parcel) => parcel.attempt() - 1,
            Left::Unencoded(_) => attempts,
        };
        match (verdict, left) {
            (Verdict::Retry(wait), Left::Again(mut parcel)) => {
                self.shared.retried(self.block.stage, Some((number, &failure)));
                parcel.attempts = policy_counts;
                self.block.crew.put_off(parcel, timers::now() + wait);
                Ok(())
            }
            (Verdict::Skip, _) => {
                let failed = FailedItem::new(&self.block.name, number, attempts, &failure, Fate::Skipped);
                self.shared.gave_up(self.block.stage, failed);
                self.gives_nothing(number)
            }
            (Verdict::DeadLetter, left) => {
                let failed = FailedItem::new(&self.block.name, number, attempts, &failure, Fate::Dead);
                self.post(left, failed)
            }
            _ => {
                let failed = FailedItem::new(&self.block.name, number, attempts, &failure, Fate::Stopped);
                self.block.queue.done(1);
                self.shared.gave_up(self.block.stage, failed);
                Err(Failed)
            }
        }
    }

    /// The item becomes a dead letter.
    fn post(&mut self, left: Left<T>, failed: FailedItem) -> Step {
        let posted = match left {
            Left::Unencoded(item) => letters::post(&mut self.letters, Remains::Item(item), &failed),
            Left::Again(mut parcel) | Left::Spent(mut parcel) => {
                let (item, encoded) = (parcel.item.take(), parcel.bytes());
                let remains = match item {
                    Some(item) => Remains::Item(item),
                    None => Remains::Encoded(self.block.settings.format, &encoded),
                };
                letters::post(&mut self.letters, remains, &failed)
            }
        };
        if let Err(failure) = posted {
            self.block.queue.done(1);
            let failure = self.arrival.undone(failure);
            let name = &self.block.name;
            let failed = FailedItem::new(name, failed.item, failed.attempts, &failure, Fate::Stopped);
            self.shared.gave_up(self.block.stage, failed);
            return Err(Failed);
        }
        let committed = self.arrival.commit(self.shared);
        // Done only now: in a loop the letter may go round.
        if committed.is_err() {
            self.block.queue.done(1);
            self.stats.abandoned(1);
            self.shared.gone();
            return Err(Failed);
        }
        let number = failed.item;
        self.shared.gave_up(self.block.stage, failed);
        self.gives_nothing(number)
    }
}

/// What is left of an item whose attempt failed.
pub(super) enum Left<T> {
    /// It can be sent again.
    Again(Parcel<T>),
    /// It was sent often enough.
    Spent(Parcel<T>),
    /// It could not be sent at all.
    Unencoded(T),
}
