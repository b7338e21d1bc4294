//! Places for boxes on a terminal: every node has a layer below those it gets its items from, and a column.
//!
//! An arrow that skips layers goes through a lane of its own in each of them.

use std::collections::BTreeSet;

/// What stands in a layer: a box or a lane, each with the columns its arrows use.
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    /// The node it is; `None` for a lane.
    pub(super) node: Option<usize>,
    /// The middle column, and the columns it takes.
    pub(super) center: i32,
    pub(super) width: i32,
}

pub(super) struct Layout {
    pub(super) layers: Vec<Vec<Item>>,
    /// Between a layer and the next: from which item of the one to which of the other.
    pub(super) links: Vec<Vec<(usize, usize)>>,
    /// Arrows that lead back.
    pub(super) back: Vec<(usize, usize)>,
}

/// Columns between two boxes.
const GAP: i32 = 2;
/// Middles are multiples of this, so that ways in, ways out and lanes never share a column by chance.
pub(super) const GRID: i32 = 4;

/// Places nodes of these widths, which are odd.
pub(super) fn layout(widths: &[i32], edges: &[(usize, usize)]) -> Layout {
    let edges: Vec<(usize, usize)> = edges.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let (edges, back): (Vec<_>, Vec<_>) = {
        let leads_back = back_edges(widths.len(), &edges);
        edges.into_iter().partition(|edge| !leads_back.contains(edge))
    };
    let layer_of = layers(widths.len(), &edges);
    let depth = layer_of.iter().max().map_or(0, |last| last + 1);
    let mut layers: Vec<Vec<Item>> = (0..depth).map(|_| Vec::new()).collect();
    let mut at = vec![0; widths.len()];
    for (node, layer) in layer_of.iter().enumerate() {
        at[node] = layers[*layer].len();
        layers[*layer].push(Item { node: Some(node), center: 0, width: widths[node] });
    }
    let mut links = vec![Vec::new(); depth.saturating_sub(1)];
    for &(from, to) in &edges {
        let mut last = at[from];
        for layer in layer_of[from] + 1..layer_of[to] {
            let lane = layers[layer].len();
            layers[layer].push(Item { node: None, center: 0, width: 1 });
            links[layer - 1].push((last, lane));
            last = lane;
        }
        links[layer_of[to] - 1].push((last, at[to]));
    }
    let mut layout = Layout { layers, links, back };
    for layer in 0..depth {
        layout.order(layer);
        layout.place(layer);
    }
    layout.shift_left();
    layout
}

/// Edges to a node that leads to them.
fn back_edges(nodes: usize, edges: &[(usize, usize)]) -> BTreeSet<(usize, usize)> {
    let (mut found, mut open, mut done) = (BTreeSet::new(), vec![false; nodes], vec![false; nodes]);
    for start in 0..nodes {
        // Depth first, with the edges still to be followed.
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        if done[start] {
            continue;
        }
        open[start] = true;
        while let Some((node, next)) = path.last_mut() {
            let edge = edges.iter().filter(|(from, _)| from == node).nth(*next);
            *next += 1;
            match edge {
                Some(&(from, to)) if open[to] => {
                    found.insert((from, to));
                }
                Some((_, to)) if !done[*to] => {
                    open[*to] = true;
                    path.push((*to, 0));
                }
                Some(_) => {}
                None => {
                    open[*node] = false;
                    done[*node] = true;
                    path.pop();
                }
            }
        }
    }
    found
}

/// Each node's layer: below all it gets items from; a source right above the first that takes from it.
fn layers(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut layer = vec![0; nodes];
    let mut changed = true;
    // Without cycles this settles after as many rounds as there are layers.
    while changed {
        changed = false;
        for &(from, to) in edges {
            if layer[to] <= layer[from] {
                layer[to] = layer[from] + 1;
                changed = true;
            }
        }
    }
    for node in 0..nodes {
        let first = edges.iter().filter(|(from, _)| *from == node).map(|(_, to)| layer[*to]).min();
        if let Some(first) = first
            && edges.iter().all(|(_, to)| *to != node)
        {
            layer[node] = first - 1;
        }
    }
    layer
}

impl Layout {
    /// Where the items above lead to, on average: `None` for one that nothing leads to.
    fn wished(&self, layer: usize, item: usize) -> Option<f64> {
        let (above, links) = (self.layers.get(layer.checked_sub(1)?)?, &self.links[layer - 1]);
        let centers = links.iter().filter(|(_, to)| *to == item).map(|(from, _)| above[*from].center);
        let centers: Vec<i32> = centers.collect();
        let sum: i32 = centers.iter().sum();
        (!centers.is_empty()).then(|| f64::from(sum) / centers.len() as f64)
    }

