//! The loop inside the zygote: fork on request, kill on request, reap, report; and go when the program goes.
//!
//! It waits for three things at once: a request, the end of a child, the end of the
//! program. Replies travel together where they can. Nothing here starts a thread.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use minigun_os::{
    ChildSignals, Control, EngineFd, Interest, Pid, Process, Signal, SingleThreaded, Socket, Watch, child,
    close_engine_fds_except, ended_child, fork_worker, kill, kill_group, poll, reap,
};

use super::message::{self, BATCH, RECORD, Request};
use super::{Seat, WorkerMain};

/// Exit code of the zygote: all requests done, all workers reaped.
pub(super) const ORDERLY: i32 = 0;
/// Exit code of the zygote: the program is gone.
const PROGRAM_GONE: i32 = 90;
/// Exit code of the zygote: the kernel refused something it cannot work without.
pub(super) const REFUSED: i32 = 91;
/// Exit code of a worker that could not be set up, or whose zygote died at once.
const NOT_SET_UP: i32 = 92;

/// How long the news that a worker was made may wait for company: the program needs it for display only, and a
/// worker that lives less long is then reported in one message, which spares a wake-up per worker.
const COMPANY: Duration = Duration::from_millis(1);

/// Requests taken in one round before the ended are looked after.
const ROUND: usize = 16;

/// Serves until told to close or until the program is gone; the zygote's exit code.
pub(super) fn serve(control: Control, program: Process, alone: &SingleThreaded, worker: &WorkerMain) -> i32 {
    let children = match ChildSignals::new() {
        Ok(children) => children,
        Err(_) => return REFUSED,
    };
    let mut server = Server {
        control,
        program,
        children,
        alone,
        worker,
        here: Pid::current(),
        ids: BTreeMap::new(),
        pids: BTreeMap::new(),
        replies: Vec::with_capacity(BATCH * RECORD),
        urgent: true,
        close_by: None,
    };
    server.reply(message::ready());
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
    here: Pid,
    /// Living workers (ended ones until they are reaped): by number, and by process.
    pids: BTreeMap<u64, Pid>,
    ids: BTreeMap<Pid, u64>,
    replies: Vec<u8>,
    /// Whether one of the replies must go out now.
    urgent: bool,
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
            if self.urgent || self.replies.len() >= BATCH * RECORD {
                self.flush()?;
            }
            if self.close_by.is_some() && self.pids.is_empty() {
                return Ok(());
            }
            let deadline = self.close_by.flatten();
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let mut watches = [
                Watch::new(&self.control, Interest::Read),
                Watch::new(&self.children, Interest::Read),
                Watch::new(&self.program, Interest::Read),
            ];
            let company = (!self.replies.is_empty()).then_some(COMPANY);
            if poll(&mut watches, left.into_iter().chain(company).min())? == 0 {
                self.urgent = true;
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
                Request::Spawn { id, block, slot, title } => self.spawn(id, block, slot, &title, carried),
                Request::Signal { id, signal } => {
                    if let Some(pid) = self.pids.get(&id) {
                        signal_with_group(*pid, signal);
                    }
                }
                Request::Close { grace } => self.close_by = Some(Instant::now().checked_add(grace)),
            }
        }
        Ok(())
    }

    fn spawn(&mut self, id: u64, block: u32, slot: u32, title: &str, carried: Option<EngineFd>) {
        let Some(socket) = carried.map(Socket::from).filter(|_| self.close_by.is_none()) else {
            // A descriptor is lost when this process has no room for one more.
            const EMFILE: i32 = 24;
            self.urgent = true;
            self.reply(message::spawn_failed(id, EMFILE));
            return;
        };
        let (here, worker) = (self.here, self.worker);
        let forked = fork_worker(self.alone, move |alone| {
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
                self.urgent = true;
                self.reply(message::spawn_failed(id, error.raw_os_error().unwrap_or(0)));
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
                self.urgent = true;
                self.reply(message::ended(id, &reaped));
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

    fn reply(&mut self, record: [u8; RECORD]) {
        self.replies.extend_from_slice(&record);
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
        self.urgent = false;
        Ok(())
    }
}

/// A worker may be younger than its own process group; then it alone is enough.
fn signal_with_group(pid: Pid, signal: Signal) {
    if kill_group(pid, signal).is_err() {
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
