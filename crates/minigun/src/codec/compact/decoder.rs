//! The reader of the compact format: postcard's bytes, and nothing that is believed of them.

use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor, value::U32Deserializer,
};

use crate::codec::MAX_DEPTH;

/// Why bytes are not read. One pointer wide: it stands in the result of every step.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Fault(Box<Kind>);

#[derive(Debug, thiserror::Error)]
pub(super) enum Kind {
    #[error("the bytes end in the middle of a value")]
    End,
    #[error("{0} bytes are left over after the value")]
    Trailing(usize),
    #[error("a number or a length is out of range")]
    Varint,
    #[error("it nests more than {MAX_DEPTH} levels deep")]
    Depth,
    #[error("{0} stands where only 0 or 1 may")]
    Flag(u8),
    #[error("what stands for a character is none")]
    Char,
    #[error("a string is not UTF-8")]
    Utf8,
    #[error(
        "it asks the format what comes next, as `serde_json::Value` and untagged, internally or adjacently tagged \
         and flattened types do"
    )]
    Any,
    #[error("its `Deserialize` refuses the value: {0}")]
    Message(String),
}

impl Fault {
    /// Whether another codec may well carry the value.
    pub(super) fn is_of_format(&self) -> bool {
        matches!(*self.0, Kind::Any)
    }
}

impl From<Kind> for Fault {
    #[cold]
    fn from(kind: Kind) -> Self {
        Fault(Box::new(kind))
    }
}

impl de::Error for Fault {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        Kind::Message(message.to_string()).into()
    }
}

/// So many parts of a value may take no bytes. Without an end to that, a number would be a loop without one.
const EMPTY_PARTS: usize = 1 << 24;

/// Reads one value.
pub(super) struct Decoder<'de> {
    bytes: &'de [u8],
    /// Up to here they were read.
    at: usize,
    /// So many levels deeper a value may nest. Where a type goes round in a circle, it goes through one that counts.
    depth: u16,
}

impl<'de> Decoder<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Decoder { bytes, at: 0, depth: MAX_DEPTH }
    }

    /// The value was read: nothing may follow.
    #[inline]
    pub(super) fn end(self) -> Result<(), Fault> {
        match self.left() {
            0 => Ok(()),
            left => Err(Kind::Trailing(left).into()),
        }
    }

    #[inline]
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Reads what lies a level deeper.
    #[inline(always)]
    fn within<R>(&mut self, read: impl FnOnce(&mut Self) -> Result<R, Fault>) -> Result<R, Fault> {
        self.depth = self.depth.checked_sub(1).ok_or(Kind::Depth)?;
        let outcome = read(self);
        self.depth += 1;
        outcome
    }

    /// How many parts follow.
    #[inline]
    fn parts(&mut self) -> Result<usize, Fault> {
        match self.length()? {
            parts if parts > self.left() + EMPTY_PARTS => Err(Kind::Varint.into()),
            parts => Ok(parts),
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(Kind::End)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).ok_or(Kind::End)?;
        self.at += N;
        Ok(*bytes)
    }

    fn run(&mut self) -> Result<&'de [u8], Fault> {
        let length = self.length()?;
        if length > self.left() {
            return Err(Kind::End.into());
        }
        let run = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(run)
    }

    #[inline]
    fn length(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.varint()?).map_err(|_| Kind::Varint.into())
    }

    /// The next eight bytes, the first lowest; zeros where there are no more.
    #[inline(always)]
    fn word(&self) -> u64 {
        if let Some(word) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            return u64::from_le_bytes(*word);
        }
        match self.bytes.last_chunk() {
            Some(last) => u64::from_le_bytes(*last).checked_shr(64 - 8 * self.left() as u32).unwrap_or(0),
            None => self.short_word(),
        }
    }

    /// As that, where there are not even eight bytes in all.
    #[inline(never)]
    fn short_word(&self) -> u64 {
        self.bytes[self.at..].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    /// Into every field's place: a call for each would cost more than what it does.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Fault> {
        let word = self.word();
        let ends = !word & 0x8080_8080_8080_8080;
        let bits = ends.trailing_zeros() + 1;
        if ends == 0 || bits as usize > 8 * self.left() {
            return u64::try_from(self.long_varint()?).map_err(|_| Kind::Varint.into());
        }
        self.at += bits as usize / 8;
        // The groups of seven bits move together, half of the gaps at a time.
        let mut number = word & u64::MAX >> (u64::BITS - bits) & 0x7f7f_7f7f_7f7f_7f7f;
        number = (number & 0x007f_007f_007f_007f) | (number & 0x7f00_7f00_7f00_7f00) >> 1;
        number = (number & 0x0000_3fff_0000_3fff) | (number & 0x3fff_0000_3fff_0000) >> 2;
        Ok((number & 0x0fff_ffff) | (number & 0x0fff_ffff_0000_0000) >> 4)
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u128, Fault> {
        let mut number = 0;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            if part << shift >> shift != part {
                break;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Kind::Varint.into())
    }

    #[inline]
    fn signed(&mut self) -> Result<i64, Fault> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    #[inline]
    fn flag(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Kind::Flag(other).into()),
        }
    }

    fn text(&mut self) -> Result<&'de str, Fault> {
        std::str::from_utf8(self.run()?).map_err(|_| Kind::Utf8.into())
    }
}

