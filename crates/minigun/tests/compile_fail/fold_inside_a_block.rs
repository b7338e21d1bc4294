//! A folded value lives in the program.
use minigun::Pipeline;

fn main() {
    let p = Pipeline::new("fold");
    p.source("numbers", 0..10u64).threads(2, |s| s.fold("sum", 0, |sum, n| sum + n)).discard();
}
