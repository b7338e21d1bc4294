//! What a forked child does to itself before it works. Each is one small step; the caller chooses.
//!
//! Steps whose effect children inherit (handlers, ignored signals, standard input) are done once in a fork
//! server and cost its workers nothing.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use rustix::process::{
    PTracer, Resource, Rlimit, getppid, nice as add_niceness, set_parent_process_death_signal, set_ptracer,
    setpgid, setrlimit,
};

use super::fd::Descriptor;
use super::memory::mapped_memory;
use super::pipe::PipeWriter;
use super::signals::{change_mask, empty_set};
use crate::pid::{Pid, Signal};

/// Puts every signal back to its default action, 1 to 64, but for `SIGPIPE`, which stays as it is unless it
/// has a handler: then it becomes ignored, as Rust programs have it. The mask is left alone.
pub fn reset_signal_handlers() {
    for signal in 1..=64 {
        // SAFETY: 1. Zeroed `sigaction` is valid plain data. 2. A null pointer for the new action asks only.
        let current = unsafe {
            let mut current: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut current) != 0 {
                continue; // one of the C library's own
            }
            current.sa_sigaction
        };
        let wanted = match signal {
            libc::SIGKILL | libc::SIGSTOP => continue,
            libc::SIGPIPE if current != libc::SIG_DFL => libc::SIG_IGN,
            _ => libc::SIG_DFL,
        };
        if current != wanted {
            set_disposition(signal, wanted);
        }
    }
}

/// The process that forked this one, or whoever took it over since; `None` if that is outside of this
/// process's namespace.
pub fn parent() -> Option<Pid> {
    getppid().and_then(|pid| Pid::new(pid.as_raw_nonzero().get().unsigned_abs()))
}

/// Ignores a signal, in this process and the children it makes from now on.
pub fn ignore_signal(signal: Signal) {
    set_disposition(signal.number(), libc::SIG_IGN);
}

/// Blocks no signal any more in the calling thread.
///
/// # Errors
/// What the kernel says to `pthread_sigmask`.
pub fn unblock_all_signals() -> io::Result<()> {
    change_mask(libc::SIG_SETMASK, &empty_set()).map(drop)
}

/// Reads from `/dev/null` instead of the program's standard input.
///
/// # Errors
/// What the kernel says to `open` or `dup2`.
pub fn null_stdin() -> io::Result<()> {
    let null = File::open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdin(null.as_fd())?)
}

/// Writes what is printed to standard error into a pipe instead.
///
/// # Errors
/// What the kernel says to `dup2`.
pub fn redirect_stderr(into: &PipeWriter) -> io::Result<()> {
    let fd = into.engine_fd().get()?;
    Ok(rustix::io::retry_on_intr(|| rustix::stdio::dup2_stderr(fd))?)
}

/// Limits the address space of this process to what it has mapped now and `extra` bytes more (`RLIMIT_AS`): what
/// it inherited does not count. Beyond that the kernel refuses to map more; stacks of threads and reservations
/// of the allocator count too.
///
/// # Errors
/// What reading `/proc/self/statm` or the kernel says to `setrlimit`: `EPERM` above an inherited limit.
pub fn limit_memory(extra: u64) -> io::Result<()> {
    let limit = mapped_memory()?.saturating_add(extra);
    Ok(setrlimit(Resource::As, Rlimit { current: Some(limit), maximum: Some(limit) })?)
}

/// Limits the processor time of this process (`RLIMIT_CPU`), in whole seconds, rounded up, at least one. At the
/// limit it gets `SIGXCPU`, and a second later, if it lives on, `SIGKILL`.
///
/// # Errors
/// What the kernel says to `setrlimit`: `EPERM` above an inherited limit.
pub fn limit_cpu(time: Duration) -> io::Result<()> {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1);
    let limit = Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(1)) };
    Ok(setrlimit(Resource::Cpu, limit)?)
}

/// Adds to the niceness of this process (more is less urgent); the sum is held within -20 and 19.
///
/// # Errors
/// What the kernel says to `setpriority`: `EPERM` or `EACCES` for a negative `add` without the privilege.
pub fn nice(add: i32) -> io::Result<()> {
    Ok(add_niceness(add).map(drop)?)
}

/// Goes to one of the cores that the calling thread may run on, the next index to the next core, and may leave it again
/// at once: if the thread sleeps there, the scheduler looks there first when it wakes. What the kernel refuses stays as it
/// was.
pub fn visit_core(index: usize) {
    let Ok(all) = sched_getaffinity(None) else { return };
    let Some(nth) = index.checked_rem(all.count() as usize) else { return };
    let Some(core) = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).nth(nth) else { return };
    let mut one = CpuSet::new();
    one.set(core);
    if all.count() > 1 && sched_setaffinity(None, &one).is_ok() {
        let _ = sched_setaffinity(None, &all);
    }
}

/// Lets a debugger attach that is no ancestor of this process, where a security module forbids that otherwise.
pub fn allow_debugger() {
    // Without such a module the kernel knows no such request, and a debugger needs none.
    let _ = set_ptracer(PTracer::Any);
}

/// Makes the calling process the leader of a process group of its own, which its own subprocesses join.
///
/// # Errors
/// What the kernel says to `setpgid`.
pub fn own_process_group() -> io::Result<()> {
    Ok(setpgid(None, None)?)
}

/// Has the kernel kill (SIGKILL) this process when the thread that forked it ends; `false` if the parent has
/// ended before that could be arranged: then leave at once.
///
/// # Errors
/// What the kernel says to `prctl`.
pub fn die_with_parent(parent: Pid) -> io::Result<bool> {
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(self::parent() == Some(parent))
}

/// Takes [`die_with_parent`] back.
///
/// # Errors
/// What the kernel says to `prctl`.
pub fn outlive_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(None)?)
}

/// The name shown by `ps` and `top`, cut to 15 bytes (at a character's border, and before any NUL).
pub fn set_title(title: &str) {
    let title = title.split('\0').next().unwrap_or_default();
    let mut end = title.len().min(15);
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = [0; 16];
    name[..end].copy_from_slice(&title.as_bytes()[..end]);
    if let Ok(name) = CStr::from_bytes_until_nul(&name) {
        // A title is a kindness to whoever looks; a kernel that refuses it changes nothing else.
        let _ = rustix::thread::set_name(name);
    }
}

fn set_disposition(signal: libc::c_int, disposition: libc::sighandler_t) {
    debug_assert!(disposition == libc::SIG_DFL || disposition == libc::SIG_IGN);
    // SAFETY: 1. Zeroed `sigaction` is valid plain data. 2. The action is SIG_DFL or SIG_IGN, so no code of
    // ours is installed as a handler.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = disposition;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}
