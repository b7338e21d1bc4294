//! A run to look at: five stages of different speed, on threads and in processes, with a live view.
//!
//! ```text
//! cargo run --release --features hud --example hud                  # until `q`
//! cargo run --release --features hud --example hud -- --seconds 10
//! ```
//!
//! Things to look at:
//! * `?` shows the keys; `enter` the details of a stage, `tab` goes to the next pane;
//! * the queue before the slowest stage is full, and red: `parse` holds the others up;
//! * now and then an item fails, and now and then one takes its worker process along: both are told below, and the
//!   worker is replaced;
//! * `q`, then `n`: the view closes, and the run goes on; `q`, then `y`: what is in flight is finished.

use std::hint::black_box;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use minigun::{Pipeline, processes};

/// Every so many items one fails, and one is deadly.
const FAILS: u64 = 997;
const DEADLY: u64 = 7919;

fn main() -> ExitCode {
    let seconds = match seconds(std::env::args().skip(1)) {
        Ok(seconds) => seconds,
        Err(text) => {
            eprintln!("hud: {text}\nusage: hud [--seconds N]");
            return ExitCode::FAILURE;
        }
    };
    match run(seconds.map(Duration::from_secs)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hud: {error}");
            ExitCode::FAILURE
        }
    }
}

fn seconds(mut args: impl Iterator<Item = String>) -> Result<Option<u64>, String> {
    match (args.next().as_deref(), args.next(), args.next()) {
        (None, ..) => Ok(None),
        (Some("--seconds"), Some(n), None) => n.parse().map(Some).map_err(|_| format!("`{n}` is no number")),
        (Some(other), ..) => Err(format!("`{other}` is not understood")),
    }
}

fn run(time: Option<Duration>) -> Result<String, minigun::Error> {
    let p = Pipeline::new("hud");
    let (made, stored) = (p.counter("made"), p.counter("stored"));
    p.producer("pages", move |out| {
        let begun = Instant::now();
        for page in 1u64.. {
            if out.is_stopping() || time.is_some_and(|time| begun.elapsed() >= time) {
                break;
            }
            made.add(1);
            out.emit(page);
        }
        Ok(())
    })
    .threads(8, |s| {
        s.map("fetch", |page| {
            sleep(Duration::from_micros(500));
            page
        })
    })
    .on(processes(2).skip().crash_attempts(1).queue(256), |s| {
        s.try_map("parse", |page: u64| {
            sleep(Duration::from_micros(800));
            match page {
                page if page % DEADLY == 0 => std::process::abort(),
                page if page % FAILS == 0 => Err(format!("page {page} is not well-formed").into()),
                page => Ok((0..2_000).fold(page, |sum, n| black_box(sum ^ n))),
            }
        })
    })
    .batch(100)
    .threads(2, |s| {
        s.map("pack", |pages: Vec<u64>| {
            sleep(Duration::from_millis(5));
            pages
        })
    })
    .consumer("store", move |pages| stored.add(pages.len() as u64));

    let report = p.run_with_hud()?;
    let aside = report.stage("parse").map_or(0, |stage| stage.figures.skipped);
    let (made, stored) = (report.count(&made), report.count(&stored));
    assert_eq!(made, stored + aside, "every page is stored or set aside");
    println!("{report}");
    Ok(format!("{made} pages made, {stored} stored, {aside} set aside, 0 lost"))
}
