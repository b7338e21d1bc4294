//! How far a run is, shown while it runs: bars on a terminal, lines elsewhere.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use minigun_os::{Watch, poll};

use super::outlook::{Outlook, Watcher, clock};
use super::screen::{Screen, TAKEN, aside};
use crate::defaults::{PROGRESS_DRAWN, PROGRESS_LINES};
use crate::error::Error;
use crate::run::draft::Attached;
use crate::run::handle::Handle;
use crate::sync::{Condvar, Mutex};

/// How a run's progress is shown; see [`Pipeline::progress_as`](crate::Pipeline::progress_as).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Bars if standard error is a terminal, else lines.
    #[default]
    Auto,
    /// Bars, if standard error is a terminal, else nothing.
    Bars,
    /// A line every five seconds ([`PROGRESS_LINES`]), and one at the end.
    Lines,
    /// Nothing.
    Off,
}

/// Not the name of a [`Progress`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProgress(String);

impl fmt::Display for UnknownProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no way to show progress; it is one of auto, bars, lines, off", self.0)
    }
}

impl std::error::Error for UnknownProgress {}

/// `auto`, `bars`, `lines`, `off`.
impl FromStr for Progress {
    type Err = UnknownProgress;
    fn from_str(text: &str) -> Result<Self, UnknownProgress> {
        Ok(match text {
            "auto" => Progress::Auto,
            "bars" => Progress::Bars,
            "lines" => Progress::Lines,
            "off" => Progress::Off,
            other => return Err(UnknownProgress(other.to_string())),
        })
    }
}

/// What the person before the terminal wants, whatever the program says.
const VARIABLE: &str = "MINIGUN_PROGRESS";

/// Columns of a line.
const COLUMNS: usize = 120;

/// Stages that get a bar.
const BARS: usize = 16;

/// A run's progress, attached to it.
pub(crate) struct Attachment {
    wanted: Progress,
    display: Mutex<Option<Display>>,
}

struct Display {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    /// While it is held, others make room for the bars.
    screen: Option<Arc<Screen>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closing: bool,
    over: bool,
}

impl Attachment {
    pub(crate) fn new(wanted: Progress) -> Arc<Attachment> {
        Arc::new(Attachment { wanted, display: Mutex::default() })
    }
}

/// How it is shown: what the environment says, else what the program says.
fn shown(wanted: Progress, said: Option<&str>, terminal: bool) -> Result<Progress, UnknownProgress> {
    let wanted = match said {
        None | Some("") => wanted,
        Some(said) => said.parse()?,
    };
    Ok(match (wanted, terminal) {
        (Progress::Auto | Progress::Bars, true) => Progress::Bars,
        (Progress::Auto | Progress::Lines, _) => Progress::Lines,
        (Progress::Bars | Progress::Off, _) => Progress::Off,
    })
}

impl Attached for Attachment {
    fn begin(&self, handle: &Handle) -> Result<(), Error> {
        let said = std::env::var(VARIABLE).ok();
        let terminal =
            io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let shown = shown(self.wanted, said.as_deref(), terminal)
            .map_err(|error| Error::Environment { variable: VARIABLE, cause: error.to_string() })?;
        let shared = Arc::<Shared>::default();
        let (theirs, handle) = (Arc::clone(&shared), handle.clone());
        let mut screen = None;
        let life: Box<dyn FnOnce() + Send> = match shown {
            Progress::Off | Progress::Auto => return Ok(()),
            Progress::Lines => Box::new(move || theirs.lines(&handle)),
            Progress::Bars => {
                let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(20));
                screen = Some(Screen::new(bars.clone()));
                handle.0.shared.set_screen(Box::new(|write| aside(write)));
                Box::new(move || theirs.bars(&handle, &bars))
            }
        };
        let thread = thread::Builder::new()
            .name("mg:progress".into())
            .spawn(life)
            .map_err(|source| Error::Thread { stage: "progress".to_string(), source })?;
        *self.display.lock() = Some(Display { shared, thread, screen });
        Ok(())
    }

    /// What was drawn is gone when this returns, but for a terminal that takes nothing any more.
    fn close(&self) -> Result<(), Error> {
        let Some(Display { shared, thread, screen }) = self.display.lock().take() else { return Ok(()) };
        let mut state = shared.state.lock();
        state.closing = true;
        shared.changed.notify_all();
        let until = Instant::now() + crate::defaults::GRACE;
        while !state.over {
            if shared.changed.wait_until(&mut state, until) {
                return Ok(());
            }
        }
        drop(state);
        drop(thread.join());
        drop(screen);
        Ok(())
    }
}

/// Says that the thread is over, however it ends.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.state.lock().over = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    /// Waits so long, or until the run is over; whether it is.
    fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.closing {
            if self.changed.wait_until(&mut state, until) {
                break;
            }
        }
        state.closing
    }

    /// The thread's life where there is no terminal.
    fn lines(&self, handle: &Handle) {
        let _over = Over(self);
        let (begun, mut watcher) = (Instant::now(), Watcher::new(&handle.0.graph));
        let name = handle.0.shared.name();
        while !self.wait(PROGRESS_LINES) {
            let outlook = watcher.look(&handle.stats(), begun.elapsed());
            write_line(&outlook.line(name, COLUMNS));
        }
        let outlook = watcher.look(&handle.stats(), begun.elapsed());
        write_line(&last_line(&outlook, name, begun.elapsed()));
    }

    /// The thread's life on a terminal.
    fn bars(&self, handle: &Handle, bars: &MultiProgress) {
        let _over = Over(self);
        let (begun, mut watcher) = (Instant::now(), Watcher::new(&handle.0.graph));
        let mut bars = Bars::new(bars.clone());
        let mut hidden = false;
        while !self.wait(PROGRESS_DRAWN) {
            let taken = TAKEN.load(Ordering::Relaxed);
            if taken != hidden {
                hidden = taken;
                bars.all.set_draw_target(if taken {
                    ProgressDrawTarget::hidden()
                } else {
                    ProgressDrawTarget::stderr_with_hz(20)
                });
            }
            let outlook = watcher.look(&handle.stats(), begun.elapsed());
            bars.draw(&outlook, &format!("{} {}", handle.0.shared.name(), clock(begun.elapsed())));
        }
        bars.clear();
    }
}

