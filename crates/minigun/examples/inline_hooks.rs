//! Hooks written where they belong: closures in line with the flow, from the start of the run to its end.
//!
//! ```text
//! cargo run --example inline_hooks
//! ```
//!
//! Their order: `before_run`, `before_fork` (pipeline, then block), then in each worker `after_fork` (pipeline, then
//! block), the stage's `before`, `_init`, the items, the stage's `after`; at last `after_run`. Several hooks of
//! a kind run in the order in which they were given.

use std::process;

use minigun::{Error, Pipeline, processes};

fn main() -> Result<(), Error> {
    let p = Pipeline::new("inline hooks");
    let story = p.collector::<(u32, String)>("story");
    let score = p.counter("score");
    let tell = move |what: &str| story.push((process::id(), what.to_string()));

    p.before_run(move || tell("before_run"));
    p.before_fork(move || tell("before_fork of the pipeline"));
    p.after_fork(move || tell("after_fork of the pipeline"));

    p.source("numbers", 0..5)
        .on(
            processes(1)
                .before_fork(move || tell("before_fork of the block"))
                .after_fork(move || tell("after_fork of the block, the first"))
                .after_fork(move || tell("after_fork of the block, the second")),
            |s| {
                s.map_init(
                    "step",
                    move || tell("init"),
                    move |(), n: i32| {
                        if n == 0 {
                            tell("the first item");
                        }
                        n
                    },
                )
                .before(move || score.add(1))
                .before(move || tell("before"))
                .after(move || tell("after"))
                .after(move || score.add(10))
            },
        )
        .discard();

    p.after_run(move |report| {
        // Every worker has ended and all it had to say is here.
        assert_eq!(report.count(&score), 11, "before +1, after +10, each once");
        tell("after_run");
    });

    let mut report = p.run()?;
    println!("{report}");

    let story = report.take(story);
    let program = process::id();
    for (pid, what) in &story {
        println!("{:7} {what}", if *pid == program { "program" } else { "worker" });
    }
    let told: Vec<_> = story.iter().map(|(pid, what)| (*pid == program, what.as_str())).collect();
    let expected = [
        (true, "before_run"),
        (true, "before_fork of the pipeline"),
        (true, "before_fork of the block"),
        (false, "after_fork of the pipeline"),
        (false, "after_fork of the block, the first"),
        (false, "after_fork of the block, the second"),
        (false, "before"),
        (false, "init"),
        (false, "the first item"),
        (false, "after"),
        (true, "after_run"),
    ];
    assert_eq!(told, expected, "every hook once, in this order");
    println!("{} hooks and steps told their part, in order", told.len());
    Ok(())
}
