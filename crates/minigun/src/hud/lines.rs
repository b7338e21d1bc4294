//! The view where there is no terminal: now and then a line on standard error.

use std::io::{Write, stderr};
use std::time::Instant;

use super::Control;
use crate::defaults::PROGRESS_LINES;
use crate::observe::outlook::Watcher;
use crate::observe::screen::aside;
use crate::run::handle::Handle;

/// Columns of a line.
const COLUMNS: usize = 120;

/// Writes lines until the view is closed or the run is over.
pub(super) fn show(run: &Handle, control: &Control) {
    let (begun, mut watcher) = (Instant::now(), Watcher::new(&run.0.graph));
    let shared = &run.0.shared;
    while !control.closed_within(Instant::now() + PROGRESS_LINES) && !shared.is_over() {
        let outlook = watcher.look(&run.stats(), begun.elapsed());
        let line = format!("{}\n", outlook.line(shared.name(), COLUMNS));
        // Nobody may be there to read it.
        aside(|| drop(stderr().lock().write_all(line.as_bytes())));
    }
}
