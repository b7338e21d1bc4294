//! The ways out of a block: inside, outputs are held back; outside, they go on; between them a carrier.
//!
//! | the block runs | carrier |
//! |---|---|
//! | on the thread that built the sinks | none: inside and outside are one tree |
//! | on threads nested in another block | parcels: typed items handed to the outer thread |
//! | in a worker process | the wire: encoded items in a result frame |

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::attempt::guarded;
use super::edge::check_held;
use super::series::{Broken, Series};
use super::sink::{BoxSink, Cx, MakeSink, Sink};
use super::tx::Outlet;
use crate::apart::{Extent, Lent, Place, Shelf};
use crate::codec::Format;
use crate::defaults;
use crate::failure::{Failure, FailureKind};
use crate::graph::BlockId;
use crate::queue::Stopped;
use crate::wire::{WireFns, codec_failure};

/// How the outputs of a worker leave it, and the block whose exits that concerns.
#[derive(Clone)]
pub(crate) enum Carrier {
    Parcels(Rc<RefCell<Vec<Parcel>>>),
    Wire(Rc<WireOut>),
}

/// Committed items of one exit, on their way to the outer thread.
pub(crate) struct Parcel {
    pub(crate) exit: u16,
    pub(crate) items: Box<dyn Any + Send>,
}

/// One way out of a block, as the surrounding context sees it.
pub(crate) trait Exit: Send + Sync {
    /// Builds the outside end in the surrounding worker.
    fn open(&self, cx: &mut Cx) -> Result<Box<dyn Arrivals>, Failure>;
}

/// The outside end of an exit.
pub(crate) trait Arrivals {
    fn parcel(&mut self, items: Box<dyn Any + Send>) -> Result<(), Failure>;
    /// Decodes one item and sends it on.
    fn bytes(&mut self, format: Format, bytes: &[u8]) -> Result<(), Failure>;
    /// Decodes an item of each of the series' attempts and sends it on.
    fn run(&mut self, format: Format, items: &[&[u8]], series: &mut Series<'_>) -> Result<(), Broken>;
    fn settle(&mut self) -> Result<(), Failure>;
    fn finish(&mut self) -> Result<(), Failure>;
}

/// A typed exit: `outside` is where its items go once they left the block.
pub(crate) struct TypedExit<V> {
    pub(crate) block: BlockId,
    pub(crate) index: u16,
    pub(crate) outside: MakeSink<V>,
    pub(crate) wire: Option<WireFns<V>>,
}

impl<V: Send + 'static> TypedExit<V> {
    /// The inside end: the sink that steps of the block push into.
    pub(crate) fn inside(self: &Arc<Self>) -> MakeSink<V> {
        let exit = Arc::clone(self);
        Arc::new(move |cx| match &cx.border {
            Some((block, carrier)) if *block == exit.block => exit.carried(cx, &carrier.clone()),
            _ => (exit.outside)(cx),
        })
    }

    fn carried(&self, cx: &mut Cx, carrier: &Carrier) -> Result<BoxSink<V>, Failure> {
        match (carrier, self.wire) {
            (Carrier::Parcels(parcels), _) => {
                let held = Rc::new(Held {
                    items: RefCell::new(Vec::new()),
                    exit: self.index,
                    parcels: Rc::clone(parcels),
                });
                cx.tx.add(Rc::clone(&held) as Rc<dyn Outlet>);
                Ok(Box::new(HeldSink(held)))
            }
            (Carrier::Wire(out), Some(fns)) => Ok(Box::new(WireSink {
                out: Rc::clone(out),
                exit: self.index,
                fns,
                unchecked: defaults::CHECKED_ITEMS,
            })),
            (Carrier::Wire(_), None) => Err("minigun: an exit of a process block has no codec".into()),
        }
    }
}

impl<V: Send + 'static> Exit for TypedExit<V> {
    fn open(&self, cx: &mut Cx) -> Result<Box<dyn Arrivals>, Failure> {
        let shelf = cx.shelf.clone().unwrap_or_default();
        Ok(Box::new(Outside { sink: (self.outside)(cx)?, wire: self.wire, shelf, decoded: Vec::new() }))
    }
}

struct Outside<V> {
    sink: BoxSink<V>,
    wire: Option<WireFns<V>>,
    shelf: Rc<RefCell<Shelf>>,
    decoded: Vec<V>,
}

impl<V: 'static> Arrivals for Outside<V> {
    fn parcel(&mut self, items: Box<dyn Any + Send>) -> Result<(), Failure> {
        let Ok(items) = items.downcast::<Vec<V>>() else {
            return Err("minigun: a parcel of another type arrived".into());
        };
        items.into_iter().try_for_each(|item| self.sink.push(item))
    }

    fn bytes(&mut self, format: Format, bytes: &[u8]) -> Result<(), Failure> {
        let Some(wire) = self.wire else {
            return Err("minigun: an exit of a process block has no codec".into());
        };
        let item = (wire.decode_apart)(format, bytes, &mut self.shelf.borrow_mut()).map_err(codec_failure)?;
        self.sink.push(item)
    }

    fn run(&mut self, format: Format, items: &[&[u8]], series: &mut Series<'_>) -> Result<(), Broken> {
        let Some(wire) = self.wire else {
            return Err(Broken::Failed("minigun: an exit of a process block has no codec".into()));
        };
        let decoded = &mut self.decoded;
        let outcome = guarded(|| {
            (wire.decode_run)(format, items, &mut self.shelf.borrow_mut(), decoded).map_err(codec_failure)
        });
        // What came before one that could not be decoded is sent on nonetheless.
        let mut run = decoded.drain(..);
        while run.len() > 0 {
            match self.sink.push_run(&mut run, series) {
                // Nobody measures attempts here.
                Ok(()) | Err(Broken::Due) => {}
                broken => return broken,
            }
        }
        Ok(outcome?)
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.sink.settle()
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.sink.finish()
    }
}

