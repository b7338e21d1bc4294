//! Why a worker died: one value, made from its exit report and all that the engine knows besides.
//!
//! A cause claims no more than there is evidence for: a memory limit is named if the dying worker said so, a lack
//! of memory on the machine if the kernel has counted a kill.

use std::fmt;
use std::time::Duration;

use minigun_os::{OomKills, Signal, procfs};

use super::stderr::last_lines;
use super::zygote::{Exit, Status};
use crate::plan::WorkerLimits;
use crate::sync::Mutex;

/// Why a worker died.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pid: Option<u32>,
    how: How,
    /// Largest resident memory in bytes; 0: not known.
    peak: u64,
    /// The end of what it printed to standard error.
    last_words: String,
}

/// Why the engine killed a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killed {
    /// An item ran longer than its deadline.
    Deadline(Duration),
    /// It did not do in this time what it owed.
    Owed(&'static str, Duration),
    /// It closed its stream and went on.
    Mute,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Status(Status),
    /// It was told to end before it was killed: how it did.
    Overdue {
        limit: Duration,
        status: Status,
    },
    Killed(Killed),
    MemoryLimit {
        limit: u64,
        status: Status,
        said: String,
    },
    CpuLimit {
        limit: Duration,
        status: Status,
        used: Duration,
    },
    OutOfMemory {
        counted: String,
    },
    Unknown,
}

impl Cause {
    /// `exit` is what the fork server reported, `killed` why the engine sent a signal, if it did; `out_of_memory`
    /// is asked for evidence if nothing else explains a kill.
    pub(crate) fn of(
        pid: Option<u32>,
        exit: Option<&Exit>,
        killed: Option<Killed>,
        limits: WorkerLimits,
        last_words: String,
        out_of_memory: impl FnOnce() -> Option<String>,
    ) -> Cause {
        let how = match exit {
            None => How::Unknown,
            Some(exit) => how(exit, killed, limits, &last_words, out_of_memory),
        };
        Cause { pid, how, peak: exit.map_or(0, |exit| exit.max_rss), last_words }
    }

    /// At most so many of the last lines of its standard error, under a line that says so; `None` if there were
    /// none.
    pub(crate) fn words(&self, lines: usize) -> Option<String> {
        let words = last_lines(self.last_words.as_bytes(), lines);
        (!words.is_empty()).then(|| format!("its last words on standard error:\n{words}"))
    }

    /// The same for all deaths of one kind, to count them by.
    pub(crate) fn kind(&self) -> String {
        match &self.how {
            How::Status(Status::SpawnFailed(_)) => "could not be forked".to_string(),
            How::Status(status) => status.to_string(),
            How::Overdue { limit, .. } | How::Killed(Killed::Deadline(limit)) => {
                format!("deadline of {limit:?}")
            }
            How::Killed(Killed::Owed(what, time)) => format!("{what} within {time:?}"),
            How::Killed(Killed::Mute) => MUTE.to_string(),
            How::MemoryLimit { limit, .. } => format!("memory limit of {}", Bytes(*limit)),
            How::CpuLimit { limit, .. } => format!("CPU limit of {limit:?}"),
            How::OutOfMemory { .. } => "probably out of memory".to_string(),
            How::Unknown => UNKNOWN.to_string(),
        }
    }
}

const MUTE: &str = "closed its stream and did not end";
const UNKNOWN: &str = "ended, nobody could tell how";

fn how(
    exit: &Exit,
    killed: Option<Killed>,
    limits: WorkerLimits,
    last_words: &str,
    out_of_memory: impl FnOnce() -> Option<String>,
) -> How {
    let status = exit.status.clone();
    let signal = match status {
        Status::Signal(number) => Some(Signal::new(number)),
        _ => None,
    };
    match killed {
        // It may have ended in any way.
        Some(Killed::Deadline(limit)) => return How::Overdue { limit, status },
        Some(killed) if signal == Some(Signal::KILL) => return How::Killed(killed),
        _ => {}
    }
    let by = |signals: &[Signal]| signal.is_some_and(|signal| signals.contains(&signal));
    if let Some(limit) = limits.cpu
        && (by(&[Signal::XCPU]) || (by(&[Signal::KILL]) && exit.cpu >= limit))
    {
        return How::CpuLimit { limit, status, used: exit.cpu };
    }
    if let Some(limit) = limits.memory
        && by(&[Signal::ABRT, Signal::SEGV, Signal::KILL])
        && let Some(said) = refused_memory(last_words)
    {
        return How::MemoryLimit { limit, status, said };
    }
    if by(&[Signal::KILL])
        && let Some(counted) = out_of_memory()
    {
        return How::OutOfMemory { counted };
    }
    How::Status(status)
}

