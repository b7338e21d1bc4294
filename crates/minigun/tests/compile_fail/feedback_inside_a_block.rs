//! A loop goes through blocks, not inside one.
use minigun::Pipeline;

fn main() {
    let p = Pipeline::new("loop");
    p.source("numbers", 0..10u64)
        .threads(2, |s| s.feedback("again", |flow, again| flow.processor_to("step", &again, |n, out, _| out.emit(n))))
        .discard();
}
