//! Walks through what serde is told about a value and sums it up in one number, without writing anything.
//!
//! What the sum is for is a [`Purpose`]: to compare two values, or merely to look whether a codec may have
//! this one.

mod parts;

use std::{fmt, marker::PhantomData};

use serde::{Serialize, Serializer};

use self::parts::Parts;
use super::MAX_DEPTH;

/// Why the walk goes.
pub(super) trait Purpose {
    /// Whether a field that is left out of its struct ends the walk.
    const REFUSES_SKIPPED_FIELDS: bool;

    /// Adds `next` to a sum, so that the order matters.
    fn mix(sum: u64, next: u64) -> u64;

    /// Sums up some bytes.
    fn bytes(bytes: &[u8]) -> u64;
}

/// The sum of all that `value` tells serde.
pub(super) fn walk<P: Purpose, T: Serialize + ?Sized>(value: &T) -> Result<u64, Refusal> {
    value.serialize(Walk::<P> { depth: MAX_DEPTH, purpose: PhantomData })
}

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Refusal(Box<Reason>);

impl Refusal {
    /// Whether another codec may well carry the value.
    pub(super) fn is_skipped_field(&self) -> bool {
        matches!(*self.0, Reason::Skipped(_))
    }
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("it nests more than {MAX_DEPTH} levels deep")]
    Depth,
    #[error("its field `{0}` is left out (`skip_serializing_if`), which would shift the fields after it")]
    Skipped(&'static str),
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

struct Walk<P> {
    depth: u16,
    purpose: PhantomData<P>,
}

// Derived, these would ask the same of the purpose.
impl<P> Clone for Walk<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Walk<P> {}

impl<P: Purpose> Walk<P> {
    #[inline]
    fn sum(self, shape: Shape, word: u64) -> u64 {
        P::mix(shape as u64, word)
    }

    #[inline]
    fn wide(self, shape: Shape, value: u128) -> u64 {
        P::mix(self.sum(shape, value as u64), (value >> 64) as u64)
    }

    #[inline]
    fn name(self, shape: Shape, name: &'static str) -> u64 {
        self.sum(shape, P::bytes(name.as_bytes()))
    }

    #[inline]
    fn deeper(self) -> Result<Self, Refusal> {
        let depth = self.depth.checked_sub(1).ok_or(Reason::Depth)?;
        Ok(Walk { depth, purpose: PhantomData })
    }

    #[inline]
    fn open(self, head: u64) -> Result<Parts<P>, Refusal> {
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

impl<P: Purpose> Serializer for Walk<P> {
    type Ok = u64;
    type Error = Refusal;
    type SerializeSeq = Parts<P>;
    type SerializeTuple = Parts<P>;
    type SerializeTupleStruct = Parts<P>;
    type SerializeTupleVariant = Parts<P>;
    type SerializeMap = Parts<P>;
    type SerializeStruct = Parts<P>;
    type SerializeStructVariant = Parts<P>;

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
        serialize_str(&str) Str: |value| P::bytes(value.as_bytes());
        serialize_bytes(&[u8]) Bytes: P::bytes;
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
        Ok(P::mix(self.name(Shape::NewtypeStruct, name), value.serialize(self)?))
    }

    #[inline]
    fn serialize_newtype_variant<T>(self, _: &'static str, _: u32, variant: &'static str, value: &T) -> Sum
    where
        T: Serialize + ?Sized,
    {
        Ok(P::mix(self.name(Shape::NewtypeVariant, variant), value.serialize(self.deeper()?)?))
    }

    #[inline]
    fn serialize_seq(self, _len: Option<usize>) -> Result<Parts<P>, Refusal> {
        self.open(self.sum(Shape::Seq, 0))
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Parts<P>, Refusal> {
        self.open(self.sum(Shape::Tuple, 0))
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, _len: usize) -> Result<Parts<P>, Refusal> {
        self.open(self.name(Shape::TupleStruct, name))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Parts<P>, Refusal> {
        self.open(self.name(Shape::TupleVariant, variant))
    }

    #[inline]
    fn serialize_map(self, _len: Option<usize>) -> Result<Parts<P>, Refusal> {
        self.open(self.sum(Shape::Map, 0))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Parts<P>, Refusal> {
        self.open(self.name(Shape::Struct, name))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Parts<P>, Refusal> {
        self.open(self.name(Shape::StructVariant, variant))
    }
}
