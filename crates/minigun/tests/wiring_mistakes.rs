//! Mistakes in the wiring: all of them at once, before anything starts, each with its remedy.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Marks, error_of, within};
use minigun::{Batches, Error, Executor, Flow, Mistake, Pipeline, merge, processes, scope, threads};

fn mistakes(p: Pipeline) -> Vec<Mistake> {
    match error_of(p) {
        Error::Wiring { mistakes, .. } => mistakes,
        other => panic!("mistakes in the wiring were expected, not: {other}"),
    }
}

fn only_mistake(p: Pipeline) -> (Mistake, String) {
    let mut mistakes = mistakes(p);
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    let mistake = mistakes.remove(0);
    let text = mistake.to_string();
    (mistake, text)
}

#[test]
fn a_flow_that_nobody_consumes() {
    within("unconsumed", || {
        let p = Pipeline::new("unconsumed");
        let _flow = p.source("in", 0..3).map("last", |n| n);
        let (mistake, text) = only_mistake(p);
        assert_eq!(mistake, Mistake::Unconsumed { stages: vec!["last".to_string()] });
        assert_eq!(
            text,
            "nothing consumes what comes out of `last`: end the flow with `consumer`, `collect`, `fold`, \
             `router` or `discard`"
        );
        let p = Pipeline::new("merged");
        let _flow = merge([p.source("one", 0..3), p.source("two", 0..3)]);
        assert!(only_mistake(p).1.contains("`one` and `two`"));
        let p = Pipeline::new("port");
        let (port, _flow) = p.inlet("way in");
        p.source("in", 0..3).send_to(&port);
        assert_eq!(only_mistake(p).0, Mistake::Unconsumed { stages: vec!["way in".to_string()] });
        let p = Pipeline::new("block");
        let _flow = p.source("in", 0..3).threads(2, |s| s.map("inside", |n| n));
        assert_eq!(only_mistake(p).0, Mistake::Unconsumed { stages: vec!["inside".to_string()] });
    });
}

#[test]
fn a_port_to_which_nobody_sends() {
    within("port", || {
        let p = Pipeline::new("port");
        let (_port, flow) = p.inlet::<i32>("way in");
        flow.discard();
        let (mistake, text) = only_mistake(p);
        assert_eq!(mistake, Mistake::UnusedPort { port: "way in".to_string() });
        assert_eq!(
            text,
            "no router or policy sends to the port `way in`: name it in a `router`, `processor_to` or \
             `send_to`, or remove the inlet"
        );
    });
}

#[test]
fn two_stages_of_one_name() {
    within("names", || {
        let p = Pipeline::new("names");
        p.source("same", 0..3).map("same", |n| n).map("same", |n| n).discard();
        let (mistake, text) = only_mistake(p);
        assert_eq!(mistake, Mistake::DuplicateName { name: "same".to_string() });
        assert_eq!(text, "two stages are called `same`: give each its own name");
    });
}

#[test]
fn a_block_without_workers() {
    within("workers", || {
        for text in ["threads:0", "processes:0", "process_per_batch:0"] {
            let p = Pipeline::new("workers");
            let flow = p.source("in", 0..3);
            let step = |s: minigun::Segment<i32>| s.map("first", |n| n).map("second", |n| n);
            match text {
                "threads:0" => flow.threads(0, |s| s.map("first", |n| n).map("second", |n| n)).discard(),
                "processes:0" => flow.on(processes(0), step).discard(),
                _ => flow.on(minigun::Executor::ProcessPerBatch(0), step).discard(),
            };
            let (mistake, told) = only_mistake(p);
            assert_eq!(mistake, Mistake::NoWorkers { block: "first + second".to_string() }, "{text}");
            assert_eq!(told, "the block of `first + second` has 0 workers: give it at least 1");
        }
    });
}

#[test]
fn flows_and_ports_of_another_pipeline() {
    within("another", || {
        let (p, q) = (Pipeline::new("ours"), Pipeline::new("theirs"));
        p.source("in", 0..3).merge(q.source("stranger", 0..3)).discard();
        let (mistake, text) = only_mistake(p);
        assert_eq!(mistake, Mistake::OtherPipeline { stage: "stranger".to_string() });
        assert_eq!(
            text,
            "`stranger` is joined to a flow or port of another pipeline: make both from one `Pipeline`"
        );
        let p = Pipeline::new("ours");
        let (port, _flow) = q.inlet("their port");
        p.source("in", 0..3).threads(2, |s| s.router("route", &port, |n, port| port.emit(n)));
        assert_eq!(only_mistake(p).0, Mistake::OtherPipeline { stage: "route".to_string() });
    });
}

#[test]
fn batches_of_nothing() {
    within("batches", || {
        let p = Pipeline::new("batches");
        p.source("in", 0..3).batch(0).rebatch(0).discard();
        let found = mistakes(p);
        let expected = ["batch", "rebatch"].map(|stage| Mistake::EmptyBatch { stage: stage.to_string() });
        assert_eq!(found, expected);
        assert_eq!(found[0].to_string(), "`batch` makes batches of 0 items: give it at least 1");
    });
}