    /// Sorts a layer by where its items want to be, so that few arrows cross.
    fn order(&mut self, layer: usize) {
        let wishes: Vec<Option<f64>> =
            (0..self.layers[layer].len()).map(|item| self.wished(layer, item)).collect();
        let mut order: Vec<usize> = (0..wishes.len()).collect();
        let last = wishes.iter().flatten().fold(0.0, |a: f64, b| a.max(*b));
        order.sort_by(|a, b| wishes[*a].unwrap_or(last).total_cmp(&wishes[*b].unwrap_or(last)));
        let mut new = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, from)| new[*from] = to);
        let mut items: Vec<_> = std::mem::take(&mut self.layers[layer]).into_iter().zip(&new).collect();
        items.sort_by_key(|(_, to)| **to);
        self.layers[layer] = items.into_iter().map(|(item, _)| item).collect();
        if let Some(above) = layer.checked_sub(1) {
            self.links[above].iter_mut().for_each(|(_, to)| *to = new[*to]);
        }
        if let Some(below) = self.links.get_mut(layer) {
            below.iter_mut().for_each(|(from, _)| *from = new[*from]);
        }
    }

    /// Gives each item of a layer the place it wants, or the next to the right; then moves all of them to where they are
    /// right on average.
    fn place(&mut self, layer: usize) {
        let (mut free, mut moved, mut count) = (i32::MIN, 0.0, 0);
        for item in 0..self.layers[layer].len() {
            let wished = self.wished(layer, item);
            let this = &mut self.layers[layer][item];
            let half = this.width / 2;
            let least = if free == i32::MIN { None } else { Some(free + half) };
            let on_grid = wished.map(|wished| (wished / f64::from(GRID)).round() as i32 * GRID);
            this.center = match (on_grid, least) {
                (Some(wished), Some(least)) => up_to_grid(wished.max(least)),
                (Some(wished), None) => wished,
                (None, least) => up_to_grid(least.unwrap_or(half)),
            };
            if let Some(wished) = wished {
                moved += wished - f64::from(this.center);
                count += 1;
            }
            free = this.center + half + 1 + GAP;
        }
        if count > 0 {
            let shift = (moved / f64::from(count) / f64::from(GRID)).round() as i32 * GRID;
            self.layers[layer].iter_mut().for_each(|item| item.center += shift);
        }
    }

    /// The leftmost column is 0, or as near as the grid allows.
    fn shift_left(&mut self) {
        let left = self.layers.iter().flatten().map(|item| item.center - item.width / 2).min().unwrap_or(0);
        let shift = up_to_grid(-left);
        self.layers.iter_mut().flatten().for_each(|item| item.center += shift);
    }
}

fn up_to_grid(column: i32) -> i32 {
    (column + GRID - 1).div_euclid(GRID) * GRID
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Also with circles and loops, as a feedback makes them.
        #[test]
        fn boxes_do_not_touch_and_every_arrow_leads_down_or_is_told_to_lead_back(
            widths in prop::collection::vec((2i32..12).prop_map(|half| 2 * half + 1), 1..14),
            edges in prop::collection::vec((0usize..14, 0usize..14), 0..30),
        ) {
            let nodes = widths.len();
            let edges: Vec<_> = edges.into_iter().map(|(from, to)| (from % nodes, to % nodes)).collect();
            let layout = layout(&widths, &edges);
            for layer in &layout.layers {
                for pair in layer.windows(2) {
                    let (left, right) = (&pair[0], &pair[1]);
                    prop_assert!(left.center + left.width / 2 + GAP < right.center - right.width / 2 + 1);
                }
                prop_assert!(layer.iter().all(|item| item.center - item.width / 2 >= 0 && item.center % GRID == 0));
            }
            let drawn: usize = layout.layers.iter().flatten().filter(|item| item.node.is_some()).count();
            prop_assert_eq!(drawn, nodes);
            // Each way from a node through its lanes ends at a node.
            let mut down = Vec::new();
            for (at, layer) in layout.layers.iter().enumerate() {
                for (index, item) in layer.iter().enumerate() {
                    let Some(from) = item.node else { continue };
                    let mut ways = vec![(at, index)];
                    while let Some((layer, item)) = ways.pop() {
                        for (_, to) in layout.links.get(layer).into_iter().flatten().filter(|link| link.0 == item) {
                            match layout.layers[layer + 1][*to].node {
                                Some(node) => down.push((from, node)),
                                None => ways.push((layer + 1, *to)),
                            }
                        }
                    }
                }
            }
            let all: BTreeSet<_> = down.into_iter().chain(layout.back.iter().copied()).collect();
            prop_assert_eq!(all, edges.into_iter().collect::<BTreeSet<_>>());
        }
    }
}
