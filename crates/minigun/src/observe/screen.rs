//! The terminal, on which bars are drawn and other things are written.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use indicatif::MultiProgress;

use crate::sync::Mutex;

/// What is drawn now, by whichever runs.
static DRAWN: Mutex<Vec<Weak<Screen>>> = Mutex::new(Vec::new());

/// Something else has the whole terminal: no bars are drawn meanwhile.
pub(crate) static TAKEN: AtomicBool = AtomicBool::new(false);

/// The bars of one run.
pub(crate) struct Screen(pub(crate) MultiProgress);

impl Screen {
    /// From now on, until it is dropped, [`aside`] makes room there.
    pub(crate) fn new(bars: MultiProgress) -> Arc<Screen> {
        let screen = Arc::new(Screen(bars));
        // No fork may catch the list locked.
        minigun_os::unforked(|| {
            let mut drawn = DRAWN.lock();
            drawn.retain(|screen| screen.strong_count() > 0);
            drawn.push(Arc::downgrade(&screen));
        });
        screen
    }
}

/// Runs `print`, which prints to the terminal, while no [progress](crate::Pipeline::progress) is drawn there: so that
/// what it prints stands above the bars, whole. Without bars it is just run.
///
/// Only what goes to a terminal needs it; bars are never in what is redirected. In a worker process there is nothing
/// to make room: what it prints to standard error comes to the program, which prints it so; its standard output is
/// the program's own, and should not be a terminal's while bars are drawn.
///
/// ```
/// minigun::aside(|| println!("3 files could not be read"));
/// ```
pub fn aside<R>(print: impl FnOnce() -> R) -> R {
    if minigun_os::in_worker() {
        return print();
    }
    let drawn = minigun_os::unforked(|| DRAWN.lock().iter().filter_map(Weak::upgrade).collect::<Vec<_>>());
    among(&drawn, print)
}

fn among<R>(drawn: &[Arc<Screen>], print: impl FnOnce() -> R) -> R {
    match drawn {
        [] => print(),
        [screen, others @ ..] => screen.0.suspend(|| among(others, print)),
    }
}
