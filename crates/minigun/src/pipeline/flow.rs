//! `Flow`: the typed end of what has been built so far.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::home::{At, Home};
use super::port::Ports;
use super::scope::{Program, Scope, Worker};
use crate::exec::ThreadsNode;
use crate::failure::{Failure, StageResult};
use crate::gate::Rate;
use crate::graph::{BlockId, Mistake, StageId};
use crate::plan::{BlockDef, Spot};
use crate::stage::output::Output;
use crate::stage::pace::{Pace, RateStep};
use crate::stage::sink::Cx;
use crate::stage::step::{self, Hook, StepHead};
use crate::stage::step_run::StepRun;

/// The typed end of what has been built so far: items of type `T`, in the scope `S`.
///
/// Every step takes the flow and returns the next one. In the program itself, `processor`, `consumer` and
/// `router` run on a thread of their own, and light steps (`map`, `filter` …) on the thread of the stage
/// before them; inside a block all steps run in the block's workers, fused into one call. `Flow` is `Clone`
/// where its items are: every clone gets every item.
#[must_use = "a flow nobody consumes is refused when the pipeline runs: end it with `consumer`, `collect`, `fold`, `router` or `discard`"]
pub struct Flow<T, S = Program> {
    pub(crate) home: Arc<Home>,
    pub(crate) spot: Spot<T>,
    pub(crate) block: Option<Arc<BlockDef>>,
    pub(crate) head: Option<StepHead>,
    /// Of a flow right behind a source: whether the run goes on without that if it fails.
    pub(crate) source: Option<Arc<AtomicBool>>,
    _scope: PhantomData<fn() -> S>,
}

/// A flow inside a block: the part that travels to a worker as a unit.
pub type Segment<T, S = Worker> = Flow<T, S>;

/// A flow that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Done(pub(crate) ());

impl<T: Clone + Send + 'static, S: Scope> Clone for Flow<T, S> {
    fn clone(&self) -> Self {
        self.spot.point.share(T::clone);
        Flow::at(&self.home, self.spot.clone(), self.block.clone())
    }
}

