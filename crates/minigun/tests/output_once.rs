//! What was printed but not written yet is written once, however many processes were forked meanwhile.
//!
//! The test runs this file's own program again and reads what it prints.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::within;
use minigun::Pipeline;

const AS_PROGRAM: &str = "MINIGUN_TEST_PRINTS";

/// The program that is run again: it prints lines and parts of lines, in the program and in workers.
#[test]
fn program_that_prints() {
    if std::env::var_os(AS_PROGRAM).is_none() {
        return;
    }
    // Directly, for `print!` is captured by the test harness. Half a line stays in the buffer.
    write!(std::io::stdout(), "<from the program>").unwrap();
    let p = Pipeline::new("prints");
    p.source("in", 0..6)
        .processes(3, |s| {
            s.map("print", |n| {
                write!(std::io::stdout(), "<item {n} in a pool>").unwrap();
                n
            })
        })
        .process_per_batch(2, |s| {
            s.map("print again", |n: i32| {
                write!(std::io::stdout(), "<item {n} in its own>").unwrap();
                n
            })
        })
        .discard();
    p.run().unwrap();
    writeln!(std::io::stdout(), "<at the end>").unwrap();
}

#[test]
fn buffered_output_is_printed_once() {
    within("prints", || {
        let program = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "program_that_prints", "--nocapture"])
            .env(AS_PROGRAM, "yes")
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let text = String::from_utf8(program.stdout).unwrap();
        assert!(program.status.success(), "{text}");
        let places = ["in a pool", "in its own"];
        let items = (0..6).flat_map(|n| places.map(|place| format!("<item {n} {place}>")));
        for printed in items.chain(["<from the program>".to_string(), "<at the end>".to_string()]) {
            assert_eq!(text.matches(&printed).count(), 1, "{printed} in\n{text}");
        }
    });
}
