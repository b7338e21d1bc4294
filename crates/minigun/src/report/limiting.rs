//! Which stage limits a run, and what one more worker would bring: a function of measured times.

use std::fmt;
use std::time::Duration;

/// The stage that limits a run: the one whose workers, each doing its share, would take longest for what they did.
///
/// It is found by the time that workers were busy. Those before such a stage wait for room, those behind it for
/// input; both are told beside it. It is an estimate: it takes for granted that another worker is as fast as those
/// there are, which needs a core, or time that is spent waiting for something else.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Limiting {
    /// Its name: the first stage of the block.
    pub stage: String,
    /// Its workers.
    pub workers: usize,
    /// The share of the run in which they were busy, from 0 to 1. Where it is small, nothing in the pipeline limits
    /// the run, but what it waits for.
    pub busy: f64,
    /// The stage that waited most for room behind it, and the share of its time.
    pub waits_for_room: Option<(String, f64)>,
    /// The stage that waited most for input, and the share of its time.
    pub waits_for_input: Option<(String, f64)>,
    /// How many times as fast the run might be with one more worker; `None` where there can be only one.
    pub one_more: Option<f64>,
}

/// What was measured of the workers of one block, or of a stage outside any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load<'a> {
    pub(crate) stage: &'a str,
    pub(crate) workers: usize,
    /// There can be more workers.
    pub(crate) grows: bool,
    /// What they shared: no more of them than this can have something to do.
    pub(crate) items: u64,
    /// Summed over the workers, as the others.
    pub(crate) busy: Duration,
    pub(crate) for_input: Duration,
    pub(crate) for_room: Duration,
}

impl Load<'_> {
    /// Of one worker.
    fn time(&self, sum: Duration) -> f64 {
        sum.as_secs_f64() / self.workers.max(1) as f64
    }
}

/// Waiting that is worth telling.
const SOME: f64 = 0.05;

/// Finds the limiting stage of a run that took so long (or has, until now).
pub(crate) fn limiting(loads: &[Load], elapsed: Duration) -> Option<Limiting> {
    let elapsed = elapsed.as_secs_f64();
    let busy = |load: &Load| load.time(load.busy);
    let (at, limit) = loads.iter().enumerate().max_by(|(_, a), (_, b)| busy(a).total_cmp(&busy(b)))?;
    if elapsed <= 0.0 || busy(limit) <= 0.0 {
        return None;
    }
    let others = || loads.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, load)| load);
    let most = |time: &dyn Fn(&Load) -> f64| {
        let most = others().max_by(|a, b| time(a).total_cmp(&time(b)))?;
        let share = (time(most) / elapsed).min(1.0);
        (share >= SOME).then(|| (most.stage.to_string(), share))
    };
    // With one more worker it takes less, until another stage is the limit; all else takes as long as it did.
    let next = others().map(busy).fold(0.0, f64::max);
    let less = limit.busy.as_secs_f64() / ((limit.workers + 1) as f64).min(limit.items.max(1) as f64);
    let saved = busy(limit).min(elapsed) - less.max(next).min(busy(limit).min(elapsed));
    Some(Limiting {
        stage: limit.stage.to_string(),
        workers: limit.workers,
        busy: (busy(limit) / elapsed).min(1.0),
        waits_for_room: most(&|load| load.time(load.for_room)),
        waits_for_input: most(&|load| load.time(load.for_input)),
        one_more: limit.grows.then(|| elapsed / (elapsed - saved)),
    })
}

/// Less than this is no gain that could be noticed.
const GAIN: f64 = 1.05;

