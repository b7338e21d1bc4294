//! Where the boxes of a graph stand, and the lines between them: layers from top to bottom, few crossings.
//!
//! A stage stands one layer below the lowest of those before it. Inside a layer, stages are ordered by where their
//! neighbours stand. Between two layers, lines run down, along a track, and down again; a line over several
//! layers passes through places kept free for it. What leads back up (a loop) gets no line.

use std::collections::BTreeMap;

/// Columns and rows from the top left corner; both may be beyond what is shown.
pub(super) type Cell = (i32, i32);

/// The rows of a box.
pub(super) const HEIGHT: i32 = 3;

/// Columns between two boxes.
const GAP: i32 = 2;

/// A stage's box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
}

impl Place {
    fn middle(&self) -> i32 {
        self.x + self.width / 2
    }
}

/// A line, cell by cell, from below the first box to above the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) cells: Vec<Cell>,
}

/// A drawn graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// By stage.
    pub(super) boxes: Vec<Place>,
    pub(super) lines: Vec<Line>,
    /// What leads back to an earlier stage.
    pub(super) loops: Vec<(usize, usize)>,
    pub(super) width: i32,
    pub(super) height: i32,
}

/// Something in a layer: a stage, or room for a line that passes.
#[derive(Clone, Copy)]
struct Node {
    layer: usize,
    place: Place,
}

/// Lays out stages with boxes of these widths. `air` rows at least are between two layers.
pub(super) fn layout(widths: &[i32], edges: &[(usize, usize)], air: i32) -> Layout {
    let mut edges: Vec<_> =
        edges.iter().copied().filter(|(a, b)| *a < widths.len() && *b < widths.len()).collect();
    edges.sort_unstable();
    edges.dedup();
    let (down, loops) = without_loops(widths.len(), &edges);
    let layers = layers(widths.len(), &down);
    let mut nodes: Vec<Node> = widths
        .iter()
        .zip(&layers)
        .map(|(&width, &layer)| Node { layer, place: Place { width, ..Place::default() } })
        .collect();
    // Every edge as a chain of nodes, one a layer.
    let chains: Vec<Vec<usize>> = down
        .iter()
        .map(|&(from, to)| {
            let mut chain = vec![from];
            for layer in layers[from] + 1..layers[to] {
                chain.push(nodes.len());
                nodes.push(Node { layer, place: Place { width: 1, ..Place::default() } });
            }
            chain.push(to);
            chain
        })
        .collect();
    let links: Vec<(usize, usize)> =
        chains.iter().flat_map(|chain| chain.windows(2).map(|pair| (pair[0], pair[1]))).collect();
    let mut rows = vec![Vec::new(); nodes.iter().map(|node| node.layer + 1).max().unwrap_or(0)];
    for (at, node) in nodes.iter().enumerate() {
        rows[node.layer].push(at);
    }
    untangle(&mut rows, &links, nodes.len());
    set_columns(&mut nodes, &rows, &links);
    let tracks = set_rows(&mut nodes, &rows, &links, air);
    let lines = chains.iter().zip(&down).map(|(chain, &(from, to))| Line {
        from,
        to,
        cells: cells_of(chain, &nodes, &tracks),
    });
    let lines = lines.collect();
    let right = nodes.iter().map(|node| node.place.x + node.place.width).max().unwrap_or(0);
    let bottom = nodes.iter().map(|node| node.place.y + HEIGHT).max().unwrap_or(0);
    let boxes = nodes.iter().take(widths.len()).map(|node| node.place).collect();
    Layout { boxes, lines, loops, width: right, height: bottom }
}

type Edges = Vec<(usize, usize)>;

/// Takes out the edges that close a circle.
fn without_loops(stages: usize, edges: &[(usize, usize)]) -> (Edges, Edges) {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        OnPath,
        Done,
    }
    fn visit(at: usize, edges: &[(usize, usize)], seen: &mut [Seen], loops: &mut Edges) {
        seen[at] = Seen::OnPath;
        for &(from, to) in edges.iter().filter(|(from, _)| *from == at) {
            match seen[to] {
                Seen::No => visit(to, edges, seen, loops),
                Seen::OnPath => loops.push((from, to)),
                Seen::Done => {}
            }
        }
        seen[at] = Seen::Done;
    }
    let (mut seen, mut loops) = (vec![Seen::No; stages], Vec::new());
    let begins = |stage: &usize| edges.iter().all(|(_, to)| to != stage);
    for stage in (0..stages).filter(begins).chain(0..stages) {
        if seen[stage] == Seen::No {
            visit(stage, edges, &mut seen, &mut loops);
        }
    }
    (edges.iter().copied().filter(|edge| !loops.contains(edge)).collect(), loops)
}

