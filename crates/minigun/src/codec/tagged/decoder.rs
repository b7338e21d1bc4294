//! Reads values. The tags say what is there, so most requests of serde are answered alike; those that are
//! frequent in typed data have a short way.

use serde::de::{Deserializer, Visitor};

use super::{
    MAX_DEPTH,
    access::{Elements, Entries, Fields, Single, UnitVariant, Variant, VariantEntry},
    fault::{Fault, Kind},
    number::{self, Number, unzigzag},
    reader::{Reader, Run},
    tag,
    uniform::Uniform,
};
use crate::apart::Runs;

pub(super) struct Decoder<'de> {
    pub(super) reader: Reader<'de>,
    /// How many levels deeper values may nest.
    depth: u16,
}

impl<'de> Decoder<'de> {
    #[inline]
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Decoder { reader: Reader::new(bytes), depth: MAX_DEPTH }
    }

    /// With what lies apart from the bytes.
    pub(super) fn with_runs(bytes: &'de [u8], runs: &'de mut dyn Runs) -> Self {
        Decoder { reader: Reader::with_runs(bytes, runs), depth: MAX_DEPTH }
    }

    /// An item must use up its bytes.
    #[inline]
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.reader.left() {
            0 if self.reader.is_complete() => Ok(()),
            0 => Err(Kind::Apart.into()),
            left => Err(Kind::Trailing(left).into()),
        }
    }

    #[inline]
    pub(super) fn nested<R>(&mut self, read: impl FnOnce(&mut Self) -> Result<R, Fault>) -> Result<R, Fault> {
        self.depth = self.depth.checked_sub(1).ok_or(Kind::Depth)?;
        let result = read(self)?;
        self.depth += 1;
        Ok(result)
    }

    /// Answers any request with what is there.
    fn any<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let tag = self.reader.byte()?;
        match tag {
            tag::UNIT => visitor.visit_unit(),
            tag::FALSE => visitor.visit_bool(false),
            tag::TRUE => visitor.visit_bool(true),
            tag::NONE => visitor.visit_none(),
            tag::SOME => self.nested(|decoder| visitor.visit_some(decoder)),
            tag::CHAR => {
                let scalar = self.reader.varint()?;
                let found = u32::try_from(scalar).ok().and_then(char::from_u32);
                visitor.visit_char(found.ok_or(Kind::Char(scalar))?)
            }
            tag::BYTES => match self.reader.run()? {
                Run::Here(bytes) => visitor.visit_borrowed_bytes(bytes),
                Run::Apart(bytes) => visitor.visit_byte_buf(bytes),
            },
            tag::SMALL_STR..=tag::SMALL_STR_MAX => {
                visitor.visit_borrowed_str(self.reader.str(usize::from(tag - tag::SMALL_STR))?)
            }
            tag::STR => match self.reader.run()? {
                Run::Here(bytes) => {
                    visitor.visit_borrowed_str(std::str::from_utf8(bytes).map_err(|_| Kind::Utf8)?)
                }
                Run::Apart(bytes) => visitor.visit_string(String::from_utf8(bytes).map_err(|_| Kind::Utf8)?),
            },
            tag::SMALL_SEQ..=tag::SMALL_SEQ_MAX => self.elements(u64::from(tag - tag::SMALL_SEQ), visitor),
            tag::SEQ => {
                let count = self.reader.varint()?;
                self.elements(count, visitor)
            }
            tag::UNIFORM => self.uniform(visitor),
            tag::SMALL_MAP..=tag::SMALL_MAP_MAX => self.entries(u64::from(tag - tag::SMALL_MAP), visitor),
            tag::MAP => {
                let count = self.reader.varint()?;
                self.entries(count, visitor)
            }
            tag::SMALL_STRUCT..=tag::SMALL_STRUCT_MAX => {
                self.fields(u64::from(tag - tag::SMALL_STRUCT), &[], visitor)
            }
            tag::STRUCT => {
                let count = self.reader.varint()?;
                self.fields(count, &[], visitor)
            }
            // Serde's buffer for untagged enums and flattened structs takes enums as a string or a map of one
            // entry.
            tag::UNIT_VARIANT => visitor.visit_borrowed_str(self.reader.name(None)?),
            tag::VARIANT => {
                let mut single = Single::new(self);
                let value = visitor.visit_map(&mut single)?;
                finished(usize::from(!single.is_read()), value)
            }
            _ => {
                let bytes = self.reader.take(number::width(tag).ok_or(Kind::Tag(tag))?)?;
                Number { tag, bytes }.deserialize_any(visitor)
            }
        }
    }

    #[inline]
    fn elements<V: Visitor<'de>>(&mut self, count: u64, visitor: V) -> Result<V::Value, Fault> {
        let left = self.reader.announce(count, 1)?;
        self.nested(|decoder| {
            let mut elements = Elements { decoder, left };
            let value = visitor.visit_seq(&mut elements)?;
            finished(elements.left, value)
        })
    }

    fn uniform<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let element = self.reader.byte()?;
        let width = number::width(element).filter(|&width| width > 0).ok_or(Kind::Tag(element))?;
        let count = self.reader.count(width)?;
        let mut uniform = Uniform::new(element, width, self.reader.take(count * width)?);
        let value = visitor.visit_seq(&mut uniform)?;
        finished(uniform.left(), value)
    }

    #[inline]
    fn entries<V: Visitor<'de>>(&mut self, count: u64, visitor: V) -> Result<V::Value, Fault> {
        let left = self.reader.announce(count, 2)?;
        self.nested(|decoder| {
            let mut entries = Entries { decoder, left };
            let value = visitor.visit_map(&mut entries)?;
            finished(entries.left, value)
        })
    }

    #[inline]
    fn fields<V>(
        &mut self,
        count: u64,
        likely: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        let left = self.reader.announce(count, 2)?;
        self.nested(|decoder| {
            let mut fields = Fields { decoder, left, likely: likely.iter() };
            let value = visitor.visit_map(&mut fields)?;
            finished(fields.left, value)
        })
    }

    /// Reads the tag if it is one of these, and says which.
    #[inline]
    fn tag_in(&mut self, zero: u8, max: u8) -> Result<Option<usize>, Fault> {
        let tag = self.reader.peek()?;
        if tag < zero || tag > max {
            return Ok(None);
        }
        self.reader.byte()?;
        Ok(Some(usize::from(tag - zero)))
    }

    #[inline]
    fn uint(&mut self, zero: u8, max: u8) -> Result<Option<u64>, Fault> {
        match self.tag_in(zero, max)? {
            Some(width) => self.reader.uint(width).map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, tag: u8) -> Result<Option<[u8; N]>, Fault> {
        match self.tag_in(tag, tag)? {
            Some(_) => self.reader.array().map(Some),
            None => Ok(None),
        }
    }
}

