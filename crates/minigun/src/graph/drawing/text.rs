//! Boxes and arrows for a terminal.

use std::collections::HashMap;
use std::fmt::{self, Write};

use super::layout::{Item, Layout, layout};
use super::{Drawing, Node};

/// The longest name that is drawn whole.
const LONGEST: usize = 40;
/// Rows of a box.
const BOX: usize = 4;

pub(super) fn draw(drawing: &Drawing, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let texts: Vec<[String; 2]> = drawing.nodes.iter().map(lines).collect();
    let edges: Vec<_> = drawing.edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let widths: Vec<i32> = texts.iter().map(|texts| width(texts)).collect();
    let layout = layout(&widths, &edges);
    let mut canvas = Canvas::default();
    let mut row = 0;
    for (at, layer) in layout.layers.iter().enumerate() {
        for item in layer {
            match item.node {
                Some(node) => canvas.frame(row, item, &texts[node]),
                None => canvas.wire(0).down(item.center, row, row + BOX - 1),
            }
        }
        row += BOX;
        if let Some(links) = layout.links.get(at) {
            row += canvas.channel(row, (layer, &layout.layers[at + 1]), links);
        }
    }
    canvas.print(f)?;
    back(drawing, &layout, f)
}

/// Arrows that lead back are told in words.
fn back(drawing: &Drawing, layout: &Layout, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (from, to) in &layout.back {
        writeln!(f, "↺ from `{}` back to `{}`", drawing.nodes[*from].name, drawing.nodes[*to].name)?;
    }
    Ok(())
}

fn lines(node: &Node) -> [String; 2] {
    let mut name: String = node.name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if name.chars().count() > LONGEST {
        name = name.chars().take(LONGEST - 1).chain(['…']).collect();
    }
    let place = if node.place.is_empty() { String::new() } else { format!("·{}", node.place) };
    [name, format!("{}{place}", node.kind)]
}

/// Of a box with a border and a space on each side; odd, so that it has a middle.
fn width(texts: &[String]) -> i32 {
    let longest = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    (longest as i32 + 4) | 1
}

const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;

/// What is drawn: letters of boxes, and wires, which may cross.
#[derive(Default)]
struct Canvas {
    letters: HashMap<(usize, i32), char>,
    /// In each cell the directions into which each wire goes.
    wires: HashMap<(usize, i32), Vec<(usize, u8)>>,
    rows: usize,
    columns: i32,
}

/// One wire, by whose number its turns are told from crossings with others.
struct Wire<'a> {
    canvas: &'a mut Canvas,
    number: usize,
}

impl Wire<'_> {
    fn mark(&mut self, row: usize, column: i32, directions: u8) {
        let cell = self.canvas.wires.entry((row, column)).or_default();
        match cell.iter_mut().find(|(number, _)| *number == self.number) {
            Some((_, known)) => *known |= directions,
            None => cell.push((self.number, directions)),
        }
        self.canvas.reach(row, column);
    }

    /// Through all rows from `first` to `last`, both at their full height.
    fn down(&mut self, column: i32, first: usize, last: usize) {
        (first..=last).for_each(|row| self.mark(row, column, UP | DOWN));
    }

    fn across(&mut self, row: usize, first: i32, last: i32) {
        (first..last).for_each(|column| self.mark(row, column, RIGHT));
        (first + 1..=last).for_each(|column| self.mark(row, column, LEFT));
    }
}

/// All arrows from one item, or from several that lead to the same.
struct Net {
    outs: Vec<i32>,
    ins: Vec<i32>,
    track: usize,
}

impl Net {
    /// One of its ways out lies above a way in of the other.
    fn leaves_above(&self, other: &Net) -> bool {
        self.outs.iter().any(|out| other.ins.contains(out))
    }

    fn span(&self) -> (i32, i32) {
        let ends = || self.ins.iter().chain(&self.outs).copied();
        (ends().min().unwrap_or(0), ends().max().unwrap_or(0))
    }
}

impl Canvas {
    fn reach(&mut self, row: usize, column: i32) {
        self.rows = self.rows.max(row + 1);
        self.columns = self.columns.max(column + 1);
    }

