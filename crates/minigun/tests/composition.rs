//! Pipelines as functions over flows: to any depth, in any scope, with several ways in and out.

mod common;

use std::collections::BTreeMap;

use common::{everywhere, sorted, within};
use minigun::scope::Scope;
use minigun::{Backoff, Executor, Flow, Pipeline, Port, merge, threads};

/// Steps for any scope: the program, a thread, a worker process.
fn clean<S: Scope>(flow: Flow<String, S>) -> Flow<u32, S> {
    flow.map("trim", |text| text.trim().to_string()).then(parse)
}

fn parse<S: Scope>(flow: Flow<String, S>) -> Flow<u32, S> {
    flow.filter("not empty", |text| !text.is_empty()).try_map("parse", |text| Ok(text.parse()?))
}

#[test]
fn one_function_serves_in_every_scope() {
    everywhere(|executor| {
        let p = Pipeline::new("scopes");
        let lines = || ["1 ", " 2", "", "  ", "3"].map(str::to_string);
        let plain = p.source("a", lines()).then(clean).collect("plain");
        let in_block = p.source("b", lines()).on(executor, clean).collect("in a block");
        let nested =
            p.source("c", lines()).on(executor, |s| s.threads(2, |s| s.inline(clean))).collect("nested");
        let mut report = p.run().unwrap();
        for end in [plain, in_block, nested] {
            assert_eq!(sorted(report.take(end)), [1, 2, 3]);
        }
    });
}

/// Halves everything between `depth` pairs of branches inside each other.
fn maze(flow: Flow<u64>, name: &str, depth: u32, executor: Executor) -> Flow<u64> {
    if depth == 0 {
        return flow.on(executor, |s| s.map(&format!("{name} leaf"), |n| n + 1));
    }
    let (left, right) = flow.partition(&format!("{name}?"), move |n| n >> depth & 1 == 0);
    let left = maze(left, &format!("{name}l"), depth - 1, executor);
    let right = maze(right, &format!("{name}r"), depth - 1, executor);
    merge([left, right])
}

#[test]
fn functions_that_call_themselves_build_graphs_of_any_depth() {
    everywhere(|executor| {
        let p = Pipeline::new("maze");
        let flow = p.source("in", 0..64);
        // A tree of eight leaves, and behind it a chain of a hundred functions.
        let mut flow = maze(flow, "m", 3, executor);
        for step in 0..100 {
            flow = flow.then(|flow| flow.map(&format!("step {step}"), |n| n + 1));
        }
        let out = flow.collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(101..165));
    });
}

/// What a shop knows of its orders: two ways in, three ways out, one of them a port of the caller's.
struct Exits {
    shipped: Flow<(u32, &'static str)>,
    refused: Flow<u32>,
}

/// A whole graph as a function: a split, a loop, a merge, and blocks by key.
fn shop(
    orders: Flow<u32>,
    returns: Flow<u32>,
    audit: &Port<String>,
    name: &str,
    executor: Executor,
) -> Exits {
    let named = |step: &str| format!("{name}: {step}");
    let (good, refused) = orders.partition(&named("in stock?"), |n| n % 10 != 0);
    let returned = returns.inspect(&named("look"), |_| ()).processor_to(
        &named("book return"),
        audit,
        |n: u32, out, audit| {
            audit.emit(format!("return {n}"));
            out.emit(n);
        },
    );
    let shipped = good
        .merge(returned)
        .feedback(&named("workshop"), |flow, again| {
            flow.on(executor.place().retry(2, Backoff::none()), |s| {
                s.processor_to(&named("repair"), &again, |n: u32, out, again| {
                    if n > 1000 { again.emit(n - 1000) } else { out.emit(n) }
                })
            })
        })
        .on(threads(2).by_key(|n: &u32| n % 3), |s| s.map(&named("pack"), |n| (n, "shipped")));
    Exits { shipped, refused }
}

#[test]
fn a_function_may_have_several_ways_in_and_out_and_be_used_twice() {
    everywhere(|executor| {
        let p = Pipeline::new("shops");
        let (audit, audits) = p.inlet::<String>("audit");
        let first = shop(p.source("orders", 0..30), p.source("returns", [2100]), &audit, "first", executor);
        // What the one refused is ordered from the other.
        let second = shop(
            first.refused.map("call", |n| n + 1),
            p.source("more", [3200, 1300]),
            &audit,
            "second",
            executor,
        );
        second.refused.discard();
        let ends = [("first", first.shipped), ("second", second.shipped)];
        let [first, second] =
            ends.map(|(name, flow)| flow.map(&format!("{name} out"), |(n, _)| n).collect(name));
        let audits = audits.collect("audits");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(first)), sorted((0..30).filter(|n| n % 10 != 0).chain([100])));
        assert_eq!(sorted(report.take(second)), [1, 11, 21, 200, 300]);
        assert_eq!(sorted(report.take(audits)), ["return 1300", "return 2100", "return 3200"]);
        assert_eq!(report.stage("first: workshop").unwrap().figures.items_in, 27 + 3);
    });
}

/// "Inheritance": steps that a variant may replace.
trait Publisher: Sized + 'static {
    const NAME: &'static str;

    fn render<S: Scope>(flow: Flow<u32, S>) -> Flow<String, S> {
        flow.map("render", |n| format!("<{n}>"))
    }

    fn publish(p: &Pipeline, executor: Executor) -> Flow<String> {
        p.source(Self::NAME, 0..5u32)
            .on(executor, |s| Self::render(s))
            .map(&format!("sign {}", Self::NAME), |text| format!("{} {text}", Self::NAME))
    }
}

struct Base;
impl Publisher for Base {
    const NAME: &'static str = "base";
}

struct Loud;
impl Publisher for Loud {
    const NAME: &'static str = "loud";
    fn render<S: Scope>(flow: Flow<u32, S>) -> Flow<String, S> {
        flow.map("render", |n| format!("<{n}!>"))
    }
}

#[test]
fn a_variant_replaces_a_step_and_leaves_its_base_as_it_was() {
    everywhere(|executor| {
        let p = Pipeline::new("publishers");
        let out = Base::publish(&p, executor).merge(Loud::publish(&p, executor)).collect("out");
        let expected = (0..5).flat_map(|n| [format!("base <{n}>"), format!("loud <{n}!>")]);
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(expected));
    });
}

/// Functions that keep to themselves: what one is given never shows in another.
#[test]
fn the_same_function_on_unlinked_flows_does_not_mix_them() {
    within("unlinked", || {
        let p = Pipeline::new("unlinked");
        let ends: BTreeMap<u32, _> = (0..6)
            .map(|at| {
                let flow = p.source(&format!("in {at}"), (0..40).map(move |n| at * 100 + n));
                let [a, b] = flow.round_robin();
                let out = a.threads(2, |s| s.map(&format!("step {at}"), |n| n)).merge(b);
                (at, out.collect(&format!("out {at}")))
            })
            .collect();
        let mut report = p.run().unwrap();
        for (at, end) in ends {
            assert_eq!(sorted(report.take(end)), sorted(at * 100..at * 100 + 40));
        }
    });
}
