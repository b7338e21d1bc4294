//! What the frames between the program and a worker say.
//!
//! | kind | payload |
//! |---|---|
//! | `Items` | runs of items: the number of the first at the block `u64`, which attempt at them this is `u32`, how many `u32`; then per item a block: its encoding |
//! | `Results` | runs of results: the index of the first `u64`, their outcome `u8`, how many `u32`, and a block with a result for each; then the journal and its length `u32` |
//! | `Ready` | the journal |
//! | `Bye` | the journal as a block, then perhaps a failure |
//! | `Unready` | a failure |
//!
//! A block is a `u32` length and that many bytes. Items of a run have consecutive numbers, and results consecutive
//! indices. The result of an item that was done is its outputs (each: exit `u16`, a block) and the mark behind them; a
//! failure is a run of its own, and the whole block. A frame is accepted whole or not at all, so the journal it
//! carries and the results it carries are committed together.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::frame::{Fields, FrameError};
use crate::failure::{Failure, FailureKind};
use crate::graph::StageId;
use crate::journal::{Entries, Event, Timed};
use crate::stats::Totals;

/// Items with consecutive numbers in an `Items` frame, all sent for the same attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ItemRun {
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    pub(crate) count: u32,
}

/// Appends what precedes a run of items; how many they are is told by [`end_items`].
pub(crate) fn begin_items(out: &mut Vec<u8>, number: u64, attempt: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&attempt.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    start
}

/// Completes the run that begins at `start`; one without items is taken out again.
pub(crate) fn end_items(out: &mut Vec<u8>, start: usize, count: u32) {
    match count {
        0 => out.truncate(start),
        _ => out[start + 12..start + 16].copy_from_slice(&count.to_le_bytes()),
    }
}

/// The next run of an `Items` frame. A block for each of its items follows.
#[inline]
pub(crate) fn next_items(fields: &mut Fields<'_>) -> Result<ItemRun, FrameError> {
    let run = ItemRun { number: fields.u64()?, attempt: fields.u32()?, count: fields.u32()? };
    if run.count == 0 { Err(FrameError::Content("a run without items")) } else { Ok(run) }
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

/// Results of items with consecutive indices.
pub(crate) struct ResultRun<'a> {
    pub(crate) index: u64,
    pub(crate) outcome: ItemOutcome,
    pub(crate) count: u32,
    pub(crate) body: Fields<'a>,
}

/// Bytes that precede the results of a run.
const RUN_HEAD: usize = 17;

/// Appends what precedes a run of results; [`end_results`] completes it.
pub(crate) fn begin_results(out: &mut Vec<u8>, index: u64, outcome: ItemOutcome) -> usize {
    let start = out.len();
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&[outcome as u8, 0, 0, 0, 0, 0, 0, 0, 0]);
    start
}

/// Completes the run that begins at `start` and ends at the end of `out`.
pub(crate) fn end_results(out: &mut [u8], start: usize, count: u32) -> Result<(), FrameError> {
    let length = out.len() - start - RUN_HEAD;
    let length = u32::try_from(length).map_err(|_| FrameError::TooLarge(length))?;
    out[start + 9..start + 13].copy_from_slice(&count.to_le_bytes());
    out[start + 13..start + RUN_HEAD].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// The next run of results.
pub(crate) fn next_results<'a>(fields: &mut Fields<'a>) -> Result<ResultRun<'a>, FrameError> {
    let index = fields.u64()?;
    let outcome = match fields.u8()? {
        0 => ItemOutcome::Done,
        1 => ItemOutcome::Failed,
        _ => return Err(FrameError::Content("an item's outcome")),
    };
    let count = fields.u32()?;
    if count == 0 || outcome == ItemOutcome::Failed && count != 1 {
        return Err(FrameError::Content("how many results there are"));
    }
    Ok(ResultRun { index, outcome, count, body: Fields(fields.block()?) })
}

/// What stands behind the outputs of an item, in place of an exit.
pub(crate) const NO_MORE: u16 = u16::MAX;

/// The next output of an item: its exit and its encoding; `None` when there are no more.
#[inline]
pub(crate) fn next_output<'a>(fields: &mut Fields<'a>) -> Result<Option<(u16, &'a [u8])>, FrameError> {
    match fields.u16()? {
        NO_MORE => Ok(None),
        exit => Ok(Some((exit, fields.block()?))),
    }
}

/// The outputs of the next items, at most so many, as long as each has exactly one, and all have the same exit, which it
/// gives; with none in `outputs` it is nobody's.
#[inline]
pub(crate) fn next_single_outputs<'a>(
    fields: &mut Fields<'a>,
    most: usize,
    outputs: &mut Vec<&'a [u8]>,
) -> Result<u16, FrameError> {
    outputs.clear();
    let mut of = NO_MORE;
    while outputs.len() < most {
        let mut ahead = Fields(fields.0);
        let Some((exit, bytes)) = next_output(&mut ahead)? else { break };
        if ahead.u16()? != NO_MORE || !outputs.is_empty() && exit != of {
            break;
        }
        of = exit;
        outputs.push(bytes);
        *fields = ahead;
    }
    Ok(of)
}

/// Passes over the results of the next items, at most so many, as long as they gave nothing; gives their number.
pub(crate) fn pass_empty(fields: &mut Fields<'_>, most: u64) -> u64 {
    let mut passed = 0;
    while passed < most
        && let Some(rest) = fields.0.strip_prefix(&NO_MORE.to_le_bytes())
    {
        fields.0 = rest;
        passed += 1;
    }
    passed
}

/// Whether an item gave nothing.
pub(crate) fn is_empty(result: &[u8]) -> bool {
    result == NO_MORE.to_le_bytes()
}

/// All outputs of the next item, and the mark behind them.
pub(crate) fn next_result<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], FrameError> {
    let before = fields.0;
    while next_output(fields)?.is_some() {}
    Ok(&before[..before.len() - fields.0.len()])
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
