//! The worker: receive, run, send back, until there is no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use minigun_os::{Interest, Pid, Socket, Watch, child, poll, procfs};

use super::board::{Claims, Slabs};
use super::courtesy::Courtesy;
use super::frame::{self, Fields, FrameError, Kind, Reader};
use super::limits;
use super::outbox::{Lost, Outbox};
use super::protocol::{self, ItemRun, Work};
use super::term::Term;
use crate::apart::{Lent, Shelf};
use crate::codec::Format;
use crate::failure::{Failure, FailureKind};
use crate::graph::{BlockId, StageId};
use crate::journal;
use crate::meter::{self, Meter, Waits};
use crate::plan::hooks::ForkHook;
use crate::plan::{Recycle, WorkerLimits};
use crate::shared::Shared;
use crate::stage::attempt::{Attempt, guarded};
use crate::stage::exit::{Carrier, WireOut};
use crate::stage::sink::{Cx, MakeSink};
use crate::stats;
use crate::wire::{WireFns, codec_failure};
use crate::working::Working;

/// What every worker of a block runs, made before the fork.
pub(crate) struct WorkerProgram<T> {
    pub(crate) block: BlockId,
    /// The stage on which the block's books are kept.
    pub(crate) stage: StageId,
    pub(crate) name: Arc<str>,
    pub(crate) head: MakeSink<T>,
    pub(crate) wire: WireFns<T>,
    pub(crate) format: Format,
    /// The block's own hooks, behind the pipeline's.
    pub(crate) after_fork: Vec<ForkHook>,
    /// Long runs of its results travel apart. Where results wait for their turn they must not: what waits would keep
    /// the room from those that come before it.
    pub(crate) lends: bool,
    /// When the worker ends by itself.
    pub(crate) recycle: Recycle,
    /// It serves one item, and may have been forked long before there is one.
    pub(crate) fresh: bool,
    pub(crate) limits: WorkerLimits,
    /// Its items have a deadline: the program must know when each was begun.
    pub(crate) timed: bool,
    /// The block's name, if its workers stop for a debugger.
    pub(crate) debugged: Option<Arc<str>>,
}

/// A worker program without its item type.
pub(crate) trait Serve: Send + Sync {
    /// Serves until there is no more, or the program is gone; gives the exit code.
    fn serve(&self, socket: Socket, claims: &Claims, run: &Arc<Shared>, after_fork: &[ForkHook]) -> i32;
}

/// For a shorter item it is not worth a worker's while to go to a core of its own.
const LONG: Duration = Duration::from_micros(300);

/// The worker ended as it should.
const ORDERLY: i32 = 0;
/// The program is gone, or what it sends makes no sense.
const CUT_OFF: i32 = 2;

impl<T: Send + 'static> Serve for WorkerProgram<T> {
    fn serve(&self, socket: Socket, claims: &Claims, run: &Arc<Shared>, after_fork: &[ForkHook]) -> i32 {
        let socket = Arc::new(socket);
        let mut reader = if self.fresh { Reader::of_one_frame() } else { Reader::default() };
        if self.fresh {
            if claims.expected() >= LONG {
                // Its neighbours are at work on theirs, and the core of the worker before it is about to be free.
                child::visit_core(claims.slot());
            }
            if !awaited(&socket, &mut reader) {
                return ORDERLY;
            }
        }
        claims.is_process(Some(Pid::current()));
        let (shelf, lent) = self.apart(claims);
        match self.start(&socket, run, after_fork, lent).and_then(|ready| match ready {
            Some((attempt, out)) => self.serve_items((&socket, reader), claims, attempt, &out, shelf),
            None => Ok(ORDERLY),
        }) {
            Ok(code) => code,
            Err(_) => CUT_OFF,
        }
    }
}

/// Waits for the first bytes of its item: until then nothing of the user's runs, and the board is another worker's.
/// `false` if there is to be none.
fn awaited(socket: &Socket, reader: &mut Reader) -> bool {
    let received = socket.read(reader.room()).unwrap_or(0);
    reader.received(received);
    received > 0
}

