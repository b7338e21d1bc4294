//! Loops: work that finds more work goes round until there is none, whatever runs in the loop and whatever fails there.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Event, error_of, everywhere, sorted, told, within};
use minigun::{
    Backoff, Dead, Error, Executor, FailureKind, Flow, Mistake, Pipeline, Port, StopCause, merge,
    process_per_batch, processes, threads,
};

/// What goes round: `n` becomes `n - 1`, and every number leaves the loop once each time it comes by.
fn countdown(flow: Flow<u32>, again: &Port<u32>, executor: Executor) -> Flow<u32> {
    flow.on(executor, |s| {
        s.processor_to("count down", again, |n, out, again| {
            if n > 0 {
                again.emit(n - 1);
            }
            out.emit(n);
        })
    })
}

#[test]
fn a_loop_ends_when_nothing_goes_round_any_more() {
    everywhere(|executor| {
        let p = Pipeline::new("countdown");
        let out = p
            .source("in", [5u32, 0, 3])
            .feedback("loop", |flow, again| countdown(flow, &again, executor))
            .collect("out");
        let mut report = p.run().unwrap();
        assert_eq!(sorted(report.take(out)), [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 5]);
        assert_eq!(report.stage("loop").unwrap().figures.items_in, 11);
    });
}

#[test]
fn a_loop_into_which_nothing_comes_ends_normally() {
    everywhere(|executor| {
        let p = Pipeline::new("empty");
        let out = p
            .source("in", 0..0u32)
            .feedback("loop", |flow, again| countdown(flow.batch(3).unbatch(), &again, executor))
            .collect("out");
        assert_eq!(p.run().unwrap().take(out), [0; 0]);
    });
}

/// More than the queues hold: senders that waited for the loop's own queue would wait for ever.
#[test]
fn a_loop_that_grows_faster_than_its_queues_hold_does_not_block_itself() {
    everywhere(|executor| {
        let p = Pipeline::new("growth");
        let out = p
            .source("in", 0..3u32)
            .feedback("loop", move |flow, again| {
                flow.on(executor.place().queue(1), |s| {
                    s.processor_to("grow", &again, |n, out, again| {
                        if n < 100 {
                            (0..40).for_each(|more| again.emit(100 + (n * 40 + more) % 200));
                        } else if n % 200 >= 100 && n < 1000 {
                            again.extend([n + 1000, n + 2000]);
                        }
                        out.emit(n);
                    })
                })
                .on(threads(1).queue(1), |s| s.map("slow", |n| n))
            })
            .fold("count", BTreeMap::new(), |mut counts, n: u32| {
                *counts.entry(n).or_insert(0u32) += 1;
                counts
            });
        let counts = p.run().unwrap().take(out);
        let mut expected = BTreeMap::new();
        for n in 0..3 {
            *expected.entry(n).or_insert(0) += 1;
            for made in (0..40).map(|more| 100 + (n * 40 + more) % 200) {
                *expected.entry(made).or_insert(0) += 1;
                if made % 200 >= 100 {
                    *expected.entry(made + 1000).or_insert(0) += 1;
                    *expected.entry(made + 2000).or_insert(0) += 1;
                }
            }
        }
        assert_eq!(counts, expected);
    });
}

/// Some 10 MB wait to go round, of which memory has two at most: the rest is in files.
#[test]
fn what_memory_does_not_hold_waits_in_files_and_arrives_once() {
    within("spill", || {
        let p = Pipeline::new("spill");
        let text = |n: u32| format!("{n:>200}");
        let total = p
            .source("in", [text(0)])
            .feedback("loop", move |flow, again| {
                flow.on(threads(2).queue(1), move |s| {
                    s.processor_to("grow", &again, move |item: String, out, again| {
                        let n: u32 = item.trim().parse().unwrap();
                        // One makes fifty, and each of those a thousand: so it is not all one attempt's.
                        match n {
                            0 => (1..=50).for_each(|n| again.emit(text(n))),
                            1..=50 => (1..=1000).for_each(|more| again.emit(text(n * 1000 + more))),
                            _ => {}
                        }
                        out.emit(n);
                    })
                })
            })
            .fold("sum", (0u64, 0u64), |(count, sum), n| (count + 1, sum + u64::from(n)));
        let sum: u64 = (1..=50).map(|n| n + (1..=1000).map(|more| n * 1000 + more).sum::<u64>()).sum();
        assert_eq!(p.run().unwrap().take(total), (50_051, sum));
    });
}