#[test]
fn a_block_that_returns_a_flow_made_elsewhere() {
    within("elsewhere", || {
        let p = Pipeline::new("elsewhere");
        let done = p.source("first", 0..3).discard();
        let mut kept: Option<Flow<i32, scope::Thread>> = None;
        p.source("second", 0..3).threads(1, |s| {
            kept = Some(s.map("kept", |n| n));
            done
        });
        p.source("third", 0..3)
            .threads(1, |s| {
                s.consumer("own", drop);
                kept.take().unwrap()
            })
            .discard();
        let found = mistakes(p);
        let expected = Mistake::NotOfThisBlock { block: "own".to_string() };
        assert!(found.contains(&expected), "{found:?}");
        assert_eq!(
            expected.to_string(),
            "the closure of the block of `own` returns a flow that was made elsewhere: return the last flow \
             made from its argument"
        );
    });
}

#[test]
fn a_skip_that_does_not_stand_behind_a_source() {
    within("skip", || {
        let p = Pipeline::new("skip");
        p.source("in", 0..3).map("first", |n| n).skip_on_failure().discard();
        let (mistake, text) = only_mistake(p);
        assert_eq!(mistake, Mistake::NoSource { behind: vec!["first".to_string()] });
        assert_eq!(
            text,
            "`skip_on_failure` stands behind `first`, not right behind a source: write it after `producer`, `source` or \
             `lines`; for a block put `skip` on its head"
        );
    });
}

#[test]
fn a_stage_hook_without_a_stage() {
    within("hooks", || {
        for hook in ["before", "after"] {
            let p = Pipeline::new("hooks");
            let (port, flow) = p.inlet("port");
            p.source("in", 0..3).send_to(&port);
            if hook == "before" {
                flow.before(|| ()).discard()
            } else {
                flow.after(|| ()).discard()
            };
            let (mistake, text) = only_mistake(p);
            assert_eq!(mistake, Mistake::NoStage { hook, behind: vec!["port".to_string()] });
            let told = format!(
                "`{hook}` stands behind `port` and not right behind a step: write it after the step it is for"
            );
            assert_eq!(text, told);
        }
    });
}

