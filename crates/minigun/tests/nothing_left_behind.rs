//! After a run there are as many children, threads and open files as before it, however it ended.
//!
//! One test in a process of its own: it counts what the process has.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::thread;

use common::{EXECUTORS, Event, within};
use minigun::{Backoff, Executor, Pipeline, threads};
use minigun_os::procfs;

/// What this process has open: what its descriptors refer to, and its children with their states.
fn things() -> (Vec<String>, BTreeSet<String>) {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        // The descriptor of this very listing is gone when it is looked at.
        fs::read_link(entry.unwrap().path()).ok().map(|to| to.display().to_string())
    });
    let mut children = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // After the name in brackets: the state (`Z` for a zombie) and the parent.
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<_> = rest.split_whitespace().take(2).collect();
        if fields.get(1).is_some_and(|parent| *parent == std::process::id().to_string()) {
            children.insert(format!("{name}) {}", fields[0]));
        }
    }
    let mut open: Vec<_> = open.filter(|to| !to.starts_with("/proc/")).collect();
    open.sort();
    (open, children)
}

/// Twenty items through one block of each kind and one with `executor`.
fn good(executor: Executor) {
    let p = Pipeline::new("good");
    let out = p
        .source("in", 0..20)
        .on(executor, |s| s.map("first", |n| n + 1).threads(2, |s| s.map("nested", |n| n)))
        .processes(2, |s| s.map("second", |n| n * 2))
        .batch(4)
        .process_per_batch(2, |s| s.unbatch())
        .collect("out");
    assert_eq!(p.run().unwrap().take(out).len(), 20);
}

fn failing(executor: Executor) {
    for panics in [false, true] {
        let p = Pipeline::new("failing");
        let out = p
            .source("in", 0..1000)
            .on(executor.place().retry(2, Backoff::none()), |s| {
                s.try_map("boom", move |n| {
                    assert!(!(panics && n == 13), "thirteen");
                    if n == 13 { Err("thirteen".into()) } else { Ok(n) }
                })
            })
            .on(threads(2), |s| s.map("behind", |n: i32| n))
            .receiver("out", 3);
        let running = p.start().unwrap();
        assert!(out.count() < 1000);
        assert!(running.join().is_err());
    }
}

fn refused(executor: Executor) {
    for hook in ["before_run", "before_fork", "after_fork", "init", "after_run"] {
        let p = Pipeline::new("refused");
        let fail = move |name: &str| if hook == name { Err("it refuses".into()) } else { Ok(()) };
        p.before_run(move || fail("before_run")).before_fork(move || fail("before_fork"));
        p.after_fork(move || fail("after_fork")).after_run(move |_| fail("after_run"));
        p.source("in", 0..20)
            .on(executor, |s| s.try_map_init("init", move || fail("init"), |(), n| Ok(n)))
            .discard();
        let outcome = p.run();
        assert!(outcome.is_err() || hook.ends_with("_fork"));
    }
    let p = Pipeline::new("wrong");
    let _unconsumed = p.source("in", 0..20).on(executor, |s| s.map("same", |n| n));
    assert!(p.run().is_err());
    let p = Pipeline::new("never run");
    let (_send, flow) = p.channel("in", 3);
    let _out = flow.on(executor, |s| s.map("same", |n: i32| n)).receiver("out", 2);
    drop(p);
}

fn stopped(executor: Executor) {
    for drop_it in [false, true] {
        let p = Pipeline::new("stopped");
        let some = Event::new();
        let seen = Arc::clone(&some);
        p.source("in", 0u64..).on(executor, |s| s.map("same", |n| n)).consumer("see", move |n| {
            if n == 10 {
                seen.set()
            }
        });
        let running = p.start().unwrap();
        some.wait();
        if drop_it {
            drop(running);
        } else {
            running.stop();
            running.join().unwrap();
        }
    }
}

fn all(executor: Executor) {
    good(executor);
    failing(executor);
    refused(executor);
    stopped(executor);
}

#[test]
fn as_many_children_threads_and_open_files_as_before_the_run() {
    within("nothing left", || {
        let executors: Vec<Executor> = EXECUTORS.iter().map(|text| text.parse().unwrap()).collect();
        // What the standard library and the test itself open once.
        all(Executor::Threads(1));
        let (before, before_threads) = (things(), procfs::threads().unwrap());
        let check = |when: &str| {
            assert_eq!(things(), before, "{when}");
            // A thread that was joined may take a moment to leave the list.
            while procfs::threads().unwrap() > before_threads {
                thread::yield_now();
            }
        };
        for executor in &executors {
            type Case = fn(Executor);
            let cases: [(&str, Case); 4] = [
                ("a good run", good),
                ("failing runs", failing),
                ("refused runs", refused),
                ("stops", stopped),
            ];
            for (what, case) in cases {
                case(*executor);
                check(&format!("after {what} under {executor}"));
            }
        }
        for _ in 0..3 {
            good(Executor::Processes(3));
        }
        check("after three runs in a row");
        for case in [good, all] {
            let runs: Vec<_> = (1..=3).map(|n| thread::spawn(move || case(Executor::Processes(n)))).collect();
            runs.into_iter().for_each(|run| run.join().unwrap());
            check("after three runs at once");
        }
    });
}
