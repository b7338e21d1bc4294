//! How items become bytes and bytes become items again, wherever they cross a process border.
//!
//! [`Format`] is the user's choice; each choice is one implementer of [`Codec`]. What a codec cannot carry it
//! refuses with a [`CodecError`]: it never hands back an item that differs from the one it was given.
//!
//! | file | its idea |
//! |---|---|
//! | `format.rs` | the choice, by value or by name |
//! | `tagged/` | the default: a self-describing format that carries what serde is told |
//! | `compact/` | the opt-in: the format of postcard, which refuses what postcard would alter |
//! | `check.rs` | the round trip that proves a codec fit for a type |
//! | `walk/` | what serde is told about a value, summed up |
//! | `error.rs` | what went wrong, with which type, and the way out |

mod check;
mod compact;
mod error;
mod format;
mod tagged;
#[cfg(test)]
mod tests;
mod walk;

use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::check::compare;
pub use self::{
    compact::Compact,
    error::CodecError,
    format::{Format, UnknownFormat},
    tagged::Tagged,
};

/// A way to write any serde value as bytes and to read it back.
///
/// Most code takes a [`Format`] instead, which is a value and dispatches to the implementers.
pub trait Codec {
    /// Appends the bytes of `item` to `out`; after an error `out` is as it was.
    fn encode<T: Serialize + ?Sized>(item: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads one item, which must take up exactly all of `bytes`.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError>;
}

/// How deep values may nest: enough for any document, and shallow enough for a small thread stack.
const MAX_DEPTH: u16 = 256;
