//! What became of an item that was given to a codec.

use serde::{Serialize, de::DeserializeOwned};

use crate::codec::{CodecError, Format, compare};

#[derive(Debug)]
pub(super) enum Outcome {
    Carried,
    Refused(CodecError),
    /// What no codec may ever do.
    Altered,
}

/// Takes `item` through encode, decode and the check of first items.
pub(super) fn carry<T: Serialize + DeserializeOwned + PartialEq>(format: Format, item: &T) -> Outcome {
    match attempt(format, item) {
        Ok(decoded) if decoded == *item => Outcome::Carried,
        Ok(_) => Outcome::Altered,
        Err(error) => Outcome::Refused(error),
    }
}

fn attempt<T: Serialize + DeserializeOwned>(format: Format, item: &T) -> Result<T, CodecError> {
    let mut bytes = b"what stood before".to_vec();
    let before = bytes.len();
    if let Err(error) = format.encode(item, &mut bytes) {
        assert_eq!(bytes, b"what stood before", "a failed encode leaves nothing behind");
        return Err(error);
    }
    assert!(bytes.starts_with(b"what stood before"));
    let encoded = &bytes[before..];
    round_trip(format, item, encoded)?;
    format.decode(encoded)
}

/// The check of first items: what `encoded` decodes to, compared with `item`.
pub(super) fn round_trip<T>(format: Format, item: &T, encoded: &[u8]) -> Result<(), CodecError>
where
    T: Serialize + DeserializeOwned,
{
    compare(format, item, || format.decode_own(encoded, &[]))
}

/// The bytes of an item that the codec carries.
pub(super) fn encoded<T: Serialize + ?Sized>(format: Format, item: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    format.encode(item, &mut bytes).unwrap();
    bytes
}
