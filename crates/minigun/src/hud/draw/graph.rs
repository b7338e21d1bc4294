//! The graph: a box for every stage, lines between them, and dots that move along as fast as items do.

use std::collections::BTreeMap;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::super::layout::{Cell, HEIGHT, Layout, Line, Place, layout};
use super::super::model::{StageView, View};
use super::super::text;
use super::super::ui::{Pane, Ui};
use super::{frame_of, look};
use crate::report::text::{cut, fitted, width as columns_of};

/// The widest and the narrowest box, in columns.
const WIDEST: usize = 24;
const NARROWEST: usize = 18;

/// Cells between two dots of a line.
const APART: u128 = 6;

/// The columns that the whole graph takes.
pub(super) fn columns(view: &View) -> u16 {
    u16::try_from(laid_out(view, 1).width).unwrap_or(u16::MAX - 2)
}

fn laid_out(view: &View, air: i32) -> Layout {
    let of = |stage: &StageView| (columns_of(&stage.name) + 6).clamp(NARROWEST, WIDEST) as i32;
    let widths: Vec<i32> = view.stages.iter().map(of).collect();
    layout(&widths, &view.edges, air)
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, view: &View, ui: &mut Ui) {
    let inside = frame_of(buffer, area, "graph", ui.focus == Pane::Graph);
    let loose = laid_out(view, 2);
    let layout = if loose.height <= i32::from(inside.height) { loose } else { laid_out(view, 1) };
    if let Some(chosen) = layout.boxes.get(ui.selected).filter(|_| !ui.panned) {
        ui.pan = (
            in_sight(ui.pan.0, (chosen.x, chosen.width), i32::from(inside.width)),
            in_sight(ui.pan.1, (chosen.y, HEIGHT), i32::from(inside.height)),
        );
    }
    ui.pan = (
        moved(ui.pan.0, layout.width, i32::from(inside.width)),
        moved(ui.pan.1, layout.height, i32::from(inside.height)),
    );
    // A graph that fits stands in the middle, on top.
    let middle = (i32::from(inside.width) - layout.width).max(0) / 2;
    let origin = (i32::from(inside.x) + middle - ui.pan.0, i32::from(inside.y) - ui.pan.1);
    let mut canvas = Canvas { buffer, inside, origin };
    lines(&mut canvas, &layout, view);
    for (at, (place, stage)) in layout.boxes.iter().zip(&view.stages).enumerate() {
        stage_box(&mut canvas, *place, stage, at == ui.selected);
        // No line is drawn back to an earlier stage; the details name both.
        let (back, Place { x, y, width }) = (Style::new().fg(Color::Magenta), *place);
        if layout.loops.iter().any(|(from, _)| *from == at) {
            canvas.put((x + width - 2, y + 2), "↺", back);
        }
        if layout.loops.iter().any(|(_, to)| *to == at) {
            canvas.put((x + width - 2, y), "↺", back);
        }
    }
    joints(&mut canvas, &layout);
    more(&mut canvas, &layout, ui.pan);
}

/// How far a graph of this size can be moved in a pane of that size.
fn moved(pan: i32, graph: i32, pane: i32) -> i32 {
    pan.clamp(0, (graph - pane).max(0))
}

/// The graph moved so that a box of this place and length is in sight, its beginning first of all.
fn in_sight(pan: i32, (begin, length): (i32, i32), pane: i32) -> i32 {
    pan.max(begin + length - pane).min(begin)
}

/// The part of the graph that is in sight.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    inside: Rect,
    origin: Cell,
}

impl Canvas<'_> {
    fn put(&mut self, (x, y): Cell, symbol: &str, style: Style) {
        let (x, y) = (x + self.origin.0, y + self.origin.1);
        let (Ok(x), Ok(y)) = (u16::try_from(x), u16::try_from(y)) else { return };
        if self.inside.contains((x, y).into())
            && let Some(cell) = self.buffer.cell_mut((x, y))
        {
            cell.set_symbol(symbol).set_style(style);
        }
    }

    /// Text whose characters may be wider than a cell.
    fn write(&mut self, (mut x, y): Cell, text: &str, style: Style) {
        for c in text.chars() {
            let mut bytes = [0; 4];
            let symbol: &str = c.encode_utf8(&mut bytes);
            let width = columns_of(symbol) as i32;
            self.put((x, y), symbol, style);
            // What a wide character covers is not drawn by itself.
            for covered in 1..width {
                self.put((x + covered, y), "", style);
            }
            x += width;
        }
    }
}

