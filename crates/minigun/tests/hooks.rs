//! Hooks: around the run, around the fork, around each stage's life.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{Marks, error_of, everywhere, sorted, told, under, within, worker};
use minigun::{Error, Failure, Pipeline};

#[test]
fn hooks_run_in_their_order_and_the_runs_own_once() {
    under(&["processes:1", "process_per_batch:1"], |executor| {
        let p = Pipeline::new("order");
        let marks = Marks::new();
        let mark = |line: &'static str| {
            let marks = Arc::clone(&marks);
            move || marks.add(line)
        };
        p.before_run(mark("before_run 1")).before_run(mark("before_run 2"));
        p.before_fork(mark("before_fork 1")).before_fork(mark("before_fork 2"));
        p.after_fork(mark("after_fork 1")).after_fork(mark("after_fork 2"));
        let (one, two) = (mark("after_run 1"), mark("after_run 2"));
        p.after_run(move |_| one()).after_run(move |_| two());
        let (init, body) = (mark("init"), mark("body"));
        p.source("in", [1])
            .on(executor, |s| {
                s.map_init("step", init, move |(), n: i32| {
                    body();
                    n
                })
                .before(mark("before 1"))
                .before(mark("before 2"))
                .after(mark("after 1"))
                .after(mark("after 2"))
            })
            .discard();
        p.run().unwrap();
        let expected = [
            "before_run 1",
            "before_run 2",
            "before_fork 1",
            "before_fork 2",
            "after_fork 1",
            "after_fork 2",
            "before 1",
            "before 2",
            "init",
            "body",
            "after 1",
            "after 2",
            "after_run 1",
            "after_run 2",
        ];
        assert_eq!(marks.lines(), expected, "under {executor}");
    });
}

#[test]
fn hooks_of_the_run_see_all_of_it() {
    everywhere(|executor| {
        let p = Pipeline::new("all");
        let marks = Marks::new();
        let (first, last, body) = (Arc::clone(&marks), Arc::clone(&marks), Arc::clone(&marks));
        let count = p.counter("count");
        p.before_run(move || {
            first.add("before_run");
            count.add(1000);
        });
        p.after_run(move |report| {
            last.add("after_run");
            assert_eq!(report.count(&count), 1030, "every result has arrived");
            assert_eq!(report.stage("last").unwrap().figures.items_in, 30);
        });
        p.source("in", 0..30)
            .on(executor, |s| {
                s.map("body", move |n: i32| {
                    body.add("body");
                    count.add(1);
                    n
                })
            })
            .consumer("last", |_| ());
        p.run().unwrap();
        let lines = marks.lines();
        assert_eq!((lines[0].as_str(), lines[31].as_str(), lines.len()), ("before_run", "after_run", 32));
    });
}

#[test]
fn after_run_also_follows_a_run_that_failed() {
    everywhere(|executor| {
        let p = Pipeline::new("failed");
        let marks = Marks::new();
        let theirs = Arc::clone(&marks);
        p.after_run(move |_| theirs.add("after_run"));
        p.source("in", 0..30)
            .on(executor, |s| s.map("boom", |_| panic!("no")))
            .map("none", |()| ())
            .discard();
        assert_eq!(told(error_of(p)).0, "boom");
        assert_eq!(marks.lines(), ["after_run"]);
    });
}

#[test]
fn fork_hooks_run_where_processes_are_forked_and_only_there() {
    within("no fork", || {
        let p = Pipeline::new("no fork");
        p.before_fork(|| panic!("nothing is forked")).after_fork(|| panic!("nothing was forked"));
        p.source("in", 0..3).threads(2, |s| s.map("same", |n| n)).discard();
        p.run().unwrap();
    });
    under(&["processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("fork");
        let (before, after) = (p.collector::<u32>("before"), p.collector::<u32>("after"));
        p.before_fork(move || before.push(std::process::id()));
        p.after_fork(move || after.push(std::process::id()));
        let out =
            p.source("in", 0..20).on(executor, |s| s.map("pid", |_: i32| std::process::id())).collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(before), [std::process::id()], "once, in the program");
        let after = report.take(after);
        let forked: BTreeSet<_> = after.iter().copied().collect();
        assert_eq!(forked.len(), after.len(), "once in each worker");
        let ran: BTreeSet<_> = report.take(out).into_iter().collect();
        assert!(forked.is_superset(&ran), "{forked:?} {ran:?}");
        let expected = match executor {
            minigun::Executor::Processes(n) => n,
            _ => 20,
        };
        assert_eq!(forked.len(), expected);
    });
}

