//! What is chosen at run time: defaults give way to the configuration, that to the environment, and all of it to what
//! the code says itself.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::process::Command;

use common::{error_of, sorted, within};
use minigun::{Backoff, Config, Error, Executor, Mistake, Pipeline, Report, processes};

fn config(text: &str) -> Config {
    serde_json::from_str(text).unwrap()
}

/// The places of two blocks, one of them open, under this configuration.
fn places(config: Config) -> Result<[String; 2], Error> {
    let p = Pipeline::configured("places", config);
    let out = p
        .source("in", 0..50u32)
        .on(p.executor("open", Executor::Threads(2)), |s| s.map("open", |n| n))
        .processes(2, |s| s.map("fixed", |n| n))
        .collect("out");
    let mut report = p.run()?;
    assert_eq!(sorted(report.take(out)), sorted(0..50), "the results are the same");
    Ok(["open", "fixed"].map(|stage| place(&report, stage)))
}

fn place(report: &Report, stage: &str) -> String {
    report.stage(stage).unwrap().place.clone()
}

#[test]
fn an_open_place_is_where_the_configuration_says_and_a_fixed_one_stays() {
    within("places", || {
        assert_eq!(places(Config::default()).unwrap(), ["threads:2", "processes:2"]);
        for place in ["inline", "threads:3", "processes:1", "process_per_batch:2"] {
            let config = config(&format!(r#"{{"executors": {{"open": "{place}"}}}}"#));
            assert_eq!(places(config).unwrap(), [place, "processes:2"]);
        }
    });
}

#[test]
fn limits_hold_open_and_fixed_places_down_with_one_warning_each() {
    within("limits", || {
        let limited = config(r#"{"max_processes": 1, "max_threads": 1}"#);
        assert_eq!(places(limited.clone()).unwrap(), ["threads:1", "processes:1"]);
        // What the code says of the pipeline is stronger.
        let p = Pipeline::configured("limits", limited);
        p.max_threads(3);
        p.source("in", 0..3).threads(4, |s| s.map("same", |n| n)).discard();
        let report = p.run().unwrap();
        assert_eq!((place(&report, "same").as_str(), report.warnings().len()), ("threads:3", 1));
    });
}

#[test]
fn attempts_are_the_configurations_unless_the_head_says_something() {
    within("attempts", || {
        let attempts = |p: &Pipeline, head| {
            p.source("in", 0..1)
                .on(head, |s| s.try_map("fails", |_| Err::<(), _>("always".into())))
                .discard();
        };
        let three = config(r#"{"attempts": 3}"#);
        let p = Pipeline::configured("three", three.clone());
        attempts(&p, processes(1).retry(2, Backoff::none()));
        assert_eq!(common::told(error_of(p)).2, 2);
        let p = Pipeline::configured("three", three);
        p.source("in", 0..1).processes(1, |s| s.consumer("fails", |_| Err("always".into())));
        assert_eq!(common::told(error_of(p)).2, 3);
    });
}

/// As the figures of a run tell, which know how long each queue may be.
#[test]
fn a_queues_length_is_the_configurations_unless_the_head_says_something() {
    within("queues", || {
        let lengths = |config: Config| {
            let p = Pipeline::configured("queues", config);
            p.source("in", 0..9u32)
                .processor("alone", |n, out| out.emit(n))
                .on(Executor::Threads(2), |s| s.map("open", |n| n))
                .on(Executor::Threads(2).place().queue(7), |s| s.map("said", |n| n))
                .on(processes(1), |s| s.map("process", |n| n))
                .batch(2)
                .feedback("loop", |flow, again| flow.processor_to("again", &again, |n, out, _| out.emit(n)))
                .discard();
            let report = p.run().unwrap();
            let length = |stage| report.stage(stage).unwrap().figures.queue.map(|queue| queue.limit);
            ["alone", "open", "said", "process", "batch", "loop", "again"].map(|stage| length(stage).unwrap())
        };
        assert_eq!(lengths(config(r#"{"queue": 3}"#)), [3, 3, 7, 3, 3, 3, 3]);
        let defaults = lengths(Config::default());
        assert_eq!(defaults[2], 7);
        assert!(defaults.iter().all(|length| *length == 7 || *length >= 1024), "{defaults:?}");
    });
}

#[test]
fn a_place_for_a_block_that_the_program_does_not_have_is_a_mistake() {
    within("unknown", || {
        let Err(Error::Wiring { mistakes, .. }) = places(config(r#"{"executors": {"opne": "inline"}}"#))
        else {
            panic!("a mistake in the wiring was expected")
        };
        let known = vec!["open".to_string()];
        assert_eq!(mistakes, [Mistake::UnknownPlace { name: "opne".to_string(), known }]);
        assert_eq!(
            mistakes[0].to_string(),
            "a place is configured for `opne`, for which the program does not ask: known are `open`"
        );
        let none = Mistake::UnknownPlace { name: "parse".to_string(), known: vec![] };
        assert_eq!(
            none.to_string(),
            "a place is configured for `parse`, for which the program does not ask: it asks for none; call \
             `Pipeline::executor` where a block's place is open"
        );
    });
}

/// Runs this test once more in a program of its own, in this environment; says what it printed.
fn in_environment(test: &str, variables: &[(&str, &str)]) -> String {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", test, "--nocapture"]).env("MINIGUN_TEST_ROLE", "program");
    let output = program.envs(variables.iter().copied()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_environment_is_stronger_than_the_configuration_and_weaker_than_the_code() {
    if std::env::var_os("MINIGUN_TEST_ROLE").is_some() {
        match places(config(r#"{"executors": {"open": "threads:3"}, "max_processes": 5}"#)) {
            Ok(places) => println!("ran in {places:?}"),
            Err(error) => println!("{error}"),
        }
        return;
    }
    within("environment", || {
        let test = "the_environment_is_stronger_than_the_configuration_and_weaker_than_the_code";
        let ran = |variables: &[(&str, &str)]| in_environment(test, variables);
        assert!(ran(&[]).contains(r#"ran in ["threads:3", "processes:2"]"#));
        let inline = ("MINIGUN_EXECUTORS", "open=inline");
        assert!(ran(&[inline]).contains(r#"ran in ["inline", "processes:2"]"#));
        let one = ("MINIGUN_MAX_PROCESSES", "1");
        assert!(ran(&[inline, one]).contains(r#"ran in ["inline", "processes:1"]"#));
        // All that is wrong at once, and nothing has run.
        let wrong = ran(&[
            ("MINIGUN_MAX_PROCESES", "1"),
            ("MINIGUN_QUEUE", "many"),
            ("MINIGUN_EXECUTORS", "x=inline"),
        ]);
        for part in
            ["`MINIGUN_MAX_PROCESES`: it is not known", "`MINIGUN_QUEUE`: `many`", "configured for `x`"]
        {
            assert!(wrong.contains(part), "{part}: {wrong}");
        }
        assert!(!wrong.contains("ran in"), "{wrong}");
    });
}
