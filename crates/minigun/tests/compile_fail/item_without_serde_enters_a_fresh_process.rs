//! A batch is serialisable if its items are.
use minigun::{Pipeline, process_per_batch};

struct Page {
    _text: String,
}

fn main() {
    let p = Pipeline::new("serde");
    p.source("pages", Vec::<Page>::new())
        .batch(100)
        .on(process_per_batch(2).skip(), |s| s.map("length", |batch| batch.len()))
        .discard();
}