#[test]
fn all_mistakes_are_told_at_once_and_nothing_starts() {
    within("all", || {
        let (p, q) = (Pipeline::new("all wrong"), Pipeline::new("another"));
        let marks = Marks::new();
        let (producer, hook, forked) = (Arc::clone(&marks), Arc::clone(&marks), Arc::clone(&marks));
        p.before_run(move || hook.add("before_run")).before_fork(move || forked.add("before_fork"));
        let _lonely = p.producer("lonely", move |out| {
            producer.add("produced");
            out.emit(1);
        });
        let (_port, flow) = p.inlet::<i32>("unused");
        flow.before(|| ()).batch(0).discard();
        p.source("twin", 0..3).map("twin", |n| n).discard();
        p.source("none", 0..3).on(threads(0), |s| s.map("no workers", |n| n)).discard();
        p.source("ours", 0..3).merge(q.source("stranger", 0..3)).discard();
        p.source("forks", 0..3).processes(1, |s| s.map("in a process", |n| n)).discard();
        let error = error_of(p);
        let text = error.to_string();
        let Error::Wiring { pipeline, mistakes } = error else { panic!("{text}") };
        assert_eq!(pipeline, "all wrong");
        assert_eq!(mistakes.len(), 7, "{text}");
        assert_eq!(text.lines().count(), 8, "one line each, and one that names the pipeline: {text}");
        for word in ["`lonely`", "`unused`", "`before`", "`batch`", "`twin`", "`no workers`", "`stranger`"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(marks.lines(), [""; 0], "nothing was started");
    });
}

#[test]
fn limits_on_an_executor_without_processes() {
    within("limits", || {
        for place in ["inline", "threads:2"] {
            let p = Pipeline::new("limits");
            let place = place.parse::<Executor>().unwrap().place();
            let place = place.memory_limit(1 << 30).cpu_limit(Duration::from_secs(1)).nice(1);
            p.source("in", 0..3).on(place, |s| s.map("limited", |n| n)).discard();
            let needs = |setting| Mistake::NeedsProcess { block: "limited".to_string(), setting };
            let found = mistakes(p);
            assert_eq!(found, ["memory_limit", "cpu_limit", "nice"].map(needs));
            assert_eq!(
                found[0].to_string(),
                "`memory_limit` on the block of `limited` needs worker processes: place it in `processes:n` or \
                 `process_per_batch:n`, or remove the setting"
            );
        }
    });
}

#[test]
fn a_deadline_on_an_executor_that_cannot_enforce_it() {
    within("deadline", || {
        let p = Pipeline::new("deadline");
        let place = "threads:2".parse::<Executor>().unwrap().place().timeout(Duration::from_secs(1));
        p.source("in", 0..3).on(place, |s| s.map("first", |n| n).map("last", |n| n)).discard();
        let (mistake, text) = only_mistake(p);
        assert_eq!(mistake, Mistake::NeedsProcess { block: "first + last".to_string(), setting: "timeout" });
        assert_eq!(
            text,
            "`timeout` on the block of `first + last` needs worker processes: place it in `processes:n` or \
             `process_per_batch:n`, or remove the setting"
        );
    });
}

#[test]
fn rates_at_which_nothing_could_pass() {
    within("rates", || {
        for (per_second, burst) in [(0.0, 1), (-1.0, 1), (f64::NAN, 1), (f64::INFINITY, 1), (5.0, 0)] {
            let p = Pipeline::new("rates");
            p.source("in", 0..3)
                .rate(per_second, burst)
                .on(threads(2).rate(per_second, burst), |s| s.map("calls", |n| n))
                .discard();
            let found = mistakes(p);
            assert_eq!(found, ["rate", "calls"].map(|stage| Mistake::Rate { stage: stage.to_string() }));
            assert_eq!(
                found[0].to_string(),
                "`rate` has a rate at which nothing could pass: give it more than 0 items a second, and a burst of \
                 at least 1"
            );
        }
    });
}

#[test]
fn error_rates_that_are_none() {
    within("errors", || {
        for error in [0.0, 1.0, -0.5, f64::NAN] {
            let p = Pipeline::new("errors");
            p.source("in", 0..3).dedup_by(|n| *n).dedup_by_approx(100, error, |n| *n).discard();
            let (mistake, text) = only_mistake(p);
            let stage = "dedup_by 2".to_string();
            assert_eq!(mistake, Mistake::ErrorRate { stage, error: error.to_string() });
            assert_eq!(
                text,
                format!(
                    "`dedup_by 2` (`dedup_by_approx`) has an error rate of {error}: give it one above 0 and below 1, or use `dedup_by`"
                )
            );
        }
    });
}

#[test]
fn batches_of_nothing_by_any_other_measure() {
    within("batches", || {
        let p = Pipeline::new("batches");
        let batches = Batches::of(0).within(Duration::from_secs(1)).by_key(2, |n: &i32| n % 2);
        p.source("in", 0..3).batch_by(batches).discard();
        assert_eq!(only_mistake(p).0, Mistake::EmptyBatch { stage: "batch".to_string() });
    });
}

#[test]
fn splits_into_no_branches() {
    within("no branches", || {
        let p = Pipeline::new("none");
        let source = |name: &str| p.source(name, 0..3u32);
        let mut branches = source("a").round_robin_n(0);
        branches.extend(source("b").least_loaded_n(0));
        branches.extend(source("c").split_by_key_n(0, |n| *n));
        branches.extend(source("d").partition_by_n("which", 0, |_| 0));
        branches.extend(source("e").broadcast_n(0));
        source("f").threads(1, |s| {
            assert!(s.clone().round_robin_n(0).is_empty());
            s.discard()
        });
        assert!(branches.is_empty());
        let told: Vec<_> = mistakes(p).iter().map(Mistake::to_string).collect();
        let expected = ["round_robin", "least_loaded", "split_by_key", "which", "e", "round_robin 2"]
            .map(|stage| format!("`{stage}` splits its flow into 0 branches: give it at least 1"));
        assert_eq!(told, expected);
    });
}

#[test]
fn by_key_where_it_cannot_be_kept() {
    within("by key", || {
        let p = Pipeline::new("by key");
        let fresh = "process_per_batch:2".parse::<Executor>().unwrap().place();
        p.source("in", 0..3u32).on(fresh.by_key(|n: &u32| *n), |s| s.map("fresh", |n| n)).discard();
        p.source("also", 0..3u32).on(threads(2).ordered().by_key(|n: &u32| *n), |s| s.consumer("both", drop));
        let told: Vec<_> = mistakes(p).iter().map(Mistake::to_string).collect();
        let expected = [
            "`by_key` on the block of `fresh`: each of its workers serves one item only, whatever its key; place it in \
             `threads:n` or `processes:n`, or remove `by_key`",
            "`by_key` and `ordered` on the block of `both`: each of its workers has a queue of its own, between which \
             there is no order; remove one of them (by key alone, each worker takes its items in order)",
        ];
        assert_eq!(told, expected);
    });
}

#[test]
fn loops_without_feedback_and_feedback_without_a_loop() {
    within("loops", || {
        let p = Pipeline::new("loops");
        let (port, flow) = p.inlet::<u32>("port");
        flow.merge(p.source("in", 0..3))
            .map("step", |n| n)
            .processes(2, |s| s.router("again", &port, |n, port| port.emit(n)));
        p.source("others", 0..3u32).feedback("never", |flow, _| flow.discard());
        let told: Vec<_> = mistakes(p).iter().map(Mistake::to_string).collect();
        let expected = [
            "nothing is sent back into the loop `never`: send to its port in a `router`, `processor_to` or `send_to`, or \
             remove the `feedback`",
            "`step` and `again` would never end, for what they sent comes back: make the loop with `feedback`, and send \
             to its port",
        ];
        assert_eq!(told, expected);
    });
}
