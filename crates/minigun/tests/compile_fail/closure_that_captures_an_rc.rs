//! A closure is shared by all workers of its block.
use std::rc::Rc;

use minigun::Pipeline;

fn main() {
    let names = Rc::new(vec!["one", "two"]);
    let p = Pipeline::new("rc");
    p.source("numbers", 0..2usize).processes(2, |s| s.map("name", move |n| names[n].len())).discard();
}
