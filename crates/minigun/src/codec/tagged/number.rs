//! A number apart from the decoder: its tag and its bytes.

use serde::de::{Deserializer, Visitor};

use super::{
    fault::{Fault, Kind},
    tag,
};

/// One number, whose tag is known.
pub(super) struct Number<'de> {
    pub(super) tag: u8,
    pub(super) bytes: &'de [u8],
}

impl Number<'_> {
    /// The bytes at the low end of an array of `N`.
    #[inline]
    fn array<const N: usize>(&self) -> [u8; N] {
        // A copy of known length is much quicker.
        if let Ok(array) = self.bytes.try_into() {
            return array;
        }
        let mut array = [0; N];
        if let Some(low) = array.get_mut(..self.bytes.len()) {
            low.copy_from_slice(self.bytes);
        }
        array
    }

    #[inline]
    fn unsigned(&self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    #[inline]
    fn signed(&self) -> i64 {
        unzigzag(self.unsigned())
    }
}

#[inline]
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

impl<'de> Deserializer<'de> for Number<'_> {
    type Error = Fault;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tag {
            tag::U8 => visitor.visit_u8(self.array::<1>()[0]),
            tag::I8 => visitor.visit_i8(i8::from_le_bytes(self.array())),
            tag::F32 => visitor.visit_f32(f32::from_le_bytes(self.array())),
            tag::F64 => visitor.visit_f64(f64::from_le_bytes(self.array())),
            tag::U16..=tag::U16_MAX => visitor.visit_u16(self.unsigned() as u16),
            tag::I16..=tag::I16_MAX => visitor.visit_i16(self.signed() as i16),
            tag::U32..=tag::U32_MAX => visitor.visit_u32(self.unsigned() as u32),
            tag::I32..=tag::I32_MAX => visitor.visit_i32(self.signed() as i32),
            tag::U64..=tag::U64_MAX => visitor.visit_u64(self.unsigned()),
            tag::I64..=tag::I64_MAX => visitor.visit_i64(self.signed()),
            // Serde's buffer for untagged enums and flattened structs knows no 128 bits: give it what it can
            // hold.
            tag::U128 => {
                let value = u128::from_le_bytes(self.array());
                match u64::try_from(value) {
                    Ok(small) => visitor.visit_u64(small),
                    Err(_) => visitor.visit_u128(value),
                }
            }
            tag::I128 => {
                let value = i128::from_le_bytes(self.array());
                match i64::try_from(value) {
                    Ok(small) => visitor.visit_i64(small),
                    Err(_) => visitor.visit_i128(value),
                }
            }
            other => Err(Kind::Tag(other).into()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V>(self, _name: &'static str, visitor: V) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// How many bytes follow this tag, if it is a number's.
#[inline]
pub(super) fn width(tag: u8) -> Option<usize> {
    let width = match tag {
        tag::U8 | tag::I8 => 1,
        tag::F32 => 4,
        tag::F64 => 8,
        tag::U128 | tag::I128 => 16,
        tag::U16..=tag::U16_MAX => tag - tag::U16,
        tag::I16..=tag::I16_MAX => tag - tag::I16,
        tag::U32..=tag::U32_MAX => tag - tag::U32,
        tag::I32..=tag::I32_MAX => tag - tag::I32,
        tag::U64..=tag::U64_MAX => tag - tag::U64,
        tag::I64..=tag::I64_MAX => tag - tag::I64,
        _ => return None,
    };
    Some(usize::from(width))
}
