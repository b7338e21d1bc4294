//! Encoded items that wait in order: the oldest and the newest in memory, the rest in files that have no name.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Items, each with its length (`u32`, little endian) before it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    items: usize,
    /// Where the first item begins that was not taken yet.
    at: usize,
}

impl Records {
    pub(crate) fn len(&self) -> usize {
        self.items
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds what `write` appends as one item; nothing is left of it if that fails.
    pub(crate) fn add<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        // An item is at most a frame long.
        let length = (self.bytes.len() - start - 4) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.items += 1;
        Ok(())
    }

    /// Moves all of `more` behind these.
    pub(crate) fn append(&mut self, more: &mut Records) {
        self.bytes.extend_from_slice(&more.bytes[more.at..]);
        self.items += more.items;
        *more = Records { bytes: std::mem::take(&mut more.bytes), ..Records::default() };
        more.bytes.clear();
    }

    /// Keeps the first `items` items, of `bytes` bytes; none of them was taken.
    pub(crate) fn truncate(&mut self, items: usize, bytes: usize) {
        self.bytes.truncate(bytes);
        self.items = items;
    }
}

impl Iterator for Records {
    type Item = std::ops::Range<usize>;

    /// Takes the next item; gives where it is.
    fn next(&mut self) -> Option<Self::Item> {
        let length: [u8; 4] = self.bytes.get(self.at..self.at + 4)?.try_into().ok()?;
        let start = self.at + 4;
        self.at = start + u32::from_le_bytes(length) as usize;
        self.items = self.items.saturating_sub(1);
        Some(start..self.at)
    }
}

impl std::ops::Index<std::ops::Range<usize>> for Records {
    type Output = [u8];
    fn index(&self, range: std::ops::Range<usize>) -> &[u8] {
        &self.bytes[range]
    }
}

/// Records in a file.
struct Spilled {
    file: Arc<File>,
    at: u64,
    bytes: usize,
    items: usize,
}

/// First in, first out.
pub(crate) struct Backlog {
    head: Records,
    spilled: VecDeque<Spilled>,
    tail: Records,
    /// The file that is written to, and how long it is. One that is read to its end is closed, and so gone.
    file: Option<(Arc<File>, u64)>,
    /// The tail is written out when it has so many bytes.
    memory: usize,
    /// A file is left for the next one when it has so many bytes.
    file_size: u64,
    items: usize,
}

impl Backlog {
    pub(crate) fn new(memory: usize, file_size: u64) -> Self {
        Backlog {
            head: Records::default(),
            spilled: VecDeque::new(),
            tail: Records::default(),
            file: None,
            memory,
            file_size,
            items: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items
    }

    /// Adds records at the end; takes them out of `records`.
    ///
    /// # Errors
    /// A file could not be made or written. Nothing can be added or taken then.
    pub(crate) fn push(&mut self, records: &mut Records) -> io::Result<()> {
        self.items += records.len();
        self.tail.append(records);
        if self.tail.bytes() < self.memory {
            return Ok(());
        }
        if self.head.len() == 0 && self.spilled.is_empty() {
            self.head = std::mem::take(&mut self.tail);
            return Ok(());
        }
        self.spill()
    }

    fn spill(&mut self) -> io::Result<()> {
        let (file, at) = match self.file.take() {
            Some((file, length)) if length < self.file_size => (file, length),
            _ => (Arc::new(nameless()?), 0),
        };
        let bytes = &self.tail.bytes;
        (&*file).seek(SeekFrom::Start(at))?;
        (&*file).write_all(bytes)?;
        let written = Spilled { file: Arc::clone(&file), at, bytes: bytes.len(), items: self.tail.items };
        self.file = Some((file, at + bytes.len() as u64));
        self.spilled.push_back(written);
        self.tail.truncate(0, 0);
        Ok(())
    }

    /// Moves at most `most` items out of here to the end of `into`.
    ///
    /// # Errors
    /// A file could not be read.
    pub(crate) fn take(&mut self, most: usize, into: &mut Records) -> io::Result<()> {
        if self.head.len() == 0 {
            self.head = match self.spilled.pop_front() {
                Some(spilled) => spilled.read()?,
                None => std::mem::take(&mut self.tail),
            };
            if self.spilled.is_empty() {
                self.file = None;
            }
        }
        for _ in 0..most {
            let Some(item) = self.head.next() else { break };
            into.bytes.extend_from_slice(&self.head.bytes[item.start - 4..item.end]);
            into.items += 1;
            self.items -= 1;
        }
        Ok(())
    }

    /// Drops everything; gives how many items that were.
    pub(crate) fn clear(&mut self) -> usize {
        let items = self.items;
        *self = Backlog::new(self.memory, self.file_size);
        items
    }
}

impl Spilled {
    fn read(&self) -> io::Result<Records> {
        let mut bytes = vec![0; self.bytes];
        (&*self.file).seek(SeekFrom::Start(self.at))?;
        (&*self.file).read_exact(&mut bytes)?;
        Ok(Records { bytes, items: self.items, at: 0 })
    }
}

/// A file in the system's folder for temporary files, for this program only: its name is gone at once.
fn nameless() -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = std::env::temp_dir();
    let told = |error: io::Error| {
        io::Error::new(error.kind(), format!("a temporary file in {}: {error}", folder.display()))
    };
    loop {
        let name = format!("minigun-loop-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path).map_err(told)?;
                return Ok(file);
            }
            // Of a program that was killed between the two.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(told(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Action {
        Push(Vec<usize>),
        Take(usize),
        Clear,
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            10 => prop::collection::vec(0usize..40, 0..6).prop_map(Action::Push),
            8 => (0usize..8).prop_map(Action::Take),
            1 => Just(Action::Clear),
        ]
    }

    proptest! {
        /// The model is a queue of byte strings. Tiny limits: nearly everything goes through files.
        #[test]
        fn items_come_out_as_they_went_in(actions in prop::collection::vec(action(), 0..120), memory in 1usize..100) {
            let (mut backlog, mut model) = (Backlog::new(memory, 150), VecDeque::new());
            let mut next = 0u8;
            for action in actions {
                match action {
                    Action::Push(lengths) => {
                        let mut records = Records::default();
                        for length in lengths {
                            next = next.wrapping_add(1);
                            let item = vec![next; length];
                            records.add(|out| { out.extend(&item); Ok::<_, ()>(()) }).unwrap();
                            model.push_back(item);
                        }
                        backlog.push(&mut records).unwrap();
                        prop_assert_eq!((records.len(), records.bytes()), (0, 0));
                    }
                    Action::Take(most) => {
                        let mut taken = Records::default();
                        backlog.take(most, &mut taken).unwrap();
                        prop_assert!(taken.len() <= most && (taken.len() > 0 || most == 0 || model.is_empty()));
                        while let Some(item) = taken.next() {
                            prop_assert_eq!(Some(taken[item].to_vec()), model.pop_front());
                        }
                    }
                    Action::Clear => {
                        prop_assert_eq!(backlog.clear(), model.len());
                        model.clear();
                    }
                }
                prop_assert_eq!(backlog.len(), model.len());
                // One push is at most 220 bytes here.
                prop_assert!(backlog.head.bytes() <= memory + 220 && backlog.tail.bytes() < memory);
            }
        }
    }

    #[test]
    fn a_record_that_cannot_be_written_leaves_nothing() {
        let mut records = Records::default();
        let failed = records.add(|out| {
            out.push(1);
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        assert_eq!(records, Records::default());
    }
}
