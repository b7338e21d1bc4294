//! Seeing a run while it goes on: progress on the terminal, everything rare through `tracing`, figures at any moment.
//!
//! ```text
//! cargo run --release --example observe --features tracing,metrics
//! cargo run --release --example observe --features tracing,metrics -- 100000     # time to look at the bars, and to scrape
//! cargo run --release --example observe --features tracing,metrics 2>log         # no terminal: lines instead of bars
//! MINIGUN_PROGRESS=off cargo run --release --example observe --features tracing,metrics
//! ```
//!
//! Things to look at:
//! * `p.progress()` draws bars on standard error; what is printed through `minigun::aside` stands above them;
//! * `p.trace()` tells the program's subscriber of the run's events, and what closures tell `tracing` comes with stage
//!   and worker, out of worker processes as well;
//! * `p.observe(…)` is told of the same events as values: here they are counted, and checked at the end;
//! * `p.metrics(…)` serves the figures to Prometheus while the run goes on (`curl` shows them); here the program looks at
//!   them itself, once;
//! * the report says which stage held the run back.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use minigun::{Backoff, Error, Event, Pipeline, processes};
use tracing_subscriber::fmt::MakeWriter;

/// Pages to be fetched, if nothing else is asked for; and the fewest.
const PAGES: u64 = 600;
const WORKERS: usize = 2;

fn main() -> Result<(), Error> {
    let pages = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(PAGES).max(PAGES);
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(log.clone())
        .init();

    let p = Pipeline::new("observe");
    p.progress();
    p.trace();
    let endpoint = p.metrics("127.0.0.1:0");
    let seen = Arc::new(Mutex::new(BTreeMap::<&str, u64>::new()));
    let counts = Arc::clone(&seen);
    p.observe(move |event| {
        let name = match event {
            Event::RunStarted { .. } => "run started",
            Event::WorkerSpawned { .. } => "worker spawned",
            Event::WorkerDied { .. } => "worker died",
            Event::WorkerRetired { .. } => "worker retired",
            Event::ItemRetried { .. } => "item retried",
            Event::ItemFailed { .. } => "item failed",
            Event::Traced { .. } => "told in a worker",
            Event::StageEnded { .. } => "stage ended",
            Event::RunEnded { .. } => "run ended",
            _ => "something else",
        };
        if let Ok(mut counts) = counts.lock() {
            *counts.entry(name).or_default() += 1;
        }
    });

    let words = p
        .source("pages", 0..pages)
        .threads(4, |s| s.map("fetch", |page| (page, work(Duration::from_micros(50)))))
        .on(processes(WORKERS).retry(2, Backoff::none()).skip(), |s| {
            s.try_map("parse", |(page, length): (u64, u64)| {
                work(Duration::from_micros(400));
                let first = minigun::attempt().is_some_and(|at| at.attempt == 1);
                match page {
                    // It crashes once, and is parsed by another worker.
                    100 if first => std::process::abort(),
                    200 if first => Err("half a page".into()),
                    300 => Err("not a page at all".into()),
                    _ => {
                        if page % 200 == 50 {
                            tracing::info!(page, "a page worth reading");
                        }
                        Ok(length % 7)
                    }
                }
            })
        })
        .inspect("show", |words| {
            if *words > 7 {
                minigun::aside(|| println!("{words} words"));
            }
        })
        .fold("words", 0, |sum, words| sum + words);

    let running = p.start()?;
    let address = endpoint.address().expect("the run has started");
    minigun::aside(|| println!("http://{address}/metrics"));
    let scraped = figures_at(address).expect("the run answers while it goes on");
    let mut report = running.join()?;
    println!("{report}");
    println!("{} words", report.take(words));

    let parse = report.stage("parse").map(|stage| stage.figures).unwrap_or_default();
    assert_eq!((parse.completed, parse.skipped, parse.deaths), (pages - 1, 1, 1));
    assert!(parse.latency.p99 >= parse.latency.p50 && parse.latency.p50 >= Duration::from_micros(400));
    let limiting = report.limiting().map(|limiting| limiting.stage.as_str());
    assert_eq!(limiting, Some("parse"), "the slowest stage");

    let seen = seen.lock().map(|seen| seen.clone()).unwrap_or_default();
    let count = |name| seen.get(name).copied().unwrap_or(0);
    for (name, count) in &seen {
        println!("{count:5} × {name}");
    }
    assert_eq!((count("run started"), count("run ended")), (1, 1));
    assert_eq!((count("worker died"), count("item retried"), count("item failed")), (1, 2, 1));
    assert_eq!(count("worker spawned"), count("worker died") + count("worker retired"), "nobody is left");
    let worth_reading = (0..pages).filter(|page| page % 200 == 50).count();
    assert_eq!(count("told in a worker"), worth_reading as u64);

    // The same went to the program's subscriber, each with its span.
    let lines = log.lines();
    let with =
        |parts: &[&str]| lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count();
    assert_eq!(
        with(&["INFO run{", "stage{stage=\"parse\"}", "pid=", "a page worth reading page="]),
        worth_reading
    );
    assert_eq!(with(&["WARN run{", "worker died", "SIGABRT"]), 1);
    // And the same figures to Prometheus, under labels.
    let of_parse = r#"{pipeline="observe",stage="parse",worker_kind="processes"}"#;
    assert!(scraped.iter().any(|line| line.starts_with(&format!("minigun_stage_items_in_total{of_parse} "))));
    let events: u64 = seen.values().sum();
    println!("{events} events seen, {} lines traced, {} figures scraped", lines.len(), scraped.len());
    Ok(())
}

/// The figures of this moment: as Prometheus does, with a client's few words of HTTP.
fn figures_at(address: SocketAddr) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let answer = io::read_to_string(stream)?;
    Ok(answer.lines().filter(|line| line.starts_with("minigun_")).map(str::to_string).collect())
}

/// Keeps a core busy for so long.
fn work(time: Duration) -> u64 {
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < time {
        rounds += 1;
    }
    rounds
}

/// Where the subscriber of this example writes: a program would write to a file.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = self.0.lock().map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        text.lines().map(str::to_string).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::Error::other("the log is broken"))?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;
    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}
