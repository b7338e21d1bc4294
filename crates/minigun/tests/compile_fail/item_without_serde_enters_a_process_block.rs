//! An item that enters a worker process must be serialisable.
use minigun::Pipeline;

struct Page {
    _text: String,
}

fn main() {
    let p = Pipeline::new("serde");
    p.source("pages", Vec::<Page>::new()).processes(2, |s| s.map("length", |_| 0)).discard();
}
