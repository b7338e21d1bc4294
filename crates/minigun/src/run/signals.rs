//! SIGINT and SIGTERM, for a program that asked that they stop its run: the first stops it, the second kills.
//!
//! The signals' actions are `signal-hook`'s, so that several runs hear them, and handlers of the program's own
//! that were there before. For each run a thread waits on a socket into which the actions write.

#[cfg(unix)]
pub(super) use unix::{Signals, end_program};
#[cfg(all(unix, feature = "hud"))]
pub(super) use unix::{enter, is_kept, keep_default, leave, listening};

#[cfg(not(unix))]
pub(super) use elsewhere::{Signals, end_program};

#[cfg(unix)]
mod unix {
    use std::io::{self, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, LazyLock};
    use std::thread::{self, JoinHandle};

    use minigun_os::{Disposition, Signal, disposition};
    use signal_hook::low_level::{pipe, unregister};
    use signal_hook::{SigId, flag};

    use crate::defaults::GRACE;
    use crate::failure::StopCause;
    use crate::run::exit::code;
    use crate::run::handle::Handle;
    use crate::sync::Mutex;

    /// What the run writes into the socket at its end; signals write another byte.
    const OVER: u8 = 0;

    /// A run's ear for signals. Dropped, nothing of it is left: no thread, no descriptor.
    pub(in crate::run) struct Signals {
        actions: Vec<SigId>,
        tell: UnixStream,
        thread: Option<JoinHandle<()>>,
    }

    impl Signals {
        pub(in crate::run) fn listen(handle: &Handle) -> io::Result<Signals> {
            let (tell, ear) = UnixStream::pair()?;
            let last = Arc::new(AtomicUsize::new(0));
            let mut signals = Signals { actions: Vec::new(), tell, thread: None };
            enter();
            for signal in [Signal::INT, Signal::TERM] {
                let number = signal.number();
                match disposition(signal)? {
                    // Whoever started the program wants that: a job in the background is not interrupted.
                    Disposition::Ignored => continue,
                    Disposition::Default => keep_default(number)?,
                    Disposition::Handled => {}
                }
                // Actions run in this order: the number is there when the byte is.
                let value = number.unsigned_abs() as usize;
                signals.actions.push(flag::register_usize(number, Arc::clone(&last), value)?);
                signals.actions.push(pipe::register(number, signals.tell.try_clone()?)?);
            }
            let handle = handle.clone();
            let name = format!("{}-signals", handle.0.shared.name());
            signals.thread =
                Some(thread::Builder::new().name(name).spawn(move || watch(ear, &last, &handle))?);
            Ok(signals)
        }
    }

    impl Drop for Signals {
        fn drop(&mut self) {
            leave();
            for action in self.actions.drain(..) {
                unregister(action);
            }
            // The socket is full only of signals, any of which wakes the thread as well.
            let _ = self.tell.write_all(&[OVER]);
            if let Some(thread) = self.thread.take() {
                drop(thread.join());
            }
        }
    }

    /// The thread: the first signal stops the run, the second kills it; the third, or a run that is not over
    /// some time after the second, ends the program.
    fn watch(mut ear: UnixStream, last: &AtomicUsize, handle: &Handle) {
        let mut heard = 0;
        loop {
            let mut byte = [OVER];
            let read = ear.read(&mut byte);
            let number = last.load(Ordering::SeqCst) as i32;
            match read {
                Ok(1..) if byte[0] != OVER => heard += 1,
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => end_program(number),
            }
            match heard {
                1 => handle.0.shared.stop(StopCause::Signal(number)),
                2 => {
                    // A fork server that must be killed too is told by the run's own end.
                    let _ = handle.kill_workers(StopCause::Signal(number));
                    // The run ends by itself within `GRACE` if anybody waits for it.
                    if ear.set_read_timeout(Some(2 * GRACE)).is_err() {
                        end_program(number);
                    }
                }
                _ => end_program(number),
            }
        }
    }

    /// Ends the program at once, as if by that signal, whatever its threads hold: nothing is flushed, nothing
    /// is dropped. Workers see its end.
    pub(in crate::run) fn end_program(signal: i32) -> ! {
        #[cfg(feature = "hud")]
        crate::run::last_call::the_end();
        signal_hook::low_level::exit(code(signal).into())
    }

    /// Runs that listen now, and others.
    static LISTENING: Mutex<usize> = Mutex::new(0);

    /// No run listens: a signal whose action had been the default does what it did.
    static NOBODY: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

    /// Somebody listens from here on, until [`leave`].
    pub(in crate::run) fn enter() {
        let mut listening = LISTENING.lock();
        *listening += 1;
        NOBODY.store(false, Ordering::SeqCst);
    }

    pub(in crate::run) fn leave() {
        let mut listening = LISTENING.lock();
        *listening -= 1;
        NOBODY.store(*listening == 0, Ordering::SeqCst);
    }

    /// `signal-hook` never gives a signal back, and without actions it would do nothing any more: the default
    /// is acted out. Once for each signal: from then on it has a handler.
    pub(in crate::run) fn keep_default(signal: i32) -> io::Result<()> {
        flag::register_conditional_default(signal, Arc::clone(&NOBODY))?;
        KEPT.lock().push(signal);
        Ok(())
    }

    /// Signals whose default is acted out.
    static KEPT: Mutex<Vec<i32>> = Mutex::new(Vec::new());

    /// The signal's handler acts out its default where nobody listens.
    #[cfg(feature = "hud")]
    pub(in crate::run) fn is_kept(signal: i32) -> bool {
        KEPT.lock().contains(&signal)
    }

    /// How many listen now.
    #[cfg(feature = "hud")]
    pub(in crate::run) fn listening() -> usize {
        *LISTENING.lock()
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    use crate::run::handle::Handle;

    /// There are no signals to hear.
    pub(in crate::run) enum Signals {}

    impl Signals {
        pub(in crate::run) fn listen(_: &Handle) -> io::Result<Signals> {
            Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no signals"))
        }
    }

    pub(in crate::run) fn end_program(signal: i32) -> ! {
        std::process::exit(crate::run::exit::code(signal).into())
    }
}
