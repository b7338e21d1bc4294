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

#[test]
fn ten_items_over_three_targets_in_turn() {
    everywhere(|executor| {
        let p = Pipeline::new("in turn");
        let targets: [_; 3] = p.source("ten", 0..10).round_robin();
        let ends: Vec<_> = targets
            .into_iter()
            .enumerate()
            .map(|(at, flow)| {
                flow.on(executor, |s| s.map(&format!("target {at}"), |n: i32| n))
                    .collect(&format!("end {at}"))
            })
            .collect();
        let mut report = p.run().unwrap();
        let counts: Vec<_> = ends.into_iter().map(|end| report.take(end).len()).collect();
        assert_eq!(counts, [4, 3, 3]);
    });
}

#[test]
fn numbers_parted_by_their_rest() {
    everywhere(|executor| {
        let p = Pipeline::new("rests");
        let [a, b, c] = p.source("six", 0..6usize).partition_by("mod 3", |n| n % 3);
        let ends = [("a", a), ("b", b), ("c", c)]
            .map(|(name, flow)| flow.on(executor, |s| s.map(name, |n| n)).collect(&format!("from {name}")));
        let mut report = p.run().unwrap();
        assert_eq!(ends.map(|end| sorted(report.take(end))), [[0, 3], [1, 4], [2, 5]]);
    });
}

#[test]
fn routes_chosen_by_the_item() {
    everywhere(|executor| {
        let p = Pipeline::new("even and odd");
        let ((even, evens), (odd, odds)) = (p.inlet("even"), p.inlet("odd"));
        p.source("in", 2..=5).on(executor, |s| {
            s.router("route", [&even, &odd], |n: i32, ports| ports[n as usize % 2].emit(n))
        });
        let (evens, odds) = (evens.collect("evens"), odds.collect("odds"));
        let mut report = p.run().unwrap();
        assert_eq!((sorted(report.take(evens)), sorted(report.take(odds))), (vec![2, 4], vec![3, 5]));
    });
}

#[test]
fn eight_tasks_of_three_kinds_each_to_its_context() {
    everywhere(|executor| {
        let p = Pipeline::new("tasks");
        let inlets = ["light", "blocking", "heavy"].map(|kind| p.inlet::<(usize, u32)>(kind));
        let (ports, flows): (Vec<_>, Vec<_>) = inlets.into_iter().unzip();
        let tasks = [0, 1, 2, 0, 1, 2, 0, 1].into_iter().zip(0..);
        p.source("tasks", tasks)
            .on(executor, |s| s.router("by kind", ports, |task, ports| ports[task.0].emit(task)));
        let mut flows = flows.into_iter();
        let mut next = || flows.next().unwrap();
        let ends = [
            next().threads(1, |s| s.map("light", |(_, id)| id)).collect("light ones"),
            next().threads(3, |s| s.map("blocking", |(_, id)| id)).collect("blocking ones"),
            next().processes(2, |s| s.map("heavy", |(_, id)| id)).collect("heavy ones"),
        ];
        let mut report = p.run().unwrap();
        assert_eq!(ends.map(|end| sorted(report.take(end))), [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
    });
}
