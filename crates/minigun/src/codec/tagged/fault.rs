//! Why a value could not be written or read; the caller adds the type and the remedy.

use std::fmt;

use super::MAX_DEPTH;

/// One pointer wide: it stands in the result of every step.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Fault(Box<Kind>);

#[derive(Debug, thiserror::Error)]
pub(super) enum Kind {
    #[error("the bytes end in the middle of a value")]
    End,
    #[error("{0} bytes are left over after the value")]
    Trailing(usize),
    #[error("no value starts with the byte {0:#04x}")]
    Tag(u8),
    #[error("{count} more are announced than the bytes that are left could hold")]
    Count { count: u64 },
    #[error("a length is out of range")]
    Varint,
    #[error("bytes that lie apart are not where they should be")]
    Apart,
    #[error("{0:#x} is not a character")]
    Char(u64),
    #[error("a string is not UTF-8")]
    Utf8,
    #[error("a name is referred to that was not given")]
    Name,
    #[error("{0} elements or entries were not read")]
    Unread(usize),
    #[error("it nests more than {MAX_DEPTH} levels deep")]
    Depth,
    #[error("a map has a key without a value")]
    Key,
    #[error("{0}")]
    Message(String),
}

// Kept out of line: making a fault is the rare path of functions that want to be small.
#[cold]
fn fault(kind: Kind) -> Fault {
    Fault(Box::new(kind))
}

impl From<Kind> for Fault {
    fn from(kind: Kind) -> Self {
        fault(kind)
    }
}

impl serde::ser::Error for Fault {
    fn custom<M: fmt::Display>(message: M) -> Self {
        fault(Kind::Message(message.to_string()))
    }
}

impl serde::de::Error for Fault {
    fn custom<M: fmt::Display>(message: M) -> Self {
        fault(Kind::Message(message.to_string()))
    }
}
