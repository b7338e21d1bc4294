//! Lends the parts of a value to serde one after the other: elements, entries, fields, and what a variant
//! holds.

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::{decoder::Decoder, fault::Fault, tag};

/// The elements of a sequence.
pub(super) struct Elements<'a, 'de> {
    pub(super) decoder: &'a mut Decoder<'de>,
    pub(super) left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.decoder.reader.begin();
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The entries of a map.
pub(super) struct Entries<'a, 'de> {
    pub(super) decoder: &'a mut Decoder<'de>,
    pub(super) left: usize,
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.decoder.reader.begin();
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        self.left = self.left.saturating_sub(1);
        seed.deserialize(&mut *self.decoder)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The fields of a struct, which mostly come as the type lists them.
pub(super) struct Fields<'a, 'de> {
    pub(super) decoder: &'a mut Decoder<'de>,
    pub(super) left: usize,
    pub(super) likely: std::slice::Iter<'static, &'static str>,
}

impl<'de> MapAccess<'de> for Fields<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.decoder.reader.begin();
        let name = self.decoder.reader.name(self.likely.next().copied())?;
        seed.deserialize(Name(name)).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        self.left = self.left.saturating_sub(1);
        seed.deserialize(&mut *self.decoder)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant as a map from its name to what it holds.
pub(super) struct Single<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    state: SingleState,
}

#[derive(PartialEq)]
enum SingleState {
    Name,
    Value,
    Read,
}

impl<'a, 'de> Single<'a, 'de> {
    pub(super) fn new(decoder: &'a mut Decoder<'de>) -> Self {
        Single { decoder, state: SingleState::Name }
    }

    pub(super) fn is_read(&self) -> bool {
        self.state == SingleState::Read
    }
}

impl<'de> MapAccess<'de> for Single<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.state != SingleState::Name {
            return Ok(None);
        }
        self.state = SingleState::Value;
        seed.deserialize(Name(self.decoder.reader.name(None)?)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        self.state = SingleState::Read;
        match self.decoder.reader.peek()? {
            // These count as a level themselves, and the encoder does not count the variant around them.
            tag::SEQ | tag::SMALL_SEQ..=tag::SMALL_SEQ_MAX => seed.deserialize(&mut *self.decoder),
            tag::STRUCT | tag::SMALL_STRUCT..=tag::SMALL_STRUCT_MAX => seed.deserialize(&mut *self.decoder),
            _ => self.decoder.nested(|decoder| seed.deserialize(decoder)),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(usize::from(self.state == SingleState::Name))
    }
}

/// A variant that holds something: its name is next, then its value.
pub(super) struct Variant<'a, 'de> {
    pub(super) decoder: &'a mut Decoder<'de>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = Fault;
    type Variant = Held<'a, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Held<'a, 'de>), Fault> {
        let name = self.decoder.reader.name(None)?;
        Ok((seed.deserialize(Name(name))?, Held { decoder: self.decoder }))
    }
}

/// A map of one entry, read as a variant: its key is next, then its value.
pub(super) struct VariantEntry<'a, 'de> {
    pub(super) decoder: &'a mut Decoder<'de>,
}

impl<'a, 'de> EnumAccess<'de> for VariantEntry<'a, 'de> {
    type Error = Fault;
    type Variant = Held<'a, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Held<'a, 'de>), Fault> {
        Ok((seed.deserialize(&mut *self.decoder)?, Held { decoder: self.decoder }))
    }
}

/// What a variant holds.
pub(super) struct Held<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
}

impl<'de> VariantAccess<'de> for Held<'_, 'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        <()>::deserialize(self.decoder)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        self.decoder.nested(|decoder| seed.deserialize(decoder))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.decoder.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V>(self, likely: &'static [&'static str], visitor: V) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        self.decoder.deserialize_struct("", likely, visitor)
    }
}

/// A variant that holds nothing.
pub(super) struct UnitVariant<'de> {
    pub(super) name: &'de str,
}

impl<'de> EnumAccess<'de> for UnitVariant<'de> {
    type Error = Fault;
    type Variant = Nothing;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Nothing), Fault> {
        Ok((seed.deserialize(Name(self.name))?, Nothing))
    }
}

/// What a unit variant holds.
pub(super) struct Nothing;

impl<'de> VariantAccess<'de> for Nothing {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _seed: S) -> Result<S::Value, Fault> {
        Err(Fault::invalid_type(Unexpected::UnitVariant, &"newtype variant"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        Err(Fault::invalid_type(Unexpected::UnitVariant, &visitor))
    }

    fn struct_variant<V>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        Err(Fault::invalid_type(Unexpected::UnitVariant, &visitor))
    }
}

/// The name of a field or variant, as whatever string-like thing is asked for.
struct Name<'de>(&'de str);

impl<'de> Deserializer<'de> for Name<'de> {
    type Error = Fault;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.0)
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

    fn deserialize_enum<V>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault>
    where
        V: Visitor<'de>,
    {
        visitor.visit_enum(UnitVariant { name: self.0 })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}
