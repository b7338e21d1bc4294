//! A process number, and the names of signals: plain values, the same on every system.

use std::fmt;

/// The number of a process: always above zero, so it can never mean "every process" to `kill`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(i32);

impl Pid {
    /// A process number that was received or stored; `None` unless it is one (1 to 2³¹ - 1).
    pub fn new(number: u32) -> Option<Pid> {
        i32::try_from(number).ok().filter(|n| *n > 0).map(Pid)
    }

    /// The calling process. A forked child gets its own number, not its parent's.
    pub fn current() -> Pid {
        Pid(i32::try_from(std::process::id()).unwrap_or(i32::MAX))
    }

    /// The plain number.
    pub fn get(self) -> u32 {
        self.0.unsigned_abs()
    }

    /// As the C interfaces want it.
    #[cfg_attr(not(all(target_os = "linux", not(minigun_no_fork))), expect(dead_code, reason = "Linux only"))]
    pub(crate) fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({})", self.0)
    }
}

/// A signal by its Linux number; displays as `SIGSEGV (11)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

impl Signal {
    /// Hang-up of the terminal.
    pub const HUP: Signal = Signal(1);
    /// The terminal's Ctrl-C.
    pub const INT: Signal = Signal(2);
    /// `abort()`.
    pub const ABRT: Signal = Signal(6);
    /// Ends a process at once; cannot be caught.
    pub const KILL: Signal = Signal(9);
    /// A bad memory access.
    pub const SEGV: Signal = Signal(11);
    /// A polite request to end.
    pub const TERM: Signal = Signal(15);
    /// Continues a stopped process.
    pub const CONT: Signal = Signal(18);
    /// Stops a process; cannot be caught.
    pub const STOP: Signal = Signal(19);
    /// The limit of processor time was reached.
    pub const XCPU: Signal = Signal(24);
    /// Output of a background process to a terminal that forbids it.
    pub const TTOU: Signal = Signal(22);

    /// The signal of that number.
    pub const fn new(number: i32) -> Signal {
        Signal(number)
    }

    /// The plain number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The usual name (`SIGSEGV`), if the number has one.
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 31] = [
            "SIGHUP",
            "SIGINT",
            "SIGQUIT",
            "SIGILL",
            "SIGTRAP",
            "SIGABRT",
            "SIGBUS",
            "SIGFPE",
            "SIGKILL",
            "SIGUSR1",
            "SIGSEGV",
            "SIGUSR2",
            "SIGPIPE",
            "SIGALRM",
            "SIGTERM",
            "SIGSTKFLT",
            "SIGCHLD",
            "SIGCONT",
            "SIGSTOP",
            "SIGTSTP",
            "SIGTTIN",
            "SIGTTOU",
            "SIGURG",
            "SIGXCPU",
            "SIGXFSZ",
            "SIGVTALRM",
            "SIGPROF",
            "SIGWINCH",
            "SIGIO",
            "SIGPWR",
            "SIGSYS",
        ];
        usize::try_from(self.0).ok()?.checked_sub(1).and_then(|at| NAMES.get(at)).copied()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_displays_by_name_and_number() {
        assert_eq!(Signal::SEGV.to_string(), "SIGSEGV (11)");
        assert_eq!(Signal::new(31).to_string(), "SIGSYS (31)");
        assert_eq!(Signal::new(40).to_string(), "signal 40");
        assert_eq!(Signal::new(0).name(), None);
        assert_eq!(Signal::new(-3).name(), None);
    }

    #[test]
    fn a_pid_is_never_a_wildcard() {
        assert_eq!(Pid::new(0), None);
        assert_eq!(Pid::new(u32::MAX), None);
        assert_eq!(Pid::new(7).map(Pid::get), Some(7));
    }
}