/// The methods for numbers of a fixed size: read wide, and given if they are not too large.
macro_rules! numbers {
    ($($method:ident $visit:ident: $read:ident;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.$read()?.try_into().map_err(|_| Kind::Varint)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Fault;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Kind::Any.into())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Kind::Any.into())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Kind::Any.into())
    }

    numbers! {
        deserialize_u16 visit_u16: varint;
        deserialize_u32 visit_u32: varint;
        deserialize_i16 visit_i16: signed;
        deserialize_i32 visit_i32: signed;
    }

    #[inline]
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u64(self.varint()?)
    }

    #[inline]
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i64(self.signed()?)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u128(self.long_varint()?)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let number = self.long_varint()?;
        visitor.visit_i128((number >> 1) as i128 ^ -((number & 1) as i128))
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_bool(self.flag()?)
    }

    #[inline]
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u8(self.byte()?)
    }

    #[inline]
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_i8(self.byte()? as i8)
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f32(f32::from_le_bytes(self.array()?))
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(f64::from_le_bytes(self.array()?))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let mut all = self.text()?.chars();
        match (all.next(), all.next()) {
            (Some(one), None) => visitor.visit_char(one),
            _ => Err(Kind::Char.into()),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_bytes(self.run()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_bytes(self.run()?)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.flag()? { self.within(|inner| visitor.visit_some(inner)) } else { visitor.visit_none() }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let left = self.parts()?;
        self.within(|decoder| visitor.visit_seq(Parts { decoder, left }))
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let left = self.parts()?;
        self.within(|decoder| visitor.visit_map(Parts { decoder, left }))
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Parts { decoder: self, left })
    }

    #[inline]
    fn deserialize_tuple_struct<V>(self, _: &'static str, left: usize, visitor: V) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        visitor.visit_seq(Parts { decoder: self, left })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_seq(Parts { decoder: self, left: fields.len() })
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(self)
    }
}

/// The parts of a value of which so many are left.
struct Parts<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl Parts<'_, '_> {
    #[inline]
    fn has_more(&mut self) -> bool {
        let more = self.left > 0;
        self.left -= usize::from(more);
        more
    }

    /// Nothing is reserved for more than the bytes could stand for.
    fn hint(&self) -> Option<usize> {
        (self.left <= self.decoder.left()).then_some(self.left)
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.has_more() { seed.deserialize(&mut *self.decoder).map(Some) } else { Ok(None) }
    }

    /// Where the fields of a struct are asked for one by one: as with `varint`, no call for each.
    #[inline(always)]
    fn next_element<E: Deserialize<'de>>(&mut self) -> Result<Option<E>, Fault> {
        if self.has_more() { E::deserialize(&mut *self.decoder).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        if self.has_more() { seed.deserialize(&mut *self.decoder).map(Some) } else { Ok(None) }
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(&mut *self.decoder)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> EnumAccess<'de> for &mut Decoder<'de> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let index = u32::try_from(self.varint()?).map_err(|_| Kind::Varint)?;
        let index: U32Deserializer<Fault> = index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Decoder<'de> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        self.within(|inner| seed.deserialize(inner))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, Fault> {
        self.within(|decoder| visitor.visit_seq(Parts { decoder, left }))
    }

    #[inline]
    fn struct_variant<V>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        self.within(|decoder| visitor.visit_seq(Parts { decoder, left: fields.len() }))
    }
}
