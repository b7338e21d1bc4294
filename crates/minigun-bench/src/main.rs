//! How fast minigun is, beside its peers and the limits of the machine.
//!
//! ```text
//! cargo run --release -p minigun-bench                       # all workloads
//! cargo run --release -p minigun-bench -- hop --json         # one, for a program to read
//! cargo run --release -p minigun-bench -- --quick            # does it still work?
//! cargo run --release -p minigun-bench -- hop --rounds 3 --only minigun std
//!
//! cargo run --release -p minigun-bench -- --json > results.json
//! cargo run --release -p minigun-bench -- --plot results.json benchmarks --page results.json BENCHMARKS.md
//! ```
//!
//! All contestants of a case do the same work and must come to the sum that is due. They take turns, round after
//! round, each turn in a process of its own, so that whatever else the machine does meets them alike; the median
//! is what counts.
//!
//! | file | what |
//! |---|---|
//! | `contest` | cases, contestants, taking turns, medians |
//! | `turn` | one turn, in a process of its own |
//! | `burn` | work that takes a known time |
//! | `print` | results as a table and as JSON |
//! | `results` | results read back from JSON |
//! | `plot`, `page`, `goals` | pictures, tables, and what is to be reached |
//! | `python` | the peers that are Python's |
//! | `workloads/…` | one workload each: ours, its peers, its limit |

mod burn;
mod contest;
mod goals;
mod page;
mod plot;
mod print;
mod python;
mod results;
mod turn;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use contest::{BoxError, Scope};
use lexopt::prelude::*;
use print::Style;
use results::Results;
use workloads::{WORKLOADS, Workload};

fn main() -> ExitCode {
    // A process that procspawn has started goes no further than this.
    procspawn::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((first, turn)) if first == turn::TURN => turn::take(turn),
        Some((first, role)) if first == workloads::ROLE => workloads::play(role),
        _ => match asked() {
            Ok(asked) => asked.run(),
            Err(error) => {
                eprintln!("minigun-bench: {error}\n\n{}", usage());
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("minigun-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Asked {
    workloads: Vec<&'static Workload>,
    style: Style,
    scope: Scope,
    /// Results to be read instead of measured: each file, and where its pictures go.
    plots: Vec<(PathBuf, PathBuf)>,
    /// The same, and the page to be filled.
    pages: Vec<(PathBuf, PathBuf)>,
}

fn asked() -> Result<Asked, lexopt::Error> {
    let mut asked = Asked {
        workloads: Vec::new(),
        style: Style::Table,
        scope: Scope::default(),
        plots: Vec::new(),
        pages: Vec::new(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => asked.style = Style::Json,
            Long("quick") => asked.scope.quick = true,
            Long("rounds") => {
                asked.scope.rounds = Some(parser.value()?.parse::<std::num::NonZeroUsize>()?.get())
            }
            Long("only") => {
                for name in parser.values()? {
                    asked.scope.only.push(name.string()?);
                }
            }
            Long("plot") => asked.plots.push((parser.value()?.into(), parser.value()?.into())),
            Long("page") => asked.pages.push((parser.value()?.into(), parser.value()?.into())),
            Value(name) => match WORKLOADS.iter().find(|workload| *workload.name == *name) {
                Some(workload) => asked.workloads.push(workload),
                None => return Err(format!("there is no workload `{}`", name.display()).into()),
            },
            other => return Err(other.unexpected()),
        }
    }
    if asked.workloads.is_empty() {
        asked.workloads.extend(WORKLOADS);
    }
    Ok(asked)
}

fn usage() -> String {
    let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
    format!(
        "usage: minigun-bench [WORKLOAD …] [--json] [--quick] [--rounds N] [--only NAME…]\n\
         \x20      minigun-bench --plot RESULTS.json DIR\n\
         \x20      minigun-bench --page RESULTS.json BENCHMARKS.md\n\
         workloads: {}\n\
         --only takes parts of contestants' names",
        names.join(", ")
    )
}

impl Asked {
    fn run(&self) -> Result<(), BoxError> {
        for (file, folder) in &self.plots {
            plot::plot(&Results::read(file)?, folder)?;
        }
        for (file, page) in &self.pages {
            page::fill(&Results::read(file)?, page)?;
        }
        if !self.plots.is_empty() || !self.pages.is_empty() {
            return Ok(());
        }
        let steps_per_us = burn::steps_per_us();
        for workload in &self.workloads {
            print::settings(workload, &self.scope);
            let results = contest::hold(workload, &self.scope, steps_per_us)?;
            print::print(workload, &results, self.style)?;
        }
        Ok(())
    }
}
