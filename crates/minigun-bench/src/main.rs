//! How fast minigun is, beside its peers and the limits of the machine.
//!
//! ```text
//! cargo run --release -p minigun-bench                     # all workloads
//! cargo run --release -p minigun-bench -- hop --json       # one, for a program to read
//! cargo run --release -p minigun-bench -- --quick          # does it still work?
//! ```
//!
//! All contestants of a workload do the same work and must come to the same sum. They take turns, round after
//! round, so that whatever else the machine does meets them alike; the median is what counts.
//!
//! | file | what |
//! |---|---|
//! | `contest` | taking turns, medians, output |
//! | `workloads/…` | one workload each: ours, its peers, its limit |

mod contest;
mod workloads;

use std::process::ExitCode;

use contest::{Scale, Style};
use workloads::{WORKLOADS, Workload};

fn main() -> ExitCode {
    match asked() {
        Ok(asked) => match asked.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("minigun-bench: {error}");
                ExitCode::FAILURE
            }
        },
        Err(usage) => {
            eprintln!("{usage}");
            ExitCode::from(2)
        }
    }
}

struct Asked {
    workloads: Vec<&'static Workload>,
    style: Style,
    scale: Scale,
}

fn asked() -> Result<Asked, String> {
    let mut asked = Asked { workloads: Vec::new(), style: Style::Table, scale: Scale::Full };
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => asked.style = Style::Json,
            "--quick" => asked.scale = Scale::Quick,
            name => match WORKLOADS.iter().find(|workload| workload.name == name) {
                Some(workload) => asked.workloads.push(workload),
                None => return Err(usage(name)),
            },
        }
    }
    if asked.workloads.is_empty() {
        asked.workloads.extend(WORKLOADS);
    }
    Ok(asked)
}

fn usage(unknown: &str) -> String {
    let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
    format!(
        "minigun-bench: `{unknown}` is unknown\n\nusage: minigun-bench [WORKLOAD …] [--json] [--quick]\n\
         workloads: {}",
        names.join(", ")
    )
}

impl Asked {
    fn run(&self) -> Result<(), contest::BoxError> {
        for workload in &self.workloads {
            let results = contest::hold(workload, self.scale)?;
            contest::print(workload, &results, self.style)?;
        }
        Ok(())
    }
}
