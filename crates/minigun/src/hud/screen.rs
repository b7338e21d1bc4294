//! The loop on the terminal: read the run, draw, take a key, fifteen times a second.

use std::io;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event};

use super::Control;
use super::draw::draw;
use super::input::action;
use super::sample::Sampler;
use super::terminal::{self, Screen};
use super::ui::{Effect, Ui};
use crate::run::handle::Handle;
use crate::run::last_call::LastCall;

/// Between two frames.
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 15);

/// Between two frames with every cell, which heal what others printed.
const HEAL: Duration = Duration::from_secs(2);

/// Shows the run until the view is closed, by its user or by the program.
///
/// # Errors
/// What the terminal says; it is given back all the same.
pub(super) fn show(mut screen: Screen, sampler: Sampler, run: &Handle, control: &Control) -> io::Result<()> {
    let signals = LastCall::listen()?;
    let outcome = frames(&mut screen, sampler, run, control, &signals);
    drop(screen);
    // Also one that took the terminal away.
    if let Some(signal) = signals.over() {
        LastCall::end(signal);
    }
    outcome
}

fn frames(
    screen: &mut Screen,
    mut sampler: Sampler,
    run: &Handle,
    control: &Control,
    signals: &LastCall,
) -> io::Result<()> {
    let (mut ui, mut view) = (Ui::default(), sampler.view().clone());
    let mut healed = Instant::now();
    while !control.is_closed() {
        if signals.has_heard() {
            break;
        }
        if !terminal::is_there() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the terminal is gone"));
        }
        let begun = Instant::now();
        if !ui.paused {
            view = sampler.view().clone();
        }
        if begun.duration_since(healed) >= HEAL {
            healed = begun;
            screen.draw_anew(|frame| draw(frame, &view, &mut ui))?;
        } else {
            screen.draw(|frame| draw(frame, &view, &mut ui))?;
        }
        // The next frame comes in its time, or at once when something was typed.
        if !event::poll((begun + FRAME).saturating_duration_since(Instant::now()))? {
            continue;
        }
        let effect = match event::read()? {
            Event::Key(key) => action(key).map_or(Effect::None, |action| ui.act(action, &view)),
            _ => Effect::None,
        };
        match effect {
            Effect::None => {}
            Effect::Redraw => healed = begun.checked_sub(HEAL).unwrap_or(begun),
            Effect::Close => break,
            Effect::StopAndClose => {
                run.stop();
                break;
            }
        }
    }
    Ok(())
}
