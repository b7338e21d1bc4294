//! Two zygotes: the one in charge, and a standby that takes over once.
//!
//! Both are forked when the run begins, so that the workers of either see the same memory. The standby does
//! nothing until the first one is lost. All workers of the first have died with it by the time their ends are
//! reported, so a slot that forks anew never has two.

use std::sync::OnceLock;
use std::time::Duration;

use super::birth::birth;
use super::client::{WorkerProcess, Zygote};
use super::{WorkerMain, ZygoteError};

/// The fork servers of a run.
#[derive(Debug)]
pub(crate) struct Zygotes {
    first: Zygote,
    standby: Zygote,
    /// Why the standby is in charge, once it is.
    lost: OnceLock<ZygoteError>,
}

impl Zygotes {
    /// Forks both, before either has a listener thread, and waits until each has proved that it works: 200 ms,
    /// then once more with 1 s, then with 5 s. A zygote that leaves a request unanswered for `answer`, and
    /// says nothing at all meanwhile, is killed. `inside` runs in each of them, before they have any worker.
    pub(crate) fn birth(
        name: &str,
        worker: &WorkerMain,
        inside: &dyn Fn(),
        answer: Duration,
    ) -> Result<Zygotes, ZygoteError> {
        let standby = |error| ZygoteError::Standby(Box::new(error));
        let first = birth(name, worker, inside)?;
        let second = match birth(name, worker, inside) {
            Ok(second) => second,
            Err(error) => {
                first.abandon();
                return Err(standby(error));
            }
        };
        let first = match Zygote::new(name, first, answer) {
            Ok(first) => first,
            Err(error) => {
                second.abandon();
                return Err(error);
            }
        };
        let second = Zygote::new(name, second, answer).map_err(standby)?;
        Ok(Zygotes { first, standby: second, lost: OnceLock::new() })
    }

    /// Asks for a worker, as [`Zygote::spawn`] does: the first zygote while there is one, then the standby.
    pub(crate) fn spawn(&self, block: u32, slot: u32, title: &str) -> Result<WorkerProcess, ZygoteError> {
        if self.lost.get().is_none() {
            match self.first.spawn(block, slot, title) {
                Err(error) if error.is_loss() => drop(self.lost.set(error)),
                other => return other,
            }
        }
        if self.first.is_undead() {
            return Err(ZygoteError::Undead);
        }
        self.standby.spawn(block, slot, title).map_err(|error| match self.lost.get() {
            Some(first) if error.is_loss() => {
                ZygoteError::Both { first: first.to_string(), standby: Box::new(error) }
            }
            _ => error,
        })
    }

    /// Waits up to `grace` for the workers to leave, kills those that are left, with their process groups, and
    /// waits until all are gone and both zygotes are reaped. A second call does nothing more.
    ///
    /// That a zygote was lost is an error only for who needed one: here it is one if something is left.
    pub(crate) fn close(&self, grace: Duration) -> Result<(), ZygoteError> {
        self.first.dismiss(grace);
        self.standby.dismiss(grace);
        let (first, standby) = (self.first.close(grace), self.standby.close(grace));
        let left = |closed: &Result<(), ZygoteError>| matches!(closed, Err(ZygoteError::Undead));
        if left(&first) {
            first
        } else if left(&standby) {
            standby
        } else {
            Ok(())
        }
    }

    /// Their process numbers: the first, the standby.
    #[cfg(test)]
    pub(crate) fn pids(&self) -> [u32; 2] {
        [self.first.pid(), self.standby.pid()]
    }
}
