//! Items that come one at a time, each to workers that have nothing to do: killed at once, refused or idle, their worker
//! is charged with each as with any other.
#![cfg(all(target_os = "linux", not(minigun_no_fork)))]
#![expect(clippy::unwrap_used, reason = "a test may")]

mod crash_kit;

use std::time::{Duration, Instant};

use crash_kit::{Scene, kill_ours, workers};
use minigun::{Pipeline, attempt, processes};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

const ITEMS: u64 = 100;

/// Every 20th cannot be written.
#[derive(Debug, Deserialize)]
struct Request(u64);

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0 % 20 == 13 { Err(S::Error::custom("a pen without ink")) } else { self.0.serialize(to) }
    }
}

/// Nothing happens for as long: an idle slot has gone to sleep, as a rule. What follows holds in any case.
fn leave_idle(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn each_gets_its_reply_once_though_it_kills_its_worker_or_the_worker_dies_while_idle() {
    for workers_of_block in [1, 2] {
        let mut scene = Scene::new();
        let p = Pipeline::new("one at a time");
        let (send, requests) = p.channel("requests", 4);
        let answer = |n: u64| {
            // Its first attempt dies with its worker.
            if n % 10 == 3 && attempt().unwrap().attempt == 1 {
                std::process::abort();
            }
            (n, attempt().unwrap().attempt)
        };
        let block = processes(workers_of_block);
        let mut replies = requests.on(block, |s| s.map("answer", answer)).receiver("replies", 4);
        let running = p.start().unwrap();
        for n in 0..ITEMS {
            leave_idle(Duration::from_micros(scene.chance.below(300)));
            let idle = workers();
            if n % 10 == 7
                && let Some(one) = idle.get(scene.chance.below(idle.len() as u64) as usize)
            {
                kill_ours(*one);
            }
            send.send(n).unwrap();
            let (of, attempt) = replies.next().unwrap();
            assert_eq!(of, n);
            // The one that was killed may have begun it.
            assert!(attempt == 1 + u32::from(n % 10 == 3) || n % 10 == 7 && attempt == 2, "{n}: {attempt}");
        }
        drop(send);
        assert!(replies.next().is_none());
        let report = running.join().unwrap();
        let figures = &report.stage("answer").unwrap().figures;
        assert_eq!((figures.items_in, figures.completed), (ITEMS, ITEMS));
        scene.nothing_is_left();
    }
}

#[test]
fn one_that_cannot_be_written_is_set_aside_alone() {
    let scene = Scene::new();
    let p = Pipeline::new("one at a time");
    let (send, requests) = p.channel("requests", 4);
    let mut replies =
        requests.on(processes(1).skip(), |s| s.map("answer", |Request(n)| n)).receiver("replies", 4);
    let running = p.start().unwrap();
    for n in 0..ITEMS {
        leave_idle(Duration::from_micros(100));
        send.send(Request(n)).unwrap();
        if n % 20 != 13 {
            assert_eq!(replies.next(), Some(n));
        }
    }
    drop(send);
    assert!(replies.next().is_none());
    let figures = running.join().unwrap().stage("answer").unwrap().figures;
    assert_eq!((figures.completed, figures.skipped), (ITEMS - ITEMS / 20, ITEMS / 20));
    scene.nothing_is_left();
}
