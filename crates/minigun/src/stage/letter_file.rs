//! A file of dead letters: one JSON object a line, appended and never changed.
//!
//! | line | fields |
//! |---|---|
//! | a letter | `id`; `stage`, `item` (its number), `attempts`, `kind`, `error`, `details`, `fate`; `format` and `encoded` (base64), both `null` for an item that cannot be encoded; `value`: the item as JSON, where it is small and can be shown so |
//! | a mark | `replayed`: the `id` of a letter that was fed back in by a run that ended well |
//!
//! Several blocks, pipelines and programs may append to one file: a line is written by one call to a file in
//! append mode. A line that a dead program left half-written is ended by the next one's first newline; the reader
//! knows it by its missing end, and passes it over.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::sink::{MakeSink, Sink};
use super::tx::Outlet;
use crate::codec::Format;
use crate::error::Error;
use crate::failure::{FailedItem, Failure};
use crate::queue::Stopped;
use crate::shared::Shared;
use crate::sync::Mutex;

/// A letter on its way to the file; from a worker process it travels like any item.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Letter {
    pub(crate) failed: FailedItem,
    /// `None`: the item cannot be encoded.
    pub(crate) format: Option<String>,
    pub(crate) encoded: Vec<u8>,
}

/// A file to which a run's dead letters are appended, open while the run lasts.
pub(crate) struct LetterFile {
    path: PathBuf,
    open: Mutex<Option<Open>>,
}

struct Open {
    file: File,
    /// The last line may have been written by half.
    torn: bool,
}

/// One line of the file.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Line {
    Mark { replayed: String },
    Letter(Box<Entry>),
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Entry {
    id: String,
    #[serde(flatten)]
    failed: FailedItem,
    format: Option<String>,
    encoded: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
}

/// The largest encoded item that is shown as JSON as well.
const SHOWN: usize = 4 << 10;

