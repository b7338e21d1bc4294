//! What the semantic tests share: the same pipeline under every executor, a watchdog, and events and records
//! that cross processes.
#![allow(dead_code, reason = "each test file is a crate of its own and uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fmt::{Debug, Display};
use std::fs::{File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use minigun::{Collected, Error, Executor, FailureKind, Pipeline};

/// Every executor, as configuration writes it.
pub(crate) const EXECUTORS: [&str; 6] =
    ["inline", "threads:1", "threads:4", "processes:1", "processes:3", "process_per_batch:2"];

/// No test depends on this time: when it is over, the run hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `f` on a thread of its own, so that a run that hangs fails its test instead of stopping all.
pub(crate) fn within<R: Send + 'static>(what: &str, f: impl FnOnce() -> R + Send + 'static) -> R {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || drop(tell.send(catch_unwind(AssertUnwindSafe(f)))));
    match told.recv_timeout(PATIENCE) {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => panic!("{what}: the run hangs, it has not ended within {PATIENCE:?}"),
    }
}

/// Calls `f` with each of these executors, one after the other.
pub(crate) fn under(executors: &[&'static str], f: impl Fn(Executor) + Send + Sync + 'static) {
    let f = Arc::new(f);
    for &text in executors {
        eprintln!("under {text}");
        let f = Arc::clone(&f);
        within(text, move || f(text.parse().unwrap()));
    }
}

/// Calls `f` with every executor.
pub(crate) fn everywhere(f: impl Fn(Executor) + Send + Sync + 'static) {
    under(&EXECUTORS, f);
}

/// Runs the same pipeline under every executor and compares what it collected, as multisets.
pub(crate) fn gives_everywhere<T: Ord + Debug + Send + Sync + 'static>(
    expected: impl IntoIterator<Item = T>,
    build: impl Fn(&Pipeline, Executor) -> Collected<T> + Send + Sync + 'static,
) {
    let expected = sorted(expected);
    everywhere(move |executor| {
        let p = Pipeline::new("everywhere");
        let collected = build(&p, executor);
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(collected)), expected, "under {executor}");
    });
}

pub(crate) fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort();
    items
}

/// The error of a run that must fail.
pub(crate) fn error_of(p: Pipeline) -> Error {
    match p.run() {
        Err(error) => error,
        Ok(report) => panic!("the run must fail, but gave\n{report}"),
    }
}

/// What an `Error::Stage` says: stage, item number, attempts, cause, kind.
pub(crate) type Told = (String, u64, u32, String, FailureKind);

pub(crate) fn told(error: Error) -> Told {
    match error {
        Error::Stage { stage, item, attempts, cause, kind, .. } => (stage, item, attempts, cause, kind),
        other => panic!("the error of an item was expected, not: {other}"),
    }
}

/// Something that happens once, in any process forked after this was made, and stays so.
pub(crate) struct Event {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Event {
    pub(crate) fn new() -> Arc<Self> {
        let (reader, writer) = pipe().unwrap();
        Arc::new(Event { reader, writer })
    }

    pub(crate) fn set(&self) {
        (&self.writer).write_all(&[1]).unwrap();
    }

    /// Waits until it has happened; any number of times, in any process.
    pub(crate) fn wait(&self) {
        self.take();
        self.set();
    }

    /// Waits until it has happened, and takes one happening away.
    pub(crate) fn take(&self) {
        (&self.reader).read_exact(&mut [0]).unwrap();
    }
}

/// Lines that any process appends, whole; nothing of it is left in the file system.
pub(crate) struct Marks(File);

static FILES: AtomicU32 = AtomicU32::new(0);

impl Marks {
    pub(crate) fn new() -> Arc<Self> {
        let name = format!("minigun-marks-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let file = OpenOptions::new().read(true).append(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        Arc::new(Marks(file))
    }

    pub(crate) fn add(&self, line: impl Display) {
        (&self.0).write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let mut text = vec![0; self.0.metadata().unwrap().len() as usize];
        self.0.read_exact_at(&mut text, 0).unwrap();
        String::from_utf8(text).unwrap().lines().map(str::to_string).collect()
    }

    /// How often this line was added.
    pub(crate) fn count(&self, line: impl Display) -> usize {
        let line = line.to_string();
        self.lines().iter().filter(|other| **other == line).count()
    }
}

/// The worker that runs this: its process and thread.
pub(crate) fn worker() -> String {
    format!("{} {:?}", std::process::id(), thread::current().id())
}
