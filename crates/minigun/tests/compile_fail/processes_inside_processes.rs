//! A worker process does not fork workers of its own.
use minigun::Pipeline;

fn main() {
    let p = Pipeline::new("nested");
    p.source("numbers", 0..10u64)
        .processes(2, |s| s.processes(2, |s| s.map("double", |n| n * 2)))
        .discard();
}
