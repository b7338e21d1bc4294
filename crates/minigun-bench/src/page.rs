//! Results as tables in BENCHMARKS.md, between its marks; the text around them is written by people.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::contest::{Better, BoxError};
use crate::goals::{Due, GOALS};
use crate::print::short;
use crate::results::Results;
use crate::workloads::Workload;

/// Where a page looks for the pictures that [`plot`](crate::plot) has drawn.
const PICTURES: &str = "benchmarks";

/// Fills every marked place of the page for which there are results.
pub(crate) fn fill(results: &Results, page: &Path) -> Result<(), BoxError> {
    let mut text = fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    put(&mut text, "machine", &machine()?)?;
    put(&mut text, "goals", &goals(results)?)?;
    for workload in results.workloads() {
        put(&mut text, workload.name, &tables(results, workload)?)?;
    }
    fs::write(page, text)?;
    Ok(())
}

/// Replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
fn put(page: &mut String, name: &str, content: &str) -> Result<(), BoxError> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let missing = || format!("the page has no place for `{name}`");
    let from = page.find(&begin).ok_or_else(missing)? + begin.len();
    let to = page[from..].find(&end).ok_or_else(missing)? + from;
    page.replace_range(from..to, content);
    Ok(())
}

/// Cores and memory, and the kernel, which says how processes are made.
fn machine() -> Result<String, BoxError> {
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let kib: f64 = kib.ok_or("no MemTotal in /proc/meminfo")?.parse()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel: Vec<_> = kernel.split(['.', '-']).take(2).collect();
    let (cores, gib) = (minigun::cores(), kib / f64::from(1 << 20));
    Ok(format!("{cores} cores, {gib:.0} GiB of memory, Linux {}.\n", kernel.join(".")))
}

fn goals(results: &Results) -> Result<String, BoxError> {
    let mut table = "| workload | minigun against | is to be | is | |\n|---|---|---|---|---|\n".to_string();
    for goal in GOALS {
        let due = match goal.due {
            Due::AtLeast(due) => format!("≥ {due}"),
            Due::AtMost(due) => format!("≤ {due}"),
        };
        let (is, holds) = match goal.reached(results) {
            Some((ratio, true)) => (format!("{ratio:.2}"), "reached"),
            Some((ratio, false)) => (format!("{ratio:.2}"), "**missed**"),
            None => ("not measured".to_string(), ""),
        };
        writeln!(table, "| {} | {} | {due} | {is} | {holds} |", goal.workload, goal.what)?;
    }
    Ok(table)
}

fn tables(results: &Results, workload: &Workload) -> Result<String, BoxError> {
    let mut text = format!("![{0}]({PICTURES}/{0}.svg)\n", workload.name);
    for case in results.cases(workload) {
        let better = match case.better {
            Better::More => "",
            Better::Less => ", less is better",
        };
        let name = if case.name.is_empty() { workload.name } else { case.name };
        writeln!(text, "\n| {name} | | {}{better} | min to max | × minigun | set up as |", case.unit)?;
        writeln!(text, "|---|---|--:|--:|--:|---|")?;
        for row in &case.rows {
            let reached = &row.reached;
            let of_ours = row.of_ours.map(short).unwrap_or_default();
            writeln!(
                text,
                "| {} | {} | {} | {} to {} | {of_ours} | {} |",
                row.name,
                reached.kind.name(),
                short(reached.value),
                short(reached.min),
                short(reached.max),
                row.settings.replace('<', "&lt;").replace('|', "\\|")
            )?;
        }
    }
    Ok(text)
}
