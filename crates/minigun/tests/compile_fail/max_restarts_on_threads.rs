//! Threads do not die alone.
use minigun::{Pipeline, threads};

fn main() {
    let p = Pipeline::new("restarts");
    p.source("numbers", 0..2u64).on(threads(2).max_restarts(3), |s| s.map("double", |n| n * 2)).discard();
}
