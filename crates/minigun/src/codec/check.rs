//! Proves a codec fit for a type: what comes out of a round trip must tell serde what went in.
//!
//! Comparing what serde is told needs no `PartialEq` and knows no exceptions for NaN; comparing bytes would
//! not do, since a codec that loses something loses it every time.

use serde::Serialize;

use super::{
    CodecError, Format,
    error::Action,
    walk::{Purpose, walk},
};

/// Compares an item with what it is decoded to.
pub(crate) fn compare<T: Serialize>(
    format: Format,
    item: &T,
    decode: impl FnOnce() -> Result<T, CodecError>,
) -> Result<(), CodecError> {
    let before = fingerprint(format, item)?;
    let decoded = decode()?;
    if fingerprint(format, &decoded)? == before {
        return Ok(());
    }
    let cause = "an item comes back different from what it was";
    let remedy = match format {
        Format::Compact => "use the default codec, `tagged`",
        Format::Tagged => "make its `Deserialize` read all that its `Serialize` writes",
    };
    Err(CodecError::new::<T>(format, Action::Carry, cause, remedy))
}

fn fingerprint<T: Serialize>(format: Format, item: &T) -> Result<u64, CodecError> {
    walk::<Fingerprint, T>(item).map_err(|refusal| {
        CodecError::new::<T>(format, Action::Encode, refusal, "change the value or its `Serialize`")
    })
}

/// A hash of everything. It guards against mistakes, not against those who would forge one.
struct Fingerprint;

impl Purpose for Fingerprint {
    const REFUSES_SKIPPED_FIELDS: bool = false;

    #[inline]
    fn mix(sum: u64, next: u64) -> u64 {
        // The finalizer of MurmurHash3, over a combination that tells the two apart.
        let mut mixed = sum.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next;
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    }

    fn bytes(bytes: &[u8]) -> u64 {
        // Four words at a time, each in a lane of its own: what is checked may be long. Every step can be undone, so
        // no two words give the same.
        let mut lanes = [bytes.len() as u64, 1, 2, 3];
        let (blocks, rest) = bytes.as_chunks::<32>();
        let mut last = [0; 32];
        last[..rest.len()].copy_from_slice(rest);
        for block in blocks.iter().chain([&last]) {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
                *lane =
                    (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            }
        }
        lanes.into_iter().fold(0, Self::mix)
    }
}
