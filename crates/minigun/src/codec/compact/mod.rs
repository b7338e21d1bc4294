//! The opt-in codec: postcard, which writes bare values and leaves it to the type to know what they are.
//!
//! Two things that postcard lets pass are refused here. A field that is left out by `skip_serializing_if`
//! shifts the fields after it, so that they may be read as something else; and a value of any depth would be
//! read until the stack ends. Both are looked for in a walk before the item is written, which costs next to
//! nothing for types that have neither.

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Codec, CodecError, Format,
    error::Action,
    walk::{Purpose, walk},
};

/// The codec of [`Format::Compact`].
#[derive(Debug, Clone, Copy)]
pub struct Compact;

impl Codec for Compact {
    fn encode<T: Serialize + ?Sized>(item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        walk::<Survey, T>(item).map_err(|refusal| {
            let skipped = refusal.is_skipped_field();
            let remedy = if skipped { USE_DEFAULT } else { "change the value or its `Serialize`" };
            CodecError::new::<T>(Format::Compact, Action::Encode, refusal, remedy)
        })?;
        let before = out.len();
        postcard::serialize_with_flavor(item, Append(out)).map_err(|error| {
            out.truncate(before);
            refused::<T>(Action::Encode, error)
        })
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        match postcard::take_from_bytes(bytes) {
            Ok((item, [])) => Ok(item),
            Ok((_, rest)) => {
                let cause = format!("{} bytes are left over after the value", rest.len());
                Err(CodecError::new::<T>(Format::Compact, Action::Decode, cause, MISREAD))
            }
            Err(error) => Err(refused::<T>(Action::Decode, error)),
        }
    }
}

const USE_DEFAULT: &str = "use the default codec, `tagged`";
const MISREAD: &str = "if its `Serialize` and `Deserialize` do not mirror each other, use the default codec, \
                       `tagged`; else the bytes are damaged";

fn refused<T: ?Sized>(action: Action, error: postcard::Error) -> CodecError {
    let (cause, remedy) = match error {
        postcard::Error::WontImplement => (
            "it asks the format what comes next, as `serde_json::Value` and untagged, internally or \
             adjacently tagged and flattened types do"
                .to_owned(),
            USE_DEFAULT,
        ),
        postcard::Error::SerializeSeqLengthUnknown => {
            ("it does not say how long a sequence or map is, as flattened types do".to_owned(), USE_DEFAULT)
        }
        postcard::Error::SerdeDeCustom => ("its `Deserialize` refuses the value".to_owned(), MISREAD),
        other => (other.to_string(), MISREAD),
    };
    CodecError::new::<T>(Format::Compact, action, cause, remedy)
}

/// Looks for what postcard would let pass; there is nothing to sum up.
struct Survey;

impl Purpose for Survey {
    const REFUSES_SKIPPED_FIELDS: bool = true;

    #[inline]
    fn mix(_sum: u64, _next: u64) -> u64 {
        0
    }

    #[inline]
    fn bytes(_bytes: &[u8]) -> u64 {
        0
    }
}

/// Writes behind what is there; postcard's own growing buffer would be a new one for each item.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
