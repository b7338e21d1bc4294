//! What the program knows of one zygote: its workers' cards, the answers it owes, and how it ended.
//!
//! A worker's card is in the book from before the request is sent until its end was reported. Whatever
//! happens to the zygote, the [listener](super::listen) strikes every card that is left, so that nobody waits
//! for ever.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use minigun_os::{Control, Descriptor, Ending, Event, Interest, Pid, Process, Signal, Socket, Watch, poll};

use super::ZygoteError;
use super::birth::{Born, call};
use super::exit::Exit;
use super::message::{Reply, Request};
use super::notes::Notes;

/// How long a zygote may take to be gone when it was killed.
pub(super) const STUCK: Duration = Duration::from_secs(5);

/// How long workers may take to vanish after their zygote.
const VANISH: Duration = Duration::from_secs(2);

/// Missed hellos in a row that condemn a zygote.
const MISSED: u32 = 2;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) process: Process,
    pub(super) control: Control,
    /// Reads the end when the zygote and all its workers are gone: each holds the other end while it lives.
    pub(super) life: Socket,
    pub(super) notes: Arc<Notes>,
    /// Calls the listener when a first answer is owed.
    pub(super) watch: Event,
    /// How long the zygote may owe an answer and say nothing.
    pub(super) answer: Duration,
    book: Mutex<Book>,
    /// Notified when the phase becomes `Over`.
    over: Condvar,
    /// Workers in a row that missed their hello.
    missed: AtomicU32,
}

#[derive(Debug)]
pub(super) struct Book {
    phase: Phase,
    cards: HashMap<u64, Arc<Card>>,
    last: u64,
    /// Requests without an answer yet.
    owed: u64,
    /// When something was heard last, or an answer came to be owed.
    heard: Instant,
    /// The listener counts the time.
    watched: bool,
    condemned: Option<Verdict>,
}

/// Why a zygote was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It did not answer.
    Silent,
    /// Its workers hang before their first words.
    Mute,
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
pub(super) struct End {
    /// `None`: it was killed, and is there nonetheless.
    ending: Option<Ending>,
    asked: bool,
    pub(super) orderly: bool,
}

