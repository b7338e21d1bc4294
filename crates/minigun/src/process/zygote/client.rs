//! The program's side of one zygote: requests from any thread, and closing.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[cfg(test)]
use std::sync::PoisonError;

use minigun_os::{Event, Pid, Signal, Socket};

use super::ZygoteError;
use super::birth::{Born, call};
use super::book::{Card, STUCK, Shared, Verdict, lock};
use super::exit::Exit;
use super::message::Request;

/// What is asked for as the stream's send buffers, in bytes.
const STREAM_BUFFER: usize = 1 << 20;

/// A running fork server. Dropping it closes it without grace.
#[derive(Debug)]
pub(crate) struct Zygote {
    shared: Arc<Shared>,
    listener: Mutex<Option<JoinHandle<()>>>,
    /// A forked child has a copy of this value: it is not the child's to close.
    owner: Pid,
}

impl Zygote {
    /// The zygote that was born; from now on it is killed if it leaves a request unanswered, and says nothing
    /// at all, for as long as `answer` (half as long again at most).
    pub(super) fn new(name: &str, born: Born, answer: Duration) -> Result<Zygote, ZygoteError> {
        let watch = match Event::new() {
            Ok(watch) => watch,
            Err(source) => {
                born.abandon();
                return Err(call("eventfd")(source));
            }
        };
        let shared = Arc::new(Shared::new(born, watch, answer));
        let theirs = Arc::clone(&shared);
        let listener = thread::Builder::new().name(format!("{name}-zygote")).spawn(move || theirs.listen());
        match listener {
            Ok(listener) => {
                Ok(Zygote { shared, listener: Mutex::new(Some(listener)), owner: Pid::current() })
            }
            Err(source) => {
                let _ = shared.process.signal(Signal::KILL);
                let _ = shared.process.wait(Some(STUCK));
                Err(ZygoteError::Call { what: "starting its listener thread", source })
            }
        }
    }

    /// Asks for a worker, titled as given (15 bytes). Returns at once: this end of the stream can be written
    /// before the worker exists. A worker that cannot be made reports so as its [`Exit`].
    pub(crate) fn spawn(&self, block: u32, slot: u32, title: &str) -> Result<WorkerProcess, ZygoteError> {
        self.shared.refusal()?;
        let (socket, theirs) = Socket::pair(Some(STREAM_BUFFER)).map_err(call("socketpair"))?;
        let card = Arc::new(Card::default());
        let id = self.shared.open_card(&card)?;
        let request = Request::Spawn { id, block, slot, title };
        if let Err(error) = self.shared.send(&request, Some(&theirs)) {
            self.shared.drop_card(id);
            return Err(error);
        }
        Ok(WorkerProcess { id, socket: Arc::new(socket), card, shared: Arc::clone(&self.shared) })
    }

    /// Takes no more requests, and tells the zygote: it waits up to `grace` for the workers to leave, kills
    /// those that are left, with their process groups, and goes. Only the first call says anything.
    ///
    /// Close the streams of idle workers before: the end of its stream is what tells a worker to leave.
    pub(super) fn dismiss(&self, grace: Duration) {
        if self.shared.begin_closing() {
            // A zygote that cannot be told is gone, or will be killed by `close`.
            let _ = self.shared.send(&Request::Close { grace }, None);
        }
    }

    /// Dismisses the zygote and waits until all its workers are gone and it is reaped. A second call does
    /// nothing more.
    pub(crate) fn close(&self, grace: Duration) -> Result<(), ZygoteError> {
        self.dismiss(grace);
        let mut end = self.shared.await_end(grace.saturating_add(2 * self.shared.answer));
        if end.is_none() {
            self.shared.condemn(Verdict::Silent);
            end = self.shared.await_end(2 * STUCK);
        }
        let Some(end) = end else { return Err(ZygoteError::Undead) };
        if let Some(listener) = lock(&self.listener).take() {
            let _ = listener.join();
        }
        self.shared.await_vanishing();
        if end.orderly { Ok(()) } else { Err(self.shared.why_it_ended(end)) }
    }

    /// It was killed, and is there nonetheless: its workers may be, too.
    pub(super) fn is_undead(&self) -> bool {
        matches!(self.shared.refusal(), Err(ZygoteError::Undead))
    }

    /// The zygote's process number.
    #[cfg(test)]
    pub(crate) fn pid(&self) -> u32 {
        self.shared.process.pid().get()
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        if self.owner == Pid::current() {
            let _ = self.close(Duration::ZERO);
        }
    }
}

/// One worker, from its request on. Dropping it ends its stream, which tells the worker to leave.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    id: u64,
    socket: Arc<Socket>,
    card: Arc<Card>,
    shared: Arc<Shared>,
}

impl WorkerProcess {
    /// The program's end of the stream.
    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Its process number, once the zygote has told it. For display: the number may be reused after its end.
    pub(crate) fn pid(&self) -> Option<u32> {
        lock(&self.card.state).pid.map(Pid::get)
    }

    /// When the zygote told that it was forked.
    pub(crate) fn forked_at(&self) -> Option<Instant> {
        lock(&self.card.state).forked
    }

    /// Sends a signal to it and its process group. The zygote does it, which knows whether it still exists. A
    /// zygote that is gone or stuck has workers that are dead or will be with it.
    ///
    /// A zygote that leaves this unanswered for its bound is killed. Signal 0 reaches nobody: it asks the
    /// zygote for no more than an answer.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.has_ended() {
            let _ = self.shared.send(&Request::Signal { id: self.id, signal }, None);
        }
    }

    /// Sends SIGKILL to it and its process group, as [`signal`](Self::signal) does.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// It spoke its first words: whatever it inherited, its birth did not hang.
    pub(crate) fn said_hello(&self) {
        self.shared.said_hello();
    }

    /// It was forked and has not spoken its first words in time. The second such worker in a row, with none
    /// in between that spoke, condemns the zygote: they hang on something that it holds in its memory.
    pub(crate) fn missed_hello(&self) {
        self.shared.missed_hello();
    }

    /// Sets `event` when its end is reported; at once if it has been. A descendant that escaped from its
    /// process group can hold its end of the stream, which then never reads the end.
    pub(crate) fn on_end(&self, event: &Arc<Event>) {
        let mut state = lock(&self.card.state);
        state.wake = Some(Arc::clone(event));
        if state.exit.is_some() {
            state.wake();
        }
    }

    /// Its end sets no event any more.
    pub(crate) fn hush(&self) {
        lock(&self.card.state).wake = None;
    }

    /// Whether its end was reported: everything it ever wrote has arrived.
    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.card.state).exit.is_some()
    }

    /// How it ended, if that was reported.
    pub(crate) fn exit(&self) -> Option<Exit> {
        lock(&self.card.state).exit.clone()
    }

    /// Waits for its end; `None` if the time is over first.
    #[cfg(test)]
    pub(crate) fn wait(&self, bound: Duration) -> Option<Exit> {
        let state = lock(&self.card.state);
        let waited = self.card.changed.wait_timeout_while(state, bound, |state| state.exit.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.exit.clone()
    }
}
