//! The view on a screen of any size: which pane stands where, and the line at the bottom.

mod graph;
mod over;
mod tables;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Widget};

use super::model::{RunState, Status, View};
use super::text;
use super::ui::{Pane, Ui};
use crate::observe::outlook::clock;
use crate::report::text::width;

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, ui: &mut Ui) {
    let mut panes = panes(frame.area(), graph::columns(view) + 2, ui.focus);
    if ui.zoomed {
        panes = panes.zoomed(ui.focus);
    }
    let buffer = frame.buffer_mut();
    if let Some(area) = panes.graph {
        graph::draw(buffer, area, view, ui);
    }
    if let Some(area) = panes.stages {
        tables::stages(buffer, area, view, ui);
    }
    if let Some(area) = panes.workers {
        tables::workers(buffer, area, view, ui);
    }
    if let Some(area) = panes.failures {
        tables::failures(buffer, area, view, ui);
    }
    status(buffer, panes.status, view, ui);
    if let Some(over) = ui.over {
        over::draw(buffer, panes.body, view, ui, over);
    }
}

/// Where each pane stands; those that find no room are shown when they are in focus.
struct Panes {
    body: Rect,
    graph: Option<Rect>,
    stages: Option<Rect>,
    workers: Option<Rect>,
    failures: Option<Rect>,
    status: Rect,
}

impl Panes {
    /// The pane in focus has all the room.
    fn zoomed(self, focus: Pane) -> Panes {
        let only = |pane| Some(self.body).filter(|_| focus == pane);
        Panes {
            graph: only(Pane::Graph),
            stages: only(Pane::Stages),
            workers: only(Pane::Workers),
            failures: only(Pane::Failures),
            ..self
        }
    }
}

/// Rows of the body from which there is room for panes below.
const TALL: u16 = 17;

/// Columns from which there is room for two panes below.
const WIDE: u16 = 80;

/// The least that the graph gets, in columns.
const GRAPH: u16 = 20;

fn panes(area: Rect, graph: u16, focus: Pane) -> Panes {
    let status = Rect { y: area.bottom().saturating_sub(1), height: area.height.min(1), ..area };
    let body = Rect { height: area.height - status.height, ..area };
    let tall = body.height >= TALL;
    let below = if tall { (body.height * 3 / 10).clamp(5, 12) } else { 0 };
    let top = Rect { height: body.height - below, ..body };
    let bottom = Rect { y: top.bottom(), height: below, ..body };
    let most = if top.width < WIDE { top.width * 2 / 5 } else { top.width * 9 / 20 };
    let left = graph.clamp(GRAPH.min(most), most);
    let (graph, right) = split(top, left);
    let chosen = |pane| Some(right).filter(|_| focus == pane);
    let (stages, workers, failures) = if !tall {
        let table = matches!(focus, Pane::Graph | Pane::Stages);
        (Some(right).filter(|_| table), chosen(Pane::Workers), chosen(Pane::Failures))
    } else if body.width < WIDE {
        let failures = focus == Pane::Failures;
        (Some(right), Some(bottom).filter(|_| !failures), Some(bottom).filter(|_| failures))
    } else {
        let (workers, failures) = split(bottom, bottom.width / 2);
        (Some(right), Some(workers), Some(failures))
    };
    Panes { body, graph: Some(graph), stages, workers, failures, status }
}

fn split(area: Rect, left: u16) -> (Rect, Rect) {
    let left = left.min(area.width);
    (Rect { width: left, ..area }, Rect { x: area.x + left, width: area.width - left, ..area })
}

/// The border of a pane; gives back what is inside.
fn frame_of(buffer: &mut Buffer, area: Rect, title: &str, focused: bool) -> Rect {
    let style = if focused { Style::new().fg(Color::Yellow) } else { Style::new().fg(Color::DarkGray) };
    let title = Span::styled(format!(" {title} "), Style::new().add_modifier(Modifier::BOLD));
    let kind = if focused { BorderType::Thick } else { BorderType::Plain };
    let block = Block::bordered().border_type(kind).border_style(style).title(title);
    let inside = block.inner(area);
    block.render(area, buffer);
    inside
}

/// The line at the bottom: what runs, how it is, what the keys do.
fn status(buffer: &mut Buffer, area: Rect, view: &View, ui: &Ui) {
    let (word, color) = match &view.state {
        RunState::Running => ("running", Color::Green),
        RunState::Stopping => ("stopping", Color::Yellow),
        RunState::Finished => ("finished", Color::Cyan),
        RunState::Failed(_) => ("failed", Color::Red),
    };
    let mut spans = vec![
        Span::styled(format!(" {} ", word.to_uppercase()), Style::new().fg(Color::Black).bg(color)),
        Span::styled(format!(" {} ", view.pipeline), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(clock(view.elapsed)),
    ];
    if ui.paused {
        let style = Style::new().fg(Color::Black).bg(Color::Magenta);
        spans.extend([Span::raw("  "), Span::styled(" VIEW PAUSED ", style)]);
    }
    if let RunState::Failed(error) = &view.state {
        let error = error.lines().next().unwrap_or_default();
        spans.push(Span::styled(format!("  {error}"), Style::new().fg(Color::Red)));
    } else {
        let lost: u64 = view.stages.iter().map(|stage| stage.lost_to_policy()).sum();
        if lost > 0 {
            spans.push(Span::styled(format!("  {} failed", text::count(lost)), Style::new().fg(Color::Red)));
        }
    }
    let line = Line::from(spans);
    let used = line.width() + 1;
    line.render(area, buffer);
    const KEYS: [&str; 3] = [
        "q quit  space pause  tab pane  enter details  p progress  ? help ",
        "q quit  space pause  tab pane  ? help ",
        "q quit  ? help ",
    ];
    if let Some(keys) = KEYS.into_iter().find(|keys| used + keys.len() <= usize::from(area.width)) {
        let width = keys.len() as u16;
        let right = Rect { x: area.right() - width, width, ..area };
        Span::styled(keys, Style::new().fg(Color::Gray)).render(right, buffer);
    }
}

/// The sign and the colour of what a stage does.
fn look(status: Status) -> (&'static str, Color) {
    match status {
        Status::Waiting => ("·", Color::DarkGray),
        Status::Working => ("▶", Color::Green),
        Status::Idle => ("‖", Color::Yellow),
        Status::Ended => ("✓", Color::Cyan),
    }
}

/// The text on the right side of its columns. Numbers fit.
fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Which of `len` lines is the first shown in `rows`, so that `at` is among them.
fn first_shown(at: usize, len: usize, rows: usize) -> usize {
    (at + 1).saturating_sub(rows.max(1)).min(len.saturating_sub(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pane_stands_inside_the_screen_whatever_its_size() {
        for width in 0..140u16 {
            for height in 0..50u16 {
                let area = Rect::new(0, 0, width, height);
                for focus in [Pane::Graph, Pane::Stages, Pane::Workers, Pane::Failures] {
                    let panes = panes(area, 60, focus);
                    let shown = [panes.graph, panes.stages, panes.workers, panes.failures];
                    for pane in shown.into_iter().flatten().chain([panes.status, panes.body]) {
                        assert_eq!(area.intersection(pane), pane, "{area}: {pane}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_line_chosen_is_always_shown() {
        for rows in 1..8 {
            for at in 0..20 {
                let first = first_shown(at, 20, rows);
                assert!(first <= at && at < first + rows && first + rows <= 20.max(rows));
            }
        }
    }
}
