//! Progress where there is no terminal: lines on standard error, nothing if nothing is wanted, nothing in what the
//! program itself prints. Each case is a program of its own: this one, called again.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::env;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use common::{error_of, within};
use minigun::{Error, Executor, Pipeline, Progress};

/// Says which program it is to be.
const CASE: &str = "MINIGUN_TEST_PROGRESS";

/// This program again, as the named one: what it printed.
fn program(case: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "the_program_of_each_case", "--nocapture"]).env(CASE, case);
    command.env_remove("MINIGUN_PROGRESS").envs(environment.iter().copied());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// The lines of standard error that are progress.
fn told(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.lines().filter(|line| line.starts_with("job")).map(str::to_string).collect()
}

#[test]
fn the_program_of_each_case() {
    let Ok(case) = env::var(CASE) else { return };
    within("the program", move || {
        let (how, place) = case.split_once(' ').unwrap();
        let p = Pipeline::new("job");
        match how {
            "asked" => drop(p.progress()),
            "off" => drop(p.progress_as(Progress::Off)),
            "bars" => drop(p.progress_as(Progress::Bars)),
            _ => {}
        }
        p.source("in", 0..2_000u32)
            .on(place.parse::<Executor>().unwrap(), |s| {
                s.inspect("work", |n| {
                    if n % 500 == 0 {
                        writeln!(std::io::stderr(), "worked at {n}, a line of its own").unwrap();
                    }
                })
            })
            .consumer("out", |n| {
                if n % 500 == 0 {
                    minigun::aside(|| writeln!(std::io::stdout(), "printed {n}")).unwrap();
                }
                Ok(())
            });
        p.run().unwrap();
        // The harness prints around this; these two lines are the program's.
        writeln!(std::io::stdout(), "and this").unwrap();
    });
}

#[test]
fn without_a_terminal_progress_is_lines_and_the_last_says_what_was_done() {
    for place in ["threads:2", "processes:2", "process_per_batch:2"] {
        let output = program(&format!("asked {place}"), &[]);
        let told = told(&output);
        let last = told.last().unwrap();
        assert!(last.starts_with("job: over after "), "{last}");
        assert!(last.ends_with(": in 2,000; work 2,000; out 2,000"), "under {place}: {last}");
    }
}

#[test]
fn what_program_and_workers_print_is_whole() {
    for place in ["threads:2", "processes:2"] {
        let output = program(&format!("asked {place}"), &[]);
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        for n in [0, 500, 1000, 1500] {
            let (printed, worked) = (format!("printed {n}"), format!("worked at {n}, a line of its own"));
            assert_eq!(out.lines().filter(|line| *line == printed).count(), 1, "{out}");
            assert_eq!(err.lines().filter(|line| *line == worked).count(), 1, "{err}");
        }
        assert!(out.lines().any(|line| line == "and this"), "{out}");
        assert!(!out.contains("job:"), "{out}");
    }
}

#[test]
fn nothing_is_shown_where_nothing_is_wanted() {
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("silent threads:2", &[]),
        ("off threads:2", &[]),
        ("bars threads:2", &[]),
        ("asked processes:2", &[("MINIGUN_PROGRESS", "off")]),
    ];
    for (case, environment) in cases {
        assert_eq!(told(&program(case, environment)), [""; 0], "{case}");
    }
}

#[test]
fn the_environment_can_ask_for_lines_but_not_of_a_pipeline_that_shows_nothing_at_all() {
    let lines = [("MINIGUN_PROGRESS", "lines")];
    assert_eq!(told(&program("off threads:1", &lines)).len(), 1);
    assert_eq!(told(&program("silent threads:1", &lines)).len(), 0);
}

#[test]
fn a_misspelt_wish_is_an_error_that_lists_what_there_is() {
    if env::var("MINIGUN_PROGRESS").as_deref() == Ok("bares") {
        let p = Pipeline::new("misspelt");
        p.progress();
        p.source("in", 0..3).discard();
        let error = error_of(p);
        assert!(matches!(error, Error::Environment { variable: "MINIGUN_PROGRESS", .. }), "{error}");
        assert!(error.to_string().contains("`bares`") && error.to_string().contains("lines"), "{error}");
        return;
    }
    let mut again = Command::new(env::current_exe().unwrap());
    let name = "a_misspelt_wish_is_an_error_that_lists_what_there_is";
    let status = again.args(["--exact", name]).env("MINIGUN_PROGRESS", "bares").output().unwrap().status;
    assert!(status.success());
    assert!("bares".parse::<Progress>().is_err());
}
