//! Results read back from what `--json` has printed, beside the contestants they belong to.

use std::fs;
use std::path::Path;

use crate::contest::{Better, BoxError, Kind, Reached};
use crate::workloads::{WORKLOADS, Workload};

/// All that is in one file; of what was measured twice, the later.
pub(crate) struct Results(Vec<Reached>);

/// What was reached in one case of a workload, in the order of its contestants.
pub(crate) struct CaseResults {
    /// Empty where a workload has only one.
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Row {
    /// The contestant, and which of its values.
    pub(crate) name: String,
    pub(crate) settings: &'static str,
    pub(crate) reached: Reached,
    /// How many times what minigun's first entry reached: absent for that one, and where it is missing.
    pub(crate) of_ours: Option<f64>,
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Results, BoxError> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut all: Vec<Reached> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let new: Reached = serde_json::from_str(line)
                .map_err(|error| format!("{}, line {}: {error}", path.display(), number + 1))?;
            match all.iter_mut().find(|old| old.workload == new.workload && old.name == new.name) {
                Some(old) => *old = new,
                None => all.push(new),
            }
        }
        Ok(Results(all))
    }

    /// What a contestant reached, by the name it has in results.
    pub(crate) fn value(&self, workload: &str, name: &str) -> Option<f64> {
        self.0.iter().find(|found| found.workload == workload && found.name == name).map(|found| found.value)
    }

    /// The best of a kind whose name begins like this.
    pub(crate) fn best(&self, workload: &str, begins: &str, kind: Kind) -> Option<f64> {
        let of = self.0.iter().filter(|found| found.workload == workload && found.kind == kind);
        of.filter(|found| found.name.starts_with(begins)).map(|found| found.value).max_by(f64::total_cmp)
    }

    /// A workload's cases, without those that were not measured.
    pub(crate) fn cases(&self, workload: &Workload) -> Vec<CaseResults> {
        let mut cases = Vec::new();
        for case in (workload.cases)() {
            let mut rows: Vec<Row> = Vec::new();
            for contestant in &case.contestants {
                let title = case.title(contestant, "");
                for reached in &self.0 {
                    // Several values of one contestant are told apart by what stands behind a comma; but a
                    // contestant's own name may have a comma, too.
                    let what = match reached.name.strip_prefix(&title) {
                        _ if reached.workload != workload.name => continue,
                        Some("") => "",
                        Some(rest) if is_value(rest) => rest,
                        _ => continue,
                    };
                    let ours = rows.iter().find(|row| {
                        row.reached.kind == Kind::Ours && (what.is_empty() || row.name.ends_with(what))
                    });
                    let of_ours = ours.map(|ours| reached.value / ours.reached.value);
                    rows.push(Row {
                        name: format!("{}{what}", contestant.name),
                        settings: contestant.settings,
                        reached: reached.clone(),
                        of_ours,
                    });
                }
            }
            if !rows.is_empty() {
                cases.push(CaseResults { name: case.name, unit: case.unit, better: case.better, rows });
            }
        }
        cases
    }

    /// The workloads that were measured.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &'static Workload> {
        WORKLOADS.iter().filter(|workload| self.0.iter().any(|found| found.workload == workload.name))
    }
}

/// The names that turns give to values, as they stand behind a contestant's.
fn is_value(rest: &str) -> bool {
    [", median", ", p99", ", program", ", largest worker", ", processor", ", clock"].contains(&rest)
}
