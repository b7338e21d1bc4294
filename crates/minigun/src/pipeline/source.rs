//! Sources: where items come from.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minigun_os::Pid;

use super::Pipeline;
use super::flow::Flow;
use super::port::{Ports, lend};
use super::scope::Program;
use crate::exec::ThreadsNode;
use crate::exec::source::SourceNode;
use crate::failure::{Failure, StageResult};
use crate::graph::{Mistake, StageId};
use crate::plan::Spot;
use crate::queue;
use crate::stage::output::Output;
use crate::stats::made_here;
use crate::sync::Mutex;

impl Pipeline {
    /// Items that a closure emits, on a thread of its own.
    ///
    /// ```
    /// # use minigun::Pipeline;
    /// let p = Pipeline::new("numbers");
    /// let all = p.producer("three", |out| for n in 1..=3 { out.emit(n) }).collect("all");
    /// assert_eq!(p.run()?.take(all), [1, 2, 3]);
    /// # Ok::<(), minigun::Error>(())
    /// ```
    pub fn producer<U: Send + 'static, R: StageResult>(
        &self,
        name: &str,
        f: impl FnOnce(&mut Output<U>) -> R + Send + 'static,
    ) -> Flow<U> {
        self.produce(name, (), move |out, (), _| f(out).into_result())
    }

    /// As [`producer`](Self::producer), and may also send to the declared ports, which it is lent in the shape in which
    /// they were declared (one port, a tuple, an array, a `Vec`, a map). What it sends to a port goes on at once, as what it
    /// emits does.
    ///
    /// ```
    /// # use minigun::Pipeline;
    /// let p = Pipeline::new("files");
    /// let (bad, errors) = p.inlet::<String>("errors");
    /// let numbers = p.producer_to("parse", &bad, |out, bad| {
    ///     for word in ["1", "two", "3"] {
    ///         match word.parse::<u32>() {
    ///             Ok(number) => out.emit(number),
    ///             Err(error) => bad.emit(format!("{word}: {error}")),
    ///         }
    ///     }
    /// });
    /// let (numbers, errors) = (numbers.collect("numbers"), errors.collect("bad ones"));
    /// let mut report = p.run()?;
    /// assert_eq!(report.take(numbers), [1, 3]);
    /// assert_eq!(report.take(errors), ["two: invalid digit found in string"]);
    /// # Ok::<(), minigun::Error>(())
    /// ```
    pub fn producer_to<P, U, R>(
        &self,
        name: &str,
        ports: P,
        f: impl FnOnce(&mut Output<U>, &mut P::Outputs) -> R + Send + 'static,
    ) -> Flow<U>
    where
        P: Ports<Program>,
        U: Send + 'static,
        R: StageResult,
    {
        self.produce(name, ports, move |out, ports, _| f(out, ports).into_result())
    }

    fn produce<P, U: Send + 'static>(
        &self,
        name: &str,
        ports: P,
        f: impl FnOnce(&mut Output<U>, &mut P::Outputs, StageId) -> Result<(), Failure> + Send + 'static,
    ) -> Flow<U>
    where
        P: Ports<Program>,
    {
        let skips = Arc::new(AtomicBool::new(false));
        let (stage, spot) = self.home.graph(|graph| {
            let stage = graph.stage(name, "source", None);
            (stage, Spot::new(graph, vec![stage], Vec::new(), None))
        });
        self.home.add(Some(Box::new(SourceNode {
            produce: Box::new(move |out, ports| f(out, ports, stage)),
            ports: lend(ports, &self.home, stage),
            head: spot.make(),
            stage,
            name: name.into(),
            skips: Arc::clone(&skips),
        })));
        let mut flow = Flow::at(&self.home, spot, None);
        flow.source = Some(skips);
        flow
    }

    /// The items of an iterator.
    pub fn source<I>(&self, name: &str, items: I) -> Flow<I::Item>
    where
        I: IntoIterator<Item: Send + 'static> + Send + 'static,
    {
        self.source_with(name, move || items)
    }

    /// The items of an iterator that is made on the producer's thread, so that it need not be `Send`.
    pub fn source_with<I>(&self, name: &str, make: impl FnOnce() -> I + Send + 'static) -> Flow<I::Item>
    where
        I: IntoIterator<Item: Send + 'static>,
    {
        self.produce(name, (), move |out, (), stage| {
            let mut items = make().into_iter().fuse();
            // How much there is to do, for whoever looks at the run.
            if let (least, Some(most)) = items.size_hint()
                && least == most
            {
                out.run().stats(stage).expect(most as u64);
            }
            out.feed(&mut items);
            while !out.is_stopping()
                && let Some(item) = items.next()
                && out.try_emit(item).is_ok()
            {
                out.feed(&mut items);
            }
            Ok(())
        })
    }

    /// The lines of a file, without their ends. A file that cannot be opened or read, or a line that is not
    /// UTF-8, fails the source.
    pub fn lines(&self, name: &str, path: impl AsRef<Path>) -> Flow<String> {
        let path = path.as_ref().to_path_buf();
        self.producer(name, move |out| {
            let at = |error: std::io::Error| Failure::from(format!("{}: {error}", path.display()));
            emit_lines(std::io::BufReader::new(std::fs::File::open(&path).map_err(at)?), out, at)
        })
    }

    /// The lines of the program's standard input, without their ends.
    pub fn stdin_lines(&self, name: &str) -> Flow<String> {
        self.producer(name, |out| {
            emit_lines(std::io::stdin().lock(), out, |error| {
                Failure::from(format!("standard input: {error}"))
            })
        })
    }

    /// A flow that other threads of the program send into; it ends when the last `Sender` is dropped. At most
    /// `limit` items wait in it.
    pub fn channel<T: Send + 'static>(&self, name: &str, limit: usize) -> (Sender<T>, Flow<T>) {
        let queue = Arc::new(queue::Queue::new(limit, false));
        let (stage, spot) = self.home.graph(|graph| {
            let stage = graph.stage(name, "channel", None);
            (stage, Spot::new(graph, vec![stage], Vec::new(), None))
        });
        self.home.add(Some(Box::new(ThreadsNode::channel(&queue, &spot, stage, name))));
        (Sender::new(queue, Pid::current()), Flow::at(&self.home, spot, None))
    }
}

