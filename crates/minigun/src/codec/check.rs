//! Proves a codec fit for a type: what comes out of a round trip must tell serde what went in.
//!
//! Comparing what serde is told needs no `PartialEq` and knows no exceptions for NaN; comparing bytes would
//! not do, since a codec that loses something loses it every time.

use std::hash::{DefaultHasher, Hasher};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    CodecError, Format,
    error::Action,
    walk::{Purpose, walk},
};

/// Decodes `encoded`, which is what `format` made of `item`, and compares the two.
pub(crate) fn round_trip<T>(format: Format, item: &T, encoded: &[u8]) -> Result<(), CodecError>
where
    T: Serialize + DeserializeOwned,
{
    let before = fingerprint(format, item)?;
    let decoded: T = format.decode(encoded)?;
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
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        hasher.finish()
    }
}
