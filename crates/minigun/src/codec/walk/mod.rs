//! Walks through what serde is told about a value and sums it up in one number, without writing anything.

mod parts;

use std::fmt;

use serde::{Serialize, Serializer};

use self::parts::Parts;
use super::MAX_DEPTH;

/// The sum of all that `value` tells serde. It guards against mistakes, not against those who would forge one.
pub(super) fn walk<T: Serialize + ?Sized>(value: &T) -> Result<u64, Refusal> {
    value.serialize(Walk { depth: MAX_DEPTH })
}

/// Adds `next` to a sum, so that the order matters.
#[inline]
fn mix(sum: u64, next: u64) -> u64 {
    // The finalizer of MurmurHash3, over a combination that tells the two apart.
    let mut mixed = sum.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next;
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// Sums up some bytes.
fn hash(bytes: &[u8]) -> u64 {
    // Four words at a time, each in a lane of its own: what is checked may be long. Every step can be undone, so
    // no two words give the same.
    let mut lanes = [bytes.len() as u64, 1, 2, 3];
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    for block in blocks.iter().chain([&last]) {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
    lanes.into_iter().fold(0, mix)
}

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Refusal(Box<Reason>);

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("it nests more than {MAX_DEPTH} levels deep")]
    Depth,
    #[error("{0}")]
    Message(String),
}

impl From<Reason> for Refusal {
    #[cold]
    fn from(reason: Reason) -> Self {
        Refusal(Box::new(reason))
    }
}

impl serde::ser::Error for Refusal {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Reason::Message(message.to_string()).into()
    }
}

type Sum = Result<u64, Refusal>;

/// What a part of the sum stands for, so that no two shapes have the same.
#[derive(Clone, Copy)]
enum Shape {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    None,
    Some,
    Unit,
    UnitStruct,
    NewtypeStruct,
    UnitVariant,
    NewtypeVariant,
    Seq,
    Tuple,
    TupleStruct,
    TupleVariant,
    Map,
    Struct,
    StructVariant,
}

#[derive(Clone, Copy)]
struct Walk {
    depth: u16,
}

impl Walk {
    #[inline]
    fn sum(self, shape: Shape, word: u64) -> u64 {
        mix(shape as u64, word)
    }

    #[inline]
    fn wide(self, shape: Shape, value: u128) -> u64 {
        mix(self.sum(shape, value as u64), (value >> 64) as u64)
    }

    #[inline]
    fn name(self, shape: Shape, name: &'static str) -> u64 {
        self.sum(shape, hash(name.as_bytes()))
    }

    #[inline]
    fn deeper(self) -> Result<Self, Refusal> {
        let depth = self.depth.checked_sub(1).ok_or(Reason::Depth)?;
        Ok(Walk { depth })
    }

    #[inline]
    fn open(self, head: u64) -> Result<Parts, Refusal> {
        Ok(Parts::new(self.deeper()?, head))
    }
}

/// The methods for values of a fixed size.
macro_rules! plain {
    ($($method:ident($type:ty) $shape:ident: $word:expr;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Sum {
            let word: fn($type) -> u64 = $word;
            Ok(self.sum(Shape::$shape, word(value)))
        }
    )*};
}

impl Serializer for Walk {
    type Ok = u64;
    type Error = Refusal;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    fn is_human_readable(&self) -> bool {
        false
    }

    plain! {
        serialize_bool(bool) Bool: u64::from;
        serialize_i8(i8) I8: |value| value as u64;
        serialize_i16(i16) I16: |value| value as u64;
        serialize_i32(i32) I32: |value| value as u64;
        serialize_i64(i64) I64: |value| value as u64;
        serialize_u8(u8) U8: u64::from;
        serialize_u16(u16) U16: u64::from;
        serialize_u32(u32) U32: u64::from;
        serialize_u64(u64) U64: |value| value;
        serialize_f32(f32) F32: |value| u64::from(value.to_bits());
        serialize_f64(f64) F64: f64::to_bits;
        serialize_char(char) Char: u64::from;
        serialize_str(&str) Str: |value| hash(value.as_bytes());
        serialize_bytes(&[u8]) Bytes: hash;
    }

    fn serialize_i128(self, value: i128) -> Sum {
        Ok(self.wide(Shape::I128, value as u128))
    }

    fn serialize_u128(self, value: u128) -> Sum {
        Ok(self.wide(Shape::U128, value))
    }

    fn serialize_none(self) -> Sum {
        Ok(self.sum(Shape::None, 0))
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Sum {
        Ok(self.sum(Shape::Some, value.serialize(self.deeper()?)?))
    }

    fn serialize_unit(self) -> Sum {
        Ok(self.sum(Shape::Unit, 0))
    }

    fn serialize_unit_struct(self, name: &'static str) -> Sum {
        Ok(self.name(Shape::UnitStruct, name))
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Sum {
        Ok(self.name(Shape::UnitVariant, variant))
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Sum {
        Ok(mix(self.name(Shape::NewtypeStruct, name), value.serialize(self)?))
    }

    #[inline]
    fn serialize_newtype_variant<T>(self, _: &'static str, _: u32, variant: &'static str, value: &T) -> Sum
    where
        T: Serialize + ?Sized,
    {
        Ok(mix(self.name(Shape::NewtypeVariant, variant), value.serialize(self.deeper()?)?))
    }

    #[inline]
    fn serialize_seq(self, _len: Option<usize>) -> Result<Parts, Refusal> {
        self.open(self.sum(Shape::Seq, 0))
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Parts, Refusal> {
        self.open(self.sum(Shape::Tuple, 0))
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, _len: usize) -> Result<Parts, Refusal> {
        self.open(self.name(Shape::TupleStruct, name))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Parts, Refusal> {
        self.open(self.name(Shape::TupleVariant, variant))
    }

    #[inline]
    fn serialize_map(self, _len: Option<usize>) -> Result<Parts, Refusal> {
        self.open(self.sum(Shape::Map, 0))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Parts, Refusal> {
        self.open(self.name(Shape::Struct, name))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Parts, Refusal> {
        self.open(self.name(Shape::StructVariant, variant))
    }
}
