//! Inside a block branches end in ports; they are joined outside.
use minigun::Pipeline;

fn main() {
    let p = Pipeline::new("merge");
    p.source("numbers", 0..10u64)
        .processes(2, |s| {
            let (even, odd) = s.partition("even?", |n| n % 2 == 0);
            even.merge(odd)
        })
        .discard();
}
