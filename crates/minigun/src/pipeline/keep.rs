//! What a block keeps of an item while it is tried, as a type: nothing, a copy, or a letter for when all fails.

use std::path::PathBuf;

use serde::Serialize;

use super::letters::Post;
use super::port::Port;
use crate::codec::Format;
use crate::stage::Keep;
use crate::stage::letters::Dead;
use crate::wire::{Wire, WireFns};

/// An item is handed over for good.
pub struct Once(pub(super) ());
/// An item is kept for another attempt.
pub struct Kept(pub(super) ());
/// An item is kept for another attempt, and for the port of the dead letters.
pub struct Letters<T>(pub(super) Port<Dead<T>>);
/// An item is kept for another attempt, and for the file of the dead letters.
pub struct LetterFile(pub(super) PathBuf);

/// In a process block the encoded item is kept anyway.
pub enum ByFrame {}
/// On threads an item is kept as a clone.
pub enum ByClone {}
/// Inside a worker an item is kept as a clone, and leaves as a letter by the wire.
pub enum ByWorkerClone {}

/// Whether a block can keep its items in the way its policy asks.
#[diagnostic::on_unimplemented(
    message = "this block cannot keep a `{T}` for another attempt or for its dead letters",
    label = "policy and item do not fit",
    note = "on threads `{T}` must be `Clone` to be kept (in process blocks the kept frame serves); `dead_letter` needs a `&Port<Dead<{T}>>`"
)]
pub trait Keeps<T, How>: Sized {
    #[doc(hidden)]
    fn keeping(self) -> Keeping<T> {
        Keeping { copy: None, post: None }
    }
}

/// How a block keeps its items, and where those go that failed for good.
#[doc(hidden)]
pub struct Keeping<T> {
    pub(super) copy: Option<Keep<T>>,
    pub(super) post: Option<Post<T>>,
}

impl<T> Keeping<T> {
    fn cloned(post: Option<Post<T>>) -> Self
    where
        T: Clone,
    {
        Keeping { copy: Some(|item| Some(item.clone())), post }
    }

    /// Only used where the block runs on threads after all: an item that need not be `Clone` is copied by
    /// its encoding.
    fn encoded(post: Option<Post<T>>) -> Self
    where
        T: Wire,
    {
        let copy: Keep<T> = |item| {
            let mut bytes = Vec::new();
            Format::default().encode(item, &mut bytes).ok()?;
            Format::default().decode(&bytes).ok()
        };
        Keeping { copy: Some(copy), post }
    }
}

impl<T, H> Keeps<T, H> for Once {}

#[diagnostic::do_not_recommend]
impl<T: Clone> Keeps<T, ByClone> for Kept {
    fn keeping(self) -> Keeping<T> {
        Keeping::cloned(None)
    }
}
#[diagnostic::do_not_recommend]
impl<T: Clone> Keeps<T, ByWorkerClone> for Kept {
    fn keeping(self) -> Keeping<T> {
        Keeping::cloned(None)
    }
}
impl<T: Wire> Keeps<T, ByFrame> for Kept {
    fn keeping(self) -> Keeping<T> {
        Keeping::encoded(None)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + 'static> Keeps<T, ByClone> for Letters<T> {
    fn keeping(self) -> Keeping<T> {
        Keeping::cloned(Some(Post::Port(self.0, None)))
    }
}
#[diagnostic::do_not_recommend]
impl<T: Clone + Wire> Keeps<T, ByWorkerClone> for Letters<T> {
    fn keeping(self) -> Keeping<T> {
        Keeping::cloned(Some(Post::Port(self.0, Some(WireFns::new()))))
    }
}
impl<T: Wire> Keeps<T, ByFrame> for Letters<T> {
    fn keeping(self) -> Keeping<T> {
        Keeping::encoded(Some(Post::Port(self.0, None)))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Clone + Serialize + Send + 'static> Keeps<T, ByClone> for LetterFile {
    fn keeping(self) -> Keeping<T> {
        Keeping::cloned(Some(Post::file(self.0)))
    }
}
#[diagnostic::do_not_recommend]
impl<T: Clone + Serialize + Send + 'static> Keeps<T, ByWorkerClone> for LetterFile {
    fn keeping(self) -> Keeping<T> {
        Keeping::cloned(Some(Post::file(self.0)))
    }
}
impl<T: Wire> Keeps<T, ByFrame> for LetterFile {
    fn keeping(self) -> Keeping<T> {
        Keeping::encoded(Some(Post::file(self.0)))
    }
}

/// Heads that do not say yet where dead letters go.
pub trait NoLetters {}
impl NoLetters for Once {}
impl NoLetters for Kept {}
