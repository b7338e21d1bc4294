//! What went wrong with an item's bytes: the codec, the type, the cause and the way out.

use std::{any::type_name, fmt};

use super::Format;

/// An item that could not be encoded, decoded, or carried unaltered.
///
/// One pointer wide, since it stands in the result of every encode and decode.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CodecError(Box<Details>);

impl CodecError {
    pub(super) fn new<T: ?Sized>(
        format: Format,
        action: Action,
        cause: impl ToString,
        remedy: &'static str,
    ) -> Self {
        let cause = cause.to_string();
        CodecError(Box::new(Details { format, action, type_name: type_name::<T>(), cause, remedy }))
    }

    /// The codec that refused.
    pub fn format(&self) -> Format {
        self.0.format
    }

    /// The type of the item, as [`std::any::type_name`] spells it.
    pub fn type_name(&self) -> &'static str {
        self.0.type_name
    }
}

/// What the codec was asked to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Encode,
    Decode,
    Carry,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Encode => "encode",
            Action::Decode => "decode",
            Action::Carry => "carry",
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the {format} codec cannot {action} `{type_name}`: {cause}; {remedy}")]
struct Details {
    format: Format,
    action: Action,
    type_name: &'static str,
    cause: String,
    remedy: &'static str,
}
