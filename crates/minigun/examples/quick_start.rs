//! The smallest useful pipeline: one step on threads, one in worker processes.
//!
//! ```text
//! cargo run --example quick_start
//! ```

use minigun::{Error, Pipeline};

fn main() -> Result<(), Error> {
    let p = Pipeline::new("quick start");
    let sums = p
        .source("numbers", 1..=1000)
        .threads(4, |s| s.map("square", |n: u64| n * n))
        .processes(2, |s| s.map("digit sum", digit_sum))
        .collect("sums");

    let mut report = p.run()?;
    println!("{report}");

    let sums = report.take(sums);
    let expected: u64 = (1..=1000).map(|n| digit_sum(n * n)).sum();
    assert_eq!(sums.len(), 1000, "every number came through");
    assert_eq!(sums.iter().sum::<u64>(), expected, "and was computed right");
    println!("the digits of the first 1000 squares sum up to {expected}");
    Ok(())
}

fn digit_sum(n: u64) -> u64 {
    if n < 10 { n } else { n % 10 + digit_sum(n / 10) }
}