/// A visitor that leaves part of a value unread would make the rest of the item read as something else.
#[inline]
fn finished<R>(left: usize, value: R) -> Result<R, Fault> {
    if left == 0 { Ok(value) } else { Err(Kind::Unread(left).into()) }
}

/// The short way of a request: if the tags are those of the request, what they say; else what is there.
macro_rules! short_way {
    ($($request:ident: $read:expr => $visit:ident;)*) => {$(
        #[inline]
        fn $request<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let read: fn(&mut Decoder<'de>) -> Result<Option<_>, Fault> = $read;
            match read(self)? {
                Some(value) => visitor.$visit(value),
                None => self.any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Fault;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.any(visitor)
    }

    short_way! {
        deserialize_u8: |d| Ok(d.fixed::<1>(tag::U8)?.map(|[byte]| byte)) => visit_u8;
        deserialize_u16: |d| Ok(d.uint(tag::U16, tag::U16_MAX)?.map(|value| value as u16)) => visit_u16;
        deserialize_u32: |d| Ok(d.uint(tag::U32, tag::U32_MAX)?.map(|value| value as u32)) => visit_u32;
        deserialize_u64: |d| d.uint(tag::U64, tag::U64_MAX) => visit_u64;
        deserialize_u128: |d| Ok(d.fixed(tag::U128)?.map(u128::from_le_bytes)) => visit_u128;
        deserialize_i16: |d| Ok(d.uint(tag::I16, tag::I16_MAX)?.map(|zigzag| unzigzag(zigzag) as i16))
            => visit_i16;
        deserialize_i32: |d| Ok(d.uint(tag::I32, tag::I32_MAX)?.map(|zigzag| unzigzag(zigzag) as i32))
            => visit_i32;
        deserialize_i64: |d| Ok(d.uint(tag::I64, tag::I64_MAX)?.map(unzigzag)) => visit_i64;
        deserialize_i128: |d| Ok(d.fixed(tag::I128)?.map(i128::from_le_bytes)) => visit_i128;
        deserialize_f32: |d| Ok(d.fixed(tag::F32)?.map(f32::from_le_bytes)) => visit_f32;
        deserialize_f64: |d| Ok(d.fixed(tag::F64)?.map(f64::from_le_bytes)) => visit_f64;
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.tag_in(tag::SMALL_STR, tag::SMALL_STR_MAX)? {
            Some(len) => visitor.visit_borrowed_str(self.reader.str(len)?),
            None => self.any(visitor),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    // As serde's own buffer does it: a type that writes its option in another way is met half-way.
    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.reader.peek()? {
            tag::NONE | tag::SOME | tag::UNIT => self.any(visitor),
            _ => visitor.visit_some(self),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V>(self, _name: &'static str, visitor: V) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Some(count) = self.tag_in(tag::SMALL_SEQ, tag::SMALL_SEQ_MAX)? {
            return self.elements(count as u64, visitor);
        }
        // A type may write itself as bytes and still read a sequence.
        if self.tag_in(tag::BYTES, tag::BYTES)?.is_some() {
            let run = self.reader.run()?;
            let bytes = match &run {
                Run::Here(bytes) => bytes,
                Run::Apart(bytes) => &bytes[..],
            };
            let mut bytes = Uniform::new(tag::U8, 1, bytes);
            let value = visitor.visit_seq(&mut bytes)?;
            return finished(bytes.left(), value);
        }
        self.any(visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_struct<V>(
        self,
        _name: &'static str,
        likely: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        if let Some(count) = self.tag_in(tag::SMALL_STRUCT, tag::SMALL_STRUCT_MAX)? {
            return self.fields(count as u64, likely, visitor);
        }
        if self.tag_in(tag::STRUCT, tag::STRUCT)?.is_some() {
            let count = self.reader.varint()?;
            return self.fields(count, likely, visitor);
        }
        self.any(visitor)
    }

    fn deserialize_enum<V>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        match self.reader.peek()? {
            tag::VARIANT => {
                self.reader.byte()?;
                visitor.visit_enum(Variant { decoder: self })
            }
            tag::UNIT_VARIANT => {
                self.reader.byte()?;
                visitor.visit_enum(UnitVariant { name: self.reader.name(None)? })
            }
            // A type may write an enum as what it looks like in JSON: a string, or a map of one entry.
            tag if tag == tag::SMALL_MAP + 1 => {
                self.reader.byte()?;
                self.nested(|decoder| visitor.visit_enum(VariantEntry { decoder }))
            }
            tag if tag == tag::SMALL_STRUCT + 1 => {
                self.reader.byte()?;
                self.nested(|decoder| visitor.visit_enum(Variant { decoder }))
            }
            tag::STR | tag::SMALL_STR..=tag::SMALL_STR_MAX => {
                let name = <&str as serde::Deserialize>::deserialize(self)?;
                visitor.visit_enum(UnitVariant { name })
            }
            _ => self.any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 char bytes byte_buf unit unit_struct map identifier ignored_any
    }
}
