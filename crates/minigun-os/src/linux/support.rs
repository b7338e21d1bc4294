//! Whether the kernel lets us do what worker processes need: tried once, and the refused call named.

use std::io;
use std::sync::OnceLock;

use super::board::Board;
use super::control::Control;
use super::event::Event;
use super::process::Process;
use super::signals::{set_of, signalfd};
use super::socket::Socket;
use super::{poll::timespec, procfs};
use crate::pid::Pid;

/// Whether this system can run worker processes. Tried once per process, without a fork, in well under a
/// millisecond; whatever is opened for it is closed again.
///
/// A shortage that may pass (of descriptors, of memory) is no answer: it is met, and named, where the call is
/// made in earnest.
///
/// # Errors
/// `Unsupported`, naming the call that was refused and how, e.g. under a seccomp filter.
pub fn supported() -> io::Result<()> {
    static TRIED: OnceLock<Option<String>> = OnceLock::new();
    let tried = match TRIED.get() {
        Some(tried) => tried,
        None => match attempt() {
            Err((_, error)) if is_shortage(&error) => return Ok(()),
            Err((call, error)) => {
                TRIED.get_or_init(|| Some(format!("worker processes need {call}: {error}")))
            }
            Ok(()) => TRIED.get_or_init(|| None),
        },
    };
    match tried {
        None => Ok(()),
        Some(refused) => Err(io::Error::new(io::ErrorKind::Unsupported, refused.clone())),
    }
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// Makes every call once; the one that was refused.
fn attempt() -> Result<(), (&'static str, io::Error)> {
    let named = |call: &'static str| move |error: io::Error| (call, error);
    procfs::threads().map_err(named("/proc/self/task"))?;
    let (stream, _other) = Socket::pair(None).map_err(named("socketpair(SOCK_STREAM)"))?;
    let (here, there) = Control::pair().map_err(named("socketpair(SOCK_SEQPACKET)"))?;
    here.try_send(b"?", Some(&stream)).map_err(named("sendmsg(SCM_RIGHTS)"))?;
    there.try_recv(&mut [0; 1]).map_err(named("recvmsg(SCM_RIGHTS)"))?;
    Event::new().and_then(|event| event.set()).map_err(named("eventfd"))?;
    Board::new(1, 0).map_err(named("mmap(MAP_SHARED)"))?;
    Process::open(Pid::current()).map_err(named("pidfd_open"))?;
    signalfd(&set_of(libc::SIGUSR1)).map_err(named("signalfd"))?;
    rustix::process::parent_process_death_signal().map_err(|e| named("prctl(PR_GET_PDEATHSIG)")(e.into()))?;
    rustix::event::poll(&mut [], Some(&timespec(std::time::Duration::ZERO)))
        .map_err(|e| named("ppoll")(e.into()))?;
    Ok(())
}
