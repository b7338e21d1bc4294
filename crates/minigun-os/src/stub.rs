//! The same face where there is no fork: everything that would make something answers `Unsupported`, and the
//! types cannot exist, so their methods have nothing to do.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::time::Duration;

use crate::ending::{Ending, Reaped};
use crate::oom::OomKills;
use crate::pid::{Pid, Signal};

/// What no value can be made of.
#[derive(Debug, Clone, Copy)]
enum Never {}

fn refuse<T>(call: &str) -> io::Result<T> {
    let text = format!("worker processes need {call}, which this system (or this build) does not offer");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// A type without values: a name, the constructors that refuse, the methods that cannot be called.
macro_rules! absent {
    ($(#[doc = $doc:literal])+ $name:ident {
        $(make $make:ident($($arg:ident: $type:ty),*) -> $made:ty, $call:literal;)*
        $(fn $method:ident(self$(: $self_type:ty)?$(, $parameter:ident: $of:ty)*) -> $result:ty;)*
    }) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $name(Never);

        #[allow(clippy::missing_errors_doc, reason = "each says the same")]
        impl $name {
            $(
                /// Refuses.
                pub fn $make($(_: $type),*) -> io::Result<$made> {
                    refuse($call)
                }
            )*
            $(
                /// Cannot be called.
                pub fn $method(self$(: $self_type)?$(, _: $of)*) -> $result {
                    match self.0 {}
                }
            )*
        }
    };
}

macro_rules! descriptor {
    ($($name:ident)+) => {$(
        impl Descriptor for $name {
            fn engine_fd(&self) -> &EngineFd {
                match self.0 {}
            }
        }
    )+};
}

absent! {
    /// The file before it is mapped.
    DataFile {
        make new(folder: &std::path::Path) -> DataFile, "O_TMPFILE";
        fn append(self: &mut Self, bytes: &[u8]) -> io::Result<()>;
        fn map(self) -> io::Result<Data>;
    }
}

absent! {
    /// What was written, mapped for reading.
    Data {
        fn bytes(self: &Self) -> &[u8];
    }
}

