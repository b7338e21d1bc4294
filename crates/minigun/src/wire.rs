//! Items that can travel to and from worker processes.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apart::{Extent, Place, Shelf, Store};
use crate::codec::{self, CodecError, Format};
use crate::defaults::{CHECKED_BYTES, LARGEST_ITEM};
use crate::failure::{Failure, FailureKind, guarded};

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

/// What became of items that were to be encoded.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// So many stand in the output, a block for each.
    pub(crate) count: u32,
    /// Which of them have long runs that stand elsewhere, and where.
    pub(crate) long: Vec<(usize, Vec<Extent>)>,
    /// How many bytes those are together.
    pub(crate) apart: usize,
}

type Encode<T> = fn(Format, &T, &mut Vec<u8>, Place<'_>, &mut u32) -> Result<Vec<Extent>, CodecError>;
type EncodeRun<T> = fn(
    Format,
    &[T],
    &mut Vec<u8>,
    Option<&Arc<Store>>,
    (usize, &mut u32),
    &mut Encoded,
) -> Result<(), Failure>;
type DecodeRun<T> = fn(Format, &[&[u8]], &mut Shelf, &mut Vec<T>) -> Result<(), CodecError>;

/// How to encode and decode items of one type, for code that does not know the type to be `Wire`. Those of a run are
/// a call for all of them.
#[doc(hidden)]
pub struct WireFns<T> {
    pub(crate) decode: fn(Format, &[u8]) -> Result<T, CodecError>,
    /// Long runs of bytes may lie apart.
    pub(crate) decode_apart: fn(Format, &[u8], &mut Shelf) -> Result<T, CodecError>,
    /// As that, until one cannot be decoded.
    pub(crate) decode_run: DecodeRun<T>,
    /// Appends the bytes of an item, long runs of it put to their place. While some are unchecked it is checked, by what
    /// serde is told of it and of its decoded encoding; a large one counts for several.
    pub(crate) encode: Encode<T>,
    /// Appends items, each as a block, until one fails or there are so many bytes. So many as are unchecked are checked.
    pub(crate) encode_run: EncodeRun<T>,
}

impl<T> Clone for WireFns<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for WireFns<T> {}

impl<T: Wire> WireFns<T> {
    pub(crate) fn new() -> Self {
        WireFns {
            decode: |format, bytes| format.decode(bytes),
            decode_apart: |format, bytes, shelf| format.decode_apart(bytes, shelf),
            decode_run: |format, items, shelf, out| {
                for bytes in items {
                    out.push(format.decode_apart(bytes, shelf)?);
                }
                Ok(())
            },
            encode,
            encode_run,
        }
    }
}

#[inline]
fn encode<T: Wire>(
    format: Format,
    item: &T,
    out: &mut Vec<u8>,
    place: Place<'_>,
    unchecked: &mut u32,
) -> Result<Vec<Extent>, CodecError> {
    let base = out.len();
    let extents = format.encode_apart(item, out, place)?;
    if *unchecked > 0 {
        let length = extents.iter().map(Extent::length).sum::<usize>() + out.len() - base;
        *unchecked = unchecked.saturating_sub(1 + (length / CHECKED_BYTES) as u32);
        codec::compare(format, item, || format.decode_own(&out[base..], &extents))?;
    }
    Ok(extents)
}

fn encode_run<T: Wire>(
    format: Format,
    items: &[T],
    out: &mut Vec<u8>,
    store: Option<&Arc<Store>>,
    (limit, unchecked): (usize, &mut u32),
    encoded: &mut Encoded,
) -> Result<(), Failure> {
    let mut end = out.len();
    // The user's `Serialize`: if it panics, that is its item's failure.
    let outcome = guarded(|| {
        for item in items {
            out.extend_from_slice(&[0; 4]);
            let place = store.map_or(Place::Nowhere, Place::Store);
            let extents = encode(format, item, out, place, unchecked).map_err(codec_failure)?;
            let length = out.len() - end - 4;
            if !extents.is_empty() || length > LARGEST_ITEM {
                let apart = extents.iter().map(Extent::length).sum::<usize>();
                if length + apart > LARGEST_ITEM {
                    return Err(too_long(length + apart));
                }
                encoded.apart += apart;
                encoded.long.push((encoded.count as usize, extents));
            }
            out[end..end + 4].copy_from_slice(&(length as u32).to_le_bytes());
            end = out.len();
            encoded.count += 1;
            if end + encoded.apart >= limit {
                break;
            }
        }
        Ok(())
    });
    out.truncate(end);
    outcome
}

#[cold]
fn too_long(bytes: usize) -> Failure {
    let text = format!("the item is {bytes} bytes long when encoded, more than the {LARGEST_ITEM} allowed");
    Failure::new(FailureKind::Codec, text)
}

pub(crate) fn codec_failure(error: CodecError) -> Failure {
    Failure::new(FailureKind::Codec, error)
}
