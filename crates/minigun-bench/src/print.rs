//! Results for people and for programs.

use std::io::{self, Write};

use crate::contest::{Reached, Scope};
use crate::workloads::Workload;

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Table,
    Json,
}

pub(crate) fn print(workload: &Workload, results: &[Reached], style: Style) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match style {
        Style::Json => {
            for reached in results {
                writeln!(out, "{}", serde_json::to_string(reached)?)?;
            }
        }
        Style::Table => {
            writeln!(out, "{}: {}", workload.name, workload.about)?;
            for Reached { name, kind, value, unit, min, max, .. } in results {
                let kind = kind.name();
                writeln!(
                    out,
                    "  {kind:<5}  {name:<52}  {:>9} {unit:<12} ({} to {})",
                    short(*value),
                    short(*min),
                    short(*max)
                )?;
            }
        }
    }
    out.flush()
}

/// How each contestant was set up, on standard error.
pub(crate) fn settings(workload: &Workload, scope: &Scope) {
    for case in (workload.cases)() {
        for contestant in &case.contestants {
            let title = case.title(contestant, "");
            let asked = scope.only.is_empty() || scope.only.iter().any(|name| title.contains(name));
            if asked && !contestant.settings.is_empty() {
                eprintln!("{}: {title}: {}", workload.name, contestant.settings);
            }
        }
    }
}

/// Three digits that count.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        to if to >= 100.0 => format!("{value:.0}"),
        to if to >= 10.0 => format!("{value:.1}"),
        to if to >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
