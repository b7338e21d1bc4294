//! What a worker process writes, the program never sees: emit, count or collect it.
use minigun::Pipeline;

fn main() {
    let mut all = Vec::new();
    let p = Pipeline::new("borrow");
    p.source("numbers", 0..2u64).processes(2, |s| s.consumer("gather", |n| all.push(n)));
    let _ = p.run();
    println!("{all:?}");
}
