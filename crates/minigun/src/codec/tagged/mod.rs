//! The default codec: a self-describing binary format that carries what serde is told, and nothing less.
//!
//! Common self-describing formats merge things that serde keeps apart (`Some(None)` and `None`, `Some(())`
//! and `()`). This one gives each of them a tag, so whatever a type's `Serialize` says, its `Deserialize`
//! hears.
//!
//! # Layout
//!
//! An item is one *value*; a value is a tag byte and what follows it. All integers are little-endian. A
//! *varint* is LEB128: seven bits a byte, lowest first, the high bit set on all but the last.
//!
//! | tag | value | followed by |
//! |---|---|---|
//! | `00` | unit, unit struct | |
//! | `01` `02` | false, true | |
//! | `03` | none | |
//! | `04` | some | value |
//! | `05` | char | varint |
//! | `06` `07` | f32, f64 | 4, 8 bytes of IEEE 754 |
//! | `08` `09` | u8, i8 | 1 byte |
//! | `0a` `0b` | u128, i128 | 16 bytes |
//! | `0c` | bytes | varint length, the bytes |
//! | `0d`; `80`+n | string; of n ≤ 63 bytes | varint length, UTF-8; UTF-8 |
//! | `0e`; `60`+n | sequence or tuple; of n ≤ 15 elements | varint count, values; values |
//! | `0f`; `70`+n | map; of n ≤ 15 entries | varint count, (value, value)…; (value, value)… |
//! | `10`; `50`+n | struct; of n ≤ 15 fields | varint count, (name, value)…; (name, value)… |
//! | `11` | unit variant | name |
//! | `12` | any other variant | name, value (a sequence for a tuple variant, a struct for a struct variant) |
//! | `13` | sequence of numbers of one width | tag of the elements, varint count, elements without tags |
//! | `18`+n `20`+n `30`+n | u16, u32, u64 | its n lowest bytes, the others are zero |
//! | `1c`+n `28`+n `40`+n | i16, i32, i64 | n bytes as above, of the zigzag form `(v << 1) ^ (v >> 63)` |
//!
//! Every other tag is an error. A newtype struct travels as what it wraps.
//!
//! A *name* (of a field or a variant) is written out where it first occurs in an item and is a number from
//! then on:
//!
//! | first byte | name | followed by |
//! |---|---|---|
//! | `00`–`7f` | the name with this number | |
//! | `80`+n | of n ≤ 63 bytes; takes the next number while fewer than 128 are taken | UTF-8 |
//! | `c0` | any other; takes no number | varint length, UTF-8 |
//!
//! # Runs that lie apart
//!
//! Between two processes that share memory the bytes of a long string, or of long bytes, need not stand behind their
//! length ([`apart`](crate::apart)). Such an item begins with `ff`, and ends with where each was cut out.
//!
//! # Limits
//!
//! Values nest at most `MAX_DEPTH` deep, on both sides. A value takes at least one byte, so a count is checked
//! against the bytes that are left, less one for every value that was announced before and has yet to come; and
//! long names take no number, so that few bytes cannot name many long strings. Together these keep what a decoder
//! allocates within a small multiple of what it reads, whatever it is fed.

mod access;
mod compound;
mod decoder;
mod encoder;
mod fault;
mod names;
mod number;
mod reader;
mod uniform;

use serde::{Serialize, de::DeserializeOwned};

use self::{decoder::Decoder, encoder::Encoder};
use super::{Codec, CodecError, Format, MAX_DEPTH, error::Action};
use crate::apart::{Apart, Runs};

/// The codec of [`Format::Tagged`].
#[derive(Debug, Clone, Copy)]
pub struct Tagged;

impl Codec for Tagged {
    fn encode<T: Serialize + ?Sized>(item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        encode(item, out, None)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        decode(Decoder::new(bytes))
    }
}

