//! A processor emits; a value that it returns would be lost.
use minigun::Pipeline;

fn main() {
    let p = Pipeline::new("value");
    p.source("numbers", 0..2u64).processor("double", |n, out| { out.emit(n); n * 2 }).discard();
}
