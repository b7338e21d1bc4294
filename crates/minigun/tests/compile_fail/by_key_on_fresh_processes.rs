//! A worker that serves one item has no next one of its key.
use minigun::{Pipeline, process_per_batch};

fn main() {
    let p = Pipeline::new("fresh");
    p.source("numbers", 0..10u32).on(process_per_batch(2).by_key(|n: &u32| n % 3), |s| s.map("double", |n| n * 2)).discard();
}