pub(super) fn encode<T: Serialize + ?Sized>(
    item: &T,
    out: &mut Vec<u8>,
    apart: Option<&mut dyn Apart>,
) -> Result<(), CodecError> {
    let before = out.len();
    // Each is lent for as long as the encoder lives, which is shorter than what was given.
    let apart = apart.map(|apart| apart as &mut dyn Apart);
    item.serialize(&mut Encoder::new(out, apart)).map_err(|fault| {
        out.truncate(before);
        CodecError::new::<T>(Format::Tagged, Action::Encode, fault, "change the value or its `Serialize`")
    })
}

/// With the runs that were cut out of the bytes; all of them must be used.
pub(super) fn decode_apart<T: DeserializeOwned>(bytes: &[u8], runs: &mut dyn Runs) -> Result<T, CodecError> {
    decode(Decoder::with_runs(bytes, runs))
}

fn decode<T: DeserializeOwned>(mut decoder: Decoder<'_>) -> Result<T, CodecError> {
    T::deserialize(&mut decoder).and_then(|item| decoder.finish().map(|()| item)).map_err(|fault| {
        let remedy = "its `Serialize` and `Deserialize` disagree, or the bytes are damaged";
        CodecError::new::<T>(Format::Tagged, Action::Decode, fault, remedy)
    })
}

/// The tag bytes. Where a tag carries a number, the constant is the tag for zero.
mod tag {
    pub(super) const UNIT: u8 = 0x00;
    pub(super) const FALSE: u8 = 0x01;
    pub(super) const TRUE: u8 = 0x02;
    pub(super) const NONE: u8 = 0x03;
    pub(super) const SOME: u8 = 0x04;
    pub(super) const CHAR: u8 = 0x05;
    pub(super) const F32: u8 = 0x06;
    pub(super) const F64: u8 = 0x07;
    pub(super) const U8: u8 = 0x08;
    pub(super) const I8: u8 = 0x09;
    pub(super) const U128: u8 = 0x0a;
    pub(super) const I128: u8 = 0x0b;
    pub(super) const BYTES: u8 = 0x0c;
    pub(super) const STR: u8 = 0x0d;
    pub(super) const SEQ: u8 = 0x0e;
    pub(super) const MAP: u8 = 0x0f;
    pub(super) const STRUCT: u8 = 0x10;
    pub(super) const UNIT_VARIANT: u8 = 0x11;
    pub(super) const VARIANT: u8 = 0x12;
    pub(super) const UNIFORM: u8 = 0x13;

    pub(super) const U16: u8 = 0x18;
    pub(super) const U16_MAX: u8 = U16 + 2;
    pub(super) const I16: u8 = 0x1c;
    pub(super) const I16_MAX: u8 = I16 + 2;
    pub(super) const U32: u8 = 0x20;
    pub(super) const U32_MAX: u8 = U32 + 4;
    pub(super) const I32: u8 = 0x28;
    pub(super) const I32_MAX: u8 = I32 + 4;
    pub(super) const U64: u8 = 0x30;
    pub(super) const U64_MAX: u8 = U64 + 8;
    pub(super) const I64: u8 = 0x40;
    pub(super) const I64_MAX: u8 = I64 + 8;

    /// The most elements, entries or fields whose number fits into the tag.
    pub(super) const SMALL_COUNT: usize = 15;
    pub(super) const SMALL_STRUCT: u8 = 0x50;
    pub(super) const SMALL_STRUCT_MAX: u8 = 0x5f;
    pub(super) const SMALL_SEQ: u8 = 0x60;
    pub(super) const SMALL_SEQ_MAX: u8 = 0x6f;
    pub(super) const SMALL_MAP: u8 = 0x70;
    pub(super) const SMALL_MAP_MAX: u8 = 0x7f;

    /// The longest string whose length fits into the tag.
    pub(super) const SMALL_LEN: usize = 63;
    pub(super) const SMALL_STR: u8 = 0x80;
    pub(super) const SMALL_STR_MAX: u8 = 0xbf;
}
