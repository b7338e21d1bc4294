//! A stage takes what the one before it makes.
use minigun::Pipeline;

fn length(text: String) -> usize {
    text.len()
}

fn main() {
    let p = Pipeline::new("types");
    p.source("numbers", 0..10u64).map("length", length).discard();
}
