//! A half-full batch would die with its worker: batches are made in the program.
use minigun::Pipeline;

fn main() {
    let p = Pipeline::new("batch");
    p.source("numbers", 0..10u64).processes(2, |s| s.batch(5).map("sum", |b| b.len())).discard();
}
