//! The parts of a value that has parts, summed up where they stand or in any order.

use serde::{
    Serialize,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use super::{Refusal, Sum, Walk, hash, mix};

/// The sum of the parts of a value so far.
pub(super) struct Parts {
    inside: Walk,
    sum: u64,
    count: u64,
    key: u64,
}

impl Parts {
    #[inline]
    pub(super) fn new(inside: Walk, head: u64) -> Self {
        Parts { inside, sum: head, count: 0, key: 0 }
    }

    /// A part that belongs where it stands.
    #[inline]
    fn in_order(&mut self, part: u64) {
        self.count += 1;
        self.sum = mix(self.sum, part);
    }

    /// A part that may come anywhere: the elements of a set, the entries of a map.
    #[inline]
    fn in_any_order(&mut self, part: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(mix(!0, part));
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refusal> {
        let part = mix(hash(name.as_bytes()), value.serialize(self.inside)?);
        self.in_order(part);
        Ok(())
    }

    #[inline]
    fn close(self) -> Sum {
        Ok(mix(self.sum, self.count))
    }
}

/// The parts that serde hands over one by one, without names.
macro_rules! nameless {
    ($($trait:ident::$method:ident: $add:ident;)*) => {$(
        impl $trait for Parts {
            type Ok = u64;
            type Error = Refusal;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
                let part = value.serialize(self.inside)?;
                self.$add(part);
                Ok(())
            }

            #[inline]
            fn end(self) -> Sum {
                self.close()
            }
        }
    )*};
}

nameless! {
    // Serde tells lists and sets alike, and a set may come in another order when it was rebuilt.
    SerializeSeq::serialize_element: in_any_order;
    SerializeTuple::serialize_element: in_order;
    SerializeTupleStruct::serialize_field: in_order;
    SerializeTupleVariant::serialize_field: in_order;
}

impl SerializeMap for Parts {
    type Ok = u64;
    type Error = Refusal;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.key = key.serialize(self.inside)?;
        Ok(())
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let part = mix(self.key, value.serialize(self.inside)?);
        self.in_any_order(part);
        Ok(())
    }

    #[inline]
    fn end(self) -> Sum {
        self.close()
    }
}

/// The parts that come with a name.
macro_rules! named {
    ($($trait:ident)*) => {$(
        impl $trait for Parts {
            type Ok = u64;
            type Error = Refusal;

            #[inline]
            fn serialize_field<T>(&mut self, name: &'static str, value: &T) -> Result<(), Refusal>
            where
                T: Serialize + ?Sized,
            {
                self.field(name, value)
            }

            #[inline]
            fn end(self) -> Sum {
                self.close()
            }
        }
    )*};
}

named! { SerializeStruct SerializeStructVariant }
