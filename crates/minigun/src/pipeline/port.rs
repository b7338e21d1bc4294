//! Ports: typed ways into a flow, declared by routers and lent to their closures.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::home::{At, Home};
use super::scope::{Crosses, Program};
use crate::exec::source::{Lent, Open};
use crate::failure::Failure;
use crate::graph::{Mistake, StageId};
use crate::plan::{BlockDef, Spot};
use crate::stage::emit::Emit;
use crate::stage::output::Output;
use crate::stage::step_run::StepRun;

/// A typed way into a flow, made by [`Pipeline::inlet`](crate::Pipeline::inlet).
///
/// A port is declared by the stages that use it and lent to their closures as an [`Output`], so the graph
/// knows every route and the flow ends when the last declared sender has ended. A port to which nothing is
/// sent ends normally.
pub struct Port<V> {
    pub(crate) home: Arc<Home>,
    pub(crate) spot: Spot<V>,
}

impl<V> Clone for Port<V> {
    fn clone(&self) -> Self {
        Port { home: Arc::clone(&self.home), spot: self.spot.clone() }
    }
}

/// What a router declares, and what its closure is lent: one `Output` for every declared port, in the same
/// shape (one port, tuple, array, `Vec`, map).
pub trait Ports<S> {
    /// What the closure is lent.
    type Outputs: PortOutputs + 'static;
    #[doc(hidden)]
    fn bind(self, at: &At<'_>) -> Open<Self::Outputs>;
}

/// The outputs lent to a closure, seen one by one.
pub trait PortOutputs {
    #[doc(hidden)]
    fn each(&mut self, f: &mut dyn FnMut(&mut dyn PortOutput));
}

/// One lent output, whatever its items are.
#[doc(hidden)]
pub trait PortOutput {
    fn take_failure(&mut self) -> Option<Failure>;
    fn take_emitted(&mut self) -> u64;
    fn finish(&mut self) -> Result<(), Failure>;
    fn load(&mut self) -> usize;
}

impl<V> PortOutput for Output<V> {
    fn take_failure(&mut self) -> Option<Failure> {
        Output::take_failure(self)
    }

    fn take_emitted(&mut self) -> u64 {
        std::mem::take(&mut self.emitted)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.finish()
    }

    fn load(&mut self) -> usize {
        Output::load(self)
    }
}

impl<V> PortOutputs for Output<V> {
    fn each(&mut self, f: &mut dyn FnMut(&mut dyn PortOutput)) {
        f(self);
    }
}

impl<V: Crosses<S> + Send + 'static, S> Ports<S> for Port<V> {
    type Outputs = Output<V>;

    fn bind(self, at: &At<'_>) -> Open<Output<V>> {
        if !Arc::ptr_eq(&self.home, at.home) {
            at.home.graph(|graph| {
                let stage = graph.name(at.stage).to_string();
                graph.mistakes.push(Mistake::OtherPipeline { stage });
            });
        }
        self.home.graph(|graph| graph.send(at.stage, self.spot.id));
        let make = BlockDef::way_out(at.block, self.spot.make(), V::wire());
        if at.producer {
            return Box::new(move |cx| Ok(Output::of_producer(Emit::open(&make, cx)?, Arc::clone(&cx.run))));
        }
        Box::new(move |cx| Ok(Output::new(make(cx)?, Arc::clone(&cx.run))))
    }
}

impl<V: Crosses<S> + Send + 'static, S> Ports<S> for &Port<V> {
    type Outputs = Output<V>;

    fn bind(self, at: &At<'_>) -> Open<Output<V>> {
        Ports::<S>::bind(self.clone(), at)
    }
}

fn bind_all<P: Ports<S>, S>(ports: impl IntoIterator<Item = P>, at: &At<'_>) -> Vec<Open<P::Outputs>> {
    ports.into_iter().map(|port| port.bind(at)).collect()
}

fn bind_keyed<K, P, S, C>(ports: impl IntoIterator<Item = (K, P)>, at: &At<'_>) -> Open<C>
where
    K: Clone + Send + Sync + 'static,
    P: Ports<S>,
    C: FromIterator<(K, P::Outputs)>,
{
    let opens: Vec<_> = ports.into_iter().map(|(key, port)| (key, port.bind(at))).collect();
    Box::new(move |cx| opens.iter().map(|(key, open)| Ok((key.clone(), open(cx)?))).collect())
}

impl<P: Ports<S>, S> Ports<S> for Vec<P> {
    type Outputs = Vec<P::Outputs>;

    fn bind(self, at: &At<'_>) -> Open<Self::Outputs> {
        let opens = bind_all(self, at);
        Box::new(move |cx| opens.iter().map(|open| open(cx)).collect())
    }
}

impl<K: Ord + Clone + Send + Sync + 'static, P: Ports<S>, S> Ports<S> for BTreeMap<K, P> {
    type Outputs = BTreeMap<K, P::Outputs>;

    fn bind(self, at: &At<'_>) -> Open<Self::Outputs> {
        bind_keyed(self, at)
    }
}

