//! The metrics of a run are Prometheus text in every line, tell what the report tells, and end with the run.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Event, within};
use minigun::{Error, Pipeline, processes, threads};
use prometheus_parse::{Sample, Scrape, Value};

/// One request; the answer's head and its body.
fn request(address: SocketAddr, line: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_string(), body.to_string())
}

/// The samples, of which every line that is no comment must be one.
fn samples(text: &str) -> Vec<Sample> {
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_string()))).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.iter().all(|line| !line.trim().is_empty()), "{text}");
    assert_eq!(scrape.samples.len(), lines.len(), "a line is no sample:\n{text}");
    for line in text.lines().filter(|line| line.starts_with('#')) {
        assert!(line.starts_with("# HELP minigun_") || line.starts_with("# TYPE minigun_"), "{line}");
    }
    scrape.samples
}

/// The value of a figure with these labels.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |sample: &&Sample| {
        sample.metric == name && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(*value))
    };
    let found: Vec<_> = samples.iter().filter(fits).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}");
    match &found[0].value {
        Value::Counter(n) | Value::Gauge(n) | Value::Untyped(n) => *n,
        other => panic!("{name} is {other:?}"),
    }
}

fn threads_named(name: &str) -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    threads
        .filter(|t| fs::read_to_string(t.path().join("comm")).is_ok_and(|comm| comm.trim() == name))
        .count()
}

/// One test at a time: they look at the threads of their process.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_scrape_is_prometheus_text_and_tells_of_every_stage_until_the_run_ends() {
    let _alone = alone();
    let (arrived, gate) = (Event::new(), Event::new());
    let (tell, wait) = (arrived.clone(), gate.clone());
    let p = Pipeline::new("scraped");
    let endpoint = p.metrics("127.0.0.1:0");
    assert_eq!(endpoint.address(), None);
    let seen = p.counter("seen");
    p.source("numbers", 0..100u64)
        .on(threads(2).skip(), |s| {
            s.try_map("odd fail", |n| if n % 10 == 1 { Err("one".into()) } else { Ok(n) })
        })
        .processes(1, |s| s.map("square", |n| n * n))
        .threads(1, |s| s.map("square", |n| n))
        .consumer("end", move |n: u64| {
            seen.add(1);
            // 99 comes last: one worker each, in order, but for the two threads before them.
            if n == 99 * 99 {
                tell.set();
                wait.wait();
            }
        });
    let running = p.start().unwrap();
    let address = endpoint.address().unwrap();
    within("the last item", move || arrived.wait());

    // Workers tell of what they did a moment after they did it.
    let (head, text) = within("a scrape of all that was done", move || {
        loop {
            let (head, text) = request(address, "GET /metrics");
            let told = samples(&text);
            let of = |name: &str, stage: &str| value(&told, name, &[("stage", stage)]);
            if of("minigun_stage_items_out_total", "numbers") == 100.0
                && of("minigun_stage_items_skipped_total", "odd fail") == 10.0
            {
                return (head, text);
            }
        }
    });
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    let told = samples(&text);
    let pipeline = ("pipeline", "scraped");
    let of = |name: &str, stage: &str, kind: &str| {
        value(&told, name, &[pipeline, ("stage", stage), ("worker_kind", kind)])
    };
    assert_eq!(of("minigun_stage_worker_forks_total", "square", "processes"), 1.0);
    assert!(of("minigun_stage_sent_bytes_total", "square", "processes") > 0.0);
    // The other stage of that name has another kind of worker.
    assert!(of("minigun_stage_items_in_total", "square", "threads") > 0.0);
    assert!(of("minigun_stage_queue_limit_items", "end", "program") > 0.0);
    let state = [pipeline, ("stage", "square"), ("worker_kind", "processes"), ("state", "waiting_for_input")];
    assert!(value(&told, "minigun_stage_workers", &state) <= 1.0);
    assert_eq!(value(&told, "minigun_run_stopping", &[pipeline]), 0.0);
    value(&told, "minigun_counter_total", &[pipeline, ("counter", "seen")]);
    let kinds: BTreeMap<_, _> = told.iter().map(|sample| (&sample.metric, &sample.value)).collect();
    for (name, value) in kinds {
        assert_eq!(name.ends_with("_total"), matches!(value, Value::Counter(_)), "{name}");
    }

    let (head, _) = within("another path", move || request(address, "GET /"));
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let (head, _) = within("another method", move || request(address, "POST /metrics"));
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");

    // A client that keeps its connection open, and one that never asks, hold nothing up.
    let mut idle = TcpStream::connect(address).unwrap();
    let _silent = TcpStream::connect(address).unwrap();
    write!(idle, "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 15]).unwrap();
    assert_eq!(threads_named("mg:metrics"), 1);
    gate.set();
    let report = within("the end", move || running.join()).unwrap();
    assert_eq!(report.count(&seen), 90);
    assert_eq!(threads_named("mg:metrics"), 0, "its thread has ended with the run");
    assert!(TcpStream::connect(address).is_err(), "and nobody listens any more");
}

#[test]
fn an_address_that_cannot_be_had_ends_the_run_before_its_first_item() {
    let _alone = alone();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let p = Pipeline::new("refused");
    p.metrics(&*address);
    let seen = p.counter("seen");
    p.source("in", 0..3).on(processes(1), move |s| s.consumer("count", move |_: i32| seen.add(1)));
    match p.run() {
        Err(Error::Metrics { address: told, .. }) => assert_eq!(told, address),
        other => panic!("{other:?}", other = other.map(|report| report.to_string())),
    }
}

#[test]
fn two_runs_at_once_have_an_endpoint_each() {
    let _alone = alone();
    let gate = Event::new();
    let start = |name: &str| {
        let p = Pipeline::new(name);
        let (endpoint, wait) = (p.metrics("127.0.0.1:0"), gate.clone());
        p.source("in", 0..1).consumer("wait", move |_| wait.wait());
        (p.start().unwrap(), endpoint.address().unwrap())
    };
    let runs = [start("one"), start("two \"quoted\"")];
    for ((_, address), label) in runs.iter().zip([r#"pipeline="one""#, r#"pipeline="two \"quoted\"""#]) {
        let (_, text) = request(*address, "GET /metrics");
        samples(&text);
        assert!(text.lines().all(|line| line.starts_with('#') || line.contains(label)), "{text}");
    }
    gate.set();
    for (running, _) in runs {
        running.join().unwrap();
    }
}
