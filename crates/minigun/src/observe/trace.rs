//! A run as spans and events of `tracing`.
//!
//! An observer turns the run's events into those of `tracing`, inside a span for the run, its stages and its worker
//! processes. Threads enter a span of their own, so that what closures tell stands in it. In a worker process nobody
//! would hear that: there a subscriber writes each event as a line to standard error, marked so that the program
//! takes it for what it is and tells it to the program's own subscriber.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Arc;

use minigun_os::Pid;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Level, Metadata, Span, Subscriber, dispatcher, level_filters::LevelFilter};

use crate::error::Error;
use crate::events::{Event, FORWARDED, Observer, WorkerId};
use crate::failure::Fate;
use crate::run::draft::Attached;
use crate::run::handle::Handle;
use crate::sync::Mutex;

/// The run's spans, and the subscriber that is told of them.
pub(crate) struct Tracer {
    to: Dispatch,
    /// For worker processes; made before the fork, for making one takes locks.
    forwarder: Dispatch,
    owner: Pid,
    spans: Mutex<Spans>,
}

#[derive(Default)]
struct Spans {
    run: Option<Span>,
    stages: HashMap<String, Span>,
    /// Of processes: threads have their own.
    workers: HashMap<(String, usize), Span>,
}

impl Tracer {
    /// Tells the subscriber that is the default one now, on this thread.
    pub(crate) fn new() -> Arc<Tracer> {
        let to = dispatcher::get_default(Dispatch::clone);
        let forwarder = Dispatch::new(Forwarder { enabled: to.clone(), most: LevelFilter::current() });
        Arc::new(Tracer { to, forwarder, owner: Pid::current(), spans: Mutex::default() })
    }

    pub(crate) fn observer(self: &Arc<Self>) -> Observer {
        let tracer = Arc::clone(self);
        Box::new(move |event| dispatcher::with_default(&tracer.to, || tracer.tell(event)))
    }

    fn run(&self) -> Span {
        self.spans.lock().run.clone().unwrap_or_else(Span::none)
    }

    /// The span of a stage; made when it is first of use.
    fn stage(&self, stage: &str) -> Span {
        let run = self.run();
        if let Some(span) = self.spans.lock().stages.get(stage) {
            return span.clone();
        }
        // Outside of the lock: the subscriber is the user's.
        let span = tracing::info_span!(target: "minigun", parent: &run, "stage", stage);
        self.spans.lock().stages.entry(stage.to_string()).or_insert(span).clone()
    }

    /// The span of a worker process, or of a thread's stage.
    fn worker(&self, worker: &WorkerId) -> Span {
        let stage = self.stage(&worker.stage);
        let Some(pid) = worker.pid else { return stage };
        let place = (worker.stage.clone(), worker.worker);
        if let Some(span) = self.spans.lock().workers.get(&place) {
            return span.clone();
        }
        let span =
            tracing::info_span!(target: "minigun", parent: &stage, "worker", worker = worker.worker, pid);
        self.spans.lock().workers.entry(place).or_insert(span).clone()
    }

    fn worker_is_gone(&self, worker: &WorkerId) {
        let gone = self.spans.lock().workers.remove(&(worker.stage.clone(), worker.worker));
        drop(gone);
    }

