//! Where results arrive in the program: the outside ends of a block's exits, in one transaction.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use super::frame::{Fields, FrameError};
use super::protocol;
use crate::apart::Shelf;
use crate::codec::Format;
use crate::error::Error;
use crate::failure::Failure;
use crate::in_flight::InFlight;
use crate::queue::Stopped;
use crate::shared::Shared;
use crate::stage::attempt::guarded;
use crate::stage::exit::{Arrivals, Exit, Parcel};
use crate::stage::letters::{self, Letters, MakeLetters};
use crate::stage::sink::Cx;
use crate::working::Working;

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
        body: &[u8],
        of: Working,
    ) -> Result<Result<(), Failure>, FrameError> {
        // The light steps behind the block run here and now.
        self.cx.tx.journal.works_at(of);
        let outcome = self.take_outputs(format, body);
        self.cx.tx.journal.works_at(Working::Nothing);
        outcome
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

    fn take_outputs(&mut self, format: Format, body: &[u8]) -> Result<Result<(), Failure>, FrameError> {
        let mut fields = Fields(body);
        while !fields.is_empty() {
            let (exit, bytes) = protocol::next_output(&mut fields)?;
            let Some(arrivals) = self.exits.get_mut(exit as usize) else {
                return Err(FrameError::Content("an output for an exit that does not exist"));
            };
            if let Err(failure) = guarded(|| arrivals.bytes(format, bytes)) {
                return Ok(Err(self.undone(failure)));
            }
        }
        // Threads nested behind an exit may still be at it: the item is not through before they are.
        let unsettled = self.cx.tx.is_unsettled();
        for exit in self.exits.iter_mut().filter(|_| unsettled) {
            if let Err(failure) = guarded(|| exit.settle()) {
                return Ok(Err(self.undone(failure)));
            }
        }
        Ok(Ok(()))
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
