//! The table of stages, in 80 columns, and what went wrong beneath it.

use std::fmt;
use std::time::Duration;

use super::StageReport;
use super::text::{fitted, grouped, scaled, short, width};
use crate::failure::beneath_first;
use crate::stats::{Deaths, StageFigures};

/// Columns of the table.
const COLUMNS: usize = 80;

/// Columns that a name, and a place, have at least.
const LEAST: usize = 6;

/// Columns that a name has at most.
const LONGEST_NAME: usize = 32;

/// Lines of a failed item's details.
const SHOWN: usize = 8;

/// A column of figures.
struct Column {
    head: &'static str,
    /// Left out where it says nothing about any stage.
    optional: bool,
    cells: Vec<String>,
}

/// One line for every stage.
pub(super) fn table(stages: &[StageReport], elapsed: Duration) -> String {
    let columns = columns(stages, elapsed);
    let figures: usize = columns.iter().map(|column| 1 + column.width()).sum();
    let widest = |least: usize, of: &dyn Fn(&StageReport) -> usize| {
        stages.iter().map(of).max().unwrap_or(0).max(least)
    };
    let mut name = widest("stage".len(), &|stage| width(&stage.name)).min(LONGEST_NAME);
    let mut place = widest("place".len(), &|stage| width(&stage.place));
    // What is too much is taken from the places first.
    let mut excess = (2 + name + 2 + place + figures).saturating_sub(COLUMNS);
    for part in [&mut place, &mut name] {
        let cut = excess.min(part.saturating_sub(LEAST));
        *part -= cut;
        excess -= cut;
    }
    let mut text = format!("  {}  {}", fitted("stage", name), fitted("place", place));
    for column in &columns {
        push_right(&mut text, column.head, column.width());
    }
    text.push('\n');
    for (at, stage) in stages.iter().enumerate() {
        text.push_str(&format!("  {}  {}", fitted(&stage.name, name), fitted(&stage.place, place)));
        for column in &columns {
            push_right(&mut text, column.cells.get(at).map_or("", String::as_str), column.width());
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn columns(stages: &[StageReport], elapsed: Duration) -> Vec<Column> {
    let column = |head, optional, cell: &dyn Fn(&StageReport, &StageFigures) -> String| Column {
        head,
        optional,
        cells: stages.iter().map(|stage| cell(stage, &stage.figures)).collect(),
    };
    let some = |n: u64| match n {
        0 => String::new(),
        1..10_000 => grouped(n),
        _ => scaled(n as f64),
    };
    let timed = |figures: &StageFigures, time| {
        if figures.latency.count == 0 { String::new() } else { short(time) }
    };
    let mut columns = vec![
        column("in", false, &|_, figures| grouped(figures.items_in)),
        column("out", false, &|_, figures| grouped(figures.items_out)),
        column("skip", true, &|_, figures| some(figures.skipped)),
        column("dead", true, &|_, figures| some(figures.dead)),
        column("retry", true, &|_, figures| some(figures.retried)),
        column("died", true, &|_, figures| some(figures.deaths)),
        column("busy", false, &|stage, figures| busy(stage, figures, elapsed)),
        column("p50", false, &|_, figures| timed(figures, figures.latency.p50)),
        column("p99", false, &|_, figures| timed(figures, figures.latency.p99)),
    ];
    columns.retain(|column| !column.optional || column.cells.iter().any(|cell| !cell.is_empty()));
    columns
}

/// The share of its workers' time in which they were busy.
fn busy(stage: &StageReport, figures: &StageFigures, elapsed: Duration) -> String {
    let all = elapsed.as_secs_f64() * stage.workers.len().max(1) as f64;
    if figures.busy.is_zero() || all <= 0.0 {
        return String::new();
    }
    format!("{:.0}%", (figures.busy.as_secs_f64() / all).min(1.0) * 100.0)
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| width(cell)).max().unwrap_or(0).max(self.head.len())
    }
}

fn push_right(text: &mut String, cell: &str, columns: usize) {
    text.extend(std::iter::repeat_n(' ', 1 + columns.saturating_sub(width(cell))));
    text.push_str(cell);
}

/// Deaths, lost goodbyes and items that failed.
pub(super) fn misfortunes(stages: &[StageReport], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for stage in stages {
        for Deaths { cause, count } in &stage.deaths {
            let workers = if *count == 1 { "worker" } else { "workers" };
            writeln!(f, "  {count} {workers} of `{}` died: {cause}", stage.name)?;
        }
        let workers = match stage.figures.lost_goodbyes {
            0 => continue,
            1 => "1 worker".to_string(),
            n => format!("{n} workers"),
        };
        writeln!(
            f,
            "  {workers} of `{}` ended without a goodbye: what `after` hooks recorded there is lost",
            stage.name
        )?;
    }
    for stage in stages {
        for item in &stage.failures {
            writeln!(
                f,
                "  {} item {} of `{}` after {}: {}{}",
                item.fate,
                item.item,
                item.stage,
                if item.attempts == 1 {
                    "1 attempt".to_string()
                } else {
                    format!("{} attempts", item.attempts)
                },
                item.error,
                beneath_first(item.details.as_deref(), SHOWN)
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Latency, WorkerFigures, WorkerState};

    fn stage(name: &str, place: &str, workers: usize, figures: StageFigures) -> StageReport {
        let worker = WorkerFigures {
            pid: None,
            state: WorkerState::Ended,
            items: 0,
            restarts: 0,
            memory: None,
            peak_memory: None,
        };
        StageReport {
            name: name.to_string(),
            kind: "map",
            place: place.to_string(),
            figures,
            workers: vec![worker; workers],
            failures: Vec::new(),
            deaths: Vec::new(),
        }
    }

    fn took(ms: u64, busy: u64) -> StageFigures {
        let latency = Latency {
            count: 1,
            p50: Duration::from_micros(ms * 100),
            p99: Duration::from_millis(ms),
            ..Latency::default()
        };
        StageFigures { latency, busy: Duration::from_millis(busy), ..StageFigures::default() }
    }

    #[test]
    fn a_table_says_what_there_is_to_say() {
        let stages = [
            stage("walk", "", 1, StageFigures { items_out: 1_234, ..took(1, 120) }),
            stage(
                "read",
                "threads:8",
                8,
                StageFigures { items_in: 1_234, items_out: 1_200, skipped: 34, ..took(12, 4_000) },
            ),
            stage(
                "trim",
                "threads:8",
                0,
                StageFigures { items_in: 1_200, items_out: 1_200, ..StageFigures::default() },
            ),
        ];
        let expected = [
            "  stage  place        in   out skip busy    p50    p99",
            "  walk                 0 1,234       12%  100µs 1.00ms",
            "  read   threads:8 1,234 1,200   34  50% 1.20ms 12.0ms",
            "  trim   threads:8 1,200 1,200",
        ];
        let table = table(&stages, Duration::from_secs(1));
        assert_eq!(table.lines().collect::<Vec<_>>(), expected, "\n{table}");
    }

    #[test]
    fn whatever_there_is_it_fits_into_80_columns() {
        let most = StageFigures {
            items_in: u64::MAX,
            items_out: 9_999_999,
            skipped: 99_999,
            dead: 999_999,
            retried: u64::MAX,
            deaths: 9_999,
            ..took(999, 1_000_000)
        };
        let place = "process_per_batch:32/threads:128/inline";
        let long = "stages may be named by whole sentences, as this one is";
        let wide = "段階の名前は広いことがあります".repeat(3);
        let stages = [stage(long, place, 3, most), stage(&wide, "", 1, most), stage("x", "inline", 1, most)];
        let table = table(&stages, Duration::from_secs(1_000));
        for line in table.lines() {
            assert!(width(line) <= COLUMNS, "{} columns:\n{table}", width(line));
        }
        assert_eq!(width(table.lines().next().unwrap_or("")), COLUMNS, "nothing is wasted:\n{table}");
        assert!(table.contains('…'), "{table}");
    }
}
