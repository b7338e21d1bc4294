//! Retried items: how often they are tried, and that nothing of a failed attempt is ever seen.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Event, Marks, error_of, everywhere, sorted, told, under, within};
use minigun::{Backoff, FailureKind, Pipeline};

#[test]
fn outputs_counts_and_collected_values_of_failed_attempts_are_never_seen() {
    everywhere(|executor| {
        let p = Pipeline::new("held back");
        let (count, values) = (p.counter("count"), p.collector::<(i32, usize)>("values"));
        let marks = Marks::new();
        let out = p
            .source("in", 0..20)
            .on(executor.place().retry(4, Backoff::none()), |s| {
                s.processor("thrice", move |n: i32, out| {
                    marks.add(n);
                    let attempt = marks.count(n);
                    out.emit((n, attempt));
                    count.add(1);
                    values.push((n, attempt));
                    match attempt {
                        1 => Err("not yet".into()),
                        2 => panic!("nor now"),
                        _ => Ok(()),
                    }
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        let third = sorted((0..20).map(|n| (n, 3)));
        assert_eq!(sorted(report.take(out)), third, "under {executor}");
        assert_eq!(sorted(report.take(values)), third);
        assert_eq!(report.count(&count), 20, "a retried item counts once");
        let figures = report.stage("thrice").unwrap().figures;
        assert_eq!((figures.items_in, figures.items_out), (20, 20));
        assert_eq!((figures.retried, figures.failed, figures.skipped), (40, 40, 0));
    });
}

#[test]
fn an_item_is_tried_as_often_as_was_said_and_then_ends_the_run() {
    everywhere(|executor| {
        let p = Pipeline::new("three times");
        let marks = Marks::new();
        let theirs = Arc::clone(&marks);
        let _out = p
            .source("in", 0..10)
            .on(executor.place().retry(3, Backoff::none()), |s| {
                s.try_map("boom", move |n| {
                    theirs.add(n);
                    if n == 6 { Err("never".into()) } else { Ok(n) }
                })
            })
            .collect("out");
        let (stage, item, attempts, cause, kind) = told(error_of(p));
        assert_eq!((stage.as_str(), item, attempts, kind), ("boom", 6, 3, FailureKind::Error), "{executor}");
        assert!(cause.contains("never"), "{cause}");
        assert_eq!(marks.count(6), 3);
    });
}

#[test]
fn a_retry_from_the_front_of_the_block_sees_the_item_as_it_arrived() {
    everywhere(|executor| {
        let p = Pipeline::new("as it arrived");
        let marks = Marks::new();
        let out = p
            .source("in", 0..10)
            .map("list", |n| vec![n])
            .on(executor.place().retry(2, Backoff::none()), |s| {
                s.map("push", |mut list: Vec<i32>| {
                    list.push(0);
                    list
                })
                .try_map("once", move |list| {
                    marks.add(list[0]);
                    if marks.count(list[0]) == 1 { Err("first".into()) } else { Ok(list) }
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted((0..10).map(|n| vec![n, 0])));
    });
}

#[test]
fn an_item_that_waits_for_its_next_attempt_holds_up_no_other() {
    // Item 0 fails and would come back in an hour; the run is given up when all others were seen.
    under(&["threads:1", "threads:3", "processes:1", "processes:3", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("holds up");
        let hour = Duration::from_secs(3600);
        let others = p
            .source("in", 0..100)
            .on(executor.place().retry(2, Backoff::exponential(hour, hour)), |s| {
                s.try_map("first", move |n| if n == 0 { Err("come back".into()) } else { Ok(n) })
            })
            .receiver("others", 10);
        let running = p.start().unwrap();
        assert_eq!(sorted(others.take(99)), sorted(1..100));
        drop(running);
    });
}

#[test]
fn an_item_that_comes_back_does_not_make_an_idle_worker_deaf() {
    // Item 0 is taken by one of two workers, fails, and comes back after a while; its second attempt ends
    // only when item 1, which is sent after that attempt began, was seen. The other worker must take item 1.
    under(&["threads:2", "processes:2", "process_per_batch:2", "process_per_batch:3"], |executor| {
        let p = Pipeline::new("deaf");
        let (again, seen, marks) = (Event::new(), Event::new(), Marks::new());
        let (begun, ended) = (Arc::clone(&again), Arc::clone(&seen));
        let (send, flow) = p.channel("in", 10);
        let out = flow
            .on(executor.place().retry(2, Backoff::exponential(PAUSE, PAUSE)), |s| {
                s.try_map("wait", move |n: i32| {
                    marks.add(n);
                    if n == 0 && marks.count(0) == 1 {
                        return Err("come back".into());
                    }
                    if n == 0 {
                        begun.set();
                        ended.wait();
                    }
                    Ok(n)
                })
            })
            .processor("see", move |n, out| {
                if n == 1 {
                    seen.set();
                }
                out.emit(n);
            })
            .collect("out");
        let running = p.start().unwrap();
        send.send(0).unwrap();
        again.wait();
        send.send(1).unwrap();
        drop(send);
        assert_eq!(running.join().unwrap().take(out), [1, 0]);
    });
}

/// Long enough for a worker to look for other work first, as it should happen here; the result does not depend on it.
const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn an_item_due_again_is_taken_by_an_idle_worker_while_the_one_it_failed_in_is_busy() {
    // Item 0 fails; item 1, sent after that, is running until item 0 was seen, perhaps in the very worker
    // that knows when item 0 is due again.
    under(&["threads:2", "processes:2", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("due");
        let (failed, seen, marks) = (Event::new(), Event::new(), Marks::new());
        let (first, zero) = (Arc::clone(&failed), Arc::clone(&seen));
        let (send, flow) = p.channel("in", 10);
        let out = flow
            .on(executor.place().retry(2, Backoff::exponential(4 * PAUSE, 4 * PAUSE)), |s| {
                s.try_map("wait", move |n: i32| {
                    marks.add(n);
                    if n == 0 && marks.count(0) == 1 {
                        first.set();
                        return Err("come back".into());
                    }
                    if n == 1 {
                        zero.wait();
                    }
                    Ok(n)
                })
            })
            .processor("see", move |n, out| {
                if n == 0 {
                    seen.set();
                }
                out.emit(n);
            })
            .collect("out");
        let running = p.start().unwrap();
        send.send(0).unwrap();
        failed.wait();
        // Something that takes a while, so that the worker is likely to have looked around.
        let meanwhile = Pipeline::new("meanwhile");
        meanwhile.source("in", 0..10).processes(1, |s| s.map("same", |n: i32| n)).discard();
        meanwhile.run().unwrap();
        send.send(1).unwrap();
        drop(send);
        assert_eq!(running.join().unwrap().take(out), [0, 1]);
    });
}

#[test]
fn attempts_of_at_least_one_are_made_whatever_was_asked() {
    within("none", || {
        let p = Pipeline::new("none");
        let out = p
            .source("in", 0..3)
            .on(minigun::threads(2).retry(0, Backoff::none()), |s| s.map("same", |n| n))
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), [0, 1, 2]);
    });
}
