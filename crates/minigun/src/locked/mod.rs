//! Locked files: whole records appended from many threads and processes, and which of them count.
//!
//! Every append opens the file anew, locks it whole (`flock`), writes at its end and unlocks it. A lock belongs
//! to one opening: so it parts threads as well as processes, and nothing is carried through a fork, neither a
//! descriptor that shares its lock nor a mutex held by a thread that the child does not have.
//!
//! What an attempt appends is noted in its journal and shares the journal's fate. When the program adds a
//! committed journal to the run's totals it appends one mark that names the records: so the file alone tells
//! which of them count. `record` is the layout, `reader` the way back.

mod reader;
mod record;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::defaults::LARGEST_ITEM;
use crate::journal::Journal;
use crate::working::Working;
pub use reader::{Committed, Record, Records};
use record::{Draft, Kind, MAGIC, Origin};

/// A file to which threads and processes append whole records: for what must outlive everything, or is too
/// much to collect.
///
/// ```
/// # use minigun::Pipeline;
/// let p = Pipeline::new("audit");
/// let log = p.locked_file()?; // a temporary one; `LockedFile::open(path)` names one that stays
/// let ours = log.clone();
/// p.source("in", 0..3).processes(2, move |s| s.consumer("write", move |n| Ok(log.append(&[n])?)));
/// p.after_run(move |_| { assert_eq!(ours.committed()?.count(), 3); Ok(()) });
/// # p.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It can be used anywhere: in closures of every stage, producers, hooks, threads, worker processes, other
/// programs. Clones are handles to the same file; a handle holds no descriptor and passes through forks.
///
/// # What is promised
///
/// * An append that returned `Ok` is in the file whole, and stays there whichever process dies. Records are
///   never interleaved. What a writer leaves that is killed inside its write is passed over by readers.
/// * [`records`](Self::records) gives every whole record: also those of attempts that failed, or whose worker died
///   before its result arrived.
/// * [`committed`](Self::committed) leaves those out: it gives each item's records once, from the attempt that
///   succeeded, whatever failed or died before, also within a block nested in the item's. What is appended
///   outside any attempt (hooks, producers' own code, threads of the program's or a closure's own) counts at
///   once. Of a run that ended with an error, some records of items that were committed last may be missing.
///
/// Not promised: that records survive a crash of the system, for nothing is synced to the disk; that locks work
/// on every network file system; any order but that of the appends. The file grows; only a partial write that
/// the system refused (a full disk) is taken back.
///
/// An append costs about as much as opening and closing a file; a worker's committed items cost one more per
/// frame of results or run of items. Gather small things into one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedFile {
    path: Arc<Path>,
}