/// Every kind of block in one loop, a batch among them that is never full.
#[test]
fn a_loop_through_every_context_and_a_batch_lets_all_items_through() {
    within("contexts", || {
        let p = Pipeline::new("contexts");
        let out = p
            .source("in", 1..=20u32)
            .feedback("loop", |flow, again| {
                flow.threads(2, |s| s.map("a", |n| (n, 0)))
                    .processes(2, |s| s.map("b", |(n, m)| (n, m + 1)))
                    .batch(7)
                    .process_per_batch(2, |s| s.unbatch().threads(2, |s| s.map("c", |(n, m)| (n, m + 1))))
                    .batch(1000)
                    .unbatch()
                    .inline(|s| {
                        s.processor_to("d", &again, |(n, m), out, again| {
                            if n > 1 && m == 2 {
                                again.emit(n / 2);
                            }
                            out.emit(n);
                        })
                    })
            })
            .collect("out");
        let expected = (1..=20).flat_map(|n| std::iter::successors(Some(n), |n| (*n > 1).then_some(n / 2)));
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(expected));
    });
}

#[test]
fn retries_skips_and_dead_letters_in_a_loop_are_waited_for() {
    everywhere(|executor| {
        let p = Pipeline::new("policies");
        let (dead, letters) = p.inlet::<Dead<u32>>("dead");
        let attempts = p.counter("attempts");
        let out = p
            .source("in", [30u32])
            .feedback("loop", |flow, again| {
                // A dead letter goes round again as another item.
                letters.map("instead", |letter| letter.item + 1000).send_to(&again);
                let head = executor.place().retry(2, Backoff::none()).dead_letter(&dead);
                flow.on(head, |s| {
                    s.processor_to("work", &again, move |n: u32, out, again| {
                        attempts.add(1);
                        if n > 0 && n < 1000 {
                            again.emit(n - 1);
                        }
                        if n % 10 == 5 && n < 1000 {
                            return Err("always".into());
                        }
                        out.emit(n);
                        Ok(())
                    })
                })
                .on(executor.place().skip(), |s| {
                    s.try_map("skip", |n| if n % 10 == 7 { Err("skipped".into()) } else { Ok(n) })
                })
            })
            .collect("out");
        let mut report = p.run().unwrap();
        // 25 fails for good, so 24 and below never come.
        let expected = (26..=30).filter(|n| n % 10 != 7).chain([1025]);
        assert_eq!(sorted(report.take(out)), sorted(expected));
        let figures = report.stage("work").unwrap().figures;
        assert_eq!((figures.items_in, figures.dead, figures.retried), (6, 1, 1));
        assert_eq!(report.stage("skip").unwrap().figures.skipped, 1);
        assert_eq!(report.count(&attempts), 6, "committed attempts only");
    });
}

#[test]
fn an_item_that_kills_its_workers_is_set_aside_and_the_loop_ends() {
    for executor in ["processes:2", "process_per_batch:2"] {
        within(executor, move || {
            let executor: Executor = executor.parse().unwrap();
            let p = Pipeline::new("killer");
            let out = p
                .source("in", [20u32])
                .feedback("loop", |flow, again| {
                    flow.on(executor.place().skip(), |s| {
                        s.processor_to("work", &again, |n, out, again| {
                            if n == 7 {
                                std::process::abort();
                            }
                            if n > 0 {
                                again.emit(n - 1);
                            }
                            out.emit(n);
                        })
                    })
                })
                .collect("out");
            let mut report = p.run().unwrap();
            assert_eq!(sorted(report.take(out)), sorted(8..=20));
            assert_eq!(report.stage("work").unwrap().figures.skipped, 1);
        });
    }
}

