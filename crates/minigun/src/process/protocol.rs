//! What the frames between the program and a worker say.
//!
//! | kind | payload |
//! |---|---|
//! | `Items` | per item: its number at the block `u64`, which attempt at it this is `u32`, a block: the encoded item |
//! | `Results` | per item: its index `u64`, its outcome `u8`, a block; then the journal and its length `u32` |
//! | `Ready` | the journal |
//! | `Bye` | the journal as a block, then perhaps a failure |
//! | `Unready` | a failure |
//!
//! A block is a `u32` length and that many bytes. The block of an item's result is its outputs (each: exit
//! `u16`, a block) or its failure. A frame is accepted whole or not at all, so the journal it carries and the
//! results it carries are committed together.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::frame::{Fields, FrameError};
use crate::failure::{Failure, FailureKind};
use crate::graph::StageId;
use crate::journal::{Entries, Event, Timed};
use crate::stats::Totals;
use crate::working::Working;

/// Appends what precedes an item's block in an `Items` frame: which attempt it is sent for.
pub(crate) fn begin_item(out: &mut Vec<u8>, item: u64, attempt: u32) {
    out.extend_from_slice(&item.to_le_bytes());
    out.extend_from_slice(&attempt.to_le_bytes());
}

/// The next item of an `Items` frame: the attempt it is sent for, and its encoding.
pub(crate) fn next_item<'a>(fields: &mut Fields<'a>) -> Result<(Working, &'a [u8]), FrameError> {
    Ok((Working::Item { item: fields.u64()?, attempt: fields.u32()? }, fields.block()?))
}

/// Appends a block whose content `fill` writes.
pub(crate) fn block(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start - 4).map_err(|_| FrameError::TooLarge(out.len() - start))?;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// How an item ended in the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemOutcome {
    Done = 0,
    Failed = 1,
}

/// The two parts of a `Results` frame.
pub(crate) fn results_and_journal(payload: &[u8]) -> Result<(Fields<'_>, &[u8]), FrameError> {
    let (rest, length) = payload.split_last_chunk().ok_or(FrameError::Short)?;
    let at = rest.len().checked_sub(u32::from_le_bytes(*length) as usize).ok_or(FrameError::Short)?;
    let (results, journal) = rest.split_at(at);
    Ok((Fields(results), journal))
}

/// One item's result in a `Results` frame.
pub(crate) struct ItemResult<'a> {
    pub(crate) index: u64,
    pub(crate) outcome: ItemOutcome,
    pub(crate) body: &'a [u8],
}

/// The next item's result.
pub(crate) fn next_result<'a>(fields: &mut Fields<'a>) -> Result<ItemResult<'a>, FrameError> {
    let index = fields.u64()?;
    let outcome = match fields.u8()? {
        0 => ItemOutcome::Done,
        1 => ItemOutcome::Failed,
        _ => return Err(FrameError::Content("an item's outcome")),
    };
    Ok(ItemResult { index, outcome, body: fields.block()? })
}

/// The next output in the body of a `Done` result: its exit and its encoded item.
pub(crate) fn next_output<'a>(fields: &mut Fields<'a>) -> Result<(u16, &'a [u8]), FrameError> {
    Ok((fields.u16()?, fields.block()?))
}

/// What a worker committed, and how long it worked.
#[derive(Serialize, Deserialize)]
struct Journal {
    steps: Vec<(StageId, u64, u64, u64)>,
    counts: Vec<(u32, u64)>,
    collected: Vec<(u32, Vec<u8>)>,
    events: Vec<Event>,
    appended: Vec<(OsString, Vec<u64>)>,
    times: Vec<Timed>,
    work: Work,
}

/// Time a worker spent in the block's steps, and the items it ran meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) nanos: u64,
    pub(crate) items: u64,
    /// The most memory that the worker has had, in bytes; told at its end, else 0.
    pub(crate) peak: u64,
}

/// Encodes a journal. Collected values that cannot be encoded fail.
pub(crate) fn encode_journal(entries: Entries, work: Work, out: &mut Vec<u8>) -> Result<(), Failure> {
    if entries.is_empty() && work == Work::default() {
        return Ok(());
    }
    let mut collected = Vec::with_capacity(entries.collected.len());
    for (collector, values) in entries.collected {
        collected.push((collector, values.encode()?));
    }
    let appended = entries.appended.into_iter().map(|(file, ids)| (file.as_os_str().into(), ids));
    let journal = Journal {
        steps: entries.steps,
        counts: entries.counts,
        collected,
        events: entries.events,
        appended: appended.collect(),
        times: entries.times,
        work,
    };
    let bytes = postcard::to_stdvec(&journal)
        .map_err(|error| Failure::new(FailureKind::Codec, format!("a worker's journal: {error}")))?;
    out.extend_from_slice(&bytes);
    Ok(())
}

/// The journal of a frame, its values decoded for the program's collectors, and the work done.
pub(crate) fn decode_journal(bytes: &[u8], totals: &Totals) -> Result<(Entries, Work), Failure> {
    if bytes.is_empty() {
        return Ok((Entries::default(), Work::default()));
    }
    let journal: Journal = postcard::from_bytes(bytes)
        .map_err(|error| Failure::new(FailureKind::Codec, format!("a worker's journal: {error}")))?;
    let mut collected = Vec::with_capacity(journal.collected.len());
    for (collector, bytes) in &journal.collected {
        collected.push((*collector, totals.decode(*collector, bytes)?));
    }
    let appended = journal.appended.into_iter().map(|(file, ids)| (PathBuf::from(file).into(), ids));
    let entries = Entries {
        steps: journal.steps,
        counts: journal.counts,
        collected,
        events: journal.events,
        appended: appended.collect(),
        times: journal.times,
    };
    Ok((entries, journal.work))
}

#[derive(Serialize, Deserialize)]
struct WireFailure {
    kind: u8,
    stage: Option<String>,
    error: String,
    reach: u16,
    attempts: u32,
    hook: bool,
    details: Option<String>,
}

pub(crate) fn encode_failure(failure: &Failure) -> Vec<u8> {
    let wire = WireFailure {
        kind: failure.kind().code(),
        stage: failure.stage().map(str::to_string),
        error: failure.chain(),
        reach: failure.reach(),
        attempts: failure.attempts(0),
        hook: failure.is_hook(),
        details: failure.details().map(str::to_string),
    };
    postcard::to_stdvec(&wire).unwrap_or_default()
}

pub(crate) fn decode_failure(bytes: &[u8]) -> Failure {
    let Ok(wire) = postcard::from_bytes::<WireFailure>(bytes) else {
        return Failure::new(FailureKind::Codec, "a worker reported a failure that cannot be read");
    };
    let kind = FailureKind::from_code(wire.kind).unwrap_or(FailureKind::Error);
    let mut failure = Failure::new(kind, wire.error);
    if let Some(stage) = wire.stage {
        failure = failure.at(&stage);
    }
    if wire.hook {
        failure = failure.of_hook();
    }
    failure.behind(wire.reach).after(wire.attempts).with_details(wire.details)
}
