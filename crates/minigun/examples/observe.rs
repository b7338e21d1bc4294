//! Seeing a run while it goes on: progress on the terminal, everything rare through `tracing`, figures at any moment.
//!
//! ```text
//! cargo run --example observe --features tracing
//! cargo run --example observe --features tracing 2>log        # no terminal: lines instead of bars
//! MINIGUN_PROGRESS=off cargo run --example observe --features tracing
//! cargo run --example observe --features tracing,metrics       # and serve figures to Prometheus
//! ```
//!
//! Things to look at:
//! * `p.progress()` draws bars on standard error; what is printed through `minigun::aside` stands above them;
//! * `p.trace()` tells the program's subscriber of the run's events, and what closures tell `tracing` comes with stage
//!   and worker, out of worker processes as well;
//! * `p.observe(…)` is told of the same events as values: here they are counted, and checked at the end;
//! * `p.metrics(…)` serves the figures while the run goes on: here the program looks at them itself, once;
//! * the report says which stage held the run back.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use minigun::{Backoff, Error, Event, Pipeline, processes};
use tracing_subscriber::fmt::MakeWriter;

const PAGES: u64 = 600;
const WORKERS: usize = 2;

fn main() -> Result<(), Error> {
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
    #[cfg(feature = "metrics")]
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
        .source("pages", 0..PAGES)
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
    #[cfg(feature = "metrics")]
    look_at(endpoint.address());
    let mut report = running.join()?;
    println!("{report}");
    println!("{} words", report.take(words));

    let parse = report.stage("parse").map(|stage| stage.figures).unwrap_or_default();
    assert_eq!((parse.completed, parse.skipped, parse.deaths), (PAGES - 1, 1, 1));
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
    assert_eq!(count("told in a worker"), 3);

    // The same went to the program's subscriber, each with its span.
    let lines = log.lines();
    let with =
        |parts: &[&str]| lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count();
    assert_eq!(with(&["INFO run{", "stage{stage=\"parse\"}", "pid=", "a page worth reading page="]), 3);
    assert_eq!(with(&["WARN run{", "worker died", "SIGABRT"]), 1);
    println!("{} events seen, {} lines traced", seen.values().sum::<u64>(), lines.len());
    Ok(())
}

/// As Prometheus does, with a client's few words of HTTP.
#[cfg(feature = "metrics")]
fn look_at(address: Option<std::net::SocketAddr>) {
    let address = address.expect("the run has started");
    let ask = || {
        let mut stream = std::net::TcpStream::connect(address)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        io::read_to_string(stream)
    };
    let answer = ask().expect("the run answers while it goes on");
    let line = answer.lines().find(|line| line.starts_with("minigun_stage_items_in_total{"));
    println!("http://{address}/metrics says, among other things: {}", line.expect("a figure"));
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
