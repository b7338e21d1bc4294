//! The program's own memory is not limited for the sake of a step.
use minigun::{Pipeline, inline};

fn main() {
    let p = Pipeline::new("memory");
    p.source("numbers", 0..2u64).on(inline().memory_limit(1 << 30), |s| s.map("double", |n| n * 2)).discard();
}