/// What is known of one worker.
#[derive(Debug, Default)]
pub(super) struct Card {
    pub(super) state: Mutex<CardState>,
    pub(super) changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct CardState {
    pub(super) pid: Option<Pid>,
    pub(super) forked: Option<Instant>,
    pub(super) exit: Option<Exit>,
    pub(super) wake: Option<Arc<Event>>,
}

impl CardState {
    pub(super) fn wake(&self) {
        if let Some(event) = &self.wake {
            // It can refuse only if it was never made; then nobody waits on it.
            let _ = event.set();
        }
    }
}

impl Card {
    pub(super) fn strike(&self, exit: Exit) {
        let mut state = lock(&self.state);
        state.exit.get_or_insert(exit);
        state.wake();
        drop(state);
        self.changed.notify_all();
    }
}

impl Shared {
    pub(super) fn new(born: Born, watch: Event, answer: Duration) -> Shared {
        let Born { process, control, life, notes } = born;
        let book = Book {
            phase: Phase::Open,
            cards: HashMap::new(),
            last: 0,
            owed: 0,
            heard: Instant::now(),
            watched: false,
            condemned: None,
        };
        let (book, over, missed) = (Mutex::new(book), Condvar::new(), AtomicU32::new(0));
        Shared { process, control, life, notes, watch, answer, book, over, missed }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    pub(super) fn open_card(&self, card: &Arc<Card>) -> Result<u64, ZygoteError> {
        let mut book = self.book();
        self.refusal_by(&book)?;
        book.last += 1;
        let id = book.last;
        book.cards.insert(id, Arc::clone(card));
        Ok(id)
    }

    pub(super) fn drop_card(&self, id: u64) {
        self.book().cards.remove(&id);
    }

    /// Why there are no more workers from this zygote, if so.
    pub(super) fn refusal(&self) -> Result<(), ZygoteError> {
        self.refusal_by(&self.book())
    }

    fn refusal_by(&self, book: &Book) -> Result<(), ZygoteError> {
        match (book.phase, book.condemned) {
            (Phase::Over(end @ End { asked: false, .. }), verdict) => Err(self.why(end, verdict)),
            (Phase::Closing | Phase::Over(_), _) => Err(ZygoteError::Closed),
            (Phase::Open, Some(verdict)) => Err(self.sentence(verdict)),
            (Phase::Open, None) => Ok(()),
        }
    }

    pub(super) fn why_it_ended(&self, end: End) -> ZygoteError {
        self.why(end, self.book().condemned)
    }

    fn why(&self, end: End, verdict: Option<Verdict>) -> ZygoteError {
        match (end.ending, verdict) {
            (None, _) => ZygoteError::Undead,
            (Some(_), Some(verdict)) => self.sentence(verdict),
            (Some(ending), None) => ZygoteError::Lost { ending },
        }
    }

    fn sentence(&self, verdict: Verdict) -> ZygoteError {
        match verdict {
            Verdict::Silent => ZygoteError::Stuck(self.answer),
            Verdict::Mute => ZygoteError::Mute { times: MISSED },
        }
    }

    /// Kills the zygote; its workers go with it. The listener sees to the rest.
    pub(super) fn condemn(&self, verdict: Verdict) {
        self.book().condemned.get_or_insert(verdict);
        // What cannot be killed is found out by the listener.
        let _ = self.process.signal(Signal::KILL);
    }

    pub(super) fn said_hello(&self) {
        self.missed.store(0, Ordering::Relaxed);
    }

    pub(super) fn missed_hello(&self) {
        if self.missed.fetch_add(1, Ordering::Relaxed) + 1 >= MISSED {
            self.condemn(Verdict::Mute);
        }
    }

    /// Whether this call is the one to say it to the zygote.
    pub(super) fn begin_closing(&self) -> bool {
        let mut book = self.book();
        let first = matches!(book.phase, Phase::Open);
        if first {
            book.phase = Phase::Closing;
        }
        first
    }

    pub(super) fn await_end(&self, bound: Duration) -> Option<End> {
        let waited =
            self.over.wait_timeout_while(self.book(), bound, |book| !matches!(book.phase, Phase::Over(_)));
        match waited.unwrap_or_else(PoisonError::into_inner).0.phase {
            Phase::Over(end) => Some(end),
            Phase::Open | Phase::Closing => None,
        }
    }

    /// Sends a request. Waits for room while the zygote lives: one that is slow, but reports, is waited for, and
    /// one that is silent the listener kills.
    pub(super) fn send(
        &self,
        request: &Request<'_>,
        carry: Option<&dyn Descriptor>,
    ) -> Result<(), ZygoteError> {
        self.owe();
        let sent = self.deliver(request, carry);
        if sent.is_err() {
            self.answered();
        }
        sent
    }

    fn deliver(&self, request: &Request<'_>, carry: Option<&dyn Descriptor>) -> Result<(), ZygoteError> {
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
                    let bound = 2 * self.answer;
                    let ready = poll(&mut watches, Some(bound)).map_err(call("poll"))?;
                    // The listener has killed it by then: it does not go.
                    if ready == 0 && self.silence().is_some_and(|silence| silence >= bound) {
                        return Err(self.lost());
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
        let end = self.await_end(2 * STUCK);
        end.map_or(ZygoteError::Undead, |end| self.why_it_ended(end))
    }

    /// A request is about to be sent: its answer is owed from now on.
    fn owe(&self) {
        let mut book = self.book();
        if book.owed == 0 {
            book.heard = Instant::now();
        }
        book.owed += 1;
        if !book.watched {
            book.watched = true;
            // It can refuse only if it was never made.
            let _ = self.watch.set();
        }
    }

    fn answered(&self) {
        let mut book = self.book();
        book.owed = book.owed.saturating_sub(1);
    }

    /// Whether the listener has to count the time.
    pub(super) fn is_watched(&self) -> bool {
        self.book().watched
    }

    /// For how long nothing was heard although an answer is owed. `None` if nothing is owed; then the listener
    /// need not count the time any more.
    pub(super) fn silence(&self) -> Option<Duration> {
        let mut book = self.book();
        book.watched = book.owed > 0;
        book.watched.then(|| book.heard.elapsed())
    }

    /// Whether it was killed by us.
    pub(super) fn is_condemned(&self) -> bool {
        self.book().condemned.is_some()
    }

    /// Whether no worker is left.
    pub(super) fn is_without_cards(&self) -> bool {
        self.book().cards.is_empty()
    }

    /// By the listener: what the zygote reported.
    pub(super) fn note(&self, reply: Reply) {
        let now = Instant::now();
        let mut book = self.book();
        book.heard = now;
        let answers = match &reply {
            Reply::Spawned { .. } | Reply::Done => true,
            Reply::Ended { exit, .. } => exit.is_spawn_failure(),
            Reply::Ready => false,
        };
        book.owed = book.owed.saturating_sub(u64::from(answers));
        match reply {
            Reply::Ready | Reply::Done => {}
            Reply::Spawned { id, pid } => {
                if let Some(card) = book.cards.get(&id) {
                    let mut state = lock(&card.state);
                    (state.pid, state.forked) = (Some(pid), Some(now));
                }
            }
            Reply::Ended { id, exit } => {
                let card = book.cards.remove(&id);
                drop(book);
                if let Some(card) = card {
                    card.strike(exit);
                }
            }
        }
    }

    /// By the listener: the zygote is gone. The cards that are left.
    pub(super) fn close_book(&self, ending: Option<Ending>, orderly: bool) -> HashMap<u64, Arc<Card>> {
        let mut book = self.book();
        let cards = std::mem::take(&mut book.cards);
        let asked = matches!(book.phase, Phase::Closing);
        let orderly = orderly && asked && cards.is_empty() && book.condemned.is_none();
        book.phase = Phase::Over(End { ending, asked, orderly });
        drop(book);
        self.over.notify_all();
        cards
    }

    /// Waits until the zygote and its workers have let go of everything.
    pub(super) fn await_vanishing(&self) {
        let _ = poll(&mut [Watch::new(&self.life, Interest::Read)], Some(VANISH));
    }
}

/// No code that can panic runs under these locks, so a poisoned one is as good as any.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
