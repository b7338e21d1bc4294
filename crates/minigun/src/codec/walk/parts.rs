//! The parts of a value that has parts, summed up where they stand or in any order.

use serde::{
    Serialize,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use super::{Purpose, Reason, Refusal, Sum, Walk};

/// The sum of the parts of a value so far.
pub(super) struct Parts<P> {
    inside: Walk<P>,
    sum: u64,
    count: u64,
    key: u64,
}

impl<P: Purpose> Parts<P> {
    #[inline]
    pub(super) fn new(inside: Walk<P>, head: u64) -> Self {
        Parts { inside, sum: head, count: 0, key: 0 }
    }

    /// A part that belongs where it stands.
    #[inline]
    fn in_order(&mut self, part: u64) {
        self.count += 1;
        self.sum = P::mix(self.sum, part);
    }

    /// A part that may come anywhere: the elements of a set, the entries of a map.
    #[inline]
    fn in_any_order(&mut self, part: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(P::mix(!0, part));
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refusal> {
        let part = P::mix(P::bytes(name.as_bytes()), value.serialize(self.inside)?);
        self.in_order(part);
        Ok(())
    }

    fn skipped(&mut self, name: &'static str) -> Result<(), Refusal> {
        if P::REFUSES_SKIPPED_FIELDS { Err(Reason::Skipped(name).into()) } else { Ok(()) }
    }

    #[inline]
    fn close(self) -> Sum {
        Ok(P::mix(self.sum, self.count))
    }
}

/// The parts that serde hands over one by one, without names.
macro_rules! nameless {
    ($($trait:ident::$method:ident: $add:ident;)*) => {$(
        impl<P: Purpose> $trait for Parts<P> {
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

impl<P: Purpose> SerializeMap for Parts<P> {
    type Ok = u64;
    type Error = Refusal;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.key = key.serialize(self.inside)?;
        Ok(())
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let part = P::mix(self.key, value.serialize(self.inside)?);
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
        impl<P: Purpose> $trait for Parts<P> {
            type Ok = u64;
            type Error = Refusal;

            #[inline]
            fn serialize_field<T>(&mut self, name: &'static str, value: &T) -> Result<(), Refusal>
            where
                T: Serialize + ?Sized,
            {
                self.field(name, value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Refusal> {
                self.skipped(name)
            }

            #[inline]
            fn end(self) -> Sum {
                self.close()
            }
        }
    )*};
}

named! { SerializeStruct SerializeStructVariant }