struct Held<V> {
    items: RefCell<Vec<V>>,
    exit: u16,
    parcels: Rc<RefCell<Vec<Parcel>>>,
}

struct HeldSink<V>(Rc<Held<V>>);

impl<V> Sink<V> for HeldSink<V> {
    fn push(&mut self, item: V) -> Result<(), Failure> {
        let mut items = self.0.items.borrow_mut();
        check_held(items.len())?;
        items.push(item);
        Ok(())
    }
}

impl<V: Send + 'static> Outlet for Held<V> {
    fn mark(&self) -> usize {
        self.items.borrow().len()
    }

    fn undo(&self, mark: usize) {
        self.items.borrow_mut().truncate(mark);
    }

    fn publish(&self) -> Result<(), Stopped> {
        let items = std::mem::take(&mut *self.items.borrow_mut());
        if !items.is_empty() {
            self.parcels.borrow_mut().push(Parcel { exit: self.exit, items: Box::new(items) });
        }
        Ok(())
    }
}

/// A worker process's held-back outputs, already encoded: `exit: u16, length: u32, bytes` each (little
/// endian). The worker's loop takes them with the item's result.
pub(crate) struct WireOut {
    pub(crate) format: Format,
    held: RefCell<HeldBytes>,
}

#[derive(Default)]
struct HeldBytes {
    buffer: Vec<u8>,
    lent: Option<Lent>,
    /// Long runs that are not in the buffer, each with the place there where its output begins.
    runs: Vec<(usize, Extent)>,
    /// How long those are together.
    apart: usize,
}

impl WireOut {
    /// Long runs go to where `lent` leads, if it leads anywhere.
    pub(crate) fn new(format: Format, lent: Option<Lent>) -> Rc<Self> {
        Rc::new(WireOut { format, held: RefCell::new(HeldBytes { lent, ..HeldBytes::default() }) })
    }

    /// Moves what is held back to the end of `into`; gives how many bytes of it are not there but apart.
    #[inline]
    pub(crate) fn take(&self, into: &mut Vec<u8>) -> usize {
        let HeldBytes { buffer, lent, runs, apart } = &mut *self.held.borrow_mut();
        into.extend_from_slice(buffer);
        buffer.clear();
        // What one large item needed is given back.
        if buffer.capacity() > KEPT {
            *buffer = Vec::new();
        }
        if *apart > 0
            && let Some(lent) = lent
        {
            lent.send(runs.drain(..).map(|(_, extent)| extent));
        }
        std::mem::take(apart)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        let held = self.held.borrow();
        held.buffer.len() + held.apart
    }
}

/// Room for outputs that is kept from one item to the next, in bytes.
const KEPT: usize = 1 << 20;

impl Outlet for WireOut {
    fn mark(&self) -> usize {
        self.held.borrow().buffer.len()
    }

    fn undo(&self, mark: usize) {
        let HeldBytes { buffer, runs, apart, .. } = &mut *self.held.borrow_mut();
        buffer.truncate(mark);
        while let Some((_, extent)) = runs.pop_if(|(at, _)| *at >= mark) {
            *apart -= extent.length();
        }
    }

    fn publish(&self) -> Result<(), Stopped> {
        Ok(())
    }
}

struct WireSink<V> {
    out: Rc<WireOut>,
    exit: u16,
    fns: WireFns<V>,
    unchecked: u32,
}

impl<V> Sink<V> for WireSink<V> {
    fn push(&mut self, item: V) -> Result<(), Failure> {
        let HeldBytes { buffer, lent, runs, apart } = &mut *self.out.held.borrow_mut();
        let start = buffer.len();
        let [low, high] = self.exit.to_le_bytes();
        buffer.extend_from_slice(&[low, high, 0, 0, 0, 0]);
        let place = lent.as_mut().map_or(Place::Nowhere, Place::Lent);
        let encoded = (self.fns.encode)(self.out.format, &item, buffer, place, &mut self.unchecked);
        let extents = match encoded {
            Ok(extents) => extents,
            Err(error) => {
                buffer.truncate(start);
                return Err(codec_failure(error));
            }
        };
        let length = buffer.len() - start - 6;
        let bytes = *apart + extents.iter().map(Extent::length).sum::<usize>();
        if buffer.len() + bytes > defaults::LARGEST_ITEM {
            buffer.truncate(start);
            return Err(Failure::new(
                FailureKind::Codec,
                format!(
                    "the outputs of one item exceed {} bytes, the most one may make; let it make fewer or smaller ones",
                    defaults::LARGEST_ITEM
                ),
            ));
        }
        buffer[start + 2..start + 6].copy_from_slice(&(length as u32).to_le_bytes());
        if !extents.is_empty() {
            runs.extend(extents.into_iter().map(|extent| (start, extent)));
            *apart = bytes;
        }
        Ok(())
    }
}