impl<T: Send + 'static, S: Scope> Flow<T, S> {
    pub(crate) fn at(home: &Arc<Home>, spot: Spot<T>, block: Option<Arc<BlockDef>>) -> Self {
        Flow { home: Arc::clone(home), spot, block, head: None, source: None, _scope: PhantomData }
    }

    /// Attaches a step named `name`; `make` builds each worker's own closure.
    pub(crate) fn step<U, R>(
        self,
        name: &str,
        kind: &'static str,
        make: impl Fn(&mut Cx) -> Result<R, Failure> + Send + Sync + 'static,
    ) -> Flow<U, S>
    where
        U: Send + 'static,
        R: StepRun<T, U> + 'static,
    {
        let stage = self.home.graph(|graph| graph.stage(name, kind, self.block_id()));
        self.step_at(stage, name, make)
    }

    pub(crate) fn block_id(&self) -> Option<BlockId> {
        self.block.as_ref().map(|block| block.id)
    }

    pub(crate) fn step_at<U, R>(
        self,
        stage: StageId,
        name: &str,
        make: impl Fn(&mut Cx) -> Result<R, Failure> + Send + Sync + 'static,
    ) -> Flow<U, S>
    where
        U: Send + 'static,
        R: StepRun<T, U> + 'static,
    {
        let next = self.home.graph(|graph| {
            graph.consume(self.spot.id, Some(stage));
            Spot::<U>::new(graph, vec![stage], Vec::new(), None)
        });
        let head = StepHead::new(stage, name);
        let (at, to) = (head.clone(), Arc::clone(&next.point));
        self.spot.point.attach(Arc::new(move |cx| step::step_sink(&at, &make, &to, cx)));
        let mut flow = Flow::at(&self.home, next, self.block);
        flow.head = Some(head);
        flow
    }

    /// As [`step`](Self::step), but in the program the stage runs on a thread of its own, behind a queue.
    pub(crate) fn heavy<U, R>(
        self,
        name: &str,
        kind: &'static str,
        make: impl Fn(&mut Cx) -> Result<R, Failure> + Send + Sync + 'static,
    ) -> Flow<U, S>
    where
        U: Send + 'static,
        R: StepRun<T, U> + 'static,
    {
        let stage = self.home.graph(|graph| graph.stage(name, kind, self.block_id()));
        self.own_thread(stage, name).step_at(stage, name, make)
    }

    /// In the program: what follows runs on a thread of its own, behind a queue.
    pub(crate) fn own_thread(self, stage: StageId, name: &str) -> Self {
        if !S::PROGRAM {
            return self;
        }
        let Flow { home, spot, block, .. } = self;
        let next = home.graph(|graph| {
            graph.consume(spot.id, None);
            Spot::<T>::new(graph, Vec::new(), vec![spot.id], None)
        });
        let (node, sink) = ThreadsNode::single(&next, (stage, name), home.config.queue);
        home.add(Some(Box::new(node)));
        spot.point.attach(sink);
        Flow::at(&home, next, block)
    }

    pub(crate) fn ended(self) -> Done {
        self.home.graph(|graph| graph.consume(self.spot.id, None));
        Done(())
    }

    /// Turns each item into another.
    ///
    /// A function that can fail belongs into [`try_map`](Self::try_map): `map` would turn its errors into
    /// items.
    pub fn map<U: Send + 'static>(
        self,
        name: &str,
        f: impl Fn(T) -> U + Send + Sync + 'static,
    ) -> Flow<U, S> {
        let f = Arc::new(f);
        self.step(name, "map", move |_| {
            let f = Arc::clone(&f);
            Ok(move |item, out: &mut Output<U>| {
                out.emit_made(|| f(item));
                Ok(())
            })
        })
    }

    /// Turns each item into another, or fails it: the policy of the block decides what then happens.
    pub fn try_map<U: Send + 'static>(
        self,
        name: &str,
        f: impl Fn(T) -> Result<U, Failure> + Send + Sync + 'static,
    ) -> Flow<U, S> {
        let f = Arc::new(f);
        self.step(name, "try_map", move |_| {
            let f = Arc::clone(&f);
            Ok(move |item, out: &mut Output<U>| {
                out.emit(f(item)?);
                Ok(())
            })
        })
    }

    /// As [`map`](Self::map), with state made once in each worker. The state need not be `Send`; after a
    /// panic it is made anew, and a clone of the program's memory that a worker process got is its own.
    pub fn map_init<W: 'static, U: Send + 'static>(
        self,
        name: &str,
        init: impl Fn() -> W + Send + Sync + 'static,
        f: impl Fn(&mut W, T) -> U + Send + Sync + 'static,
    ) -> Flow<U, S> {
        self.try_map_init(name, move || Ok(init()), move |state, item| Ok(f(state, item)))
    }

    /// As [`try_map`](Self::try_map), with state made once in each worker. An `init` that fails ends the run
    /// with [`Error::Init`](crate::Error::Init).
    pub fn try_map_init<W: 'static, U: Send + 'static>(
        self,
        name: &str,
        init: impl Fn() -> Result<W, Failure> + Send + Sync + 'static,
        f: impl Fn(&mut W, T) -> Result<U, Failure> + Send + Sync + 'static,
    ) -> Flow<U, S> {
        let f = Arc::new(f);
        self.step(name, "try_map", move |_| {
            let (f, mut state) = (Arc::clone(&f), init()?);
            Ok(move |item, out: &mut Output<U>| {
                out.emit(f(&mut state, item)?);
                Ok(())
            })
        })
    }

    /// Keeps the items for which `f` says so.
    pub fn filter(self, name: &str, f: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        let f = Arc::new(f);
        self.step(name, "filter", move |_| {
            let f = Arc::clone(&f);
            Ok(move |item, out: &mut Output<T>| {
                if f(&item) {
                    out.emit(item);
                }
                Ok(())
            })
        })
    }

    /// Turns each item into any number of others.
    pub fn flat_map<I: IntoIterator<Item: Send + 'static>>(
        self,
        name: &str,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> Flow<I::Item, S> {
        let f = Arc::new(f);
        self.step(name, "flat_map", move |_| {
            let f = Arc::clone(&f);
            Ok(move |item, out: &mut Output<I::Item>| {
                out.extend(f(item));
                Ok(())
            })
        })
    }

    /// Looks at each item and passes it on.
    pub fn inspect(self, name: &str, f: impl Fn(&T) + Send + Sync + 'static) -> Self {
        let f = Arc::new(f);
        self.step(name, "inspect", move |_| {
            let f = Arc::clone(&f);
            Ok(move |item, out: &mut Output<T>| {
                f(&item);
                out.emit(item);
                Ok(())
            })
        })
    }

    /// Turns each item into what the closure emits: nothing, one item or many. In the program it runs on a
    /// thread of its own.
    pub fn processor<U: Send + 'static, R: StageResult>(
        self,
        name: &str,
        f: impl Fn(T, &mut Output<U>) -> R + Send + Sync + 'static,
    ) -> Flow<U, S> {
        let f = Arc::new(f);
        self.heavy(name, "processor", move |_| {
            let f = Arc::clone(&f);
            Ok(move |item, out: &mut Output<U>| f(item, out).into_result())
        })
    }

    /// As [`processor`](Self::processor), with state made once in each worker
    /// (see [`try_map_init`](Self::try_map_init)).
    pub fn processor_init<W: 'static, U: Send + 'static, R: StageResult>(
        self,
        name: &str,
        init: impl Fn() -> Result<W, Failure> + Send + Sync + 'static,
        f: impl Fn(&mut W, T, &mut Output<U>) -> R + Send + Sync + 'static,
    ) -> Flow<U, S> {
        let f = Arc::new(f);
        self.heavy(name, "processor", move |_| {
            let (f, mut state) = (Arc::clone(&f), init()?);
            Ok(move |item, out: &mut Output<U>| f(&mut state, item, out).into_result())
        })
    }

    /// Ends the flow: the closure gets each item. In the program it runs on a thread of its own.
    pub fn consumer<R: StageResult>(self, name: &str, f: impl Fn(T) -> R + Send + Sync + 'static) -> Done {
        let f = Arc::new(f);
        self.heavy(name, "consumer", move |_| {
            let f = Arc::clone(&f);
            Ok(move |item, _: &mut Output<()>| f(item).into_result())
        })
        .ended()
    }

    /// As [`consumer`](Self::consumer), with state made once in each worker
    /// (see [`try_map_init`](Self::try_map_init)).
    pub fn consumer_init<W: 'static, R: StageResult>(
        self,
        name: &str,
        init: impl Fn() -> Result<W, Failure> + Send + Sync + 'static,
        f: impl Fn(&mut W, T) -> R + Send + Sync + 'static,
    ) -> Done {
        let f = Arc::new(f);
        self.heavy(name, "consumer", move |_| {
            let (f, mut state) = (Arc::clone(&f), init()?);
            Ok(move |item, _: &mut Output<()>| f(&mut state, item).into_result())
        })
        .ended()
    }

    /// Ends the flow: the closure sends each item to one or more of the declared ports, which it is lent in
    /// the shape in which they were declared (one port, a tuple, an array, a `Vec`, a map).
    pub fn router<P: Ports<S>, R: StageResult>(
        self,
        name: &str,
        ports: P,
        f: impl Fn(T, &mut P::Outputs) -> R + Send + Sync + 'static,
    ) -> Done {
        self.ported::<P, (), _>(name, "router", ports, move |item, _, ports| f(item, ports).into_result())
            .ended()
    }

    /// As [`processor`](Self::processor), and may also send to the declared ports.
    pub fn processor_to<P: Ports<S>, U: Send + 'static, R: StageResult>(
        self,
        name: &str,
        ports: P,
        f: impl Fn(T, &mut Output<U>, &mut P::Outputs) -> R + Send + Sync + 'static,
    ) -> Flow<U, S> {
        self.ported(name, "processor", ports, move |item, out, ports| f(item, out, ports).into_result())
    }

    fn ported<P, U, F>(self, name: &str, kind: &'static str, ports: P, f: F) -> Flow<U, S>
    where
        P: Ports<S>,
        U: Send + 'static,
        F: Fn(T, &mut Output<U>, &mut P::Outputs) -> Result<(), Failure> + Send + Sync + 'static,
    {
        let stage = self.home.graph(|graph| graph.stage(name, kind, self.block_id()));
        let flow = self.own_thread(stage, name);
        let open = ports.bind(&At { home: &flow.home, block: flow.block.as_ref(), stage, producer: false });
        let f = Arc::new(f);
        flow.step_at(stage, name, move |cx| Ok(super::port::Ported { f: Arc::clone(&f), ports: open(cx)? }))
    }

    /// Lets at most `per_second` items pass a second, and up to `burst` at once after a pause (at least 1). In the program
    /// it waits on a thread of its own, asleep; once the run is stopped, items pass without waiting. A rate that is
    /// not above 0 is a mistake in the wiring.
    ///
    /// ```
    /// # use minigun::Pipeline;
    /// let p = Pipeline::new("polite");
    /// let calls = p.source("calls", 0..50).rate(1000.0, 10).collect("polite calls");
    /// assert_eq!(p.run()?.take(calls).len(), 50); // after 40 ms, for only 10 did not have to wait
    /// # Ok::<(), minigun::Error>(())
    /// ```
    ///
    /// Inside a block it counts by itself in each worker process, and its threads keep the rate together. To hold
    /// back a block's own items, put [`Block::rate`](crate::Block::rate) on its head.
    pub fn rate(self, per_second: f64, burst: u32) -> Self {
        let rate = Rate { per_second, burst };
        let (stage, name) = self.home.graph(|graph| {
            let stage = graph.unnamed("rate", self.block_id());
            let name = graph.name(stage).to_string();
            if !rate.is_possible() {
                graph.mistakes.push(Mistake::Rate { stage: name.clone() });
            }
            (stage, name)
        });
        let pace = Pace::new(rate);
        self.own_thread(stage, &name).step_at(stage, &name, move |cx| Ok(RateStep::new(&pace, cx)))
    }

    /// Ends the flow: its items are dropped.
    pub fn discard(self) -> Done {
        self.ended()
    }

    /// Runs in each worker of the stage just written, before its first item. A hook that fails ends the run.
    pub fn before<R: StageResult>(self, f: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.hook("before", Arc::new(move || f().into_result()))
    }

    /// Runs in each worker of the stage just written, after its last item. A hook that fails ends the run;
    /// a worker that is killed runs none.
    pub fn after<R: StageResult>(self, f: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.hook("after", Arc::new(move || f().into_result()))
    }

    fn hook(self, when: &'static str, hook: Hook) -> Self {
        match &self.head {
            Some(head) if when == "before" => head.hooks.lock().before.push(hook),
            Some(head) => head.hooks.lock().after.push(hook),
            None => self.home.graph(|graph| {
                let behind = graph.names_before(self.spot.id);
                graph.mistakes.push(Mistake::NoStage { hook: when, behind });
            }),
        }
        self
    }

    /// A function over flows, in reading order: `flow.then(clean)` is `clean(flow)`.
    pub fn then<R>(self, f: impl FnOnce(Self) -> R) -> R {
        f(self)
    }
}

impl<T: Send + 'static, S: Scope> Flow<Vec<T>, S> {
    /// Turns each batch into its items.
    pub fn unbatch(self) -> Flow<T, S> {
        let stage = self.home.graph(|graph| graph.unnamed("unbatch", self.block_id()));
        let name = self.home.graph(|graph| graph.name(stage).to_string());
        self.step_at(stage, &name, |_| {
            Ok(|items: Vec<T>, out: &mut Output<T>| {
                out.extend(items);
                Ok(())
            })
        })
    }
}
