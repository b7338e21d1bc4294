//! The layout of a locked file: nothing but records, one behind the other.
//!
//! A record is a header of 56 bytes, the name of a stage, and the bytes that were appended. Numbers are little
//! endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `B5 6D 67 01`: where a record may begin, and the version of the layout |
//! | 4..8 | CRC-32 of the header from byte 8 on |
//! | 8..16 | the record's id: its place in the file |
//! | 16..24 | the run in which it was appended; 0: in none |
//! | 24..32 | the number of the item that the thread was working at |
//! | 32..36 | which attempt at that item; 0: outside any attempt |
//! | 36..40 | the process |
//! | 40..44 | length of the stage's name (UTF-8) |
//! | 44..48 | length of the bytes |
//! | 48..52 | CRC-32 of name and bytes |
//! | 52 | kind: 1 the record stands, 2 it stands if a mark names it, 3 it is a mark |
//! | 53..56 | 0 |
//!
//! The bytes of a mark are ids of records, 8 bytes each: they were appended by attempts that are committed.
//!
//! Where a writer was killed inside its write, what it left is no record: its length or one of its checksums is
//! wrong. The next writer appends behind it, and readers look for the next place where a record begins. A
//! record says its own place, so one that somebody appended *inside* another is not taken for one.

use std::sync::Arc;

use crate::working::AttemptId;

/// Length of a header.
pub(super) const HEADER: usize = 56;
/// How every record begins. The first byte is in no UTF-8 text before an ASCII letter.
pub(super) const MAGIC: [u8; 4] = [0xB5, b'm', b'g', 1];

/// Whether a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stands = 1,
    Held = 2,
    Mark = 3,
}

/// What a header says beside lengths and checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) kind: Kind,
    pub(super) run: u64,
    pub(super) pid: u32,
    pub(super) attempt: Option<AttemptId>,
}

/// A whole record but for its place, which is known only under the lock.
pub(super) struct Draft(Vec<u8>);

impl Draft {
    /// Name and bytes are each at most `u32::MAX` long.
    pub(super) fn new(origin: &Origin, bytes: &[u8]) -> Self {
        let (stage, item, attempt) = match &origin.attempt {
            Some(at) => (&*at.stage, at.item, at.attempt),
            None => ("", 0, 0),
        };
        let mut body = crc32fast::Hasher::new();
        body.update(stage.as_bytes());
        body.update(bytes);
        let mut out = Vec::with_capacity(HEADER + stage.len() + bytes.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&origin.run.to_le_bytes());
        out.extend_from_slice(&item.to_le_bytes());
        let words = [attempt, origin.pid, stage.len() as u32, bytes.len() as u32, body.finalize()];
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out.extend_from_slice(&[origin.kind as u8, 0, 0, 0]);
        out.extend_from_slice(stage.as_bytes());
        out.extend_from_slice(bytes);
        Draft(out)
    }

    /// The record for this place in the file.
    pub(super) fn at(&mut self, place: u64) -> &[u8] {
        self.0[8..16].copy_from_slice(&place.to_le_bytes());
        let checksum = crc32fast::hash(&self.0[8..HEADER]);
        self.0[4..8].copy_from_slice(&checksum.to_le_bytes());
        &self.0
    }
}

/// A header that is whole and stands at its place.
pub(super) struct Header {
    kind: Kind,
    run: u64,
    item: u64,
    attempt: u32,
    pid: u32,
    stage: usize,
    bytes: usize,
    checksum: u32,
}

impl Header {
    /// Reads the header at this place; `None` if there is none.
    pub(super) fn read(header: &[u8; HEADER], place: u64) -> Option<Self> {
        let u32_at =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if header[..4] != MAGIC || u32_at(4) != crc32fast::hash(&header[8..]) || u64_at(8) != place {
            return None;
        }
        let kind = match header[52] {
            1 => Kind::Stands,
            2 => Kind::Held,
            3 => Kind::Mark,
            _ => return None,
        };
        Some(Header {
            kind,
            run: u64_at(16),
            item: u64_at(24),
            attempt: u32_at(32),
            pid: u32_at(36),
            stage: u32_at(40) as usize,
            bytes: u32_at(44) as usize,
            checksum: u32_at(48),
        })
    }

    /// Length of what follows the header.
    pub(super) fn length(&self) -> u64 {
        self.stage as u64 + self.bytes as u64
    }

    /// The record, if this is the rest of it.
    pub(super) fn complete(self, rest: &[u8]) -> Option<(Origin, Vec<u8>)> {
        let (stage, bytes) = rest.split_at_checked(self.stage)?;
        if bytes.len() != self.bytes || crc32fast::hash(rest) != self.checksum {
            return None;
        }
        let stage: Arc<str> = std::str::from_utf8(stage).ok()?.into();
        let at = AttemptId { run: self.run, stage, item: self.item, attempt: self.attempt };
        let attempt = (self.attempt > 0).then_some(at);
        Some((Origin { kind: self.kind, run: self.run, pid: self.pid, attempt }, bytes.to_vec()))
    }
}

/// The ids that a mark names.
pub(super) fn ids(mark: &[u8]) -> impl Iterator<Item = u64> {
    mark.as_chunks().0.iter().map(|id| u64::from_le_bytes(*id))
}
