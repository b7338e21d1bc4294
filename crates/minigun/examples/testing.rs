//! How to test a pipeline: its parts on given inputs, the whole on every executor, and both under chaos.
//!
//! ```text
//! cargo run --release --example testing
//! ```
//!
//! What stands in `main` would stand in `#[test]` functions. Things to look at:
//! * a step is a function over flows, so that a test can run it without the rest of the program;
//! * what fails is a value to look at: a dead letter with the input, the stage and the error;
//! * chance is a seed: the run that failed is run again with the same deaths.

use minigun::testing::{self, Chaos};
use minigun::{Backoff, Executor, Flow, Segment};
use serde::{Deserialize, Serialize};

/// One line of a bank's list.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Booking {
    account: String,
    cents: i64,
}

// ---- the program ---------------------------------------------------------------------------------------------

/// `account;amount` in whole cents.
fn parse(lines: Segment<String>) -> Segment<Booking> {
    lines.try_map("parse", |line| {
        let Some((account, cents)) = line.split_once(';') else { return Err("no `;` in the line".into()) };
        Ok(Booking { account: account.trim().to_string(), cents: cents.trim().parse()? })
    })
}

/// The sum of every hundred bookings.
fn sums(bookings: Flow<Booking>) -> Flow<i64> {
    bookings.batch(100).threads(2, |s| {
        s.map("sum", |batch: Vec<Booking>| batch.iter().map(|booking| booking.cents).sum::<i64>())
    })
}

// ---- its tests -----------------------------------------------------------------------------------------------

fn lines(n: i64) -> Vec<String> {
    (0..n).map(|n| format!("account {}; {n}", n % 7)).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A segment: what comes out, and what became of the rest.
    let ran = testing::segment(["a; 1", "b", "c; two"].map(String::from), parse)?;
    assert_eq!(ran.outputs, [Booking { account: "a".into(), cents: 1 }]);
    let errors: Vec<_> =
        ran.dead.iter().map(|letter| (letter.item.as_str(), letter.error.as_str())).collect();
    assert_eq!(errors, [("b", "no `;` in the line"), ("c; two", "invalid digit found in string")]);

    // A part of the program, with its batches and threads.
    let bookings = (0..250).map(|cents| Booking { account: "a".into(), cents });
    let ran = testing::flow(bookings, sums)?;
    assert_eq!(ran.outputs.len(), 3, "two full batches and the rest");
    assert_eq!(ran.outputs.iter().sum::<i64>(), (0..250).sum::<i64>());

    // The whole program: the same on every executor.
    let total = testing::same_everywhere(|p, executor| {
        sums(p.source("lines", lines(250)).on(executor, parse)).fold("total", 0, |total, sum| total + sum)
    })?;
    assert_eq!(total, (0..250).sum::<i64>());

    // Workers that die, attempts that fail, closures that dawdle: nothing is lost, nothing comes twice.
    let chaos = Chaos::seeded(2026).kill(0.05).fail(0.2).delay(0.05, std::time::Duration::from_millis(2));
    let calm = testing::segment(lines(200), parse)?.sorted();
    let mut deaths = 0;
    for executor in [Executor::Threads(2), Executor::Processes(2), Executor::ProcessPerBatch(2)] {
        let ran =
            testing::on(executor).chaos(&chaos).retry(20, Backoff::none()).segment(lines(200), parse)?;
        deaths += ran.report.stages().iter().map(|stage| stage.figures.deaths).sum::<u64>();
        assert_eq!(ran.sorted(), calm, "under {executor}");
    }
    assert!(deaths > 0, "chance killed somebody");
    println!("{deaths} workers died, and every test of the program passed");
    Ok(())
}
