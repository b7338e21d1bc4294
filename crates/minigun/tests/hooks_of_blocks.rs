//! Fork hooks on a block's head: behind the pipeline's own, only around that block's workers; and what is told of
//! the goodbyes that never came.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::id;
use std::sync::Arc;

use common::{Marks, error_of, everywhere, under, within};
use minigun::{Error, Executor, Failure, Pipeline, processes};
use minigun_os::{Pid, Signal};

const FORKING: [&str; 4] = ["processes:1", "processes:3", "process_per_batch:1", "process_per_batch:3"];

/// Worker processes that a run over this many items needs.
fn workers(executor: Executor, items: u64) -> u64 {
    match executor {
        Executor::Processes(n) => n as u64,
        Executor::ProcessPerBatch(_) => items,
        _ => 0,
    }
}

#[test]
fn the_pipelines_fork_hooks_run_before_those_of_its_blocks_in_the_order_written() {
    under(&FORKING, |executor| {
        let p = Pipeline::new("order");
        let marks = Marks::new();
        let mark = |line: &'static str| {
            let marks = Arc::clone(&marks);
            move || marks.add(format!("{} {line}", id()))
        };
        // The blocks are written in an order of their own; what they call is not.
        let heads = ["one", "two"].map(|block| {
            let line = |hook: &str| -> &'static str { format!("{hook} of {block}").leak() };
            executor
                .place()
                .after_fork(mark(line("after_fork 1")))
                .before_fork(mark(line("before_fork 1")))
                .before_fork(mark(line("before_fork 2")))
                .after_fork(mark(line("after_fork 2")))
        });
        let [one, two] = heads;
        let last = mark("after_run");
        let stage = |s: minigun::Segment<u32>, name: &'static str| {
            s.map_init(name, mark("init"), |(), n| n).before(mark("before")).after(mark("after"))
        };
        let flow = p.source("in", 0..9).on(one, |s| stage(s, "one").inspect("body", |_| ()));
        flow.on(two, |s| stage(s, "two")).discard();
        p.after_fork(mark("after_fork")).before_fork(mark("before_fork")).before_run(mark("before_run"));
        p.after_run(move |_| last());
        p.run().unwrap();

        let mut by_process = BTreeMap::<String, Vec<String>>::new();
        let lines = marks.lines();
        for line in &lines {
            let (pid, what) = line.split_once(' ').unwrap();
            by_process.entry(pid.to_string()).or_default().push(what.to_string());
        }
        let program = by_process.remove(&id().to_string()).unwrap();
        let expected = [
            "before_run",
            "before_fork",
            "before_fork 1 of one",
            "before_fork 2 of one",
            "before_fork 1 of two",
            "before_fork 2 of two",
            "after_run",
        ];
        assert_eq!(program, expected, "in the program, each once, under {executor}");
        let in_program = |line: &String| line.starts_with(&format!("{} ", id()));
        assert!(lines[..6].iter().all(in_program), "nothing was forked before: {lines:?}");
        assert!(in_program(&lines[lines.len() - 1]), "after_run is the last of all");
        assert_eq!(by_process.len() as u64, 2 * workers(executor, 9));
        for (pid, lines) in by_process {
            let block = lines[1].rsplit(' ').next().unwrap();
            let (first, second) = (format!("after_fork 1 of {block}"), format!("after_fork 2 of {block}"));
            let expected = ["after_fork", &first, &second, "before", "init", "after"];
            assert_eq!(lines, expected, "in worker {pid}, under {executor}");
        }
    });
}

#[test]
fn hooks_of_a_block_run_in_its_workers_and_in_no_others() {
    under(&FORKING, |executor| {
        let p = Pipeline::new("own workers");
        let (before, after) = (p.collector::<u32>("before"), p.collector::<u32>("after"));
        let all = p.collector::<u32>("all");
        p.after_fork(move || all.push(id()));
        let hooked =
            executor.place().before_fork(move || before.push(id())).after_fork(move || after.push(id()));
        let out = p
            .source("in", 0..20)
            .on(executor, |s| s.map("without", |n: u32| (n, id())))
            .on(hooked, |s| s.map("with", |(_, without)| (without, id())))
            .collect("out");
        let mut report = p.run().unwrap();
        let (before, after, all) = (report.take(before), report.take(after), report.take(all));
        assert_eq!(before, [id()], "once, in the program");
        let own: BTreeSet<_> = after.iter().copied().collect();
        assert_eq!((own.len(), own.len() as u64), (after.len(), workers(executor, 20)), "once in each");
        assert_eq!(all.len() as u64, 2 * workers(executor, 20), "the pipeline's hook in all of them");
        for (without, with) in report.take(out) {
            assert!(own.contains(&with) && !own.contains(&without), "under {executor}");
        }
    });
}

#[test]
fn where_nothing_is_forked_they_do_not_run() {
    under(&["inline", "threads:1", "threads:4"], |executor| {
        let p = Pipeline::new("nothing forked");
        let head = executor.place().before_fork(|| panic!("a fork?")).after_fork(|| panic!("a worker?"));
        let out = p.source("in", 0..5).on(head, |s| s.map("same", |n| n)).collect("out");
        assert_eq!(p.run().unwrap().take(out).len(), 5);
    });
}

