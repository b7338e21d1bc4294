//! The program's end of one worker: frames out, frames in, and how far the worker has come.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use minigun_os::{Event, Signal, Socket};

use super::cause::Killed;
use super::frame::{self, Frame, FrameError, Kind, Reader};
use super::zygote::{Exit, WorkerProcess};
use crate::defaults;

/// One worker process and the socket to it.
pub(crate) struct Link {
    process: WorkerProcess,
    outgoing: VecDeque<(Arc<Vec<u8>>, usize)>,
    reader: Reader,
    pub(crate) stage: Stage,
    /// When what the worker owes next must have come.
    pub(crate) deadline: Option<Instant>,
    /// When something was last sent to it or came from it.
    pub(crate) heard: Instant,
    /// Why it was killed, or told to die, if it was.
    pub(crate) killed: Option<Killed>,
    /// When it had begun the item for which it was told to die.
    pub(crate) overdue: Option<Instant>,
    /// Bytes that came from it and were not told yet.
    received: u64,
    /// It was forked before there was an item for it.
    pub(crate) was_ahead: bool,
    /// It may be in a debugger: nothing that it owes has a deadline.
    pub(crate) unhurried: bool,
}

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Its hello is awaited.
    Forked,
    /// Its hooks and `_init` closures run.
    Starting,
    Ready,
    /// It was told, or it said, that it ends.
    Ending,
    /// It said goodbye.
    Gone,
}

/// What a look at the socket brought.
pub(crate) enum Input {
    /// Bytes; `all` that there were then.
    Some {
        all: bool,
    },
    Nothing,
    End,
}

impl Link {
    /// `fresh`: it serves one item.
    pub(crate) fn new(process: WorkerProcess, unhurried: bool, fresh: bool) -> Self {
        let mut link = Link {
            process,
            outgoing: VecDeque::new(),
            reader: if fresh { Reader::of_few() } else { Reader::default() },
            stage: Stage::Forked,
            deadline: None,
            heard: Instant::now(),
            killed: None,
            overdue: None,
            received: 0,
            was_ahead: false,
            unhurried,
        };
        link.deadline = link.within(defaults::HELLO_BOUND);
        link
    }

    /// The deadline of what the worker owes in this time.
    pub(crate) fn within(&self, time: Duration) -> Option<Instant> {
        (!self.unhurried).then(|| Instant::now() + time)
    }

    pub(crate) fn socket(&self) -> &Arc<Socket> {
        self.process.socket()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    pub(crate) fn send(&mut self, frame: Arc<Vec<u8>>) {
        self.outgoing.push_back((frame, 0));
        self.heard = Instant::now();
    }

    /// Somebody else sent a frame before anything that is outgoing; the rest of it may be left, from a place on.
    pub(crate) fn was_sent(&mut self, rest: Option<(Arc<Vec<u8>>, usize)>) {
        if let Some(rest) = rest {
            self.outgoing.push_front(rest);
        }
        self.heard = Instant::now();
    }

    /// The item that it `began` then has run longer than `limit`, or it is silent for as long: it is asked to
    /// die, and has `grace` for it.
    pub(crate) fn condemn(&mut self, began: Option<Instant>, limit: Duration, grace: Duration) {
        self.killed = Some(Killed::Deadline(limit));
        self.overdue = began;
        self.process.signal(Signal::TERM);
        // A stopped process takes no signal before it is continued.
        self.process.signal(Signal::CONT);
        self.deadline = Instant::now().checked_add(grace);
    }

    /// A worker that was forked ahead: it owes nothing.
    pub(crate) fn ahead(process: WorkerProcess, unhurried: bool) -> Self {
        Link { deadline: None, was_ahead: true, ..Link::new(process, unhurried, true) }
    }

    /// From now on it owes its first words.
    pub(crate) fn take_up(&mut self) {
        self.heard = Instant::now();
        self.deadline = self.within(defaults::HELLO_BOUND);
    }

    /// It said goodbye, and its end is not waited for: it sets no event.
    pub(crate) fn hush(&self) {
        self.process.hush();
    }

    /// Its end sets this event.
    pub(crate) fn call_at_end(&self, event: &Arc<Event>) {
        self.process.on_end(event);
    }

    /// Whether the worker is gone, or is reported to be; what it still sends is nobody's.
    pub(crate) fn is_over(&self) -> bool {
        self.process.has_ended()
            || match self.process.socket().try_read(&mut [0; 64]) {
                Ok(count) => count == 0,
                Err(error) => {
                    !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionReset)
                }
            }
    }

    /// Tells the worker that there will be no more.
    pub(crate) fn end(&mut self) -> Result<(), FrameError> {
        self.send(Arc::new(frame::frame(Kind::End, 0, &[])?));
        self.end_in(defaults::GRACE);
        Ok(())
    }

    /// The worker is to be gone within `time`.
    pub(crate) fn end_in(&mut self, time: Duration) {
        self.stage = Stage::Ending;
        self.deadline = self.within(time);
    }

    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Writes what the socket takes; says whether that was anything. A worker that is gone takes nothing: its
    /// end is seen by `receive`.
    pub(crate) fn write(&mut self) -> bool {
        let mut wrote = false;
        while let Some((frame, at)) = self.outgoing.front_mut() {
            match self.process.socket().try_write(&frame[*at..]) {
                Ok(count) => {
                    wrote = true;
                    self.heard = Instant::now();
                    *at += count;
                    if *at == frame.len() {
                        self.outgoing.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.outgoing.clear();
                    break;
                }
            }
        }
        wrote
    }

    /// Reads what has arrived. A worker whose end was reported has nothing more to say, even if somebody else
    /// holds its end of the socket.
    pub(crate) fn receive(&mut self) -> Input {
        let over = self.process.has_ended();
        loop {
            let room = self.reader.room();
            let size = room.len();
            match self.process.socket().try_read(room) {
                Ok(0) => return Input::End,
                Ok(count) => {
                    self.reader.received(count);
                    self.received += count as u64;
                    self.heard = Instant::now();
                    return Input::Some { all: count < size };
                }
                // A worker that died with unread input: the rest of what it sent comes after this error.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !over => return Input::Nothing,
                Err(_) => return Input::End,
            }
        }
    }

    /// Bytes that came since the last call.
    pub(crate) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received)
    }

    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        self.reader.next()
    }

    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    /// Kills the worker, for this reason.
    pub(crate) fn kill_for(&mut self, reason: Killed) {
        self.killed.get_or_insert(reason);
        self.process.kill();
    }

    /// Has the fork server say something; one that does not is replaced.
    pub(crate) fn ask(&self) {
        self.process.signal(Signal::new(0));
    }

    /// How the worker ended, once that was reported.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.process.exit()
    }

    /// The worker spoke its first words.
    pub(crate) fn said_hello(&self) {
        self.process.said_hello();
    }

    /// Its deadline has struck: whether its first words are overdue. Not before the bound is over since it was
    /// forked, however long that took; the deadline is put off until then.
    pub(crate) fn missed_hello(&mut self) -> bool {
        let now = Instant::now();
        let due = self.process.forked_at().unwrap_or(now) + defaults::HELLO_BOUND;
        self.deadline = (!self.unhurried).then_some(due);
        if due <= now {
            self.process.missed_hello();
        }
        due <= now
    }
}
