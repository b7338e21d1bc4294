//! The writer of the compact format: postcard's bytes, in one pass with the looking out for what postcard would let pass.
//!
//! Numbers are written eight bytes at a time, and what is too much is taken back: a copy whose length is known only when
//! it is made costs more than all the rest of a small number.

use std::fmt;

use serde::{Serialize, Serializer, ser};

use crate::codec::MAX_DEPTH;

/// Why a value is not written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Refusal(Box<Reason>);

#[derive(Debug, thiserror::Error)]
pub(super) enum Reason {
    #[error("it nests more than {MAX_DEPTH} levels deep")]
    Depth,
    #[error("its field `{0}` is left out (`skip_serializing_if`), which would shift the fields after it")]
    Skipped(&'static str),
    #[error("it does not say how long a sequence or map is, as flattened types do")]
    Length,
    #[error("{0}")]
    Message(String),
}

impl Refusal {
    /// Whether another codec may well carry the value.
    pub(super) fn is_of_format(&self) -> bool {
        matches!(*self.0, Reason::Skipped(_) | Reason::Length)
    }
}

impl From<Reason> for Refusal {
    #[cold]
    fn from(reason: Reason) -> Self {
        Refusal(Box::new(reason))
    }
}

impl ser::Error for Refusal {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Reason::Message(message.to_string()).into()
    }
}

type Written = Result<(), Refusal>;

/// Writes one value behind what is there.
pub(super) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    /// So many levels may still follow.
    depth: u16,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Encoder { out, depth: MAX_DEPTH }
    }

    #[inline]
    fn deeper(self) -> Result<Self, Refusal> {
        let depth = self.depth.checked_sub(1).ok_or(Reason::Depth)?;
        Ok(Encoder { depth, ..self })
    }

    /// For a part of the value.
    #[inline]
    fn part(&mut self) -> Encoder<'_> {
        Encoder { out: self.out, depth: self.depth }
    }

    #[inline]
    fn byte(self, byte: u8) -> Written {
        self.out.push(byte);
        Ok(())
    }

    #[inline]
    fn number(self, number: u64) -> Written {
        varint(self.out, number);
        Ok(())
    }

    #[inline]
    fn counted(self, count: Option<usize>) -> Result<Self, Refusal> {
        varint(self.out, count.ok_or(Reason::Length)? as u64);
        self.deeper()
    }

    #[inline]
    fn variant(self, index: u32) -> Result<Self, Refusal> {
        varint(self.out, u64::from(index));
        self.deeper()
    }
}

/// Seven bits a byte, the lowest first; all bytes but the last have the highest bit.
#[inline]
fn varint(out: &mut Vec<u8>, number: u64) {
    if number < 0x80 {
        out.push(number as u8);
    } else if number < 1 << 56 {
        // The groups of seven bits move apart, half of them at a time.
        let mut spread = (number & 0x0fff_ffff) | (number & 0x00ff_ffff_f000_0000) << 4;
        spread = (spread & 0x0000_3fff_0000_3fff) | (spread & 0x0fff_c000_0fff_c000) << 2;
        spread = (spread & 0x007f_007f_007f_007f) | (spread & 0x3f80_3f80_3f80_3f80) << 1;
        let bytes = (u64::BITS - 1 - number.leading_zeros()) / 7 + 1;
        let others = (1u64 << (8 * (bytes - 1))) - 1;
        let end = out.len() + bytes as usize;
        out.extend_from_slice(&(spread | others & 0x8080_8080_8080_8080).to_le_bytes());
        out.truncate(end);
    } else {
        long_varint(out, u128::from(number));
    }
}

#[inline(never)]
fn long_varint(out: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Numbers near zero, of either sign, become small ones.
#[inline]
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

impl<'a> Serializer for Encoder<'a> {
    type Ok = ();
    type Error = Refusal;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Written {
        self.byte(u8::from(value))
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Written {
        self.byte(value as u8)
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Written {
        self.number(zigzag(value.into()))
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Written {
        self.number(zigzag(value.into()))
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Written {
        self.number(zigzag(value))
    }

    fn serialize_i128(self, value: i128) -> Written {
        self.serialize_u128((value << 1 ^ value >> 127) as u128)
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Written {
        self.byte(value)
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Written {
        self.number(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Written {
        self.number(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Written {
        self.number(value)
    }

    fn serialize_u128(self, value: u128) -> Written {
        long_varint(self.out, value);
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Written {
        self.out.extend_from_slice(&value.to_bits().to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Written {
        self.out.extend_from_slice(&value.to_bits().to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Written {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Written {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Written {
        varint(self.out, value.len() as u64);
        self.out.extend_from_slice(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Written {
        self.byte(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        self.out.push(1);
        value.serialize(self.deeper()?)
    }

    fn serialize_unit(self) -> Written {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Written {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _name: &'static str, index: u32, _variant: &'static str) -> Written {
        self.number(index.into())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Written {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Written {
        value.serialize(self.variant(index)?)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self, Refusal> {
        self.counted(len)
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Self, Refusal> {
        self.deeper()
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Self, Refusal> {
        self.deeper()
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self, Refusal> {
        self.variant(index)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self, Refusal> {
        self.counted(len)
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, Refusal> {
        self.deeper()
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self, Refusal> {
        self.variant(index)
    }
}

/// The parts of a value: each is written behind the one before it.
macro_rules! parts {
    ($($trait:ident: $($method:ident)+;)*) => {$(
        impl ser::$trait for Encoder<'_> {
            type Ok = ();
            type Error = Refusal;

            $(#[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
                value.serialize(self.part())
            })+

            #[inline]
            fn end(self) -> Written {
                Ok(())
            }
        }
    )*};
}

parts! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
    SerializeMap: serialize_key serialize_value;
}

/// The parts that have names, of which none may be left out.
macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Encoder<'_> {
            type Ok = ();
            type Error = Refusal;

            #[inline]
            fn serialize_field<T>(&mut self, _name: &'static str, value: &T) -> Written
            where
                T: Serialize + ?Sized,
            {
                value.serialize(self.part())
            }

            fn skip_field(&mut self, name: &'static str) -> Written {
                Err(Reason::Skipped(name).into())
            }

            #[inline]
            fn end(self) -> Written {
                Ok(())
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }
