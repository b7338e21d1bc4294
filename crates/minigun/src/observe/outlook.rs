//! How far a run is, and how long it will take: a function of its figures at a few moments.

use std::time::Duration;

use crate::graph::{Graph, StageId};
use crate::report::StageReport;
use crate::report::text::{cut, fitted, grouped, scaled, width};
use crate::stats::WorkerState;

/// How far the stages of one block are, or a stage outside any.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Items it has dealt with; those that a source has made.
    pub(crate) done: u64,
    /// Of so many, as far as that is known.
    pub(crate) of: Option<u64>,
    /// Items in a second, lately.
    pub(crate) rate: f64,
    /// All its workers have ended.
    pub(crate) ended: bool,
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outlook {
    pub(crate) rows: Vec<Row>,
    /// The part of everything that is done, from 0 to 1: that of the stage which has the smallest part done.
    pub(crate) part: Option<f64>,
    /// The time that is left, if all goes on as it did.
    pub(crate) left: Option<Duration>,
}

/// Looks at a run again and again.
pub(crate) struct Watcher {
    /// By stage: the stages before it.
    before: Vec<Vec<usize>>,
    /// By stage: how many ways its items go; on more than one, each item takes one of them.
    ways: Vec<usize>,
    /// By stage: what was done at the last look, and the rate since.
    last: Vec<(u64, Option<f64>)>,
    looked: Duration,
}

/// The weight of what came in the last second.
const NEWS: f64 = 0.3;

/// Stages whose items come out as they went in, one for one.
const ONE_TO_ONE: [&str; 5] = ["map", "try_map", "inspect", "source", "channel"];

impl Watcher {
    pub(crate) fn new(graph: &Graph) -> Watcher {
        let mut before = vec![Vec::new(); graph.stages.len()];
        let mut ways = vec![0; graph.stages.len()];
        for (point, info) in graph.points.iter().enumerate() {
            for StageId(stage) in &info.from {
                if let Some(ways) = ways.get_mut(*stage as usize) {
                    *ways += 1;
                }
            }
            let from = graph.sources(crate::graph::PointId(point as u32));
            for StageId(to) in &info.to {
                if let Some(before) = before.get_mut(*to as usize) {
                    before.extend(from.iter().map(|StageId(stage)| *stage as usize));
                }
            }
        }
        before.iter_mut().for_each(|before| {
            before.sort_unstable();
            before.dedup();
        });
        Watcher { last: vec![(0, None); before.len()], before, ways, looked: Duration::ZERO }
    }

    /// Looks at the figures of now, so long after the start.
    pub(crate) fn look(&mut self, stages: &[StageReport], now: Duration) -> Outlook {
        let since = now.saturating_sub(self.looked).as_secs_f64();
        self.looked = now;
        let mut outlook = Outlook::default();
        for (at, stage) in stages.iter().enumerate().filter(|(_, stage)| !stage.workers.is_empty()) {
            let done: u64 = stage.workers.iter().map(|worker| worker.items).sum();
            let (before, rate) = self.last.get(at).copied().unwrap_or_default();
            let news = (done - done.min(before)) as f64 / since.max(1e-9);
            let weight = 1.0 - (1.0 - NEWS).powf(since);
            let rate = rate.map_or(news, |rate| rate + weight * (news - rate));
            if let Some(last) = self.last.get_mut(at)
                && since > 0.0
            {
                // Until its first item a stage has no rate.
                *last = (done, (done > 0).then_some(rate));
            }
            let of = self.arriving(stages, at, &mut Vec::new()).map(|of| of.max(done));
            let ended = stage.workers.iter().all(|worker| worker.state == WorkerState::Ended);
            outlook.rows.push(Row { name: stage.name.clone(), done, of, rate, ended });
        }
        let known = || outlook.rows.iter().filter_map(|row| row.of.map(|of| (row, of)));
        let part = |(row, of): (&Row, u64)| if of == 0 { 1.0 } else { row.done as f64 / of as f64 };
        // Of a run with a part whose end nobody knows, nobody knows the end.
        let all_known = outlook.rows.iter().all(|row| row.of.is_some() || row.ended || row.done == 0);
        if all_known && known().next().is_some() {
            outlook.part = known().map(part).reduce(f64::min);
            let left =
                known().filter(|(row, of)| row.done < *of).map(|(row, of)| (of - row.done) as f64 / row.rate);
            // A stage that has not begun tells nothing yet.
            outlook.left = Some(left.filter(|left| left.is_finite()).fold(0.0, f64::max))
                .filter(|_| known().any(|(row, _)| row.rate > 0.0))
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        }
        outlook
    }

