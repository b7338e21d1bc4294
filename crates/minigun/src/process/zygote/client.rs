//! The program's side: requests from any thread, one listener thread for the answers, and closing.
//!
//! A worker's card is in the book from before the request is sent until its end was reported. Whatever
//! happens to the zygote, the listener strikes every card that is left, so that nobody waits for ever.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use minigun_os::{
    Control, Descriptor, Ending, Event, Interest, Pid, PipeWriter, Process, Signal, Socket, Watch,
    kill_group, poll, procfs,
};

use super::birth::{Born, birth, call};
use super::exit::{Exit, Status};
use super::message::{BATCH, RECORD, Reply, Request};
use super::server::ORDERLY;
use super::{WorkerMain, ZygoteError};

/// How long the zygote may leave requests unread, and how long it may take to go when told or killed.
const STUCK: Duration = Duration::from_secs(5);

/// How long workers may take to vanish after their zygote.
const VANISH: Duration = Duration::from_secs(2);

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
    /// Forks the server and waits until it has proved that it works: 200 ms, then once more with 1 s, then
    /// with 5 s. The ends in `kept` stay open in it and in its workers.
    pub(crate) fn birth(name: &str, worker: WorkerMain, kept: &[PipeWriter]) -> Result<Zygote, ZygoteError> {
        let Born { process, control, life } = birth(name, &worker, kept)?;
        let book = Book { phase: Phase::Open, cards: HashMap::new(), last: 0 };
        let shared =
            Arc::new(Shared { process, control, life, book: Mutex::new(book), over: Condvar::new() });
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
        let (socket, theirs) = Socket::pair(Some(STREAM_BUFFER)).map_err(call("socketpair"))?;
        let card = Arc::new(Card::default());
        let id = self.shared.open_card(&card)?;
        let request = Request::Spawn { id, block, slot, title: title.to_owned() };
        if let Err(error) = self.shared.send(&request, Some(&theirs)) {
            self.shared.book().cards.remove(&id);
            return Err(error);
        }
        Ok(WorkerProcess { id, socket, card, shared: Arc::clone(&self.shared) })
    }

    /// Takes no more requests, waits up to `grace` for the workers to leave, kills those that are left, with
    /// their process groups, and waits until all are gone and the zygote is reaped. A second call does
    /// nothing more.
    ///
    /// Close the streams of idle workers before: the end of its stream is what tells a worker to leave.
    pub(crate) fn close(&self, grace: Duration) -> Result<(), ZygoteError> {
        if self.shared.begin_closing() {
            // A zygote that cannot be told is gone, or will be killed below.
            let _ = self.shared.send(&Request::Close { grace }, None);
        }
        let mut end = self.shared.await_end(grace.saturating_add(STUCK));
        let stuck = end.is_none();
        if stuck {
            self.shared.process.signal(Signal::KILL).map_err(call("pidfd_send_signal"))?;
            end = self.shared.await_end(STUCK);
        }
        let Some(end) = end else { return Err(ZygoteError::Stuck(STUCK)) };
        if let Some(listener) = lock(&self.listener).take() {
            let _ = listener.join();
        }
        self.shared.await_vanishing();
        match end {
            _ if stuck => Err(ZygoteError::Stuck(STUCK)),
            End { orderly: true, .. } => Ok(()),
            End { ending, .. } => Err(ZygoteError::Lost { ending }),
        }
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
    socket: Socket,
    card: Arc<Card>,
    shared: Arc<Shared>,
}

impl WorkerProcess {
    /// The program's end of the stream.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Its process number, once the zygote has told it. For display: the number may be reused after its end.
    pub(crate) fn pid(&self) -> Option<u32> {
        lock(&self.card.state).pid.map(Pid::get)
    }

    /// Sends a signal to it and its process group. The zygote does it, which knows whether it still exists. A
    /// zygote that is gone or stuck has workers that are dead or will be with it.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = self.shared.send(&Request::Signal { id: self.id, signal }, None);
    }

    /// Sends SIGKILL to it and its process group.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
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

    /// Whether its end was reported: everything it ever wrote has arrived.
    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.card.state).exit.is_some()
    }

    /// Waits for its end; `None` if the time is over first.
    pub(crate) fn wait(&self, bound: Duration) -> Option<Exit> {
        let state = lock(&self.card.state);
        let waited = self.card.changed.wait_timeout_while(state, bound, |state| state.exit.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.exit.clone()
    }
}

#[derive(Debug)]
struct Shared {
    process: Process,
    control: Control,
    /// Reads the end when the zygote and all its workers are gone: each holds the other end while it lives.
    life: Socket,
    book: Mutex<Book>,
    /// Notified when the phase becomes `Over`.
    over: Condvar,
}

#[derive(Debug)]
struct Book {
    phase: Phase,
    cards: HashMap<u64, Arc<Card>>,
    last: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Open,
    Closing,
    /// The zygote is gone and reaped.
    Over(End),
}

/// How the zygote ended, and whether that was by the book: it was told to, and had reported every worker.
#[derive(Clone, Copy, Debug)]
struct End {
    ending: Ending,
    asked: bool,
    orderly: bool,
}

