//! Every kind of step does the same under every executor, and outside any block.

mod common;

use common::{gives_everywhere, sorted, within};
use minigun::{Failure, Pipeline};

#[test]
fn map_turns_each_item_into_another() {
    gives_everywhere((0..50).map(|n| n.to_string()), |p, executor| {
        p.source("in", 0..50).on(executor, |s| s.map("text", |n| n.to_string())).collect("out")
    });
}

#[test]
fn try_map_gives_what_succeeded() {
    gives_everywhere(0..50, |p, executor| {
        p.source("in", (0..50).map(|n| n.to_string()))
            .on(executor, |s| s.try_map("parse", |text| Ok(text.parse::<i32>()?)))
            .collect("out")
    });
}

#[test]
fn filter_keeps_what_it_says() {
    gives_everywhere((0..50).filter(|n| n % 3 == 0), |p, executor| {
        p.source("in", 0..50).on(executor, |s| s.filter("thirds", |n| n % 3 == 0)).collect("out")
    });
}

#[test]
fn flat_map_gives_any_number_of_items() {
    gives_everywhere((0..10).flat_map(|n| 0..n), |p, executor| {
        p.source("in", 0..10).on(executor, |s| s.flat_map("below", |n| 0..n)).collect("out")
    });
}

#[test]
fn inspect_sees_each_item_and_passes_it_on() {
    gives_everywhere(0..50, |p, executor| {
        let sum = p.counter("sum");
        p.after_run(move |report| assert_eq!(report.count(&sum), (0..50).sum::<u64>()));
        p.source("in", 0..50u64).on(executor, |s| s.inspect("look", move |n| sum.add(*n))).collect("out")
    });
}

#[test]
fn a_processor_emits_nothing_one_or_many() {
    gives_everywhere((0..30).flat_map(|n| std::iter::repeat_n(n, n % 3)), |p, executor| {
        p.source("in", 0..30)
            .on(executor, |s| {
                s.processor("repeat", |n: usize, out| out.extend(std::iter::repeat_n(n, n % 3)))
            })
            .collect("out")
    });
}

#[test]
fn a_consumer_inside_a_block_ends_the_flow() {
    common::everywhere(|executor| {
        let p = Pipeline::new("consumer");
        let seen = p.collector::<i32>("seen");
        p.source("in", 0..50).on(executor, |s| s.consumer("keep", move |n| seen.push(n)));
        assert_eq!(sorted(p.run().unwrap().take(seen)), sorted(0..50));
    });
}

#[test]
fn steps_with_state_give_the_same_everywhere() {
    gives_everywhere((0..50).map(|n| n + 111), |p, executor| {
        let kept = p.counter("kept");
        p.after_run(move |report| assert_eq!(report.count(&kept), 50));
        let (here, there) = p
            .source("in", 0..50)
            .on(executor, |s| {
                s.map_init("one", || 1, |one, n| n + *one)
                    .try_map_init("ten", || Ok(10), |ten, n| Ok(n + *ten))
                    .processor_init("hundred", || Ok(100), |hundred, n, out| out.emit(n + *hundred))
            })
            .tee();
        there.on(executor, |s| s.consumer_init("count", || Ok(1), move |one, _| kept.add(*one)));
        here.collect("out")
    });
}

#[test]
fn results_of_closures_may_be_unit_or_a_failure() {
    gives_everywhere([1, 1, 3, 3], |p, executor| {
        p.source("in", 0..4)
            .on(executor, |s| {
                s.processor("odd", |n: i32, out| -> Result<(), Failure> {
                    if n % 2 == 1 {
                        out.emit(n);
                        out.emit(n);
                    }
                    Ok(())
                })
            })
            .collect("out")
    });
}

#[test]
fn outside_any_block_steps_do_the_same() {
    within("outside", || {
        let p = Pipeline::new("outside");
        let out = p
            .source("in", 0..100)
            .map("plus one", |n| n + 1)
            .filter("even", |n| n % 2 == 0)
            .processor("twice", |n, out| out.extend([n, n]))
            .flat_map("and minus", |n| [n, -n])
            .map_init("plus five", || 5, |five, n| n + *five)
            .processor_init("as text", || Ok(String::new()), |_, n: i32, out| out.emit(n.to_string()))
            .try_map("and back", |text| Ok(text.parse::<i32>()?))
            .collect("out");
        let expected =
            (0..100).map(|n| n + 1).filter(|n| n % 2 == 0).flat_map(|n| [n, -n, n, -n]).map(|n| n + 5);
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(expected));
    });
}
