//! The tables: stages, workers, and the last failures.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::super::model::{QueueView, StageView, View};
use super::super::text;
use super::super::ui::{Pane, Ui};
use super::{first_shown, frame_of, look, right};
use crate::report::text::fitted;

const HEAD: Style = Style::new().fg(Color::Gray).add_modifier(Modifier::UNDERLINED);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Columns of a number, of a time, and of the bar that shows a queue.
const NUMBER: usize = 5;
const TIME: usize = 6;
const BAR: usize = 8;

pub(super) fn stages(buffer: &mut Buffer, area: Rect, view: &View, ui: &Ui) {
    let inside = frame_of(buffer, area, "stages", ui.focus == Pane::Stages);
    let width = usize::from(inside.width);
    // What there is room for, in the order of its worth: the name gets the rest.
    let always = 2 + 2 * (NUMBER + 1);
    let queue = width >= always + BAR + 1 + 10;
    let times = width >= always + BAR + 1 + 2 * (TIME + 1) + 10;
    let name = width
        .saturating_sub(always + if queue { BAR + 1 } else { 0 } + if times { 2 * (TIME + 1) } else { 0 });
    let mut head = format!("  {} {} {}", fitted("stage", name), right("items", NUMBER), right("/s", NUMBER));
    if times {
        head.push_str(&format!(" {} {}", right("p50", TIME), right("p99", TIME)));
    }
    if queue {
        head.push_str(&format!(" {}", fitted("queue", BAR)));
    }
    let row = |stage: &StageView, chosen: bool| {
        let (sign, color) = look(stage.status);
        let mut spans = vec![
            Span::styled(format!("{sign} "), Style::new().fg(color)),
            Span::styled(fitted(&stage.name, name), name_style(stage)),
            Span::raw(format!(" {}", right(&text::count(stage.items()), NUMBER))),
            Span::styled(format!(" {}", right(&text::rate(stage.rate), NUMBER)), Style::new().fg(color)),
        ];
        if times {
            let shown = |time| right(&text::time(time), TIME);
            spans.push(Span::raw(format!(" {} {}", shown(stage.p50), shown(stage.p99))));
        }
        if queue {
            let (bar, color) = queue_bar(stage.queue);
            spans.push(Span::styled(format!(" {bar}"), Style::new().fg(color)));
        }
        let line = Line::from(spans);
        if chosen { line.patch_style(CHOSEN) } else { line }
    };
    let rows: Vec<Line<'_>> =
        view.stages.iter().enumerate().map(|(at, stage)| row(stage, at == ui.selected)).collect();
    list(buffer, inside, head, rows, ui.selected);
}

fn name_style(stage: &StageView) -> Style {
    match stage.lost_to_policy() {
        0 => Style::new(),
        _ => Style::new().fg(Color::Red),
    }
}

/// Green with room, red when those before it must wait.
fn queue_bar(queue: Option<QueueView>) -> (String, Color) {
    let Some(QueueView { depth, limit }) = queue else { return (fitted("-", BAR), Color::DarkGray) };
    let color = match depth * 100 / limit.max(1) {
        0..50 => Color::Green,
        50..90 => Color::Yellow,
        _ => Color::Red,
    };
    (format!("{}▕", text::bar(depth, limit, BAR - 1)), color)
}

pub(super) fn workers(buffer: &mut Buffer, area: Rect, view: &View, ui: &Ui) {
    let title = format!("workers {}", view.workers.len());
    let inside = frame_of(buffer, area, &title, ui.focus == Pane::Workers);
    let width = usize::from(inside.width);
    let stage = width.saturating_sub(8 + 9 + 6 + 7 + 5).max(4);
    let head = format!(
        "{} {} {} {} {} {}",
        right("pid", 7),
        fitted("stage", stage),
        fitted("state", 8),
        right("items", NUMBER),
        right("memory", TIME),
        right("new", 3)
    );
    let rows = view.workers.iter().map(|worker| {
        let pid = worker.pid.map_or("thread".to_string(), |pid| pid.to_string());
        let memory = worker.memory.map_or("-".to_string(), text::bytes);
        let color = if worker.restarts > 0 { Color::Red } else { Color::Reset };
        Line::from(vec![
            Span::raw(format!("{} {} ", right(&pid, 7), fitted(&worker.stage, stage))),
            Span::raw(format!("{} {} ", fitted(&worker.state, 8), right(&text::count(worker.items), NUMBER))),
            Span::raw(format!("{} ", right(&memory, TIME))),
            Span::styled(right(&text::count(worker.restarts), 3), Style::new().fg(color)),
        ])
    });
    list(buffer, inside, head, rows.collect(), ui.workers);
}

pub(super) fn failures(buffer: &mut Buffer, area: Rect, view: &View, ui: &Ui) {
    let inside = frame_of(buffer, area, "last failures", ui.focus == Pane::Failures);
    let (first, from) = ui.failures;
    let rows = view.failures.iter().enumerate().map(|(at, failure)| {
        let text = format!(
            "{} {} of {}: {}",
            failure.fate,
            failure.item,
            failure.stage,
            failure.error.lines().next().unwrap_or_default()
        );
        let shown: String = text.chars().skip(from).collect();
        let line =
            Line::from(Span::styled(fitted(&shown, usize::from(inside.width)), Style::new().fg(Color::Red)));
        if ui.focus == Pane::Failures && at == first { line.patch_style(CHOSEN) } else { line }
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        Line::from("none").style(Style::new().fg(Color::DarkGray)).render(inside, buffer);
        return;
    }
    let height = usize::from(inside.height);
    let skipped = first_shown(first, rows.len(), height);
    for (line, area) in rows.into_iter().skip(skipped).zip(inside.rows()) {
        line.render(area, buffer);
    }
}

/// A head and rows below it, scrolled so that `at` is in sight.
fn list(buffer: &mut Buffer, inside: Rect, head: String, rows: Vec<Line<'_>>, at: usize) {
    let mut lines = inside.rows();
    let Some(first) = lines.next() else { return };
    Line::from(Span::styled(head, HEAD)).render(first, buffer);
    let height = usize::from(inside.height) - 1;
    let (all, skipped) = (rows.len(), first_shown(at, rows.len(), height));
    for (row, area) in rows.into_iter().skip(skipped).zip(lines) {
        row.render(area, buffer);
    }
    let style = Style::new().fg(Color::Black).bg(Color::Yellow);
    let mark = |buffer: &mut Buffer, y: u16, arrow: &str| {
        if let Some(cell) = buffer.cell_mut((inside.right().saturating_sub(1), y)) {
            cell.set_symbol(arrow).set_style(style);
        }
    };
    if skipped > 0 && height > 0 {
        mark(buffer, inside.y + 1, "↑");
    }
    if skipped + height < all && height > 0 {
        mark(buffer, inside.bottom() - 1, "↓");
    }
}
