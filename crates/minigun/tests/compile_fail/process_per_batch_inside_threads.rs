//! Process blocks stand in the pipeline itself.
use minigun::{Pipeline, process_per_batch};

fn main() {
    let p = Pipeline::new("nested");
    p.source("numbers", 0..10u64)
        .threads(2, |s| s.on(process_per_batch(2).skip(), |s| s.map("double", |n| n * 2)))
        .discard();
}
