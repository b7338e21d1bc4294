//! Where each step runs, and with how many workers, is read when the program runs: from TOML here, and above that from
//! the environment. The program stays the same, and so do its results.
//!
//! ```text
//! cargo run --example from_config
//! cargo run --example from_config -- my.toml
//! MINIGUN_EXECUTORS=parse=threads:2 MINIGUN_MAX_PROCESSES=1 cargo run --example from_config
//! ```
//!
//! `Config` derives serde's traits: any format that serde reads will do, also as a part of a larger file.

use minigun::{Config, Error, Executor, Pipeline};

/// As a file on a laptop, on a server, and where parsing must not take the program down might read.
const CONFIGS: [&str; 3] = [
    "",
    r#"
        max_threads = 2
        [executors]
        parse = "threads:8"
        sum = "threads:1"
    "#,
    r#"
        queue = 50
        crash_attempts = 2
        timeout_seconds = 60
        [executors]
        parse = "processes:2"
        sum = "process_per_batch:2"
    "#,
];

/// The sums of a hundred batches of numbers, and where the two steps ran.
fn sums(config: Config) -> Result<(Vec<u64>, [String; 2]), Error> {
    let p = Pipeline::configured("from config", config);
    let sums = p
        .source("lines", (0..1000u64).map(|n| n.to_string()))
        // Where nothing is configured, the program's own word counts. What it does not leave open nobody changes: the
        // results come in order.
        .on(p.executor("parse", Executor::Threads(2)).place().ordered(), |s| {
            s.try_map("parse", |line| Ok(line.parse::<u64>()?))
        })
        .batch(10)
        .on(p.executor("sum", Executor::Inline).place().ordered(), |s| {
            s.map("sum", |batch| batch.iter().sum::<u64>())
        })
        .collect("sums");
    let mut report = p.run()?;
    for warning in report.warnings() {
        println!("  {warning}");
    }
    let place = |stage| report.stage(stage).map_or(String::new(), |stage| stage.place.clone());
    let places = ["parse", "sum"].map(place);
    Ok((report.take(sums), places))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let texts = match std::env::args().nth(1) {
        Some(path) => vec![std::fs::read_to_string(path)?],
        None => CONFIGS.map(String::from).to_vec(),
    };
    let expected: Vec<u64> = (0..100).map(|batch| (10 * batch..10 * batch + 10).sum()).collect();
    for text in &texts {
        let (sums, [parse, sum]) = sums(toml::from_str(text)?)?;
        println!("parsed in {parse}, summed up in {sum}");
        assert_eq!(sums, expected, "the same results everywhere");
    }

    // A name that nobody knows is an error, not a default.
    let wrong = toml::from_str::<Config>("[executors]\nparse = \"proceses:4\"");
    assert!(wrong.is_err_and(|error| error.to_string().contains("unknown executor `proceses:4`")));
    assert!(toml::from_str::<Config>("queues = 5").is_err());
    let wrong = sums(toml::from_str("[executors]\npasre = \"inline\"")?);
    assert!(wrong.is_err_and(|error| error.to_string().contains("known are `parse`, `sum`")));

    println!("{} configurations, {} sums each, all the same", texts.len(), expected.len());
    Ok(())
}