#[test]
fn each_worker_opens_once_and_closes_once_even_if_its_items_panic() {
    everywhere(|executor| {
        let p = Pipeline::new("open and close");
        let marks = Marks::new();
        let (open, body, close) = (Arc::clone(&marks), Arc::clone(&marks), Arc::clone(&marks));
        p.source("in", 0..40).on(executor.place().skip(), |s| {
            s.map("step", move |n: i32| {
                body.add(format!("body {}", worker()));
                assert!(n % 7 != 3, "the steps are built anew");
                n
            })
            .before(move || open.add(format!("open {}", worker())))
            .after(move || close.add(format!("close {}", worker())))
            .discard()
        });
        p.run().unwrap();
        let lines = marks.lines();
        let of = |what: &str| sorted(lines.iter().filter_map(|line| line.strip_prefix(what)));
        assert_eq!(of("open "), of("close "), "under {executor}");
        let opened: BTreeSet<_> = of("open ").into_iter().collect();
        assert_eq!(opened.len(), of("open ").len(), "once in each worker");
        for worker in opened {
            let of_it: Vec<_> = lines.iter().filter(|line| line.ends_with(&format!(" {worker}"))).collect();
            assert!(of_it[0].starts_with("open") && of_it[of_it.len() - 1].starts_with("close"));
        }
        assert_eq!(of("body ").len(), 40);
    });
}

#[test]
fn what_stage_hooks_count_arrives() {
    under(&["inline", "threads:1", "processes:1"], |executor| {
        let p = Pipeline::new("count");
        let (count, order) = (p.counter("count"), p.collector::<u32>("order"));
        p.source("in", 0..5u32)
            .on(executor, |s| {
                s.map("step", |n| n)
                    .before(move || {
                        count.add(1);
                        order.push(1);
                    })
                    .after(move || {
                        count.add(10);
                        order.push(2);
                    })
            })
            .discard();
        let mut report = p.run().unwrap();
        assert_eq!(report.count(&count), 11, "under {executor}");
        assert_eq!(report.take(order), [1, 2]);
    });
}

fn refuse() -> Result<(), Failure> {
    Err("it refuses".into())
}

/// A pipeline with everything in it, of which one hook fails.
fn failing(executor: minigun::Executor, hook: &str, panics: bool) -> Result<minigun::Report, Error> {
    let p = Pipeline::new("failing");
    let fail = move |this: bool| {
        assert!(!(this && panics), "it refuses");
        if this { refuse() } else { Ok(()) }
    };
    let is = |name: &str| hook == name;
    let (before, after, fork) = (is("before"), is("after"), is("after_fork"));
    let (before_run, before_fork, after_run) = (is("before_run"), is("before_fork"), is("after_run"));
    p.before_run(move || fail(before_run)).before_fork(move || fail(before_fork));
    p.after_fork(move || fail(fork)).after_run(move |_| fail(after_run));
    let _out = p
        .source("in", 0..10)
        .on(executor, |s| s.map("step", |n| n).before(move || fail(before)).after(move || fail(after)))
        .collect("out");
    p.run()
}

#[test]
fn a_hook_that_fails_fails_the_run_and_is_named() {
    under(&["inline", "threads:2", "processes:2", "process_per_batch:2"], |executor| {
        let forks =
            matches!(executor, minigun::Executor::Processes(_) | minigun::Executor::ProcessPerBatch(_));
        for hook in ["before_run", "before_fork", "after_fork", "before", "after", "after_run"] {
            for panics in [false, true] {
                let outcome = failing(executor, hook, panics);
                if !forks && hook.ends_with("_fork") {
                    assert!(outcome.is_ok(), "{hook} under {executor}");
                    continue;
                }
                let error = outcome.map(drop).unwrap_err();
                let text = error.to_string();
                assert!(text.contains("it refuses"), "{hook} under {executor}: {text}");
                match hook {
                    "before" => assert!(matches!(error, Error::Init { .. }), "{text}"),
                    _ => assert!(matches!(error, Error::Hook { hook: named, .. } if named == hook), "{text}"),
                }
                let names: &[&str] = match hook {
                    "before" | "after" => &["step"],
                    // In which worker, too.
                    "after_fork" => &["after_fork", "step"],
                    _ => &[hook],
                };
                assert!(names.iter().all(|name| text.contains(name)), "{hook} under {executor}: {text}");
            }
        }
        failing(executor, "none", false).unwrap();
    });
}