impl LetterFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        LetterFile { path, open: Mutex::new(None) }
    }

    /// Opens the file for appending, and makes it if need be.
    pub(crate) fn open(&self) -> Result<(), Error> {
        let file = append_to(&self.path).map_err(|error| self.failed(&error))?;
        *self.open.lock() = Some(Open { file, torn: false });
        Ok(())
    }

    /// What was written is safe on the disk when this returns.
    pub(crate) fn close(&self) -> Result<(), Error> {
        match self.open.lock().take().map(|open| open.file.sync_all()) {
            // Not every file can be synced: a pipe or a terminal holds nothing.
            Some(Err(error)) if error.kind() != io::ErrorKind::InvalidInput => Err(self.failed(&error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, cause: &dyn std::fmt::Display) -> Error {
        Error::Letters { path: self.path.display().to_string(), cause: cause.to_string() }
    }

    fn append(&self, lines: &str) -> Result<(), Error> {
        let mut open = self.open.lock();
        let Some(Open { file, torn }) = &mut *open else { return Err(self.failed(&"it is not open")) };
        let ended = if *torn { file.write_all(b"\n") } else { Ok(()) };
        let written = ended.and_then(|()| file.write_all(lines.as_bytes()));
        *torn = written.is_err();
        written.map_err(|error| self.failed(&error))
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let mut last = [b'\n'];
    // A file that cannot be sought in has no half-written end.
    if file.seek(SeekFrom::End(-1)).is_ok() && file.read(&mut last).is_ok() && last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// The way into a letter file from any worker of the program.
pub(crate) fn into_file(file: &Arc<LetterFile>) -> MakeSink<Letter> {
    let file = Arc::clone(file);
    Arc::new(move |cx| {
        let held = Rc::new(Held {
            lines: RefCell::new(String::new()),
            file: Arc::clone(&file),
            run: Arc::clone(&cx.run),
        });
        cx.tx.add(Rc::clone(&held) as Rc<dyn Outlet>);
        Ok(Box::new(HeldSink(held)))
    })
}

/// Lines that wait for their attempt's commit.
struct Held {
    lines: RefCell<String>,
    file: Arc<LetterFile>,
    run: Arc<Shared>,
}

struct HeldSink(Rc<Held>);

impl Sink<Letter> for HeldSink {
    fn push(&mut self, letter: Letter) -> Result<(), Failure> {
        let mut lines = self.0.lines.borrow_mut();
        lines.push_str(&serde_json::to_string(&Line::Letter(Box::new(entry(letter))))?);
        lines.push('\n');
        Ok(())
    }
}

impl Outlet for Held {
    fn mark(&self) -> usize {
        self.lines.borrow().len()
    }

    fn undo(&self, mark: usize) {
        self.lines.borrow_mut().truncate(mark);
    }

    fn publish(&self) -> Result<(), Stopped> {
        let lines = std::mem::take(&mut *self.lines.borrow_mut());
        if lines.is_empty() {
            return Ok(());
        }
        self.file.append(&lines).map_err(|error| {
            self.run.fail(error);
            Stopped
        })
    }
}

fn entry(letter: Letter) -> Entry {
    let Letter { failed, format, encoded } = letter;
    let shown = format.as_deref() == Some(Format::Tagged.name()) && encoded.len() <= SHOWN;
    Entry {
        id: new_id(),
        failed,
        encoded: format.is_some().then(|| BASE64.encode(&encoded)),
        format,
        value: if shown { Format::Tagged.decode(&encoded).ok() } else { None },
    }
}

/// An id that no other letter of any program has, but for bad luck.
fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{:x}-{pid:x}-{n:x}", now.as_nanos())
}

/// The letters of a file that were not replayed yet, fed back in by a run.
pub(crate) struct Replay {
    path: PathBuf,
    /// The file's length when the run began.
    length: OnceLock<u64>,
    fed: Mutex<Vec<String>>,
}

/// A letter as it is read back.
pub(crate) struct Sent {
    id: String,
    pub(crate) format: Format,
    pub(crate) encoded: Vec<u8>,
}

impl Replay {
    pub(crate) fn new(path: PathBuf) -> Self {
        Replay { path, length: OnceLock::new(), fed: Mutex::default() }
    }

    /// The run begins: what is appended from now on is its own.
    pub(crate) fn begin(&self) {
        if let Ok(file) = std::fs::metadata(&self.path) {
            let _ = self.length.set(file.len());
        }
    }

    /// Gives every letter that was in the file at this moment and was not replayed yet to `feed`, which says
    /// whether it took it; ends at the first that it did not take.
    pub(crate) fn feed(&self, mut feed: impl FnMut(&Sent) -> Result<bool, Failure>) -> Result<(), Failure> {
        let at = |error: io::Error| Failure::from(format!("{}: {error}", self.path.display()));
        let length = match self.length.get() {
            Some(length) => *length,
            None => std::fs::metadata(&self.path).map_err(at)?.len(),
        };
        let mut done = HashSet::new();
        self.lines(length, |_, line| {
            if let Line::Mark { replayed } = line {
                done.insert(replayed);
            }
            Ok(true)
        })?;
        self.lines(length, |number, line| {
            let Line::Letter(entry) = line else { return Ok(true) };
            if done.contains(&entry.id) {
                return Ok(true);
            }
            let wrong = |what: &dyn std::fmt::Display| {
                Failure::from(format!("{}, line {number}: {what}", self.path.display()))
            };
            let (Some(format), Some(encoded)) = (entry.format, entry.encoded) else {
                return Err(wrong(
                    &"this item could not be encoded, so it cannot be fed back in; remove the line",
                ));
            };
            let format = format.parse().map_err(|error| wrong(&error))?;
            let encoded = BASE64.decode(encoded).map_err(|error| wrong(&error))?;
            let sent = Sent { id: entry.id, format, encoded };
            let took = feed(&sent).map_err(|failure| wrong(&failure.chain()))?;
            if took {
                self.fed.lock().push(sent.id);
            }
            Ok(took)
        })
    }

    fn lines(
        &self,
        length: u64,
        mut each: impl FnMut(usize, Line) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let at = |error: io::Error| Failure::from(format!("{}: {error}", self.path.display()));
        let mut reader = BufReader::new(File::open(&self.path).map_err(at)?.take(length));
        let (mut text, mut number) = (Vec::new(), 0);
        while reader.read_until(b'\n', &mut text).map_err(at)? > 0 {
            number += 1;
            match serde_json::from_slice::<Line>(text.trim_ascii_end()) {
                Ok(line) => {
                    if !each(number, line)? {
                        return Ok(());
                    }
                }
                Err(_) if text.iter().all(u8::is_ascii_whitespace) => {}
                // Half a line, left by a program that died: there is no whole item in it.
                Err(error) if error.is_eof() => {}
                Err(error) => {
                    return Err(
                        format!("{}, line {number}: no dead letter: {error}", self.path.display()).into()
                    );
                }
            }
            text.clear();
        }
        Ok(())
    }

    /// The run ended well: what was fed in succeeded, or is a letter anew.
    pub(crate) fn mark(&self) -> Result<(), Error> {
        let fed = std::mem::take(&mut *self.fed.lock());
        if fed.is_empty() {
            return Ok(());
        }
        let marked = || -> io::Result<()> {
            let mut file = append_to(&self.path)?;
            let mut lines = String::new();
            for id in fed {
                lines.push_str(&serde_json::to_string(&Line::Mark { replayed: id })?);
                lines.push('\n');
            }
            file.write_all(lines.as_bytes())?;
            file.sync_all()
        };
        marked().map_err(|error| Error::Letters {
            path: self.path.display().to_string(),
            cause: format!("what was replayed could not be marked: {error}"),
        })
    }
}
