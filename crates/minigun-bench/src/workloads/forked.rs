//! Hand-written forks, as the contestants without a library use them.

use std::io;
use std::os::unix::net::UnixStream;

use minigun_os::{Pid, SingleThreaded, fork_worker};

use crate::contest::BoxError;

/// Forks a child that runs `f` and ends.
pub(crate) fn child(alone: &SingleThreaded, f: impl FnOnce() -> Result<(), BoxError>) -> io::Result<Pid> {
    fork_worker(alone, |_| match f() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("minigun-bench: a forked child: {error}");
            1
        }
    })
}

/// Forks a child that runs `f` with the other end of a new stream. Children forked later have this end, too: with
/// several, the stream ends for a child when this side is shut down, not when it is dropped.
pub(crate) fn with_stream(f: impl FnOnce(UnixStream) -> Result<(), BoxError>) -> io::Result<UnixStream> {
    let (here, there) = UnixStream::pair()?;
    let mut here = Some(here);
    child(&SingleThreaded::prove()?, || {
        // The child's own copy of it.
        drop(here.take());
        f(there)
    })?;
    here.ok_or_else(|| io::Error::other("the child's side came back"))
}
