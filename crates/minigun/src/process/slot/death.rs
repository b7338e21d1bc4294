//! The worker's end: how it died, which item is charged with it, and who replaces it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Slot, Step};
use crate::defaults::{FORK_RETRY, GRACE, INIT_BOUND};
use crate::error::Error;
use crate::failure::{Failure, FailureKind};
use crate::process::link::{Link, Stage};
use crate::process::zygote::{Exit, Status};

/// A death between an item's steps and the sending of its result may be anybody's doing; so many times
/// `crash_attempts` of them are the item's (its result is too large for the memory there is).
const UNSENT: u32 = 10;

/// A worker whose stream has ended.
pub(super) struct Leaving {
    pub(super) link: Link,
    /// It was told to by SIGKILL.
    killed: bool,
}

impl<T: Send + 'static> Slot<'_, T> {
    pub(super) fn pid(&self) -> Option<u32> {
        self.link.as_ref().and_then(Link::pid)
    }

    /// The worker's socket is at its end.
    pub(super) fn ended(&mut self) -> Step {
        let Some(mut link) = self.link.take() else { return Ok(()) };
        if link.stage == Stage::Gone && self.desk.ledger.lock().live() == 0 {
            return Ok(());
        }
        // Until its next worker is ready this slot takes nothing: what calls it is for the others.
        self.desk.idle.store(false, Ordering::SeqCst);
        self.block.queue.pass_on(&self.desk.event);
        self.block.crew.wake_idle(1);
        // Its end is reported, or its fork server is to be found dead.
        link.ask();
        link.deadline = Some(Instant::now() + GRACE);
        self.leaving = Some(Leaving { link, killed: false });
        Ok(())
    }

    /// How the worker ended that was leaving: `false` if that is not known yet.
    pub(super) fn left(&mut self) -> Step<bool> {
        let Some(exit) = self.leaving.as_ref().and_then(|leaving| leaving.link.exit()) else {
            return Ok(false);
        };
        self.replace(Some(exit))?;
        Ok(true)
    }

    fn replace(&mut self, exit: Option<Exit>) -> Step {
        let Some(Leaving { link, .. }) = self.leaving.take() else { return Ok(()) };
        let refused = matches!(exit, Some(Exit { status: Status::SpawnFailed(_), .. }));
        self.died(&link, exit)?;
        if refused {
            self.fork_due = Some(Instant::now() + FORK_RETRY);
        }
        if self.block.fresh || self.input_ended || refused { Ok(()) } else { self.fork() }
    }

    /// Forks where the system had refused to, when it is time.
    pub(super) fn fork_again(&mut self) -> Step {
        if self.fork_due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.fork_due = None;
        if self.block.fresh || self.input_ended { Ok(()) } else { self.fork() }
    }

    /// The worker died: the item it was running is charged with it, the others are run elsewhere.
    pub(super) fn died(&mut self, link: &Link, exit: Option<Exit>) -> Step {
        let pid = link.pid().map_or(String::new(), |pid| format!("process {pid} "));
        let how = exit.as_ref().map_or("ended, nobody could tell how".to_string(), ToString::to_string);
        if let Some(Exit { status: Status::ZygoteLost, .. }) = exit {
            self.lost(format!("{pid}{how}"));
            return Ok(());
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

    /// The worker died because its fork server did: nobody is charged with it, and no limit counts it.
    fn lost(&mut self, cause: String) {
        self.stats.died();
        let flight = self.desk.ledger.lock().clear();
        self.block.crew.put_back(flight.into_iter().map(|(_, parcel)| parcel));
        self.block.crew.lost(cause);
    }

    /// A worker that did not do in time what it owed is killed; its end is then seen on its socket.
    pub(super) fn overdue(&mut self) -> Step {
        if let Some(Leaving { link, killed }) = &mut self.leaving {
            if *killed {
                return self.replace(None);
            }
            // It closed its stream and lives on.
            *killed = true;
            link.kill();
            link.deadline = Some(Instant::now() + GRACE);
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        if link.stage == Stage::Forked && !link.missed_hello() {
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
