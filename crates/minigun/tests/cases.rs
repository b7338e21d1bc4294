//! Small pipelines with known results, the same under every executor.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use common::{everywhere, gives_everywhere, sorted, under};
use minigun::{Pipeline, merge};

#[test]
fn a_sequence_of_steps() {
    gives_everywhere([12, 14, 16], |p, executor| {
        p.source("in", 1..=3)
            .on(executor, |s| s.map("double", |n| n * 2).processor("plus ten", |n, out| out.emit(n + 10)))
            .collect("out")
    });
}

#[test]
fn several_producers_into_one_sink_with_their_figures() {
    everywhere(|executor| {
        let p = Pipeline::new("producers");
        let sources = [("ten", 10u32), ("five", 5), ("three", 3)].map(|(name, n)| p.source(name, 0..n));
        let all = merge(sources).on(executor, |s| s.map("same", |n| n)).collect("all");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(all).len(), 18);
        let produced = ["ten", "five", "three"].map(|name| report.stage(name).unwrap().figures.items_out);
        assert_eq!(produced, [10, 5, 3]);
        assert_eq!(report.stage("same").unwrap().figures.items_in, 18);
    });
}

#[test]
fn a_source_and_what_was_made_of_it_meet() {
    gives_everywhere([0, 0, 1, 2, 2, 4], |p, executor| {
        let source = p.source("in", 0..3);
        let double = source.clone().on(executor, |s| s.map("double", |n| n * 2));
        source.merge(double).collect("both")
    });
}

#[test]
fn a_diamond_with_a_shortcut() {
    gives_everywhere([12, 13, 22], |p, executor| {
        let start = p.source("start", [1]);
        let a = start.clone().on(executor, |s| s.map("a", |n| n + 1));
        let b = start.on(executor, |s| s.map("b", |n| n + 2));
        let d = a.clone().on(executor, |s| s.map("d", |n| n + 20));
        let c = merge([a, b]).on(executor, |s| s.map("c", |n| n + 10));
        merge([c, d]).collect("end")
    });
}

#[test]
fn functions_over_flows_nest() {
    use minigun::{Flow, scope::Scope};
    fn double<S: Scope>(flow: Flow<i32, S>) -> Flow<i32, S> {
        flow.map("double", |n| n * 2)
    }
    fn both<S: Scope>(flow: Flow<i32, S>) -> Flow<i32, S> {
        flow.then(double).map("plus ten", |n| n + 10)
    }
    gives_everywhere([12, 14, 16, 18, 20], |p, executor| {
        p.source("in", 1..=5).on(executor, |s| s.inline(both)).collect("out")
    });
}

#[test]
fn two_sources_each_to_two_targets() {
    everywhere(|executor| {
        let p = Pipeline::new("two by two");
        let (to_x, x) = p.source("one", [1]).tee();
        let (to_y, y) = p.source("two", [2]).tee();
        let x = merge([x, to_y]).on(executor, |s| s.map("x", |n| n * 10)).collect("x's");
        let y = merge([to_x, y]).on(executor, |s| s.map("y", |n| n * 20)).collect("y's");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(x)), [10, 20]);
        assert_eq!(sorted(report.take(y)), [20, 40]);
    });
}

#[test]
fn duplicates_keep_their_multiplicity_whatever_the_size_of_the_pool() {
    let pools = ["processes:1", "processes:2", "processes:4", "processes:100", "threads:100", "threads:2"];
    under(&pools, |executor| {
        let p = Pipeline::new("duplicates");
        let items = || (1..=1000).chain(1..=10).chain([7, 7]);
        let out = p.source("in", items()).on(executor, |s| s.map("double", |n| n * 2)).collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(items().map(|n| n * 2)));
    });
}

#[test]
fn captured_values_reach_every_worker() {
    struct Settings {
        multiplier: u32,
        offset: u32,
    }
    gives_everywhere((1..=10).map(|n| n * 3 + 10), |p, executor| {
        let settings = Settings { multiplier: 3, offset: 10 };
        p.source("in", 1..=10)
            .on(executor, |s| s.map("apply", move |n| n * settings.multiplier + settings.offset))
            .collect("out")
    });
}

#[test]
fn a_worker_process_that_changes_its_copy_changes_nobody_elses() {
    under(&["processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("copies");
        let captured = Arc::new(Mutex::new(3));
        let theirs = Arc::clone(&captured);
        let out = p
            .source("in", 0..20)
            .on(executor, |s| {
                s.map("change", move |_| {
                    let mut value = theirs.lock().unwrap();
                    *value += 1;
                    (std::process::id(), *value)
                })
            })
            .collect("out");
        let mut seen = BTreeMap::<u32, Vec<u32>>::new();
        for (pid, value) in p.run().unwrap().take(out) {
            seen.entry(pid).or_default().push(value);
        }
        for (pid, values) in &seen {
            let expected: Vec<_> = (4..4 + values.len() as u32).collect();
            assert_eq!(sorted(values.clone()), expected, "process {pid} saw another one's changes");
        }
        assert_eq!(*captured.lock().unwrap(), 3, "the program's value");
    });
}
