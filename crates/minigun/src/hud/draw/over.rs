//! What lies over the panes: help, the question whether to stop, a stage's details, progress.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::super::input::KEYS;
use super::super::model::{ProgressView, StageView, View};
use super::super::text;
use super::super::ui::{Over, Ui};
use super::{frame_of, look};
use crate::observe::outlook::clock;
use crate::report::text::{cut, fitted, width as columns};

pub(super) fn draw(buffer: &mut Buffer, area: Rect, view: &View, ui: &Ui, over: Over) {
    match over {
        Over::Help => show(buffer, area, "keys", help()),
        Over::Quit => show(buffer, area, "quit", question(view)),
        Over::Details => {
            if let Some(stage) = view.stages.get(ui.selected) {
                show(buffer, area, &stage.name, details(view, ui.selected, stage));
            }
        }
        Over::Progress => {
            let width = usize::from(area.width).saturating_sub(4).min(76);
            show(buffer, area, "progress", progress(view, width));
        }
    }
}

/// These lines in a frame in the middle of the area, as large as they need and as there is room.
fn show(buffer: &mut Buffer, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(title.len() + 4);
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buffer);
    let inside = frame_of(buffer, place, title, true);
    let inside = Rect { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    for (line, area) in lines.into_iter().zip(inside.rows()) {
        line.render(area, buffer);
    }
}

fn bold(text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), Style::new().add_modifier(Modifier::BOLD))
}

fn help() -> Vec<Line<'static>> {
    let key = |(key, what): &(&str, &'static str)| Line::from(vec![bold(fitted(key, 14)), Span::raw(*what)]);
    KEYS.iter().map(key).collect()
}

fn question(view: &View) -> Vec<Line<'static>> {
    vec![
        Line::from(format!("Stop the run of `{}`?", view.pipeline)),
        Line::from(vec![bold("y   "), Span::raw("stop it: what is in flight is finished")]),
        Line::from(vec![bold("n   "), Span::raw("close the view; the run goes on")]),
        Line::from(vec![bold("esc "), Span::raw("back")]),
    ]
}

fn details(view: &View, at: usize, stage: &StageView) -> Vec<Line<'static>> {
    let (sign, color) = look(stage.status);
    let names = |stages: Vec<usize>| {
        let names = stages.iter().filter_map(|at| view.stages.get(*at).map(|stage| stage.name.clone()));
        let names = names.collect::<Vec<_>>().join(", ");
        if names.is_empty() { "-".to_string() } else { names }
    };
    let before = view.edges.iter().filter(|(_, to)| *to == at).map(|(from, _)| *from).collect();
    let behind = view.edges.iter().filter(|(from, _)| *from == at).map(|(_, to)| *to).collect();
    let field = |name: &str, value: String| Line::from(vec![bold(fitted(name, 10)), Span::raw(value)]);
    let place = if stage.place.is_empty() { "the program" } else { &stage.place };
    let queue = stage.queue.map_or("-".to_string(), |queue| format!("{} of {}", queue.depth, queue.limit));
    let mut lines = vec![
        Line::from(vec![
            Span::styled(format!("{sign} "), Style::new().fg(color)),
            Span::raw(format!("{} in {place}", stage.kind)),
        ]),
        field("from", names(before)),
        field("to", names(behind)),
        field("items", format!("{} in, {} out", stage.items_in, stage.items_out)),
        field("rate", format!("{}/s  {}", text::rate(stage.rate), text::sparkline(&stage.history, 30))),
        field("latency", format!("p50 {}, p99 {}", text::time(stage.p50), text::time(stage.p99))),
        field("queue", queue),
        field("busy", text::time(Some(stage.busy).filter(|busy| !busy.is_zero()))),
        field("failed", format!("{} attempts, {} tried again", stage.failed, stage.retried)),
        field("given up", format!("{} skipped, {} dead letters", stage.skipped, stage.dead)),
        field("deaths", stage.deaths.to_string()),
    ];
    let failed = view.failures.iter().filter(|failure| failure.stage == stage.name).take(3);
    lines.extend(failed.map(|failure| {
        let error = failure.error.lines().next().unwrap_or_default();
        let text = format!("{} item {}, attempt {}: {error}", failure.fate, failure.item, failure.attempts);
        Line::from(Span::styled(cut(&text, 60), Style::new().fg(Color::Red)))
    }));
    lines
}

/// How far each block is, and the whole.
fn progress(view: &View, width: usize) -> Vec<Line<'static>> {
    let name = view.progress.iter().map(|row| columns(&row.name)).max().unwrap_or(0).min(width / 3);
    let told = view.progress.iter().map(|row| columns(&row.text)).max().unwrap_or(0).min(width / 2);
    let room = width.saturating_sub(name + told + 5);
    let row = |row: &ProgressView| {
        let bar = match row.of {
            Some(of) => format!(" ▕{}▏ ", text::bar(row.done, of, room)),
            None => " ".repeat(room + 4),
        };
        Line::from(vec![
            bold(fitted(&row.name, name)),
            Span::styled(bar, Style::new().fg(Color::Green)),
            Span::raw(cut(&row.text, told)),
        ])
    };
    let mut lines: Vec<_> = view.progress.iter().map(row).collect();
    let so_far = format!("{} under way", clock(view.elapsed));
    lines.push(Line::from(match view.summary.as_str() {
        "" => so_far,
        summary => format!("{so_far}, {summary}"),
    }));
    lines
}
