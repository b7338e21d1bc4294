//! A series of first attempts, each committed before the next begins, and what is looked at only now and then meanwhile.

use super::tx::Tx;
use crate::failure::Failure;
use crate::journal::Journal;
use crate::meter::Meter;
use crate::queue::Stopped;
use crate::shared::Shared;
use crate::working::Working;

/// First attempts at items with consecutive numbers.
///
/// The number of the one that comes next, or of the one at which it broke off, is kept by the journal, which has to know
/// it at any moment: whatever ended the series, [`reached`](Self::reached) says how far it came.
pub(crate) struct Series<'a> {
    tx: &'a Tx,
    run: &'a Shared,
    meter: &'a mut Meter,
    /// Up to here the meter was told.
    metered: u64,
}

/// Why a series broke off.
pub(crate) enum Broken {
    /// An attempt failed.
    Failed(Failure),
    /// What an attempt made cannot go on: the run was stopped.
    Stopped,
    /// Nothing is wrong: it is time to tell what was measured.
    Due,
}

impl From<Stopped> for Broken {
    fn from(Stopped: Stopped) -> Self {
        Broken::Stopped
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Broken::Failed(failure)
    }
}

impl<'a> Series<'a> {
    /// The first item has this number.
    pub(crate) fn new(tx: &'a Tx, run: &'a Shared, meter: &'a mut Meter, first: u64) -> Self {
        tx.journal.works_at(Working::at(first, 0));
        Series { tx, run, meter, metered: first }
    }

    pub(super) fn tx(&self) -> &'a Tx {
        self.tx
    }

    /// Attempts begin, and are [over](Going::over) one after the other.
    #[inline(always)]
    pub(super) fn begin(&mut self) -> Going<'_, 'a> {
        let number = self.tx.journal.item();
        Going { tx: self.tx, journal: &self.tx.journal, number, left: self.meter.left(), series: self }
    }

    /// So many attempts were made that nothing but this ends, and that recorded nothing.
    pub(super) fn all(
        &mut self,
        count: u64,
        publish: impl FnOnce() -> Result<(), Stopped>,
    ) -> Result<(), Broken> {
        self.tx.journal.keep();
        publish()?;
        self.tx.journal.is_at(self.tx.journal.item() + count);
        self.told()
    }

    #[cold]
    fn settle(&self) {
        if self.tx.journal.has_values() {
            self.run.settle(&self.tx.journal);
        }
    }

    /// The meter knows of the items that are over.
    fn told(&mut self) -> Result<(), Broken> {
        let reached = self.tx.journal.item();
        let items = reached - std::mem::replace(&mut self.metered, reached);
        if self.meter.items(items as u32) { Err(Broken::Due) } else { Ok(()) }
    }

    /// The series is over, however it ended: gives the number of the item that comes next, or of the one at which it
    /// broke off.
    pub(crate) fn reached(mut self) -> u64 {
        // That it is time to tell what was measured is found again when the next item is over.
        let _ = self.told();
        self.tx.journal.works_at(Working::Nothing);
        self.metered
    }
}

/// A series under way, at hand for the loop that makes the attempts.
pub(super) struct Going<'s, 'a> {
    series: &'s mut Series<'a>,
    tx: &'a Tx,
    journal: &'a Journal,
    number: u64,
    /// Until the meter is to be told there is nothing else to look at.
    left: u32,
}

impl Going<'_, '_> {
    /// The attempt at an item succeeded; what it made is published before the next one begins.
    #[inline(always)]
    pub(super) fn over(&mut self, publish: impl FnOnce(&Tx) -> Result<(), Stopped>) -> Result<(), Broken> {
        let used = self.journal.is_used();
        if used {
            self.journal.keep();
        }
        let published = publish(self.tx);
        if used {
            self.series.settle();
        }
        published?;
        self.number += 1;
        self.journal.is_at(self.number);
        self.left -= 1;
        if self.left == 0 {
            self.series.told()?;
            self.left = self.series.meter.left();
        }
        Ok(())
    }

    /// There are no more items.
    #[inline(always)]
    pub(super) fn end(self) -> Result<(), Broken> {
        self.series.told()
    }
}
