//! Reading a locked file: whole records only, whatever else is in it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::record::{self, HEADER, Header, Kind, MAGIC, Origin};
use super::told;
use crate::working::AttemptId;

/// One record of a [`LockedFile`](crate::LockedFile).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// What was appended.
    pub bytes: Vec<u8>,
    /// The attempt that appended it; `None` outside any attempt.
    pub attempt: Option<AttemptId>,
    /// The run in whose threads or workers it was appended; `None` on a thread that belongs to no run.
    pub run: Option<u64>,
    /// The process that appended it.
    pub pid: u32,
    /// Its id: no other record of the file has it, and later records have higher ones.
    pub id: u64,
}

/// The whole records of a [`LockedFile`](crate::LockedFile), in the order in which they were appended.
#[derive(Debug)]
pub struct Records {
    scan: Scan<File>,
    path: Arc<Path>,
}

impl Records {
    pub(super) fn new(file: File, end: u64, path: &Arc<Path>) -> Self {
        Records { scan: Scan::new(file, end), path: Arc::clone(path) }
    }

    /// Bytes passed over so far that are part of no whole record: what writers left that were killed inside
    /// their write.
    pub fn torn_bytes(&self) -> u64 {
        self.scan.torn
    }
}

impl Iterator for Records {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.scan.find(|kind| kind != Kind::Mark).map_err(told("read", &self.path));
        next.transpose().map(|found| Ok(found?.record()))
    }
}

/// The records of a [`LockedFile`](crate::LockedFile) that count: those of committed attempts, and those that
/// were appended outside any attempt.
#[derive(Debug)]
pub struct Committed {
    records: Records,
    /// Ids that marks name, in order.
    marked: Vec<u64>,
}

impl Committed {
    /// Reads the marks.
    pub(super) fn new(mut records: Records) -> io::Result<Self> {
        let mut marked = Vec::new();
        let scan = &mut records.scan;
        while let Some(found) = scan.find(|kind| kind == Kind::Mark).map_err(told("read", &records.path))? {
            marked.extend(record::ids(&found.bytes));
        }
        marked.sort_unstable();
        scan.rewind();
        Ok(Committed { records, marked })
    }
}

impl Iterator for Committed {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = match self.records.scan.find(|kind| kind != Kind::Mark) {
                Ok(found) => found?,
                Err(error) => return Some(Err(told("read", &self.records.path)(error))),
            };
            if found.origin.kind == Kind::Stands || self.marked.binary_search(&found.id).is_ok() {
                return Some(Ok(found.record()));
            }
        }
    }
}

/// What a scan found.
struct Found {
    id: u64,
    origin: Origin,
    bytes: Vec<u8>,
}

impl Found {
    fn record(self) -> Record {
        let Found { id, origin, bytes } = self;
        Record {
            bytes,
            attempt: origin.attempt,
            run: Some(origin.run).filter(|run| *run != 0),
            pid: origin.pid,
            id,
        }
    }
}

/// Bytes read at once.
const WINDOW: usize = 256 << 10;

/// Looks for records from the front of a file to where it ended when the scan was made.
#[derive(Debug)]
struct Scan<R> {
    file: R,
    at: u64,
    end: u64,
    torn: u64,
    /// The bytes of the file from `start` on.
    window: Vec<u8>,
    start: u64,
}

impl<R: Read + Seek> Scan<R> {
    fn new(file: R, end: u64) -> Self {
        Scan { file, at: 0, end, torn: 0, window: Vec::new(), start: 0 }
    }

    fn rewind(&mut self) {
        (self.at, self.torn) = (0, 0);
    }

    /// The next whole record of a wanted kind.
    fn find(&mut self, wanted: impl Fn(Kind) -> bool) -> io::Result<Option<Found>> {
        while self.at < self.end {
            match self.whole()? {
                Some((length, found)) => {
                    self.at += length;
                    if wanted(found.origin.kind) {
                        return Ok(Some(found));
                    }
                }
                None => self.pass_over()?,
            }
        }
        Ok(None)
    }