impl<K, P, H, S> Ports<S> for HashMap<K, P, H>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    P: Ports<S>,
    H: BuildHasher + Default + 'static,
{
    type Outputs = HashMap<K, P::Outputs, H>;

    fn bind(self, at: &At<'_>) -> Open<Self::Outputs> {
        bind_keyed(self, at)
    }
}

impl<P: Ports<S>, S, const N: usize> Ports<S> for [P; N] {
    type Outputs = [P::Outputs; N];

    fn bind(self, at: &At<'_>) -> Open<Self::Outputs> {
        let opens = bind_all(self, at);
        Box::new(move |cx| {
            let outputs = opens.iter().map(|open| open(cx)).collect::<Result<Vec<_>, _>>()?;
            outputs.try_into().map_err(|_| "minigun: an array of ports lost one".into())
        })
    }
}

impl<O: PortOutputs> PortOutputs for Vec<O> {
    fn each(&mut self, f: &mut dyn FnMut(&mut dyn PortOutput)) {
        self.iter_mut().for_each(|outputs| outputs.each(f));
    }
}

impl<O: PortOutputs, const N: usize> PortOutputs for [O; N] {
    fn each(&mut self, f: &mut dyn FnMut(&mut dyn PortOutput)) {
        self.iter_mut().for_each(|outputs| outputs.each(f));
    }
}

impl<K, O: PortOutputs> PortOutputs for BTreeMap<K, O> {
    fn each(&mut self, f: &mut dyn FnMut(&mut dyn PortOutput)) {
        self.values_mut().for_each(|outputs| outputs.each(f));
    }
}

impl<K, O: PortOutputs, H> PortOutputs for HashMap<K, O, H> {
    fn each(&mut self, f: &mut dyn FnMut(&mut dyn PortOutput)) {
        self.values_mut().for_each(|outputs| outputs.each(f));
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<S, $($name: Ports<S>),*> Ports<S> for ($($name,)*) {
            type Outputs = ($($name::Outputs,)*);
            #[allow(non_snake_case, unused_variables)]
            fn bind(self, at: &At<'_>) -> Open<Self::Outputs> {
                let ($($name,)*) = self;
                $(let $name = $name.bind(at);)*
                Box::new(move |cx| Ok(($($name(cx)?,)*)))
            }
        }
        impl<$($name: PortOutputs),*> PortOutputs for ($($name,)*) {
            #[allow(non_snake_case, unused_variables)]
            fn each(&mut self, f: &mut dyn FnMut(&mut dyn PortOutput)) {
                let ($($name,)*) = self;
                $($name.each(f);)*
            }
        }
    };
}
tuples!();
tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E G);
tuples!(A B C D E G H);
tuples!(A B C D E G H I);

/// Declares the ports of a producer.
pub(crate) fn lend<P: Ports<Program>>(ports: P, home: &Arc<Home>, stage: StageId) -> Lent<P::Outputs> {
    Lent {
        open: ports.bind(&At { home, block: None, stage, producer: true }),
        failed: |ports| {
            let mut failed = false;
            ports.each(&mut |port| failed |= port.take_failure().is_some());
            failed
        },
        finish: |ports| {
            let mut outcome = Ok(());
            ports.each(&mut |port| outcome = std::mem::replace(&mut outcome, Ok(())).and(port.finish()));
            outcome
        },
    }
}

/// A step's closure with its opened ports.
pub(crate) struct Ported<F, O> {
    pub(crate) f: Arc<F>,
    pub(crate) ports: O,
}

impl<T, U, F, O> StepRun<T, U> for Ported<F, O>
where
    O: PortOutputs,
    F: Fn(T, &mut Output<U>, &mut O) -> Result<(), Failure>,
{
    const PORTS: bool = true;

    fn run(&mut self, item: T, out: &mut Output<U>) -> Result<(), Failure> {
        let outcome = (self.f)(item, out, &mut self.ports);
        let mut failed = None;
        self.ports.each(&mut |port| {
            if let Some(failure) = port.take_failure() {
                failed.get_or_insert(failure);
            }
        });
        failed.map_or(outcome, Err)
    }

    fn emitted(&mut self) -> u64 {
        let mut emitted = 0;
        self.ports.each(&mut |port| emitted += port.take_emitted());
        emitted
    }

    fn load(&mut self) -> usize {
        let mut load = 0;
        self.ports.each(&mut |port| load += port.load());
        load
    }

    fn finish(&mut self, _: &mut Output<U>) -> Result<(), Failure> {
        let mut outcome = Ok(());
        self.ports.each(&mut |port| {
            let finished = port.finish();
            if outcome.is_ok() {
                outcome = finished;
            }
        });
        outcome
    }
}
