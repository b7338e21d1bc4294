//! Splits: one flow becomes several, and every item goes to one of them.
//!
//! | split | an item goes to | where it is decided |
//! |---|---|---|
//! | `partition`, `partition_by` | the branch that the closure names | in the worker before |
//! | `split_by_key` | the branch of its key, always the same one | in the worker before |
//! | `round_robin` | each branch in turn | in the program, on a thread of its own |
//! | `least_loaded` | the branch with the fewest items under way | in the worker before |
//!
//! (`broadcast`, where every branch gets every item, is in [`fan`](super::fan).) Each comes for a number of branches that
//! the type tells, as an array, and, with `_n`, for one known only at run time, as a `Vec`.
//!
//! A branch is bounded by the queue it leads to. When that is full the split waits, and so do the other branches'
//! further items; what they hold goes on, so branches may be merged again.

use std::cell::Cell;
use std::hash::Hash;
use std::sync::Arc;

use super::flow::Flow;
use super::port::Ported;
use super::scope::{Joins, Scope};
use crate::failure::Failure;
use crate::graph::{Mistake, StageId};
use crate::plan::{Spot, key_hash};
use crate::stage::output::Output;

/// Says which branch gets an item. Each worker makes its own.
type Choose<T> = Box<dyn Fn(&T, &mut [Output<T>]) -> Result<usize, Failure>>;

