//! The worker's end: how it died, which item is charged with it, and who replaces it.

use std::sync::atomic::Ordering;

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

    /// The worker's socket is at its end.
    pub(super) fn ended(&mut self) -> Step {
        let Some(link) = self.link.take() else { return Ok(()) };
        if link.stage == Stage::Gone && self.desk.ledger.lock().live() == 0 {
            return Ok(());
        }
        // Until its next worker is ready this slot takes nothing: what calls it is for the others.
        self.desk.idle.store(false, Ordering::SeqCst);
        self.block.queue.pass_on(&self.desk.event);
        self.block.crew.wake_idle(1);
        let exit = link.exit();
        self.died(&link, exit)?;
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
            let (deaths, limit, when) = if self.desk.claims.is_running(index) {
                charged = Some(parcel.number);
                parcel.deaths += 1;
                (parcel.deaths, limit, "while running it")
            } else {
                parcel.unsent += u32::from(self.desk.claims.is_done(index));
                (parcel.unsent, limit.saturating_mul(UNSENT), "before its result was sent")
            };
            if deaths < limit {
                self.block.crew.put_back([parcel]);
                continue;
            }
            let text = format!("its worker died {deaths} times {when}, the last time: {pid}{how}");
            let attempts = parcel.attempts + deaths;
            self.settle_failure(parcel.number, attempts, Failure::new(FailureKind::Death, text), None)?;
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

    /// A worker that did not do in time what it owed is killed; its end is then seen on its socket.
    pub(super) fn overdue(&mut self) -> Step {
        let Some(link) = &mut self.link else { return Ok(()) };
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