/// Each stage's layer: one below the lowest before it.
fn layers(stages: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut layers = vec![0; stages];
    // As often as a path can be long.
    for _ in 0..stages {
        let before = layers.clone();
        for &(from, to) in edges {
            layers[to] = layers[to].max(layers[from] + 1);
        }
        if before == layers {
            break;
        }
    }
    layers
}

/// Orders every layer by the mean place of its nodes' neighbours, a few times down and up.
fn untangle(rows: &mut [Vec<usize>], links: &[(usize, usize)], nodes: usize) {
    let mut at = vec![0.0; nodes];
    let note = |row: &[usize], at: &mut [f64]| {
        for (place, node) in row.iter().enumerate() {
            at[*node] = place as f64 - row.len() as f64 / 2.0;
        }
    };
    rows.iter().for_each(|row| note(row, &mut at));
    for sweep in 0..6 {
        let down = sweep % 2 == 0;
        let order: Vec<usize> =
            if down { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        for row in order {
            let wish = |node: &usize| {
                let near = links.iter().filter_map(|(a, b)| match down {
                    true => (b == node).then(|| at[*a]),
                    false => (a == node).then(|| at[*b]),
                });
                mean(near).unwrap_or(at[*node])
            };
            let mut wishes: Vec<(f64, usize)> = rows[row].iter().map(|node| (wish(node), *node)).collect();
            wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows[row] = wishes.into_iter().map(|(_, node)| node).collect();
            note(&rows[row], &mut at);
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// Gives every node its column: below the middle of its neighbours, as far as the others leave room.
fn set_columns(nodes: &mut [Node], rows: &[Vec<usize>], links: &[(usize, usize)]) {
    for row in rows {
        let mut x = 0;
        for &node in row {
            nodes[node].place.x = x;
            x += nodes[node].place.width + GAP;
        }
    }
    for sweep in 0..4 {
        let down = sweep % 2 == 0;
        let order: Vec<usize> =
            if down { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        for row in order {
            let wish = |node: usize| {
                let near = links.iter().filter_map(|&(a, b)| match down {
                    true => (b == node).then(|| f64::from(nodes[a].place.middle())),
                    false => (a == node).then(|| f64::from(nodes[b].place.middle())),
                });
                mean(near).map_or(nodes[node].place.x, |x| x.round() as i32 - nodes[node].place.width / 2)
            };
            let wishes: Vec<i32> = rows[row].iter().map(|node| wish(*node)).collect();
            let mut free = i32::MIN;
            let mut off = 0;
            for (&node, &wish) in rows[row].iter().zip(&wishes) {
                let x = wish.max(free);
                off += x - wish;
                nodes[node].place.x = x;
                free = x + nodes[node].place.width + GAP;
            }
            // What was pushed aside was pushed to the right: the layer goes back by half of that.
            let back = off / rows[row].len().max(1) as i32;
            rows[row].iter().for_each(|node| nodes[*node].place.x -= back);
        }
    }
    let left = nodes.iter().map(|node| node.place.x).min().unwrap_or(0);
    nodes.iter_mut().for_each(|node| node.place.x -= left);
}

/// Gives every node its row, and every link that runs aside its track: the row in which it does.
fn set_rows(
    nodes: &mut [Node],
    rows: &[Vec<usize>],
    links: &[(usize, usize)],
    air: i32,
) -> BTreeMap<(usize, usize), i32> {
    let mut tracks = BTreeMap::new();
    let mut y = 0;
    for (layer, row) in rows.iter().enumerate() {
        row.iter().for_each(|node| nodes[*node].place.y = y);
        let here: Edges = links.iter().copied().filter(|(from, _)| nodes[*from].layer == layer).collect();
        // What leaves one node runs together, and what arrives at one from nodes that have no other way.
        let mut groups: BTreeMap<(bool, usize), Edges> = BTreeMap::new();
        for &(from, to) in here.iter() {
            if nodes[from].place.middle() == nodes[to].place.middle() && fans(&here, from) == 1 {
                continue;
            }
            let key = if fans(&here, from) == 1 { (true, to) } else { (false, from) };
            groups.entry(key).or_default().push((from, to));
        }
        let mut used: Vec<Vec<(i32, i32)>> = Vec::new();
        for links in groups.values() {
            let columns = || {
                let ends = |(a, b): &(usize, usize)| [nodes[*a].place.middle(), nodes[*b].place.middle()];
                links.iter().flat_map(ends)
            };
            let span = (columns().min().unwrap_or(0), columns().max().unwrap_or(0));
            let free =
                |spans: &Vec<(i32, i32)>| spans.iter().all(|other| span.1 < other.0 || other.1 < span.0);
            let track = used.iter().position(free).unwrap_or(used.len());
            if track == used.len() {
                used.push(Vec::new());
            }
            used[track].push(span);
            tracks.extend(links.iter().map(|link| (*link, y + HEIGHT + track as i32)));
        }
        let between = if used.is_empty() { air } else { (used.len() as i32 + 1).max(air) };
        y += HEIGHT + between;
    }
    tracks
}

/// How many links leave this node.
fn fans(links: &[(usize, usize)], from: usize) -> usize {
    links.iter().filter(|(a, _)| *a == from).count()
}

/// The cells of a chain of links.
fn cells_of(chain: &[usize], nodes: &[Node], tracks: &BTreeMap<(usize, usize), i32>) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let last = chain.len() - 1;
    for (at, pair) in chain.windows(2).enumerate() {
        let (a, b) = (nodes[pair[0]].place, nodes[pair[1]].place);
        let top = a.y + HEIGHT;
        let (from, to) = (a.middle(), b.middle());
        let turn = tracks.get(&(pair[0], pair[1])).copied().unwrap_or(b.y - 1);
        cells.extend((top..turn).map(|y| (from, y)));
        let step = if to < from { -1 } else { 1 };
        let mut x = from;
        loop {
            cells.push((x, turn));
            if x == to {
                break;
            }
            x += step;
        }
        // A line passes through the rows of the places kept for it.
        let bottom = if at + 1 == last { b.y - 1 } else { b.y + HEIGHT - 1 };
        cells.extend((turn + 1..=bottom).map(|y| (to, y)));
    }
    cells
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chain_stands_in_one_column() {
        let layout = layout(&[10, 14, 8], &[(0, 1), (1, 2)], 2);
        let middles: BTreeSet<_> = layout.boxes.iter().map(Place::middle).collect();
        assert_eq!(middles.len(), 1, "{layout:?}");
        assert_eq!(layout.boxes.iter().map(|place| place.y).collect::<Vec<_>>(), [0, 5, 10]);
        assert_eq!(layout.height, 13);
    }

    #[test]
    fn a_loop_gets_no_line_and_no_layer_of_its_own() {
        let layout = layout(&[8, 8, 8], &[(0, 1), (1, 2), (2, 1)], 1);
        assert_eq!(layout.loops, [(2, 1)]);
        assert_eq!(layout.lines.len(), 2);
        assert!(layout.boxes[1].y < layout.boxes[2].y);
    }

    proptest! {
        #[test]
        fn boxes_never_overlap_and_lines_lead_from_box_to_box(
            widths in proptest::collection::vec(3i32..20, 1..12),
            edges in proptest::collection::vec((0usize..12, 0usize..12), 0..24),
            air in 1i32..3,
        ) {
            let layout = layout(&widths, &edges, air);
            prop_assert_eq!(layout.boxes.len(), widths.len());
            for (at, a) in layout.boxes.iter().enumerate() {
                prop_assert!(a.x >= 0 && a.x + a.width <= layout.width && a.y + HEIGHT <= layout.height);
                for b in &layout.boxes[..at] {
                    let apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y != b.y;
                    prop_assert!(apart, "{:?} and {:?}", a, b);
                }
            }
            let inside = |(x, y): Cell| {
                layout.boxes.iter().any(|b| x >= b.x && x < b.x + b.width && y >= b.y && y < b.y + HEIGHT)
            };
            for line in &layout.lines {
                let (from, to) = (layout.boxes[line.from], layout.boxes[line.to]);
                prop_assert_eq!(line.cells.first(), Some(&(from.middle(), from.y + HEIGHT)));
                prop_assert_eq!(line.cells.last(), Some(&(to.middle(), to.y - 1)));
                for pair in line.cells.windows(2) {
                    let step = (pair[0].0 - pair[1].0).abs() + (pair[0].1 - pair[1].1).abs();
                    prop_assert_eq!(step, 1, "a line has no holes");
                }
                prop_assert!(!line.cells.iter().any(|cell| inside(*cell)), "no line runs through a box");
            }
            let drawn = layout.lines.len() + layout.loops.len();
            let wanted: BTreeSet<_> =
                edges.iter().filter(|(a, b)| *a < widths.len() && *b < widths.len()).collect();
            prop_assert_eq!(drawn, wanted.len());
        }
    }
}
