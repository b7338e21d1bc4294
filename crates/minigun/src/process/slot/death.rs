//! The worker's end: how it died, which item is charged with it, and who replaces it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::results::Left;
use super::{Slot, Step};
use crate::defaults::INIT_BOUND;
use crate::error::Error;
use crate::failure::{Failure, FailureKind};
use crate::process::link::{Link, Stage};
use crate::process::zygote::{Exit, Status};

/// A death between an item's steps and the sending of its result may be anybody's doing; so many times
/// `crash_attempts` of them are the item's (its result is too large for the memory there is).
const UNSENT: u32 = 10;

impl<T: Send + 'static> Slot<'_, T> {
    pub(super) fn pid(&self) -> Option<u32> {
        self.link.as_ref().and_then(Link::pid)
    }

    /// When what the worker owes next must have come: an answer, its end, or the item it runs.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let link = self.link.as_ref()?;
        [link.deadline, self.item_deadline(link)].into_iter().flatten().min()
    }

    fn item_deadline(&self, link: &Link) -> Option<Instant> {
        let limit = self.block.settings.timeout?;
        if link.stage != Stage::Ready || link.condemned.is_some() || self.desk.ledger.lock().live() == 0 {
            return None;
        }
        // A worker that was stopped between two items runs none, and says nothing either.
        self.desk.claims.begun().unwrap_or(link.heard).checked_add(limit)
    }

    /// The worker's socket is at its end.
    pub(super) fn ended(&mut self) -> Step {
        let Some(link) = self.link.take() else { return Ok(()) };
        if self.shared.is_halted() {
            // The engine's own doing, or nobody's business any more.
            link.kill();
            return Ok(());
        }
        // Until its next worker is ready this slot takes nothing: what calls it is for the others.
        self.desk.idle.store(false, Ordering::SeqCst);
        self.block.queue.pass_on(&self.desk.event);
        self.block.crew.wake_idle(1);
        if link.stage == Stage::Gone {
            // It had served its time: what it did not begin is for others.
            let left = self.desk.ledger.lock().clear();
            self.block.crew.put_back(left.into_iter().map(|(_, parcel)| parcel));
            self.input_ended |= self.block.queue.is_over();
        } else {
            let exit = link.exit();
            self.died(&link, exit)?;
        }
        if self.block.fresh || self.input_ended { Ok(()) } else { self.fork() }
    }

    /// The worker died: the item it was running is charged with it, the others are run elsewhere.
    pub(super) fn died(&mut self, link: &Link, exit: Option<Exit>) -> Step {
        let pid = link.pid().map_or(String::new(), |pid| format!("process {pid} "));
        // One that could not be made had nothing to say.
        let was_made = !matches!(&exit, Some(Exit { status: Status::SpawnFailed(_), .. }));
        if link.stage != Stage::Gone && was_made {
            self.stats.goodbye_lost();
        }
        let how = exit.as_ref().map_or("ended, nobody could tell how".to_string(), ToString::to_string);
        if let Some(Exit { status: Status::ZygoteLost, .. }) = exit {
            return self.fail(self.zygote_error("it died, and its workers with it"));
        }
        self.stats.died();
        let flight = self.desk.ledger.lock().clear();
        let limit = self.block.settings.crash_attempts;
        let mut charged = None;
        for (index, mut parcel) in flight {
            let (deaths, limit) = if self.desk.claims.is_running(index) {
                charged = Some(parcel.number);
                parcel.deaths += 1;
                (parcel.deaths, limit)
            } else {
                // A worker that was killed for another item's deadline says nothing about this one.
                let done = link.condemned.is_none() && self.desk.claims.is_done(index);
                parcel.unsent += u32::from(done);
                (parcel.unsent, limit.saturating_mul(UNSENT))
            };
            if deaths < limit {
                self.block.crew.put_back([parcel]);
                continue;
            }
            let failure = match link.condemned {
                Some(limit) if charged == Some(parcel.number) => Failure::new(
                    FailureKind::Deadline,
                    format!(
                        "it ran longer than its deadline of {limit:?} ({deaths} of its workers died running it); \
                         the last one was {pid}{how}"
                    ),
                ),
                _ => {
                    let when = if parcel.deaths >= limit {
                        "while running it"
                    } else {
                        "before its result was sent"
                    };
                    let text = format!("its worker died {deaths} times {when}, the last time: {pid}{how}");
                    Failure::new(FailureKind::Death, text)
                }
            };
            let attempts = parcel.attempts + deaths;
            self.settle_failure(parcel.number, attempts, failure, Left::Spent(parcel))?;
        }
        if link.condemned.is_some() {
            // It died because it was told to, and cannot do so faster than its deadline allows.
            return Ok(());
        }
        let when = match (charged, link.stage) {
            (Some(item), _) => format!("while it ran item {item}"),
            (None, Stage::Forked | Stage::Starting) => "while it started".to_string(),
            (None, _) => "between items".to_string(),
        };
        let cause = format!("{pid}{how} {when}");
        let was_ready = link.stage >= Stage::Ready;
        match self.block.crew.died(was_ready, cause, &self.block.settings, &self.block.name) {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error),
        }
    }

    /// A worker that did not do in time what it owed is killed; its end is then seen on its socket. One whose
    /// item ran too long is asked first.
    pub(super) fn overdue(&mut self) -> Step {
        let now = Instant::now();
        let Some(link) = &mut self.link else { return Ok(()) };
        if link.deadline.is_none_or(|deadline| deadline > now) {
            if let Some(limit) = self.block.settings.timeout {
                link.condemn(limit, self.block.settings.grace);
            }
            return Ok(());
        }
        link.kill();
        link.deadline = None;
        match link.stage {
            Stage::Starting => {
                let cause = format!("its hooks and `_init` closures took longer than {INIT_BOUND:?}");
                self.fail(Error::Init { stage: self.block.name.to_string(), cause })
            }
            _ => Ok(()),
        }
    }
}