/// The line in which a dying program says that it got no memory: Rust's, C++'s, or that of a C library's error.
fn refused_memory(last_words: &str) -> Option<String> {
    let says = |line: &&str| {
        (line.contains("memory allocation of ") && line.contains(" failed"))
            || line.contains("std::bad_alloc")
            || line.contains("Cannot allocate memory")
    };
    last_words.lines().rev().find(says).map(|line| line.trim().to_string())
}

/// One line: the process, how it ended and why, its peak memory.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pid) = self.pid {
            write!(f, "process {pid} ")?;
        }
        match &self.how {
            How::Status(status) => write!(f, "{status}")?,
            How::Overdue { limit, status } => {
                write!(
                    f,
                    "was told to end, because its item ran longer than the deadline of {limit:?} ({status})"
                )?;
            }
            How::Killed(Killed::Deadline(limit)) => {
                write!(f, "was told to end, because its item ran longer than the deadline of {limit:?}")?;
            }
            How::Killed(Killed::Owed(what, time)) => {
                write!(f, "was killed by the engine, because it {what} within {time:?}")?;
            }
            How::Killed(Killed::Mute) => write!(f, "was killed by the engine, because it {MUTE}")?,
            How::MemoryLimit { limit, status, said } => {
                write!(f, "died of its memory limit of {} ({status}; it said `{said}`)", Bytes(*limit))?;
            }
            How::CpuLimit { limit, status, used } => {
                write!(f, "died of its CPU limit of {limit:?} ({status}; it had used {used:.2?})")?;
            }
            How::OutOfMemory { counted } => write!(
                f,
                "{}, probably because memory ran out: {counted}",
                Status::Signal(Signal::KILL.number())
            )?,
            How::Unknown => f.write_str(UNKNOWN)?,
        }
        if self.peak > 0 {
            write!(f, ", peak memory {}", Bytes(self.peak))?;
        }
        Ok(())
    }
}

/// A number of bytes, rounded up to a unit that can be read.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 20 => write!(f, "{} MiB", n.div_ceil(1 << 20)),
            n if n >= 1 << 10 => write!(f, "{} KiB", n.div_ceil(1 << 10)),
            n => write!(f, "{n} bytes"),
        }
    }
}

/// The kernel's counts of kills for want of memory, as far as a death has not been explained by them yet.
pub(crate) struct OomWatch(Mutex<OomKills>);

impl OomWatch {
    /// Begins with the counts of this moment.
    pub(crate) fn new() -> OomWatch {
        OomWatch(Mutex::new(procfs::oom_kills()))
    }

    /// Which count rose since, in words; one kill explains one death.
    pub(crate) fn evidence(&self) -> Option<String> {
        explained(&mut self.0.lock(), procfs::oom_kills())
    }
}

