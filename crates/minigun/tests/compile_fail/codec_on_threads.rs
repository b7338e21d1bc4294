//! Items that stay in the program are not encoded.
use minigun::{Format, Pipeline, threads};

fn main() {
    let p = Pipeline::new("codec");
    p.source("numbers", 0..2u64)
        .on(threads(2).codec(Format::Compact), |s| s.map("double", |n| n * 2))
        .discard();
}
