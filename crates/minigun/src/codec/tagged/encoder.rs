//! Writes values: serde tells it the shape, it writes the tags.

use serde::{Serialize, Serializer};

use super::{
    MAX_DEPTH,
    compound::{Compound, Head, MAP, SEQ, STRUCT},
    fault::{Fault, Kind},
    names::{LONG_NAME, MAX_NAME, NEW_NAME, Names},
    tag,
};
use crate::apart::Apart;
use crate::defaults::APART_BYTES;

pub(super) struct Encoder<'a> {
    pub(super) out: &'a mut Vec<u8>,
    names: Names<'static>,
    /// How many levels deeper values may nest.
    pub(super) depth: u16,
    /// Takes long runs of bytes, if they may lie apart.
    pub(super) apart: Option<&'a mut dyn Apart>,
}

impl<'a> Encoder<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>, apart: Option<&'a mut dyn Apart>) -> Self {
        Encoder { out, names: Names::new(), depth: MAX_DEPTH, apart }
    }

    /// Writes a run of bytes behind its length.
    #[inline]
    fn run(&mut self, bytes: &[u8]) {
        varint(self.out, bytes.len());
        if bytes.len() < APART_BYTES || !self.puts_apart(bytes) {
            self.out.extend_from_slice(bytes);
        }
    }

    #[cold]
    fn puts_apart(&mut self, bytes: &[u8]) -> bool {
        let at = self.out.len();
        self.apart.as_mut().is_some_and(|apart| apart.put(at, bytes))
    }

    /// Writes the `width` lowest bytes behind a tag that says how many. All nine are written and the
    /// superfluous ones cut off, which is quicker than a copy of unknown length.
    #[inline]
    fn int(&mut self, zero: u8, value: u64) {
        let width = 8 - (value.leading_zeros() / 8) as u8;
        let mut bytes = [0; 9];
        bytes[0] = zero + width;
        bytes[1..].copy_from_slice(&value.to_le_bytes());
        let end = self.out.len() + 1 + usize::from(width);
        self.out.extend_from_slice(&bytes);
        self.out.truncate(end);
    }

    #[inline]
    fn signed(&mut self, zero: u8, value: i64) {
        self.int(zero, ((value << 1) ^ (value >> 63)) as u64);
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        self.out.push(tag);
        self.out.extend_from_slice(&bytes);
    }

    #[inline]
    pub(super) fn name(&mut self, name: &'static str) {
        match self.names.number_of(name) {
            Some(number) => self.out.push(number),
            None => self.new_name(name),
        }
    }

    fn new_name(&mut self, name: &'static str) {
        if name.len() <= MAX_NAME {
            self.out.push(NEW_NAME + name.len() as u8);
            self.names.push(name);
        } else {
            self.out.push(LONG_NAME);
            varint(self.out, name.len());
        }
        self.out.extend_from_slice(name.as_bytes());
    }

    #[inline]
    fn descend(&mut self) -> Result<(), Fault> {
        self.depth = self.depth.checked_sub(1).ok_or(Kind::Depth)?;
        Ok(())
    }

    #[inline]
    fn nested<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.descend()?;
        value.serialize(&mut *self)?;
        self.depth += 1;
        Ok(())
    }

    #[inline]
    fn open(&mut self, head: Head, announced: usize) -> Result<Compound<'_, 'a>, Fault> {
        self.descend()?;
        Ok(Compound::open(self, head, announced))
    }
}

#[inline]
pub(super) fn varint(out: &mut Vec<u8>, value: usize) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

impl<'b, 'a> Serializer for &'b mut Encoder<'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Compound<'b, 'a>;
    type SerializeTuple = Compound<'b, 'a>;
    type SerializeTupleStruct = Compound<'b, 'a>;
    type SerializeTupleVariant = Compound<'b, 'a>;
    type SerializeMap = Compound<'b, 'a>;
    type SerializeStruct = Compound<'b, 'a>;
    type SerializeStructVariant = Compound<'b, 'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        self.out.push(if value { tag::TRUE } else { tag::FALSE });
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), Fault> {
        self.out.extend_from_slice(&[tag::I8, value as u8]);
        Ok(())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), Fault> {
        self.signed(tag::I16, i64::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Fault> {
        self.signed(tag::I32, i64::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Fault> {
        self.signed(tag::I64, value);
        Ok(())
    }

    #[inline]
    fn serialize_i128(self, value: i128) -> Result<(), Fault> {
        self.fixed(tag::I128, value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), Fault> {
        self.out.extend_from_slice(&[tag::U8, value]);
        Ok(())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), Fault> {
        self.int(tag::U16, u64::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Fault> {
        self.int(tag::U32, u64::from(value));
        Ok(())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), Fault> {
        self.int(tag::U64, value);
        Ok(())
    }

    #[inline]
    fn serialize_u128(self, value: u128) -> Result<(), Fault> {
        self.fixed(tag::U128, value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), Fault> {
        self.fixed(tag::F32, value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Fault> {
        self.fixed(tag::F64, value.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Fault> {
        self.out.push(tag::CHAR);
        varint(self.out, value as usize);
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        if value.len() <= tag::SMALL_LEN {
            self.out.push(tag::SMALL_STR + value.len() as u8);
            self.out.extend_from_slice(value.as_bytes());
        } else {
            self.out.push(tag::STR);
            self.run(value.as_bytes());
        }
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        self.out.push(tag::BYTES);
        self.run(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Fault> {
        self.out.push(tag::NONE);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.out.push(tag::SOME);
        self.nested(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fault> {
        self.out.push(tag::UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fault> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Fault> {
        self.out.push(tag::UNIT_VARIANT);
        self.name(variant);
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T>(self, _name: &'static str, value: &T) -> Result<(), Fault>
    where
        T: Serialize + ?Sized,
    {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault>
    where
        T: Serialize + ?Sized,
    {
        self.out.push(tag::VARIANT);
        self.name(variant);
        self.nested(value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Compound<'b, 'a>, Fault> {
        self.open(SEQ, len.unwrap_or(0))
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Compound<'b, 'a>, Fault> {
        self.open(SEQ, len)
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Compound<'b, 'a>, Fault> {
        self.open(SEQ, len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'b, 'a>, Fault> {
        self.out.push(tag::VARIANT);
        self.name(variant);
        self.open(SEQ, len)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Compound<'b, 'a>, Fault> {
        self.open(MAP, len.unwrap_or(0))
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Compound<'b, 'a>, Fault> {
        self.open(STRUCT, len)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'b, 'a>, Fault> {
        self.out.push(tag::VARIANT);
        self.name(variant);
        self.open(STRUCT, len)
    }
}