absent! {
    /// Everything held around one [`fork`].
    ForkGuard {
        make take(patience: Duration) -> ForkGuard, "fork";
        fn holds_streams(self: &Self) -> bool;
    }
}
absent! {
    /// Proof that this process has one thread.
    SingleThreaded {
        make prove() -> SingleThreaded, "/proc/self/task";
    }
}
absent! {
    /// A descriptor of the engine.
    EngineFd {
        fn number(self: &Self) -> i32;
        fn keep_for_life(self: Self) -> ();
        fn keep_in_children(self: &Self) -> ();
    }
}
absent! {
    /// The end of a pipe that is read.
    PipeReader {
        fn try_read(self: &Self, into: &mut [u8]) -> io::Result<usize>;
    }
}
absent! {
    /// The end of a pipe that is written to.
    PipeWriter {
        fn keep_in_children(self: &Self) -> ();
    }
}
absent! {
    /// One end of a stream of bytes.
    Socket {
        make pair(buffer: Option<usize>) -> (Socket, Socket), "socketpair";
        fn read(self: &Self, into: &mut [u8]) -> io::Result<usize>;
        fn try_read(self: &Self, into: &mut [u8]) -> io::Result<usize>;
        fn write(self: &Self, bytes: &[u8]) -> io::Result<usize>;
        fn try_write(self: &Self, bytes: &[u8]) -> io::Result<usize>;
        fn write_vectored(self: &Self, parts: &[IoSlice<'_>], wait: bool) -> io::Result<usize>;
        fn write_all(self: &Self, bytes: &[u8]) -> io::Result<()>;
        fn shutdown_write(self: &Self) -> io::Result<()>;
        fn shutdown(self: &Self, how: Shutdown) -> io::Result<()>;
        fn keep_for_life(self: Self) -> ();
    }
}
absent! {
    /// One end of a message socket.
    Control {
        make pair() -> (Control, Control), "socketpair";
        fn try_send(self: &Self, message: &[u8], carry: Option<&dyn Descriptor>) -> io::Result<()>;
        fn try_recv(self: &Self, into: &mut [u8]) -> io::Result<(usize, Option<EngineFd>)>;
    }
}
absent! {
    /// A wake-up that can be polled.
    Event {
        make new() -> Event, "eventfd";
        fn set(self: &Self) -> io::Result<()>;
        fn clear(self: &Self) -> io::Result<bool>;
    }
}
absent! {
    /// Memory shared with workers.
    Board {
        make new(words: usize, bytes: usize) -> Board, "a shared anonymous mapping";
        fn words(self: &Self) -> &[AtomicU64];
        fn bytes(self: &Self) -> &[AtomicU8];
    }
}
absent! {
    /// Memory through which bytes pass from one process to another.
    Slab {
        make make(count: usize, size: usize) -> Vec<Slab>, "a shared anonymous mapping";
        fn size(self: &Self) -> usize;
        fn seal(self: &mut Self) -> io::Result<()>;
        fn write(self: &mut Self, at: usize, bytes: &[u8]) -> bool;
        fn read(self: &mut Self, range: std::ops::Range<usize>, into: &mut Vec<u8>) -> bool;
        fn clear(self: &mut Self) -> io::Result<()>;
    }
}
absent! {
    /// A flag that children can wait for.
    Flag {
        make new() -> Flag, "a shared anonymous mapping";
        fn raise(self: &Self) -> ();
        fn wait(self: &Self) -> io::Result<()>;
    }
}
absent! {
    /// Readable when a child has ended.
    ChildSignals {
        make new() -> ChildSignals, "signalfd";
        fn drain(self: &Self) -> io::Result<()>;
    }
}
absent! {
    /// A handle on one process.
    Process {
        make open(pid: Pid) -> Process, "pidfd_open";
        fn pid(self: &Self) -> Pid;
        fn signal(self: &Self, signal: Signal) -> io::Result<()>;
        fn wait(self: &Self, bound: Option<Duration>) -> io::Result<Option<Ending>>;
    }
}
descriptor!(EngineFd PipeReader PipeWriter Socket Control Event ChildSignals Process);

/// Something that is one engine descriptor.
pub trait Descriptor {
    /// The descriptor.
    fn engine_fd(&self) -> &EngineFd;
}

impl From<EngineFd> for Socket {
    fn from(fd: EngineFd) -> Socket {
        match fd.0 {}
    }
}

impl io::Read for &Socket {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl io::Write for &Socket {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

/// What one entry of a [`poll`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read.
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
    /// Only the other end's death.
    Death,
}

/// One entry of a [`poll`].
#[derive(Debug)]
pub struct Watch<'a>(Option<&'a EngineFd>);

impl<'a> Watch<'a> {
    /// Watches a descriptor.
    pub fn new(descriptor: &'a dyn Descriptor, _interest: Interest) -> Watch<'a> {
        Watch(Some(descriptor.engine_fd()))
    }

    /// Nothing is ever found.
    pub fn standard_error() -> Watch<'static> {
        Watch(None)
    }

    /// Never.
    pub fn is_ready(&self) -> bool {
        match self.0 {
            Some(fd) => match fd.0 {},
            None => false,
        }
    }

    /// Never.
    pub fn readable(&self) -> bool {
        match self.0 {
            Some(fd) => match fd.0 {},
            None => false,
        }
    }

    /// Never.
    pub fn writable(&self) -> bool {
        match self.0 {
            Some(fd) => match fd.0 {},
            None => false,
        }
    }

    /// Never.
    pub fn hung_up(&self) -> bool {
        match self.0 {
            Some(fd) => match fd.0 {},
            None => false,
        }
    }
}

/// Refuses.
///
/// # Errors
/// Always `Unsupported`.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    refuse("pipe")
}

/// Refuses.
///
/// # Errors
/// Always `Unsupported`.
pub fn poll(_: &mut [Watch<'_>], _timeout: Option<Duration>) -> io::Result<usize> {
    refuse("poll")
}

/// Refuses.
///
/// # Errors
/// Always `Unsupported`.
pub fn supported() -> io::Result<()> {
    refuse("fork")
}

/// Cannot be called.
///
/// # Errors
/// Always `Unsupported`.
pub fn fork(guard: ForkGuard, _child: impl FnOnce(SingleThreaded) -> i32) -> io::Result<Pid> {
    match guard.0 {}
}

/// Cannot be called.
///
/// # Errors
/// Always `Unsupported`.
pub fn fork_worker(alone: &SingleThreaded, _child: impl FnOnce(SingleThreaded) -> i32) -> io::Result<Pid> {
    match alone.0 {}
}

/// Never: there are no workers.
pub fn in_worker() -> bool {
    false
}

/// Runs `f`: nothing forks.
pub fn unforked<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Cannot be called.
pub fn close_engine_fds_except(alone: &SingleThreaded, _keep: &[&dyn Descriptor]) {
    match alone.0 {}
}

/// Refuses.
///
/// # Errors
/// Always `Unsupported`.
pub fn kill(_pid: Pid, _signal: Signal) -> io::Result<()> {
    refuse("kill")
}

/// Refuses.
///
/// # Errors
/// Always `Unsupported`.
pub fn kill_group(_leader: Pid, _signal: Signal) -> io::Result<()> {
    refuse("kill")
}

/// Refuses.
///
/// # Errors
/// Always `Unsupported`.
pub fn ended_child() -> io::Result<Option<Pid>> {
    refuse("waitid")
}

/// Refuses.
///
/// # Errors
/// Always `Unsupported`.
pub fn reap_any() -> io::Result<Option<Reaped>> {
    refuse("wait4")
}

/// Refuses.
///
/// # Errors
/// Always `Unsupported`.
pub fn reap(_pid: Pid, _wait: bool) -> io::Result<Option<Reaped>> {
    refuse("wait4")
}

/// What a forked child does to itself; there is none.
#[allow(clippy::missing_errors_doc, reason = "each says the same")]
pub mod child {
    use super::{Duration, Pid, PipeWriter, Signal, io, refuse};

    /// Does nothing.
    pub fn reset_signal_handlers() {}

    /// Not known here.
    pub fn parent() -> Option<Pid> {
        None
    }

    /// Does nothing.
    pub fn ignore_signal(_signal: Signal) {}

    /// Refuses.
    pub fn unblock_all_signals() -> io::Result<()> {
        refuse("pthread_sigmask")
    }

    /// Refuses.
    pub fn null_stdin() -> io::Result<()> {
        refuse("dup2")
    }

    /// Cannot be called.
    pub fn redirect_stderr(into: &PipeWriter) -> io::Result<()> {
        match into.0 {}
    }

    /// Refuses.
    pub fn limit_memory(_extra: u64) -> io::Result<()> {
        refuse("setrlimit")
    }

    /// Refuses.
    pub fn limit_cpu(_time: Duration) -> io::Result<()> {
        refuse("setrlimit")
    }

    /// Refuses.
    pub fn nice(_add: i32) -> io::Result<()> {
        refuse("setpriority")
    }

    /// There are no children.
    pub fn visit_core(_index: usize) {}

    /// Does nothing.
    pub fn allow_debugger() {}

    /// Refuses.
    pub fn own_process_group() -> io::Result<()> {
        refuse("setpgid")
    }

    /// Refuses.
    pub fn die_with_parent(_parent: Pid) -> io::Result<bool> {
        refuse("prctl")
    }

    /// Refuses.
    pub fn outlive_parent() -> io::Result<()> {
        refuse("prctl")
    }

    /// Does nothing.
    pub fn set_title(_title: &str) {}
}

/// What `/proc` says; there is none.
#[allow(clippy::missing_errors_doc, reason = "each says the same")]
pub mod procfs {
    use std::path::PathBuf;

    use super::{OomKills, Pid, io, refuse};

    /// Refuses.
    pub fn threads() -> io::Result<usize> {
        refuse("/proc")
    }

    /// Refuses.
    pub fn open_fds() -> io::Result<Vec<(i32, PathBuf)>> {
        refuse("/proc")
    }

    /// Refuses.
    pub fn fds_of(_pid: Pid) -> io::Result<Vec<(i32, PathBuf)>> {
        refuse("/proc")
    }

    /// Refuses.
    pub fn children_of(_parent: Pid) -> io::Result<Vec<Pid>> {
        refuse("/proc")
    }

    /// Refuses.
    pub fn resident_memory(_: Pid) -> io::Result<u64> {
        refuse("/proc")
    }

    /// Refuses.
    pub fn peak_memory() -> io::Result<u64> {
        refuse("/proc")
    }

    /// Refuses.
    pub fn private_memory() -> io::Result<u64> {
        refuse("/proc")
    }

    /// Refuses.
    pub fn mapped_memory() -> io::Result<u64> {
        refuse("/proc")
    }

    /// Not known here.
    pub fn oom_kills() -> OomKills {
        OomKills::default()
    }

    /// Not known here.
    pub fn is_alive(_pid: Pid) -> bool {
        false
    }

    /// Not known here.
    pub fn group_of(_pid: Pid) -> Option<Pid> {
        None
    }

    /// Refuses.
    pub fn title(_pid: Pid) -> io::Result<String> {
        refuse("/proc")
    }
}

/// The frequent side's fence, between its write and its read.
#[derive(Clone, Copy, Debug, Default)]
pub struct LightFence(());

impl LightFence {
    /// A full fence here.
    pub fn new() -> Self {
        LightFence(())
    }

    /// Orders what was written before it ahead of what is read after it, as seen by a thread that makes a
    /// [`heavy_fence`] between its own two.
    #[inline]
    pub fn fence(self) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }
}

/// The rare side's fence.
pub fn heavy_fence() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
