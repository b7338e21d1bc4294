//! Nothing is forked for a block on threads: its head takes no fork hook.
use minigun::{Pipeline, threads};

fn main() {
    let p = Pipeline::new("threads");
    p.source("in", [1]).on(threads(2).before_fork(|| ()), |s| s.map("same", |n| n)).discard();
}
