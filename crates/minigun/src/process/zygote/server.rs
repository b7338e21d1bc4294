//! The loop inside the zygote: fork on request, signal on request, reap, report; and go when the program goes.
//!
//! It waits for three things at once: a request, the end of a child, the end of the
//! program. Replies travel together where they can. Nothing here starts a thread.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use minigun_os::{
    ChildSignals, Control, Ending, EngineFd, Interest, Pid, Process, Signal, SingleThreaded, Socket, Watch,
    child, close_engine_fds_except, ended_child, fork_worker, kill, kill_group, poll, reap,
};

use super::message::{self, BATCH, RECORD, Request};
use super::notes::Notes;
use super::{Seat, WorkerMain};

/// Exit code of the zygote: all requests done, all workers reaped.
pub(super) const ORDERLY: i32 = 0;
/// Exit code of the zygote: the program is gone.
const PROGRAM_GONE: i32 = 90;
/// Exit code of the zygote: the kernel refused something it cannot work without.
pub(super) const REFUSED: i32 = 91;
/// Exit code of a worker that could not be set up, or whose zygote died at once.
const NOT_SET_UP: i32 = 92;

/// How long the news that a worker was made, or left as it should, may wait for company: the program does not wait
/// for it, and short-lived workers are then reported in one message, which spares two wake-ups per worker. Not longer,
/// whatever there is to do: a zygote that is busy forking must be heard.
const COMPANY: Duration = Duration::from_millis(10);

/// Requests taken in one round before the ended are looked after.
const ROUND: usize = 16;

/// Serves until told to close or until the program is gone; the zygote's exit code.
pub(super) fn serve(
    control: Control,
    program: Process,
    children: ChildSignals,
    alone: &SingleThreaded,
    (worker, notes): (&WorkerMain, &Notes),
) -> i32 {
    let mut server = Server {
        control,
        program,
        children,
        alone,
        worker,
        notes,
        here: Pid::current(),
        ids: BTreeMap::new(),
        pids: BTreeMap::new(),
        replies: Vec::with_capacity(BATCH * RECORD),
        due: None,
        close_by: None,
    };
    server.reply_now(message::ready());
    let outcome = server.run();
    server.kill_all();
    match outcome {
        Ok(()) => ORDERLY,
        Err(Stop::ProgramGone) => PROGRAM_GONE,
        Err(Stop::Refused) => REFUSED,
    }
}

struct Server<'a> {
    control: Control,
    program: Process,
    children: ChildSignals,
    alone: &'a SingleThreaded,
    worker: &'a WorkerMain,
    notes: &'a Notes,
    here: Pid,
    /// Living workers (ended ones until they are reaped): by number, and by process.
    pids: BTreeMap<u64, Pid>,
    ids: BTreeMap<Pid, u64>,
    replies: Vec<u8>,
    /// When the replies must go out, if there are any.
    due: Option<Instant>,
    /// Set by a request to close: no more workers; the deadline, until it has struck.
    close_by: Option<Option<Instant>>,
}

/// Why the loop ends without having been asked.
enum Stop {
    ProgramGone,
    Refused,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Stop {
        Stop::Refused
    }
}

