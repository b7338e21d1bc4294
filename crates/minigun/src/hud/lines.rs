//! The view where there is no terminal: now and then a line on standard error.

use std::io::{Write, stderr};
use std::time::{Duration, Instant};

use super::Control;
use super::model::{RunState, View};
use super::sample::Sampler;
use super::text;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(5);

/// Writes lines until the view is closed or the run is over.
pub(super) fn show(sampler: &mut Sampler, control: &Control) {
    while !control.closed_within(Instant::now() + EVERY) && !sampler.is_over() {
        let line = line(sampler.view());
        // Nobody may be there to read it.
        let _ = stderr().lock().write_all(line.as_bytes());
    }
}

fn line(view: &View) -> String {
    let mut line = format!("{} {}", view.pipeline, text::clock(view.elapsed));
    if view.state == RunState::Stopping {
        line.push_str(" stopping");
    }
    for stage in &view.stages {
        let (items, rate) = (text::count(stage.items()), text::rate(stage.rate));
        line.push_str(&format!(" | {} {items} {rate}/s", stage.name));
    }
    line.push('\n');
    line
}
