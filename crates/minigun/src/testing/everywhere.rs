//! One pipeline under several executors, and the same result from each.

use std::fmt::Debug;

use super::trial::{self, Fault};
use crate::defaults;
use crate::pipeline::Pipeline;
use crate::pipeline::ends::{Collected, Folded};
use crate::plan::Executor;
use crate::report::Outcome;
use crate::stage::handles::Collector;
use crate::wire::Wire;

/// Every kind of executor, with one worker and with several.
pub const EXECUTORS: [Executor; 6] = [
    Executor::Inline,
    Executor::Threads(1),
    Executor::Threads(4),
    Executor::Processes(1),
    Executor::Processes(3),
    Executor::ProcessPerBatch(2),
];

/// What is missing or too much, at most so many of each.
const SHOWN: usize = 5;

/// A result whose values are compared: a folded value as it is, what was collected in any order.
pub trait Compared: Outcome {
    #[doc(hidden)]
    fn settled(value: Self::Value) -> Self::Value;
    #[doc(hidden)]
    fn difference(first: &Self::Value, other: &Self::Value) -> Option<String>;
}

impl<A: PartialEq + Debug> Compared for Folded<A> {
    fn settled(value: A) -> A {
        value
    }

    fn difference(first: &A, other: &A) -> Option<String> {
        (first != other).then(|| format!("{other:?} instead of {first:?}"))
    }
}

impl<T: Ord + Debug> Compared for Collected<T> {
    fn settled(value: Vec<T>) -> Vec<T> {
        sorted(value)
    }

    fn difference(first: &Vec<T>, other: &Vec<T>) -> Option<String> {
        multisets(first, other)
    }
}

impl<T: Wire + Ord + Debug> Compared for Collector<T> {
    fn settled(value: Vec<T>) -> Vec<T> {
        sorted(value)
    }

    fn difference(first: &Vec<T>, other: &Vec<T>) -> Option<String> {
        multisets(first, other)
    }
}

/// Builds and runs the same pipeline under every one of [`EXECUTORS`], one after the other, and compares what the
/// handle stands for that `build` returns: collected values as multisets, a folded value by `==`. Gives back that
/// value, collected ones sorted.
///
/// # Errors
/// The first executor under which the run failed, hung or gave something else.
pub fn same_everywhere<O: Compared>(build: impl Fn(&Pipeline, Executor) -> O) -> Result<O::Value, Fault> {
    let [first, others @ ..] = EXECUTORS;
    same_under(first, &others, build)
}

/// As [`same_everywhere`], with executors of your own: the result under `first` is the measure of the others.
///
/// # Errors
/// As [`same_everywhere`].
pub fn same_under<O: Compared>(
    first: Executor,
    others: &[Executor],
    build: impl Fn(&Pipeline, Executor) -> O,
) -> Result<O::Value, Fault> {
    let under = |executor| {
        let p = Pipeline::new("test");
        let outcome = build(&p, executor);
        let mut report = trial::run(p, Some(executor), defaults::TRIAL_BOUND)?;
        let value = report.try_take(outcome);
        let value = value.map_err(|error| Fault::Run { executor: Some(executor), error })?;
        Ok::<_, Fault>(O::settled(value))
    };
    let measure = under(first)?;
    for &executor in others {
        if let Some(difference) = O::difference(&measure, &under(executor)?) {
            return Err(Fault::Differs { first, executor, difference });
        }
    }
    Ok(measure)
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values
}

/// What sorted values lack, and what they have too much.
fn multisets<T: Ord + Debug>(first: &[T], other: &[T]) -> Option<String> {
    let (mut missing, mut more) = (Vec::new(), Vec::new());
    let (mut left, mut right) = (first.iter().peekable(), other.iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => drop((left.next(), right.next())),
            (Some(a), Some(b)) if a < b => missing.extend(left.next()),
            (Some(_), None) => missing.extend(left.next()),
            (_, Some(_)) => more.extend(right.next()),
        }
    }
    let told =
        [(&missing, "missing"), (&more, "too much")].into_iter().filter(|(values, _)| !values.is_empty());
    let told: Vec<_> = told.map(|(values, what)| some_of(values, what)).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn some_of<T: Debug>(values: &[T], what: &str) -> String {
    let shown: Vec<_> = values.iter().take(SHOWN).map(|value| format!("{value:?}")).collect();
    let dots = if values.len() > SHOWN { ", …" } else { "" };
    format!("{} {what}: {}{dots}", values.len(), shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::multisets;

    #[test]
    fn what_is_missing_and_what_is_too_much_is_told() {
        assert_eq!(multisets(&[1, 2, 2, 3], &[1, 2, 2, 3]), None);
        assert_eq!(multisets(&[1, 2, 2], &[2, 4]).unwrap(), "2 missing: 1, 2; 1 too much: 4");
        assert_eq!(multisets(&[], &[1, 2, 3, 4, 5, 6, 7]).unwrap(), "7 too much: 1, 2, 3, 4, 5, …");
    }
}
