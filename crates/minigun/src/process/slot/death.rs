//! The worker's end: how it died, which item is charged with it, and who replaces it.

use std::sync::atomic::Ordering;

use super::{Slot, Step};
use crate::defaults::{GRACE, HELLO_BOUND, INIT_BOUND, LAST_WORDS_LINES};
use crate::error::Error;
use crate::failure::{Failure, FailureKind, beneath};
use crate::process::cause::{Cause, Killed};
use crate::process::link::{Link, Stage};
use crate::process::zygote::{Exit, Status};

/// A death between an item's steps and the sending of its result may be anybody's doing; so many times
/// `crash_attempts` of them are the item's (its result is too large for the memory there is).
const UNSENT: u32 = 10;

/// Lines of a worker's last words where the causes of several deaths are told.
const FEW: usize = 5;

impl<T: Send + 'static> Slot<'_, T> {
    pub(super) fn pid(&self) -> Option<u32> {
        self.link.as_ref().and_then(Link::pid)
    }

    /// What the worker that has ended printed last.
    fn last_words(&self) -> String {
        self.processes.last_words(self.block.number, self.index)
    }

    /// The worker's socket is at its end.
    pub(super) fn ended(&mut self) -> Step {
        let Some(mut link) = self.link.take() else { return Ok(()) };
        if link.stage == Stage::Gone && self.desk.ledger.lock().live() == 0 {
            // The next worker's last words begin with its own.
            self.last_words();
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
        if let Some(Exit { status: Status::ZygoteLost, .. }) = exit {
            return self.fail(self.zygote_error("it died, and its workers with it"));
        }
        let cause = Cause::of(
            link.pid(),
            exit.as_ref(),
            link.killed,
            self.block.settings.limits,
            self.last_words(),
            || self.processes.oom.evidence(),
        );
        self.stats.died(cause.kind());
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
            let text = match deaths {
                1 => format!("its worker died {when}: {cause}"),
                _ => format!("its worker died {deaths} times {when}, the last time: {cause}"),
            };
            let attempts = parcel.attempts + deaths;
            let failure = Failure::new(FailureKind::Death, text).with_details(cause.words(LAST_WORDS_LINES));
            self.settle_failure(parcel.number, attempts, failure, None)?;
        }
        let when = match (charged, link.stage) {
            (Some(item), _) => format!("while it ran item {item}"),
            (None, Stage::Forked | Stage::Starting) => "while it started".to_string(),
            (None, _) => "between items".to_string(),
        };
        let words = cause.words(FEW);
        let cause = format!("{cause} {when}{}", beneath(words.as_deref()));
        let was_ready = link.stage >= Stage::Ready;
        match self.block.crew.died(was_ready, cause, &self.block.settings, &self.block.name) {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error),
        }
    }

    /// A worker that did not do in time what it owed is killed; its end is then seen on its socket.
    pub(super) fn overdue(&mut self) -> Step {
        let Some(link) = &mut self.link else { return Ok(()) };
        link.kill_for(match link.stage {
            Stage::Forked => Killed::Owed("said no hello", HELLO_BOUND),
            Stage::Starting => Killed::Owed("was not ready", INIT_BOUND),
            _ => Killed::Owed("did not end", GRACE),
        });
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
