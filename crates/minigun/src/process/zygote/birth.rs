//! The zygote's own fork, from a program that may have threads, and its proof that it can work.
//!
//! In the child every lock that another thread held is held for ever. The guard of the fork keeps the standard
//! streams out of that; for the rest the child tries, one after the other, what workers will need, and notes
//! each step on a board shared with the program. If it hangs, the board names the lock; it is killed and
//! forked again, which nearly always meets the lock free.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use minigun_os::{
    ChildSignals, Control, Ending, ForkGuard, Interest, Pid, Process, Signal, SingleThreaded, Socket, Watch,
    child, close_engine_fds_except, fork, kill, poll, reap, supported,
};

use super::message::{BATCH, RECORD, Reply};
use super::notes::Notes;
use super::server::{REFUSED, serve};
use super::{WorkerMain, ZygoteError};
use crate::panics::note_panics;

/// How long each birth may take; after the last one the birth has failed.
const PATIENCE: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// How long a killed child may take to be gone.
const DYING: Duration = Duration::from_secs(5);

/// A zygote that said it is ready.
pub(super) struct Born {
    pub(super) process: Process,
    pub(super) control: Control,
    /// Reads the end when the zygote and all its workers are gone: each holds the other end while it lives.
    pub(super) life: Socket,
    pub(super) notes: Arc<Notes>,
}

impl Born {
    /// It is not wanted any more.
    pub(super) fn abandon(self) {
        let _ = self.process.signal(Signal::KILL);
        let _ = self.process.wait(Some(DYING));
    }
}

/// Forks until one is ready, in at most 10 s (half of each patience more goes to the standard streams). `inside` runs in
/// each, first of all.
pub(super) fn birth(name: &str, worker: &WorkerMain, inside: &dyn Fn()) -> Result<Born, ZygoteError> {
    supported().map_err(ZygoteError::Unsupported)?;
    let notes = Arc::new(Notes::new().map_err(call("mmap"))?);
    for patience in PATIENCE {
        notes.step(0);
        if let Some(born) = attempt(name, worker, inside, &notes, patience)? {
            return Ok(born);
        }
    }
    Err(ZygoteError::Hung { times: PATIENCE.len(), suspect: suspect(&notes) })
}

/// One birth; `None` if the child hung. It is gone then.
fn attempt(
    name: &str,
    worker: &WorkerMain,
    inside: &dyn Fn(),
    notes: &Arc<Notes>,
    patience: Duration,
) -> Result<Option<Born>, ZygoteError> {
    let (control, their_control) = Control::pair().map_err(call("socketpair"))?;
    let (life, their_life) = Socket::pair(None).map_err(call("socketpair"))?;
    let program = Pid::current();
    let guard = ForkGuard::take(patience / 2).map_err(call("preparing the fork"))?;
    let pid = fork(guard, move |alone| {
        inside();
        let ends = Ends { control: their_control, life: their_life };
        zygote_main(&alone, name, ends, program, worker, notes)
    })
    .map_err(call("fork"))?;
    let process = Process::open(pid).map_err(|source| {
        // Without a handle the number must do: the child is ours and was not reaped yet, unless the program
        // leaves its children to the kernel; then an error here means that it has ended.
        if source.raw_os_error() != Some(ESRCH) {
            let _ = kill(pid, Signal::KILL);
        }
        let _ = reap(pid, true);
        ZygoteError::Call { what: "pidfd_open", source }
    })?;
    let outcome = await_ready(&control, &process, patience);
    if let Ok(Outcome::Ready) = outcome {
        return Ok(Some(Born { process, control, life, notes: Arc::clone(notes) }));
    }
    let _ = process.signal(Signal::KILL);
    let _ = process.wait(Some(DYING));
    match outcome? {
        Outcome::Ended(ending) => Err(match notes.refusal() {
            Some((index, source)) => {
                ZygoteError::Call { what: CALLS.get(usize::from(index)).copied().unwrap_or("a call"), source }
            }
            None => ZygoteError::Stillborn { ending, suspect: suspect(notes) },
        }),
        Outcome::Ready | Outcome::Silent => Ok(None),
    }
}

const ESRCH: i32 = 3;

enum Outcome {
    Ready,
    Silent,
    Ended(Ending),
}

fn await_ready(control: &Control, process: &Process, patience: Duration) -> Result<Outcome, ZygoteError> {
    let mut watches = [Watch::new(control, Interest::Read), Watch::new(process, Interest::Read)];
    if poll(&mut watches, Some(patience)).map_err(call("poll"))? == 0 {
        return Ok(Outcome::Silent);
    }
    let mut message = [0; BATCH * RECORD];
    match control.try_recv(&mut message) {
        Ok((length, _)) if Reply::decode(&message[..length]) == Some(Reply::Ready) => Ok(Outcome::Ready),
        // The end of its socket comes a little before its own.
        _ => {
            Ok(process.wait(Some(patience)).map_err(call("waitid"))?.map_or(Outcome::Silent, Outcome::Ended))
        }
    }
}

