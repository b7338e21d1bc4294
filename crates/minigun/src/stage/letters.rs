//! Dead letters: items that failed for good, on their way to a port or to a file.

use std::sync::Arc;

use super::attempt::guarded;
use super::letter_file::Letter;
use super::sink::{BoxSink, Cx, MakeSink};
use crate::codec::{CodecError, Format};
use crate::failure::{FailedItem, Failure, FailureKind};

/// An item that failed for good, with why: what arrives at the port given to
/// [`Block::dead_letter`](crate::Block::dead_letter).
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Dead<T> {
    /// The item, as it was when it reached the block.
    pub item: T,
    /// The stage in which it failed.
    pub stage: String,
    /// The item's number at its block: 0 for the first that arrived.
    pub number: u64,
    /// Attempts made, deaths of its workers included.
    pub attempts: u32,
    /// What kind of failure the last attempt ended with.
    pub kind: FailureKind,
    /// The error of the last attempt, with its causes.
    pub error: String,
}

/// What there is of an item that failed for good.
pub(crate) enum Remains<'a, T> {
    Item(T),
    Encoded(Format, &'a [u8]),
}

/// A worker's own way to the dead letters of its block. What is posted is part of the running transaction.
pub(crate) trait Letters<T> {
    fn post(&mut self, remains: Remains<'_, T>, failed: &FailedItem) -> Result<(), Failure>;

    /// The worker ends: what stands behind the letters in it ends too.
    fn finish(&mut self) -> Result<(), Failure>;
}

/// Where the items of a block go that failed for good.
pub(crate) struct MakeLetters<T> {
    /// Builds a worker's own way there.
    open: Arc<OpenLetters<T>>,
    /// It takes the item itself; the encoding will not do.
    pub(crate) wants_item: bool,
}

type OpenLetters<T> = dyn Fn(&mut Cx) -> Result<Box<dyn Letters<T>>, Failure> + Send + Sync;

impl<T> Clone for MakeLetters<T> {
    fn clone(&self) -> Self {
        MakeLetters { open: Arc::clone(&self.open), wants_item: self.wants_item }
    }
}

/// Opens the letters of a block that has any.
pub(crate) fn open<T>(
    letters: Option<&MakeLetters<T>>,
    cx: &mut Cx,
) -> Result<Option<Box<dyn Letters<T>>>, Failure> {
    letters.map(|letters| guarded(|| (letters.open)(cx))).transpose()
}

/// Posts to letters that must be there: the block's policy sends items to them.
pub(crate) fn post<T>(
    letters: &mut Option<Box<dyn Letters<T>>>,
    remains: Remains<'_, T>,
    failed: &FailedItem,
) -> Result<(), Failure> {
    let Some(letters) = letters else { return Err("minigun: a block without dead letters".into()) };
    guarded(|| letters.post(remains, failed)).map_err(|failure| {
        let FailedItem { stage, item, error, .. } = failed;
        let about =
            format!("this was the dead letter of item {item}, which had failed in `{stage}`: {error}");
        let details = [Some(about), failure.details().map(str::to_string)].into_iter().flatten();
        let details = details.collect::<Vec<_>>().join("\n");
        failure.with_details(Some(details))
    })
}

/// Ends what stands behind the letters, if there are any.
pub(crate) fn finish<T>(letters: &mut Option<Box<dyn Letters<T>>>) -> Result<(), Failure> {
    match letters {
        Some(letters) => guarded(|| letters.finish()),
        None => Ok(()),
    }
}

/// Letters that go to a port, whose sink `port` makes.
pub(crate) fn to_port<T: Send + 'static>(port: MakeSink<Dead<T>>) -> MakeLetters<T> {
    MakeLetters { open: Arc::new(move |cx| Ok(Box::new(ToPort(port(cx)?)))), wants_item: true }
}

/// Letters that go to a file, behind the sink that `file` makes.
pub(crate) fn to_file<T: 'static>(file: MakeSink<Letter>, encode: EncodeLetter<T>) -> MakeLetters<T> {
    let open = Arc::new(move |cx: &mut Cx| -> Result<Box<dyn Letters<T>>, Failure> {
        Ok(Box::new(ToFile { sink: file(cx)?, encode }))
    });
    MakeLetters { open, wants_item: false }
}

/// Encodes an item for a letter.
pub(crate) type EncodeLetter<T> = fn(Format, &T, &mut Vec<u8>) -> Result<(), CodecError>;

struct ToPort<T>(BoxSink<Dead<T>>);

impl<T> Letters<T> for ToPort<T> {
    fn post(&mut self, remains: Remains<'_, T>, failed: &FailedItem) -> Result<(), Failure> {
        let Remains::Item(item) = remains else {
            return Err("minigun: an item was not kept for its dead letter".into());
        };
        let FailedItem { stage, item: number, attempts, kind, error, .. } = failed.clone();
        self.0.push(Dead { item, stage, number, attempts, kind, error })?;
        self.0.settle()
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.0.finish()
    }
}

struct ToFile<T> {
    sink: BoxSink<Letter>,
    encode: EncodeLetter<T>,
}

impl<T> Letters<T> for ToFile<T> {
    fn post(&mut self, remains: Remains<'_, T>, failed: &FailedItem) -> Result<(), Failure> {
        let encoded = match remains {
            Remains::Encoded(format, bytes) => Some((format, bytes.to_vec())),
            Remains::Item(item) => {
                let (format, mut bytes) = (Format::default(), Vec::new());
                // An item that cannot be encoded is told of by its number and its error.
                (self.encode)(format, &item, &mut bytes).ok().map(|()| (format, bytes))
            }
        };
        let failed = failed.clone();
        self.sink.push(match encoded {
            Some((format, bytes)) => {
                Letter { failed, format: Some(format.name().to_string()), encoded: bytes }
            }
            None => Letter { failed, format: None, encoded: Vec::new() },
        })
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.sink.finish()
    }
}
