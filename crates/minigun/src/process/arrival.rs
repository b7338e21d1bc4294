//! Where results arrive in the program: the outside ends of a block's exits, in one transaction.

use std::cell::{RefCell, RefMut};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::frame::{Fields, FrameError};
use super::protocol;
use crate::apart::Shelf;
use crate::codec::Format;
use crate::error::Error;
use crate::failure::Failure;
use crate::in_flight::InFlight;
use crate::meter::Meter;
use crate::queue::Stopped;
use crate::shared::Shared;
use crate::stage::attempt::guarded;
use crate::stage::exit::{Arrivals, Exit, Parcel};
use crate::stage::letters::{self, Letters, MakeLetters};
use crate::stage::series::{Broken, Series};
use crate::stage::sink::Cx;
use crate::working::Working;

/// So many items are decoded one after the other before they are sent on.
const RUN: usize = 256;

const NO_EXIT: FrameError = FrameError::Content("an output for an exit that does not exist");

/// One slot's outside ends.
pub(crate) struct Arrival {
    cx: Cx,
    exits: Vec<Box<dyn Arrivals>>,
    shelf: Rc<RefCell<Shelf>>,
}

impl Arrival {
    pub(crate) fn open(
        shared: &Arc<Shared>,
        block: &Arc<str>,
        exits: &[Arc<dyn Exit>],
        within: Option<Arc<InFlight>>,
        shelf: Shelf,
    ) -> Result<Self, Failure> {
        let shelf = Rc::new(RefCell::new(shelf));
        let mut cx = Cx { within, shelf: Some(Rc::clone(&shelf)), ..Cx::new(shared, block, None) };
        // The thread's only journal, for its whole life.
        std::mem::forget(cx.tx.journal.enter());
        let exits = guarded(|| exits.iter().map(|exit| exit.open(&mut cx)).collect())?;
        Ok(Arrival { cx, exits, shelf })
    }

