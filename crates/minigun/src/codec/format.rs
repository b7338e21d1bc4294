//! The user's choice of codec: a small value with a name.

use std::{fmt, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};

use super::tagged;
use super::{Codec, CodecError, Compact, Tagged};
use crate::apart::{self, Extent, Own, Packer, Place, Shelf};

/// The format in which items travel between processes.
///
/// [`Tagged`](Format::Tagged) carries whatever serde can describe and is the right choice until a measurement
/// says otherwise. [`Compact`](Format::Compact) is smaller and faster for plain structs and enums, and
/// refuses the types that need a self-describing format. Neither ever alters an item: what it cannot carry is
/// an error.
///
/// Each has a name, `tagged` and `compact`, by which it can be parsed and printed.
#[doc = ""]
#[doc = include_str!("MATRIX.md")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Format {
    /// Self-describing: every value carries a tag that says what it is. The default.
    #[default]
    Tagged,
    /// [postcard](https://docs.rs/postcard): the bare values, whose meaning only the type knows.
    Compact,
}

impl Format {
    /// Every format there is.
    pub const ALL: [Format; 2] = [Format::Tagged, Format::Compact];

    /// The name that [`FromStr`] understands and [`Display`](fmt::Display) writes.
    pub fn name(self) -> &'static str {
        match self {
            Format::Tagged => "tagged",
            Format::Compact => "compact",
        }
    }

    /// Appends the bytes of `item` to `out`; after an error `out` is as it was.
    pub fn encode<T: Serialize + ?Sized>(self, item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Format::Tagged => Tagged::encode(item, out),
            Format::Compact => Compact::encode(item, out),
        }
    }

    /// As [`encode`](Self::encode), but long runs of bytes are put to `place`; gives what holds them there.
    #[inline]
    pub(crate) fn encode_apart<T: Serialize + ?Sized>(
        self,
        item: &T,
        out: &mut Vec<u8>,
        place: Place<'_>,
    ) -> Result<Vec<Extent>, CodecError> {
        match self {
            Format::Tagged => {
                let mut packer = Packer::new(place, out.len());
                tagged::encode(item, out, Some(&mut packer))?;
                Ok(packer.finish(out))
            }
            // It is read from one place only.
            Format::Compact => Compact::encode(item, out).map(|()| Vec::new()),
        }
    }

    /// As [`decode`](Self::decode), of an item whose runs may lie on the shelf.
    pub(crate) fn decode_apart<T: DeserializeOwned>(
        self,
        bytes: &[u8],
        shelf: &mut Shelf,
    ) -> Result<T, CodecError> {
        match self {
            Format::Tagged => match apart::split(bytes) {
                Some((bytes, list)) => tagged::decode_apart(bytes, &mut shelf.runs(list)),
                None => Tagged::decode(bytes),
            },
            Format::Compact => Compact::decode(bytes),
        }
    }

    /// As [`decode_apart`](Self::decode_apart), by the side that keeps the runs.
    pub(crate) fn decode_own<T: DeserializeOwned>(
        self,
        bytes: &[u8],
        extents: &[Extent],
    ) -> Result<T, CodecError> {
        match (self, apart::split(bytes)) {
            (Format::Tagged, Some((bytes, list))) => {
                tagged::decode_apart(bytes, &mut Own::new(list, extents))
            }
            _ => self.decode(bytes),
        }
    }

    /// Reads one item, which must take up exactly all of `bytes`.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        match self {
            Format::Tagged => Tagged::decode(bytes),
            Format::Compact => Compact::decode(bytes),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let known = Format::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| UnknownFormat { name: name.into() })
    }
}

/// A name that no [`Format`] has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown codec `{name}`, known are: {}", Format::ALL.map(Format::name).join(", "))]
pub struct UnknownFormat {
    name: Box<str>,
}