    /// The record that begins here, and its length in the file.
    fn whole(&mut self) -> io::Result<Option<(u64, Found)>> {
        let (id, left) = (self.at, self.end - self.at);
        let header = self.bytes(HEADER as u64)?.first_chunk();
        let Some(header) = header.and_then(|header| Header::read(header, id)) else { return Ok(None) };
        let length = HEADER as u64 + header.length();
        if length > left {
            return Ok(None);
        }
        let rest = self.bytes(length)?.get(HEADER..).unwrap_or_default();
        let found = header.complete(rest).map(|(origin, bytes)| Found { id, origin, bytes });
        Ok(found.map(|found| (length, found)))
    }

    /// Goes on to the next place where a record may begin.
    fn pass_over(&mut self) -> io::Result<()> {
        let bytes = self.bytes(WINDOW as u64)?;
        let to = match bytes.windows(MAGIC.len()).skip(1).position(|bytes| bytes == MAGIC) {
            Some(at) => at as u64 + 1,
            // The last bytes may be the beginning of one.
            None if bytes.len() >= WINDOW => (bytes.len() - MAGIC.len() + 1) as u64,
            None => self.end - self.at,
        };
        self.at += to;
        self.torn += to;
        Ok(())
    }

    /// So many bytes from here on, or fewer at the end.
    fn bytes(&mut self, count: u64) -> io::Result<&[u8]> {
        let count = count.min(self.end - self.at) as usize;
        let held = self.start..=self.start + self.window.len() as u64;
        if !held.contains(&self.at) || (held.end() - self.at) < count as u64 {
            let wanted = (count.max(WINDOW) as u64).min(self.end - self.at);
            self.window.clear();
            self.start = self.at;
            self.file.seek(SeekFrom::Start(self.at))?;
            (&mut self.file).take(wanted).read_to_end(&mut self.window)?;
            if (self.window.len() as u64) < wanted {
                // Somebody cut the file off meanwhile.
                self.end = self.at + self.window.len() as u64;
            }
        }
        let from = (self.at - self.start) as usize;
        let to = (from + count).min(self.window.len());
        Ok(&self.window[from..to])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locked::record::Draft;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn origin(kind: Kind, n: u64) -> Origin {
        let attempt = AttemptId { run: 7, stage: "stage".into(), item: n, attempt: 1 };
        Origin { kind, run: 7, pid: 1, attempt: (kind == Kind::Held).then_some(attempt) }
    }

    fn append(file: &mut Vec<u8>, kind: Kind, n: u64, bytes: &[u8]) -> u64 {
        let place = file.len() as u64;
        file.extend_from_slice(Draft::new(&origin(kind, n), bytes).at(place));
        place
    }

    fn read(file: Vec<u8>) -> Vec<(u64, Origin, Vec<u8>)> {
        let end = file.len() as u64;
        let mut scan = Scan::new(Cursor::new(file), end);
        let mut found = Vec::new();
        while let Some(Found { id, origin, bytes }) = scan.find(|_| true).unwrap() {
            found.push((id, origin, bytes));
        }
        let told: u64 = found
            .iter()
            .map(|(_, origin, bytes)| {
                (HEADER + bytes.len() + origin.attempt.as_ref().map_or(0, |at| at.stage.len())) as u64
            })
            .sum();
        assert_eq!(scan.torn + told, end, "every byte is part of a record or torn");
        found
    }

    /// What happens to the file, one thing after the other.
    #[derive(Clone, Debug)]
    enum Act {
        Append(Vec<u8>),
        /// A writer that is killed when so many hundredths of its record are written.
        Torn(Vec<u8>, usize),
        /// A record of the file's own bytes, whole ones among them.
        Nest(usize),
        TornNest(usize, usize),
        Noise(Vec<u8>),
    }

    fn act() -> impl Strategy<Value = Act> {
        let bytes = || {
            prop_oneof![
                29 => prop::collection::vec(any::<u8>(), 0..300),
                1 => prop::collection::vec(any::<u8>(), 250_000..300_000),
            ]
        };
        let noise = prop::collection::vec(
            prop_oneof![Just(MAGIC[0]), Just(b'm'), Just(b'g'), Just(1), any::<u8>()],
            0..200,
        );
        prop_oneof![
            4 => bytes().prop_map(Act::Append),
            2 => (bytes(), 0usize..100).prop_map(|(bytes, part)| Act::Torn(bytes, part)),
            1 => (0usize..2000).prop_map(Act::Nest),
            1 => (0usize..2000, 0usize..100).prop_map(|(last, part)| Act::TornNest(last, part)),
            1 => noise.prop_map(Act::Noise),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The model is the list of records whose append was not cut off.
        #[test]
        fn exactly_the_whole_records_are_read_whatever_lies_between_them(acts in prop::collection::vec(act(), 0..20)) {
            let (mut file, mut model) = (Vec::new(), Vec::new());
            let torn = |file: &mut Vec<u8>, bytes: &[u8], part: usize| {
                let start = file.len();
                append(file, Kind::Held, 0, bytes);
                let whole = file.len() - start;
                file.truncate(start + whole * part / 100);
            };
            for (n, act) in acts.into_iter().enumerate() {
                let n = n as u64;
                match act {
                    Act::Append(bytes) => {
                        let place = append(&mut file, Kind::Held, n, &bytes);
                        model.push((place, origin(Kind::Held, n), bytes));
                    }
                    Act::Nest(last) => {
                        let bytes = file[file.len() - last.min(file.len())..].to_vec();
                        let place = append(&mut file, Kind::Stands, n, &bytes);
                        model.push((place, origin(Kind::Stands, n), bytes));
                    }
                    Act::Torn(bytes, part) => torn(&mut file, &bytes, part),
                    Act::TornNest(last, part) => {
                        let bytes = file[file.len() - last.min(file.len())..].to_vec();
                        torn(&mut file, &bytes, part);
                    }
                    Act::Noise(bytes) => file.extend_from_slice(&bytes),
                }
            }
            prop_assert_eq!(read(file), model);
        }

        #[test]
        fn a_file_cut_off_anywhere_gives_the_records_before_the_cut(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10), cut in 0usize..100,
        ) {
            let (mut file, mut ends) = (Vec::new(), Vec::new());
            for (n, bytes) in records.iter().enumerate() {
                append(&mut file, Kind::Held, n as u64, bytes);
                ends.push(file.len());
            }
            file.truncate(file.len() * cut / 100);
            let whole = ends.iter().filter(|end| **end <= file.len()).count();
            let found: Vec<_> = read(file).into_iter().map(|(_, _, bytes)| bytes).collect();
            prop_assert_eq!(&found[..], &records[..whole]);
        }

        #[test]
        fn a_record_with_a_changed_byte_is_no_record_and_hides_no_other(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..10),
            at in any::<prop::sample::Index>(), change in 1u8..,
        ) {
            let (mut file, mut starts) = (Vec::new(), Vec::new());
            for (n, bytes) in records.iter().enumerate() {
                starts.push(append(&mut file, Kind::Held, n as u64, bytes));
            }
            let at = at.index(file.len());
            file[at] ^= change;
            let hit = starts.iter().rposition(|start| *start <= at as u64).unwrap();
            let rest: Vec<_> = starts.iter().copied().filter(|start| *start != starts[hit]).collect();
            prop_assert_eq!(read(file).iter().map(|(id, ..)| *id).collect::<Vec<_>>(), rest);
        }

        #[test]
        fn arbitrary_bytes_hold_no_record_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(read(bytes), []);
        }
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_reserves_nothing() {
        let mut file = Vec::new();
        append(&mut file, Kind::Held, 0, &[]);
        file[44..48].copy_from_slice(&u32::MAX.to_le_bytes());
        let checksum = crc32fast::hash(&file[8..HEADER]);
        file[4..8].copy_from_slice(&checksum.to_le_bytes());
        append(&mut file, Kind::Held, 1, b"behind it");
        assert_eq!(read(file).len(), 1);
    }
}
