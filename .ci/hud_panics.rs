//! A program with a live view that panics: the terminal must be as it was, and the message on it.
//!
//! It waits for words in the file that it is given, a pipe: `item` is a panic of one item, which the run survives,
//! `close` and `open` are for the view, `main` is a panic of the program.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use minigun::{Pipeline, threads};

fn main() {
    let p = Pipeline::new("panics");
    let bad = Arc::new(AtomicBool::new(false));
    let next = Arc::clone(&bad);
    p.producer("numbers", |out| {
        for n in 0u64.. {
            if out.is_stopping() {
                break;
            }
            out.emit(n);
        }
        Ok(())
    })
    .on(threads(1).skip(), move |s| {
        s.inspect("work", move |_| {
            sleep(Duration::from_millis(2));
            assert!(!next.swap(false, Ordering::Relaxed), "one item is bad");
        })
    })
    .discard();
    let running = p.start().expect("it starts");
    let open = || running.handle().hud().expect("there is a terminal");
    let mut view = Some(open());
    let words = std::env::args().nth(1).expect("a pipe to read words from");
    for word in BufReader::new(File::open(words).expect("the pipe")).lines() {
        match word.expect("a word").as_str() {
            "item" => bad.store(true, Ordering::Relaxed),
            "close" => drop(view.take()),
            "open" => view = Some(open()),
            _ => panic!("the program has a defect"),
        }
    }
}
