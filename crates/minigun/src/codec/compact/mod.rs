//! The opt-in codec: the format of postcard, bare values of which the type knows what they are.
//!
//! Two things that postcard lets pass are refused here. A field that is left out by `skip_serializing_if`
//! shifts the fields after it, so that they may be read as something else; and a value of any depth would be
//! read until the stack ends. Both are looked for while the item is written. That, and small records for which each
//! copy counts, is why writer and reader are not postcard's own.

mod decoder;
mod encoder;

use serde::{Serialize, de::DeserializeOwned};

use self::{
    decoder::{Decoder, Fault},
    encoder::Encoder,
};
use super::{Codec, CodecError, Format, error::Action};

/// The codec of [`Format::Compact`].
#[derive(Debug, Clone, Copy)]
pub struct Compact;

impl Codec for Compact {
    fn encode<T: Serialize + ?Sized>(item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let before = out.len();
        item.serialize(Encoder::new(out)).map_err(|refusal| {
            out.truncate(before);
            let remedy =
                if refusal.is_of_format() { USE_DEFAULT } else { "change the value or its `Serialize`" };
            CodecError::new::<T>(Format::Compact, Action::Encode, refusal, remedy)
        })
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        let mut decoder = Decoder::new(bytes);
        match T::deserialize(&mut decoder) {
            Ok(item) => decoder.end().map(|()| item).map_err(refused::<T>),
            Err(fault) => Err(refused::<T>(fault)),
        }
    }
}

const USE_DEFAULT: &str = "use the default codec, `tagged`";
const MISREAD: &str = "if its `Serialize` and `Deserialize` do not mirror each other, use the default codec, \
                       `tagged`; else the bytes are damaged";

#[cold]
fn refused<T>(fault: Fault) -> CodecError {
    let remedy = if fault.is_of_format() { USE_DEFAULT } else { MISREAD };
    CodecError::new::<T>(Format::Compact, Action::Decode, fault, remedy)
}
