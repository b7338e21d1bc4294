//! A live view of a run on the terminal (feature `hud`): the graph with items flowing through it, a table of stages,
//! the workers, the last failures.
//!
//! ```no_run
//! # use minigun::Pipeline;
//! let p = Pipeline::new("squares");
//! p.source("numbers", 0..10_000_000u64)
//!     .processes(2, |s| s.map("square", |n| n.wrapping_mul(n)))
//!     .consumer("drop", |_| ());
//! let report = p.run_with_hud()?; // or `running.handle().hud()`, at any moment of a run
//! println!("{report}");
//! # Ok::<(), minigun::Error>(())
//! ```
#![doc = include_str!("../guide/hud.md")]

mod draw;
mod input;
mod layout;
mod lines;
mod model;
mod rates;
mod sample;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod ui;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::error::Error;
use crate::pipeline::Pipeline;
use crate::report::Report;
use crate::run::handle::Handle;
use crate::run::last_call;
use crate::sync::{Condvar, Mutex};
use sample::Sampler;
use terminal::Screen;

/// A view of a run, made by [`Handle::hud`]. Closing or dropping it gives the terminal back; the run goes on, and
/// can be viewed again.
///
/// It outlives the run and shows how that ended, until it is closed. It is a thread of the program.
#[must_use = "dropping the view closes it"]
pub struct Hud {
    control: Arc<Control>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// How a view hears that it is to close.
#[derive(Default)]
struct Control {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Control {
    fn close(&self) {
        *self.closed.lock() = true;
        self.changed.notify_all();
    }

    fn is_closed(&self) -> bool {
        *self.closed.lock()
    }

    /// Waits until then at most; says whether the view is to close.
    fn closed_within(&self, until: Instant) -> bool {
        let mut closed = self.closed.lock();
        while !*closed {
            if self.changed.wait_until(&mut closed, until) {
                break;
            }
        }
        *closed
    }
}

impl Hud {
    /// Whether the view is still shown: its user has not closed it.
    pub fn is_open(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits until its user closes it; where there is no terminal, until the run is over.
    ///
    /// # Errors
    /// What the terminal said, if that is why it closed.
    pub fn wait(mut self) -> io::Result<()> {
        self.joined()
    }

    /// Closes the view and gives the terminal back; the run goes on.
    ///
    /// # Errors
    /// What the terminal said, if it had closed because of that before.
    pub fn close(mut self) -> io::Result<()> {
        self.control.close();
        self.joined()
    }

    fn joined(&mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(io::Error::other("the view panicked, a defect of minigun: please report it")),
            None => Ok(()),
        }
    }
}

impl Drop for Hud {
    fn drop(&mut self) {
        self.control.close();
        drop(self.joined());
    }
}

/// What a view does when its user closes it and the run goes on.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Ends,
    /// Tells of the run in lines.
    Lines,
}

fn open(run: &Handle, then: Then) -> io::Result<Hud> {
    let screen = if terminal::is_there() {
        last_call::before_the_end(terminal::give_back);
        Some(Screen::take()?)
    } else {
        None
    };
    let control = Arc::new(Control::default());
    let (ours, run) = (Arc::clone(&control), run.clone());
    let show = move || {
        let outcome = match screen {
            Some(screen) => {
                let outcome = screen::show(screen, Sampler::new(run.clone()), &run, &ours);
                if then == Then::Ends {
                    return outcome;
                }
                outcome
            }
            None => Ok(()),
        };
        lines::show(&run, &ours);
        outcome
    };
    let thread = thread::Builder::new().name("mg:hud".into()).spawn(show)?;
    Ok(Hud { control, thread: Some(thread) })
}

impl Handle {
    /// Opens a live view of the run on the terminal; see the page of the [`hud`](crate::hud) module. The program has
    /// one terminal: a view that is open must be closed before another is opened. Where standard input or
    /// output is no terminal, a line on standard error every 5 s tells how far the run is.
    ///
    /// # Errors
    /// `ResourceBusy` if another view has the terminal; what the system says.
    pub fn hud(&self) -> io::Result<Hud> {
        open(self, Then::Ends)
    }
}

impl Pipeline {
    /// As [`run`](Self::run), with a live view of it on the terminal, which closes with the run; see the page of the
    /// [`hud`](crate::hud) module. Its user may stop the run, or close the view and let the run go on: then, or
    /// where there is no terminal, a line on standard error every 5 s tells how far it is.
    ///
    /// # Errors
    /// As [`run`](Self::run). A terminal that cannot be used is no error: there is no view then.
    pub fn run_with_hud(self) -> Result<Report, Error> {
        let running = self.start()?;
        let hud = open(&running.handle(), Then::Lines);
        let outcome = running.join();
        drop(hud);
        outcome
    }
}