    /// The items that will have arrived at a stage in the end, or that a source will have made.
    fn arriving(&self, stages: &[StageReport], at: usize, seen: &mut Vec<usize>) -> Option<u64> {
        let stage = stages.get(at)?;
        if stage.kind == "source" {
            return stage.figures.expected;
        }
        // A loop has no end that could be known.
        if seen.contains(&at) {
            return None;
        }
        let before = self.before.get(at).filter(|before| !before.is_empty())?;
        seen.push(at);
        let sum = before.iter().map(|before| self.leaving(stages, *before, at, seen)).sum();
        seen.pop();
        sum
    }

    /// The items that will have left a stage for another in the end: where it is not one for one, by what came out till
    /// now; where it has several ways, by what went to that one till now.
    fn leaving(&self, stages: &[StageReport], at: usize, to: usize, seen: &mut Vec<usize>) -> Option<u64> {
        let arriving = self.arriving(stages, at, seen)?;
        let stage = stages.get(at)?;
        if self.ways.get(at).is_some_and(|ways| *ways > 1) {
            // What arrives there is told apart by nobody.
            let alone = self.before.get(to).is_some_and(|before| before.len() == 1);
            let (ins, there) = (stage.figures.items_in, stages.get(to).filter(|_| alone)?.figures);
            let went = there.items_in + there.queue.map_or(0, |queue| queue.depth);
            let share = (went as f64 / ins as f64).min(1.0);
            return (ins > 0).then(|| went.max((arriving as f64 * share).round() as u64));
        }
        if ONE_TO_ONE.contains(&stage.kind) {
            return Some(arriving);
        }
        let (ins, outs) = (stage.figures.items_in, stage.figures.items_out);
        if ins >= arriving {
            return Some(outs);
        }
        (outs > 0 && ins > 0).then(|| (arriving as f64 * (outs as f64 / ins as f64)).round() as u64)
    }
}

impl Row {
    /// `1,234 of 2,000, 52/s`.
    pub(crate) fn text(&self) -> String {
        let done = match self.of {
            Some(of) if !self.ended && of > self.done => format!("{} of {}", grouped(self.done), grouped(of)),
            _ => grouped(self.done),
        };
        if self.ended || self.rate < 0.05 { done } else { format!("{done}, {}/s", scaled(self.rate)) }
    }
}

impl Outlook {
    /// `45 %, 1:02 left`; empty if nothing is known.
    pub(crate) fn summary(&self) -> String {
        let part = self.part.map(|part| format!("{:.0} %", (part * 100.0).floor()));
        let left = self.left.map(|left| format!("{} left", clock(left)));
        [part, left].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// The whole of it in one line of so many columns: `name: 45 %, 1:02 left; read 1,234 of 2,000, 52/s; …`.
    pub(crate) fn line(&self, pipeline: &str, columns: usize) -> String {
        let rows = self.rows.iter().map(|row| format!("{} {}", row.name, row.text()));
        let parts = [self.summary()].into_iter().filter(|summary| !summary.is_empty()).chain(rows);
        cut(&format!("{pipeline}: {}", parts.collect::<Vec<_>>().join("; ")), columns)
    }

    /// Columns for the names of the rows.
    pub(crate) fn name_width(&self) -> usize {
        self.rows.iter().map(|row| width(&row.name)).max().unwrap_or(0).min(20)
    }
}

impl Row {
    /// The name in so many columns.
    pub(crate) fn name_in(&self, columns: usize) -> String {
        fitted(&self.name, columns)
    }
}

/// `0:07`, `1:02:03`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{QueueFigures, StageFigures, WorkerFigures};

    fn stage(name: &str, kind: &'static str, items: u64, figures: StageFigures) -> StageReport {
        let worker = WorkerFigures {
            pid: None,
            state: WorkerState::Working,
            items,
            restarts: 0,
            memory: None,
            peak_memory: None,
        };
        StageReport {
            name: name.to_string(),
            kind,
            place: String::new(),
            figures,
            workers: vec![worker],
            failures: Vec::new(),
            deaths: Vec::new(),
        }
    }

    /// A source, a step that makes two of one, a consumer.
    fn run(expected: Option<u64>, made: u64, doubled: u64, eaten: u64) -> [StageReport; 3] {
        let figures = |items_in, items_out| StageFigures { items_in, items_out, ..StageFigures::default() };
        [
            stage("in", "source", made, StageFigures { expected, ..figures(0, made) }),
            stage("double", "flat_map", doubled, figures(doubled, 2 * doubled)),
            stage("eat", "consumer", eaten, figures(eaten, 0)),
        ]
    }