impl LockedFile {
    /// Opens the file, or creates an empty one. It is never removed.
    ///
    /// A relative path is resolved now, against the current folder.
    ///
    /// # Errors
    /// What the system says, with the path; `InvalidData` if the file holds something else.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = std::path::absolute(path.as_ref()).map_err(told("find", path.as_ref()))?;
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        LockedFile::of(file.map_err(told("open", &path))?, path)
    }

    fn of(file: File, path: PathBuf) -> io::Result<Self> {
        let mut first = Vec::new();
        let length = Lock::shared(&file, &path)?.length()?;
        (&file).take(length.min(1)).read_to_end(&mut first).map_err(told("read", &path))?;
        // The first byte is all that there is sure to be: behind it a writer may have been killed.
        if !MAGIC.starts_with(&first) {
            let text = format!("{} is no locked file: it begins with the byte {first:02x?}", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(LockedFile { path: path.into() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one record. Waits while others append.
    ///
    /// # Errors
    /// What the system says, with the path: the file is gone, the disk is full. Nothing was appended then.
    /// `InvalidInput` if the record is longer than [`LARGEST_ITEM`].
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let held = Journal::top(|journal| {
            let held = journal.working() != Working::Nothing;
            let origin = Origin {
                kind: if held { Kind::Held } else { Kind::Stands },
                run: journal.run(),
                pid: std::process::id(),
                attempt: journal.attempt_id(),
            };
            let id = append(&self.path, &origin, bytes)?;
            if held {
                journal.append(&self.path, id);
            }
            Ok(())
        });
        held.unwrap_or_else(|| {
            let origin = Origin { kind: Kind::Stands, run: 0, pid: std::process::id(), attempt: None };
            append(&self.path, &origin, bytes).map(drop)
        })
    }

    /// Every whole record that is in the file now, in the order in which they were appended.
    ///
    /// # Errors
    /// What the system says, with the path; also while reading.
    pub fn records(&self) -> io::Result<Records> {
        let file = File::open(&self.path).map_err(told("open", &self.path))?;
        // What was there under the lock is not changed any more.
        let end = Lock::shared(&file, &self.path)?.length()?;
        Ok(Records::new(file, end, &self.path))
    }

    /// As [`records`](Self::records) without those of attempts that are not committed (yet). During a run a
    /// commit shows here when the program has taken note of it; in `after_run`, all do.
    ///
    /// # Errors
    /// As [`records`](Self::records).
    pub fn committed(&self) -> io::Result<Committed> {
        Committed::new(self.records()?)
    }
}

/// These records were appended by attempts that are committed.
pub(crate) fn commit(path: &Path, run: u64, ids: &[u64]) -> io::Result<()> {
    let origin = Origin { kind: Kind::Mark, run, pid: std::process::id(), attempt: None };
    for ids in ids.chunks(LARGEST_ITEM / 8) {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        append(path, &origin, &bytes)?;
    }
    Ok(())
}

/// Appends a record; gives its id.
fn append(path: &Path, origin: &Origin, bytes: &[u8]) -> io::Result<u64> {
    if bytes.len() > LARGEST_ITEM {
        let text = format!("a record of {} bytes is longer than the {LARGEST_ITEM} allowed", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut draft = Draft::new(origin, bytes);
    let file = OpenOptions::new().append(true).open(path).map_err(told("open", path))?;
    let lock = Lock::exclusive(&file, path)?;
    let place = lock.length()?;
    if let Err(error) = (&file).write_all(draft.at(place)) {
        // Where that fails too, readers pass over what was written.
        let _ = file.set_len(place);
        return Err(told("append to", path)(error));
    }
    Ok(place)
}

/// A file that goes with its pipeline.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: Arc<Path>,
    /// The process that removes it: forks have copies of this.
    owner: u32,
}

impl Temporary {
    /// Makes an empty file in the system's folder for temporary files, for this user only.
    pub(crate) fn new() -> io::Result<(LockedFile, Self)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let owner = std::process::id();
        loop {
            let name = format!("minigun-{owner}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::path::absolute(std::env::temp_dir().join(name))?;
            let mut options = OpenOptions::new();
            options.append(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            match options.open(&path) {
                Ok(_) => {
                    let path: Arc<Path> = path.into();
                    return Ok((LockedFile { path: Arc::clone(&path) }, Temporary { path, owner }));
                }
                // Of a program that was killed before it could remove it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(told("create", &path)(error)),
            }
        }
    }

    /// Removes it, unless somebody has.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if self.owner != std::process::id() {
            return Ok(());
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(told("remove", &self.path)(error)),
            _ => Ok(()),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Who wants to know asks `remove`.
        let _ = self.remove();
    }
}

/// A lock on a whole file, as long as it lives.
struct Lock<'a>(&'a File, &'a Path);

impl<'a> Lock<'a> {
    fn exclusive(file: &'a File, path: &'a Path) -> io::Result<Self> {
        Lock::take(file, path, File::lock)
    }

    fn shared(file: &'a File, path: &'a Path) -> io::Result<Self> {
        Lock::take(file, path, File::lock_shared)
    }

    fn take(file: &'a File, path: &'a Path, lock: fn(&File) -> io::Result<()>) -> io::Result<Self> {
        loop {
            match lock(file) {
                Ok(()) => return Ok(Lock(file, path)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(told("lock", path)(error)),
            }
        }
    }

    /// How long the file is, for as long as it is locked.
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata().map_err(told("look at", self.1))?.len())
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Closing would not do: a process forked meanwhile has the descriptor too. It can refuse only what is
        // not locked.
        let _ = self.0.unlock();
    }
}

/// Says in an error what was being done, and to which file.
fn told(what: &'static str, path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}
