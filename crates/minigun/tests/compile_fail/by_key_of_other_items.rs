//! The key is that of the items which reach the block.
use minigun::{Pipeline, threads};

fn main() {
    let p = Pipeline::new("keys");
    p.source("numbers", 0..10u32).on(threads(2).by_key(|text: &String| text.len()), |s| s.map("double", |n| n * 2)).discard();
}
