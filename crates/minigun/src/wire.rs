//! Items that can travel to and from worker processes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, CodecError, Format};

/// Items that may enter or leave a worker process: serde's two traits, `Send` and owned.
///
/// Implemented for every such type; there is nothing to implement by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to or from a worker process",
    label = "this item would cross a process border here",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to `{Self}`, or run the block on `threads(n)`"
)]
pub trait Wire: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Wire for T {}

/// How to encode and decode items of one type, for code that does not know the type to be `Wire`.
#[doc(hidden)]
pub struct WireFns<T> {
    pub(crate) encode: fn(Format, &T, &mut Vec<u8>) -> Result<(), CodecError>,
    pub(crate) decode: fn(Format, &[u8]) -> Result<T, CodecError>,
    /// Compares what serde is told of the item with what it is told of its decoded encoding.
    pub(crate) check: fn(Format, &T, &[u8]) -> Result<(), CodecError>,
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
            encode: |format, item, out| format.encode(item, out),
            decode: |format, bytes| format.decode(bytes),
            check: |format, item, bytes| codec::round_trip(format, item, bytes),
        }
    }
}
