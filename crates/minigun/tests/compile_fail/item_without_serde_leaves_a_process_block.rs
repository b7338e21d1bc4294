//! So must what leaves it be.
use minigun::Pipeline;

struct Page {
    _text: String,
}

fn main() {
    let p = Pipeline::new("serde");
    p.source("numbers", 0..10u64)
        .processes(2, |s| s.map("fetch", |n| Page { _text: n.to_string() }))
        .discard();
}
