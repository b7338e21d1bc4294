//! Items that can travel to and from worker processes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apart::{Apart, Extent, Packer, Place, Shelf};
use crate::codec::{self, CodecError, Format};
use crate::defaults::CHECKED_BYTES;

/// Items that may enter or leave a worker process: serde's two traits, `Send` and owned.
///
/// Implemented for every such type; there is nothing to implement by hand.
///
/// An item is serialized in the program: by a thread of the engine, or, if a worker idles, by the thread that emits or
/// sends it. So whoever does that must not hold a lock that the item's own `Serialize` waits for.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to or from a worker process",
    label = "this item would cross a process border here",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to `{Self}`, or run the block on `threads(n)`"
)]
pub trait Wire: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Wire for T {}

type EncodeApart<T> = fn(Format, &T, &mut Vec<u8>, &mut dyn Apart) -> Result<(), CodecError>;
type Check<T> = fn(Format, &T, &[u8], &[Extent]) -> Result<(), CodecError>;

/// How to encode and decode items of one type, for code that does not know the type to be `Wire`.
#[doc(hidden)]
pub struct WireFns<T> {
    pub(crate) decode: fn(Format, &[u8]) -> Result<T, CodecError>,
    /// Long runs of bytes may lie apart.
    encode_apart: EncodeApart<T>,
    pub(crate) decode_apart: fn(Format, &[u8], &mut Shelf) -> Result<T, CodecError>,
    /// Compares what serde is told of the item with what it is told of its decoded encoding; by the side that keeps
    /// the runs.
    check: Check<T>,
}

impl<T> Clone for WireFns<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for WireFns<T> {}

impl<T> WireFns<T> {
    /// Appends the bytes of an item, long runs of it put to their place. While some are `unchecked` it is checked; a
    /// large one counts for several.
    pub(crate) fn encode_checked(
        &self,
        format: Format,
        item: &T,
        out: &mut Vec<u8>,
        place: Place<'_>,
        unchecked: &mut u32,
    ) -> Result<Vec<Extent>, CodecError> {
        let base = out.len();
        let mut packer = Packer::new(place, base);
        (self.encode_apart)(format, item, out, &mut packer)?;
        let extents = packer.finish(out);
        if *unchecked > 0 {
            let length = extents.iter().map(Extent::length).sum::<usize>() + out.len() - base;
            *unchecked = unchecked.saturating_sub(1 + (length / CHECKED_BYTES) as u32);
            (self.check)(format, item, &out[base..], &extents)?;
        }
        Ok(extents)
    }
}

impl<T: Wire> WireFns<T> {
    pub(crate) fn new() -> Self {
        WireFns {
            decode: |format, bytes| format.decode(bytes),
            encode_apart: |format, item, out, apart| format.encode_apart(item, out, apart),
            decode_apart: |format, bytes, shelf| format.decode_apart(bytes, shelf),
            check: |format, item, bytes, extents| {
                codec::compare(format, item, || format.decode_own(bytes, extents))
            },
        }
    }
}
