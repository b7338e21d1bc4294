//! Which worker a key goes to is said on the outer block.
use minigun::{Pipeline, threads};

fn main() {
    let p = Pipeline::new("keys");
    p.source("numbers", 0..10u64)
        .processes(2, |s| s.on(threads(2).by_key(|n: &u64| *n), |s| s.map("same", |n| n)))
        .discard();
}
