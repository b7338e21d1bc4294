//! Writes what has parts: sequences, maps and structs, whose count may turn out other than announced.

use serde::{
    Serialize,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use super::{
    encoder::{Encoder, varint},
    fault::{Fault, Kind},
    tag, uniform,
};

/// How the start of a sequence, map or struct is written: a tag that carries a small count, or one before a
/// varint.
#[derive(Clone, Copy)]
pub(super) struct Head {
    small: u8,
    large: u8,
}

pub(super) const SEQ: Head = Head { small: tag::SMALL_SEQ, large: tag::SEQ };
pub(super) const MAP: Head = Head { small: tag::SMALL_MAP, large: tag::MAP };
pub(super) const STRUCT: Head = Head { small: tag::SMALL_STRUCT, large: tag::STRUCT };

impl Head {
    #[inline]
    fn write(self, count: usize, out: &mut Vec<u8>) {
        if count <= tag::SMALL_COUNT {
            out.push(self.small + count as u8);
        } else {
            out.push(self.large);
            varint(out, count);
        }
    }
}

/// A sequence, map or struct whose parts are being written.
pub(super) struct Compound<'b, 'a> {
    encoder: &'b mut Encoder<'a>,
    head: Head,
    announced: usize,
    count: usize,
    key_open: bool,
    start: usize,
    body: usize,
}

impl<'b, 'a> Compound<'b, 'a> {
    #[inline]
    pub(super) fn open(encoder: &'b mut Encoder<'a>, head: Head, announced: usize) -> Self {
        let start = encoder.out.len();
        head.write(announced, encoder.out);
        let body = encoder.out.len();
        Compound { encoder, head, announced, count: 0, key_open: false, start, body }
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count += 1;
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        self.encoder.name(name);
        self.element(value)
    }

    #[inline]
    fn close(mut self) -> Result<(), Fault> {
        if self.count != self.announced {
            self.correct_head();
        }
        self.encoder.depth += 1;
        Ok(())
    }

    #[inline]
    fn close_seq(mut self) -> Result<(), Fault> {
        if self.count != self.announced {
            self.correct_head();
        }
        if self.count >= uniform::MIN_COUNT {
            uniform::compact(self.encoder.out, self.start, self.body, self.count);
        }
        self.encoder.depth += 1;
        Ok(())
    }

    /// Serde's lengths are hints, and may be missing: then the head was written for another count, and is
    /// replaced.
    #[cold]
    fn correct_head(&mut self) {
        let mut head = Vec::with_capacity(10);
        self.head.write(self.count, &mut head);
        let body = self.start + head.len();
        self.encoder.out.splice(self.start..self.body, head);
        if let Some(apart) = &mut self.encoder.apart {
            apart.moved(self.body, body);
        }
        self.body = body;
    }
}

impl SerializeSeq for Compound<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.close_seq()
    }
}

impl SerializeTuple for Compound<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.close_seq()
    }
}

impl SerializeTupleStruct for Compound<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.close()
    }
}

impl SerializeTupleVariant for Compound<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.element(value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.close()
    }
}

impl SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        if std::mem::replace(&mut self.key_open, true) {
            return Err(Kind::Key.into());
        }
        self.element(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.key_open, false) {
            return Err(Kind::Key.into());
        }
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        if self.key_open {
            return Err(Kind::Key.into());
        }
        self.close()
    }
}

impl SerializeStruct for Compound<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        self.field(name, value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.close()
    }
}

impl SerializeStructVariant for Compound<'_, '_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        self.field(name, value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        self.close()
    }
}