/// Counts and collected values from every kind of hook, on both process contexts.
#[test]
fn what_hooks_record_in_workers_comes_with_their_hello_and_their_goodbye() {
    under(&FORKING, |executor| {
        let p = Pipeline::new("recorded");
        let counts =
            ["before_fork", "pipeline", "block", "before", "init", "after"].map(|name| p.counter(name));
        let [before_fork, pipeline, block, before, init, after] = counts;
        let told = p.collector::<(String, u32)>("told");
        let tell = move |what: &str| told.push((what.to_string(), id()));
        p.before_fork(move || before_fork.add(1));
        p.after_fork(move || {
            pipeline.add(1);
            tell("pipeline");
        });
        let head = executor.place().before_fork(move || before_fork.add(10)).after_fork(move || {
            block.add(1);
            tell("block");
        });
        p.source("in", 0..7u32)
            .on(head, |s| {
                s.map_init("step", move || init.add(1), |(), n| n)
                    .before(move || {
                        before.add(1);
                        tell("before");
                    })
                    .after(move || {
                        after.add(10);
                        tell("after");
                    })
            })
            .discard();
        let mut report = p.run().unwrap();
        let n = workers(executor, 7);
        let counted = counts.map(|count| report.count(&count));
        assert_eq!(counted, [11, n, n, n, n, 10 * n], "under {executor}");
        let mut of_worker = BTreeMap::<u32, Vec<String>>::new();
        for (what, pid) in report.take(told) {
            of_worker.entry(pid).or_default().push(what);
        }
        assert_eq!(of_worker.len() as u64, n);
        assert!(of_worker.values().all(|lines| lines == &["pipeline", "block", "before", "after"]));
        assert_eq!(report.stage("step").unwrap().figures.lost_goodbyes, 0);
    });
}

#[test]
fn a_hook_of_a_block_that_fails_fails_the_run_with_an_error_that_names_hook_and_block() {
    under(&["processes:2", "process_per_batch:2"], |executor| {
        for hook in ["before_fork", "after_fork"] {
            for panics in [false, true] {
                let fail = move |this: bool| {
                    assert!(!(this && panics), "it refuses");
                    if this { Err::<(), Failure>("it refuses".into()) } else { Ok(()) }
                };
                let p = Pipeline::new("refused");
                let marks = Marks::new();
                let (body, over) = (Arc::clone(&marks), Arc::clone(&marks));
                p.after_run(move |_| over.add("after_run"));
                let head = executor
                    .place()
                    .skip() // it is no item that fails
                    .before_fork(move || fail(hook == "before_fork"))
                    .after_fork(move || fail(hook == "after_fork"));
                p.source("in", 0..10)
                    .processes(1, |s| s.map("other", |n: u32| n))
                    .on(head, |s| s.inspect("step", move |_| body.add("body")))
                    .discard();
                let error = error_of(p);
                let text = error.to_string();
                assert!(text.contains(hook) && text.contains("`step`"), "{text}");
                assert!(text.contains("it refuses") && !text.contains("other"), "{text}");
                if hook == "before_fork" {
                    assert!(matches!(error, Error::Hook { hook: "before_fork", .. }), "{text}");
                }
                assert_eq!(marks.lines(), ["after_run"], "no item was begun");
            }
        }
    });
}

#[test]
fn a_killed_workers_goodbye_is_lost_and_the_report_says_so() {
    under(&FORKING, |executor| {
        let p = Pipeline::new("goodbye");
        let (hello, goodbye) = (p.counter("hello"), p.counter("goodbye"));
        let marks = Marks::new();
        let killer = move |n: u32| {
            marks.add(n);
            if n == 5 && marks.count(n) == 1 {
                minigun_os::kill(Pid::current(), Signal::KILL).unwrap();
            }
            n
        };
        let head = executor.place().after_fork(move || hello.add(1));
        let out = p
            .source("in", 0..12u32)
            .on(head, |s| s.map("step", killer).after(move || goodbye.add(1)))
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(report.take(out).len(), 12, "no item is lost");
        let n = workers(executor, 12);
        assert_eq!(report.count(&hello), n + 1, "the killed one had said hello");
        assert_eq!(report.count(&goodbye), n, "but not goodbye");
        let figures = report.stage("step").unwrap().figures;
        assert_eq!((figures.deaths, figures.lost_goodbyes), (1, 1), "under {executor}");
        let text = report.to_string();
        assert!(text.contains("1 worker of `step` ended without a goodbye"), "{text}");
    });
}

#[test]
fn the_goodbyes_of_workers_that_are_killed_with_the_run_are_lost_too() {
    within("killed with the run", || {
        let p = Pipeline::new("halted");
        let marks = Marks::new();
        let told = Arc::clone(&marks);
        p.after_run(move |report| {
            told.add(report.stage("step").unwrap().figures.lost_goodbyes);
            told.add(report.to_string().contains("2 workers of `step` ended without a goodbye"));
        });
        p.source("in", 0u64..)
            .on(processes(2), |s| s.inspect("step", |n| assert!(*n < 100, "enough")))
            .discard();
        error_of(p);
        assert_eq!(marks.lines(), ["2", "true"]);
    });
}

#[test]
fn no_goodbye_is_lost_in_a_run_that_ends_by_itself() {
    everywhere(|executor| {
        let p = Pipeline::new("orderly");
        p.source("in", 0..50)
            .on(executor.place().skip(), |s| {
                s.inspect("step", |n| assert!(n % 10 != 3, "a failure is no death"))
            })
            .discard();
        let report = p.run().unwrap();
        assert_eq!(report.stage("step").unwrap().figures.lost_goodbyes, 0, "under {executor}");
        assert!(!report.to_string().contains("without a goodbye"), "{report}");
    });
}