    /// Where the long runs of outputs are found.
    pub(crate) fn shelf(&self) -> RefMut<'_, Shelf> {
        self.shelf.borrow_mut()
    }

    /// Takes the outputs of an attempt; they are held back until `commit`. On failure nothing of them is left.
    pub(crate) fn outputs(
        &mut self,
        format: Format,
        body: &mut Fields<'_>,
        of: Working,
    ) -> Result<Result<(), Failure>, FrameError> {
        // The light steps behind the block run here and now.
        self.cx.tx.journal.works_at(of);
        let outcome = self.take_outputs(format, body);
        self.cx.tx.journal.works_at(Working::Nothing);
        outcome
    }

    /// As [`outputs`](Self::outputs), of a result that was kept by itself.
    pub(crate) fn outputs_of(
        &mut self,
        format: Format,
        body: &[u8],
        of: Working,
    ) -> Result<Result<(), Failure>, FrameError> {
        self.outputs(format, &mut Fields(body), of)
    }

    /// As [`outputs`](Self::outputs), of an attempt that a thread of the program made.
    pub(crate) fn parcels(&mut self, parcels: Vec<Parcel>, of: Working) -> Result<(), Failure> {
        // The thread records for its attempts otherwise.
        let _recording = self.cx.tx.journal.enter();
        self.cx.tx.journal.works_at(of);
        let exits = &mut self.exits;
        let arrived = guarded(|| {
            for parcel in parcels {
                if let Some(arrivals) = exits.get_mut(usize::from(parcel.exit)) {
                    arrivals.parcel(parcel.items)?;
                }
            }
            exits.iter_mut().try_for_each(|exit| exit.settle())
        });
        self.cx.tx.journal.works_at(Working::Nothing);
        arrived.map_err(|failure| self.undone(failure))
    }

    /// Takes the results of items with these numbers after their first attempt, each committed for itself. Gives the
    /// number of the item that comes next, and why it went no further if it did not.
    pub(crate) fn results(
        &mut self,
        format: Format,
        body: &mut Fields<'_>,
        numbers: Range<u64>,
        (shared, meter): (&Shared, &mut Meter),
    ) -> Result<(u64, Result<(), Broken>), FrameError> {
        let mut number = numbers.start;
        let mut run = Vec::with_capacity(RUN.min((numbers.end - number) as usize));
        while number < numbers.end {
            number += protocol::pass_empty(body, numbers.end - number);
            let most = RUN.min((numbers.end - number) as usize);
            if most == 0 {
                break;
            }
            let exit = protocol::next_single_outputs(body, most, &mut run)?;
            if run.is_empty() {
                // It gave more than one.
                if let Err(failure) = self.outputs(format, body, Working::at(number, 0))? {
                    return Ok((number, Err(failure.into())));
                }
                if self.commit(shared).is_err() {
                    return Ok((number, Err(Broken::Stopped)));
                }
                number += 1;
                continue;
            }
            let Some(exit) = self.exits.get_mut(usize::from(exit)) else { return Err(NO_EXIT) };
            let mut series = Series::new(&self.cx.tx, shared, meter, number);
            let outcome = guarded(|| Ok(exit.run(format, &run, &mut series)));
            number = series.reached();
            match outcome.unwrap_or_else(|failure| Err(failure.into())) {
                Ok(()) => {}
                Err(Broken::Failed(failure)) => return Ok((number, Err(self.undone(failure).into()))),
                Err(broken) => return Ok((number, Err(broken))),
            }
        }
        Ok((number, Ok(())))
    }

    fn take_outputs(
        &mut self,
        format: Format,
        body: &mut Fields<'_>,
    ) -> Result<Result<(), Failure>, FrameError> {
        while let Some((exit, bytes)) = protocol::next_output(body)? {
            let Some(arrivals) = self.exits.get_mut(exit as usize) else {
                return Err(NO_EXIT);
            };
            if let Err(failure) = guarded(|| arrivals.bytes(format, bytes)) {
                return Ok(Err(self.undone(failure)));
            }
        }
        // Threads nested behind an exit may still be at it: the item is not through before they are.
        let (exits, tx) = (&mut self.exits, &self.cx.tx);
        let settled = tx.settle(|| exits.iter_mut().try_for_each(|exit| guarded(|| exit.settle())));
        Ok(settled.map_err(|failure| self.undone(failure)))
    }

    /// Opens the slot's way to the dead letters of its block.
    pub(crate) fn letters<T>(
        &mut self,
        letters: Option<&MakeLetters<T>>,
    ) -> Result<Option<Box<dyn Letters<T>>>, Failure> {
        letters::open(letters, &mut self.cx)
    }

    /// Drops what is held back; says of a failure where it happened.
    pub(crate) fn undone(&self, failure: Failure) -> Failure {
        self.cx.tx.undo();
        self.cx.tx.place(failure)
    }

    /// Lets an item's outputs go on; may wait for room.
    pub(crate) fn commit(&mut self, shared: &Shared) -> Result<(), Stopped> {
        let committed = self.cx.tx.commit();
        if self.cx.tx.journal.has_values() {
            shared.settle(&self.cx.tx.journal);
        }
        committed
    }

    /// Committed figures reach the shared books.
    pub(crate) fn flush(&self, shared: &Shared) {
        self.cx.tx.flush();
        shared.settle(&self.cx.tx.journal);
    }

    /// The slot ends: so do the light steps behind its exits.
    pub(crate) fn finish(mut self, shared: &Shared) {
        for exit in &mut self.exits {
            if let Err(failure) = guarded(|| exit.finish()) {
                shared.fail(Error::Hook { hook: "after", cause: failure.to_string() });
            }
        }
        let tx = Rc::clone(&self.cx.tx);
        drop(self);
        if tx.commit().is_err() {
            shared.gone();
        }
        tx.flush();
        shared.settle(&tx.journal);
    }
}
