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
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use minigun_os::{
    Board, Control, Ending, ForkGuard, Interest, Pid, PipeWriter, Process, Signal, SingleThreaded, Socket,
    Watch, child, close_engine_fds_except, fork, kill, poll, reap, supported,
};

use super::message::{BATCH, RECORD, Reply};
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
}

/// Forks until one is ready, in at most 10 s (half of each patience more goes to the standard streams).
pub(super) fn birth(name: &str, worker: &WorkerMain, kept: &[PipeWriter]) -> Result<Born, ZygoteError> {
    supported().map_err(ZygoteError::Unsupported)?;
    let board = Board::new(0, 1).map_err(call("mmap"))?;
    let step = &board.bytes()[0];
    for patience in PATIENCE {
        step.store(0, Ordering::Relaxed);
        if let Some(born) = attempt(name, worker, kept, step, patience)? {
            return Ok(born);
        }
    }
    Err(ZygoteError::Hung { times: PATIENCE.len(), suspect: suspect(step) })
}

/// One birth; `None` if the child hung. It is gone then.
fn attempt(
    name: &str,
    worker: &WorkerMain,
    kept: &[PipeWriter],
    step: &AtomicU8,
    patience: Duration,
) -> Result<Option<Born>, ZygoteError> {
    let (control, their_control) = Control::pair().map_err(call("socketpair"))?;
    let (life, their_life) = Socket::pair(None).map_err(call("socketpair"))?;
    let program = Pid::current();
    let nested = minigun_os::in_worker();
    let guard = ForkGuard::take(patience / 2).map_err(call("preparing the fork"))?;
    let pid = fork(guard, move |alone| {
        kept.iter().for_each(PipeWriter::keep_in_children);
        let ends = Ends { control: their_control, life: their_life };
        zygote_main(&alone, name, ends, (program, nested), worker, step)
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
        return Ok(Some(Born { process, control, life }));
    }
    let _ = process.signal(Signal::KILL);
    let _ = process.wait(Some(DYING));
    match outcome? {
        Outcome::Ended(ending) => Err(ZygoteError::Stillborn { ending, suspect: suspect(step) }),
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
    (program, nested): (Pid, bool),
    worker: &WorkerMain,
    step: &AtomicU8,
) -> i32 {
    close_engine_fds_except(alone, &[&ends.control, &ends.life]);
    ends.life.keep_for_life();
    // Handle first, parent second: if the parent is still the same then, the handle is on the program.
    let Ok(program_handle) = Process::open(program) else { return REFUSED };
    if child::parent() != Some(program) {
        return REFUSED;
    }
    child::set_title(&format!("mg:{name}"));
    child::reset_signal_handlers();
    // The terminal's Ctrl-C is the program's business, and a worker that prints must not be stopped because
    // its process group is in the background.
    child::ignore_signal(Signal::INT);
    child::ignore_signal(Signal::TTOU);
    if child::null_stdin().is_err() {
        return REFUSED;
    }
    prove(step);
    // By now nothing of the program's, such as a handler run at the fork, may have started a thread.
    let Ok(alone) = SingleThreaded::prove() else { return REFUSED };
    // A program that is a worker itself is killed with its group. From now on this process sees its end, and
    // has more to do then than to die: its own workers have groups, too. Before, it must die with the group.
    if nested && child::own_process_group().is_err() {
        return REFUSED;
    }
    serve(ends.control, program_handle, &alone, worker)
}

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

fn suspect(step: &AtomicU8) -> &'static str {
    STEPS.get(usize::from(step.load(Ordering::Relaxed))).copied().unwrap_or(STEPS[0])
}

fn prove(step: &AtomicU8) {
    let at = |index: u8| step.store(index, Ordering::Relaxed);
    at(1);
    let mut kept = BTreeMap::new();
    for power in 4..20 {
        kept.insert(power, black_box(vec![power; 1 << power]));
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
