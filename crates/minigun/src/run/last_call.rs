//! A signal that is about to end the program, for somebody who has something to put right before that.
//!
//! Only signals whose default ends the program, and only as long as nobody else listens for them: a run that
//! handles signals decides about SIGINT and SIGTERM itself.

#[cfg(unix)]
pub(crate) use unix::LastCall;

#[cfg(not(unix))]
pub(crate) use elsewhere::LastCall;

use std::sync::OnceLock;

/// What is put right before the engine ends the program.
static BEFORE_THE_END: OnceLock<fn()> = OnceLock::new();

/// `f` is called before the engine ends the program at once. The first that is given stays.
pub(crate) fn before_the_end(f: fn()) {
    BEFORE_THE_END.get_or_init(|| f);
}

/// The engine ends the program now.
pub(super) fn the_end() {
    if let Some(f) = BEFORE_THE_END.get() {
        f();
    }
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, LazyLock};

    use minigun_os::{Disposition, Signal, disposition};
    use signal_hook::low_level::{emulate_default_handler, unregister};
    use signal_hook::{SigId, flag};

    use crate::run::signals;
    use crate::sync::Mutex;

    /// An ear for such signals: it notes them. Dropped, they do again what they did.
    pub(crate) struct LastCall {
        actions: Vec<SigId>,
        last: Arc<AtomicUsize>,
    }

    const HUP: Signal = Signal::new(1);
    const QUIT: Signal = Signal::new(3);

    /// Those that no run ever handles: somebody listens for them, and their default is acted out where nobody does.
    static LISTENING: Mutex<usize> = Mutex::new(0);
    static NOBODY: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));
    static KEPT: Mutex<Vec<i32>> = Mutex::new(Vec::new());

    impl LastCall {
        /// From here on until it is dropped, these signals end the program only by [`end`](Self::end).
        pub(crate) fn listen() -> io::Result<LastCall> {
            let mut call = LastCall { actions: Vec::new(), last: Arc::new(AtomicUsize::new(0)) };
            signals::enter();
            enter();
            for signal in [Signal::INT, Signal::TERM, HUP, QUIT] {
                let of_runs = signal == Signal::INT || signal == Signal::TERM;
                let number = signal.number();
                match disposition(signal)? {
                    Disposition::Ignored => continue,
                    Disposition::Default if of_runs => signals::keep_default(number)?,
                    Disposition::Default => {
                        flag::register_conditional_default(number, Arc::clone(&NOBODY))?;
                        KEPT.lock().push(number);
                    }
                    Disposition::Handled if of_runs && signals::is_kept(number) => {}
                    Disposition::Handled if KEPT.lock().contains(&number) => {}
                    // The program's own business.
                    Disposition::Handled => continue,
                }
                let value = number.unsigned_abs() as usize;
                call.actions.push(flag::register_usize(number, Arc::clone(&call.last), value)?);
            }
            Ok(call)
        }

        /// A signal came that would end the program.
        pub(crate) fn has_heard(&self) -> bool {
            self.heard().is_some()
        }

        fn heard(&self) -> Option<i32> {
            let number = self.last.load(Ordering::SeqCst) as i32;
            let of_runs = [Signal::INT, Signal::TERM].iter().any(|signal| signal.number() == number);
            // A run that handles them does so. This one listens, too.
            if of_runs && signals::listening() > 1 {
                self.last.store(0, Ordering::SeqCst);
                return None;
            }
            (number != 0).then_some(number)
        }

        /// Listens no more; the signal that came until now and would end the program.
        pub(crate) fn over(mut self) -> Option<i32> {
            for action in self.actions.drain(..) {
                unregister(action);
            }
            self.heard()
        }

        /// Ends the program as that signal does by default.
        pub(crate) fn end(signal: i32) {
            drop(emulate_default_handler(signal));
        }
    }

    impl Drop for LastCall {
        fn drop(&mut self) {
            for action in self.actions.drain(..) {
                unregister(action);
            }
            signals::leave();
            let mut listening = LISTENING.lock();
            *listening -= 1;
            NOBODY.store(*listening == 0, Ordering::SeqCst);
        }
    }

    fn enter() {
        let mut listening = LISTENING.lock();
        *listening += 1;
        NOBODY.store(false, Ordering::SeqCst);
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    /// There are no signals to hear.
    pub(crate) struct LastCall;

    impl LastCall {
        pub(crate) fn listen() -> io::Result<LastCall> {
            Ok(LastCall)
        }

        pub(crate) fn has_heard(&self) -> bool {
            false
        }

        pub(crate) fn over(self) -> Option<i32> {
            None
        }

        pub(crate) fn end(_: i32) {}
    }
}
