//! The worker's end: how it died, which item is charged with it, and who replaces it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::results::Left;
use super::{Slot, Step};
use crate::defaults::{FORK_RETRY, GRACE, HELLO_BOUND, INIT_BOUND, LAST_WORDS_LINES};
use crate::error::Error;
use crate::events::Event;
use crate::failure::{Failure, FailureKind, beneath};
use crate::process::cause::{Cause, Killed};
use crate::process::link::{Link, Stage};
use crate::process::zygote::{Exit, Status};
use crate::stats::WorkerState;

/// A death between an item's steps and the sending of its result may be anybody's doing; so many times
/// `crash_attempts` of them are the item's (its result is too large for the memory there is).
const UNSENT: u32 = 10;

/// Beyond any run, and still a time that a clock can be asked for.
const FAR: Duration = Duration::from_secs(1 << 30);

/// Lines of a worker's last words where the causes of several deaths are told.
const FEW: usize = 5;

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

    /// When what the worker owes next must have come: an answer, its end, or the item it runs.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline_of(self.desk.claims.begun())
    }

    fn deadline_of(&self, begun: Option<Instant>) -> Option<Instant> {
        let item = self.awaited().map(|(link, limit)| match begun {
            Some(begun) => begun + limit,
            // A worker that was stopped between two items runs none, and says nothing either. One that merely waits for
            // its turn, or for the rest of a large item, has the grace at least.
            None => link.heard + limit.max(self.block.settings.grace.min(FAR)),
        });
        let parting = self.spares.parting.as_ref().and_then(|link| link.deadline);
        [self.last_link().and_then(|link| link.deadline), item, parting].into_iter().flatten().min()
    }

    /// When to look at the deadline again: a worker that runs nothing may begin an item at any moment, and does not say so.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        // Read once: both must be about the same moment.
        let begun = self.desk.claims.begun();
        let look = self.awaited().filter(|_| begun.is_none()).map(|(link, limit)| {
            let first = link.heard + limit;
            if first > now { first } else { now + limit }
        });
        [self.deadline_of(begun), look].into_iter().flatten().min()
    }

    /// A worker that has items in flight, and how long one may take.
    fn awaited(&self) -> Option<(&Link, Duration)> {
        let (link, limit) = (self.link.as_ref()?, self.block.settings.timeout?);
        let awaited = link.stage == Stage::Ready && link.killed.is_none() && !link.unhurried;
        (awaited && self.desk.ledger.lock().live() > 0).then_some((link, limit.min(FAR)))
    }

    /// What the worker that has ended printed last.
    fn last_words(&self) -> String {
        self.processes.last_words(self.block.number, self.index)
    }

    /// The worker's socket is at its end.
    pub(super) fn ended(&mut self) -> Step {
        let Some(mut link) = self.link.take() else { return Ok(()) };
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
            self.gone();
            return if self.block.fresh || self.input_ended { Ok(()) } else { self.fork() };
        }
        // Its end is reported, or its fork server is to be found dead.
        link.ask();
        link.deadline = Some(Instant::now() + GRACE);
        self.leaving = Some(Leaving { link, killed: false });
        Ok(())
    }

    /// The worker said goodbye: it had served its time.
    pub(super) fn gone(&mut self) {
        self.retired();
        // What it did not begin is for others. The next worker's last words begin with its own.
        let left = self.desk.ledger.lock().clear();
        self.block.crew.put_back(left.into_iter().map(|(_, parcel)| parcel));
        self.last_words();
        self.input_ended |= self.block.queue.is_over();
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
        if refused {
            // Where there is no room for a worker there is none for spares.
            self.block.crew.forgo_spares();
        }
        self.figures.is(WorkerState::Ended);
        if let Some(exit) = &exit {
            self.figures.peaked(exit.max_rss);
        }
        self.died(&link, exit)?;
        self.input_ended |= self.block.queue.is_over();
        if refused {
            self.fork_due = Some(Instant::now() + FORK_RETRY);
        }
        if self.block.fresh || self.input_ended || refused {
            return Ok(());
        }
        self.figures.restarted();
        self.fork()
    }

    /// Forks where the system had refused to, when it is time.
    pub(super) fn fork_again(&mut self) -> Step {
        if self.fork_due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.fork_due = None;
        self.input_ended |= self.block.queue.is_over();
        if self.block.fresh || self.input_ended { Ok(()) } else { self.fork() }
    }

    /// The worker died: the item it was running is charged with it, the others are run elsewhere.
    pub(super) fn died(&mut self, link: &Link, exit: Option<Exit>) -> Step {
        // It was dead before it had its item.
        let unused = link.was_ahead && link.killed.is_none() && self.desk.claims.pid().is_none();
        // One that could not be made had nothing to say, and one without an item neither.
        if !(unused || matches!(&exit, Some(Exit { status: Status::SpawnFailed(_), .. }))) {
            self.stats.goodbye_lost();
        }
        let cause = Cause::of(
            link.pid(),
            exit.as_ref(),
            link.killed,
            self.block.settings.limits,
            self.last_words(),
            || self.processes.oom.evidence(),
        );
        self.began();
        self.told = false;
        self.shared.bus().tell(|| Event::WorkerDied {
            worker: self.shared.worker_id(self.block.stage, self.figures),
            cause: cause.to_string(),
        });
        if let Some(Exit { status: Status::ZygoteLost, .. }) = exit {
            // Those that waited for an item went with the others, and are not told.
            if !unused {
                self.stats.died(cause.kind());
            }
            self.lost(&cause);
            return Ok(());
        }
        self.stats.died(cause.kind());
        if unused {
            // The next is not forked ahead: should that die, too, it counts.
            self.spares.dismiss(false);
            self.lost(&cause);
            return Ok(());
        }
        let flight = self.desk.ledger.lock().clear();
        let limit = self.block.settings.crash_attempts;
        let condemned = matches!(link.killed, Some(Killed::Deadline(_)));
        // Told to die for one item, it may have gone on to another.
        let overdue = link.overdue.is_some() && link.overdue == self.desk.claims.begun();
        let mut step = Ok(());
        let mut charged = None;
        let mut begun = link.stage >= Stage::Ready;
        for (index, mut parcel) in flight {
            let (running, done) = (self.desk.claims.is_running(index), self.desk.claims.is_done(index));
            // It need not have said that it was ready.
            begun |= running || done;
            let (deaths, limit, kind) = match condemned {
                // A worker that was told to die for another item says nothing about this one.
                true if !(running && overdue) => {
                    parcel.uncharged += u32::from(running || done);
                    (0, limit, FailureKind::Death)
                }
                _ if running => {
                    charged = Some(parcel.number);
                    parcel.deaths += 1;
                    let kind = if condemned { FailureKind::Deadline } else { FailureKind::Death };
                    (parcel.deaths, limit, kind)
                }
                _ => {
                    parcel.unsent += u32::from(done);
                    (parcel.unsent, limit.saturating_mul(UNSENT), FailureKind::Death)
                }
            };
            if deaths < limit || step.is_err() {
                self.block.crew.put_back([parcel]);
                continue;
            }
            let when = if charged == Some(parcel.number) {
                "while running it"
            } else {
                "before its result was sent"
            };
            let text = match deaths {
                1 => format!("its worker died {when}: {cause}"),
                _ => format!("its worker died {deaths} times {when}, the last time: {cause}"),
            };
            let attempts = parcel.attempts + deaths;
            let failure = Failure::new(kind, text).with_details(cause.words(LAST_WORDS_LINES));
            step = self.settle_failure(parcel.number, attempts, failure, Left::Spent(parcel));
        }
        step?;
        if condemned && charged.is_some() {
            // It died because it was told to; its item cannot do that more often than it is charged.
            return Ok(());
        }
        let when = match (charged, link.stage) {
            (Some(item), _) => format!("while it ran item {item}"),
            (None, _) if !begun => "while it started".to_string(),
            (None, _) => "between items".to_string(),
        };
        let words = cause.words(FEW);
        let cause = format!("{cause} {when}{}", beneath(words.as_deref()));
        match self.block.crew.died(begun, cause, &self.block.settings, &self.block.name) {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error),
        }
    }

    /// The worker died because its fork server did, or before it had anything to do: nobody is charged with it, and no
    /// limit counts it.
    fn lost(&mut self, cause: &Cause) {
        // It dies of the same signal, perhaps a moment after this: the next must not write where it may still write.
        self.desk.claims.close();
        let flight = self.desk.ledger.lock().clear();
        let claims = &self.desk.claims;
        self.block.crew.put_back(flight.into_iter().map(|(index, mut parcel)| {
            parcel.uncharged += u32::from(claims.is_running(index) || claims.is_done(index));
            parcel
        }));
        self.block.crew.lost(cause.to_string());
    }

    /// A worker that did not do in time what it owed is killed; its end is then seen on its socket. One whose
    /// item ran too long is asked first.
    pub(super) fn overdue(&mut self) -> Step {
        let now = Instant::now();
        if self.spares.hurry(now) {
            return Ok(());
        }
        if let Some(Leaving { link, killed }) = &mut self.leaving {
            if link.deadline.is_none_or(|deadline| deadline > now) {
                return Ok(());
            }
            if *killed {
                return self.replace(None);
            }
            *killed = true;
            link.kill_for(Killed::Mute);
            link.deadline = Some(now + GRACE);
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        if link.deadline.is_none_or(|deadline| deadline > now) {
            if let Some(limit) = self.block.settings.timeout {
                let claims = &self.desk.claims;
                link.condemn(claims.begun(), limit, self.block.settings.grace);
                // It may come to its senses within the grace: it is to begin nothing then.
                let left = self.desk.ledger.lock().take_back(usize::MAX, |index| claims.revoke(index));
                self.block.crew.put_back(left);
            }
            return Ok(());
        }
        if link.stage <= Stage::Starting && self.block.fresh {
            // It says no hello, and perhaps not that it is ready: the board says both.
            let (claims, index) = (&self.desk.claims, self.desk.ledger.lock().next().wrapping_sub(1));
            let stage = match claims.pid() {
                Some(_) if claims.is_running(index) || claims.is_done(index) => Stage::Ready,
                Some(_) => Stage::Starting,
                None => Stage::Forked,
            };
            if stage > link.stage {
                link.deadline = if stage == Stage::Ready { None } else { link.within(INIT_BOUND) };
                if link.stage == Stage::Forked {
                    link.said_hello();
                }
                link.stage = stage;
                if stage == Stage::Ready {
                    self.block.crew.started();
                }
                self.began();
                return Ok(());
            }
        }
        if link.stage == Stage::Forked && !link.missed_hello() {
            return Ok(());
        }
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
