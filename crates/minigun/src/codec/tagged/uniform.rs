//! Sequences of numbers of one width: their tag is written once, so a `Vec<u8>` takes a byte an element.
//!
//! An encoder only learns that a sequence is uniform at its end, so [`compact`] squeezes the tags out
//! afterwards.

use serde::de::{DeserializeSeed, SeqAccess};

use super::{encoder::varint, fault::Fault, number, number::Number, tag};

/// Shorter sequences stay as they are. (At this count the new head is just long enough to end where the first
/// element's tag was, so elements only ever move towards the start.)
pub(super) const MIN_COUNT: usize = tag::SMALL_COUNT + 1;

/// Rewrites the sequence whose head is at `start` and whose `count` elements are at `body` to the end, if it
/// is uniform.
pub(super) fn compact(out: &mut Vec<u8>, start: usize, body: usize, count: usize) {
    let Some(&element) = out.get(body) else { return };
    match number::width(element) {
        Some(1) => squeeze::<1>(out, start, body, count),
        Some(2) => squeeze::<2>(out, start, body, count),
        Some(3) => squeeze::<3>(out, start, body, count),
        Some(4) => squeeze::<4>(out, start, body, count),
        Some(5) => squeeze::<5>(out, start, body, count),
        Some(6) => squeeze::<6>(out, start, body, count),
        Some(7) => squeeze::<7>(out, start, body, count),
        Some(8) => squeeze::<8>(out, start, body, count),
        Some(16) => squeeze::<16>(out, start, body, count),
        // Not a number; or zeros, which have nothing but their tags.
        _ => {}
    }
}

fn squeeze<const WIDTH: usize>(out: &mut Vec<u8>, start: usize, body: usize, count: usize) {
    let stride = 1 + WIDTH;
    let elements = &out[body..];
    // An element's tag determines its length, so if the bytes at every stride are the tag, they are the tags.
    let element = elements[0];
    if elements.len() != count * stride || !elements.chunks_exact(stride).all(|bytes| bytes[0] == element) {
        return;
    }
    // The head grows by the one byte that the first element's tag leaves free.
    let mut head = Vec::with_capacity(12);
    head.extend([tag::UNIFORM, element]);
    varint(&mut head, count);
    out[start..=body].copy_from_slice(&head);
    let numbers = &mut out[body + 1..];
    for index in 1..count {
        let mut number = [0; WIDTH];
        number.copy_from_slice(&numbers[index * stride..][..WIDTH]);
        numbers[index * WIDTH..][..WIDTH].copy_from_slice(&number);
    }
    out.truncate(body + 1 + count * WIDTH);
}

/// The elements of a uniform sequence, or bytes that are read as one.
pub(super) struct Uniform<'a> {
    element: u8,
    width: usize,
    bytes: &'a [u8],
}

impl<'a> Uniform<'a> {
    pub(super) fn new(element: u8, width: usize, bytes: &'a [u8]) -> Self {
        Uniform { element, width, bytes }
    }

    #[inline]
    pub(super) fn left(&self) -> usize {
        self.bytes.len() / self.width
    }
}

impl<'de> SeqAccess<'de> for Uniform<'_> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        match self.bytes.split_at_checked(self.width) {
            Some((number, rest)) => {
                self.bytes = rest;
                seed.deserialize(Number { tag: self.element, bytes: number }).map(Some)
            }
            None => Ok(None),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left())
    }
}
