//! Each worker would know its own keys only: what was seen before is remembered in the program.
use minigun::Pipeline;

fn main() {
    let p = Pipeline::new("dedup");
    p.source("numbers", 0..10u64).processes(2, |s| s.dedup_by(|n| *n)).discard();
}
