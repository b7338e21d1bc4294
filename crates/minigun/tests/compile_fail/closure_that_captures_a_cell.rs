//! Shared state without a lock: `counter` is the way.
use std::cell::Cell;

use minigun::Pipeline;

fn main() {
    let seen = Cell::new(0);
    let p = Pipeline::new("cell");
    p.source("numbers", 0..2u64).processes(2, |s| s.inspect("count", move |_| seen.set(seen.get() + 1))).discard();
}