/// Loops in a loop, and two that send to each other's port: they end together, and not before.
#[test]
fn loops_within_loops_and_through_each_other_end() {
    everywhere(|executor| {
        let p = Pipeline::new("nested");
        let out = p
            .source("in", [3u32, 4])
            .feedback("outer", |flow, outer| {
                let inner = flow.map("pairs", |n| (n, n)).feedback("inner", |flow, inner| {
                    flow.on(executor, |s| {
                        s.processor_to("inside", &inner, |(n, left): (u32, u32), out, inner| {
                            if left > 0 { inner.emit((n, left - 1)) } else { out.emit(n) }
                        })
                    })
                });
                inner.processor_to("outside", &outer, |n: u32, out, outer| {
                    if n > 0 {
                        outer.emit(n - 1);
                    }
                    out.emit(n);
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), [0, 0, 1, 1, 2, 2, 3, 3, 4]);

        let p = Pipeline::new("crossed");
        let mut back = None;
        let first = p.source("in", [9u32]).feedback("first", |flow, again| {
            back = Some(again);
            flow.on(executor, |s| s.map("through", |n| n))
        });
        let first_again = back.unwrap();
        let out = first.feedback("second", |flow, again| {
            flow.on(executor, |s| {
                s.processor_to("either", (&first_again, &again), |n: u32, out, (first, second)| {
                    match n {
                        0 => {}
                        n if n % 2 == 0 => first.emit(n - 1),
                        n => second.emit(n - 1),
                    }
                    out.emit(n);
                })
            })
        });
        let out = out.collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(0..=9));
    });
}

/// A port can be lent to stages that do not stand in the loop; a loop waits for the last of them.
#[test]
fn a_late_sender_from_outside_still_counts() {
    everywhere(|executor| {
        let p = Pipeline::new("late");
        let (seen, told) = (Event::new(), Event::new());
        told.set();
        let wait = Arc::clone(&seen);
        let late = p.producer("late", move |out| {
            wait.wait();
            out.emit(100u32);
        });
        let out = p
            .source("in", [2u32])
            .feedback("loop", |flow, again| {
                late.map("minus", |n| n - 97).send_to(&again);
                countdown(flow, &again, executor)
            })
            // The last of what the first item makes: without the late sender the loop would be over.
            .inspect("see", move |n| {
                if *n == 0 {
                    seen.set();
                }
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), [0, 0, 1, 1, 2, 2, 3]);
    });
}

#[test]
fn a_stop_ends_a_loop_that_would_go_round_for_ever() {
    everywhere(|executor| {
        let p = Pipeline::new("endless");
        let rounds = p.counter("rounds");
        let many = Event::new();
        let (tell, told) = (Arc::clone(&many), AtomicU64::new(0));
        let _done = p.source("in", 0..10u32).feedback("loop", |flow, again| {
            flow.on(executor, |s| {
                s.processor_to("for ever", &again, move |n, out: &mut minigun::Output<u32>, again| {
                    rounds.add(1);
                    again.emit(n);
                    again.emit(n);
                    out.emit(n);
                })
            })
            .consumer("see", move |_| {
                if told.fetch_add(1, Ordering::Relaxed) == 100 {
                    tell.set();
                }
            })
        });
        let running = p.start().unwrap();
        many.wait();
        running.stop();
        let report = running.join().unwrap();
        assert_eq!(report.stopped(), Some(StopCause::Handle));
        let (head, work) = (report.stage("loop").unwrap().figures, report.stage("for ever").unwrap().figures);
        // Whatever was sent back went round or is named.
        assert_eq!(head.items_in, work.items_in);
        assert_eq!(head.items_in + head.abandoned, 10 + 2 * work.items_in, "{report}");
        assert_eq!(report.count(&rounds), work.items_in);
    });
}

#[test]
fn an_error_and_a_kill_end_a_loop() {
    everywhere(|executor| {
        for kill in [false, true] {
            let p = Pipeline::new("endless");
            let many = Event::new();
            let (tell, told) = (Arc::clone(&many), AtomicU64::new(0));
            let _done = p.source("in", 0..10u32).feedback("loop", |flow, again| {
                flow.on(executor, |s| {
                    s.processor_to("for ever", &again, move |n, out, again| {
                        again.extend([n, n]);
                        out.emit(n);
                    })
                })
                .consumer("see", move |_| match told.fetch_add(1, Ordering::Relaxed) {
                    100 if kill => {
                        tell.set();
                        Ok(())
                    }
                    100 => Err("enough".into()),
                    _ => Ok(()),
                })
            });
            let running = p.start().unwrap();
            if kill {
                many.wait();
                running.kill().unwrap();
            }
            match running.join() {
                Err(Error::Killed { .. }) if kill => {}
                Err(Error::Stage { stage, cause, .. }) if !kill => {
                    assert_eq!((stage.as_str(), cause.as_str()), ("see", "enough"));
                }
                other => panic!("{:?}", other.map(|_| ())),
            }
        }
    });
}

#[test]
fn a_failed_attempt_sends_nothing_back() {
    everywhere(|executor| {
        let p = Pipeline::new("undone");
        let out = p
            .source("in", [4u32])
            .feedback("loop", |flow, again| {
                flow.on(executor.place().skip(), |s| {
                    s.processor_to("work", &again, |n, out, again| {
                        if n > 0 {
                            again.extend([n - 1, n - 1]);
                        }
                        out.emit(n);
                        if n == 2 { Err("after it sent".into()) } else { Ok(()) }
                    })
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), [3, 3, 4]);
    });
}

#[test]
fn an_item_that_cannot_be_encoded_ends_the_run_and_is_named() {
    within("codec", || {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct NotZero(u32);
        impl serde::Serialize for NotZero {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    0 => Err(serde::ser::Error::custom("there is no nothing")),
                    n => to.serialize_newtype_struct("NotZero", &n),
                }
            }
        }
        let p = Pipeline::new("codec");
        let out = p
            .source("in", [3].map(NotZero))
            .feedback("loop", |flow, again| {
                flow.threads(1, |s| {
                    s.processor_to("work", &again, |NotZero(n), out, again| {
                        again.emit(NotZero(n - 1));
                        out.emit(n);
                    })
                })
            })
            .collect("out");
        drop(out);
        let (stage, item, _, cause, kind) = told(error_of(p));
        assert_eq!((stage.as_str(), item, kind), ("work", 2, FailureKind::Codec), "{cause}");
        assert!(cause.contains("there is no nothing"), "{cause}");
    });
}

#[test]
fn dedup_in_a_loop_visits_everything_once() {
    everywhere(|executor| {
        let p = Pipeline::new("visit");
        let out = p
            .source("in", [1u32])
            .feedback("frontier", |flow, again| {
                flow.processor_init(
                    "new ones",
                    || Ok(std::collections::BTreeSet::new()),
                    |seen, n: u32, out| {
                        if seen.insert(n) {
                            out.emit(n);
                        }
                    },
                )
                .on(executor, |s| {
                    s.processor_to("neighbours", &again, |n, out, again| {
                        again.extend([n * 2 % 101, n * 3 % 101, n + 7, n / 2].map(|n| n % 101));
                        out.emit(n);
                    })
                })
            })
            .collect("out");
        assert_eq!(sorted(p.run().unwrap().take(out)), sorted(0..101));
    });
}

fn mistakes(p: Pipeline) -> Vec<Mistake> {
    match error_of(p) {
        Error::Wiring { mistakes, .. } => mistakes,
        other => panic!("mistakes in the wiring were expected, not: {other}"),
    }
}

#[test]
fn a_circle_past_any_feedback_is_a_mistake() {
    within("circle", || {
        let p = Pipeline::new("circle");
        let (port, flow) = p.inlet::<u32>("port");
        flow.merge(p.source("in", 0..3)).processes(2, |s| s.router("again", &port, |n, port| port.emit(n)));
        let found = mistakes(p);
        assert_eq!(found, [Mistake::Circle { stages: vec!["again".to_string()] }]);
        assert_eq!(
            found[0].to_string(),
            "`again` would never end, for what it sent comes back: make the loop with `feedback`, and send to its port"
        );

        // Through several ports, a dead letter among them, and beside a loop that is in order.
        let p = Pipeline::new("circle");
        let (dead, letters) = p.inlet::<Dead<u32>>("dead");
        let (port, flow) = p.inlet::<u32>("port");
        letters.map("open", |letter| letter.item).send_to(&port);
        let flow = flow.merge(p.source("in", 0..3));
        flow.on(processes(1).dead_letter(&dead), |s| s.threads(2, |s| s.consumer("work", drop)));
        let out = p
            .source("good", 0..3u32)
            .feedback("loop", |flow, again| countdown(flow, &again, Executor::Inline));
        out.discard();
        let found = mistakes(p);
        let [Mistake::Circle { stages }] = found.as_slice() else { panic!("{found:?}") };
        for stage in ["open", "send_to"] {
            assert!(stages.iter().any(|name| name == stage), "{stages:?}");
        }
        assert!(!stages.iter().any(|name| name == "count down"), "{stages:?}");
    });
}

#[test]
fn a_feedback_to_which_nothing_is_sent_is_a_mistake() {
    within("unused", || {
        let p = Pipeline::new("unused");
        p.source("in", 0..3u32).feedback("loop", |flow, _again| flow.discard());
        assert_eq!(mistakes(p), [Mistake::NothingGoesRound { feedback: "loop".to_string() }]);
    });
}

#[test]
fn what_leaves_a_loop_may_be_merged_and_batched_and_does_not_hold_it_open() {
    within("exits", || {
        let p = Pipeline::new("exits");
        let (odd, odds) = p.inlet("odd");
        let even = p.source("in", [10u32]).feedback("loop", |flow, again| {
            flow.on(process_per_batch(2), |s| {
                s.processor_to("work", (&again, &odd), |n, out, (again, odd)| {
                    if n > 0 {
                        again.emit(n - 1);
                    }
                    if n % 2 == 0 { out.emit(n) } else { odd.emit(n) }
                })
            })
        });
        let out = merge([even, odds]).batch(4).collect("out");
        let batches = p.run().unwrap().take(out);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 3], "no batch was cut short");
        assert_eq!(sorted(batches.concat()), sorted(0..=10));
    });
}