    fn wire(&mut self, number: usize) -> Wire<'_> {
        Wire { canvas: self, number }
    }

    fn letter(&mut self, row: usize, column: i32, letter: char) {
        self.letters.insert((row, column), letter);
        self.reach(row, column);
    }

    fn frame(&mut self, row: usize, item: &Item, texts: &[String; 2]) {
        let (left, inner) = (item.center - item.width / 2, item.width as usize - 2);
        let rule = "─".repeat(inner);
        let rows = [
            format!("┌{rule}┐"),
            format!("│{:^inner$}│", texts[0]),
            format!("│{:^inner$}│", texts[1]),
            format!("└{rule}┘"),
        ];
        for (at, text) in rows.iter().enumerate() {
            for (column, letter) in (left..).zip(text.chars()) {
                self.letter(row + at, column, letter);
            }
        }
    }

    /// Draws the arrows between two layers from `row` on; says how many rows that took.
    fn channel(&mut self, row: usize, (upper, lower): (&[Item], &[Item]), links: &[(usize, usize)]) -> usize {
        let ways_in = |to: usize| links.iter().filter(|link| link.1 == to).count();
        let ways_out = |from: usize| links.iter().filter(|link| link.0 == from).count();
        let is_straight = |&(from, to): &(usize, usize)| {
            upper[from].center == lower[to].center && ways_in(to) == 1 && ways_out(from) == 1
        };
        // Boxes have their ways in and out beside the middle, so that none lies above another by chance.
        let out = |item: &Item| item.center + i32::from(item.node.is_some());
        let into = |item: &Item| item.center - i32::from(item.node.is_some());
        let mut nets: Vec<Net> = Vec::new();
        for (at, item) in upper.iter().enumerate() {
            let targets = links.iter().filter(|link| link.0 == at && !is_straight(link));
            let ins: Vec<i32> = targets.map(|(_, to)| into(&lower[*to])).collect();
            match nets.iter_mut().find(|net| net.ins == ins) {
                _ if ins.is_empty() => {}
                Some(same) => same.outs.push(out(item)),
                None => nets.push(Net { outs: vec![out(item)], ins, track: 0 }),
            }
        }
        let tracks = assign_tracks(&mut nets);
        for (number, net) in nets.iter().enumerate() {
            let (first, last) = net.span();
            let mut wire = self.wire(number);
            let at = row + net.track;
            for column in &net.outs {
                (row..at).for_each(|row| wire.mark(row, *column, UP | DOWN));
                wire.mark(at, *column, UP);
            }
            wire.across(at, first, last);
            for column in &net.ins {
                wire.mark(at, *column, DOWN);
                (at + 1..row + tracks).for_each(|row| wire.mark(row, *column, UP | DOWN));
            }
        }
        for link in links.iter().filter(|link| is_straight(link)) {
            (row..row + tracks)
                .for_each(|row| self.wire(nets.len() + link.0).down(upper[link.0].center, row, row));
        }
        for link in links {
            let (from, to) = (&upper[link.0], &lower[link.1]);
            let straight = is_straight(link);
            if from.node.is_some() {
                self.letter(row - 1, if straight { from.center } else { out(from) }, '┬');
            }
            let tip = if to.node.is_some() { '▼' } else { '│' };
            self.letter(row + tracks, if straight { to.center } else { into(to) }, tip);
        }
        tracks + 1
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        for row in 0..self.rows {
            line.clear();
            for column in 0..self.columns {
                let wires = self.wires.get(&(row, column)).map_or(' ', |wires| joined(wires));
                line.write_char(*self.letters.get(&(row, column)).unwrap_or(&wires))?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Gives every net a row for its horizontal part; says how many rows there are.
fn assign_tracks(nets: &mut [Net]) -> usize {
    // Where one leaves above another's way in, it must turn off before that one turns in. In a circle of such demands
    // one of them is given up.
    let mut left: Vec<usize> = (0..nets.len()).collect();
    let (mut placed, mut tracks): (Vec<usize>, usize) = (Vec::new(), 0);
    while !left.is_empty() {
        let is_free =
            |net: usize| left.iter().all(|other| *other == net || !nets[*other].leaves_above(&nets[net]));
        let at = left.iter().position(|net| is_free(*net)).unwrap_or(0);
        let net = left.remove(at);
        let (first, last) = nets[net].span();
        let below = |other: &&usize| nets[**other].leaves_above(&nets[net]);
        let least = placed.iter().filter(below).map(|other| nets[*other].track + 1).max().unwrap_or(0);
        let is_taken = |track: usize| {
            placed.iter().any(|other| {
                let (from, to) = nets[*other].span();
                nets[*other].track == track && from <= last + 1 && first <= to + 1
            })
        };
        let track = (least..).find(|track| !is_taken(*track)).unwrap_or(least);
        nets[net].track = track;
        tracks = tracks.max(track + 1);
        placed.push(net);
    }
    tracks
}

/// The character for the wires of a cell: where they only cross, the one that goes down lies above.
fn joined(wires: &[(usize, u8)]) -> char {
    let down = UP | DOWN;
    let across = LEFT | RIGHT;
    let cross = wires.iter().any(|(_, directions)| *directions == across)
        && wires.iter().any(|(_, directions)| *directions == down)
        && wires.iter().all(|(_, directions)| [down, across].contains(directions));
    let directions = if cross { down } else { wires.iter().fold(0, |all, (_, directions)| all | directions) };
    match directions {
        0 => ' ',
        d if d == down || d == UP || d == DOWN => '│',
        d if d == across || d == LEFT || d == RIGHT => '─',
        d if d == DOWN | RIGHT => '┌',
        d if d == DOWN | LEFT => '┐',
        d if d == UP | RIGHT => '└',
        d if d == UP | LEFT => '┘',
        d if d == down | RIGHT => '├',
        d if d == down | LEFT => '┤',
        d if d == across | DOWN => '┬',
        d if d == across | UP => '┴',
        _ => '┼',
    }
}
