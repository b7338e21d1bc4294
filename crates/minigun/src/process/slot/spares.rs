//! Workers before and behind the one at work, of a block with a fresh one for every item: the one forked ahead, which
//! waits for its item, and the one that said goodbye and is not gone yet.
//!
//! So neither the fork nor the end of a process stands between two items. A slot has at most one of each: with `max` at
//! work there are at most `max` that wait, and `max` that have done all they had to do and leave.
//!
//! A spare has run nothing of the user's: hooks and `_init` closures wait for the item. It says nothing and owes nothing;
//! the end of its stream sends it away. One that dies is charged to nobody, and no other is forked for the same item.

use std::time::Instant;

use super::{Slot, Step};
use crate::defaults::GRACE;
use crate::process::cause::{Cause, Killed};
use crate::process::link::{Link, Stage};
use crate::process::zygote::{Exit, Status};

/// The workers of one slot beside that at work.
#[derive(Default)]
pub(super) struct Spares {
    /// Forked ahead, for the next item.
    ahead: Option<Link>,
    /// One is to be forked, if there may be one.
    wanted: bool,
    /// It said goodbye; its end was not seen.
    pub(super) parting: Option<Link>,
}

impl Spares {
    /// The worker forked ahead. From now on it owes its first words, and there may be another.
    pub(super) fn take(&mut self) -> Option<Link> {
        self.wanted = true;
        let mut spare = self.ahead.take()?;
        spare.take_up();
        Some(spare)
    }

    /// Whether nobody is left to be waited for. Who waits for an item is sent away by the end of its stream.
    pub(super) fn are_gone(&mut self) -> bool {
        self.parting.take_if(|link| link.is_over());
        self.parting.is_none()
    }

    /// Sends the worker forked ahead away; `kill`: and the one that said goodbye is not given its time.
    pub(super) fn dismiss(&mut self, kill: bool) {
        if let Some(link) = self.parting.take_if(|_| kill) {
            link.kill();
        }
        (self.ahead, self.wanted) = (None, false);
    }

    /// Kills who said goodbye and does not go, if its time is over; whether it was that.
    pub(super) fn hurry(&mut self, now: Instant) -> bool {
        let Some(link) = &mut self.parting else { return false };
        if link.deadline.is_none_or(|deadline| deadline > now) {
            return false;
        }
        link.deadline = None;
        if !self.are_gone()
            && let Some(link) = &mut self.parting
        {
            link.kill_for(Killed::Owed("did not end", GRACE));
        }
        true
    }
}

impl<T: Send + 'static> Slot<'_, T> {
    /// Forks the worker for the next item once the last one's item is on its way; looks after the one that waits.
    pub(super) fn fork_ahead(&mut self) -> Step {
        let may = self.block.crew.may_spare(self.index) && !self.input_ended;
        if let Some(exit) = self.spares.ahead.as_ref().and_then(Link::exit) {
            self.spare_died(&exit);
        }
        if !may {
            self.spares.ahead = None;
            return Ok(());
        }
        let written = self.link.as_ref().is_none_or(|link| !link.has_outgoing());
        if written && std::mem::take(&mut self.spares.wanted) && !self.block.queue.is_over() {
            self.spares.ahead = Some(Link::ahead(self.process()?, self.block.debugged));
        }
        Ok(())
    }

    /// The worker forked ahead is no more.
    fn spare_died(&mut self, exit: &Exit) {
        let Some(link) = self.spares.ahead.take() else { return };
        match exit.status {
            Status::SpawnFailed(_) => self.block.crew.forgo_spares(),
            // It went with its fork server, as the worker at work did.
            Status::ZygoteLost => {}
            _ => {
                let limits = self.block.settings.limits;
                let oom = || self.processes.oom.evidence();
                let cause = Cause::of(link.pid(), Some(exit), None, limits, String::new(), oom);
                self.stats.died(cause.kind());
                self.block.crew.lost(format!("{cause} while it waited for its first item"));
            }
        }
    }

    /// A worker that said goodbye is not waited for: the slot is free for the next.
    pub(super) fn part(&mut self) {
        let may = self.block.crew.may_spare(self.index) && !self.shared.is_halted();
        if may
            && let Some(link) = self.link.take_if(|link| link.stage == Stage::Gone && link.killed.is_none())
        {
            if self.spares.are_gone() {
                link.hush();
                self.spares.parting = Some(link);
                self.gone();
            } else {
                // The one before is still there: this one is waited for.
                self.link = Some(link);
            }
        }
    }
}
