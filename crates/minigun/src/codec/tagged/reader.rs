//! Reads the parts that values are made of: bytes, integers, counts, strings and names, each checked against
//! what is left of the input.

use super::{
    fault::{Fault, Kind},
    names::{LONG_NAME, NEW_NAME, NEW_NAME_MAX, Names},
};
use crate::apart::Runs;

pub(super) struct Reader<'de> {
    rest: &'de [u8],
    names: Names<'de>,
    /// What lies apart, and how long the bytes are from which it was cut out.
    apart: Option<(&'de mut dyn Runs, usize)>,
    /// How many announced elements, entries and fields have yet to come; each takes a byte at least.
    owed: usize,
}

/// A run of bytes: where it is read from, or a copy of what lay apart.
pub(super) enum Run<'de> {
    Here(&'de [u8]),
    Apart(Vec<u8>),
}

impl<'de> Reader<'de> {
    #[inline]
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Reader { rest: bytes, names: Names::new(), apart: None, owed: 0 }
    }

    pub(super) fn with_runs(bytes: &'de [u8], runs: &'de mut dyn Runs) -> Self {
        Reader { apart: Some((runs, bytes.len())), ..Reader::new(bytes) }
    }

    /// Whether all that lies apart was taken.
    #[inline]
    pub(super) fn is_complete(&self) -> bool {
        self.apart.as_ref().is_none_or(|(runs, _)| runs.next().is_none())
    }

    /// A run of bytes behind its length.
    pub(super) fn run(&mut self) -> Result<Run<'de>, Fault> {
        let length = self.varint()?;
        if let Some((runs, whole)) = &mut self.apart
            && let Some((at, cut)) = runs.next()
            && at == *whole - self.rest.len()
        {
            let run = runs.take().filter(|_| cut as u64 == length);
            return Ok(Run::Apart(run.ok_or(Kind::Apart)?));
        }
        let length = self.check_count(length, 1)?;
        Ok(Run::Here(self.take(length)?))
    }

    /// How many bytes are left.
    #[inline]
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn peek(&self) -> Result<u8, Fault> {
        self.rest.first().copied().ok_or_else(|| Kind::End.into())
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        let (&first, rest) = self.rest.split_first().ok_or(Kind::End)?;
        self.rest = rest;
        Ok(first)
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'de [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Kind::End)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Kind::End)?;
        self.rest = rest;
        Ok(*array)
    }

    /// An integer of `len` bytes, at most eight.
    #[inline]
    pub(super) fn uint(&mut self, len: usize) -> Result<u64, Fault> {
        // Eight bytes at once and a mask, where the input is long enough: no loop and no copy of unknown
        // length.
        if let Some((&word, _)) = self.rest.split_first_chunk::<8>()
            && len <= 8
        {
            self.rest = &self.rest[len..];
            let unused = 64 - 8 * len as u32;
            return Ok(u64::from_le_bytes(word).checked_shl(unused).map_or(0, |high| high >> unused));
        }
        Ok(self.take(len)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        let first = self.byte()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.long_varint(first) }
    }

    fn long_varint(&mut self, first: u8) -> Result<u64, Fault> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Kind::Varint.into())
    }

    /// A number of things that take at least `width` bytes each.
    #[inline]
    pub(super) fn count(&mut self, width: usize) -> Result<usize, Fault> {
        let count = self.varint()?;
        self.check_count(count, width)
    }

    #[inline]
    fn check_count(&self, count: u64, width: usize) -> Result<usize, Fault> {
        match usize::try_from(count) {
            Ok(fits) if fits <= self.left().saturating_sub(self.owed) / width => Ok(fits),
            _ => Err(Kind::Count { count }.into()),
        }
    }

    /// Takes note that `count` parts of at least `width` bytes each are to come.
    #[inline]
    pub(super) fn announce(&mut self, count: u64, width: usize) -> Result<usize, Fault> {
        let count = self.check_count(count, width)?;
        self.owed += count;
        Ok(count)
    }

    /// Takes note that the next of the announced parts begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.owed = self.owed.saturating_sub(1);
    }

    #[inline]
    pub(super) fn str(&mut self, len: usize) -> Result<&'de str, Fault> {
        std::str::from_utf8(self.take(len)?).map_err(|_| Kind::Utf8.into())
    }

    /// A name, which is probably `guess`.
    #[inline]
    pub(super) fn name(&mut self, guess: Option<&'static str>) -> Result<&'de str, Fault> {
        match self.byte()? {
            number @ 0..NEW_NAME => self.names.get(usize::from(number)).ok_or_else(|| Kind::Name.into()),
            first @ NEW_NAME..=NEW_NAME_MAX => {
                let bytes = self.take(usize::from(first - NEW_NAME))?;
                let name = match guess {
                    // Comparing is quicker than checking for UTF-8.
                    Some(guess) if guess.as_bytes() == bytes => guess,
                    _ => std::str::from_utf8(bytes).map_err(|_| Kind::Utf8)?,
                };
                self.names.push(name);
                Ok(name)
            }
            LONG_NAME => {
                let len = self.count(1)?;
                self.str(len)
            }
            _ => Err(Kind::Name.into()),
        }
    }
}