impl<T: Send + 'static> Flow<T> {
    /// If the source just written fails, by an error or a panic, the run goes on without it: what it had emitted counts,
    /// the other sources go on, and the report names it among its failures as skipped (the item number is how many it
    /// had emitted). Without this a source that fails ends the run.
    ///
    /// ```
    /// # use minigun::Pipeline;
    /// let p = Pipeline::new("mirrors");
    /// let near = p.lines("near", "/nowhere/near.txt").skip_on_failure();
    /// let far = p.source("far", ["a line".to_string()]);
    /// let lines = near.merge(far).collect("lines");
    /// let mut report = p.run()?;
    /// assert_eq!(report.take(lines), ["a line"]);
    /// assert!(report.stage("near").is_some_and(|near| near.failures[0].error.contains("/nowhere/near.txt")));
    /// # Ok::<(), minigun::Error>(())
    /// ```
    ///
    /// Behind anything but a source it is a mistake in the wiring: what fails in a block is for the policy on its head.
    pub fn skip_on_failure(self) -> Self {
        match &self.source {
            Some(skips) => skips.store(true, Ordering::Relaxed),
            None => self.home.graph(|graph| {
                let behind = graph.names_before(self.spot.id);
                graph.mistakes.push(Mistake::NoSource { behind });
            }),
        }
        self
    }
}

fn emit_lines(
    mut reader: impl BufRead,
    out: &mut Output<String>,
    at: impl Fn(std::io::Error) -> Failure,
) -> Result<(), Failure> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).map_err(&at)? == 0 {
            return Ok(());
        }
        if line.ends_with('\n') {
            line.pop();
            if line.ends_with('\r') {
                line.pop();
            }
        }
        if out.try_emit(line).is_err() {
            return Ok(());
        }
    }
}

/// The sending end of [`Pipeline::channel`].
///
/// In a worker process there is nobody to receive, unless the pipeline itself was made there: `send` gives the
/// item back.
pub struct Sender<T> {
    queue: Arc<queue::Queue<T>>,
    inner: Mutex<queue::Sender<T>>,
    owner: Pid,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender::new(Arc::clone(&self.queue), self.owner)
    }
}

impl<T> Sender<T> {
    fn new(queue: Arc<queue::Queue<T>>, owner: Pid) -> Self {
        Sender { inner: Mutex::new(queue::Sender::new(&queue)), queue, owner }
    }

    /// Sends one item, waiting while the channel is full.
    ///
    /// # Errors
    /// The item comes back once the run has stopped, or when called in a worker process forked since.
    pub fn send(&self, item: T) -> Result<(), T> {
        if !made_here(self.owner) {
            return Err(item);
        }
        self.inner.lock().send(item)
    }
}