/// The descriptors that the zygote keeps.
struct Ends {
    control: Control,
    life: Socket,
}

/// The zygote's life. Its handlers and streams are set up once, here, for all workers.
fn zygote_main(
    alone: &SingleThreaded,
    name: &str,
    ends: Ends,
    program: Pid,
    worker: &WorkerMain,
    notes: &Notes,
) -> i32 {
    let Ends { control, life } = ends;
    close_engine_fds_except(alone, &[&control, &life]);
    life.keep_for_life();
    match prepare(name, program, notes) {
        Ok((program, children, alone)) => serve(control, program, children, &alone, (worker, notes)),
        Err((index, error)) => {
            notes.refused(index, &error);
            REFUSED
        }
    }
}

/// Sets the zygote up; the index of a call that was refused, and how.
fn prepare(
    name: &str,
    program: Pid,
    notes: &Notes,
) -> Result<(Process, ChildSignals, SingleThreaded), (u8, io::Error)> {
    // Handle first, parent second: if the parent is still the same then, the handle is on the program.
    let program_handle = Process::open(program).map_err(refused(0))?;
    // The thread that forks waits until this is done: until then, whatever hangs here ends with the program.
    if !child::die_with_parent(program).map_err(refused(6))? {
        return Err((1, io::ErrorKind::NotFound.into()));
    }
    child::set_title(&format!("mg:{name}"));
    // Its group are the workers that have not got one of their own yet. One that hangs before that, in a handler
    // that other code runs at a fork, does not even die with its parent: it is killed with the group.
    child::own_process_group().map_err(refused(5))?;
    child::reset_signal_handlers();
    // The terminal's Ctrl-C is the program's business, and a worker that prints must not be stopped because
    // its process group is in the background.
    child::ignore_signal(Signal::INT);
    child::ignore_signal(Signal::TTOU);
    child::null_stdin().map_err(refused(2))?;
    prove(notes);
    // By now nothing of the program's, such as a handler run at the fork, may have started a thread.
    let alone = SingleThreaded::prove().map_err(refused(3))?;
    let children = ChildSignals::new().map_err(refused(4))?;
    // From now on it sees the program's end by itself, whichever of its threads ends before.
    child::outlive_parent().map_err(refused(6))?;
    Ok((program_handle, children, alone))
}

fn refused(index: u8) -> impl FnOnce(io::Error) -> (u8, io::Error) {
    move |error| (index, error)
}

/// What can be refused to a zygote that sets itself up; the notes hold the index.
const CALLS: [&str; 7] = [
    "pidfd_open",
    "getppid (the program is gone)",
    "open(/dev/null)",
    "reading /proc/self/task",
    "signalfd",
    "setpgid",
    "prctl(PR_SET_PDEATHSIG)",
];

/// What is tried, in the order of trying; the board holds the index.
const STEPS: [&str; 8] = [
    "what it inherited (a handler that other code runs at a fork)",
    "the memory allocator",
    "standard output",
    "standard error",
    "the environment",
    "the unwinder (the loader's lock)",
    "the lock under which backtraces are made (a panic was just being printed)",
    "the panic hook (a panic was just being printed)",
];

fn suspect(notes: &Notes) -> &'static str {
    STEPS.get(usize::from(notes.last_step())).copied().unwrap_or(STEPS[0])
}

fn prove(notes: &Notes) {
    let at = |index: u8| notes.step(index);
    at(1);
    let mut kept = BTreeMap::new();
    for power in 4..20 {
        // What is not written to is no page that every fork would have to copy.
        kept.insert(power, black_box(Vec::<u32>::with_capacity(1 << power)));
    }
    drop(black_box(kept));
    at(2);
    let _ = io::stdout().lock().flush();
    at(3);
    let _ = io::stderr().lock().flush();
    at(4);
    black_box(std::env::var_os("MINIGUN_PROOF"));
    at(5);
    if cfg!(panic = "unwind") {
        let _ = catch_unwind(AssertUnwindSafe(|| resume_unwind(Box::new(()))));
    }
    // The first value with a destructor has the loader look the registering function up, under its lock. Done here, no
    // worker has to.
    thread_local!(static DROPPED: Vec<u8> = const { Vec::new() });
    DROPPED.with(|value| black_box(value.len()));
    at(6);
    // A panic in a worker is printed under this lock, and with backtraces on it is held for long. Capturing
    // takes it, and does not resolve symbols, which would take long here too.
    drop(black_box(Backtrace::force_capture()));
    at(7);
    // Here, once, for all workers.
    note_panics();
}

/// Names the call that failed.
pub(super) fn call(what: &'static str) -> impl FnOnce(io::Error) -> ZygoteError {
    move |source| ZygoteError::Call { what, source }
}
