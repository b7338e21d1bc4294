//! What arrives on a socket, read as the program and a worker read it: the door for the fuzz targets.
//!
//! Whatever the bytes are, nothing here may panic, or reserve what they merely promise. Errors are as good as
//! values: they end the run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use minigun_os::Slab;
use serde::{Deserialize, Serialize};

use super::frame::{Fields, FrameError, Kind, Reader};
use super::protocol::{self, ItemOutcome};
use crate::apart::Shelf;
use crate::codec::Format;
use crate::stage::handles::decode_values;
use crate::stats::Totals;

/// An item with some of everything, as deep as it likes.
#[derive(Serialize, Deserialize)]
enum Tree {
    Empty,
    Number(i64),
    Text(String),
    Perhaps(Option<char>),
    Branch { left: Box<Tree>, right: Box<Tree> },
    Row(Vec<Tree>),
    Named(BTreeMap<String, Tree>),
}

/// The collectors of a run: a worker's journal names them by number.
static TOTALS: LazyLock<Arc<Totals>> = LazyLock::new(|| {
    let totals = Totals::new();
    totals.new_collector("texts".to_string(), decode_values::<String>);
    totals.new_collector("trees".to_string(), decode_values::<Tree>);
    totals
});

/// A stream that comes in parts of `part` bytes (at least 1) is cut into frames, and these are read; gives
/// their number.
pub fn stream(bytes: &[u8], part: usize) -> usize {
    let (mut reader, mut frames) = (Reader::default(), 0);
    for bytes in bytes.chunks(part.max(1)) {
        reader.room()[..bytes.len()].copy_from_slice(bytes);
        reader.received(bytes.len());
        loop {
            let promised = reader.has_frame();
            match reader.next() {
                Ok(Some(frame)) => {
                    assert!(promised, "a frame of which nothing was said");
                    let _ = read(frame.kind, frame.payload);
                    frames += 1;
                }
                Ok(None) => {
                    assert!(!promised, "a frame that was there is not");
                    break;
                }
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// A payload is read as that of every kind of frame.
pub fn payload(bytes: &[u8]) {
    for kind in [Kind::Items, Kind::Ready, Kind::Unready, Kind::Results, Kind::Bye] {
        let _ = read(kind, bytes);
    }
}

fn read(kind: Kind, payload: &[u8]) -> Result<(), FrameError> {
    let mut fields = Fields(payload);
    match kind {
        Kind::Items => {
            while !fields.is_empty() {
                for _ in 0..protocol::next_items(&mut fields)?.count {
                    item(fields.block()?);
                }
            }
        }
        Kind::Ready => journal(payload),
        Kind::Unready => drop(protocol::decode_failure(payload).to_string()),
        Kind::Results => {
            let (mut results, entries) = protocol::results_and_journal(payload)?;
            while !results.is_empty() {
                let run = protocol::next_results(&mut results)?;
                match run.outcome {
                    ItemOutcome::Done => outputs(run.body, run.count)?,
                    ItemOutcome::Failed => drop(protocol::decode_failure(run.body.0).to_string()),
                }
            }
            journal(entries);
        }
        Kind::Bye => {
            journal(fields.block()?);
            drop(protocol::decode_failure(fields.0).to_string());
        }
        Kind::Hello | Kind::End => {}
    }
    Ok(())
}

fn outputs(mut body: Fields<'_>, count: u32) -> Result<(), FrameError> {
    let mut run = Vec::new();
    for _ in 0..count {
        let one_by_one = protocol::next_result(&mut Fields(body.0))?;
        protocol::next_single_outputs(&mut body, 1, &mut run)?;
        run.iter().for_each(|bytes| item(bytes));
        if run.is_empty() {
            while let Some((_, bytes)) = protocol::next_output(&mut body)? {
                item(bytes);
            }
        }
        drop(one_by_one);
    }
    Ok(())
}

fn journal(bytes: &[u8]) {
    drop(protocol::decode_journal(bytes, &TOTALS));
}

fn item(bytes: &[u8]) {
    thread_local! {
        static SHELF: RefCell<Shelf> = RefCell::new(Shelf::new(slab()));
    }
    for format in Format::ALL {
        drop(format.decode::<Tree>(bytes));
        SHELF.with_borrow_mut(|shelf| drop(format.decode_apart::<Tree>(bytes, shelf)));
    }
}

/// Full of text, and small: a few bytes may ask for all of it.
fn slab() -> Option<Slab> {
    let mut slab = Slab::make(1, 4096).ok()?.pop()?;
    slab.write(0, &[b'a'; 4096]).then_some(slab)
}
