//! The two ends that the program's own threads hold: channels into a run, receivers out of it.

mod common;

use std::thread;

use common::{error_of, everywhere, sorted, told, under, within};
use minigun::{Error, Pipeline};

#[test]
fn a_receiver_gives_every_item_and_then_ends() {
    everywhere(|executor| {
        for limit in [1, 7, 1000] {
            let p = Pipeline::new("receiver");
            let out = p.source("in", 0..100).on(executor, |s| s.map("same", |n| n)).receiver("out", limit);
            let running = p.start().unwrap();
            assert_eq!(sorted(out), sorted(0..100));
            running.join().unwrap();
        }
    });
}

#[test]
fn a_receiver_that_is_dropped_too_early_ends_the_run() {
    everywhere(|executor| {
        let p = Pipeline::new("gone");
        let mut out = p.source("in", 0..).on(executor, |s| s.map("same", |n: u64| n)).receiver("out", 2);
        let running = p.start().unwrap();
        assert!(out.next().is_some());
        drop(out);
        assert!(matches!(running.join().map(drop), Err(Error::ReceiverGone)));
    });
}

#[test]
fn a_receiver_ends_when_its_run_fails() {
    everywhere(|executor| {
        let p = Pipeline::new("fails");
        let out = p
            .source("in", 0..100)
            .on(executor, |s| s.map("boom", |n| if n == 50 { panic!("fifty") } else { n }))
            .receiver("out", 2);
        let running = p.start().unwrap();
        assert!(out.count() < 100);
        assert_eq!(told(running.join().map(drop).unwrap_err()).0, "boom");
    });
}

#[test]
fn a_receiver_of_a_pipeline_that_was_never_run_ends() {
    within("never run", || {
        let p = Pipeline::new("never run");
        let out = p.source("in", 0..3).receiver("out", 2);
        drop(p);
        assert_eq!(out.count(), 0);
        let p = Pipeline::new("wrong");
        let out = p.source("in", 0..3).receiver("out", 2);
        let _unused = p.source("lonely", 0..3);
        assert!(matches!(error_of(p), Error::Wiring { .. }));
        drop(_unused);
        assert_eq!(out.count(), 0);
    });
}

#[test]
fn a_channel_ends_its_flow_when_the_last_sender_is_dropped() {
    everywhere(|executor| {
        let p = Pipeline::new("channel");
        let (send, flow) = p.channel("in", 3);
        let out = flow.on(executor, |s| s.map("same", |n: i32| n)).collect("out");
        let running = p.start().unwrap();
        let senders: Vec<_> = (0..3)
            .map(|part| {
                let send = send.clone();
                thread::spawn(move || (0..50).for_each(|n| send.send(part * 50 + n).unwrap()))
            })
            .collect();
        drop(send);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(sorted(running.join().unwrap().take(out)), sorted(0..150));
    });
}

#[test]
fn what_was_sent_before_the_start_arrives() {
    within("before the start", || {
        let p = Pipeline::new("before the start");
        let (send, flow) = p.channel("in", 3);
        let out = flow.collect("out");
        (0..3).for_each(|n| send.send(n).unwrap());
        drop(send);
        assert_eq!(p.run().unwrap().take(out), [0, 1, 2]);
    });
}

#[test]
fn a_send_after_the_run_gives_the_item_back() {
    everywhere(|executor| {
        let p = Pipeline::new("over");
        let (send, flow) = p.channel("in", 3);
        let text = "kept".to_string();
        let out = flow.on(executor, |s| s.map("same", |text: String| text)).collect("out");
        let running = p.start().unwrap();
        send.send("first".to_string()).unwrap();
        running.stop();
        assert_eq!(running.join().unwrap().take(out), ["first"]);
        assert_eq!(send.send(text), Err("kept".to_string()));

        let p = Pipeline::new("failed");
        let (send, flow) = p.channel("in", 1);
        flow.on(executor, |s| s.map("boom", |text: String| panic!("{text}"))).map("never", |()| ()).discard();
        let running = p.start().unwrap();
        // However many are sent, the run will refuse one of them.
        let refused = (0..).find_map(|n: u32| send.send(n.to_string()).err()).unwrap();
        assert!(refused.parse::<u32>().unwrap() >= 1);
        assert!(running.join().is_err());
    });
}

#[test]
fn a_send_to_a_pipeline_that_was_never_run_gives_the_item_back() {
    within("never run", || {
        let p = Pipeline::new("never run");
        let (send, flow) = p.channel("in", 1);
        flow.discard();
        send.send(1).unwrap();
        let blocked = {
            let send = send.clone();
            thread::spawn(move || send.send(2))
        };
        drop(p);
        assert_eq!(blocked.join().unwrap(), Err(2));
        assert_eq!(send.send(3), Err(3));
    });
}

#[test]
fn a_send_in_a_worker_process_gives_the_item_back() {
    under(&["processes:1", "processes:2", "process_per_batch:2"], |executor| {
        let p = Pipeline::new("in a worker");
        let (send, flow) = p.channel("in", 100);
        let inside = send.clone();
        let (got, out) = (
            flow.collect("sent"),
            p.source("in worker", 0..5)
                .on(executor, |s| s.map("send", move |n: i32| inside.send(n) == Err(n)))
                .collect("out"),
        );
        let running = p.start().unwrap();
        send.send(7).unwrap();
        running.stop();
        drop(send);
        let mut report = running.join().unwrap();
        assert_eq!(report.take(got), [7]);
        assert!(report.take(out).into_iter().all(|refused| refused));
    });
}