/// A bar for every stage, and a line for the whole below them.
struct Bars {
    all: MultiProgress,
    rows: Vec<ProgressBar>,
    total: ProgressBar,
}

impl Bars {
    fn new(all: MultiProgress) -> Bars {
        let total = all.add(ProgressBar::no_length().with_style(style("{spinner} {msg}")));
        Bars { all, rows: Vec::new(), total }
    }

    fn draw(&mut self, outlook: &Outlook, title: &str) {
        let rows = &outlook.rows[..outlook.rows.len().min(BARS)];
        while self.rows.len() < rows.len() {
            self.rows.push(self.all.insert_before(&self.total, ProgressBar::no_length()));
        }
        let columns = outlook.name_width();
        for (bar, row) in self.rows.iter().zip(rows) {
            bar.set_style(style(if row.of.is_some() { KNOWN } else { UNKNOWN }));
            bar.set_prefix(row.name_in(columns));
            bar.set_message(row.text());
            bar.set_length(row.of.unwrap_or(0).max(1));
            bar.set_position(row.done);
        }
        self.total.set_message(format!("{title} {}", outlook.summary()));
        self.total.tick();
    }

    fn clear(self) {
        self.rows.iter().for_each(ProgressBar::finish_and_clear);
        self.total.finish_and_clear();
        // What standard error does not take now it never will.
        let _ = self.all.clear();
    }
}

/// Of a stage whose end is known.
const KNOWN: &str = "{prefix} {bar:24.cyan/dim} {msg}";
/// Of one whose end is not: as many columns.
const UNKNOWN: &str = "{prefix}                          {msg}";

/// Templates are ours, and right; if one were not, the default is shown.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─")
}

fn last_line(outlook: &Outlook, name: &str, elapsed: Duration) -> String {
    let over = Outlook { part: None, left: None, ..outlook.clone() };
    over.line(&format!("{name}: over after {}", clock(elapsed)), COLUMNS)
}

/// Writes a line to standard error, if it takes one now.
fn write_line(line: &str) {
    let mut watches = [Watch::standard_error()];
    // Where nobody can say, it is tried.
    if poll(&mut watches, Some(Duration::ZERO)).is_ok() && !watches[0].is_ready() {
        return;
    }
    aside(|| {
        let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::outlook::Row;
    use indicatif::InMemoryTerm;

    #[test]
    fn the_environment_has_the_last_word_and_must_be_understood() {
        use Progress::{Auto, Bars, Lines, Off};
        let cases = [
            (Auto, None, true, Bars),
            (Auto, None, false, Lines),
            (Auto, Some(""), false, Lines),
            (Bars, None, false, Off),
            (Lines, None, true, Lines),
            (Off, None, true, Off),
            (Auto, Some("off"), true, Off),
            (Off, Some("lines"), true, Lines),
            (Lines, Some("auto"), true, Bars),
        ];
        for (wanted, said, terminal, expected) in cases {
            assert_eq!(shown(wanted, said, terminal), Ok(expected), "{wanted:?} {said:?} {terminal}");
        }
        let error = shown(Auto, Some("no"), true).unwrap_err().to_string();
        assert!(error.contains("`no`") && error.contains("auto, bars, lines, off"), "{error}");
    }

    #[test]
    fn every_template_is_one() {
        for template in ["{spinner} {msg}", KNOWN, UNKNOWN] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn bars_make_room_for_what_is_written_and_leave_nothing_behind() {
        let terminal = InMemoryTerm::new(10, 80);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let all = MultiProgress::with_draw_target(target);
        let screen = Screen::new(all.clone());
        let row = |name: &str, of| Row { name: name.to_string(), done: 1_200, of, rate: 50.0, ended: false };
        let outlook = Outlook {
            rows: vec![row("read", None), row("parse", Some(2_400))],
            part: Some(0.5),
            left: Some(Duration::from_secs(24)),
        };
        let mut bars = Bars::new(all);
        bars.draw(&outlook, "job 0:24");
        let drawn = terminal.contents();
        let lines: Vec<_> = drawn.lines().collect();
        assert_eq!(lines.len(), 3, "{drawn}");
        assert_eq!(lines[0], format!("read {}1,200, 50/s", " ".repeat(26)));
        assert_eq!(lines[1], format!("parse {}{} 1,200 of 2,400, 50/s", "━".repeat(13), "─".repeat(11)));
        assert!(lines[2].ends_with(" job 0:24 50 %, 0:24 left"), "{drawn}");
        // While somebody writes, nothing is drawn; afterwards all of it is.
        assert_eq!(aside(|| terminal.contents()), "");
        assert_eq!(terminal.contents(), drawn);
        bars.clear();
        assert_eq!(terminal.contents(), "");
        drop(screen);
    }
}
