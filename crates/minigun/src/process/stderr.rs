//! What workers print to standard error: shown at once, line by line, and kept as the last words of the dead.
//!
//! Every worker slot has a pipe, made before the fork server is forked; its workers, one after the other, make it
//! their standard error. One thread of the program reads all of them and writes whole lines on. Who needs a
//! dead worker's last words takes them from the pipe itself, under the slot's lock, which is never held over a
//! write: a program whose standard error is blocked learns of deaths all the same. Nobody waits for the end of
//! a pipe, because a grandchild may hold it.
//!
//! What is read is told as events, too, where somebody observes the run. A line that begins with [`FORWARDED`] is
//! the engine's own (what code in a worker told `tracing`): it becomes an event and is not shown.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use minigun_os::{Event, Interest, Pid, PipeReader, PipeWriter, Watch, pipe, poll};

use super::speaker::Speaker;
use crate::defaults::{GRACE, LAST_WORDS_BYTES};
use crate::error::Error;
use crate::events::FORWARDED;
use crate::shared::Shared;
use crate::sync::{Condvar, Mutex};

/// A longer line is shown in parts. So much can be written without blocking when there is room at all.
const PART: usize = 4 << 10;

/// What is read at once.
const READ: usize = 16 << 10;

/// What is taken at most from one pipe when its worker has ended: whoever else holds it may write for ever.
const DRAIN: usize = 1 << 20;

/// What is held for one slot while the program's standard error takes nothing.
const HELD: usize = 256 << 10;

/// What is kept of the end of what a worker printed, to find in it what it died of: a backtrace may follow.
const KEPT: usize = 64 << 10;

/// The reading ends, before there is a thread to read them.
pub(crate) struct Ears {
    slots: Vec<Ear>,
    /// Calls the thread: a slot left something to show, or the run is over.
    call: Event,
    closing: AtomicBool,
    over: Mutex<bool>,
    changed: Condvar,
}

struct Ear {
    pipe: PipeReader,
    heard: Mutex<Heard>,
    speaker: Option<Speaker>,
}

/// What one slot's worker has printed.
#[derive(Default)]
struct Heard {
    unshown: Vec<u8>,
    /// Bytes that found no room in `unshown`.
    dropped: usize,
    /// The end of what the present worker printed.
    tail: Vec<u8>,
    /// What there is of the present line.
    line: Vec<u8>,
    mid_line: bool,
    /// No process holds the other end any more.
    ended: bool,
}

impl Ears {
    /// Pipes for that many slots: the ends to read, and the ends to write to.
    pub(crate) fn new(slots: usize) -> io::Result<(Ears, Vec<PipeWriter>)> {
        let (mut ears, mut writers) = (Vec::with_capacity(slots), Vec::with_capacity(slots));
        for _ in 0..slots {
            let (pipe, writer) = pipe()?;
            ears.push(Ear { pipe, heard: Mutex::default(), speaker: None });
            writers.push(writer);
        }
        let ears = Ears {
            slots: ears,
            call: Event::new()?,
            closing: AtomicBool::new(false),
            over: Mutex::new(false),
            changed: Condvar::new(),
        };
        Ok((ears, writers))
    }

    /// Who the slots' workers are.
    pub(crate) fn know(&mut self, speakers: impl IntoIterator<Item = Speaker>) {
        for (ear, speaker) in self.slots.iter_mut().zip(speakers) {
            ear.speaker = Some(speaker);
        }
    }
}

/// The thread that reads what workers print.
pub(crate) struct Listener {
    ears: Arc<Ears>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// A forked child has a copy of this value, and no such thread.
    owner: Pid,
}

impl Listener {
    pub(crate) fn start(ears: Ears, run: &Arc<Shared>) -> io::Result<Listener> {
        let ears = Arc::new(ears);
        let (theirs, run) = (Arc::clone(&ears), Arc::clone(run));
        let thread = thread::Builder::new().name("mg:stderr".to_string()).spawn(move || {
            let over = Over(&theirs);
            if let Err(error) = theirs.listen(&run) {
                // Unread pipes would fill, and workers wait in them for ever.
                let cause = format!("reading the standard error of workers: {error}");
                run.fail(Error::Zygote { pipeline: run.name().to_string(), cause });
            }
            drop(over);
        })?;
        Ok(Listener { ears, thread: Mutex::new(Some(thread)), owner: Pid::current() })
    }

    /// The worker of this slot has ended: the end of what it printed. All of it will be shown.
    pub(crate) fn last_words(&self, slot: usize) -> String {
        let Some(ear) = self.ears.slots.get(slot) else { return String::new() };
        let (words, unshown) = ear.worker_ended();
        if unshown {
            self.ears.call();
        }
        words
    }

