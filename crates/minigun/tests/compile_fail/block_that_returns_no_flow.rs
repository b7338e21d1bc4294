//! A block returns its last segment, or `Done`.
use minigun::Pipeline;

fn main() {
    let p = Pipeline::new("block");
    p.source("numbers", 0..2u64).threads(2, |s| {
        let _ = s.map("double", |n| n * 2);
    });
}
