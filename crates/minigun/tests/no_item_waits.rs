//! No item waits for a later one: everywhere a result goes on as soon as it is there.

mod common;

use std::sync::Arc;
use std::sync::mpsc;

use common::{Event, everywhere, under};
use minigun::Pipeline;

/// Requests one at a time: the next is sent only when the reply to the last was seen.
#[test]
fn request_and_reply_one_item_at_a_time_from_a_producer() {
    everywhere(|executor| {
        let p = Pipeline::new("request and reply");
        let (reply, replies) = mpsc::channel();
        p.producer("ask", move |out| {
            for n in 0..50 {
                out.emit(n);
                if replies.recv() != Ok(n * 2 + 1) {
                    return Err("a wrong reply".into());
                }
            }
            Ok(())
        })
        .processor("before", |n: i32, out| out.emit(n * 2))
        .on(executor, |s| s.map("answer", |n| n + 1).processor("again", |n, out| out.emit(n)))
        .filter("light", |_| true)
        .consumer("reply", move |n| Ok(reply.send(n)?));
        let report = p.run().unwrap();
        assert_eq!(report.stage("reply").unwrap().figures.items_in, 50);
    });
}

#[test]
fn request_and_reply_one_item_at_a_time_through_a_channel_and_a_receiver() {
    everywhere(|executor| {
        let p = Pipeline::new("request and reply");
        let (send, requests) = p.channel("requests", 4);
        let mut replies = requests.on(executor, |s| s.map("answer", |n| n + 1)).receiver("replies", 4);
        let running = p.start().unwrap();
        for n in 0..50 {
            send.send(n).unwrap();
            assert_eq!(replies.next(), Some(n + 1));
        }
        drop(send);
        assert_eq!(replies.next(), None);
        running.join().unwrap();
    });
}

#[test]
fn batches_of_one_and_merged_flows_do_not_hold_items_back() {
    everywhere(|executor| {
        let p = Pipeline::new("batches of one");
        let (send, requests) = p.channel("requests", 4);
        let (left, right) = requests.tee();
        let mut replies = left
            .on(executor, |s| s.map("answer", |n| n + 1))
            .merge(right.filter("none", |_| false))
            .batch(1)
            .rebatch(1)
            .receiver("replies", 4);
        let running = p.start().unwrap();
        for n in 0..20 {
            send.send(n).unwrap();
            assert_eq!(replies.next(), Some(vec![n + 1]));
        }
        drop(send);
        assert_eq!(replies.next(), None);
        running.join().unwrap();
    });
}

#[test]
fn a_result_is_seen_while_its_worker_is_busy_with_a_later_item() {
    // Each item but the first ends only when the result of the one before it was seen.
    under(&["inline", "threads:1", "processes:1", "process_per_batch:1"], |executor| {
        let p = Pipeline::new("earlier result");
        let seen: Vec<_> = (0..20).map(|_| Event::new()).collect();
        let before = seen.clone();
        let out = p
            .source("in", 0..20usize)
            .on(executor, |s| {
                s.map("wait for the one before", move |n| {
                    if let Some(earlier) = n.checked_sub(1) {
                        before[earlier].wait();
                    }
                    n
                })
            })
            .processor("see", move |n: usize, out| {
                seen[n].set();
                out.emit(n);
            })
            .collect("out");
        assert_eq!(p.run().unwrap().take(out), (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn what_is_queued_behind_a_blocked_item_is_taken_over_by_another_worker() {
    // After quick items that make the engine send many at once, one item ends only when all later ones were
    // seen.
    const QUICK: u32 = 300;
    const ALL: u32 = 900;
    under(&["threads:2", "processes:2", "process_per_batch:2"], |executor| {
        let (quick, all) = if matches!(executor, minigun::Executor::ProcessPerBatch(_)) {
            (QUICK / 50, ALL / 50)
        } else {
            (QUICK, ALL)
        };
        let p = Pipeline::new("later items");
        let others = Event::new();
        let seen = Arc::clone(&others);
        let out = p
            .source("in", 0..all)
            .on(executor, |s| {
                s.map("block", move |n| {
                    if n == quick {
                        others.wait();
                    }
                    n
                })
            })
            .processor_init(
                "see",
                || Ok(0),
                move |count, n, out| {
                    *count += 1;
                    if *count == all - 1 {
                        seen.set();
                    }
                    out.emit(n);
                },
            )
            .collect("out");
        let mut out = p.run().unwrap().take(out);
        assert_eq!(out.pop(), Some(quick), "the blocked item comes last");
        assert_eq!(out.len() as u32, all - 1);
    });
}
