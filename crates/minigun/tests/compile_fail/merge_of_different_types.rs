//! Merged flows carry one type.
use minigun::Pipeline;

fn main() {
    let p = Pipeline::new("fan in");
    let words = p.source("words", ["one"]);
    p.source("numbers", [1]).merge(words).discard();
}