fn explained(seen: &mut OomKills, now: OomKills) -> Option<String> {
    for (whose, seen, now) in [
        ("its control group's", &mut seen.group, now.group),
        ("the machine's", &mut seen.machine, now.machine),
    ] {
        if let (Some(before), Some(after)) = (*seen, now)
            && after > before
        {
            *seen = Some(before + 1);
            return Some(format!("{whose} count of OOM kills rose from {before} to {after}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(status: Status) -> Exit {
        Exit { status, max_rss: 3 << 20, cpu: Duration::from_millis(1500) }
    }

    fn cause(
        status: Status,
        killed: Option<Killed>,
        limits: WorkerLimits,
        words: &str,
        oom: Option<&str>,
    ) -> Cause {
        let oom = oom.map(str::to_string);
        Cause::of(Some(7), Some(&exit(status)), killed, limits, words.to_string(), || oom)
    }

    const KILL: Status = Status::Signal(9);
    const ABORT: Status = Status::Signal(6);

    #[test]
    fn a_plain_death_is_told_by_signal_or_code_with_its_peak_memory() {
        let none = WorkerLimits::default();
        let code = cause(Status::Code(7), None, none, "", None);
        assert_eq!(code.to_string(), "process 7 left with code 7, peak memory 3 MiB");
        assert_eq!(code.kind(), "left with code 7");
        assert_eq!(cause(KILL, None, none, "", None).kind(), "killed by SIGKILL (9)");
        assert_eq!(Cause::of(None, None, None, none, String::new(), || None).to_string(), UNKNOWN);
    }

    #[test]
    fn a_memory_limit_is_named_only_if_the_worker_said_so() {
        let limits = WorkerLimits { memory: Some(64 << 20), ..WorkerLimits::default() };
        let words = "hello\nmemory allocation of 99 bytes failed\nstack: …";
        let named = cause(ABORT, None, limits, words, None);
        assert_eq!(
            named.to_string(),
            "process 7 died of its memory limit of 64 MiB (killed by SIGABRT (6); it said `memory allocation of 99 \
             bytes failed`), peak memory 3 MiB"
        );
        assert_eq!(named.kind(), "memory limit of 64 MiB");
        for (status, limits, words) in [
            (ABORT, limits, "assertion failed"),
            (ABORT, WorkerLimits::default(), words),
            (Status::Code(1), limits, words),
            (Status::Signal(15), limits, words),
        ] {
            let other = cause(status.clone(), None, limits, words, None).kind();
            assert_eq!(other, status.to_string(), "{words}");
        }
    }

    #[test]
    fn a_cpu_limit_is_named_by_its_signal_or_by_the_time_used() {
        let limits = WorkerLimits { cpu: Some(Duration::from_secs(1)), ..WorkerLimits::default() };
        assert_eq!(cause(Status::Signal(24), None, limits, "", None).kind(), "CPU limit of 1s");
        assert_eq!(cause(KILL, None, limits, "", None).kind(), "CPU limit of 1s", "it had used 1.5 s");
        let more = WorkerLimits { cpu: Some(Duration::from_secs(2)), ..WorkerLimits::default() };
        assert_eq!(cause(KILL, None, more, "", None).kind(), "killed by SIGKILL (9)");
        assert_eq!(
            cause(Status::Signal(24), None, WorkerLimits::default(), "", None).kind(),
            "killed by SIGXCPU (24)"
        );
    }

    #[test]
    fn what_the_engine_killed_is_its_own_doing() {
        let none = WorkerLimits::default();
        let deadline = Some(Killed::Deadline(Duration::from_secs(2)));
        for status in [KILL, Status::Signal(15), Status::Code(0)] {
            assert_eq!(cause(status, deadline, none, "", Some("a count rose")).kind(), "deadline of 2s");
        }
        let owed = Some(Killed::Owed("said no hello", Duration::from_secs(5)));
        assert_eq!(cause(KILL, owed, none, "", Some("a count rose")).kind(), "said no hello within 5s");
        assert_eq!(cause(ABORT, owed, none, "", None).kind(), "killed by SIGABRT (6)", "it was faster");
    }

    #[test]
    fn a_kill_by_nobody_known_is_a_lack_of_memory_if_the_kernel_counted_one() {
        let told = cause(KILL, None, WorkerLimits::default(), "", Some("a count rose"));
        assert_eq!(told.kind(), "probably out of memory");
        let text = told.to_string();
        assert!(text.contains("SIGKILL (9), probably because memory ran out: a count rose"), "{text}");
        assert_eq!(
            cause(ABORT, None, WorkerLimits::default(), "", Some("a count rose")).kind(),
            "killed by SIGABRT (6)"
        );
    }

    #[test]
    fn one_counted_kill_explains_one_death() {
        let mut seen = OomKills { group: Some(3), machine: Some(10) };
        let now = OomKills { group: Some(5), machine: Some(10) };
        let said = "its control group's count of OOM kills rose from 3 to 5";
        assert_eq!(explained(&mut seen, now).as_deref(), Some(said));
        assert!(explained(&mut seen, now).is_some());
        assert_eq!(explained(&mut seen, now), None);
        let mut seen = OomKills { group: None, machine: Some(10) };
        let later = OomKills { group: None, machine: Some(11) };
        assert!(explained(&mut seen, later).is_some_and(|said| said.starts_with("the machine's")));
        assert_eq!(explained(&mut OomKills::default(), later), None, "nothing to compare with");
    }
}
