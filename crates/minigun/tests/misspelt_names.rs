//! A misspelt name is an error that lists the names there are; nothing falls back to a default.

use std::fmt::Display;
use std::str::FromStr;

use minigun::{Executor, Format};

/// Each of these texts is refused, with an error that repeats it and lists what is known.
fn refused<T: FromStr<Err: Display>>(texts: &[&str], known: &[&str]) {
    for text in texts {
        let error = match text.parse::<T>() {
            Ok(_) => panic!("`{text}` was taken for something"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(&format!("`{text}`")), "`{text}`: {error}");
        assert!(known.iter().all(|name| error.contains(name)), "`{text}`: {error}");
    }
}

#[test]
fn of_an_executor() {
    let known = ["inline", "threads", "processes", "process_per_batch"];
    let misspelt = [
        "",
        ":",
        ":4",
        "proces:4",
        "proceses:0",
        "process:4",
        "Processes:4",
        "PROCESSES",
        "thread:2",
        "threads=2",
        "threads 2",
        "process-per-batch:2",
        "process_per_item:2",
        "fork",
        "pool",
        "default",
        "auto",
        "inline, threads:2",
    ];
    refused::<Executor>(&misspelt, &known);
    for text in
        ["threads:", "threads:0", "threads:-1", "threads:two", "threads:1.5", "processes:4:2", "inline:1"]
    {
        let error = text.parse::<Executor>().unwrap_err().to_string();
        assert!(error.contains(&format!("`{text}`")) && error.contains("number of workers"), "{error}");
    }
}

/// As it stands in a configuration file.
#[test]
fn of_an_executor_in_a_configuration() {
    assert_eq!(serde_json::from_str::<Executor>(r#"{"Processes": 4}"#).unwrap(), Executor::Processes(4));
    for text in [r#"{"Proceses": 4}"#, r#""inlin""#, r#"{"threads": 2}"#, r#"{"Tasks": 2}"#] {
        let error = serde_json::from_str::<Executor>(text).unwrap_err().to_string();
        for known in ["Inline", "Threads", "Processes", "ProcessPerBatch"] {
            assert!(error.contains(known), "{text}: {error}");
        }
    }
}

#[test]
fn of_a_codec() {
    let names = Format::ALL.map(Format::name);
    assert!(Format::ALL.iter().all(|format| format.name().parse::<Format>().unwrap() == *format));
    refused::<Format>(&["", "Tagged", "taged", "compact ", "postcard", "json", "default"], &names);
}
