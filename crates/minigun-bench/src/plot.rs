//! Results as pictures: one SVG for each workload, a bar for each contestant.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::contest::{Better, BoxError, Kind};
use crate::print::short;
use crate::results::{CaseResults, Results, Row};
use crate::workloads::Workload;

const WIDTH: f64 = 860.0;
/// Where bars begin, and how long the longest is.
const NAMES: f64 = 300.0;
const BARS: f64 = 400.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 30.0;

/// Writes `DIR/WORKLOAD.svg` for each workload that was measured.
pub(crate) fn plot(results: &Results, folder: &Path) -> Result<(), BoxError> {
    fs::create_dir_all(folder)?;
    for workload in results.workloads() {
        let path = folder.join(format!("{}.svg", workload.name));
        fs::write(&path, svg(workload, &results.cases(workload))?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn svg(workload: &Workload, cases: &[CaseResults]) -> Result<String, BoxError> {
    let rows: usize = cases.iter().map(|case| case.rows.len()).sum();
    let height = HEAD * (cases.len() + 1) as f64 + ROW * rows as f64 + HEAD - 4.0;
    let mut svg = String::new();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    )?;
    let about = escaped(workload.about);
    writeln!(svg, "<text x=\"12\" y=\"20\" fill=\"#333\">{}: {about}</text>", workload.name)?;
    let mut y = HEAD;
    for case in cases {
        let better = match case.better {
            Better::More => "more is better",
            Better::Less => "less is better",
        };
        let name = if case.name.is_empty() { String::new() } else { format!("{}, ", escaped(case.name)) };
        let unit = escaped(case.unit);
        writeln!(
            svg,
            "<text x=\"12\" y=\"{}\" font-weight=\"bold\" fill=\"#333\">{name}{unit} ({better})</text>",
            y + 20.0
        )?;
        y += HEAD;
        let most = case.rows.iter().map(|row| row.reached.max).fold(0.0, f64::max);
        for row in &case.rows {
            bar(&mut svg, row, y, most)?;
            y += ROW;
        }
    }
    writeln!(
        svg,
        "<text x=\"12\" y=\"{}\" font-size=\"11\" fill=\"#666\">blue: minigun, grey: peers, yellow: limits; bars \
         are medians, lines go from the least to the most</text>\n</svg>",
        y + 18.0
    )?;
    Ok(svg)
}

/// A bar as long as the median, and a line from the least to the most.
fn bar(svg: &mut String, row: &Row, y: f64, most: f64) -> std::fmt::Result {
    let reached = &row.reached;
    let colour = match reached.kind {
        Kind::Ours => "#2a6fdb",
        Kind::Peer => "#a9b4c2",
        Kind::Limit => "#e3b341",
    };
    let at = |value: f64| if most > 0.0 { NAMES + BARS * value / most } else { NAMES };
    let (middle, text) = (y + ROW / 2.0, y + ROW / 2.0 + 4.5);
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\" fill=\"#333\">{}</text>",
        NAMES - 8.0,
        escaped(&row.name)
    )?;
    let (end, least, most) = (at(reached.value), at(reached.min), at(reached.max));
    writeln!(
        svg,
        "<rect x=\"{NAMES}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
        y + 3.0,
        (end - NAMES).max(1.0),
        ROW - 6.0
    )?;
    writeln!(svg, "<path d=\"M{least:.1} {middle}H{most:.1}\" stroke=\"#333\"/>")?;
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{text}\" fill=\"#333\">{}</text>",
        end.max(most) + 8.0,
        short(reached.value)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