/// What is known of one worker.
#[derive(Debug, Default)]
struct Card {
    state: Mutex<CardState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct CardState {
    pid: Option<Pid>,
    exit: Option<Exit>,
    wake: Option<Arc<Event>>,
}

impl CardState {
    fn wake(&self) {
        if let Some(event) = &self.wake {
            // It can refuse only if it was never made; then nobody waits on it.
            let _ = event.set();
        }
    }
}

impl Card {
    fn strike(&self, exit: Exit) {
        let mut state = lock(&self.state);
        state.exit.get_or_insert(exit);
        state.wake();
        drop(state);
        self.changed.notify_all();
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    fn open_card(&self, card: &Arc<Card>) -> Result<u64, ZygoteError> {
        let mut book = self.book();
        match book.phase {
            Phase::Open => {}
            Phase::Over(End { asked: false, ending, .. }) => return Err(ZygoteError::Lost { ending }),
            Phase::Closing | Phase::Over(_) => return Err(ZygoteError::Closed),
        }
        book.last += 1;
        let id = book.last;
        book.cards.insert(id, Arc::clone(card));
        Ok(id)
    }

    /// Whether this call is the one to say it to the zygote.
    fn begin_closing(&self) -> bool {
        let mut book = self.book();
        let first = matches!(book.phase, Phase::Open);
        if first {
            book.phase = Phase::Closing;
        }
        first
    }

    fn await_end(&self, bound: Duration) -> Option<End> {
        let waited =
            self.over.wait_timeout_while(self.book(), bound, |book| !matches!(book.phase, Phase::Over(_)));
        match waited.unwrap_or_else(PoisonError::into_inner).0.phase {
            Phase::Over(end) => Some(end),
            Phase::Open | Phase::Closing => None,
        }
    }

    /// Sends a request, waiting for room while the zygote lives and reads.
    fn send(&self, request: &Request, carry: Option<&dyn Descriptor>) -> Result<(), ZygoteError> {
        let deadline = Instant::now() + STUCK;
        let record = request.encode();
        loop {
            let refused = match self.control.try_send(&record, carry) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match refused.kind() {
                io::ErrorKind::WouldBlock => {
                    let mut watches = [
                        Watch::new(&self.control, Interest::Write),
                        Watch::new(&self.process, Interest::Read),
                    ];
                    let left = deadline.saturating_duration_since(Instant::now());
                    if poll(&mut watches, Some(left)).map_err(call("poll"))? == 0 {
                        return Err(ZygoteError::Stuck(STUCK));
                    }
                    if watches[1].is_ready() {
                        return Err(self.lost());
                    }
                }
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => return Err(self.lost()),
                _ => return Err(ZygoteError::Call { what: "sendmsg", source: refused }),
            }
        }
    }

    /// The zygote does not hold its end any more: how it ended is known in a moment.
    fn lost(&self) -> ZygoteError {
        ZygoteError::Lost { ending: self.await_end(STUCK).map_or(Ending::Unknown, |end| end.ending) }
    }

    /// The listener thread: answers until the zygote is gone, then reaps it and strikes every card left.
    fn listen(&self) {
        let mut message = [0; BATCH * RECORD];
        loop {
            match self.control.try_recv(&mut message) {
                Ok((0, _)) => break,
                Ok((length, _)) => {
                    message[..length].chunks(RECORD).filter_map(Reply::decode).for_each(|r| self.note(r))
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut watches = [
                        Watch::new(&self.control, Interest::Read),
                        Watch::new(&self.process, Interest::Read),
                    ];
                    let polled = poll(&mut watches, None);
                    // Only when it is dead and has nothing more to say: a worker killed in its first
                    // moment may hold a copy of the zygote's end a little longer.
                    if polled.is_err() || (!watches[0].is_ready() && watches[1].is_ready()) {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        let ending = self.end_of_zygote();
        let cards = {
            let mut book = self.book();
            let cards = std::mem::take(&mut book.cards);
            let asked = matches!(book.phase, Phase::Closing);
            let orderly =
                asked && cards.is_empty() && matches!(ending, Ending::Code(ORDERLY) | Ending::Unknown);
            book.phase = Phase::Over(End { ending, asked, orderly });
            cards
        };
        for card in cards.values() {
            card.strike(Exit::unmeasured(Status::ZygoteLost));
        }
        self.over.notify_all();
        if !cards.is_empty() {
            self.kill_what_is_left(cards.values().filter_map(|card| lock(&card.state).pid));
        }
    }

    /// The kernel kills the workers of a dead zygote; their subprocesses, in their process groups, are ours to
    /// kill. The number of a group with members is not given to anybody else; but a process that has it when
    /// all workers are gone is a stranger, who got it because the group was empty.
    fn kill_what_is_left(&self, leaders: impl Iterator<Item = Pid>) {
        self.await_vanishing();
        for leader in leaders {
            if !procfs::is_alive(leader) {
                let _ = kill_group(leader, Signal::KILL);
            }
        }
    }

    /// Waits until the zygote and its workers have let go of everything.
    fn await_vanishing(&self) {
        let _ = poll(&mut [Watch::new(&self.life, Interest::Read)], Some(VANISH));
    }

    fn end_of_zygote(&self) -> Ending {
        for bound in [Duration::from_secs(1), STUCK] {
            if let Ok(Some(ending)) = self.process.wait(Some(bound)) {
                return ending;
            }
            let _ = self.process.signal(Signal::KILL);
        }
        Ending::Unknown
    }

    fn note(&self, reply: Reply) {
        match reply {
            Reply::Ready => {}
            Reply::Spawned { id, pid } => {
                if let Some(card) = self.book().cards.get(&id) {
                    lock(&card.state).pid = Some(pid);
                }
            }
            Reply::Ended { id, exit } => {
                let card = self.book().cards.remove(&id);
                if let Some(card) = card {
                    card.strike(exit);
                }
            }
        }
    }
}

/// No code that can panic runs under these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
