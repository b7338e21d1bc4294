//! A thread cannot be interrupted: a deadline needs a process.
use std::time::Duration;

use minigun::{Pipeline, threads};

fn main() {
    let p = Pipeline::new("timeout");
    p.source("numbers", 0..2u64)
        .on(threads(2).timeout(Duration::from_secs(1)), |s| s.map("double", |n| n * 2))
        .discard();
}