    fn watcher() -> Watcher {
        let (before, ways) = (vec![vec![], vec![0], vec![1]], vec![1, 1, 0]);
        Watcher { before, ways, last: vec![(0, None); 3], looked: Duration::ZERO }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn how_much_there_is_to_do_is_followed_from_the_source() {
        let outlook = watcher().look(&run(Some(100), 60, 50, 40), SECOND);
        let of: Vec<_> = outlook.rows.iter().map(|row| (row.done, row.of)).collect();
        assert_eq!(of, [(60, Some(100)), (50, Some(100)), (40, Some(200))]);
        assert_eq!(outlook.part, Some(0.2));
        // 160 items at 40 in a second.
        assert_eq!(outlook.left, Some(4 * SECOND));
        assert_eq!(
            outlook.line("job", 200),
            "job: 20 %, 0:04 left; in 60 of 100, 60/s; double 50 of 100, 50/s; eat 40 of 200, 40/s"
        );
    }

    #[test]
    fn of_a_source_without_a_known_end_there_is_only_a_rate() {
        let outlook = watcher().look(&run(None, 60, 50, 40), SECOND);
        assert_eq!((outlook.part, outlook.left), (None, None));
        assert_eq!(outlook.line("job", 200), "job: in 60, 60/s; double 50, 50/s; eat 40, 40/s");
    }

    #[test]
    fn a_rate_follows_what_happens() {
        let mut watcher = watcher();
        watcher.look(&run(None, 100, 0, 0), SECOND);
        let rate = |outlook: &Outlook| outlook.rows[0].rate;
        let slower = watcher.look(&run(None, 100, 0, 0), 2 * SECOND);
        assert!((rate(&slower) - 70.0).abs() < 0.01, "{slower:?}");
        let again = watcher.look(&run(None, 100, 0, 0), 2 * SECOND);
        assert_eq!(rate(&again), rate(&slower), "no time has passed");
        let later = watcher.look(&run(None, 100, 0, 0), 60 * SECOND);
        assert!(rate(&later) < 0.01, "{later:?}");
    }

    #[test]
    fn what_is_done_is_all_done() {
        let outlook = watcher().look(&run(Some(100), 100, 100, 200), SECOND);
        assert_eq!((outlook.part, outlook.left), (Some(1.0), Some(Duration::ZERO)));
        let nothing = watcher().look(&run(Some(0), 0, 0, 0), SECOND);
        assert_eq!(nothing.part, Some(1.0));
    }

    #[test]
    fn where_items_take_one_of_several_ways_each_way_has_its_share() {
        let figures = |items_in, items_out| StageFigures { items_in, items_out, ..StageFigures::default() };
        let waiting = QueueFigures { depth: 5, limit: 10 };
        let stages = [
            stage("in", "source", 40, StageFigures { expected: Some(100), ..figures(0, 40) }),
            stage("split", "partition", 40, figures(40, 40)),
            stage("few", "map", 5, StageFigures { queue: Some(waiting), ..figures(5, 5) }),
            stage("many", "map", 30, figures(30, 30)),
            stage("both", "consumer", 35, figures(35, 0)),
        ];
        let mut watcher = Watcher {
            before: vec![vec![], vec![0], vec![1], vec![1], vec![2, 3]],
            ways: vec![1, 2, 1, 1, 0],
            last: vec![(0, None); 5],
            looked: Duration::ZERO,
        };
        let of: Vec<_> = watcher.look(&stages, SECOND).rows.iter().map(|row| row.of).collect();
        assert_eq!(of, [100, 100, 25, 75, 100].map(Some));
        // Two ways of one split that meet in a stage are not told apart.
        watcher.before[4] = vec![1, 2];
        assert_eq!(watcher.look(&stages, SECOND).rows[4].of, None);
    }

    #[test]
    fn a_loop_has_no_known_end() {
        let mut watcher = Watcher { before: vec![vec![], vec![0, 2], vec![1]], ..watcher() };
        let outlook = watcher.look(&run(Some(100), 60, 50, 40), SECOND);
        assert_eq!((outlook.rows[1].of, outlook.part), (None, None));
    }

    #[test]
    fn a_line_is_no_longer_than_it_may_be() {
        let line = watcher().look(&run(Some(100), 60, 50, 40), SECOND).line("job", 30);
        assert_eq!((width(&line), line.as_str()), (30, "job: 20 %, 0:04 left; in 60 o…"));
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }
}
