//! A contest: everybody does the same work in turn, several times; medians are compared.
//!
//! Each turn is a process of its own, made by running this program again: no contestant meets another's threads,
//! heap or page tables, and a peak of memory is its own.

use std::error::Error;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::turn;
use crate::workloads::Workload;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// One kind of work, in which contestants are compared.
pub(crate) struct Case {
    /// Empty where a workload has only one.
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// How many items a turn has at full scale, and in a quick look.
    pub(crate) items: Scaled<u64>,
    pub(crate) contestants: Vec<Contestant>,
}

/// A number for the full run and one for the quick look; in a quick look a case without items is left out.
#[derive(Clone, Copy)]
pub(crate) struct Scaled<N> {
    pub(crate) full: N,
    pub(crate) quick: N,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// One way to do the work.
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Which of several ways to set it up was taken.
    pub(crate) settings: &'static str,
    /// It does this fraction of the items: one that is slow would otherwise take all the time.
    pub(crate) share: u64,
    /// Variables of its environment.
    env: &'static [(&'static str, &'static str)],
    run: Box<Run>,
}

type Run = dyn Fn(&Load) -> Result<Turn, BoxError>;

/// What a contestant is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Ours,
    Peer,
    /// What the machine could do at best.
    Limit,
}

/// What one turn is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) items: u64,
    /// How much work takes a microsecond on this machine ([`crate::burn`]).
    pub(crate) steps_per_us: u64,
}

/// What came of one turn: one value, or several with names. It can only be made of sums that agree.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Turn {
    Reached(Vec<(String, f64)>),
    /// It cannot take part on this machine.
    Skipped(String),
}

/// What one contestant reached, of all rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reached {
    pub(crate) workload: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The median.
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// How much is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// A look at whether everything works; the figures mean little.
    pub(crate) quick: bool,
    pub(crate) rounds: Option<usize>,
    /// Only contestants whose name contains one of these; all if there are none.
    pub(crate) only: Vec<String>,
}

impl Turn {
    /// One value.
    pub(crate) fn of(value: f64) -> Turn {
        Turn::Reached(vec![(String::new(), value)])
    }
}

/// What was computed is what had to be.
pub(crate) fn check(sum: u64, due: u64) -> Result<(), BoxError> {
    if sum == due { Ok(()) } else { Err(format!("came to the sum {sum}, not {due}").into()) }
}

impl Contestant {
    pub(crate) fn new(
        name: impl Into<String>,
        kind: Kind,
        run: impl Fn(&Load) -> Result<Turn, BoxError> + 'static,
    ) -> Self {
        Contestant { name: name.into(), kind, settings: "", share: 1, env: &[], run: Box::new(run) }
    }

    /// `run` does this many items and gives their sum, which must be what `due` says. Measured is everything
    /// `run` does, the making of threads and processes too, in `per` items a second.
    pub(crate) fn rate(
        name: impl Into<String>,
        kind: Kind,
        per: f64,
        due: impl Fn(&Load) -> u64 + 'static,
        run: impl Fn(&Load) -> Result<u64, BoxError> + 'static,
    ) -> Self {
        Contestant::new(name, kind, move |load| {
            let begun = Instant::now();
            let sum = run(load)?;
            let took = begun.elapsed();
            check(sum, due(load))?;
            Ok(Turn::of(rate(load.items, took, per)))
        })
    }

    pub(crate) fn settings(mut self, settings: &'static str) -> Self {
        self.settings = settings;
        self
    }

    pub(crate) fn share(mut self, share: u64) -> Self {
        self.share = share;
        self
    }

    pub(crate) fn env(mut self, env: &'static [(&'static str, &'static str)]) -> Self {
        self.env = env;
        self
    }

    pub(crate) fn take_turn(&self, load: &Load) -> Result<Turn, BoxError> {
        (self.run)(load)
    }
}

pub(crate) fn rate(items: u64, took: Duration, per: f64) -> f64 {
    items as f64 / took.as_secs_f64() / per
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ours => "ours",
            Kind::Peer => "peer",
            Kind::Limit => "limit",
        }
    }
}

impl Case {
    /// What a contestant is called in results, where a turn names its values by `what`.
    pub(crate) fn title(&self, contestant: &Contestant, what: &str) -> String {
        let mut title = String::new();
        if !self.name.is_empty() {
            title = format!("{}: ", self.name);
        }
        title += &contestant.name;
        if !what.is_empty() {
            title += ", ";
            title += what;
        }
        title
    }
}

/// Lets all contestants take turns, and gives each one's values to `tell` when the last round is over. An error if
/// one of them fails, or comes to another sum.
pub(crate) fn hold(workload: &Workload, scope: &Scope, steps_per_us: u64) -> Result<Vec<Reached>, BoxError> {
    let rounds =
        scope.rounds.unwrap_or(if scope.quick { workload.rounds.quick } else { workload.rounds.full });
    let mut results = Vec::new();
    for (index, case) in (workload.cases)().iter().enumerate() {
        let items = if scope.quick { case.items.quick } else { case.items.full };
        let asked = |contestant: &&Contestant| {
            let title = case.title(contestant, "");
            scope.only.is_empty() || scope.only.iter().any(|name| title.contains(name))
        };
        let contestants: Vec<_> = case.contestants.iter().filter(asked).collect();
        if items == 0 {
            if !contestants.is_empty() {
                eprintln!("{}: {} is left out of a quick look", workload.name, case.name);
            }
            continue;
        }
        let mut reached = vec![Vec::new(); contestants.len()];
        for round in 0..rounds {
            // Whoever comes first meets the machine as the one before left it: not always the same one.
            for at in 0..contestants.len() {
                let at = (at + round) % contestants.len();
                let (contestant, values) = (&contestants[at], &mut reached[at]);
                let load = Load { items: (items / contestant.share).max(1), steps_per_us };
                let title = case.title(contestant, "");
                match turn::elsewhere(workload.name, index, (&contestant.name, contestant.env), &load)
                    .map_err(|error| format!("{}: `{title}`: {error}", workload.name))?
                {
                    Turn::Reached(turn) => values.push(turn),
                    Turn::Skipped(why) if round == 0 => {
                        eprintln!("{}: `{title}` is skipped: {why}", workload.name);
                    }
                    Turn::Skipped(_) => {}
                }
            }
        }
        for (contestant, turns) in contestants.iter().zip(reached) {
            results.extend(medians(workload, case, contestant, &turns));
        }
    }
    Ok(results)
}

fn medians(
    workload: &Workload,
    case: &Case,
    contestant: &Contestant,
    turns: &[Vec<(String, f64)>],
) -> Vec<Reached> {
    let named = turns.first().map(Vec::as_slice).unwrap_or_default().iter().map(|(what, _)| what);
    named
        .map(|what| {
            let of =
                |turn: &Vec<(String, f64)>| turn.iter().find(|(name, _)| name == what).map(|found| found.1);
            let mut values: Vec<f64> = turns.iter().filter_map(of).collect();
            values.sort_by(f64::total_cmp);
            Reached {
                workload: workload.name.to_string(),
                name: case.title(contestant, what),
                kind: contestant.kind,
                value: values[values.len() / 2],
                unit: case.unit.to_string(),
                min: values[0],
                max: values[values.len() - 1],
            }
        })
        .collect()
}
