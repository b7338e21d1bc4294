//! A pool of four worker processes that parses JSON lines, some of which are broken.
//!
//! ```text
//! cargo run --example parse_pool
//! ```
//!
//! The workers live as long as the run and take whatever is next. Good lines go on, broken ones leave through
//! a port of their own type, and a collector notes who did the work: a plain captured variable could not,
//! because what a child writes there the program never sees.

use std::collections::{BTreeMap, BTreeSet};
use std::process;

use minigun::{Error, Pipeline};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const LINES: usize = 20_000;
const WORKERS: usize = 4;

#[derive(Serialize, Deserialize)]
struct Line {
    number: usize,
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Broken {
    number: usize,
    error: String,
}

fn main() -> Result<(), Error> {
    let p = Pipeline::new("parse pool");
    let (broken, broken_lines) = p.inlet::<Broken>("broken");
    let pids = p.collector::<u32>("pids");
    let parsed = p
        .source("lines", (0..LINES).map(line))
        .processes(WORKERS, |s| {
            s.processor_to("parse", &broken, move |Line { number, text }, out, broken| {
                pids.push(process::id());
                match serde_json::from_str::<Value>(&text) {
                    Ok(value) => out.emit((number, value)),
                    Err(error) => broken.emit(Broken { number, error: error.to_string() }),
                }
            })
        })
        .fold("parsed", BTreeMap::new(), |mut parsed, (number, value)| {
            parsed.insert(number, value);
            parsed
        });
    let broken = broken_lines.collect("broken lines");

    let mut report = p.run()?;
    println!("{report}");

    let mut lines_of = BTreeMap::<u32, usize>::new();
    for pid in report.take(pids) {
        *lines_of.entry(pid).or_default() += 1;
    }
    for (pid, lines) in &lines_of {
        println!("worker {pid} parsed {lines} lines");
    }

    let broken = report.take(broken);
    for Broken { number, error } in broken.iter().take(3) {
        println!("line {number} is broken: {error}");
    }

    // The same work without a pipeline.
    let mut expected = BTreeMap::new();
    let mut expected_broken = BTreeSet::new();
    for Line { number, text } in (0..LINES).map(line) {
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => drop(expected.insert(number, value)),
            Err(_) => drop(expected_broken.insert(number)),
        }
    }
    let parsed = report.take(parsed);
    assert_eq!(broken.iter().map(|b| b.number).collect::<BTreeSet<_>>(), expected_broken, "the broken lines");
    assert_eq!(parsed.len() + broken.len(), LINES, "every line came out once");
    assert!(parsed == expected, "a value changed on its way between the processes");
    assert_eq!(lines_of.values().sum::<usize>(), LINES, "every line has its worker");
    assert!(lines_of.len() <= WORKERS && !lines_of.contains_key(&process::id()), "only the workers parsed");
    println!("{} values as parsed in-process, {} broken lines", parsed.len(), broken.len());
    Ok(())
}

/// Every kind of value, and now and then a mistake.
fn line(number: usize) -> Line {
    let text = match number % 100 {
        13 => format!(r#"{{"number": {number}, "tags": ["#),
        42 => String::new(),
        77 => format!("{number}: no JSON at all"),
        n if n % 10 == 0 => {
            format!(r#"[{number}, -{number}, {number}.25, 1e-{n}, null, true, "\u00e4\n\"", [], {{}}]"#)
        }
        n => format!(
            r#"{{"number": {number}, "name": "line {n}", "nested": {{"half": {}, "none": null}}}}"#,
            number as f64 / 2.0
        ),
    };
    Line { number, text }
}