impl Server<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        loop {
            self.flush_what_is_due()?;
            if self.close_by.is_some() && self.pids.is_empty() {
                return self.flush();
            }
            let deadline = self.close_by.flatten();
            let until = [deadline, self.due].into_iter().flatten().min();
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            let mut watches = [
                Watch::new(&self.control, Interest::Read),
                Watch::new(&self.children, Interest::Read),
                Watch::new(&self.program, Interest::Read),
            ];
            if poll(&mut watches, left)? == 0 {
                if deadline.is_some_and(|at| at <= Instant::now()) {
                    self.close_by = Some(None);
                    self.kill_all();
                }
                continue;
            }
            let [requests, ended, gone] = watches.map(|watch| watch.is_ready());
            if gone {
                return Err(Stop::ProgramGone);
            }
            if requests {
                self.take_requests()?;
            }
            if ended {
                self.children.drain()?;
                self.reap()?;
            }
        }
    }

    fn take_requests(&mut self) -> Result<(), Stop> {
        let mut message = [0; RECORD];
        for _ in 0..ROUND {
            let (length, carried) = match self.control.try_recv(&mut message) {
                Ok((0, _)) => return Err(Stop::ProgramGone),
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Stop::ProgramGone);
                }
                Err(error) => return Err(error.into()),
            };
            match Request::decode(&message[..length]).ok_or(Stop::Refused)? {
                Request::Spawn { id, block, slot, title } => self.spawn(id, block, slot, title, carried),
                Request::Signal { id, signal } => {
                    if let Some(pid) = self.pids.get(&id) {
                        signal_with_group(*pid, signal);
                    }
                    self.reply(message::done());
                }
                Request::Close { grace } => {
                    self.close_by = Some(Instant::now().checked_add(grace));
                    self.reply(message::done());
                }
            }
            self.flush_what_is_due()?;
        }
        Ok(())
    }

    fn spawn(&mut self, id: u64, block: u32, slot: u32, title: &str, carried: Option<EngineFd>) {
        let Some(socket) = carried.map(Socket::from).filter(|_| self.close_by.is_none()) else {
            // A descriptor is lost when this process has no room for one more.
            const EMFILE: i32 = 24;
            self.reply_now(message::spawn_failed(id, EMFILE));
            return;
        };
        let (here, worker, notes) = (self.here, self.worker, self.notes);
        let forked = fork_worker(self.alone, move |alone| {
            notes.born(id, Pid::current());
            if !become_worker(here, title, &socket, &alone) {
                return NOT_SET_UP;
            }
            worker(Seat { block, slot, socket })
        });
        match forked {
            Ok(pid) => {
                self.pids.insert(id, pid);
                self.ids.insert(pid, id);
                self.reply(message::spawned(id, pid));
            }
            Err(error) => {
                self.reply_now(message::spawn_failed(id, error.raw_os_error().unwrap_or(0)));
            }
        }
    }

    /// Takes every ended child off the books, and with it what is left of its process group: as long as the
    /// leader is not reaped the group's number cannot belong to anybody else.
    fn reap(&mut self) -> Result<(), Stop> {
        while let Some(pid) = ended_child()? {
            let _ = kill_group(pid, Signal::KILL);
            let Some(reaped) = reap(pid, false)? else { break };
            if let Some(id) = self.ids.remove(&pid) {
                self.pids.remove(&id);
                let record = message::ended(id, &reaped);
                // Who said goodbye is not waited for.
                if reaped.ending == Ending::Code(0) {
                    self.reply(record)
                } else {
                    self.reply_now(record)
                }
                if self.replies.len() >= BATCH * RECORD {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    fn kill_all(&self) {
        for pid in self.pids.values() {
            signal_with_group(*pid, Signal::KILL);
        }
    }

    /// A reply that may wait for company.
    fn reply(&mut self, record: [u8; RECORD]) {
        self.replies.extend_from_slice(&record);
        self.due.get_or_insert_with(|| Instant::now() + COMPANY);
    }

    fn reply_now(&mut self, record: [u8; RECORD]) {
        self.replies.extend_from_slice(&record);
        self.due = Some(Instant::now());
    }

    fn flush_what_is_due(&mut self) -> Result<(), Stop> {
        let due = self.due.is_some_and(|due| due <= Instant::now());
        if due || self.replies.len() >= BATCH * RECORD { self.flush() } else { Ok(()) }
    }

    /// Sends the replies; waits for room if need be, but not longer than the program lives.
    fn flush(&mut self) -> Result<(), Stop> {
        for part in self.replies.chunks(BATCH * RECORD) {
            loop {
                match self.control.try_send(part, None) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let mut watches = [
                            Watch::new(&self.control, Interest::Write),
                            Watch::new(&self.program, Interest::Read),
                        ];
                        poll(&mut watches, None)?;
                        if watches[1].is_ready() {
                            return Err(Stop::ProgramGone);
                        }
                    }
                    Err(_) => return Err(Stop::ProgramGone),
                }
            }
        }
        self.replies.clear();
        self.due = None;
        Ok(())
    }
}

/// The group has the worker in it, unless the worker is younger than its group, or went to another one; to be
/// killed twice does no harm, to be asked twice might.
fn signal_with_group(pid: Pid, signal: Signal) {
    if kill_group(pid, signal).is_err() || signal == Signal::KILL {
        let _ = kill(pid, signal);
    }
}

/// The child's first steps. What is not here (handlers, ignored signals, standard input) was done once in the
/// zygote and is inherited. First of all it makes sure not to outlive the zygote.
fn become_worker(zygote: Pid, title: &str, socket: &Socket, alone: &SingleThreaded) -> bool {
    if !child::die_with_parent(zygote).unwrap_or(false) {
        return false;
    }
    close_engine_fds_except(alone, &[socket]);
    child::set_title(title);
    child::own_process_group().is_ok() && child::unblock_all_signals().is_ok()
}
