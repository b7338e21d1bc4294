//! On threads an item is kept as a clone for its next attempt.
use minigun::{Backoff, Pipeline, threads};

struct Page {
    _text: String,
}

fn main() {
    let p = Pipeline::new("retry");
    p.source("pages", Vec::<Page>::new())
        .on(threads(4).retry(3, Backoff::default()), |s| s.map("length", |_| 0))
        .discard();
}
