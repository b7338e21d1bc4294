//! What goes round a loop may have to wait in a file.
use minigun::Pipeline;

struct Handle(u32);

fn main() {
    let p = Pipeline::new("loop");
    p.source("numbers", 0..10)
        .map("open", Handle)
        .feedback("again", |flow, again| flow.router("step", &again, |handle: Handle, again| again.emit(handle)));
}
