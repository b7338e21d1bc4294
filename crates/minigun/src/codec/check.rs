//! Proves a codec fit for a type: what comes out of a round trip must tell serde what went in.
//!
//! Comparing what serde is told needs no `PartialEq` and knows no exceptions for NaN; comparing bytes would
//! not do, since a codec that loses something loses it every time.

use serde::Serialize;

use super::{CodecError, Format, error::Action, walk::walk};

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
    walk(item).map_err(|refusal| {
        CodecError::new::<T>(format, Action::Encode, refusal, "change the value or its `Serialize`")
    })
}