impl<T: Send + 'static, S: Scope> Flow<T, S> {
    /// Two branches: the items for which `f` says yes, and the others.
    ///
    /// ```
    /// # use minigun::Pipeline;
    /// let p = Pipeline::new("sorting office");
    /// let (even, odd) = p.source("numbers", 0..6).partition("even?", |n| n % 2 == 0);
    /// let (even, odd) = (even.collect("even"), odd.collect("odd"));
    /// let mut report = p.run()?;
    /// assert_eq!((report.take(even), report.take(odd)), (vec![0, 2, 4], vec![1, 3, 5]));
    /// # Ok::<(), minigun::Error>(())
    /// ```
    pub fn partition(self, name: &str, f: impl Fn(&T) -> bool + Send + Sync + 'static) -> (Self, Self) {
        let [yes, no] = self.partition_by(name, move |item| usize::from(!f(item)));
        (yes, no)
    }

    /// `N` branches: an item goes to the one whose number `f` gives, from 0. A number that no branch has is the item's
    /// failure.
    pub fn partition_by<const N: usize>(
        self,
        name: &str,
        f: impl Fn(&T) -> usize + Send + Sync + 'static,
    ) -> [Self; N] {
        const { assert!(N > 0, "a split needs at least one branch") };
        array(self.partition_by_n(name, N, f))
    }

    /// As [`partition_by`](Self::partition_by), with `branches` branches (at least 1).
    pub fn partition_by_n(
        self,
        name: &str,
        branches: usize,
        f: impl Fn(&T) -> usize + Send + Sync + 'static,
    ) -> Vec<Self> {
        let stage = self.home.graph(|graph| graph.stage(name, "partition", self.block_id()));
        let f = Arc::new(f);
        self.split(stage, branches, move || {
            let f = Arc::clone(&f);
            Box::new(move |item, branches| {
                let (chosen, there) = (f(item), branches.len());
                if chosen < there {
                    return Ok(chosen);
                }
                Err(format!("it was sent to branch {chosen}, but there are {there}, numbered from 0").into())
            })
        })
    }

    /// `N` branches: items of one key all go to the same one, whichever worker sends them; which one is the same in
    /// every run of the same program.
    ///
    /// To bring the items of one key to the same worker of a pool, see [`Block::by_key`](crate::Block::by_key).
    pub fn split_by_key<const N: usize, K: Hash>(
        self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> [Self; N] {
        const { assert!(N > 0, "a split needs at least one branch") };
        array(self.split_by_key_n(N, key))
    }

    /// As [`split_by_key`](Self::split_by_key), with `branches` branches (at least 1).
    pub fn split_by_key_n<K: Hash>(
        self,
        branches: usize,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Vec<Self> {
        let stage = self.unnamed_split("split_by_key");
        let key = Arc::new(key);
        self.split(stage, branches, move || {
            let key = Arc::clone(&key);
            Box::new(move |item, branches| Ok((key_hash(&key(item)) % branches.len() as u64) as usize))
        })
    }

    /// `N` branches that get the items in turn.
    ///
    /// In the program that is exact: the split has a thread of its own, through which every item passes once. Inside a
    /// block each worker takes turns by itself, and failed attempts take theirs, too. A slow branch holds the others up
    /// once its queue is full; [`least_loaded`](Self::least_loaded) goes round it.
    pub fn round_robin<const N: usize>(self) -> [Self; N] {
        const { assert!(N > 0, "a split needs at least one branch") };
        array(self.round_robin_n(N))
    }

    /// As [`round_robin`](Self::round_robin), with `branches` branches (at least 1).
    pub fn round_robin_n(self, branches: usize) -> Vec<Self> {
        let stage = self.unnamed_split("round_robin");
        let name = self.home.graph(|graph| graph.name(stage).to_string());
        self.own_thread(stage, &name).split(stage, branches, || {
            let next = Cell::new(0);
            Box::new(move |_, branches| {
                let now = next.get();
                next.set((now + 1) % branches.len());
                Ok(now)
            })
        })
    }

    fn unnamed_split(&self, kind: &'static str) -> StageId {
        self.home.graph(|graph| graph.unnamed(kind, self.block_id()))
    }

    fn split(
        self,
        stage: StageId,
        branches: usize,
        choose: impl Fn() -> Choose<T> + Send + Sync + 'static,
    ) -> Vec<Self> {
        let (name, spots) = self.home.graph(|graph| {
            let name = graph.name(stage).to_string();
            if branches == 0 {
                graph.mistakes.push(Mistake::NoBranches { stage: name.clone() });
            }
            let spots: Vec<_> =
                (0..branches).map(|_| Spot::<T>::new(graph, vec![stage], Vec::new(), None)).collect();
            (name, spots)
        });
        let (home, block) = (Arc::clone(&self.home), self.block.clone());
        let points: Vec<_> = spots.iter().map(|spot| Arc::clone(&spot.point)).collect();
        let split = self.step_at::<(), _>(stage, &name, move |cx| {
            let choose = choose();
            let open = |point: &Arc<crate::stage::sink::Point<T>>| {
                Ok::<_, Failure>(Output::new(point.sink(cx)?, Arc::clone(&cx.run)))
            };
            let ports = points.iter().map(open).collect::<Result<Vec<_>, _>>()?;
            let f = Arc::new(move |item: T, _: &mut Output<()>, branches: &mut Vec<Output<T>>| {
                let chosen = choose(&item, branches)?;
                if let Some(branch) = branches.get_mut(chosen) {
                    branch.emit(item);
                }
                Ok(())
            });
            Ok(Ported { f, ports })
        });
        let _ended = split.ended();
        spots.into_iter().map(|spot| Flow::at(&home, spot, block.clone())).collect()
    }
}

impl<T: Send + 'static, S: Scope> Flow<T, S> {
    /// `N` branches: an item goes to the one that has the fewest items under way (waiting in the queue it leads to, or
    /// taken from there and not done yet); among equals, in turn.
    ///
    /// A branch through which several queues must be passed is judged by the first. Not inside a block, where no queues
    /// are in view.
    pub fn least_loaded<const N: usize>(self) -> [Self; N]
    where
        S: Joins,
    {
        const { assert!(N > 0, "a split needs at least one branch") };
        array(self.least_loaded_n(N))
    }

    /// As [`least_loaded`](Self::least_loaded), with `branches` branches (at least 1).
    pub fn least_loaded_n(self, branches: usize) -> Vec<Self>
    where
        S: Joins,
    {
        let stage = self.unnamed_split("least_loaded");
        self.split(stage, branches, || {
            let first = Cell::new(0);
            Box::new(move |_, branches| {
                let count = branches.len();
                let turn = (0..count).map(|at| (first.get() + at) % count);
                let least = turn.min_by_key(|at| branches[*at].load()).unwrap_or_default();
                first.set((least + 1) % count);
                Ok(least)
            })
        })
    }
}

/// As many flows as the array has.
fn array<F, const N: usize>(flows: Vec<F>) -> [F; N] {
    match flows.try_into() {
        Ok(array) => array,
        Err(_) => unreachable!("as many flows were made"),
    }
}
