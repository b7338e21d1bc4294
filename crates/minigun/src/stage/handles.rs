//! Counters and collectors: what a closure counts or collects travels with its item's commit, from wherever
//! the closure runs.

use std::any::Any;
use std::marker::PhantomData;

use super::attempt::guarded;
use crate::codec::Format;
use crate::failure::Failure;
use crate::journal::{Journal, Values};
use crate::stats::{self, Totals};
use crate::wire::Wire;
use crate::wire::codec_failure;

/// A count kept for the whole run, made by [`Pipeline::counter`](crate::Pipeline::counter) and read with
/// [`Report::count`](crate::Report::count).
///
/// It is `Copy`: capture it in any closure. What an attempt adds counts when the attempt succeeded, once,
/// however often the item had to be run and in whichever process. Used outside any attempt (on a thread of
/// the program's own) it counts at once; used so in a worker process, it fails the item that the worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    pub(crate) pipeline: u64,
    pub(crate) index: u32,
}

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        let here = Journal::with_current(self.pipeline, |journal| journal.count(self.index, n));
        if here.is_none() {
            outside(self.pipeline, |totals| totals.count(self.index, n));
        }
    }
}

/// Values gathered for the whole run, made by [`Pipeline::collector`](crate::Pipeline::collector) and taken
/// with [`Report::take`](crate::Report::take). Otherwise as [`Counter`].
pub struct Collector<T> {
    pub(crate) pipeline: u64,
    pub(crate) index: u32,
    pub(crate) _values: PhantomData<fn(T)>,
}

impl<T> Clone for Collector<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Collector<T> {}

impl<T: Wire> Collector<T> {
    /// Adds a value. The order in the end is that of the commits.
    pub fn push(&self, value: T) {
        let mut value = Some(value);
        Journal::with_current(self.pipeline, |journal| {
            if let Some(value) = value.take() {
                journal.collect(self.index, Box::new(Gathered(vec![value])));
            }
        });
        if let Some(value) = value {
            outside(self.pipeline, |totals| totals.collect(self.index, Box::new(Gathered(vec![value]))));
        }
    }
}

fn outside(pipeline: u64, record: impl FnOnce(&Totals)) {
    match stats::totals(pipeline) {
        Some(totals) if totals.is_ours() => record(&totals),
        Some(_) => stats::misuse(),
        None => {}
    }
}

/// The values of one collector.
pub(crate) struct Gathered<T>(pub(crate) Vec<T>);

impl<T: Wire> Values for Gathered<T> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn absorb(&mut self, other: Box<dyn Any>) {
        if let Ok(mut other) = other.downcast::<Self>() {
            self.0.append(&mut other.0);
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn encode(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        guarded(|| Format::default().encode(&self.0, &mut bytes).map_err(codec_failure))?;
        Ok(bytes)
    }
}

/// Decodes what [`Values::encode`] made of a collector's values.
pub(crate) fn decode_values<T: Wire>(bytes: &[u8]) -> Result<Box<dyn Values>, Failure> {
    let values = guarded(|| Format::default().decode::<Vec<T>>(bytes).map_err(codec_failure))?;
    Ok(Box::new(Gathered(values)))
}
