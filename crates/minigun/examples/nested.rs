//! Pipelines made of pipelines: plain functions over flows, nested, with several ways in and out.
//!
//! ```text
//! cargo run --example nested
//! ```
//!
//! There is no machinery to learn: a part of a pipeline is a function that takes flows and ports and gives back flows. One
//! that is written for any scope serves in the program, on threads and in worker processes.

use minigun::scope::Scope;
use minigun::{Error, Flow, Pipeline, Port, merge};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: u32,
    celsius: f64,
}

/// The innermost part, for any scope: text becomes readings.
fn parse<S: Scope>(lines: Flow<String, S>) -> Flow<Reading, S> {
    lines.map("trim", |line| line.trim().to_string()).filter("no blanks", |line| !line.is_empty()).try_map(
        "parse",
        |line| {
            let (sensor, celsius) = line.split_once('=').ok_or_else(|| format!("no `=` in {line:?}"))?;
            Ok(Reading { sensor: sensor.parse()?, celsius: celsius.parse()? })
        },
    )
}

/// Contains `parse`, in worker processes; broken lines are skipped there.
fn intake(lines: Flow<String>) -> Flow<Reading> {
    lines.on(minigun::processes(2).skip(), |s| s.then(parse))
}

/// Two ways in, two ways out, and a port of the caller's.
fn plant(
    name: &str,
    readings: Flow<Reading>,
    corrections: Flow<Reading>,
    alarms: &Port<String>,
) -> (Flow<Reading>, Flow<Reading>) {
    let checked = readings.merge(corrections).processor_to(
        &format!("{name}: check"),
        alarms,
        |reading: Reading, out, alarms| {
            if reading.celsius > 90.0 {
                alarms.emit(format!("sensor {} is hot", reading.sensor));
            }
            out.emit(reading);
        },
    );
    checked.partition(&format!("{name}: plausible?"), |reading| reading.celsius > -273.15)
}

/// And the whole: two plants, one above the other. What the first finds implausible is corrected and given to the second.
fn both(lines: Flow<String>, alarms: &Port<String>, p: &Pipeline) -> Flow<Reading> {
    let (good, odd) = plant("first", intake(lines), p.source("by hand", [reading(9, 20.0)]), alarms);
    let corrected = odd.map("correct", |odd| Reading { celsius: odd.celsius.abs(), ..odd });
    let (second, never) = plant("second", corrected, p.source("late", [reading(8, 95.0)]), alarms);
    never.discard();
    merge([good, second])
}

fn reading(sensor: u32, celsius: f64) -> Reading {
    Reading { sensor, celsius }
}

fn main() -> Result<(), Error> {
    let p = Pipeline::new("plants");
    let (alarms, alarmed) = p.inlet::<String>("alarms");
    let lines = ["1=20.5", " 2=-300 ", "", "3=91", "what?", "4=-400"].map(str::to_string);
    let all = both(p.source("lines", lines), &alarms, &p).collect("all");
    let alarmed = alarmed.collect("alarmed");

    let mut report = p.run()?;
    println!("{report}");
    let mut all = report.take(all);
    all.sort_by_key(|reading| reading.sensor);
    let expected =
        [(1, 20.5), (2, 300.0), (3, 91.0), (4, 400.0), (8, 95.0), (9, 20.0)].map(|(s, c)| reading(s, c));
    assert_eq!(all, expected);
    let mut alarmed = report.take(alarmed);
    alarmed.sort();
    assert_eq!(alarmed, [2, 3, 4, 8].map(|sensor| format!("sensor {sensor} is hot")));
    assert_eq!(
        report.stage("trim").map(|stage| stage.figures.skipped),
        Some(1),
        "the line that is no reading"
    );

    // The same innermost part once more, where everything is in one place.
    let p = Pipeline::new("inside");
    let lines = ["5=1", "6=2"].map(str::to_string);
    let inside = p.source("lines", lines).threads(2, |s| s.inline(parse)).collect("inside");
    assert_eq!(p.run()?.take(inside).len(), 2);
    println!("6 readings and 4 alarms through 2 plants, each a pipeline of pipelines");
    Ok(())
}