    fn tell(&self, event: &Event) {
        match event {
            Event::RunStarted { .. } => {
                tracing::info!(target: "minigun", parent: &self.run(), "run started");
            }
            Event::Warned { warning } => {
                tracing::warn!(target: "minigun", parent: &self.run(), "{warning}");
            }
            Event::WorkerSpawned { worker } => {
                let place = worker.worker;
                tracing::debug!(target: "minigun", parent: &self.worker(worker), place, pid = worker.pid, "worker spawned");
            }
            Event::WorkerRetired { worker } => {
                let place = worker.worker;
                tracing::debug!(target: "minigun", parent: &self.worker(worker), place, pid = worker.pid, "worker retired");
                self.worker_is_gone(worker);
            }
            Event::WorkerDied { worker, cause } => {
                tracing::warn!(target: "minigun", parent: &self.worker(worker), cause, "worker died");
                self.worker_is_gone(worker);
            }
            Event::Printed { worker, line } => {
                tracing::info!(target: "minigun::stderr", parent: &self.worker(worker), "{line}");
            }
            Event::Traced { worker, level, target, message } => {
                self.forwarded(&self.worker(worker), level, target, message);
            }
            Event::ItemRetried { stage, item, error } => {
                tracing::info!(target: "minigun", parent: &self.stage(stage), item, error, "item is tried again");
            }
            Event::ItemFailed { item: failed } => {
                let span = self.stage(&failed.stage);
                let (item, attempts, error) = (failed.item, failed.attempts, failed.error.as_str());
                match failed.fate {
                    Fate::Stopped => {
                        tracing::error!(target: "minigun", parent: &span, item, attempts, error, "item ends the run")
                    }
                    Fate::Skipped => {
                        tracing::warn!(target: "minigun", parent: &span, item, attempts, error, "item was skipped")
                    }
                    Fate::Dead => {
                        tracing::warn!(target: "minigun", parent: &span, item, attempts, error, "item became a dead letter")
                    }
                }
            }
            Event::StageEnded { stage } => {
                tracing::debug!(target: "minigun", parent: &self.stage(stage), "stage ended");
                let ended = self.spans.lock().stages.remove(stage);
                drop(ended);
            }
            Event::RunEnded { elapsed, error } => {
                let (run, seconds) = (self.run(), elapsed.as_secs_f64());
                match error {
                    None => tracing::info!(target: "minigun", parent: &run, seconds, "run ended"),
                    Some(error) => {
                        tracing::error!(target: "minigun", parent: &run, seconds, error, "run failed")
                    }
                }
                let ended = std::mem::take(&mut *self.spans.lock());
                drop(ended);
            }
            Event::Missed { events } => {
                tracing::warn!(target: "minigun", parent: &self.run(), events, "events were missed");
            }
            Event::Stopping { by } => {
                tracing::info!(target: "minigun", parent: &self.run(), %by, "stopping");
            }
        }
    }

    /// What code in a worker told: at its level, which must be known where an event is written.
    fn forwarded(&self, span: &Span, level: &str, code: &str, message: &str) {
        match level {
            "ERROR" => tracing::error!(target: "minigun::worker", parent: span, code, "{message}"),
            "WARN" => tracing::warn!(target: "minigun::worker", parent: span, code, "{message}"),
            "DEBUG" => tracing::debug!(target: "minigun::worker", parent: span, code, "{message}"),
            "TRACE" => tracing::trace!(target: "minigun::worker", parent: span, code, "{message}"),
            _ => tracing::info!(target: "minigun::worker", parent: span, code, "{message}"),
        }
    }

    /// A worker begins on this thread: what it tells stands in its span, or is forwarded to the program.
    fn enter(&self, stage: &str, worker: usize) -> Box<dyn Any> {
        if Pid::current() != self.owner {
            return Box::new(dispatcher::set_default(&self.forwarder));
        }
        let default = dispatcher::set_default(&self.to);
        let span = tracing::info_span!(target: "minigun", parent: &self.stage(stage), "worker", worker);
        // Left before the subscriber is another one again.
        Box::new((span.entered(), default))
    }
}

/// Attached to a run, it has the run's threads and workers enter.
pub(crate) struct Attachment(pub(crate) Arc<Tracer>);

impl Attached for Attachment {
    fn prepare(&self, handle: &Handle) -> Result<(), Error> {
        // Before any of its threads asks for it.
        let (pipeline, id) = (handle.0.shared.name(), handle.0.shared.run());
        let run = || tracing::info_span!(target: "minigun", parent: None, "run", pipeline, id);
        let run = dispatcher::with_default(&self.0.to, run);
        self.0.spans.lock().run = Some(run);
        let tracer = Arc::clone(&self.0);
        handle.0.shared.set_entering(Box::new(move |stage, worker| tracer.enter(stage, worker)));
        Ok(())
    }
}

/// In a worker process: writes events where the program reads them.
struct Forwarder {
    /// Says what is wanted.
    enabled: Dispatch,
    /// Nothing beyond this is.
    most: LevelFilter,
}

/// A message is cut here, so that its line is written and read whole.
const LONGEST: usize = 3 << 10;

impl Subscriber for Forwarder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.enabled.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.enabled.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    /// Spans of a worker stay there.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut told = Told::default();
        event.record(&mut told);
        let (level, target) = (level(event.metadata().level()), event.metadata().target());
        let mut message = told.message + &told.fields;
        if message.len() > LONGEST {
            let cut = (0..=LONGEST).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
        }
        let message = message.replace('\n', "\\n");
        let line = format!("{}{level}\t{target}\t{message}\n", char::from(FORWARDED));
        // If the program reads no more, nobody is there to be told.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn level(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// The message of an event, and its fields as `name=value`.
#[derive(Default)]
struct Told {
    message: String,
    fields: String,
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