fn stage_box(canvas: &mut Canvas<'_>, place: Place, stage: &StageView, selected: bool) {
    let (sign, color) = look(stage.status);
    let color = if stage.lost_to_policy() > 0 { Color::Red } else { color };
    let border = match selected {
        true => Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD),
        false => Style::new().fg(color),
    };
    let Place { x, y, width } = place;
    let inner = width.max(4) as usize - 2;
    let name = cut(&stage.name, inner - 4);
    let rest = inner - 3 - columns_of(&name);
    canvas.write((x, y), &format!("╭─ {name} {}╮", "─".repeat(rest)), border);
    canvas.write((x + 3, y), &name, Style::new().add_modifier(Modifier::BOLD));
    let rate = format!("{sign} {}/s", text::rate(stage.rate));
    let room = inner.saturating_sub(columns_of(&rate) + 3);
    canvas.write((x, y + 1), "│", border);
    canvas.write((x + 1, y + 1), &fitted(&format!(" {rate}"), inner), Style::new().fg(color));
    let past = text::sparkline(&stage.history, room);
    canvas.write((x + width - 2 - room as i32, y + 1), &past, Style::new().fg(Color::Blue));
    canvas.write((x + width - 1, y + 1), "│", border);
    canvas.write((x, y + 2), &format!("╰{}╯", "─".repeat(inner)), border);
}

const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;

/// The lines, joined where they meet, with the dots that move along them.
fn lines(canvas: &mut Canvas<'_>, layout: &Layout, view: &View) {
    let mut ways: BTreeMap<Cell, u8> = BTreeMap::new();
    let mut ends = Vec::new();
    for Line { cells, .. } in &layout.lines {
        for pair in cells.windows(2) {
            let (there, back) = match (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1) {
                (1, _) => (RIGHT, LEFT),
                (-1, _) => (LEFT, RIGHT),
                (_, -1) => (UP, DOWN),
                _ => (DOWN, UP),
            };
            *ways.entry(pair[0]).or_default() |= there;
            *ways.entry(pair[1]).or_default() |= back;
        }
        if let (Some(first), Some(last)) = (cells.first(), cells.last()) {
            *ways.entry(*first).or_default() |= UP;
            ends.push(*last);
        }
    }
    let style = Style::new().fg(Color::DarkGray);
    for (cell, ways) in &ways {
        canvas.put(*cell, symbol(*ways), style);
    }
    ends.iter().for_each(|end| canvas.put(*end, "▼", style));
    // Over the arrows, too: where there is room for nothing but those, they show the flow.
    for line in &layout.lines {
        let rate = view.stages.get(line.from).map_or(0.0, |stage| stage.rate);
        let Some(speed) = speed(rate).filter(|_| !view.state.is_over()) else { continue };
        let travelled = view.elapsed.as_millis() * speed / 1000;
        for (at, cell) in line.cells.iter().enumerate() {
            if (at as u128 + APART - travelled % APART).is_multiple_of(APART) {
                canvas.put(*cell, "•", Style::new().fg(Color::Green).add_modifier(Modifier::BOLD));
            }
        }
    }
}

/// Cells a second. In steps, so that the dots do not jump when the rate trembles.
fn speed(rate: f64) -> Option<u128> {
    match rate {
        none if none < 0.05 => None,
        slow if slow < 10.0 => Some(3),
        some if some < 100.0 => Some(5),
        many if many < 1000.0 => Some(8),
        more if more < 10_000.0 => Some(11),
        _ => Some(15),
    }
}

fn symbol(ways: u8) -> &'static str {
    const VERTICAL: u8 = UP | DOWN;
    const HORIZONTAL: u8 = LEFT | RIGHT;
    match ways {
        HORIZONTAL | LEFT | RIGHT => "─",
        ways if ways & HORIZONTAL == 0 => "│",
        ways => match (ways & VERTICAL, ways & HORIZONTAL) {
            (DOWN, RIGHT) => "╭",
            (DOWN, LEFT) => "╮",
            (UP, RIGHT) => "╰",
            (UP, LEFT) => "╯",
            (DOWN, _) => "┬",
            (UP, _) => "┴",
            (_, RIGHT) => "├",
            (_, LEFT) => "┤",
            _ => "┼",
        },
    }
}

/// Where lines leave their boxes.
fn joints(canvas: &mut Canvas<'_>, layout: &Layout) {
    for line in &layout.lines {
        if let Some((x, y)) = line.cells.first() {
            let style = Style::new().fg(Color::DarkGray);
            canvas.put((*x, y - 1), "┬", style);
        }
    }
}

/// Arrows at the edge where the graph goes on.
fn more(canvas: &mut Canvas<'_>, layout: &Layout, pan: (i32, i32)) {
    let (width, height) = (i32::from(canvas.inside.width), i32::from(canvas.inside.height));
    let style = Style::new().fg(Color::Black).bg(Color::Yellow);
    let mut at = |shown: bool, x: i32, y: i32, arrow| {
        if shown && width > 0 && height > 0 {
            let corner =
                (i32::from(canvas.inside.x) - canvas.origin.0, i32::from(canvas.inside.y) - canvas.origin.1);
            canvas.put((corner.0 + x, corner.1 + y), arrow, style);
        }
    };
    at(pan.1 > 0, width - 1, 0, "↑");
    at(pan.1 + height < layout.height, width - 1, height - 1, "↓");
    at(pan.0 > 0, 0, height / 2, "←");
    at(pan.0 + width < layout.width, width - 1, height / 2, "→");
}