    /// What was printed is shown, and the thread has ended when this returns. A standard error that is blocked
    /// for long costs [`GRACE`] at most, and what it did not take.
    pub(crate) fn close(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.ears.closing.store(true, Ordering::Release);
        self.ears.call();
        // The thread has a bound of its own for all but a lock on standard error that the program holds.
        let until = Instant::now() + GRACE + Duration::from_secs(1);
        let mut over = self.ears.over.lock();
        while !*over {
            if self.ears.changed.wait_until(&mut over, until) {
                return;
            }
        }
        drop(over);
        drop(thread.join());
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.owner == Pid::current() {
            self.close();
        }
    }
}

/// Says that the thread is over, however it ends.
struct Over<'a>(&'a Ears);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        *self.0.over.lock() = true;
        self.0.changed.notify_all();
    }
}

impl Ears {
    fn call(&self) {
        // It can refuse only if it was never made; then nobody waits on it.
        let _ = self.call.set();
    }

    /// The thread's life: shows what was read, and reads when all of it is shown.
    fn listen(&self, run: &Shared) -> io::Result<()> {
        let mut out = Out::default();
        loop {
            // First the call, then what it may be about: one that comes in between is not lost.
            self.call.clear()?;
            if self.closing.load(Ordering::Acquire) {
                return self.finish(out, run);
            }
            if out.is_empty() {
                self.slots.iter().for_each(|ear| ear.heard.lock().show(&mut out));
            }
            if out.is_empty() {
                self.hear()?;
            } else {
                let mut watches = [Watch::new(&self.call, Interest::Read), Watch::standard_error()];
                poll(&mut watches, None)?;
                if watches[1].is_ready() {
                    run.aside(&mut || out.write());
                }
            }
        }
    }

    /// Waits until there is something to read, or somebody calls.
    fn hear(&self) -> io::Result<()> {
        let open: Vec<_> = self.slots.iter().filter(|ear| !ear.heard.lock().ended).collect();
        let mut watches = vec![Watch::new(&self.call, Interest::Read)];
        watches.extend(open.iter().map(|ear| Watch::new(&ear.pipe, Interest::Read)));
        poll(&mut watches, None)?;
        for (watch, ear) in watches.iter().skip(1).zip(&open) {
            if watch.is_ready() {
                ear.heard.lock().read(&ear.pipe, READ, ear.speaker.as_ref());
            }
        }
        Ok(())
    }

    /// All workers have ended: what is left is shown, if standard error takes it in time.
    fn finish(&self, mut out: Out, run: &Shared) -> io::Result<()> {
        let until = Instant::now() + GRACE;
        for ear in &self.slots {
            let _ = ear.worker_ended();
            ear.heard.lock().show(&mut out);
        }
        while !out.is_empty() {
            let mut watches = [Watch::standard_error()];
            if poll(&mut watches, Some(until.saturating_duration_since(Instant::now())))? == 0 {
                break;
            }
            run.aside(&mut || out.write());
        }
        Ok(())
    }
}

impl Ear {
    /// Takes what the worker left in the pipe; the end of what it printed, and whether there is something to show.
    fn worker_ended(&self) -> (String, bool) {
        let mut heard = self.heard.lock();
        heard.read(&self.pipe, DRAIN, self.speaker.as_ref());
        heard.end_line(self.speaker.as_ref());
        if std::mem::take(&mut heard.mid_line) {
            heard.unshown.push(b'\n');
        }
        let tail = std::mem::take(&mut heard.tail);
        (String::from_utf8_lossy(&tail).into_owned(), !heard.unshown.is_empty())
    }
}

impl Heard {
    /// Reads what is there, about `most` bytes of it.
    fn read(&mut self, pipe: &PipeReader, most: usize, speaker: Option<&Speaker>) {
        let mut buffer = [0; READ];
        let mut taken = 0;
        while taken < most && !self.ended {
            match pipe.try_read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    taken += count;
                    self.hear(&buffer[..count], speaker);
                }
                Err(error) => {
                    // Anything but an empty pipe means that there will be nothing more to read.
                    self.ended = error.kind() != io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
    }

    /// Line by line: what is forwarded is told, everything else is told and shown.
    fn hear(&mut self, bytes: &[u8], speaker: Option<&Speaker>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.first() != Some(&FORWARDED) {
                self.add(piece);
            }
            if piece.ends_with(b"\n") || self.line.len() > PART {
                self.end_line(speaker);
            }
        }
    }

    fn end_line(&mut self, speaker: Option<&Speaker>) {
        if let Some(speaker) = speaker.filter(|_| !self.line.is_empty()) {
            speaker.says(&self.line);
        }
        self.line.clear();
    }