type Ready<T> = (Attempt<T>, std::rc::Rc<WireOut>);

impl<T: Send + 'static> WorkerProgram<T> {
    /// Says hello, runs the hooks, builds the steps; `None` if that failed and was reported.
    fn start(
        &self,
        socket: &Socket,
        run: &Arc<Shared>,
        hooks: &[ForkHook],
        lent: Option<Lent>,
    ) -> Result<Option<Ready<T>>, Lost> {
        if let Some(block) = &self.debugged {
            limits::await_debugger(block);
        }
        if !self.fresh {
            // One that is fresh has its number on the board, which says as much.
            send(socket, Kind::Hello, 0, &[])?;
        }
        // For the worker's whole life.
        std::mem::forget(run.enter(self.stage, 0));
        // A run may have been started inside an attempt of another one.
        journal::leave_behind();
        stats::take_misuse();
        let out = WireOut::new(self.format, lent);
        let cx = Cx::new(run, &self.name, Some((self.block, Carrier::Wire(std::rc::Rc::clone(&out)))));
        cx.tx.add(std::rc::Rc::clone(&out) as _);
        // For the worker's whole life: it has no other journal.
        std::mem::forget(cx.tx.journal.enter());
        let journal = std::rc::Rc::clone(&cx.tx.journal);
        let limited = limits::limit(self.limits);
        let hooked = limited.and_then(|()| {
            guarded(|| hooks.iter().chain(&self.after_fork).try_for_each(|hook| hook()))
                .map_err(Failure::of_hook)
        });
        let built = hooked.and_then(|()| Attempt::new(Arc::clone(&self.head), cx)).and_then(|attempt| {
            journal.commit();
            let entries = journal.take();
            // The program sees on the board that a fresh one has begun its item: that it is ready then need not be said.
            if self.fresh && !self.timed && entries.is_empty() {
                return Ok((attempt, None));
            }
            let mut bytes = Vec::new();
            protocol::encode_journal(entries, Work::default(), &mut bytes)?;
            Ok((attempt, Some(bytes)))
        });
        match built {
            Ok((attempt, bytes)) => {
                if let Some(bytes) = bytes {
                    send(socket, Kind::Ready, 0, &bytes)?;
                }
                Ok(Some((attempt, out)))
            }
            Err(failure) => {
                send(socket, Kind::Unready, 0, &protocol::encode_failure(&failure))?;
                Ok(None)
            }
        }
    }

    fn serve_items(
        &self,
        (socket, mut reader): (&Arc<Socket>, Reader),
        claims: &Claims,
        mut attempt: Attempt<T>,
        out: &WireOut,
        mut shelf: Shelf,
    ) -> Result<i32, Lost> {
        let mut outbox = Outbox::new(socket);
        let mut term = Term::new(self.recycle);
        let mut meter = Meter::new(attempt.cx.run.clock(), None);
        let mut courtesy = Courtesy::default();
        'life: loop {
            if !reader.has_frame() {
                let wait = meter::wait(Waits::ForInput);
                let received = next_bytes(socket, reader.room())?;
                drop(wait);
                if received == 0 {
                    return Ok(CUT_OFF);
                }
                reader.received(received);
                continue;
            }
            let Some(frame) = reader.next()? else { continue };
            match frame.kind {
                Kind::Items => {
                    let (mut index, mut items) = (frame.number, Fields(frame.payload));
                    let mut run = ItemRun::default();
                    let first = index;
                    while run.count > 0 || !items.is_empty() {
                        if run.count == 0 {
                            run = protocol::next_items(&mut items)?;
                        }
                        let item = items.block()?;
                        let at = Working::Item { item: run.number, attempt: run.attempt };
                        run.number += 1;
                        run.count -= 1;
                        let busy = !items.is_empty() || frame.more;
                        if claims.claim(index) {
                            if self.timed {
                                claims.begin(Instant::now());
                            }
                            let outcome = self.item(&mut attempt, item, &mut shelf, at);
                            if outcome.is_err() {
                                // What a panic left behind is let go.
                                attempt.cx.tx.flush();
                            }
                            // Before its result is sent: a death from here on is not this item's doing.
                            claims.done(index);
                            if self.timed {
                                claims.rest();
                            }
                            let due = meter.item();
                            outbox.add(index, outcome, out, &attempt.cx.tx.journal, busy)?;
                            if due {
                                outbox.timed(self.stage, &mut meter);
                            }
                            term.served();
                        } else {
                            outbox.passed(index + 1, busy)?;
                        }
                        index += 1;
                        if term.is_over() {
                            outbox.timed(self.stage, &mut meter);
                            outbox.flush()?;
                            if !self.fresh {
                                // What it does not begin is for others, and its hooks have a bound from now on.
                                send(socket, Kind::End, 0, &[])?;
                            }
                            break 'life;
                        }
                    }
                    outbox.timed(self.stage, &mut meter);
                    if index == first + 1 && !frame.more && !self.fresh {
                        courtesy.give_way();
                    }
                    if frame.more { outbox.flush_full()? } else { outbox.flush()? }
                }
                Kind::End => break,
                _ => return Err(FrameError::Content("a frame that only workers send").into()),
            }
        }
        outbox.flush()?;
        let journal = std::rc::Rc::clone(&attempt.cx.tx.journal);
        let finished = attempt.finish();
        journal.commit();
        let mut bye = Vec::new();
        let mut journaled = Ok(());
        protocol::block(&mut bye, |bytes| {
            let mut entries = journal.take();
            entries.timed(self.stage, meter.take());
            let work = Work { peak: procfs::peak_memory().unwrap_or(0), ..Work::default() };
            journaled = protocol::encode_journal(entries, work, bytes);
        })?;
        if let Err(failure) = finished.and(journaled) {
            bye.extend_from_slice(&protocol::encode_failure(&failure));
        }
        send(socket, Kind::Bye, 0, &bye)?;
        Ok(ORDERLY)
    }

    /// Where the long runs of items are found, and those of results are put.
    fn apart(&self, claims: &Claims) -> (Shelf, Option<Lent>) {
        let Some(Slabs { items, results }) = claims.slabs() else { return (Shelf::default(), None) };
        let claims = claims.clone();
        let lent = self.lends.then(|| Lent::new(results, move || claims.runs_read()));
        (Shelf::new(Some(items)), lent)
    }

    #[inline]
    fn item(
        &self,
        attempt: &mut Attempt<T>,
        bytes: &[u8],
        shelf: &mut Shelf,
        at: Working,
    ) -> Result<(), Failure> {
        let decode = || (self.wire.decode_apart)(self.format, bytes, shelf).map_err(codec_failure);
        attempt.run_decoded(decode, at)?;
        if let Some(misuse) = stats::take_misuse() {
            attempt.cx.tx.undo();
            return Err(Failure::new(FailureKind::Error, misuse));
        }
        let journal = &attempt.cx.tx.journal;
        // A value that cannot travel fails its item here, where that is still possible.
        if let Err(failure) = journal.check_values() {
            attempt.cx.tx.undo();
            return Err(failure);
        }
        journal.commit();
        Ok(())
    }
}

/// Waits for bytes. Not in a read: whoever waits in one is also woken when the other end has taken what was sent to it.
fn next_bytes(socket: &Socket, room: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match socket.try_read(room) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                poll(&mut [Watch::new(socket, Interest::Read)], None)?;
            }
            read => return read,
        }
    }
}

fn send(socket: &Socket, kind: Kind, number: u64, payload: &[u8]) -> Result<(), Lost> {
    Ok(socket.write_all(&frame::frame(kind, number, payload)?)?)
}
