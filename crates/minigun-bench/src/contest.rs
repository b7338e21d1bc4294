//! A contest: everybody does the same work in turn, several times; medians are compared.

use std::error::Error;
use std::io::{self, Write};
use std::time::Instant;

use crate::workloads::Workload;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// One way to do a workload.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    run: Box<dyn Fn(u64) -> Result<u64, BoxError>>,
}

/// What a contestant is to us.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Ours,
    Peer,
    /// What the machine could do at best.
    Limit,
}

/// How much work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Full,
    /// Enough to see that it works; the figures mean nothing.
    Quick,
}

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Table,
    Json,
}

/// What one contestant reached, in the workload's unit.
pub(crate) struct Reached {
    name: &'static str,
    kind: Kind,
    median: f64,
    min: f64,
    max: f64,
}

impl Contestant {
    /// `run` does this many items and gives a sum that depends on each of them.
    pub(crate) fn new(
        name: &'static str,
        kind: Kind,
        run: impl Fn(u64) -> Result<u64, BoxError> + 'static,
    ) -> Self {
        Contestant { name, kind, run: Box::new(run) }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Ours => "ours",
            Kind::Peer => "peer",
            Kind::Limit => "limit",
        }
    }
}

/// Lets all contestants take turns. An error if one of them fails, or comes to another sum.
pub(crate) fn hold(workload: &Workload, scale: Scale) -> Result<Vec<Reached>, BoxError> {
    let (items, rounds) = match scale {
        Scale::Full => (workload.items, 9),
        Scale::Quick => (workload.items / 100, 3),
    };
    let contestants = (workload.contestants)();
    let mut speeds = vec![Vec::with_capacity(rounds); contestants.len()];
    let mut sum = None;
    for _ in 0..rounds {
        for (contestant, speeds) in contestants.iter().zip(&mut speeds) {
            let begun = Instant::now();
            let came_to = (contestant.run)(items)?;
            speeds.push(items as f64 / begun.elapsed().as_secs_f64() / workload.per);
            let expected = *sum.get_or_insert(came_to);
            if came_to != expected {
                let (workload, name) = (workload.name, contestant.name);
                return Err(format!("{workload}: `{name}` came to {came_to}, not {expected}").into());
            }
        }
    }
    Ok(contestants.iter().zip(speeds).map(|(contestant, speeds)| reached(contestant, speeds)).collect())
}

fn reached(contestant: &Contestant, mut speeds: Vec<f64>) -> Reached {
    speeds.sort_by(f64::total_cmp);
    let at = |index: usize| speeds.get(index).copied().unwrap_or(f64::NAN);
    Reached {
        name: contestant.name,
        kind: contestant.kind,
        median: at(speeds.len() / 2),
        min: at(0),
        max: at(speeds.len().saturating_sub(1)),
    }
}

pub(crate) fn print(workload: &Workload, results: &[Reached], style: Style) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match style {
        Style::Json => {
            for Reached { name, kind, median, min, max } in results {
                let (workload, unit, kind) = (workload.name, workload.unit, kind.name());
                let line = serde_json::json!({
                    "workload": workload, "name": name, "kind": kind,
                    "value": median, "unit": unit, "min": min, "max": max,
                });
                writeln!(out, "{line}")?;
            }
        }
        Style::Table => {
            writeln!(out, "{}: {} ({})", workload.name, workload.about, workload.unit)?;
            for Reached { name, kind, median, min, max } in results {
                writeln!(out, "  {:<5}  {name:<32}  {median:>9.2}  ({min:.2} to {max:.2})", kind.name())?;
            }
        }
    }
    Ok(())
}
