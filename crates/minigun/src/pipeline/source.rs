//! Sources: where items come from.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use minigun_os::Pid;

use super::Pipeline;
use super::flow::Flow;
use super::port::{Ports, lend};
use super::scope::Program;
use crate::exec::ThreadsNode;
use crate::exec::source::SourceNode;
use crate::failure::{Failure, StageResult};
use crate::plan::Spot;
use crate::queue;
use crate::stage::output::Output;
use crate::stats::made_here;

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
        self.producer_to(name, (), |out, ()| f(out))
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
        let (stage, spot) = self.home.graph(|graph| {
            let stage = graph.stage(name, "source", None);
            (stage, Spot::new(graph, vec![stage], Vec::new(), None))
        });
        self.home.add(Some(Box::new(SourceNode {
            produce: Box::new(move |out, ports| f(out, ports).into_result()),
            ports: lend(ports, &self.home, stage),
            head: spot.make(),
            stage,
            name: name.into(),
        })));
        Flow::at(&self.home, spot, None)
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
        self.producer(name, move |out| {
            for item in make() {
                if out.try_emit(item).is_err() {
                    break;
                }
            }
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
        (
            Sender { inner: queue::Sender::new(&queue), owner: Pid::current() },
            Flow::at(&self.home, spot, None),
        )
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
    inner: queue::Sender<T>,
    owner: Pid,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { inner: self.inner.clone(), owner: self.owner }
    }
}

impl<T> Sender<T> {
    /// Sends one item, waiting while the channel is full.
    ///
    /// # Errors
    /// The item comes back once the run has stopped, or when called in a worker process forked since.
    pub fn send(&self, item: T) -> Result<(), T> {
        if !made_here(self.owner) {
            return Err(item);
        }
        self.inner.send(item)
    }
}