/// In a program of its own, whose folder for temporary files is not there.
#[test]
fn a_file_that_cannot_be_made_ends_the_run_with_an_error_that_names_loop_and_folder() {
    const NAME: &str = "a_file_that_cannot_be_made_ends_the_run_with_an_error_that_names_loop_and_folder";
    if std::env::var_os("MINIGUN_TEST_NO_FOLDER").is_none() {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", NAME, "--nocapture"]);
        let ended =
            again.env("TMPDIR", "/nowhere/at/all").env("MINIGUN_TEST_NO_FOLDER", "1").output().unwrap();
        let told = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
        return assert!(ended.status.success() && told.contains("as it must: "), "{told}");
    }
    within("no folder", || {
        let p = Pipeline::new("no folder");
        let done = p.source("in", [String::new()]).feedback("growing", |flow, again| {
            flow.threads(1, |s| {
                s.router("grow", &again, |text: String, again| match text.len() {
                    0 => (0..5).for_each(|n| again.emit(n.to_string())),
                    1 => (0..2_000).for_each(|n| again.emit(format!("{n:>1000}"))),
                    _ => {}
                })
            })
        });
        let _: minigun::Done = done;
        let error = error_of(p);
        assert!(matches!(&error, Error::Loop { stage, .. } if stage == "growing"), "{error}");
        let text = error.to_string();
        assert!(text.contains("`growing`") && text.contains("/nowhere/at/all"), "{text}");
        println!("as it must: {text}");
    });
}
