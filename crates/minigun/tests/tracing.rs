//! A run as spans and events of `tracing`: told to the program's subscriber, wherever the stages run.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};

use common::{error_of, under, within};
use minigun::{Backoff, Executor, Pipeline};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;
    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_string).collect()
    }
}

/// Builds a pipeline under a subscriber of its own, with `trace`; what that wrote when the run was over.
fn traced(most: Level, build: impl FnOnce(Pipeline)) -> Vec<String> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(most)
        .with_ansi(false)
        .without_time()
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let p = Pipeline::new("traced");
        p.trace();
        build(p);
    });
    log.lines()
}

#[track_caller]
fn one<'a>(lines: &'a [String], parts: &[&str]) -> &'a str {
    let found: Vec<_> = lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).collect();
    match found.as_slice() {
        [line] => line,
        _ => panic!("{parts:?} in {} lines of\n{}", found.len(), lines.join("\n")),
    }
}

const EVERYWHERE: [&str; 6] =
    ["inline", "threads:1", "threads:4", "processes:1", "processes:3", "process_per_batch:2"];

#[test]
fn what_a_closure_tells_is_heard_once_with_its_stage_and_worker() {
    under(&EVERYWHERE, |executor| {
        let lines = traced(Level::INFO, |p| {
            p.source("in", 0..6u32)
                .on(executor, |s| {
                    s.inspect("work", |n| {
                        if *n == 3 {
                            tracing::warn!(item = n, "a number");
                            tracing::debug!("nobody wants to know");
                        }
                    })
                })
                .discard();
            p.run().unwrap();
        });
        let line = one(&lines, &["a number"]);
        assert!(line.contains("WARN") && line.contains("item=3"), "under {executor}: {line}");
        assert!(line.contains("run{pipeline=\"traced\""), "under {executor}: {line}");
        let stage = if let Executor::Inline = executor { "in" } else { "work" };
        assert!(
            line.contains(&format!(":stage{{stage=\"{stage}\"}}:worker{{worker=")),
            "under {executor}: {line}"
        );
        let process = matches!(executor, Executor::Processes(_) | Executor::ProcessPerBatch(_));
        assert_eq!(line.contains(" pid="), process, "under {executor}: {line}");
        assert_eq!(line.contains("code=\"tracing\""), process, "its target: {line}");
        assert!(!lines.iter().any(|line| line.contains("nobody")), "{lines:#?}");
    });
}

#[test]
fn everything_rare_is_told_at_its_level() {
    under(&EVERYWHERE, |executor| {
        let lines = traced(Level::DEBUG, |p| {
            p.source("in", 0..3u32)
                .on(executor.place().retry(2, Backoff::none()).skip(), |s| {
                    s.try_map("work", |n| if n == 1 { Err("not this one".into()) } else { Ok(n) })
                })
                .discard();
            p.run().unwrap();
        });
        one(&lines, &["INFO", "run{pipeline=\"traced\"", "run started"]);
        one(&lines, &["INFO", "stage{stage=\"work\"}", "item is tried again"]);
        one(
            &lines,
            &["WARN", "stage{stage=\"work\"}", "item was skipped", "error=\"not this one\"", "attempts=2"],
        );
        one(&lines, &["DEBUG", "stage{stage=\"in\"}", "worker spawned"]);
        one(&lines, &["DEBUG", "stage{stage=\"in\"}", "stage ended"]);
        one(&lines, &["INFO", "run ended", "seconds="]);
    });
}

#[test]
fn a_death_and_the_lines_of_a_worker_are_told_with_its_process() {
    under(&["processes:1", "process_per_batch:1"], |executor| {
        let lines = traced(Level::INFO, |p| {
            p.source("in", 0..3u32)
                .on(executor, |s| {
                    s.inspect("work", |n| {
                        if *n == 1 && minigun::attempt().is_some_and(|at| at.attempt == 1) {
                            writeln!(std::io::stderr(), "these are my last words").unwrap();
                            std::process::abort();
                        }
                    })
                })
                .discard();
            p.run().unwrap();
        });
        let words = one(&lines, &["minigun::stderr: these are my last words"]);
        let death = one(&lines, &["WARN", "worker died", "cause=", "SIGABRT"]);
        let pid = |line: &str| line.split("pid=").nth(1).unwrap().split('}').next().unwrap().to_string();
        assert_eq!(pid(words), pid(death), "under {executor}");
    });
}

#[test]
fn threads_inside_a_worker_process_are_heard_too() {
    within("nested", || {
        let lines = traced(Level::INFO, |p| {
            p.source("in", 0..4u32)
                .processes(1, |s| s.threads(2, |s| s.inspect("inner", |n| tracing::info!("seen {n}"))))
                .discard();
            p.run().unwrap();
        });
        for n in 0..4 {
            one(&lines, &["worker{", "pid=", &format!("seen {n} code=")]);
        }
    });
}

#[test]
fn a_run_that_fails_says_so() {
    let lines = traced(Level::ERROR, |p| {
        p.source("in", 0..3u32).threads(1, |s| s.try_map("work", |_| Err::<u32, _>("no".into()))).discard();
        error_of(p);
    });
    one(&lines, &["ERROR", "item ends the run", "error=\"no\""]);
    one(&lines, &["ERROR", "run failed"]);
}
