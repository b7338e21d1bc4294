//! And what leaves it through a port.
use minigun::Pipeline;

struct Broken {
    _why: String,
}

fn main() {
    let p = Pipeline::new("serde");
    let (broken, rest) = p.inlet::<Broken>("broken");
    p.source("numbers", 0..10u64)
        .processes(2, |s| {
            s.processor_to("parse", &broken, |n: u64, out, broken| {
                if n == 7 { broken.emit(Broken { _why: n.to_string() }) } else { out.emit(n) }
            })
        })
        .discard();
    rest.discard();
}
