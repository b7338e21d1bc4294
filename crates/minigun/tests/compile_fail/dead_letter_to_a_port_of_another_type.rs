//! Dead letters hold the items of their block.
use minigun::{Dead, Pipeline, processes};

fn main() {
    let p = Pipeline::new("letters");
    let (dead, letters) = p.inlet::<Dead<String>>("dead");
    p.source("numbers", 0..2u32).on(processes(2).dead_letter(&dead), |s| s.map("double", |n| n * 2)).discard();
    letters.discard();
}