    fn add(&mut self, bytes: &[u8]) {
        self.mid_line = bytes.last() != Some(&b'\n');
        if self.unshown.len() + bytes.len() <= HELD {
            self.unshown.extend_from_slice(bytes);
        } else {
            self.dropped += bytes.len();
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * KEPT {
            self.tail.drain(..self.tail.len() - KEPT);
        }
    }

    /// Whole lines go on; of an unfinished one only what is too long to wait for its end.
    fn show(&mut self, out: &mut Out) {
        let mut ready = self.unshown.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if self.unshown.len() - ready > PART {
            ready = self.unshown.len();
        }
        out.bytes.extend(self.unshown.drain(..ready));
        if self.dropped > 0 && self.unshown.is_empty() {
            let dropped = std::mem::take(&mut self.dropped);
            let text =
                format!("minigun: {dropped} bytes that a worker printed here were too many to be shown\n");
            out.bytes.extend_from_slice(text.as_bytes());
        }
    }
}

/// The last lines of a text, few enough to be told.
pub(crate) fn last_lines(tail: &[u8], most: usize) -> String {
    let cut = tail.len().saturating_sub(LAST_WORDS_BYTES);
    // What is cut begins with the next whole line, unless there is only one.
    let first = match tail[cut..].iter().position(|byte| *byte == b'\n') {
        Some(at) if cut > 0 && at + 1 < tail.len() - cut => cut + at + 1,
        _ => cut,
    };
    let text = String::from_utf8_lossy(&tail[first..]);
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(most)..].join("\n")
}

/// On its way to the program's standard error.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    written: usize,
}

impl Out {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next part: as many whole lines as fit.
    fn part(&self) -> &[u8] {
        let rest = &self.bytes[self.written..];
        let part = &rest[..rest.len().min(PART)];
        match part.iter().rposition(|byte| *byte == b'\n') {
            Some(at) if part.len() < rest.len() => &part[..=at],
            _ => part,
        }
    }

    /// Writes the next part. Where nobody reads, all of it is let go: workers must not wait for it.
    fn write(&mut self) {
        match io::stderr().lock().write(self.part()) {
            Ok(count) if count > 0 => self.written += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            _ => self.written = self.bytes.len(),
        }
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::meter::Clock;
    use crate::stats::Totals;

    fn shown(heard: &mut Heard) -> String {
        let mut out = Out::default();
        heard.show(&mut out);
        String::from_utf8(out.bytes).unwrap()
    }

    #[test]
    fn a_thread_that_is_told_to_end_when_it_has_hardly_begun_hears_it() {
        let run = Shared::new(
            "brief".to_string(),
            Totals::new(),
            Vec::new(),
            Limits::default(),
            Clock::default(),
            None,
        );
        for round in 0..2000 {
            let (ears, _writers) = Ears::new(1).unwrap();
            let listener = Listener::start(ears, &run).unwrap();
            // From "at once" to "when it waits".
            (0..round % 50).for_each(|_| thread::yield_now());
            listener.close();
            assert_eq!(Arc::strong_count(&listener.ears), 1, "the thread was not joined");
        }
    }

    #[test]
    fn only_whole_lines_are_shown_unless_one_is_too_long_to_wait_for() {
        let mut heard = Heard::default();
        heard.add(b"one\ntwo\nthr");
        assert_eq!(shown(&mut heard), "one\ntwo\n");
        assert_eq!(shown(&mut heard), "");
        heard.add(b"ee\n");
        assert_eq!(shown(&mut heard), "three\n");
        heard.add(&[b'x'; PART]);
        assert_eq!(shown(&mut heard), "");
        heard.add(b"x");
        assert_eq!(shown(&mut heard).len(), PART + 1);
    }

    #[test]
    fn what_is_too_much_to_hold_is_counted_and_the_last_words_are_kept_all_the_same() {
        let mut heard = Heard::default();
        for _ in 0..100 {
            heard.add(&[b'x'; 10_000]);
        }
        heard.add(b"\nlast words\n");
        assert!(heard.unshown.len() <= HELD && heard.tail.len() <= 2 * KEPT);
        assert_eq!(last_lines(&heard.tail, 20), "last words");
        let text = shown(&mut heard);
        assert!(text.contains("bytes that a worker printed here were too many"), "{}", &text[HELD - 100..]);
    }

    #[test]
    fn last_words_are_whole_lines_and_few() {
        assert_eq!(last_lines(b"", 20), "");
        assert_eq!(last_lines(b"one\ntwo\n\n", 20), "one\ntwo");
        assert_eq!(last_lines(b"one\ntwo\nthree", 2), "two\nthree");
        let long = format!("{}\nwhole\n", "x".repeat(3 * LAST_WORDS_BYTES));
        assert_eq!(last_lines(long.as_bytes(), 20), "whole");
        assert_eq!(last_lines(&[b'y'; 3 * LAST_WORDS_BYTES], 20).len(), LAST_WORDS_BYTES);
    }

    #[test]
    fn parts_are_whole_lines_where_they_fit() {
        let mut out = Out::default();
        out.bytes.extend_from_slice(b"one\ntwo\n");
        assert_eq!(out.part(), b"one\ntwo\n");
        out.bytes = [vec![b'a'; 3000], b"\n".to_vec(), vec![b'b'; 3000], b"\n".to_vec()].concat();
        assert_eq!(out.part().len(), 3001);
        out.bytes = vec![b'c'; 3 * PART];
        assert_eq!(out.part().len(), PART);
    }
}
