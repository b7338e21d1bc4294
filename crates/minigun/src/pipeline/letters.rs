//! Dead letters in the builder: where a block's go, and how a file of them is fed back in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::Pipeline;
use super::flow::Flow;
use super::home::Home;
use super::port::Port;
use crate::error::Error;
use crate::graph::{Mistake, StageId};
use crate::plan::BlockDef;
use crate::run::draft::Attached;
use crate::stage::letter_file::{Letter, LetterFile, Replay, into_file};
use crate::stage::letters::{Dead, EncodeLetter, MakeLetters, to_file, to_port};
use crate::wire::{Wire, WireFns};

/// Where the head of a block sends what failed for good.
pub(crate) enum Post<T> {
    /// Nested in a worker, the letter needs a codec for its way out.
    Port(Port<Dead<T>>, Option<WireFns<Dead<T>>>),
    File(PathBuf, EncodeLetter<T>),
}

impl<T> Post<T> {
    pub(super) fn file(path: PathBuf) -> Self
    where
        T: Serialize,
    {
        Post::File(path, |format, item, out| format.encode(item, out))
    }
}

impl<T: Send + 'static> Post<T> {
    /// Draws the route into the graph and says how a worker of the block opens it.
    pub(super) fn bind(self, home: &Arc<Home>, block: &Arc<BlockDef>, stage: StageId) -> MakeLetters<T> {
        // A block of the program itself posts there; from a nested one letters leave as its outputs do.
        let inside = block.outer.is_some().then_some(block);
        match self {
            Post::Port(port, wire) => {
                if !Arc::ptr_eq(&port.home, home) {
                    home.graph(|graph| {
                        let stage = graph.name(stage).to_string();
                        graph.mistakes.push(Mistake::OtherPipeline { stage });
                    });
                }
                port.home.graph(|graph| graph.send(stage, port.spot.id));
                to_port(BlockDef::way_out(inside, port.spot.make(), wire))
            }
            Post::File(path, encode) => {
                let file = Arc::new(LetterFile::new(path));
                home.attach(Arc::clone(&file) as _);
                to_file(BlockDef::way_out(inside, into_file(&file), Some(WireFns::<Letter>::new())), encode)
            }
        }
    }
}

impl Attached for LetterFile {
    fn open(&self) -> Result<(), Error> {
        LetterFile::open(self)
    }

    fn close(&self) -> Result<(), Error> {
        LetterFile::close(self)
    }
}

impl Attached for Replay {
    fn open(&self) -> Result<(), Error> {
        self.begin();
        Ok(())
    }

    fn ended_well(&self) -> Result<(), Error> {
        self.mark()
    }
}

impl Pipeline {
    /// Feeds the dead letters of a file (see [`Block::dead_letter_file`](crate::Block::dead_letter_file)) back in:
    /// those that were in it when the run started and were not replayed before.
    ///
    /// When the run ends well, everything it fed in is marked in the file as replayed: each such item has
    /// succeeded, or was set aside by a policy, so that one which failed again into the same file stands there as
    /// a new letter. A run that ends with an error marks nothing: what it fed in will be fed in again.
    ///
    /// A line that is no letter, or whose item is no `T`, fails the source with its number; nothing is lost.
    /// Half a line, left by a program that died while writing it, is passed over.
    pub fn replay<T: Wire>(&self, name: &str, path: impl AsRef<Path>) -> Flow<T> {
        let replay = Arc::new(Replay::new(path.as_ref().to_path_buf()));
        self.home.attach(Arc::clone(&replay) as _);
        self.producer(name, move |out| {
            replay.feed(|sent| {
                let item: T = sent.format.decode(&sent.encoded)?;
                Ok(out.try_send(item).is_ok())
            })
        })
    }
}