/// In a few lines, each with two spaces before it.
impl fmt::Display for Limiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limiting { stage, workers, busy, .. } = self;
        let percent = |share: f64| (share * 100.0).round();
        let who = match workers {
            0 | 1 => "its worker was".to_string(),
            n => format!("its {n} workers were"),
        };
        if *busy >= 0.5 {
            writeln!(f, "  limited by `{stage}`: {who} busy {} % of the time", percent(*busy))?;
        } else {
            writeln!(f, "  no stage limits it: `{stage}` was busiest, {} % of the time", percent(*busy))?;
        }
        if let Some((other, share)) = &self.waits_for_room {
            writeln!(f, "    `{other}` waited for room {} % of its time", percent(*share))?;
        }
        if let Some((other, share)) = &self.waits_for_input {
            writeln!(f, "    `{other}` waited for input {} % of its time", percent(*share))?;
        }
        match self.one_more {
            Some(gain) if gain >= GAIN => {
                writeln!(f, "    one more worker, and a core for it: about {gain:.1} times as fast")
            }
            Some(_) if *busy >= 0.5 => writeln!(f, "    one more worker would bring next to nothing"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(stage: &str, workers: usize, busy: u64) -> Load<'_> {
        Load { stage, workers, grows: true, items: 1_000, busy: Duration::from_secs(busy), ..Load::default() }
    }

    fn in_100_s(loads: &[Load]) -> Limiting {
        limiting(loads, Duration::from_secs(100)).unwrap()
    }

    #[test]
    fn the_stage_whose_workers_had_most_to_do_each_is_the_limit() {
        let limit = in_100_s(&[load("read", 8, 300), load("parse", 2, 190), load("insert", 1, 40)]);
        assert_eq!((limit.stage.as_str(), limit.workers, limit.busy), ("parse", 2, 0.95));
    }

    #[test]
    fn one_more_worker_helps_until_another_stage_is_the_limit() {
        // 200 s of work by 2: by 3 it is 66.7 s, and all else takes no longer than before.
        let alone = in_100_s(&[load("parse", 2, 200)]).one_more.unwrap();
        assert!((alone - 1.5).abs() < 1e-9, "{alone}");
        let held = in_100_s(&[load("read", 1, 80), load("parse", 2, 200)]).one_more.unwrap();
        assert!((held - 1.25).abs() < 1e-9, "{held}");
        // Half of the run was something else, and stays.
        let half = in_100_s(&[load("parse", 1, 50)]).one_more.unwrap();
        assert!((half - 100.0 / 75.0).abs() < 1e-9, "{half}");
        let none = in_100_s(&[load("a", 1, 90), load("b", 1, 90)]).one_more.unwrap();
        assert!((none - 1.0).abs() < 1e-9, "{none}");
    }

    #[test]
    fn who_waits_for_it_is_told() {
        let waiting = |for_input, for_room| Load {
            for_input: Duration::from_secs(for_input),
            for_room: Duration::from_secs(for_room),
            ..load("", 2, 0)
        };
        let limit = in_100_s(&[
            Load { stage: "read", ..waiting(10, 160) },
            Load { stage: "walk", ..waiting(0, 30) },
            load("parse", 2, 190),
            Load { stage: "insert", ..waiting(120, 0) },
        ]);
        assert_eq!(limit.waits_for_room, Some(("read".to_string(), 0.8)));
        assert_eq!(limit.waits_for_input, Some(("insert".to_string(), 0.6)));
        assert_eq!(
            limit.to_string(),
            "  limited by `parse`: its 2 workers were busy 95 % of the time\n    \
             `read` waited for room 80 % of its time\n    \
             `insert` waited for input 60 % of its time\n    \
             one more worker, and a core for it: about 1.5 times as fast\n"
        );
    }

    #[test]
    fn a_run_that_waits_for_the_world_is_limited_by_no_stage() {
        let limit = in_100_s(&[load("in", 1, 4), load("out", 1, 3)]);
        assert_eq!(limit.to_string(), "  no stage limits it: `in` was busiest, 4 % of the time\n");
    }

    #[test]
    fn more_workers_than_items_bring_nothing() {
        let few = in_100_s(&[Load { items: 2, ..load("insert", 2, 160) }]);
        assert_eq!(few.one_more, Some(1.0));
    }

    #[test]
    fn a_source_gets_no_more_workers() {
        assert_eq!(in_100_s(&[Load { grows: false, ..load("walk", 1, 99) }]).one_more, None);
    }

    #[test]
    fn without_anything_measured_nothing_is_said() {
        assert_eq!(limiting(&[load("a", 1, 0)], Duration::from_secs(1)), None);
        assert_eq!(limiting(&[load("a", 1, 1)], Duration::ZERO), None);
        assert_eq!(limiting(&[], Duration::from_secs(1)), None);
    }

    #[test]
    fn more_than_all_the_time_is_all_of_it() {
        // Clocks of several threads need not agree to the last.
        let limit = in_100_s(&[load("a", 1, 101)]);
        assert_eq!((limit.busy, limit.one_more.unwrap() > 1.0), (1.0, true));
    }
}
