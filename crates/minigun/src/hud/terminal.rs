//! The terminal while the view has it: taken once, and given back in every case.
//!
//! It is given back when the view closes, before a panic's message is printed, and before a signal ends the program.
//! A program that is killed (SIGKILL) gives nothing back: `reset` does it then.

use std::io::{self, IsTerminal, Stdout, Write, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use minigun_os::Pid;
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};

use crate::observe::screen::TAKEN;
use crate::sync::Mutex;

/// The terminal, held by the one view of the program.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Patient>>,
}

/// Standard output, whose errors are nobody's: a terminal that is gone is seen by [`is_there`], and `ratatui` would
/// print such an error, which panics where standard error is gone with it.
struct Patient(Stdout);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// A view has the terminal, in this process.
static HELD: Mutex<Option<Pid>> = Mutex::new(None);

/// The terminal is as the view needs it.
static ENTERED: AtomicBool = AtomicBool::new(false);

static HOOKED: Once = Once::new();

/// Whether there is a terminal to draw on and to read keys from.
pub(super) fn is_there() -> bool {
    stdout().is_terminal()
        && io::stdin().is_terminal()
        && std::env::var("TERM").is_ok_and(|term| term != "dumb")
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// `ResourceBusy` if another view of this program has it; what the system says.
    pub(super) fn take() -> io::Result<Screen> {
        {
            let mut held = HELD.lock();
            if *held == Some(Pid::current()) {
                let text = "another view of this program has the terminal: close it first";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            *held = Some(Pid::current());
        }
        TAKEN.store(true, Ordering::Relaxed);
        give_back_before_panics();
        let taken = enter().and_then(|()| {
            let mut terminal = Terminal::new(CrosstermBackend::new(Patient(stdout())))?;
            terminal.clear()?;
            Ok(Screen { terminal })
        });
        taken.inspect_err(|_| let_go())
    }

    /// Draws a frame. A terminal that was given back for a panic of another thread is taken again.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        if !ENTERED.load(Ordering::SeqCst) {
            enter()?;
            self.terminal.clear()?;
        }
        self.terminal.draw(draw).map(drop)
    }

    /// Draws a frame with every cell of it, over what others printed.
    pub(super) fn draw_anew(&mut self, draw: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        let frame = self.terminal.draw(draw)?;
        let (buffer, area) = (frame.buffer.clone(), frame.area);
        let cells = area.positions().filter_map(|at| Some((at.x, at.y, buffer.cell(at)?)));
        self.terminal.backend_mut().draw(cells)?;
        Write::flush(self.terminal.backend_mut())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let_go();
    }
}

fn let_go() {
    give_back();
    TAKEN.store(false, Ordering::Relaxed);
    *HELD.lock() = None;
}

fn enter() -> io::Result<()> {
    ENTERED.store(true, Ordering::SeqCst);
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, Hide)
}

/// Gives the terminal back, if this process has it; may be called at any time, any number of times.
pub(super) fn give_back() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        // Whoever ends has nobody to tell.
        let _ = execute!(stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// So that a panic's message is seen. The view takes the terminal again with its next frame, if there is one: most
/// panics are caught.
fn give_back_before_panics() {
    HOOKED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Workers are copies of the program, and their panics are told by the run.
            if !minigun_os::in_worker() {
                give_back();
            }
            before(info);
        }));
    });
}
